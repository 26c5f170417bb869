"""As much of an MQTT 3.1.1 Client as the checks here want: blocking, over one socket, strict about what it reads."""

import socket
import struct


def text(value):
    value = value.encode()
    return struct.pack(">H", len(value)) + value


def packet(first, body):
    length, rest = b"", len(body)
    while True:
        length += bytes([rest % 128 | (0x80 if rest > 127 else 0)])
        rest //= 128
        if not rest:
            return bytes([first]) + length + body


def publish(topic, payload, qos=0, packet_id=0, retain=False):
    identifier = struct.pack(">H", packet_id) if qos else b""
    return packet(0x30 | qos << 1 | retain, text(topic) + identifier + payload)


class Client:
    """Connected when made. Errors: `ConnectionError` with the refusal's code; `AssertionError` for an answer out of place."""

    def __init__(self, port, name, user=None, password=None, clean=True, will=None, timeout_s=60):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = b""
        self.packet_id = 0
        flags = 2 * clean | (0x80 if user else 0) | (0x40 if password else 0) | (0x0C if will else 0)
        body = text("MQTT") + bytes([4, flags, 0, 0]) + text(name)
        for value in [*(will or ()), user, password]:
            if value is not None:
                body += text(value)
        self.send(packet(0x10, body))
        first, answer = self.read()
        assert first == 0x20 and len(answer) == 2, f"CONNACK expected, got {first:#x}"
        if answer[1]:
            raise ConnectionError(f"refused with {answer[1]}")
        self.session_present = bool(answer[0])

    def send(self, data):
        self.socket.sendall(data)

    def read(self):
        """The next packet: its first byte and its body."""
        while True:
            if len(self.unread) >= 2:
                length, shift, at = 0, 0, 1
                while at < len(self.unread):
                    byte = self.unread[at]
                    length |= (byte & 127) << shift
                    shift, at = shift + 7, at + 1
                    if byte < 128:
                        if len(self.unread) >= at + length:
                            first, body = self.unread[0], self.unread[at : at + length]
                            self.unread = self.unread[at + length :]
                            return first, body
                        break
            read = self.socket.recv(65536)
            if not read:
                raise ConnectionError("closed by the broker")
            self.unread += read

    def next_id(self):
        self.packet_id = self.packet_id % 65535 + 1
        return self.packet_id

    def subscribe(self, topic_filter, qos=0):
        identifier = struct.pack(">H", self.next_id())
        self.send(packet(0x82, identifier + text(topic_filter) + bytes([qos])))
        first, body = self.read()
        assert first == 0x90 and body == identifier + bytes([qos]), f"SUBACK expected, got {first:#x} {body!r}"

    def message(self):
        """The next PUBLISH: topic, payload, packet_id (0 for QoS 0); QoS 1 is acknowledged."""
        first, body = self.read()
        assert first >> 4 == 3, f"PUBLISH expected, got {first:#x}"
        length = struct.unpack(">H", body[:2])[0]
        topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
        if not first & 6:
            return topic, rest, 0
        assert first & 6 == 2, "QoS 2 is not spoken here"
        self.send(packet(0x40, rest[:2]))
        return topic, rest[2:], struct.unpack(">H", rest[:2])[0]

    def publish_acknowledged(self, topic, payload):
        """QoS 1, and waits for PUBACK."""
        identifier = self.next_id()
        self.send(publish(topic, payload, 1, identifier))
        first, body = self.read()
        assert first == 0x40 and body == struct.pack(">H", identifier), f"PUBACK expected, got {first:#x}"

    def close(self):
        """Without DISCONNECT."""
        self.socket.close()

    def disconnect(self):
        self.send(b"\xe0\x00")
        self.socket.close()
