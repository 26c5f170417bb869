"""Eclipse paho-mqtt against a broker: paho_run.py HOST PORT USER PASSWORD [ws | wss CA]. Silent and 0 when all is well."""

import os
import queue
import socket
import sys

import paho.mqtt.client as mqtt

HOST, PORT, USER, PASSWORD = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
TRANSPORT = "websockets" if sys.argv[5:6] in (["ws"], ["wss"]) else "tcp"
CA = sys.argv[6] if sys.argv[5:6] == ["wss"] else None
DEADLINE_S = 10


def fail(text):
    sys.exit(f"paho_run.py: {text}")


class Client:
    """One paho client whose callbacks fill queues."""

    def __init__(self, client_id, protocol, clean=True, user=USER, password=PASSWORD, will=None):
        self.name = client_id
        self.connected, self.subscribed, self.messages, self.gone = (queue.Queue() for _ in range(4))
        self.paho = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=clean,
            protocol=protocol,
            transport=TRANSPORT,
            reconnect_on_failure=False,
        )
        if CA:
            self.paho.tls_set(ca_certs=CA)
        self.paho.on_connect = lambda c, u, flags, code, p: self.connected.put((flags, code))
        self.paho.on_subscribe = lambda c, u, mid, codes, p: self.subscribed.put([code.value for code in codes])
        self.paho.on_message = lambda c, u, message: self.messages.put(message)
        self.paho.on_disconnect = lambda c, u, flags, code, p: self.gone.put(code)
        self.paho.username_pw_set(user, password)
        if will:
            self.paho.will_set(*will)

    def wait(self, what, source):
        try:
            return source.get(timeout=DEADLINE_S)
        except queue.Empty:
            fail(f"{self.name}: no {what} within {DEADLINE_S} s")

    def connect(self, want=0, session_present=False):
        self.paho.connect(HOST, PORT, keepalive=30)
        self.paho.loop_start()
        flags, code = self.wait("CONNACK", self.connected)
        # paho shows return codes of 3.x as reason codes of 5.0: 5 becomes 135, "Not authorized".
        if code.value != want:
            fail(f"{self.name}: CONNACK said {code} ({code.value}), not {want}")
        if want == 0 and flags.session_present != session_present:
            fail(f"{self.name}: session present is {flags.session_present}")
        return self

    def subscribe(self, *filters):
        self.paho.subscribe(list(filters))
        codes = self.wait("SUBACK", self.subscribed)
        if codes != [qos for _, qos in filters]:
            fail(f"{self.name}: SUBACK said {codes} for {filters}")

    def publish(self, topic, payload, qos=0, retain=False):
        sent = self.paho.publish(topic, payload, qos, retain)
        sent.wait_for_publish(DEADLINE_S)
        if not sent.is_published():
            fail(f"{self.name}: QoS {qos} PUBLISH to {topic} was not acknowledged")

    def expect(self, topic, payload, qos=0, retain=False):
        got = self.wait(f"message on {topic}", self.messages)
        seen = (got.topic, got.payload, got.qos, bool(got.retain))
        if seen != (topic, payload, qos, retain):
            fail(f"{self.name}: received {seen}, not {(topic, payload, qos, retain)}")

    def expect_nothing(self):
        if not self.messages.empty():
            got = self.messages.get()
            fail(f"{self.name}: received {got.topic} {got.payload} too much")

    def close(self):
        self.paho.disconnect()
        self.wait("end of the connection", self.gone)
        self.paho.loop_stop()

    def cut(self):
        """Ends the connection as a crash would, without DISCONNECT."""
        # Of a WebSocket, paho gives what it wraps it in.
        with socket.socket(fileno=os.dup(self.paho.socket().fileno())) as own:
            own.shutdown(socket.SHUT_RDWR)
        self.wait("end of the connection", self.gone)
        self.paho.loop_stop()


