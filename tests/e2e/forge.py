"""Sends UDP datagrams with a forged source: forge.py SOURCE DESTINATION PORT TEXT. IPv4, by a raw socket."""
import random
import socket
import struct
import sys

source, destination, port, text = sys.argv[1:5]
payload = text.encode()
udp = struct.pack("!HHHH", random.randint(1024, 32767), int(port), 8 + len(payload), 0) + payload
head = struct.pack(
    "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0,
    socket.inet_aton(source), socket.inet_aton(destination),
)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
raw.sendto(head + udp, (destination, 0))
