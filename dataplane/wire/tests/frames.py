#!/usr/bin/python3
"""Frames made and read by scapy: an opinion on GRE that owes nothing to the Rust code.

    frames.py make      prints one case a line, tabs between: name, verdict, key, inner frame, frame (hex)
    frames.py dissect   reads one frame a line in hex, prints its fields in two lines

A verdict is "accept", "punt" or the label of a drop reason, stated here by hand from the table in the design.
The node is 198.18.0.254 and 198.18.1.254. Needs the Debian package python3-scapy.
"""

import struct
import sys

try:
    from scapy.all import ARP, GRE, ICMP, IP, TCP, Dot1AD, Dot1Q, Ether, IPOption, IPv6, Raw
    from scapy.layers.ppp import PPP
    from scapy.layers.vrrp import VRRP
except ImportError as error:
    sys.exit(f"frames.py: {error}: install the Debian package python3-scapy (for /usr/bin/python3)")

NODE, NODE_TOO, TEP = "198.18.0.254", "198.18.1.254", "198.18.0.1"
NODE_MAC, TEP_MAC, VM = "02:00:00:00:00:fe", "02:00:00:00:00:01", "02:00:00:00:00:11"
BROADCAST = "ff:ff:ff:ff:ff:ff"
TEB = 0x6558

cases = []


def case(name, verdict, frame, key=0, inner=b""):
    cases.append((name, verdict, key, bytes(inner), bytes(frame)))


def outer(**fields):
    usual = {"src": TEP, "dst": NODE, "ttl": 64, "flags": "DF", "proto": 47}
    return Ether(dst=NODE_MAC, src=TEP_MAC) / IP(**{**usual, **fields})


def keyed(key=5001, **fields):
    return GRE(key_present=1, key=key, proto=TEB, **fields)


def inner(dst=BROADCAST, src=VM):
    return Ether(dst=dst, src=src) / ARP(hwsrc=src, psrc="10.0.0.1", pdst="10.0.0.2") / Raw(bytes(18))


def rebuilt(packet):
    """The same packet with its IP checksum computed anew, whatever else is wrong with it."""
    data = bytearray(bytes(packet))
    data[24:26] = bytes(2)
    words = struct.unpack("!10H", bytes(data[14:34]))
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    data[24:26] = struct.pack("!H", total ^ 0xFFFF)
    return bytes(data)


def accepted():
    body = inner()
    for name, gre in [
        ("key", keyed()),
        ("key and sequence", keyed(seqnum_present=1, seqence_number=99)),
        ("checksum and key", keyed(chksum_present=1)),
        ("checksum, key and sequence", keyed(chksum_present=1, seqnum_present=1, seqence_number=1)),
        ("Reserved1 set", keyed(chksum_present=1, offset=0x1234)),
        ("key 0", keyed(key=0)),
        ("highest key", keyed(key=0xFFFFFFFF)),
    ]:
        case(name, "accept", outer() / gre / body, gre.key, body)
    key = 5001
    for name, ip in [
        ("TOS", {"tos": 0xB9}),
        ("TTL 1", {"ttl": 1}),
        ("id without DF", {"id": 7, "flags": 0}),
        ("second address", {"dst": NODE_TOO}),
        ("class E source", {"src": "240.0.0.1"}),
    ]:
        case(name, "accept", outer(**ip) / keyed() / body, key, body)
    for name, tag in [("priority tag", Dot1Q(vlan=0, prio=6)), ("provider's", Dot1AD(vlan=0, prio=7))]:
        case(name, "accept", Ether(dst=NODE_MAC) / tag / IP(src=TEP, dst=NODE) / keyed() / body, key, body)
    router = Ether(dst="01:00:5e:00:00:12", src="00:00:5e:00:01:33")
    advert = router / IP(src="10.0.0.1", dst="224.0.0.18", ttl=255) / VRRP(vrid=51, addrlist=["10.0.0.100"])
    for name, body in [
        ("VRRP", advert),
        ("VLAN inside", Ether(dst=BROADCAST, src=VM) / Dot1Q(vlan=7) / ARP()),
        ("14 bytes", Ether(dst=BROADCAST, src=VM, type=0x88B5)),
        ("jumbo", Ether(dst=BROADCAST, src=VM) / Raw(bytes(range(256)) * 35)),
        ("odd length", Ether(dst=BROADCAST, src=VM) / Raw(b"odd")),
        ("neighbour discovery's group", Ether(dst="33:33:ff:00:00:01", src=VM) / IPv6()),
        ("first group after the reserved", inner(dst="01:80:c2:00:00:10")),
    ]:
        case(name, "accept", outer() / keyed() / body, key, body)
        case(name + ", checksum", "accept", outer() / keyed(chksum_present=1) / body, key, body)
        case(name + ", padded", "accept", bytes(outer() / keyed() / body) + b"\xee" * 9, key, body)


