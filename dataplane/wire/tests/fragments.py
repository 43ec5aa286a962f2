#!/usr/bin/python3
"""What Linux believes of packets in fragments: neighbour discovery, and VRRP as a daemon's raw socket receives it.

    fragments.py    sends each message whole and in all ways to cut it into two or three fragments, behind several extension headers,
                    in both orders, with later fragments that state another next header; to a host in a namespace

Prints one line for each packet that changed the host's neighbour cache or reached a raw socket, tabs between: address, then the
frames (hex). Then "sent" and how many packets were. Needs root and iproute2.
"""

import itertools
import os
import socket
import struct
import subprocess
import sys
import time

from neighbours import HOST6, VIPS, VIPS6, enter, forget, lab, neighbours

VM = bytes.fromhex("020000000011")
VIP, VIP6 = VIPS[0], VIPS6[0]
NODES6, GROUP6 = "ff02::1", "ff02::12"
IPV6_FRAGMENT, ICMPV6, VRRP, AH, UDP = 44, 58, 112, 51, 17
# What stands before the message, the last of which is followed by it: hop-by-hop options (0), routing (43), destination options (60).
CHAINS = [(), (60,), (60, 60), (0,), (43,), (60, 43, 60)]


def pton(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def checksum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def summed(message, place, source, destination, protocol):
    pseudo = pton(source) + pton(destination) + struct.pack("!II", len(message), protocol)
    return message[:place] + struct.pack("!H", checksum(pseudo + message)) + message[place + 2:]


def messages():
    """Source, destination, protocol, message: each would bind or advertise VIP6."""
    link = lambda kind: bytes([kind, 1]) + VM  # noqa: E731
    for source, destination, message in [
        ("fe80::1", NODES6, bytes([136, 0, 0, 0, 0x20, 0, 0, 0]) + pton(VIP6) + link(2)),
        (VIP6, NODES6, bytes([135, 0, 0, 0]) + bytes(4) + pton(HOST6) + link(1)),
        (VIP6, "ff02::2", bytes([133, 0, 0, 0]) + bytes(4) + link(1)),
    ]:
        yield source, destination, ICMPV6, summed(message, 2, source, destination, ICMPV6)
    router = bytes([134, 0, 0, 0, 64, 0]) + struct.pack("!HII", 1800, 0, 0) + link(1)
    yield "fe80::1", NODES6, ICMPV6, summed(router, 2, "fe80::1", NODES6, ICMPV6)
    advert = bytes([0x31, 51, 100, 2]) + struct.pack("!HH", 100, 0) + pton("fe80::1") + pton(VIP6)
    yield "fe80::1", GROUP6, VRRP, summed(advert, 6, "fe80::1", GROUP6, VRRP)


def chained(chain, protocol, message):
    """The message behind extension headers of 8 bytes; the first one's number before."""
    for header in reversed(chain):
        message = bytes([protocol, 0]) + (b"\x01\x04" + bytes(4) if header != 43 else b"\x04\x00" + bytes(4)) + message
        protocol = header
    return protocol, message


def cuts(length, unit=8):
    """Where the fragments begin: nowhere else, at one place, at two."""
    places = range(unit, length, unit)
    for count in (0, 1, 2):
        yield from itertools.combinations(places, count)


def parts(message, places):
    bounds = [0, *places, len(message)]
    for start, end in itertools.pairwise(bounds):
        yield start, message[start:end], end < len(message)


def ipv6_frames(number, source, destination, protocol, message, places, lie):
    ethernet = b"\x33\x33" + pton(destination)[12:] + VM + b"\x86\xdd"
    for start, part, more in parts(message, places):
        stated = protocol if start == 0 or lie is None else lie
        body = struct.pack("!BBHI", stated, 0, start | more, number) + part
        head = struct.pack("!IHBB", 6 << 28, len(body), IPV6_FRAGMENT, 255)
        yield ethernet + head + pton(source) + pton(destination) + body


def ipv4_frames(number, protocol, message, places):
    ethernet = bytes.fromhex("01005e000012") + VM + b"\x08\x00"
    for start, part, more in parts(message, places):
        offset = start // 8 | (0x2000 if more else 0)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(part), number & 0xFFFF, offset, 255, protocol, 0)
        head += pton(VIPS[1]) + pton("224.0.0.18")
        yield ethernet + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + part


def packets():
    """Lists of frames: the fragments of one packet each, in both orders."""
    number = itertools.count(1)
    for source, destination, protocol, message in messages():
        for chain in CHAINS:
            first, whole = chained(chain, protocol, message)
            for places in cuts(len(whole)):
                lies = [None] if not places else [None, UDP, 59]
                for lie, order in itertools.product(lies, (1, -1)):
                    frames = ipv6_frames(next(number), source, destination, first, whole, places, lie)
                    yield list(frames)[::order]
    advert = bytes([0x21, 51, 150, 2, 0, 1, 0, 0]) + pton(VIPS[1]) + pton(VIP) + bytes(8)
    advert = advert[:6] + struct.pack("!H", checksum(advert)) + advert[8:]
    protected = bytes([VRRP, 4, 0, 0]) + bytes(20) + advert
    for protocol, message in [(VRRP, advert), (AH, protected)]:
        for places in cuts(len(message)):
            for order in (1, -1):
                yield list(ipv4_frames(next(number), protocol, message, places))[::order]


def raw(family, protocol, group):
    receiver = socket.socket(family, socket.SOCK_RAW, protocol)
    receiver.setblocking(False)
    index = socket.if_nametoindex("eth0")
    if family == socket.AF_INET6:
        member = pton(group) + struct.pack("@I", index)
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
    else:
        member = pton(group) + bytes(4) + struct.pack("@i", index)
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    return receiver


def received(receivers):
    """Addresses in the messages that raw sockets have received."""
    for receiver in receivers:
        address = VIP6 if receiver.family == socket.AF_INET6 else VIP
        try:
            while pton(address) in receiver.recv(4096):
                yield address
        except BlockingIOError:
            pass


def main():
    if os.geteuid() != 0:
        sys.exit("fragments.py: needs root, to make network namespaces")
    wire, host = (f"bcast-{os.getpid()}-0-{name}" for name in ("wire", "host"))
    try:
        lab(wire, host)
        enter(wire)
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sender.bind(("eth0", 0))
        enter(host)
        receivers = [
            raw(socket.AF_INET6, VRRP, GROUP6),
            raw(socket.AF_INET, VRRP, "224.0.0.18"),
            raw(socket.AF_INET, AH, "224.0.0.18"),
        ]
        forget()
        before, sent = neighbours(), 0
        for frames in packets():
            for frame in frames:
                sender.send(frame)
            sent += 1
            time.sleep(0.001)
            after = neighbours()
            believed = {address for address in after if after[address] != before.get(address)}
            believed.update(received(receivers))
            for address in believed:
                print(address, *(frame.hex() for frame in frames), sep="\t")
            if after != before:
                forget()
                after = neighbours()
            before = after
        print("sent", sent, sep="\t")
    finally:
        for namespace in (wire, host):
            subprocess.run(["ip", "netns", "del", namespace], check=False)


main()
