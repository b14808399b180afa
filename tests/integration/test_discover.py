"""``gatewayd discover`` at a real broker on which sensors of all makes talk."""

import threading

import pytest
from click.testing import CliRunner
from paho.mqtt.client import CallbackAPIVersion, Client

from gatewayd.cli import main
from gatewayd.startup import prepare
from tests.support import plant
from tests.support.broker import Broker
from tests.support.discovered import replayed


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


class Talker(threading.Thread):
    """Says everything again and again, a second of the plant's every few milliseconds, until stopped."""

    def __init__(self, port, makes):
        super().__init__(daemon=True)
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.connect("127.0.0.1", port)
        self._makes = makes
        self._stopped = threading.Event()

    def run(self):
        self._client.loop_start()
        second = 0
        while not self._stopped.wait(0.02):
            for _, topic, payload, is_retained in (
                said for make in self._makes for said in plant.talk_at(make, float(second))
            ):
                self._client.publish(topic, payload, qos=0, retain=is_retained)
            second += 1
        self._client.loop_stop()
        self._client.disconnect()

    def __enter__(self):
        self.start()

    def __exit__(self, *_):
        self._stopped.set()
        self.join()


def discover(*arguments):
    return CliRunner().invoke(main, ["discover", "--host", "127.0.0.1", *map(str, arguments)])


def test_the_written_file_reads_all_sensors_that_talk_on_the_broker(tmp_path, broker):
    makes = [make for make in plant.ALL if make is not plant.own_results]
    path = tmp_path / "first.yaml"
    with Talker(broker.port, makes):
        done = discover("--port", broker.port, "--seconds", 3, "-o", path)
    assert done.exit_code == 0, done.output
    assert f"{path}: written" in done.stderr
    checked = CliRunner().invoke(main, ["check", "-c", str(path)])
    assert checked.exit_code == 0, checked.output
    assert "warning" not in checked.output
    figures = replayed(prepare(path), plant.talk(makes, 20))
    assert (figures.rejected, figures.unread) == ({}, {}), path.read_text()
    assert len(prepare(path).settings.streams) == 21


def test_only_the_topics_that_were_asked_for_are_listened_to(tmp_path, broker):
    with Talker(broker.port, [plant.pumps, plant.numbers]):
        done = discover("--port", broker.port, "--seconds", 1, "--topic", "heat/{unit}/+")
    assert done.exit_code == 0, done.output
    assert "heat/{device}/flow_temperature" in done.stdout
    assert "telemetry" not in done.output


def test_a_silent_broker_gives_no_file(tmp_path, broker):
    path = tmp_path / "first.yaml"
    done = discover("--port", broker.port, "--seconds", 0.5, "-o", path)
    assert done.exit_code == 1
    assert "no sensor was heard" in done.stderr
    assert not path.exists()
