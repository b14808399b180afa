"""Another configuration or another model, put in force while readings arrive."""

import hashlib
import re
import signal
import threading
import time

import numpy as np
import pytest

from gatewayd.model.bundle import load_bundle, write_bundle
from gatewayd.model.interpreter import Interpreter
from tests.integration.test_main_job import config, feed, readings
from tests.support.daemon import Client, Daemon, until
from tests.support.models import case_model, make_golden, make_spec

pytestmark = pytest.mark.broker

A = [1.0, -2.0, 0.5, 2.65]
CONFIG = """
gateway: {{id: gw, state_dir: state}}
brokers: {{b: {{host: 127.0.0.1, port: {port}}}}}
streams:
  s:
    from: b
    topic: in/{{device}}
    channels: {{c0: {{}}, c1: {{}}, c2: {{}}, c3: {{}}}}
    model: model
    alert: {{threshold: 1}}
    publish: {{to: b, topic: "out/{{device}}"}}
"""


def put_model(folder, name, *, channels=4, outputs=2):
    """Put a bundle around one of the cases' models, in one step."""
    model = case_model(name)
    labels = tuple(f"l{index}" for index in range(outputs))
    spec = make_spec(channels, task="classification", labels=labels, alert_on=("l0",), version=name)
    interpreter = Interpreter(model)
    windows = np.ones((1, 1, channels))
    raw = np.zeros((1, *interpreter.input.shape), dtype=interpreter.input.dtype)
    if interpreter.input.dtype == "float32":
        raw[:] = 1.0
    else:
        raw[:] = round(1 / interpreter.input.scale) + interpreter.input.zero_point
    golden = make_golden(windows, interpreter.invoke(raw), interpreter.output.dtype, interpreter.runtime)
    write_bundle(folder / "model", spec=spec, model=model, golden=golden, training={})


def put_broken(folder, name):
    """Put a bundle in place that is consistent in all but its model file."""
    scratch = folder / f"scratch-{name}"
    scratch.mkdir()
    if name == "flex_erf.tflite":
        put_model(scratch, "log_f32.tflite", outputs=4)  # of the same shapes
    else:
        put_model(scratch, "fc_int8.tflite")
    model, place = case_model(name), scratch / "model"
    old = (place / "model.tflite").read_bytes()
    text = (place / "bundle.yaml").read_text()
    text = text.replace(hashlib.sha256(old).hexdigest(), hashlib.sha256(model).hexdigest())
    text = re.sub(rf"bytes: {len(old)}\b", f"bytes: {len(model)}", text)
    (folder / "model" / "model.tflite").write_bytes(model)
    (folder / "model" / "golden.json").write_bytes((place / "golden.json").read_bytes())
    (folder / "model" / "bundle.yaml").write_text(text)


def ask(client, asked):
    """Send A and return what the model makes of it; ``asked`` counts the answers so far."""
    client.publish("in/d", dict(zip(("c0", "c1", "c2", "c3"), A, strict=True)))
    asked.append(None)
    answers = client.wait_for("/prediction", len(asked))
    return list(answers[len(asked) - 1]["probabilities"].values())


def test_case_15_a_refused_model_leaves_the_old_one_working(tmp_path, broker):
    put_model(tmp_path, "fc_int8.tflite")
    asked = []
    with Client(broker.port, "out/#") as client, Daemon(tmp_path, CONFIG.format(port=broker.port)) as daemon:
        daemon.ready()
        assert ask(client, asked) == pytest.approx([2.2, 0.9], abs=0.001)
        vectors = [
            ("fc_int8_cut60.tflite", "not a valid model"),
            ("not_a_model.tflite", "not a valid model"),
            ("empty.tflite", "empty"),
            ("flex_erf.tflite", "FlexErf"),
            ("fc_f32_3in.tflite", "3"),
        ]
        for count, (name, reason) in enumerate(vectors, start=1):
            put_broken(tmp_path, name)
            refused = until(
                lambda reason=reason: [e for e in daemon.events("model_refused") if reason in e["reason"]],
                60,
                lambda name=name: f"{name} not refused: {daemon.log_path.read_text()}",
            )
            assert "model" in refused[-1]["reason"]
            assert ask(client, asked) == pytest.approx([2.2, 0.9], abs=0.001), name
            put_model(tmp_path, "fc_int8.tflite")
            daemon.wait_for("model_loaded", count=count)
        for name, expected in (
            ("fc_f32.tflite", [2.225, 0.875]),
            ("fc_uint8.tflite", [2.2, 0.9]),
            ("fc_f32_dynbatch.tflite", [2.225, 0.875]),
        ):
            loaded = len(daemon.events("model_loaded"))
            put_model(tmp_path, name)
            daemon.wait_for("model_loaded", count=loaded + 1)
            assert ask(client, asked) == pytest.approx(expected, abs=0.001), name
        loaded = len(daemon.events("model_loaded"))
        put_model(tmp_path, "log_f32.tflite", outputs=4)
        daemon.wait_for("model_loaded", count=loaded + 1)
        client.publish("in/d", {"c0": 1, "c1": -2, "c2": 0.5, "c3": 3})
        client.publish("in/d", {"c0": 1, "c1": 1, "c2": 1, "c3": 1})
        asked.append(None)
        assert list(client.wait_for("/prediction", len(asked))[-1]["probabilities"].values()) == [0, 0, 0, 0]
        assert daemon.stop() == 0
    figures = daemon.last_figures()
    assert figures["unscored"] == {"model_output_not_finite": 1}
    assert figures["messages"] == figures["scored"] == len(asked) + 1


