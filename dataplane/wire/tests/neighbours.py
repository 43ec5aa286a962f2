#!/usr/bin/python3
"""What Linux believes: which frames change the neighbour cache of a host that believes as much as Linux can be told to.

    neighbours.py SEED COUNT [FRAMES]   sends the frames of announcements.py and COUNT random ones to a host in a namespace, or with
                                        FRAMES those of that file, one a line in hex

Prints one line for each frame that changed something, tabs between: address, MAC, frame (hex). Then "sent" and how many were.
Needs root, iproute2 and the Debian package python3-scapy.
"""

import ctypes
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time

HOST, VIPS = "10.0.0.5", ["10.0.0.100", "10.0.0.1", "10.0.0.101"]
HOST6, VIPS6 = "2001:db8::5", ["2001:db8::100", "2001:db8::1", "fe80::1"]
OLD = "02:ee:ee:ee:ee:ee"
SETTINGS = """
    net.ipv4.conf.HOST.arp_accept=1 net.ipv4.neigh.HOST.locktime=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.HOST.rp_filter=0
    net.ipv6.conf.HOST.forwarding=1 net.ipv6.conf.HOST.accept_ra=2 net.ipv6.conf.HOST.accept_redirects=1
    net.ipv6.conf.all.suppress_frag_ndisc=0 net.ipv6.conf.HOST.suppress_frag_ndisc=0 net.ipv6.conf.HOST.accept_untracked_na=1
"""


def run(line, **more):
    return subprocess.run(line.split(), check=True, capture_output=True, text=True, **more).stdout


def enter(namespace):
    handle = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(handle, 0x40000000) != 0:
        sys.exit(f"cannot enter the namespace: {os.strerror(ctypes.get_errno())}: this needs root")
    os.close(handle)


