"""What MicroPython has and CPython has not, as thin stand-ins: importing this lets umqtt.simple and umqtt.robust be imported
unchanged."""

import binascii
import socket
import struct
import sys
import time
import types

DEADLINE_S = 10


class StreamSocket:
    """A socket with the stream calls of MicroPython: every `write` leaves at once, `read` returns all it was asked
    for, `None` if the socket does not block and nothing is there, or fewer bytes at the end of the stream."""

    def __init__(self):
        self.inner = socket.socket()
        self.inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.inner.settimeout(DEADLINE_S)

    def connect(self, address):
        self.inner.connect(address)

    def write(self, data, length=None):
        data = bytes(data if length is None else data[:length])
        self.inner.sendall(data)
        return len(data)

    def read(self, length):
        data = b""
        while len(data) < length:
            try:
                more = self.inner.recv(length - len(data))
            except BlockingIOError:
                if not data:
                    return None
                self.inner.settimeout(DEADLINE_S)
                continue
            if not more:
                break
            data += more
        return data

    def setblocking(self, on):
        self.inner.settimeout(DEADLINE_S if on else 0)

    def close(self):
        self.inner.close()


def getaddrinfo(host, port):
    return socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)


usocket = types.ModuleType("usocket")
usocket.socket, usocket.getaddrinfo = StreamSocket, getaddrinfo
sys.modules["usocket"], sys.modules["ustruct"], sys.modules["ubinascii"] = usocket, struct, binascii
sys.modules["utime"] = time