def run(protocol, tag):
    prefix = f"paho/{tag}"

    # A wrong password and an unknown user: "not authorised".
    for user, password in ((USER, PASSWORD + "x"), ("nobody-of-that-name", PASSWORD)):
        refused = Client(f"paho-{tag}-refused", protocol, user=user, password=password).connect(want=135)
        refused.paho.loop_stop()

    # Every QoS, wildcards, and names of any language.
    listener = Client(f"paho-{tag}-listener", protocol).connect()
    listener.subscribe((f"{prefix}/0/+", 0), (f"{prefix}/1/+", 1), (f"{prefix}/2/#", 2))
    speaker = Client(f"paho-{tag}-speaker", protocol).connect()
    for qos in (0, 1, 2):
        for publish_qos in (0, 1, 2):
            topic = f"{prefix}/{qos}/Réfrigérateur"
            speaker.publish(topic, f"{qos}{publish_qos} 4 °C".encode(), publish_qos)
            listener.expect(topic, f"{qos}{publish_qos} 4 °C".encode(), min(qos, publish_qos))

    # A message of 200,000 bytes, and an empty one.
    large = bytes(range(256)) * 800
    speaker.publish(f"{prefix}/1/large", large, 1)
    listener.expect(f"{prefix}/1/large", large, 1)
    speaker.publish(f"{prefix}/2/empty", b"", 2)
    listener.expect(f"{prefix}/2/empty", b"", 2)

    # Retained: a later subscriber gets it with the flag, a present one without; an empty one clears it.
    listener.subscribe((f"{prefix}/kept/+", 1))
    speaker.publish(f"{prefix}/kept/door", b"open", 1, retain=True)
    listener.expect(f"{prefix}/kept/door", b"open", 1, retain=False)
    late = Client(f"paho-{tag}-late", protocol).connect()
    late.subscribe((f"{prefix}/kept/#", 1))
    late.expect(f"{prefix}/kept/door", b"open", 1, retain=True)
    late.close()
    speaker.publish(f"{prefix}/kept/door", b"", 1, retain=True)
    listener.expect(f"{prefix}/kept/door", b"", 1)
    late = Client(f"paho-{tag}-later", protocol).connect()
    late.subscribe((f"{prefix}/kept/#", 1), (f"{prefix}/sync", 1))
    speaker.publish(f"{prefix}/sync", b"now", 1)
    late.expect(f"{prefix}/sync", b"now", 1)
    late.close()

    # A will is published when the connection breaks, and not after DISCONNECT.
    listener.subscribe((f"{prefix}/will/+", 1))
    mortal = Client(f"paho-{tag}-mortal", protocol, will=(f"{prefix}/will/cut", "Offline", 1, True)).connect()
    mortal.cut()
    listener.expect(f"{prefix}/will/cut", b"Offline", 1)
    speaker.publish(f"{prefix}/will/cut", b"", 1, retain=True)
    listener.expect(f"{prefix}/will/cut", b"", 1)
    polite = Client(f"paho-{tag}-polite", protocol, will=(f"{prefix}/will/polite", "Offline", 1, False)).connect()
    polite.close()

    # A session waits for its Client: what came meanwhile is there at the return, in order, once. Paho hands a QoS 2 message
    # on at PUBREL, so the two QoS are not mixed. MQTT 3.1 has no "session present": paho hands on a byte that is reserved there.
    identity = f"paho-{tag}-away"
    Client(identity, protocol).connect().close()
    away = Client(identity, protocol, clean=False).connect()
    away.subscribe((f"{prefix}/away/#", 2))
    away.close()
    for n in range(20):
        speaker.publish(f"{prefix}/away/{n}", str(n).encode(), 1 + n // 10)
    back = Client(identity, protocol, clean=False)
    back.connect(session_present=protocol == mqtt.MQTTv311)
    for n in range(20):
        back.expect(f"{prefix}/away/{n}", str(n).encode(), 1 + n // 10)

    # The same id again: the new connection wins, the old one ends.
    twin = Client(identity, protocol, clean=False).connect(session_present=protocol == mqtt.MQTTv311)
    back.wait("end of the older connection", back.gone)
    back.paho.loop_stop()
    speaker.publish(f"{prefix}/away/twin", b"hello", 1)
    twin.expect(f"{prefix}/away/twin", b"hello", 1)
    twin.close()
    Client(identity, protocol).connect().close()

    listener.expect_nothing()
    listener.close()
    speaker.close()


run(mqtt.MQTTv311, "311")
run(mqtt.MQTTv31, "31")
