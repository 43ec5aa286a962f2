#!/usr/bin/python3
"""Frames that announce addresses, made by scapy, and what they say, stated here by hand.

    announcements.py make   prints one case a line, tabs between: name, what it is, bound MAC, addresses, frame (hex)

What it is: "none", "claim", "use", "hidden", "probe", "fragment", "arrival", or "advert VRID PRIORITY INTERVAL_CS" with "sound" or
"unsound"; with "cut" before it where a fragment ends too early.
Needs the Debian package python3-scapy.
"""

import socket
import struct
import sys

try:
    from scapy.all import ARP, IP, LLC, SNAP, STP, UDP, Dot1Q, Dot3, Ether, IPOption, IPv6, Raw
    from scapy.layers.inet6 import (
        ICMPv6EchoRequest,
        ICMPv6ND_NA,
        ICMPv6ND_NS,
        ICMPv6ND_RA,
        ICMPv6ND_RS,
        ICMPv6ND_Redirect,
        ICMPv6NDOptDstLLAddr,
        ICMPv6NDOptMTU,
        ICMPv6NDOptSrcLLAddr,
        IPv6ExtHdrDestOpt,
        IPv6ExtHdrFragment,
        IPv6ExtHdrHopByHop,
        IPv6ExtHdrRouting,
        in6_chksum,
    )
    from scapy.layers.vrrp import VRRP, VRRPv3
except ImportError as error:
    sys.exit(f"announcements.py: {error}: install the Debian package python3-scapy (for /usr/bin/python3)")

VM, OTHER = "02:00:00:00:00:11", "02:00:00:00:00:22"
BROADCAST, ZERO = "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"
VIP, HOST, MORE = "10.0.0.100", "10.0.0.1", "10.0.0.101"
VIP6, HOST6, LINK6 = "2001:db8::100", "2001:db8::1", "fe80::1"
NODES6 = "ff02::1"
# Authentication header of VRRP as Keepalived makes it: 24 bytes, 96 bits of MD5.
AH = bytes([112, 4, 0, 0]) + bytes(8) + bytes(range(12))


def case(name, what, frame, bound="", addresses=()):
    if isinstance(addresses, str):
        addresses = (addresses,)
    print(name, what, bound, " ".join(addresses), bytes(frame).hex(), sep="\t")


def ether(dst=BROADCAST, src=VM, **fields):
    return Ether(dst=dst, src=src, **fields)


def arp(op=1, psrc=VIP, pdst=VIP, hwsrc=VM, hwdst=ZERO, **fields):
    return ARP(op=op, psrc=psrc, pdst=pdst, hwsrc=hwsrc, hwdst=hwdst, **fields)


def arp_forms():
    for name, packet in [
        ("gratuitous request", arp()),
        ("gratuitous reply", arp(op=2)),
        ("gratuitous reply, arping -A", arp(op=2, hwdst=VM)),
        ("gratuitous request, Windows", arp(hwdst=ZERO) / Raw(bytes(18))),
        ("gratuitous request to all ones", arp(hwdst=BROADCAST)),
        ("gratuitous reply of hardware type 6", Raw(b"\x00\x06" + bytes(arp(op=2))[2:])),
        ("gratuitous request, padded", arp() / Raw(bytes(100))),
    ]:
        case(name, "claim", ether(type=0x0806) / packet, VM, VIP)
    for name, packet, address in [
        ("request", arp(psrc=HOST), HOST),
        ("request from the address", arp(pdst=HOST), VIP),
        ("reply", arp(op=2, pdst=HOST, hwdst=OTHER), VIP),
        ("gratuitous by no operation", arp(op=0), VIP),
        ("gratuitous by reverse ARP's request", arp(op=3), VIP),
        ("gratuitous by inverse ARP's reply", arp(op=9), VIP),
    ]:
        case(name, "use", ether() / packet, VM, address)
    case("sender MAC of another", "claim", ether() / arp(hwsrc=OTHER), OTHER, VIP)
    case("sender MAC multicast", "claim", ether() / arp(hwsrc="01:00:5e:00:00:01"), "01:00:5e:00:00:01", VIP)
    case("to a multicast MAC", "claim", ether("01:00:5e:00:00:01") / arp(), VM, VIP)
    for op in (1, 2, 3):
        case(f"probe by operation {op}", "probe", ether() / arp(op=op, psrc="0.0.0.0"), VM, VIP)
    case("for 0.0.0.0", "none", ether() / arp(psrc="0.0.0.0", pdst="0.0.0.0"))
    case("for the broadcast address", "none", ether() / arp(psrc="255.255.255.255", pdst="255.255.255.255"))
    case("for a multicast address", "none", ether() / arp(psrc="224.0.0.18", pdst="224.0.0.18"))


