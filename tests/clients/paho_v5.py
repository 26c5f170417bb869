"""Eclipse paho-mqtt at MQTT 5.0 against a broker: paho_v5.py HOST PORT USER PASSWORD. Silent and 0 when all is well."""

import queue
import socket
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST, PORT, USER, PASSWORD = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
DEADLINE_S = 10
NEVER = 0xFFFFFFFF


def fail(text):
    sys.exit(f"paho_v5.py: {text}")


def check(what, seen, wanted):
    if seen != wanted:
        fail(f"{what}: {seen!r}, not {wanted!r}")


def properties(packet_type, **values):
    block = Properties(packet_type)
    for name, value in values.items():
        setattr(block, name, value)
    return block


class Client:
    """One paho client whose callbacks fill queues."""

    def __init__(self, client_id, password=PASSWORD, will=None):
        self.name = client_id or "a client without an id"
        self.connected, self.answered, self.messages, self.gone = (queue.Queue() for _ in range(4))
        self.codes = {}
        self.paho = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        self.paho.on_connect = lambda c, u, flags, code, block: self.connected.put((flags, code, block))
        self.paho.on_subscribe = lambda c, u, mid, codes, block: self.answered.put([code.value for code in codes])
        self.paho.on_unsubscribe = lambda c, u, mid, codes, block: self.answered.put([code.value for code in codes])
        self.paho.on_publish = lambda c, u, mid, code, block: self.codes.__setitem__(mid, code.value)
        self.paho.on_message = lambda c, u, message: self.messages.put(message)
        self.paho.on_disconnect = lambda c, u, flags, code, block: self.gone.put((flags.is_disconnect_packet_from_server, code, block))
        self.paho.username_pw_set(USER, password)
        if will:
            self.paho.will_set(*will)

    def wait(self, what, source):
        try:
            return source.get(timeout=DEADLINE_S)
        except queue.Empty:
            fail(f"{self.name}: no {what} within {DEADLINE_S} s")

    def connect(self, want=0, session_present=False, clean=True, **values):
        self.paho.connect(HOST, PORT, keepalive=30, clean_start=clean, properties=properties(PacketTypes.CONNECT, **values))
        self.paho.loop_start()
        flags, code, self.told = self.wait("CONNACK", self.connected)
        check(f"{self.name}: code of CONNACK", code.value, want)
        check(f"{self.name}: session present", flags.session_present, session_present)
        return self

    def subscribe(self, topic, want=None, identifier=None, **options):
        options = SubscribeOptions(**options)
        block = properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=identifier) if identifier else None
        self.paho.subscribe(topic, options=options, properties=block)
        check(f"{self.name}: SUBACK of {topic}", self.wait("SUBACK", self.answered), [options.QoS if want is None else want])

    def unsubscribe(self, topic, want):
        self.paho.unsubscribe(topic)
        check(f"{self.name}: UNSUBACK of {topic}", self.wait("UNSUBACK", self.answered), [want])

    def publish(self, topic, payload, qos=1, retain=False, want=0, **values):
        sent = self.paho.publish(topic, payload, qos, retain, properties=properties(PacketTypes.PUBLISH, **values))
        sent.wait_for_publish(DEADLINE_S)
        if not sent.is_published():
            fail(f"{self.name}: QoS {qos} PUBLISH to {topic} was not acknowledged")
        if qos == 1 and want is not None:
            check(f"{self.name}: PUBACK of {topic}", self.codes.get(sent.mid), want)

    def expect(self, topic, payload, qos=1, retain=False, **values):
        got = self.wait(f"message on {topic}", self.messages)
        check(f"{self.name}: message", (got.topic, got.payload, got.qos, bool(got.retain)), (topic, payload, qos, retain))
        told = {name: value for name, value in vars(got.properties).items() if name not in ("packetType", "types", "names", "properties", "TopicAlias")}
        check(f"{self.name}: properties of {topic}", told, values)

    def expect_nothing(self):
        if not self.messages.empty():
            got = self.messages.get()
            fail(f"{self.name}: received {got.topic} {got.payload} too much")

    def close(self, **values):
        self.paho.disconnect(properties=properties(PacketTypes.DISCONNECT, **values))
        self.wait("end of the connection", self.gone)
        self.paho.loop_stop()

    def cut(self):
        """Ends the connection as a crash would, without DISCONNECT."""
        self.paho.socket().shutdown(socket.SHUT_RDWR)
        self.wait("end of the connection", self.gone)
        self.paho.loop_stop()