@pytest.mark.parametrize(
    "name",
    ["fc_int8_cut60.tflite", "not_a_model.tflite", "empty.tflite", "flex_erf.tflite", "fc_f32_3in.tflite"],
)
def test_case_15_a_cold_start_with_a_bad_model_is_one_clear_message(tmp_path, name):
    put_model(tmp_path, "fc_int8.tflite")
    put_broken(tmp_path, name)
    with Daemon(tmp_path, CONFIG.format(port=1)) as daemon:
        assert daemon.process.wait(60) == 78
    text = daemon.log_path.read_text()
    assert "Traceback" not in text
    problems = [line for line in text.splitlines() if "gatewayd.yaml:" in line]
    assert len(problems) == 1
    assert re.match(r".*gatewayd\.yaml:9:\d+: .*model", problems[0])


@pytest.mark.parametrize("is_atomic", [False, True])
def test_case_16_a_model_is_rewritten_in_place_while_it_is_in_use(tmp_path, broker, is_atomic):
    put_model(tmp_path, "fc_f32_padded.tflite")
    new = tmp_path / "new"
    new.mkdir()
    put_model(new, "fc_int8.tflite")
    done = threading.Event()

    def rewrite():
        if is_atomic:
            bundle = load_bundle(new / "model")
            write_bundle(
                tmp_path / "model", spec=bundle.spec, model=bundle.model, golden=bundle.golden, training={}
            )
        else:
            data = (new / "model" / "model.tflite").read_bytes()
            with (tmp_path / "model" / "model.tflite").open("wb", buffering=0) as file:
                time.sleep(1.5)
                for begin in range(0, len(data), 100):
                    file.write(data[begin : begin + 100])
                    time.sleep(0.2)
            for other in ("golden.json", "bundle.yaml"):
                (tmp_path / "model" / other).write_bytes((new / "model" / other).read_bytes())
        done.set()

    asked, answers = [], []
    with Client(broker.port, "out/#") as client, Daemon(tmp_path, CONFIG.format(port=broker.port)) as daemon:
        daemon.ready()
        answers.append(ask(client, asked))
        writer = threading.Thread(target=rewrite)
        writer.start()
        while not daemon.events("model_loaded"):
            answers.append(ask(client, asked))
            time.sleep(0.05)
        writer.join()
        answers.append(ask(client, asked))
        assert daemon.stop() == 0
    old, renewed = pytest.approx([2.225, 0.875], abs=0.001), pytest.approx([2.2, 0.9], abs=0.001)
    assert answers[0] == old
    assert answers[-1] == renewed
    switch = next(index for index, answer in enumerate(answers) if answer != old)
    assert all(answer == renewed for answer in answers[switch:])


def test_a_reload_keeps_open_windows_and_the_connection_of_what_did_not_change(tmp_path, broker):
    messages = readings(1, 64)
    with Client(broker.port, "plant/#") as client, Daemon(tmp_path, config(broker, broker)) as daemon:
        daemon.ready()
        feed(client, "pump-1", messages[:20])
        daemon.config.write_text(config(broker, broker) + "    alert: {raise: 1 of 1, threshold: 0.0001}\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("config_reloaded")
        feed(client, "pump-1", messages[20:])
        predictions = client.wait_for("/prediction", 5)
        assert client.wait_for("/alert", 1)[0]["state"] == "raised"
        assert daemon.stop() == 0
    assert [p["threshold"] for p in predictions] == [0.0001] * 5
    assert daemon.last_figures()["dropped"] == {}
    assert len(daemon.events("link_opened")) == 2


def test_a_broken_file_is_refused_and_the_old_configuration_stays(tmp_path, broker):
    with Client(broker.port, "plant/#") as client, Daemon(tmp_path, config(broker, broker)) as daemon:
        daemon.ready()
        daemon.config.write_text(config(broker, broker).replace("topic:", "topik:", 1))
        daemon.process.send_signal(signal.SIGHUP)
        refused = daemon.wait_for("reload_refused")
        assert "did you mean 'topic'?" in " ".join(refused["problems"])
        feed(client, "pump-1", readings(1, 32))
        client.wait_for("/prediction", 1)
        assert daemon.stop() == 0


def test_another_topic_is_subscribed_to_after_a_reload(tmp_path, broker):
    with Client(broker.port, "plant/#") as client, Daemon(tmp_path, config(broker, broker)) as daemon:
        daemon.ready()
        daemon.config.write_text(config(broker, broker).replace("site/{line}", "works/{line}"))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("config_reloaded")
        until(lambda: len(daemon.events("link_opened")) >= 3, 60, lambda: "not connected again")
        for message in readings(1, 400):
            client.publish("works/line1/pump-1/telemetry", message)
            time.sleep(0.002)
        client.wait_for("/prediction", 1)
        assert daemon.stop() == 0
