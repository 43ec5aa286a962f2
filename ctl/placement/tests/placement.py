"""Placement as docs/placement.md states it, written without a look at the code: one line for each VNI of the input.

Input, a line each: KEY VNI NAME/ZONE/WEIGHT ...; output: the names in order."""
import sys

BITS = (1 << 64) - 1


def mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & BITS
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & BITS
    return x ^ (x >> 31)


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & BITS
    return h


def score(name, weight, key, vni):
    start = mix(fnv1a(name.encode()) ^ key)
    return max(mix((start + mix((draw << 32) | vni)) & BITS) for draw in range(weight))


for line in sys.stdin:
    key, vni, *nodes = line.split()
    nodes = [(name, zone, int(weight)) for name, zone, weight in (node.split("/") for node in nodes)]
    nodes.sort(key=lambda node: (-score(node[0], node[2], int(key), int(vni)), node[0]))
    for at, node in enumerate(nodes[1:], 1):
        if node[1] != nodes[0][1]:
            nodes.insert(1, nodes.pop(at))
            break
    print(*(name for name, _, _ in nodes))
