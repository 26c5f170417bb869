"""paho-mqtt with a persistent session that subscribes once: restart_paho.py HOST PORT. It prints "ready", then a line for each
message, through any number of lost connections."""

import sys

import paho.mqtt.client as mqtt

host, port = sys.argv[1], int(sys.argv[2])
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="restart-paho", clean_session=False)
client.reconnect_delay_set(min_delay=1, max_delay=1)
first = True


def on_connect(of, userdata, flags, code, properties):
    global first
    if first:
        first = False
        of.subscribe("restart/#", qos=2)
    elif not flags.session_present:
        print("the session is gone", flush=True)


client.on_connect = on_connect
client.on_subscribe = lambda *_: print("ready", flush=True)
client.on_message = lambda of, userdata, message: print(message.topic, message.payload.decode(), flush=True)
client.connect(host, port)
client.loop_forever()
