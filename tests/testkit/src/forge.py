"""Frames that announce an address, made by scapy: a second opinion on what they look like.

    forge.py SOURCE VIP VIP6 BYSTANDER BYSTANDER6 GATEWAY

SOURCE is the MAC address that sends them. Each line of the output is NAME, STRANGER, SPEAKER, FRAME with tabs between them.

STRANGER is what becomes of the frame where SOURCE is not attached to VIP and VIP6: the reason for which it is dropped
(garp_spoof, vrrp_spoof), or passes. SPEAKER is what it is where SOURCE is attached: claim (moves the address), use and advert
(bind it where it is unbound), nothing (passes and does neither), or the reason for which it is dropped even so.
"""

import socket
import sys

from scapy.compat import raw
from scapy.layers.inet import IP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6ND_Redirect, ICMPv6ND_RS, ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, in6_getnsma,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.vrrp import VRRP, VRRPv3
from scapy.pton_ntop import inet_ntop, inet_pton

SOURCE, VIP, VIP6, BYSTANDER, BYSTANDER6, GATEWAY = sys.argv[1:]
ALL = "ff:ff:ff:ff:ff:ff"
OTHER = "02:00:00:00:0e:0e"  # nobody's
RARP = 0x8035  # ethertype, RFC 903
NODES, ROUTERS, VRRP6 = "ff02::1", "ff02::2", "ff02::12"


def show(name, stranger, speaker, frame):
    print(name, stranger, speaker, raw(frame).hex(), sep="\t")


def arp(op=1, source=VIP, target=VIP, bound=SOURCE, target_mac="00:00:00:00:00:00", **more):
    return ARP(op=op, psrc=source, pdst=target, hwsrc=bound, hwdst=target_mac, **more)


def broadcast(*layers, source=SOURCE):
    frame = Ether(src=source, dst=ALL)
    for layer in layers:
        frame /= layer
    return frame


def ipv6(message, to=NODES, source=VIP6, behind=None, **more):
    """From SOURCE to a multicast group, whose MAC address follows from it (RFC 2464 section 7)."""
    mac = "33:33:" + ":".join("%02x" % octet for octet in inet_pton(socket.AF_INET6, to)[-4:])
    packet = IPv6(**{"src": source, "dst": to, "hlim": 255, **more})
    if behind is not None:
        packet /= behind
    return Ether(src=SOURCE, dst=mac) / packet / message


def rarp():
    """As QEMU sends it when a live migration ends: reverse request for its own MAC address, 60 bytes."""
    request = ARP(op=3, hwsrc=SOURCE, psrc="0.0.0.0", hwdst=SOURCE, pdst="0.0.0.0")
    return Ether(src=SOURCE, dst=ALL, type=RARP) / request / bytes(18)


def na(target=VIP6, bound=SOURCE, s=0, o=1, r=0, **more):
    message = ICMPv6ND_NA(tgt=target, R=r, S=s, O=o, **more)
    return message / ICMPv6NDOptDstLLAddr(lladdr=bound) if bound else message


def tagged(frame, *tags):
    """The same frame behind VLAN tags."""
    head = Ether(src=frame.src, dst=frame.dst)
    for tag in tags:
        head /= tag
    return head / frame.payload.copy()


def patched(frame, at, octets):
    """The same frame with other bytes at that place."""
    octets = bytes.fromhex(octets)
    return Ether(raw(frame)[:at] + octets + raw(frame)[at + len(octets) :])