def arp_malformed():
    for name, fields in [
        ("hardware type 0", {"hwtype": 0}),
        ("hardware type 7", {"hwtype": 7}),
        ("hardware type 0x0100", {"hwtype": 0x100}),
        ("protocol type IPv6", {"ptype": 0x86DD}),
        ("protocol type 0x0801", {"ptype": 0x801}),
        ("hlen 0", {"hwlen": 0}),
        ("hlen 5", {"hwlen": 5}),
        ("hlen 7", {"hwlen": 7}),
        ("hlen 8", {"hwlen": 8}),
        ("hlen 255", {"hwlen": 255}),
        ("plen 0", {"plen": 0}),
        ("plen 3", {"plen": 3}),
        ("plen 5", {"plen": 5}),
        ("plen 16", {"plen": 16}),
    ]:
        packet = bytearray(bytes(arp()))
        layout = {"hwtype": (0, "!H"), "ptype": (2, "!H"), "hwlen": (4, "!B"), "plen": (5, "!B")}
        for key, value in fields.items():
            struct.pack_into(layout[key][1], packet, layout[key][0], value)
        case(f"ARP, {name}", "none", ether(type=0x0806) / Raw(bytes(packet)) / Raw(bytes(60)))
    whole = bytes(ether() / arp())
    for length in (0, 6, 12, 13, 14, 22, 28, 38, 41):
        case(f"ARP cut to {length}", "none", whole[:length])
    case("reverse ARP's ethertype", "none", ether(type=0x8035) / arp())
    for name, sender in [("none", "0.0.0.0"), ("its own", HOST)]:
        reverse = arp(op=3, psrc=sender, pdst=sender, hwdst=VM)
        case(f"reverse ARP of address {name}", "arrival", ether(type=0x8035) / reverse, VM)
    case("reverse ARP of another MAC", "none", ether(type=0x8035) / arp(op=3, psrc="0.0.0.0", hwsrc=OTHER))
    case("reverse ARP's reply", "none", ether(type=0x8035) / arp(op=4))


def wrapped():
    q, ad = (lambda vlan: Dot1Q(vlan=vlan)), (lambda vlan: Dot1Q(vlan=vlan, type=0x8100))
    plain = arp()
    for name, frame in [
        ("VLAN 0", ether() / q(0) / plain),
        ("VLAN 42", ether() / q(42) / plain),
        ("VLAN 0 with priority", ether() / Dot1Q(vlan=0, prio=7, id=1) / plain),
        ("provider's tag", ether(type=0x88A8) / q(7) / plain),
        ("provider's and customer's tag", ether(type=0x88A8) / ad(7) / q(8) / plain),
        ("three tags", ether() / q(0) / q(0) / q(0) / plain),
        ("customer's tag outside", ether() / Dot1Q(vlan=0, type=0x88A8) / q(0) / plain),
    ]:
        case(f"gratuitous ARP, {name}", "claim", frame, VM, VIP)
    many = Raw(b"".join(bytes.fromhex("81000000") for _ in range(350)) + b"\x08\x06")
    case("gratuitous ARP, 350 tags", "claim", bytes(ether())[:12] + bytes(many) + bytes(plain), VM, VIP)
    case("nothing but tags", "none", bytes(ether())[:12] + bytes(many)[:-2])
    case("cut within a tag", "none", bytes(ether() / q(0) / plain)[:17])
    for oui in (0, 0xF8):
        snap = LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=oui, code=0x0806)
        case(f"gratuitous ARP in SNAP {oui:#x}", "claim", Dot3(dst=BROADCAST, src=VM) / snap / plain, VM, VIP)
    body = bytes(LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=0x0806) / plain)
    tag = struct.pack("!HHH", 0x8100, 0, len(body))
    case("SNAP behind a tag", "claim", bytes(ether())[:12] + tag + body, VM, VIP)
    inside = struct.pack("!HH", 0, 0x0806) + bytes(plain)
    body = bytes(LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=0x8100)) + inside
    case("a tag behind SNAP", "claim", Dot3(dst=BROADCAST, src=VM) / Raw(body), VM, VIP)
    other = LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0xC, code=0x0806)
    case("SNAP of another organization", "none", Dot3(dst=BROADCAST, src=VM) / other / plain)
    case("spanning tree", "none", Dot3(dst="01:80:c2:00:00:10", src=VM) / LLC() / STP())
    na = IPv6(src=LINK6, dst=NODES6, hlim=255) / ICMPv6ND_NA(tgt=VIP6, R=0, S=0, O=1) / lladdr(2)
    case("neighbour advertisement in VLAN 0", "claim", ether("33:33:00:00:00:01") / q(0) / na, VM, VIP6)


