"""BFD frames by scapy. "make SEED COUNT": frames with their fields, a line each; "read": hex lines to the same fields.

A line has, by tabs: diagnostic, state, flags (P F C A D M as bits 32 to 1), multiplier, my discriminator, your
discriminator, desired TX, required RX, required echo RX, source address, destination address, source port, and in
"make" the frame in hex."""
import random
import sys

from scapy.all import IP, UDP, Ether, raw
from scapy.contrib.bfd import BFD


def make(seed, count):
    rng = random.Random(seed)
    word = lambda: rng.choice([0, 1, 50_000, 1_000_000, rng.getrandbits(32), 0xFFFFFFFF])
    for _ in range(count):
        flags = rng.getrandbits(6) & ~0b101
        bfd = BFD(diag=rng.getrandbits(5), sta=rng.getrandbits(2), flags=flags, detect_mult=rng.randint(1, 255),
                  my_discriminator=rng.randint(1, 0xFFFFFFFF), your_discriminator=rng.randint(1, 0xFFFFFFFF),
                  min_tx_interval=word(), min_rx_interval=word(), echo_rx_interval=word())
        ip = IP(src=f"169.254.{rng.randint(0, 255)}.1", dst="169.254.1.0", ttl=255, tos=rng.getrandbits(8),
                id=rng.getrandbits(16), flags=rng.choice(["", "DF"]))
        udp = UDP(sport=rng.randint(49152, 65535), dport=3784)
        if rng.random() < 0.3:
            udp.chksum = 0
        frame = raw(Ether(dst="00:23:20:00:00:01", src="02:00:00:00:00:01") / ip / udp / bfd)
        print("\t".join(fields(Ether(frame)) + [(frame + bytes(rng.choice([0, 0, 7]))).hex()]))


def fields(frame):
    bfd, ip, udp = frame[BFD], frame[IP], frame[UDP]
    assert (frame.dst, frame.type, bfd.version, bfd.len) == ("00:23:20:00:00:01", 0x0800, 1, 24), frame.show(dump=True)
    assert (ip.ttl, udp.dport, udp.len) == (255, 3784, 32), frame.show(dump=True)
    return [str(value) for value in (
        bfd.diag, bfd.sta, int(bfd.flags), bfd.detect_mult, bfd.my_discriminator, bfd.your_discriminator,
        bfd.min_tx_interval, bfd.min_rx_interval, bfd.echo_rx_interval, ip.src, ip.dst, udp.sport)]


def read():
    for line in sys.stdin:
        data = bytes.fromhex(line)
        frame = Ether(data)
        again = frame.copy()
        for layer in (again[IP], again[UDP]):
            del layer.chksum
        assert raw(again) == data, "scapy computes other checksums"
        print("\t".join(fields(frame)))


make(int(sys.argv[2]), int(sys.argv[3])) if sys.argv[1] == "make" else read()
