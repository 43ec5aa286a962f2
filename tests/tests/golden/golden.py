#!/usr/bin/python3
"""Writes copies.hex: what the node should make of the frames of ../files.rs, by scapy instead of by us."""

from scapy.all import GRE, IP, Ether, Raw

NODE, GATEWAY = "198.18.0.254", "02:00:00:00:00:aa"
BIG = 2**32 - 1
MEMBERS = {5001: [1, 2, 3], BIG: [1, 2]}


def broadcast(tag, number, length):
    head = bytes.fromhex("ff" * 6 + "020000000909" + "88b5") + tag.to_bytes(4, "big") + number.to_bytes(8, "big")
    return head + bytes(at % 251 for at in range(len(head), length))


def copies(source, vni, inner, tos=0):
    for member in MEMBERS[vni]:
        if member != source:
            outer = Ether(dst=GATEWAY, src="00:00:00:00:00:00") / IP(
                src=NODE, dst=f"198.18.0.{member}", tos=tos, id=0, flags="DF", ttl=64, proto=47
            )
            yield bytes(outer / GRE(key_present=1, proto=0x6558, key=vni) / Raw(inner))


ARP = bytes.fromhex("ff" * 6 + "020000000101" + "0806" + "11" * 28)
with open("copies.hex", "w") as out:
    for args in [
        (1, 5001, ARP),
        (2, 5001, broadcast(7, 1, 60)),
        (3, 5001, broadcast(7, 2, 255), 0xB8),
        (1, 5001, broadcast(7, 3, 256)),
        (1, 5001, broadcast(7, 4, 1400)),
        (1, BIG, broadcast(7, 5, 61)),
    ]:
        out.writelines(f"{copy.hex()}\n" for copy in copies(*args))