def lladdr(kind, mac=VM):
    return ICMPv6NDOptDstLLAddr(lladdr=mac) if kind == 2 else ICMPv6NDOptSrcLLAddr(lladdr=mac)


def ip6(src=LINK6, dst=NODES6, hlim=255, **fields):
    return ether("33:33:00:00:00:01") / IPv6(src=src, dst=dst, hlim=hlim, **fields)


def advertisement(**fields):
    return ICMPv6ND_NA(**{"tgt": VIP6, "R": 0, "S": 0, "O": 1, **fields})


def discovery_claims():
    na = advertisement
    case("unsolicited advertisement", "claim", ip6() / na() / lladdr(2), VM, VIP6)
    case("of a router", "claim", ip6() / na(R=1) / lladdr(2), VM, VIP6)
    case("from the address itself", "claim", ip6(src=VIP6) / na() / lladdr(2), VM, VIP6)
    case("behind another option", "claim", ip6() / na() / ICMPv6NDOptMTU() / lladdr(2), VM, VIP6)
    case("named twice", "claim", ip6() / na() / lladdr(2) / lladdr(2), VM, VIP6)
    for name, packet, bound in [
        ("another's link-layer address", na() / lladdr(2, OTHER), OTHER),
        ("two link-layer addresses", na() / lladdr(2) / lladdr(2, OTHER), OTHER),
        ("two link-layer addresses, the other first", na() / lladdr(2, OTHER) / lladdr(2), OTHER),
    ]:
        case(f"advertisement: {name}", "claim", ip6() / packet, bound, VIP6)
    for name, packet, bound in [
        ("solicited", na(S=1) / lladdr(2), VM),
        ("without override", na(O=0) / lladdr(2), VM),
        ("no option", na(), VM),
        ("a source's link-layer address instead", na() / lladdr(1), VM),
        ("an option of length 0 first", na() / Raw(b"\x0e\x00") / lladdr(2), VM),
        ("a code that is not 0", na(code=1, S=1) / lladdr(2), VM),
    ]:
        case(f"advertisement: {name}", "use", ip6() / packet, bound, VIP6)


