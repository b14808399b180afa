"""A configuration becomes a flow, whatever it asks for."""

import numpy as np
import pytest

from gatewayd import assemble
from gatewayd.assemble import build_flow
from gatewayd.errors import ConfigError, ModelError
from gatewayd.startup import prepare
from tests.support.daemon import PUMP_MODEL

FILE = """
gateway: {{id: gw-1}}
brokers:
  local: {{host: 127.0.0.1}}
  cloud: {{host: 127.0.0.1, port: 1884, status_topic: "up/{{gateway}}"}}
commands: {{from: cloud, topic: "say/{{gateway}}"}}
streams:
  pump:
    from: local
    topic: site/{{device}}/telemetry
    channels: {{temperature: {{}}, vibration: {{}}, pressure: {{}}, current: {{}}}}
    model: {model}
    publish: {{to: cloud, home_assistant: {{}}}}
  plant:
    from: local
    topic: spBv1.0/plant/#
    format: sparkplug_b
    channels: {{temperature: {{field: Temp}}}}
    publish: {{to: cloud, encoding: sparkplug_b, group: lines}}
"""


def test_models_formats_nodes_and_topics_are_what_the_file_says(tmp_path):
    path = tmp_path / "gatewayd.yaml"
    path.write_text(FILE.format(model=PUMP_MODEL))
    flow = build_flow(prepare(path))
    assert flow.listens_to("cloud") == ["say/gw-1", "homeassistant/status", "spBv1.0/lines/NCMD/gw-1"]
    assert flow.listens_to("local") == []
    none = np.empty(0, dtype=np.int64)
    assert flow.run([], none).publications == []
    assert flow.figures().messages == 0


def test_a_model_that_can_t_be_opened_is_a_problem_of_its_line(tmp_path, monkeypatch):
    def refuse(_bundle, *, runtime):
        raise ModelError(f"no runtime {runtime}")

    path = tmp_path / "gatewayd.yaml"
    path.write_text(FILE.format(model=PUMP_MODEL))
    prepared = prepare(path)
    monkeypatch.setattr(assemble, "open_model", refuse)
    with pytest.raises(ConfigError, match=r"gatewayd\.yaml:12:12: streams\.pump\.model: no runtime auto"):
        build_flow(prepared)
