"""From messages to a first configuration, and back: what its streams make of the same messages."""

import numpy as np

from gatewayd.config.settings import BrokerSettings
from gatewayd.pipeline.deviation import Deviation
from gatewayd.pipeline.flow import Flow
from gatewayd.pipeline.stream import StreamPlan
from gatewayd.startup import open_format, prepare
from gatewayd.workbench.discover import discover
from gatewayd.workbench.first_config import Listened, write_config
from gatewayd.workbench.overheard import Overheard
from tests.support.plant import EPOCH_S

LISTENED = Listened(broker=BrokerSettings(host="127.0.0.1"), gateway="gw", seconds=30)
LAG_S = 0.05  # of every message's arrival behind its second


def overhear(said):
    """Listen to what ``plant.talk`` gives."""
    overheard = Overheard()
    for second, topic, payload, is_retained in said:
        overheard.add(topic.encode(), payload, 0x31 if is_retained else 0x30, arrival(second))
    return overheard


def arrival(second):
    return round((EPOCH_S + second + LAG_S) * 10**9)


def found(*said):
    """The findings for messages as (topic, payload), one a second for each topic."""
    seconds: dict[str, int] = {}
    heard = []
    for topic, payload in said:
        second = seconds[topic] = seconds.get(topic, -1) + 1
        heard.append(
            (float(second), topic, payload if isinstance(payload, bytes) else payload.encode(), False)
        )
    return discover(overhear(heard))


def configured(findings, folder):
    """Write the configuration, check it, and return it prepared, with its text."""
    path = folder / "first.yaml"
    text = write_config(findings, LISTENED)
    path.write_text(text, encoding="utf-8")
    return prepare(path), text


def replayed(prepared, said):
    """Run the messages through the configured flow; return its figures."""
    plans = []
    for name, settings in prepared.settings.streams.items():
        spec, free_format = prepared.spec(name), open_format(settings)
        plans.append(
            StreamPlan(
                name=name, settings=settings, spec=spec, model=Deviation(spec), free_format=free_format
            )
        )
    flow = Flow(prepared.settings.gateway.id, plans)
    messages = [(topic.encode(), payload, 0x31 if kept else 0x30, 0) for _, topic, payload, kept in said]
    flow.run(messages, np.array([arrival(second) for second, *_ in said], dtype=np.int64))
    return flow.figures()


def by_format(findings):
    """The streams of each format."""
    streams: dict[str, list] = {}
    for stream in findings.streams:
        streams.setdefault(stream.kind.format, []).append(stream)
    return streams