def run():
    # "Not authorized", and why.
    refused = Client("v5-refused", password=PASSWORD + "x").connect(want=0x87)
    if not getattr(refused.told, "ReasonString", None):
        fail("a refusal without a Reason String")
    refused.paho.loop_stop()

    # An id from the server, good for as long as the session lives.
    nameless = Client("").connect(SessionExpiryInterval=60)
    assigned = nameless.told.AssignedClientIdentifier
    nameless.close()
    Client(assigned).connect(clean=False, session_present=True, SessionExpiryInterval=0).close()
    Client(assigned).connect(clean=False, session_present=False).close()

    listener = Client("v5-listener").connect()
    speaker = Client("v5-speaker").connect()

    # Every property, for every QoS, and User Properties in their order.
    everything = {
        "PayloadFormatIndicator": 1,
        "ContentType": "text/plain",
        "ResponseTopic": "v5/réponse",
        "CorrelationData": bytes(range(256)),
        "UserProperty": [("b", "1"), ("a", "2"), ("b", "3")],
    }
    listener.subscribe("v5/all/#", qos=2)
    for qos in (0, 1, 2):
        speaker.publish("v5/all/x", b"payload", qos, **everything)
        listener.expect("v5/all/x", b"payload", qos, **everything)
    speaker.publish("v5/all/x", b"", 1)
    listener.expect("v5/all/x", b"", 1)

    # Aliases of the publisher: set, used, set anew.
    listener.subscribe("v5/alias/+", qos=1)
    for topic, payload, name in (("v5/alias/a", b"1", "a"), ("", b"2", "a"), ("v5/alias/b", b"3", "b"), ("", b"4", "b")):
        speaker.publish(topic, payload, TopicAlias=1)
        listener.expect(f"v5/alias/{name}", payload)

    # Identifiers: of one subscription, and a subscription made anew with another.
    listener.subscribe("v5/id/+", qos=1, identifier=7)
    speaker.publish("v5/id/x", b"seven")
    listener.expect("v5/id/x", b"seven", SubscriptionIdentifier=[7])
    listener.subscribe("v5/id/+", qos=1, identifier=268435455)
    speaker.publish("v5/id/x", b"most")
    listener.expect("v5/id/x", b"most", SubscriptionIdentifier=[268435455])
    listener.unsubscribe("v5/id/+", 0)
    listener.unsubscribe("v5/id/+", 0x11)

    # Nobody is there to read it; and a well-formed filter with more levels than are served. [v5 3.9.3]
    speaker.publish("v5/nobody", b"", want=0x10)
    listener.paho._filter_wildcard_len_check = lambda sub: mqtt.MQTT_ERR_SUCCESS
    listener.subscribe("v5" + "/a" * 201, want=0x8F, qos=1)

    # No Local.
    speaker.subscribe("v5/local/not", qos=1, noLocal=True)
    speaker.subscribe("v5/local/all", qos=1)
    speaker.publish("v5/local/not", b"unheard", want=None)
    speaker.publish("v5/local/all", b"heard")
    speaker.expect("v5/local/all", b"heard")

    # Retain As Published and Retain Handling.
    speaker.publish("v5/kept", b"kept", retain=True, want=0x10)
    listener.subscribe("v5/kept", qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
    listener.subscribe("v5/kept", qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
    listener.expect_nothing()
    listener.subscribe("v5/kept", qos=1)
    listener.expect("v5/kept", b"kept", retain=True)
    speaker.publish("v5/kept", b"live", retain=True)
    listener.expect("v5/kept", b"live", retain=False)
    listener.subscribe("v5/kept", qos=1, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
    speaker.publish("v5/kept", b"as published", retain=True)
    listener.expect("v5/kept", b"as published", retain=True)
    speaker.publish("v5/kept", b"", retain=True)
    listener.expect("v5/kept", b"", retain=True)

    # A will with properties, after a crash and by DISCONNECT 0x04; none after 0x00.
    listener.subscribe("v5/will/+", qos=1)
    mortal = Client("v5-mortal", will=("v5/will/cut", "gone", 1, False, properties(PacketTypes.WILLMESSAGE, ContentType="text", UserProperty=("k", "v")))).connect()
    mortal.cut()
    listener.expect("v5/will/cut", b"gone", ContentType="text", UserProperty=[("k", "v")])
    Client("v5-polite", will=("v5/will/polite", "wrong", 1, False)).connect().close()

    # A session waits as long as it was told to, and its end can be moved by DISCONNECT.
    away = Client("v5-away").connect(SessionExpiryInterval=NEVER)
    away.subscribe("v5/away/#", qos=2)
    away.close()
    for n in range(20):
        speaker.publish(f"v5/away/{n}", str(n).encode(), 1 + n // 10, UserProperty=("n", str(n)))
    # One at a time, as this Client asks.
    back = Client("v5-away").connect(clean=False, session_present=True, SessionExpiryInterval=60, ReceiveMaximum=1)
    for n in range(20):
        back.expect(f"v5/away/{n}", str(n).encode(), 1 + n // 10, UserProperty=[("n", str(n))])
    # The same id again: the older connection is told so.
    twin = Client("v5-away").connect(clean=False, session_present=True, SessionExpiryInterval=60)
    from_server, code, _ = back.wait("end of the older connection", back.gone)
    check("v5-away: end by the server", (from_server, code.value), (True, 0x8E))
    back.paho.loop_stop()
    twin.close(SessionExpiryInterval=0)
    Client("v5-away").connect(clean=False, session_present=False).close()

    # Request and response.
    server = Client("v5-server").connect()
    server.subscribe("v5/ask", qos=1)
    asker = Client("v5-asker").connect(RequestResponseInformation=1)
    asker.subscribe("v5/answer/asker", qos=1)
    asker.publish("v5/ask", b"2 + 2", ResponseTopic="v5/answer/asker", CorrelationData=b"\x00\x01")
    request = server.wait("request", server.messages)
    server.publish(request.properties.ResponseTopic, b"4", CorrelationData=request.properties.CorrelationData)
    asker.expect("v5/answer/asker", b"4", CorrelationData=b"\x00\x01")
    asker.close()
    server.close()

    # A rule broken: an alias that the server has not offered.
    breaker = Client("v5-breaker").connect()
    breaker.paho.publish("v5/x", b"", 0, properties=properties(PacketTypes.PUBLISH, TopicAlias=breaker.told.TopicAliasMaximum + 1))
    from_server, code, block = breaker.wait("end of the connection", breaker.gone)
    check("v5-breaker: end by the server", (from_server, code.value), (True, 0x94))
    breaker.paho.loop_stop()

    listener.expect_nothing()
    speaker.expect_nothing()
    listener.close()
    speaker.close()


run()
