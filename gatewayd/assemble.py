"""A prepared configuration → the flow that runs it: models, formats, edge nodes, by hand.

The daemon, a replay and the tests of a configuration all build it here, so they run the same.
"""

from typing import TYPE_CHECKING

from gatewayd.config.settings import Settings, StreamSettings
from gatewayd.domain.model import ModelSpec
from gatewayd.domain.topic import TopicTemplate
from gatewayd.errors import ConfigError, ModelError
from gatewayd.model.bundle import Bundle
from gatewayd.model.interpreter import open_model
from gatewayd.pipeline.deviation import Deviation
from gatewayd.pipeline.encode import make_edge_node
from gatewayd.pipeline.flow import Flow
from gatewayd.pipeline.infer import Model
from gatewayd.pipeline.stream import StreamPlan
from gatewayd.startup import Prepared, open_format, open_image_format

if TYPE_CHECKING:
    from gatewayd.pipeline.sparkplug_node import EdgeNode  # needs an extra


def build_flow(prepared: Prepared) -> Flow:
    """Build the flow of a configuration, with models of its own.

    Raises:
        ConfigError: With a problem for each model that can't be opened.
    """
    settings, problems = prepared.settings, []
    plans: list[StreamPlan] = []
    nodes = _edge_nodes(settings)
    for name, stream in settings.streams.items():
        spec = prepared.spec(name)
        try:
            model = _model(prepared.bundles.get(name), spec, stream)
        except ModelError as error:
            problems.append(prepared.loaded.problem(("streams", name, "model"), str(error)))
            continue
        plan = StreamPlan(
            name=name,
            settings=stream,
            spec=spec,
            model=model,
            free_format=open_format(stream),
            image_format=open_image_format(stream, spec),
            status_topic=_rendered(settings.brokers[stream.publish.to].status_topic, settings),
            edge_node=nodes.get(stream.publish.to) if stream.publish.encoding == "sparkplug_b" else None,
        )
        plans.append(plan)
    if problems:
        raise ConfigError(problems)
    commands = settings.commands
    return Flow(
        settings.gateway.id,
        plans,
        commands=None if commands is None else (commands.from_, _rendered(commands.topic, settings)),
    )


def _edge_nodes(settings: Settings) -> dict[str, "EdgeNode"]:
    """Make one Sparkplug edge node for each broker that is published to in Sparkplug."""
    nodes: dict[str, EdgeNode] = {}
    for stream in settings.streams.values():
        publish = stream.publish
        if publish.encoding == "sparkplug_b" and publish.to not in nodes:
            nodes[publish.to] = make_edge_node(
                group=publish.group, gateway=settings.gateway.id, broker=publish.to, qos=publish.qos
            )
    return nodes


def _model(bundle: Bundle | None, spec: ModelSpec, settings: StreamSettings) -> Model:
    return Deviation(spec) if bundle is None else open_model(bundle, runtime=settings.runtime)


def _rendered(topic: str, settings: Settings) -> str:
    return TopicTemplate.parse(topic).render({"gateway": settings.gateway.id})
