"""A link between two network namespaces that delays and loses packets.

link.py SPACE DEVICE ADDRESS SPACE DEVICE ADDRESS MILLISECONDS PERCENT

Makes a TUN device in each namespace and carries packets between them until its
standard input ends. Each packet is delayed by about this many milliseconds, and
this percentage of them is lost, drawn with a fixed seed.
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 1, 0x1000
MTU = 9000


def tun(space, device, address):
    """A TUN device in a namespace; its file."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{space}") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {space}")
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
    for words in (
        f"addr add {address}/24 dev {device}",
        f"link set {device} mtu {MTU} up",
        "link set lo up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    return file


def main():
    first, second = tun(*sys.argv[1:4]), tun(*sys.argv[4:7])
    delay, lost = float(sys.argv[7]) / 1000, float(sys.argv[8]) / 100
    draw = random.Random(1)
    waiting = []
    print("ready", flush=True)
    number = 0
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, to, packet = heapq.heappop(waiting)
            try:
                os.write(to, packet)
            except BlockingIOError:
                pass
        pause = max(0, waiting[0][0] - now) if waiting else None
        ready, _, _ = select.select([first, second, sys.stdin], [], [], pause)
        if sys.stdin in ready:
            return
        for source in ready:
            to = second if source == first else first
            try:
                packet = os.read(source, MTU + 100)
            except BlockingIOError:
                continue
            if draw.random() >= lost:
                # The order of packets stays: TCP takes another order for a loss.
                number += 1
                heapq.heappush(waiting, (time.monotonic() + delay, number, to, packet))


main()
