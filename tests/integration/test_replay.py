"""Live and replayed, the same messages give the same documents: through a real daemon, byte for byte."""

import json
from collections import defaultdict

import pytest
from click.testing import CliRunner

from gatewayd.cli import main
from gatewayd.workbench.simulate import BearingFault
from tests.integration.test_main_job import config, feed, readings
from tests.support.daemon import Client, Daemon

pytestmark = pytest.mark.broker

COUNT = 400
TIMED = """
    time: {field: ts}
    lateness_s: 0.2
    idle_timeout_s: 1
"""


@pytest.mark.parametrize("is_timed", [False, True], ids=["plain", "reordered"])
def test_what_a_daemon_published_is_what_a_replay_gives(tmp_path, broker, is_timed):
    """Two pumps, one of them failing; bad payloads, a late reading and a copy among them."""
    text = config(broker, broker)
    if is_timed:
        text = text.replace("    time: {field: ts}\n", TIMED)
    fault = BearingFault(begins_s=4.0, lasts_s=8.0)
    parts = {"pump-1": readings(1, COUNT), "pump-2": readings(2, COUNT, fault=fault)}
    parts["pump-1"][20:20] = ["{", '{"other": 1}', parts["pump-1"][3], parts["pump-1"][19]]
    with (
        Client(broker.port, "plant/#", "site/#") as client,
        Daemon(tmp_path, text) as daemon,
    ):
        daemon.ready()
        for device, messages in parts.items():
            feed(client, device, messages)
        expected = 2 * ((COUNT - 32) // 8 + 1)
        client.wait_for("/prediction", expected)
        client.wait_for("/alert", 2)
        assert daemon.stop() == 0
        live, recorded = by_device(client.received), recording(client.received)
    path = tmp_path / "recording.jsonl"
    path.write_text("".join(f"{line}\n" for line in recorded))
    assert len(recorded) == 2 * COUNT + 4
    done = CliRunner().invoke(main, ["replay", "-c", str(daemon.config), str(path)])
    assert done.exit_code == 0
    replayed = defaultdict(list)
    for line in done.stdout_bytes.splitlines():
        topic = json.loads(line)["topic"]
        replayed[device_of(topic)].append(line)
    assert dict(replayed) == live
    assert sum(map(len, live.values())) == expected + 2
    assert "rejected, not_json: 1, first pump/line1/pump-1" in done.stderr


def recording(received):
    """What a recorder beside the daemon would have written, as mosquitto_sub -F %j does."""
    return [
        json.dumps(
            {
                "tst": f"2023-11-14T22:13:{20 + index // 100:02d}.{index % 100:02d}0000Z+0000",
                "topic": message.topic,
                "qos": message.qos,
                "retain": int(message.retain),
                "payloadlen": len(message.payload),
                "payload": message.payload.decode(),
            }
        )
        for index, message in enumerate(m for m in received if m.topic.startswith("site/"))
    ]


def by_device(received):
    """The daemon's publications, as lines of a replay."""
    found = defaultdict(list)
    for message in received:
        if message.topic.startswith("plant/"):
            head = json.dumps(
                {"topic": message.topic, "qos": message.qos, "retain": False}, separators=(",", ":")
            )
            found[device_of(message.topic)].append(
                head[:-1].encode() + b',"payload":' + message.payload + b"}"
            )
    return dict(found)


def device_of(topic):
    return topic.split("/")[3]
