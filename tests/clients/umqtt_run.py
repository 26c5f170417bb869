"""MicroPython's umqtt.simple, unchanged, under CPython: umqtt_run.py HOST PORT USER PASSWORD. Silent and 0 when all is well.

The MicroPython modules it imports are replaced by the thin stand-ins of micropython.py."""

import sys

import micropython  # noqa: F401 (the stand-ins)

HOST, PORT, USER, PASSWORD = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]

from umqtt.simple import MQTTClient, MQTTException  # noqa: E402 (it needs the stand-ins)


def fail(text):
    sys.exit(f"umqtt_run.py: {text}")


def expect(what, got, want):
    if got != want:
        fail(f"{what}: {got!r}, not {want!r}")


def client(client_id, user=USER, password=PASSWORD):
    """A client that keeps what it receives in `received`."""
    made = MQTTClient(client_id, HOST, port=PORT, user=user.encode(), password=password.encode())
    made.received = []
    made.set_callback(lambda topic, payload: made.received.append((topic, payload)))
    return made


def next_message(of):
    while not of.received:
        of.wait_msg()
    return of.received.pop(0)


# A wrong password: umqtt raises the return code.
try:
    client(b"umqtt-refused", password=PASSWORD + "x").connect()
    fail("a wrong password was accepted")
except MQTTException as refused:
    expect("return code for a wrong password", refused.args[0], 5)

# Publish and subscribe, QoS 0 and 1.
board = client(b"umqtt-board")
expect("session present", board.connect(), 0)
board.subscribe(b"umqtt/+/set", qos=1)
phone = client(b"umqtt-phone")
phone.connect()
phone.publish(b"umqtt/lamp/set", b"on")
expect("QoS 0 message", next_message(board), (b"umqtt/lamp/set", b"on"))
phone.publish(b"umqtt/lamp/set", b"off", qos=1)
expect("QoS 1 message", next_message(board), (b"umqtt/lamp/set", b"off"))
expect("nothing more", board.check_msg(), None)
# One Client's own message, which umqtt may receive before the PUBACK.
board.publish(b"umqtt/board/set", b"echo", qos=1)
expect("its own message", next_message(board), (b"umqtt/board/set", b"echo"))
# A payload long enough for a length of two bytes.
phone.publish(b"umqtt/lamp/set", b"x" * 5000, qos=1)
expect("a message of 5,000 bytes", next_message(board), (b"umqtt/lamp/set", b"x" * 5000))
board.ping()
expect("an answer to PINGREQ", board.wait_msg(), None)

# Retained: comes to a new subscriber, possibly before its SUBACK; an empty one clears it.
phone.publish("umqtt/état/température".encode(), b"21.5", retain=True, qos=1)
late = client(b"umqtt-late")
late.connect()
late.subscribe(b"umqtt/#", qos=0)
expect("the retained message", next_message(late), ("umqtt/état/température".encode(), b"21.5"))
late.disconnect()
phone.publish("umqtt/état/température".encode(), b"", retain=True, qos=1)

# Last will: the board loses its power (no DISCONNECT).
phone.subscribe(b"umqtt/status/+", qos=1)
mortal = client(b"umqtt-mortal")
mortal.set_last_will(b"umqtt/status/mortal", b"Offline", retain=True, qos=1)
mortal.connect()
mortal.sock.close()
expect("the will", next_message(phone), (b"umqtt/status/mortal", b"Offline"))
phone.publish(b"umqtt/status/mortal", b"", retain=True, qos=1)
expect("the clearing of the will", next_message(phone), (b"umqtt/status/mortal", b""))

# machine.reset() leaves a half-open connection and comes back with the same id: it must be let in at once.
for turn in range(10):
    again = client(b"umqtt-board")
    again.connect()
    again.subscribe(b"umqtt/+/set", qos=0)
    phone.publish(b"umqtt/lamp/set", b"turn %d" % turn)
    expect("a message after the reset", next_message(again), (b"umqtt/lamp/set", b"turn %d" % turn))
try:
    while board.wait_msg() is None:
        pass
    fail("the connection before the reset still lives")
except OSError:
    pass  # what umqtt raises at the end of the stream

# A kept session.
kept = client(b"umqtt-kept")
kept.connect(clean_session=False)
kept.subscribe(b"umqtt/kept", qos=1)
kept.disconnect()
for n in range(5):
    phone.publish(b"umqtt/kept", b"%d" % n, qos=1)
kept = client(b"umqtt-kept")
expect("session present", kept.connect(clean_session=False), 1)
for n in range(5):
    expect("a message kept for it", next_message(kept), (b"umqtt/kept", b"%d" % n))
kept.disconnect()
phone.disconnect()
