"""The yardstick: a paho client whose ``on_message`` does nothing. Ends at SIGTERM."""

import argparse
import signal

import paho.mqtt.client as mqtt
from frames import FILTER
from paho.mqtt.enums import CallbackAPIVersion


def main() -> None:
    """Subscribe and read forever."""
    parser = argparse.ArgumentParser(description="paho with an empty on_message.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--qos", type=int, choices=(0, 1), default=0)
    options = parser.parse_args()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="empty-paho")

    def subscribe(*_: object) -> None:
        client.subscribe(FILTER.decode(), options.qos)

    client.on_connect = subscribe
    client.on_subscribe = lambda *_: print('{"event": "subscribed"}', flush=True)
    client.on_message = lambda *_: None
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    client.connect("127.0.0.1", options.port, keepalive=600)
    client.loop_forever()


if __name__ == "__main__":
    main()
