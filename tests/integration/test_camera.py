"""The example for cameras at a real broker: pictures in, predictions and an alert on the odd one out."""

import re
from pathlib import Path

import pytest

from tests.support.daemon import Client, Daemon
from tests.support.models import MODELS
from tests.support.pictures import belt, encoded
from tests.support.schemas import validator

pytestmark = pytest.mark.broker

EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "examples" / "camera.yaml"
ODD = 4


def config(port, *, tap="true", **options):
    """The example with the model of the tests, at a broker of ours; further options are given other values."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for old, new in (
        ("state_dir: /var/lib/gatewayd", "state_dir: state, figures_interval_s: 1"),
        ("{host: 127.0.0.1}", f"{{host: 127.0.0.1, port: {port}, tap: {tap}}}"),
        ("model: ../models/belt", f"model: {MODELS / 'camera_int8'}"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    for option, value in options.items():
        text, count = re.subn(rf"(?m)^( *{option}: )[^ #\n]+", rf"\g<1>{value}", text)
        assert count == 1
    return text


def healthy():
    """What the model knows, in all ways that a camera may send it."""
    yield encoded(belt(3), quality=90)
    yield encoded(belt(9, light=1.1), "PNG")
    yield encoded(belt(14, light=0.9), quality=75, progressive=True)
    yield encoded(belt(5).resize((1920, 1280)), quality=80)
    yield encoded(belt(11).quantize(64), "PNG")  # a palette
    turned = belt(6).transpose(2)  # 90 degrees; Exif says so
    exif = turned.getexif()
    exif[0x0112] = 6
    yield encoded(turned, quality=90, exif=exif)


@pytest.mark.parametrize("tap", ["true", "false"])
def test_pictures_are_scored_and_the_odd_one_raises_an_alert(tmp_path, broker, tap):
    good = list(healthy())
    odd = [encoded(belt(left, parcel="blue")) for left in range(1, 1 + ODD)]
    with Client(broker.port) as camera:
        camera.publish("cameras/old/image", good[0], retain=True).wait_for_publish(60)
    with (
        Client(broker.port, "plant/#") as upstream,
        Client(broker.port) as camera,
        Daemon(tmp_path, config(broker.port, tap=tap)) as daemon,
    ):
        daemon.ready()
        for name, pictures in (("one", good + odd + good), ("two", good)):
            for picture in pictures:
                camera.publish(f"cameras/{name}/image", picture)
        for bad in (b"no picture", good[0][: len(good[0]) // 2], b""):
            camera.publish("cameras/two/image", bad)
        camera.publish("cameras/two/image", good[0])
        expected = 3 * len(good) + ODD + 1
        predictions = upstream.wait_for("/prediction", expected)
        alerts = upstream.wait_for("/alert", 2)
        assert daemon.stop() == 0

    for kind, documents in (("prediction", predictions), ("alert", alerts)):
        for document in documents:
            validator(kind).validate(document)
    assert len({one["id"] for one in predictions}) == len(predictions) == expected
    anomalous = [one["device"] for one in predictions if one["verdict"] == "anomalous"]
    assert anomalous == ["one"] * ODD
    assert all(one["window"]["samples"] == 1 for one in predictions)
    assert all(one["window"]["start"] == one["window"]["end"] for one in predictions)
    assert [(one["device"], one["condition"], one["state"]) for one in alerts] == [
        ("one", "anomaly", "raised"),
        ("one", "anomaly", "cleared"),
    ]
    assert alerts[0]["causes"][0]["channel"] == "blue"
    figures = daemon.last_figures()
    assert figures["refused"] == {"retained": 1, "empty": 1}
    assert figures["rejected"] == {"not_an_image": 1, "truncated": 1}
    assert figures["readings"] == figures["scored"] == figures["windows"] == expected
    assert figures["dropped"] == figures["unscored"] == {}


def test_a_camera_that_sends_no_more_is_told_of_also_after_a_restart(tmp_path, broker):
    good = next(healthy())
    with Client(broker.port, "plant/#") as upstream, Client(broker.port) as camera:
        daemon = Daemon(tmp_path, config(broker.port))
        with daemon:
            daemon.ready()
            camera.publish("cameras/one/image", good)
            upstream.wait_for("/prediction", 1)
            assert daemon.stop() == 0
        daemon.config.write_text(config(broker.port, silent_after_s=0.5))
        with daemon:
            (silent,) = upstream.wait_for("/alert", 1)
            assert (silent["device"], silent["condition"], silent["state"]) == ("one", "silent", "raised")
            camera.publish("cameras/one/image", good)
            heard = upstream.wait_for("/alert", 2)[1]
            assert (heard["id"], heard["state"]) == (silent["id"], "cleared")
            assert daemon.stop() == 0


def test_a_model_of_readings_is_refused(tmp_path, broker):
    text = config(broker.port).replace("camera_int8", "dense_int8")
    with Daemon(tmp_path, text) as daemon:
        assert daemon.process.wait(60) == 78
    line = text.splitlines().index(f"    model: {MODELS / 'dense_int8'}") + 1
    said = daemon.log_path.read_text()
    assert re.search(rf"gatewayd\.yaml:{line}:\d+: .*looks at readings in time", said), said