def punted():
    body = keyed() / inner()
    case("ARP for the node", "punt", Ether(dst=BROADCAST, src=TEP_MAC) / ARP(pdst=NODE))
    case("ping", "punt", outer(proto=1) / ICMP())
    case("BGP", "punt", outer(proto=6) / TCP(dport=179))
    case("a fragment of a ping", "punt", outer(proto=1, flags="MF") / ICMP())
    case("IPv6", "punt", Ether(dst=NODE_MAC) / IPv6() / Raw(bytes(40)))
    case("ping in a VLAN", "punt", Ether(dst=NODE_MAC) / Dot1Q(vlan=1) / IP(src=TEP, dst=NODE) / ICMP())
    case("another host's GRE", "punt", outer(dst="198.18.0.253") / body)
    case("802.3", "punt", Ether(dst="01:80:c2:00:00:00", src=TEP_MAC, type=38) / Raw(bytes(46)))


def bad_ip():
    for name, tag in [("VLAN outside", Dot1Q(vlan=1)), ("provider's VLAN outside", Dot1AD(vlan=0xFFF))]:
        case(name, "outer_vlan", Ether(dst=NODE_MAC) / tag / IP(src=TEP, dst=NODE) / keyed() / inner())
    good = bytes(outer() / keyed() / inner())
    for length in (0, 1, 13, 14, 20, 33):
        case(f"cut to {length}", "runt", good[:length])
    for length in (34, 35, 42, len(good) - 1):
        case(f"cut to {length}", "ip_header", good[:length])
    body = keyed() / inner()
    case("options", "ip_header", outer(options=[IPOption(b"\x94\x04\x00\x00")]) / body)
    for version in (0, 3, 5, 6, 15):
        case(f"version {version}", "ip_header", rebuilt(outer(version=version, ihl=5) / body))
    for words in (0, 1, 4, 6, 15):
        case(f"header length {words}", "ip_header", rebuilt(outer(ihl=words) / body))
    for checksum in (0, 0xFFFF, 0x1234):
        case(f"checksum {checksum:#x}", "ip_header", outer(chksum=checksum) / body)
    for length in (0, 19, len(good) - 13, 0xFFFF):
        case(f"total length {length}", "ip_header", outer(len=length) / body)
    case("TTL 0", "ip_header", outer(ttl=0) / body)
    case("more fragments", "ip_fragment", outer(flags="MF") / body)
    case("last fragment", "ip_fragment", outer(flags=0, frag=185) / body)
    everywhere = ("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.18", "239.255.255.255", "255.255.255.255")
    for source in (*everywhere, NODE, NODE_TOO):
        case(f"from {source}", "ip_source", outer(src=source) / body)