def discovery_uses():
    ns = ICMPv6ND_NS(tgt=HOST6)
    ra, rs = ICMPv6ND_RA(), ICMPv6ND_RS()
    redirect = ICMPv6ND_Redirect(tgt=VIP6, dst=HOST6)
    case("solicitation with its source", "use", ip6(src=VIP6) / ns / lladdr(1), VM, VIP6)
    case("solicitation with another source", "use", ip6(src=VIP6) / ns / lladdr(1, OTHER), OTHER, VIP6)
    case("router solicitation", "use", ip6(src=VIP6) / rs / lladdr(1), VM, VIP6)
    case("router advertisement", "use", ip6() / ra / ICMPv6NDOptMTU() / lladdr(1), VM, LINK6)
    named = (LINK6, VIP6, HOST6)
    case("redirect", "use", ip6() / redirect / lladdr(2), VM, named)
    case("solicitation without", "none", ip6(src=VIP6) / ns)
    case("solicitation with a target's address", "none", ip6(src=VIP6) / ns / lladdr(2))
    case("duplicate address detection", "probe", ip6(src="::") / ICMPv6ND_NS(tgt=VIP6), VM, VIP6)
    case("duplicate address detection with an option", "probe",
         ip6(src="::") / ICMPv6ND_NS(tgt=VIP6) / lladdr(1), VM, VIP6)
    case("duplicate address detection with a wrong checksum", "none", ip6(src="::") / ICMPv6ND_NS(tgt=VIP6, cksum=1))
    case("router solicitation without", "none", ip6(src=VIP6) / rs)
    case("router advertisement without", "use", ip6() / ra, VM, LINK6)
    case("router advertisement of lifetime 0", "use", ip6(src=VIP6) / ICMPv6ND_RA(routerlifetime=0), VM, VIP6)
    case("redirect without", "use", ip6() / redirect, VM, named)
    case("redirect with a source's address", "use", ip6() / redirect / lladdr(1), VM, named)
    case("ping", "none", ip6(src=VIP6) / ICMPv6EchoRequest(data=bytes(60)))
    case("UDP over IPv6", "none", ip6(src=VIP6) / UDP(sport=5353, dport=5353) / Raw(bytes(60)))


def discovery_malformed():
    na = advertisement() / lladdr(2)
    for limit in (0, 1, 64, 254):
        case(f"advertisement with hop limit {limit}", "none", ip6(hlim=limit) / na)
    for wrong in (0, 0xFFFF, 0x1234):
        case(f"advertisement with checksum {wrong:#x}", "none", ip6() / advertisement(cksum=wrong) / lladdr(2))
    solicitation = ICMPv6ND_NS(tgt=HOST6, cksum=1) / lladdr(1)
    case("solicitation with a wrong checksum", "none", ip6(src=VIP6) / solicitation)
    case("advertisement of ::", "none", ip6() / advertisement(tgt="::") / lladdr(2))
    case("advertisement of a multicast address", "none", ip6() / advertisement(tgt=NODES6) / lladdr(2))
    whole = bytes(ip6() / na)
    for length in (14, 20, 53, 54, 55, 62, 77, 78, 85):
        case(f"advertisement cut to {length}", "none", whole[:length])
    for length in (0, 1, 4, 8, 23):
        packet = ip6() / Raw(summed(bytes(na)[:length], LINK6))
        packet[IPv6].nh = 58
        case(f"advertisement of {length} bytes", "none", packet)
    version = bytearray(whole)
    version[14] = 0x50
    case("advertisement in IP version 5", "none", version)


def summed(message, source, dst=NODES6):
    """An ICMPv6 message of any length with the right checksum."""
    if len(message) < 4:
        return message
    message = message[:2] + bytes(2) + message[4:]
    checksum = in6_chksum(58, IPv6(src=source, dst=dst), message)
    return message[:2] + struct.pack("!H", checksum) + message[4:]