def fragments(frame, first):
    """The first `first` bytes of what is behind the IPv6 header as one fragment, the rest as another."""
    packet = IPv6(raw(frame[IPv6]))
    body = raw(packet.payload)
    head = Ether(src=frame.src, dst=frame.dst) / IPv6(src=packet.src, dst=packet.dst, hlim=255)
    return (
        head / IPv6ExtHdrFragment(nh=packet.nh, offset=0, m=1, id=7) / body[:first],
        head / IPv6ExtHdrFragment(nh=packet.nh, offset=first // 8, m=0, id=7) / body[first:],
    )


def arps():
    claim = ("garp_spoof", "claim")
    show("GARP request", *claim, broadcast(arp()))
    show("GARP request, target all ones", *claim, broadcast(arp(target_mac=ALL)))
    show("GARP request, target its own MAC", *claim, broadcast(arp(target_mac=SOURCE)))
    show("GARP reply, target all ones", *claim, broadcast(arp(op=2, target_mac=ALL)))
    show("GARP reply, target its own MAC", *claim, broadcast(arp(op=2, target_mac=SOURCE)))
    show("GARP of IEEE 802 hardware", *claim, patched(broadcast(arp()), 14, "0006"))
    show("GARP with padding", *claim, broadcast(arp(), bytes(18)))
    show("GARP in VLAN 0", *claim, tagged(broadcast(arp()), Dot1Q(vlan=0)))
    show("GARP in VLAN 0, priority 6", *claim, tagged(broadcast(arp()), Dot1Q(vlan=0, prio=6)))
    show("GARP in VLAN 7", "garp_spoof", "claim", tagged(broadcast(arp()), Dot1Q(vlan=7)))
    show("GARP in 802.1ad 0", *claim, tagged(broadcast(arp()), Dot1AD(vlan=0)))
    show("GARP in QinQ 8, 9", "garp_spoof", "claim", tagged(broadcast(arp()), Dot1AD(vlan=8), Dot1Q(vlan=9)))
    show("GARP in two 802.1Q tags", "garp_spoof", "claim", tagged(broadcast(arp()), Dot1Q(vlan=0), Dot1Q(vlan=9)))
    show("ordinary ARP request", "garp_spoof", "use", broadcast(arp(target=BYSTANDER)))
    show("ordinary ARP request in VLAN 0", "garp_spoof", "use", tagged(broadcast(arp(target=BYSTANDER)), Dot1Q(vlan=0)))
    show("ARP reply to all", "garp_spoof", "use", broadcast(arp(op=2, target=BYSTANDER)))
    show("GARP for another MAC", "garp_spoof", "garp_spoof", broadcast(arp(bound=OTHER)))
    show("ordinary ARP for another MAC", "garp_spoof", "garp_spoof", broadcast(arp(target=BYSTANDER, bound=OTHER)))


def discoveries():
    claim, use = ("garp_spoof", "claim"), ("garp_spoof", "use")
    show("NA", *claim, ipv6(na()))
    show("NA of a router", *claim, ipv6(na(r=1)))
    show("NA in VLAN 0", *claim, tagged(ipv6(na()), Dot1Q(vlan=0)))
    show("NA in QinQ 8, 9", *claim, tagged(ipv6(na()), Dot1AD(vlan=8), Dot1Q(vlan=9)))
    show("NA from its link-local address", *claim, ipv6(na(), source="fe80::1"))
    show("NA, solicited", *use, ipv6(na(s=1)))
    show("NA without override", *use, ipv6(na(o=0)))
    show("NA without an option", *use, ipv6(na(bound=None)))
    show("NA for another MAC", "garp_spoof", "garp_spoof", ipv6(na(bound=OTHER)))
    slla = ICMPv6NDOptSrcLLAddr(lladdr=SOURCE)
    asked = inet_ntop(socket.AF_INET6, in6_getnsma(inet_pton(socket.AF_INET6, BYSTANDER6)))
    show("NS with its MAC", *use, ipv6(ICMPv6ND_NS(tgt=BYSTANDER6) / slla, to=asked))
    show("RS with its MAC", *use, ipv6(ICMPv6ND_RS() / slla, to=ROUTERS))
    show("RA with its MAC", *use, ipv6(ICMPv6ND_RA() / slla))
    tlla = ICMPv6NDOptDstLLAddr(lladdr=SOURCE)
    show("redirect", *use, ipv6(ICMPv6ND_Redirect(tgt=VIP6, dst=VIP6) / tlla, source="fe80::1"))
    hidden = ("garp_spoof", "garp_spoof")
    show("NA behind hop-by-hop options", *hidden, ipv6(na(), behind=IPv6ExtHdrHopByHop()))
    show("NA behind destination options", *hidden, ipv6(na(), behind=IPv6ExtHdrDestOpt()))
    show("NA in an atomic fragment", *hidden, ipv6(na(), behind=IPv6ExtHdrFragment(id=7)))
    first, second = fragments(ipv6(na()), 24)
    show("NA in fragments, the first", *hidden, first)
    show("NA in fragments, the second", hidden[0], "nothing", second)
    show("NS behind destination options", *hidden, ipv6(ICMPv6ND_NS(tgt=BYSTANDER6) / slla, behind=IPv6ExtHdrDestOpt()))
    show("NS without a MAC", "passes", "nothing", ipv6(ICMPv6ND_NS(tgt=BYSTANDER6), to=asked))
    own = inet_ntop(socket.AF_INET6, in6_getnsma(inet_pton(socket.AF_INET6, VIP6)))
    show("duplicate address detection", "garp_spoof", "nothing", ipv6(ICMPv6ND_NS(tgt=VIP6), to=own, source="::"))
    others = inet_ntop(socket.AF_INET6, in6_getnsma(inet_pton(socket.AF_INET6, BYSTANDER6)))
    solicitation = ipv6(ICMPv6ND_NS(tgt=BYSTANDER6), to=others, source="::")
    show("duplicate address detection of another", "passes", "nothing", solicitation)
    show("NA, checksum wrong", "passes", "nothing", ipv6(na(cksum=0x1234)))
    show("NA, hop limit 254", "passes", "nothing", ipv6(na(), hlim=254))
    show("NA cut off", "passes", "nothing", Ether(raw(ipv6(na()))[: 14 + 40 + 20]))


def to_group(*layers, source="198.19.0.9", options=(), ttl=255):
    frame = Ether(src=SOURCE, dst="01:00:5e:00:00:12") / IP(src=source, dst="224.0.0.18", ttl=ttl, options=list(options))
    for layer in layers:
        frame /= layer
    return frame


def adverts():
    v2 = VRRP(vrid=51, priority=254, addrlist=[VIP], adv=1)
    v3 = VRRPv3(vrid=51, priority=254, addrlist=[VIP], adv=100)
    both = ("vrrp_spoof", "advert")
    show("VRRPv2", *both, to_group(v2))
    show("VRRPv3", *both, to_group(v3))
    show("VRRPv3 in VLAN 0", *both, tagged(to_group(v3), Dot1Q(vlan=0)))
    show("VRRPv3 in VLAN 7", *both, tagged(to_group(v3), Dot1Q(vlan=7)))
    show("VRRPv3 in QinQ 8, 9", *both, tagged(to_group(v3), Dot1AD(vlan=8), Dot1Q(vlan=9)))
    show("VRRPv3 with the address last", *both, to_group(VRRPv3(vrid=9, priority=254, addrlist=["198.19.0.77", VIP])))
    show("VRRPv3 behind IP options", *both, to_group(v3, options=[IPOption_Router_Alert()]))
    sealed = to_group(AH(nh=112, payloadlen=4, spi=1, seq=1, icv=bytes(12)), raw(v2))
    show("VRRPv2 behind an authentication header", *both, sealed)
    six = VRRPv3(vrid=51, priority=254, addrlist=[VIP6], adv=100)
    show("VRRPv3 over IPv6", *both, ipv6(six, to=VRRP6, source="fe80::1", nh=112))
    show("VRRPv3, checksum wrong", "vrrp_spoof", "nothing", to_group(VRRPv3(vrid=51, addrlist=[VIP], chksum=1)))
    show("VRRPv3, TTL 254", "vrrp_spoof", "nothing", to_group(v3, ttl=254))
    show("VRRPv3 of another address", "passes", "nothing", to_group(VRRPv3(vrid=51, priority=254, addrlist=["198.19.0.77"])))


def harmless():
    nothing = ("passes", "nothing")
    show("ARP probe", "garp_spoof", "nothing", broadcast(arp(source="0.0.0.0")))
    show("ARP probe for another address", *nothing, broadcast(arp(source="0.0.0.0", target=BYSTANDER)))
    show("who has it", *nothing, broadcast(arp(source=BYSTANDER)))
    show("RARP", *nothing, rarp())
    show("RARP in VLAN 7", *nothing, tagged(rarp(), Dot1Q(vlan=7, type=RARP)))
    show("GARP for 0.0.0.0", *nothing, broadcast(arp(source="0.0.0.0", target="0.0.0.0")))
    show("GARP for broadcast", *nothing, broadcast(arp(source="255.255.255.255", target="255.255.255.255")))
    show("GARP for the gateway", *nothing, broadcast(arp(source=GATEWAY, target=GATEWAY)))
    garp = broadcast(arp(), bytes(18))
    show("ARP of another hardware", *nothing, patched(garp, 14, "0007"))
    show("ARP for IPv6", *nothing, patched(garp, 16, "86dd"))
    show("ARP, hlen 8", *nothing, patched(garp, 18, "08"))
    show("ARP, hlen 0", *nothing, patched(garp, 18, "00"))
    show("ARP, plen 16", *nothing, patched(garp, 19, "10"))
    whole = raw(garp)
    for length in (14, 22, 28, 37, 41):
        show("ARP cut off at %d" % length, *nothing, Ether(whole[:length]))


arps()
discoveries()
adverts()
harmless()