def bad_gre():
    for name, gre in [
        ("routing", keyed(routing_present=1)),
        ("strict source route", keyed(strict_route_source=1)),
        ("recursion", keyed(recursion_control=1)),
        ("flags", keyed(flags=1)),
        ("version 1", keyed(version=1)),
        ("version 2", keyed(version=2)),
    ]:
        case(name, "gre_header", outer() / gre / inner())
    case("PPTP", "gre_header", outer() / GRE(key_present=1, version=1, proto=0x880B, key=5001) / PPP())
    whole = bytes(keyed(chksum_present=1, seqnum_present=1))
    for length in range(len(whole)):
        case(f"GRE cut to {length}", "gre_header", outer() / Raw(whole[:length]))
        padded = bytes(outer() / Raw(whole[:length])) + bytes(40)
        case(f"GRE cut to {length}, padded", "gre_header", padded)
    for protocol in (0x0800, 0x86DD, 0x0806, 0x88BE, 0x6559, 0):
        gre = GRE(key_present=1, key=5001, proto=protocol)
        case(f"GRE protocol {protocol:#x}", "gre_protocol", outer() / gre / Raw(bytes(60)))
    for name, gre in [
        ("no flags", GRE(proto=TEB)),
        ("sequence alone", GRE(proto=TEB, seqnum_present=1)),
        ("checksum alone", GRE(proto=TEB, chksum_present=1)),
    ]:
        case(name, "gre_no_key", outer() / gre / inner())
    for flags in ({}, {"seqnum_present": 1}):
        for checksum in (0, 0xFFFF, 0x1234):
            gre = keyed(chksum_present=1, chksum=checksum, **flags)
            case(f"GRE checksum {checksum:#x}", "gre_checksum", outer() / gre / inner())
    # Right over the packet and its padding together, so wrong over the packet.
    gre = bytes(keyed(chksum_present=1) / inner() / Raw(b"\x12\x34"))
    case("GRE checksum over padding", "gre_checksum", bytes(outer(len=20 + len(gre) - 2) / Raw(gre)))


def bad_inner():
    for length in (0, 1, 13):
        body = Raw(bytes(inner())[:length])
        case(f"inner of {length}", "inner_runt", outer() / keyed() / body)
        case(f"inner of {length}, checksum", "inner_runt", outer() / keyed(chksum_present=1) / body)
        padded = bytes(outer() / keyed() / body) + bytes(60)
        case(f"inner of {length}, padded", "inner_runt", padded)
    for dst in (VM, "00:00:00:00:00:00", "00:00:5e:00:01:33", "fe:ff:ff:ff:ff:ff"):
        case(f"to {dst}", "inner_unicast", outer() / keyed() / inner(dst=dst))
    for last in range(16):
        dst = f"01:80:c2:00:00:{last:02x}"
        case(f"to {dst}", "inner_reserved", outer() / keyed() / inner(dst=dst))
    for src in (BROADCAST, "01:00:5e:00:00:01", "00:00:00:00:00:00"):
        case(f"from {src}", "inner_source", outer() / keyed() / inner(src=src))


def make():
    for group in (accepted, punted, bad_ip, bad_gre, bad_inner):
        group()
    for name, verdict, key, body, frame in cases:
        print(name, verdict, key, body.hex(), frame.hex(), sep="\t")


def dissect():
    for line in sys.stdin:
        ether = Ether(bytes.fromhex(line))
        ip, gre = ether[IP], ether[GRE]
        fresh = ip.copy()
        del fresh.chksum
        checksum_right = IP(bytes(fresh)).chksum == ip.chksum
        flags = [gre.chksum_present, gre.routing_present, gre.key_present, gre.seqnum_present]
        rest = [gre.strict_route_source, gre.recursion_control, gre.flags, gre.version]
        addresses = [ether.dst, ether.src, ip.src, ip.dst]
        print(*addresses, ip.tos, ip.len, ip.id, ip.flags, ip.frag, ip.ttl, ip.proto)
        print(int(checksum_right), *flags, *rest, hex(gre.proto), gre.key, bytes(gre.payload).hex())


if __name__ == "__main__":
    commands = {"make": make, "dissect": dissect}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]]()
