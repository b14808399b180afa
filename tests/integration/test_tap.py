"""``gatewayd tap`` at a real broker, alone and beside a daemon."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner

from gatewayd.cli import main
from tests.support.broker import Broker
from tests.support.daemon import Client, Daemon, until
from tests.support.stub_broker import StubBroker, suback

pytestmark = pytest.mark.broker

START = 1_700_000_000
CONFIG = """
gateway: {{id: gw-1, state_dir: state, figures_interval_s: 1}}
brokers:
  local: {{host: 127.0.0.1, port: {port}}}
streams:
  boiler:
    from: local
    topic: site/{{device}}/telemetry
    time: {{field: ts}}
    channels: {{temperature: {{unit: °C, max: 150, resolution: 0.5}}}}
    baseline: {{warm_up: 3}}
    alert: {{threshold: 6, raise: 1 of 1, clear: 1 of 1}}
    publish: {{to: local, topic: "plant/{{gateway}}/{{stream}}/{{device}}"}}
  room:
    from: local
    topic: room/{{device}}
    format: number
    channels: {{humidity: {{}}}}
    alert: {{threshold: 6}}
    publish: {{to: local, topic: "plant/{{gateway}}/{{stream}}/{{device}}"}}
"""
SAID = [
    *({"ts": START + index, "temperature": 20.0 + index % 2} for index in range(5)),
    {"ts": START + 5, "temperature": 200.0},
    {"ts": START + 6, "temperature": 90.0},
    "no json",
]


class Tap:
    """``gatewayd tap`` as a process; what it writes to its output is read as it comes."""

    def __init__(self, folder, port, *arguments, on_terminal=False, environment=None):
        path = folder / "tap.yaml"
        path.write_text(CONFIG.format(port=port))
        command = [sys.executable, "-m", "gatewayd", "tap", "-c", str(path), *arguments]
        reader, writer = pty.openpty() if on_terminal else os.pipe()
        self.process = subprocess.Popen(
            command, stdout=writer, stderr=subprocess.PIPE, env={**os.environ, **(environment or {})}
        )
        os.close(writer)
        self._data = b""
        self._thread = threading.Thread(target=self._read, args=(reader,), daemon=True)
        self._thread.start()

    def _read(self, reader):
        while True:
            try:
                data = os.read(reader, 65536)
            except OSError:  # a terminal whose other end is closed
                data = b""
            if not data:
                os.close(reader)
                return
            self._data += data

    @property
    def text(self):
        return self._data.decode()

    def wait_for(self, text):
        until(lambda: text in self.text, 60, lambda: f"{text!r} not in:\n{self.text}")

    def end(self):
        """Wait for its end; return exit code, lines and what it said on standard error."""
        error = self.process.stderr.read().decode()
        code = self.process.wait(60)
        self.process.stderr.close()
        self._thread.join(60)
        return code, self.text.splitlines(), error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.end()


def subscribed(broker, count=1):
    """Wait until so many taps have subscribed."""
    until(lambda: broker.log_text().count("Received SUBSCRIBE from gw-1-tap-") >= count, 60, broker.log_text)


def speak(client, said=SAID):
    for document in said:
        client.publish("site/b1/telemetry", document).wait_for_publish(30)


def test_what_comes_is_told_and_summed_up(tmp_path, broker):
    with (
        Tap(tmp_path, broker.port, "boiler", "--count", str(len(SAID))) as tap,
        Client(broker.port) as client,
    ):
        subscribed(broker)
        client.publish("room/r1", "55").wait_for_publish(30)
        speak(client)
        code, lines, error = tap.end()
    assert (code, error) == (0, "")
    told = [line[26:] for line in lines if line.startswith("20")]
    assert [line for line in told if " score " not in line] == [
        "boiler/b1  temperature 20 °C",
        "boiler/b1  unscored warming_up",
        "boiler/b1  temperature 21 °C",
        "boiler/b1  unscored warming_up",
        "boiler/b1  temperature 20 °C",
        "boiler/b1  unscored warming_up",
        "boiler/b1  temperature 21 °C",
        "boiler/b1  temperature 20 °C",
        "boiler/b1  temperature 200 °C",
        "boiler/b1  dropped out_of_range",
        "boiler/b1  temperature  90 °C",
        "rejected not_json  site/b1/telemetry  no json",
    ]
    assert sum("normal" in line for line in told) == 2
    assert sum("anomalous" in line for line in told) == 1
    assert sum("ALERT raised: anomaly" in line for line in told) == 1
    assert any(line.startswith("messages:    8 in ") for line in lines)
    assert "dropped, out_of_range: 1, first boiler/b1" in lines


def test_beside_a_daemon_nothing_changes_for_it(tmp_path, make_broker):
    """The daemon publishes the same, counts the same, and nobody else publishes."""
    seen = []
    for name, is_tapped in (("alone", False), ("tapped", True)):
        broker = make_broker()
        folder = tmp_path / name
        folder.mkdir()
        with Client(broker.port, "#") as client, Daemon(folder, CONFIG.format(port=broker.port)) as daemon:
            daemon.ready()
            tap = Tap(folder, broker.port, "--json") if is_tapped else None
            if tap is not None:
                subscribed(broker)
            speak(client)
            until(
                lambda daemon=daemon: (
                    daemon.events("figures") and daemon.last_figures()["messages"] == len(SAID)
                ),
                60,
                daemon.log_path.read_text,
            )
            client.wait_for("/alert", 1)
            if tap is not None:
                tap.wait_for('"rejected"')
                tap.process.send_signal(signal.SIGINT)
                code, lines, _ = tap.end()
                assert code == 0
                told = [json.loads(line) for line in lines]
            assert daemon.stop() == 0
            figures = daemon.last_figures()
            seen.append(
                (
                    {
                        name: figures[name]
                        for name in ("messages", "readings", "dropped", "rejected", "windows")
                    },
                    sorted((m.topic, m.payload) for m in client.received if m.topic.startswith("plant/")),
                )
            )
    assert seen[0] == seen[1]
    published = [json.loads(payload) for _, payload in seen[1][1]]
    assert sorted(json.dumps(one) for one in published) == sorted(
        json.dumps(one) for one in told if one["kind"] in ("prediction", "alert")
    )
    assert "Received PUBLISH from gw-1-tap-" not in broker.log_text()


def test_an_interrupt_ends_it_with_the_summary(tmp_path, broker):
    with Tap(tmp_path, broker.port) as tap, Client(broker.port) as client:
        subscribed(broker)
        speak(client, SAID[:1])
        tap.wait_for("temperature 20")
        tap.process.send_signal(signal.SIGINT)
        code, lines, error = tap.end()
    assert (code, error) == (0, "")
    assert any(line.startswith("messages:    1 in ") for line in lines)
    log = broker.log_text()
    assert "Received DISCONNECT from gw-1-tap-" in log
    assert re.search(r" as gw-1-tap-[0-9a-f]{8} \(p2, c1, k30\)", log), (
        "not a session that ends with the link"
    )
    assert re.findall(r"gw-1-tap-[0-9a-f]{8} ([012]) (\S+)$", log, re.MULTILINE) == [
        ("0", "site/+/telemetry"),
        ("0", "room/+"),
    ]


@pytest.mark.parametrize(
    ("environment", "is_coloured"), [({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)]
)
def test_colours_are_for_terminals_that_want_them(tmp_path, broker, environment, is_coloured):
    tapping = Tap(tmp_path, broker.port, "--count", "1", on_terminal=True, environment=environment)
    with tapping as tap, Client(broker.port) as client:
        subscribed(broker)
        speak(client, ["no json"])
        _, lines, _ = tap.end()
    assert ("\x1b[33m" in lines[0]) is is_coloured
    assert "rejected not_json" in lines[0]


def test_a_person_gets_what_can_be_read_and_the_rest_as_a_number(tmp_path, broker):
    tapping = Tap(tmp_path, broker.port, "--count", "300", on_terminal=True, environment={"NO_COLOR": "1"})
    with tapping as tap, Client(broker.port) as client:
        subscribed(broker)
        speak(client, [{"ts": START + index, "temperature": 20.0} for index in range(300)])
        code, lines, _ = tap.end()
    assert code == 0
    assert sum("temperature 20 °C" in line for line in lines) < 300
    assert any(line.startswith("… ") for line in lines)
    assert any(line.startswith("messages:    300 in ") for line in lines)


def test_the_time_ends_it(tmp_path, broker):
    path = tmp_path / "gatewayd.yaml"
    path.write_text(CONFIG.format(port=broker.port))
    done = CliRunner().invoke(main, ["tap", "-c", str(path), "--seconds", "0.3"])
    assert done.exit_code == 0
    assert done.output.startswith("messages:    0 in 0.")


def test_a_link_that_is_lost_comes_back(tmp_path):
    broker = Broker(tmp_path)
    broker.start()
    try:
        with Tap(tmp_path, broker.port, "--count", "2") as tap:
            subscribed(broker)
            with Client(broker.port) as client:
                speak(client, SAID[:1])
            tap.wait_for("temperature 20")
            broker.restart()
            subscribed(broker, count=2)
            with Client(broker.port) as client:
                speak(client, SAID[1:2])
            code, lines, error = tap.end()
    finally:
        broker.stop()
    assert code == 0
    assert any(line.startswith("messages:    2 in ") for line in lines)
    assert "trying again" in error


def test_a_subscription_that_is_refused_is_one_line(tmp_path):
    stub = StubBroker()
    with Tap(tmp_path, stub.port, "--seconds", "30") as tap:
        until(stub.accept, 60, lambda: "no connection came")
        frames = _frames(stub, 1)
        stub.say(b"\x20\x02\x00\x00")
        frames = _frames(stub, 2 - len(frames))
        subscribe = next(frame for frame in frames if frame[0] == 0x82)
        packet_id = int.from_bytes(subscribe[2:4], "big")
        stub.say(suback(packet_id, 0x80, 0x80))
        code, lines, error = tap.end()
        stub.close()
    assert (code, lines) == (1, [])
    assert error == f"127.0.0.1:{stub.port}: subscription refused: site/+/telemetry, room/+\n"


def _frames(stub, count):
    found = []
    until(lambda: len(found) >= count or found.extend(stub.frames()), 60, lambda: f"{found} of {count} came")
    return found