def hidden():
    na = advertisement() / lladdr(2)
    bare = bytes(IPv6(src=LINK6, dst=NODES6) / na)[40:]
    both = (LINK6, VIP6)
    for name, extension in [
        ("hop-by-hop options", IPv6ExtHdrHopByHop()),
        ("destination options", IPv6ExtHdrDestOpt()),
        ("a routing header", IPv6ExtHdrRouting()),
        ("an atomic fragment", IPv6ExtHdrFragment()),
        ("a first fragment", IPv6ExtHdrFragment(m=1)),
        ("options, then a fragment", IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(m=1)),
        ("a fragment, then options", IPv6ExtHdrFragment(m=1) / IPv6ExtHdrDestOpt()),
        ("a dozen options", dozen()),
    ]:
        case(f"advertisement behind {name}", "hidden", ip6() / extension / na, VM, both)
    for nh in (51, 135, 139, 140):
        words = 0 if nh == 51 else 1
        length = 8 if nh == 51 else 16
        header = bytes([58, words]) + bytes(length - 2)
        case(f"advertisement behind header {nh}", "hidden", ip6(nh=nh) / Raw(header + bare), VM, both)
    for name, message, addresses in [
        ("solicitation", ICMPv6ND_NS(tgt=VIP6), both),
        ("redirect", ICMPv6ND_Redirect(tgt=VIP6), both),
        ("redirect of its traffic", ICMPv6ND_Redirect(tgt=LINK6, dst=VIP6), (LINK6, LINK6, VIP6)),
        ("router solicitation", ICMPv6ND_RS(), (LINK6,)),
        ("router advertisement", ICMPv6ND_RA(), (LINK6,)),
    ]:
        case(f"{name} behind options", "hidden", ip6() / IPv6ExtHdrDestOpt() / message, VM, addresses)

    def fragment(offset, data, more=0):
        return ip6() / IPv6ExtHdrFragment(nh=58, offset=offset // 8, m=more) / Raw(data)

    case("a fragment of 8 bytes", "cut hidden", fragment(0, bare[:8], 1), VM, (LINK6,))
    away = bytes(IPv6(src=LINK6, dst=NODES6) / ICMPv6ND_Redirect(tgt=LINK6, dst=VIP6) / lladdr(2))[40:]
    case("a redirect's fragment before its destination ends", "cut hidden", fragment(0, away[:32], 1), VM, (LINK6, LINK6))
    case("a redirect's fragment with its destination", "hidden", fragment(0, away[:40], 1), VM, (LINK6, LINK6, VIP6))
    case("the fragment with the target", "fragment", fragment(8, bare[8:]), VM, later(bare[8:]))
    case("a fragment with half the target", "fragment", fragment(16, bare[16:]), VM, later(bare[16:]))
    case("a later fragment", "fragment", fragment(24, bare[24:]), VM, (LINK6,))
    case("a later fragment of a DAD", "none", ether() / IPv6(src="::", dst=NODES6, hlim=255)
         / IPv6ExtHdrFragment(nh=58, offset=3) / Raw(bare[24:]))
    case("a fragment with hop limit 64", "none", ip6(hlim=64) / IPv6ExtHdrFragment(nh=58) / Raw(bare))
    limited = ip6(hlim=64) / IPv6ExtHdrFragment(nh=58, offset=1)
    case("a later fragment with hop limit 64", "fragment", limited / Raw(bare[8:]), VM, later(bare[8:]))
    # The first fragment says what the protocol is, and where the options that came before it end.
    for nh in (17, 59, 60):
        lying = ip6() / IPv6ExtHdrFragment(nh=nh, offset=1)
        case(f"the fragment with the target, which says {nh}", "fragment", lying / Raw(bare[8:]), VM, later(bare[8:]))
        behind = bytes(8) + bare[8:]
        case(f"the same at 16, {nh}", "fragment", lying / Raw(behind), VM, later(behind))
    for name, start in [("within options", bytes([58, 1]) + bytes(6)), ("before options", b""), ("at", bytes([60, 0]) + bytes(6))]:
        first = ip6() / IPv6ExtHdrFragment(nh=60, m=1) / Raw(start)
        case(f"a first fragment that ends {name}", "cut hidden", first, VM, (LINK6,))
    case("a first fragment that ends after options", "cut hidden",
         ip6() / IPv6ExtHdrFragment(nh=60, m=1) / Raw(bytes([58, 0]) + bytes(6)), VM, (LINK6,))
    case("a first fragment of UDP after options", "none",
         ip6() / IPv6ExtHdrFragment(nh=60, m=1) / Raw(bytes([17, 0]) + bytes(6) + bytes(16)))
    case("a fragment of a fragment that ends amid its header", "cut hidden",
         ip6() / IPv6ExtHdrFragment(nh=44, m=1) / Raw(bytes([58, 0, 0])), VM, (LINK6,))
    case("a ping's first fragment", "none", ip6() / IPv6ExtHdrFragment(m=1) / ICMPv6EchoRequest(data=bytes(1200)))
    case("a later fragment of UDP", "fragment", ip6() / IPv6ExtHdrFragment(nh=17, offset=3) / Raw(bytes(60)), VM, (LINK6,))
    case("an options header past the end", "none", ip6(nh=60) / Raw(bytes([58, 200]) + bytes(6) + bare))
    case("an authentication header past the end", "none", ip6(nh=51) / Raw(bytes([58, 200]) + bytes(6) + bare))
    case("an options header of one byte", "none", ip6(nh=60) / Raw(b"\x3a"))
    case("a fragment header of four bytes", "none", ip6(nh=44) / Raw(b"\x3a\x00\x00\x00"))
    case("options and no more", "none", ip6(nh=60) / Raw(bytes([58, 0]) + bytes(6)))
    case("no next header", "none", ip6() / IPv6ExtHdrDestOpt(nh=59) / Raw(bare))


def later(payload):
    """What a later fragment may name: its sender, and all at multiples of 8 bytes, those at multiples of 16 first."""
    places = [at for start in (0, 8) for at in range(start, len(payload) - 15, 16)]
    named = [socket.inet_ntop(socket.AF_INET6, payload[at:at + 16]) for at in places]
    return (LINK6, *(address for address in named if address != "::" and not address.startswith("ff")))


def dozen():
    headers = IPv6ExtHdrDestOpt()
    for _ in range(11):
        headers = headers / IPv6ExtHdrDestOpt()
    return headers


def group(src="00:00:5e:00:01:33", **fields):
    usual = {"src": HOST, "dst": "224.0.0.18", "ttl": 255, "proto": 112}
    return Ether(dst="01:00:5e:00:00:12", src=src) / IP(**{**usual, **fields})


def group6(src="00:00:5e:00:02:33", **fields):
    usual = {"src": LINK6, "dst": "ff02::12", "hlim": 255, "nh": 112}
    return Ether(dst="33:33:00:00:00:12", src=src) / IPv6(**{**usual, **fields})


VMAC, VMAC6 = "00:00:5e:00:01:33", "00:00:5e:00:02:33"
# scapy reads and writes the authentication data that ends version 2.
V2 = {"vrid": 51, "priority": 150, "adv": 1, "auth1": 0, "auth2": 0}


def adverts():
    v2, v3 = VRRP(**V2, addrlist=[VIP, MORE]), VRRPv3(vrid=51, priority=255, adv=10, addrlist=[VIP])
    case("version 2", "advert 51 150 100 sound", group() / v2, VMAC, (VIP, MORE))
    case("version 2 from a MAC of its own", "advert 51 150 100 sound", group(VM) / v2, VM, (VIP, MORE))
    case("version 3", "advert 51 255 10 sound", group() / v3, VMAC, (VIP,))
    case("version 3, resigning", "advert 51 0 4095 sound",
         group() / VRRPv3(vrid=51, priority=0, adv=0xFFF, addrlist=[VIP]), VMAC, (VIP,))
    options = [IPOption(b"\x94\x04\x00\x00")]
    case("behind IP options", "advert 51 255 10 sound", group(options=options) / v3, VMAC, (VIP,))
    listed = [f"10.0.{n // 200}.{n % 200 + 1}" for n in range(255)]
    case("255 addresses", "advert 51 100 100 sound",
         group() / VRRPv3(vrid=51, adv=100, addrlist=listed), VMAC, listed)
    inside = bytes(group() / v2)[34:]
    protected = group(proto=51) / Raw(AH + inside)
    case("behind an authentication header", "advert 51 150 100 sound", protected, VMAC, (VIP, MORE))
    tagged = bytes(group())[:12] + bytes.fromhex("81000007") + bytes(group() / v2)[12:]
    case("in a VLAN", "advert 51 150 100 sound", tagged, VMAC, (VIP, MORE))
    case("padded", "advert 51 255 10 sound", bytes(group() / v3) + b"\xee" * 9, VMAC, (VIP,))

    case("IPv6", "advert 51 100 100 sound", six_summed(LINK6, VIP6), VMAC6, (LINK6, VIP6))
    case("IPv6 behind options", "advert 51 100 100 sound",
         six_summed(LINK6, VIP6, extension=IPv6ExtHdrDestOpt(nh=112)), VMAC6, (LINK6, VIP6))
    header = bytes([112, 4]) + AH[2:]
    case("IPv6 behind an authentication header", "advert 51 100 100 sound",
         six_summed(VIP6, extension=header, nh=51), VMAC6, (VIP6,))


def six_message(*addresses):
    body = b"".join(socket.inet_pton(socket.AF_INET6, address) for address in addresses)
    message = bytes([0x31, 51, 100, len(addresses)]) + struct.pack("!HH", 100, 0) + body
    checksum = in6_chksum(112, IPv6(src=LINK6, dst="ff02::12"), message)
    return message[:6] + struct.pack("!H", checksum) + message[8:]


def six_summed(*addresses, extension=b"", **fields):
    """A packet of version 3, behind an extension header that scapy or the caller made. scapy has VRRP over IPv4 alone."""
    message = six_message(*addresses)
    if not isinstance(extension, bytes):
        fields["nh"] = 60
        extension = bytes(extension)
    return group6(**fields) / Raw(extension + message)


def adverts_unsound():
    v2, v3 = VRRP(**V2, addrlist=[VIP, MORE]), VRRPv3(vrid=51, priority=255, adv=10, addrlist=[VIP])
    for name, frame in [
        ("TTL 254", group(ttl=254) / v3),
        ("unicast", group(dst="10.0.0.2") / v3),
        ("another group", group(dst="224.0.0.1") / v3),
        ("a wrong header checksum", group(chksum=1) / v3),
        ("a wrong checksum", group() / VRRPv3(vrid=51, priority=255, adv=10, addrlist=[VIP], chksum=1)),
    ]:
        case(f"VRRP, {name}", "advert 51 255 10 unsound", frame, VMAC, (VIP,))
    case("VRRP, IPv6, hop limit 64", "advert 51 100 100 unsound", six_summed(VIP6, hlim=64), VMAC6, (VIP6,))
    case("VRRP, IPv6, another group", "advert 51 100 100 unsound", six_summed(VIP6, dst=NODES6), VMAC6, (VIP6,))
    message = bytes(group() / v2)[34:]
    for name, length, addresses in [
        ("without authentication data", 16, (VIP, MORE)),
        ("half its authentication data", 20, (VIP, MORE)),
        ("one address of two", 12, (VIP,)),
        ("an address and a half", 14, (VIP,)),
    ]:
        case(f"VRRP, {name}", "advert 51 150 0 unsound", group() / Raw(message[:length]), VMAC, addresses)
    for name, length in [("no address", 8), ("half an address", 10), ("a header cut short", 7), ("nothing", 0)]:
        case(f"VRRP, {name}", "none", group() / Raw(message[:length]))
    fragment = "advert 51 150 0 unsound"
    case("VRRP, a first fragment", fragment, group(flags="MF") / Raw(message[:16]), VMAC, (VIP, MORE))
    case("VRRP, a first fragment of the header", "cut advert 51 150 0 unsound", group(flags="MF") / Raw(message[:8]), VMAC)
    cut = "cut advert 51 150 0 unsound"
    seven = [f"10.0.0.{last}" for last in range(1, 8)]
    looks_like_carp = bytes([0x21, 51, 254, 7, 0, 1, 0, 0]) + b"".join(map(socket.inet_aton, seven))
    case("VRRP of seven addresses, a first fragment of 36 bytes, of which receivers take 32", "cut advert 51 254 0 unsound",
         group(flags="MF") / Raw(looks_like_carp), VMAC, seven)
    case("VRRP, a first fragment of one address of two", cut, group(flags="MF") / Raw(message[:12]), VMAC, (VIP,))
    for name, length in [("amid it", 16), ("after it", 24)]:
        case(f"VRRP, an authentication header, a first fragment that ends {name}", "cut advert 0 0 0 unsound",
             group(proto=51, flags="MF") / Raw((AH + message)[:length]), VMAC)
    case("VRRP, an authentication header, a first fragment of the header", cut,
         group(proto=51, flags="MF") / Raw((AH + message)[:32]), VMAC)
    case("VRRP, an authentication header, a whole first fragment", fragment,
         group(proto=51, flags="MF") / Raw((AH + message)[:40]), VMAC, (VIP, MORE))
    later = "advert 0 0 0 unsound"
    case("VRRP, a later fragment", later, group(frag=1) / Raw(message[8:16]), VMAC, (VIP, MORE))
    six = six_message(LINK6, VIP6)
    for at, addresses in [(8, (LINK6, VIP6)), (16, (VIP6,)), (24, (VIP6,))]:
        frame = group6(nh=44) / IPv6ExtHdrFragment(nh=112, offset=at // 8) / Raw(six[at:])
        case(f"VRRP, IPv6, a fragment at {at}", later, frame, VMAC6, addresses)
    for name, length, addresses in [("of the header", 8, ()), ("amid an address", 16, ()), ("of one of two", 24, (LINK6,))]:
        frame = group6(nh=44) / IPv6ExtHdrFragment(nh=112, m=1) / Raw(six[:length])
        case(f"VRRP, IPv6, a first fragment {name}", "cut advert 51 100 0 unsound", frame, VMAC6, addresses)
    frame = group6(nh=44) / IPv6ExtHdrFragment(nh=112, m=1) / Raw(six)
    case("VRRP, IPv6, a whole first fragment", "advert 51 100 0 unsound", frame, VMAC6, (LINK6, VIP6))
    frame = group6(nh=44) / IPv6ExtHdrFragment(nh=112, m=1)
    case("VRRP, IPv6, an empty first fragment", "cut advert 0 0 0 unsound", frame, VMAC6)


def adverts_not():
    v2 = bytes(group() / VRRP(**V2, addrlist=[VIP]))[34:]
    for first in (0x00, 0x11, 0x20, 0x22, 0x30, 0x32, 0x41):
        case(f"VRRP, first byte {first:#x}", "none", group() / Raw(bytes([first]) + v2[1:]))
    case("VRRP, no addresses", "election", group() / VRRP(**V2, addrlist=[]), VMAC)
    case("VRRP for 0.0.0.0", "none", group() / VRRP(**V2, addrlist=["0.0.0.0", "255.255.255.255"]))
    carp = bytes([0x21, 51, 0, 7, 0, 1, 0, 0]) + bytes(range(28))
    case("CARP", "election", group() / Raw(carp), VMAC)
    case("CARP, unicast", "election", ether() / IP(src=VIP, dst="10.0.0.2", proto=112) / Raw(carp), VM)
    case("CARP, IPv6", "election", group6(nh=112) / Raw(carp), VMAC6)
    case("CARP, a byte too few", "none", group() / Raw(carp[:4] + bytes(3)))
    seven = [f"10.0.0.{n}" for n in range(1, 8)]
    case("VRRP, seven addresses", "advert 51 150 100 sound", group() / VRRP(**V2, addrlist=seven), VMAC, seven)
    case("UDP", "none", ether() / IP(src=VIP, dst="255.255.255.255") / UDP(sport=68, dport=67))
    case("an authentication header around UDP", "none", group(proto=51) / Raw(b"\x11" + AH[1:] + v2))
    case("an authentication header past the end", "none", group(proto=51) / Raw(b"\x70\xff" + AH[2:] + v2))
    words = [socket.inet_ntoa(v2[at:at + 4]) for at in range(0, len(v2) - 3, 4)]
    words = [word for word in words if word != "0.0.0.0"]
    case("a later fragment behind it", "advert 0 0 0 unsound", group(proto=51, frag=2) / Raw(v2), VMAC, words)
    whole = bytes(group() / Raw(v2))
    for length in (33, 34, 42, 46, len(whole) - 1):
        case(f"VRRP cut to {length}", "none", whole[:length])
    version = bytearray(whole)
    version[14] = 0x55
    case("VRRP in IP version 5", "none", version)


def make():
    arp_forms()
    arp_malformed()
    wrapped()
    discovery_claims()
    discovery_uses()
    discovery_malformed()
    hidden()
    adverts()
    adverts_unsound()
    adverts_not()


if __name__ == "__main__":
    if sys.argv[1:] != ["make"]:
        sys.exit(__doc__)
    make()
