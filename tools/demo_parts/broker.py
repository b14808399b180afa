"""The embedded broker: amqtt on the loopback, for whoever comes, until SIGTERM."""

import asyncio
import logging
import signal
import sys

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig


async def serve(port: int) -> None:
    """Serve until SIGTERM.

    Only the plugin that lets everybody in: the default set logs every packet and publishes ``$SYS`` topics.
    """
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    broker = Broker(
        BrokerConfig(
            listeners={"default": ListenerConfig(bind=f"127.0.0.1:{port}")},
            plugins={"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        )
    )
    await broker.start()
    await stopped.wait()
    await broker.shutdown()


def main() -> None:
    """Serve on the port given as the only argument."""
    # amqtt reports every client that goes as an error; what matters here, the stage sees for itself.
    logging.basicConfig(level=logging.CRITICAL)
    asyncio.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
