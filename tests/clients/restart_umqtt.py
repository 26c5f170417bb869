"""A board with MicroPython's umqtt.robust, unchanged, that subscribes once: restart_umqtt.py HOST PORT. It prints "ready", then a
line for each message, through any number of lost connections: umqtt.robust connects again by itself and never subscribes again."""

import sys

import micropython  # noqa: F401 (the stand-ins)
from umqtt.robust import MQTTClient

host, port = sys.argv[1], int(sys.argv[2])
MQTTClient.DELAY = 0.2
board = MQTTClient(b"restart-umqtt", host, port=port)
board.set_callback(lambda topic, payload: print(topic.decode(), payload.decode(), flush=True))
board.connect(clean_session=False)
board.subscribe(b"restart/#", qos=1)
print("ready", flush=True)
while True:
    board.wait_msg()