def lab(wire, host):
    for namespace in (wire, host):
        run(f"ip netns add {namespace}")
    run(f"ip -n {wire} link add name eth0 type veth peer name eth0 netns {host}")
    run(f"ip netns exec {wire} sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
    for setting in SETTINGS.replace("HOST", "eth0").split():
        # Kernels differ in what they know.
        run(f"ip netns exec {host} sysctl -qew {setting}")
    for namespace in (wire, host):
        run(f"ip netns exec {namespace} ethtool -K eth0 tx off rx off")
        run(f"ip -n {namespace} link set dev eth0 up")
    run(f"ip -n {host} address add {HOST}/24 dev eth0")
    run(f"ip -n {host} address add {HOST6}/64 dev eth0 nodad")


def neighbours():
    entries = json.loads(run("ip -j neigh show dev eth0") or "[]")
    return {entry["dst"]: entry["lladdr"] for entry in entries if "lladdr" in entry}


def forget():
    lines = [f"neigh replace {vip} lladdr {OLD} nud stale dev eth0" for vip in VIPS + VIPS6]
    run("ip -batch -", input="\n".join(lines))


def random_frames(seed, count):
    """Frames around those that are believed: each has one or two things that are odd."""
    dice = random.Random(seed)
    for _ in range(count):
        payload, ethertype = dice.choice([random_arp, random_discovery])(dice)
        tags = b""
        for _ in range(dice.choice([0, 0, 0, 1, 2, 3, 9])):
            tags += struct.pack("!HH", dice.choice([0x8100, 0x88A8]), dice.choice([0, 0, 0, 0xE000, 1, 42]))
        head = struct.pack("!H", ethertype)
        if dice.random() < 0.05:
            head = struct.pack("!H", len(payload) + 8) + b"\xaa\xaa\x03\x00\x00\x00" + head
        destination = dice.choice([b"\xff" * 6, bytes.fromhex("333300000001"), bytes.fromhex("01005e000012")])
        yield destination + b"\x02\x00\x00\x00\x00\x11" + tags + head + payload


def mac(dice):
    return dice.choice([b"\x02\x00\x00\x00\x00\x11"] * 3 + [b"\x02\x00\x00\x00\x00\x22", b"\x00\x00\x5e\x00\x01\x33"])


def random_arp(dice):
    hardware, protocol = dice.choice([1, 1, 1, 6, 7, 24]), dice.choice([0x800] * 6 + [0x801])
    lengths = dice.choice([(6, 4)] * 8 + [(6, 16), (8, 4), (0, 4)])
    address = lambda: socket.inet_aton(dice.choice(VIPS + [HOST, "0.0.0.0"]))  # noqa: E731
    head = struct.pack("!HHBBH", hardware, protocol, *lengths, dice.choice([1, 1, 2, 2, 0, 3, 4, 8, 9, 10]))
    body = mac(dice) + address() + dice.choice([bytes(6), b"\xff" * 6, mac(dice)]) + address()
    return head + body + bytes(dice.choice([0, 18])), 0x0806


def random_discovery(dice):
    address = lambda: socket.inet_pton(socket.AF_INET6, dice.choice(VIPS6))  # noqa: E731
    # To all nodes, to all routers, and to the host itself, as a multicast frame may be.
    destination = socket.inet_pton(socket.AF_INET6, dice.choice(["ff02::1", "ff02::2", HOST6]))
    kind = dice.choice([133, 134, 135, 136, 136, 136, 137])
    code = dice.choice([0] * 7 + [1])
    target = socket.inet_pton(socket.AF_INET6, HOST6) if kind == 135 else address()
    fixed = {
        133: bytes(4),
        134: struct.pack("!BBHII", 64, 0, 1800, 0, 0),
        137: bytes(4) + target + socket.inet_pton(socket.AF_INET6, "2001:db8:9::9"),
    }.get(kind, struct.pack("!I", dice.choice([0, 0x20, 0x40, 0x60, 0xA0]) << 24) + target)
    options = b""
    for _ in range(dice.choice([0, 1, 1, 1, 2])):
        units = dice.choice([1] * 8 + [0, 2])
        options += bytes([dice.choice([1, 2, 2, 5, 14]), units]) + mac(dice) + bytes(max(0, units - 1) * 8)
    message = bytes([kind, code, 0, 0]) + fixed + options
    source = address()
    pseudo = source + destination + struct.pack("!II", len(message), 58)
    words = struct.unpack(f"!{len(pseudo + message) // 2}H", pseudo + message)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    checksum = (total ^ 0xFFFF) if dice.random() < 0.95 else 0x1234
    message = message[:2] + struct.pack("!H", checksum) + message[4:]
    following, headers = 58, b""
    for _ in range(dice.choice([0, 0, 0, 1, 2])):
        which = dice.choice([60, 60, 44, 43])
        headers = bytes([following, 0]) + bytes(6) if which != 43 else bytes([following, 0, 4, 0]) + bytes(4)
        following = which
        message = headers + message
    limit = dice.choice([255] * 8 + [64, 254])
    return struct.pack("!IHBB", 6 << 28, len(message), following, limit) + source + destination + message, 0x86DD


def known_frames():
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "announcements.py")
    made = run(f"{sys.executable} {script} make")
    return [bytes.fromhex(line.split("\t")[4]) for line in made.splitlines()]


def main():
    if os.geteuid() != 0:
        sys.exit("neighbours.py: needs root, to make network namespaces")
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    frames = list(random_frames(int(sys.argv[1]), int(sys.argv[2])))
    if len(sys.argv) == 4:
        frames = [bytes.fromhex(line) for line in open(sys.argv[3], encoding="ascii")]
    else:
        frames = known_frames() + frames
    # Named as the end-to-end tests' labs are, so that they clear away what is left if this is killed.
    wire, host = (f"bcast-{os.getpid()}-0-{name}" for name in ("wire", "host"))
    try:
        lab(wire, host)
        enter(wire)
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sender.bind(("eth0", 0))
        enter(host)
        forget()
        before, sent = neighbours(), 0
        for frame in frames:
            if not 14 <= len(frame) <= 1514:
                continue
            # A veth delivers within the call, or as soon as this process waits.
            sender.send(frame)
            sent += 1
            time.sleep(0.002)
            after = neighbours()
            for address in after:
                if after[address] != before.get(address):
                    print(address, after[address], frame.hex(), sep="\t")
            if after != before:
                forget()
                after = neighbours()
            before = after
        print("sent", sent, "", sep="\t")
    finally:
        for namespace in (wire, host):
            subprocess.run(["ip", "netns", "del", namespace], check=False)


if __name__ == "__main__":
    main()
