"""Each example configuration at a real broker, with the sensors that it is for: hours of health, then what happens.

Only where things are is changed: the brokers' port, the folder of the state, and how often figures are logged. Timers
by silence, which go by the time of arrival, are shortened where a test says so.
"""

import random
import re
import shlex
import time
from datetime import datetime
from pathlib import Path

import pytest

from gatewayd.cli.train import command as train
from gatewayd.config.parse import load_config
from gatewayd.formats.sparkplug_schema import parse_payload
from tests.support.daemon import Client, Daemon, until
from tests.support.sensors import START_S, EdgeXChillers, RoadSite, SparkplugNode, Wearables, ZigbeeHome, iso

pytestmark = pytest.mark.broker

# Of one reading that comes before the daemon knows its node.
BEFORE_BIRTH = {"unannounced_metric": 2, "message_before_birth": 1, "rebirth_requested": 1}
EXAMPLES = Path(__file__).resolve().parents[2] / "config" / "examples"


def moved(name, port, **options):
    """An example with its brokers at a port of ours; further options are given other values."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    text = re.sub(r"(?m)^(  \w+: \{host: )127\.0\.0\.1", rf"\g<1>127.0.0.1, port: {port}", text)
    text = text.replace("state_dir: /var/lib/gatewayd", "state_dir: state, figures_interval_s: 1")
    for option, value in options.items():
        text, count = re.subn(rf"(?m)^( *{option}: )[^ #\n]+", rf"\g<1>{value}", text)
        assert count, option
    return text


def say(client, messages, *, retain=False):
    """Publish, and wait until the broker has taken it all."""
    said = [client.publish(topic, payload, retain=retain) for topic, payload in messages]
    for info in said:
        info.wait_for_publish(60)
    return len(said)


def figures_where(daemon, **wanted):
    """Wait for figures that have these values, and return them."""

    def found():
        figures = daemon.events("figures")
        return figures and all(figures[-1][name] == value for name, value in wanted.items()) and figures[-1]

    return until(found, 60, lambda: f"{wanted} not reached: {daemon.last_figures()}")


def adds_up(figures):
    """Nothing was lost silently: docs/operations.md, "Counters and reasons"."""

    def total(name):
        return sum(figures[name].values())

    taken = total("refused") + total("rejected") + figures["accepted"]
    assert figures["messages"] + figures["copies"] == taken
    ends = total("dropped") + figures["merged"] + figures["waiting"] + figures["scored"]
    assert figures["readings"] + figures["grid_rows"] == ends
    return True


def told(client):
    """What alerts said, in order: stream, device, condition, channel, state."""
    names = ("stream", "device", "condition", "channel", "state")
    return [tuple(alert[name] for name in names) for alert in client.documents("/alert")]


def lost(figures):
    """All that was lost or left out, by counter and reason."""
    names = ("refused", "refused_frames", "rejected", "unread", "untimed", "dropped", "removed", "unscored")
    return {name: figures[name] for name in (*names, "unstored", "saturated") if figures[name]}


@pytest.mark.parametrize("name", ["sparkplug-plant.yaml", "edgex-gateway.yaml", "wearable-heart-rate.yaml"])
def test_the_training_that_an_example_tells_of_can_be_had_and_fits_its_stream(name):
    path = EXAMPLES / name
    comments = re.sub(r"\\\n *#", "", path.read_text(encoding="utf-8"))
    (command,) = re.findall(r"# +gatewayd train (.+)", comments)
    context = train.make_context("train", shlex.split(command), resilient_parsing=True)
    (settings,) = load_config(path).settings.streams.values()
    wanted = {name: channel.unit for name, channel in settings.channels.items()}
    assert {channel.name: channel.unit for channel in context.params["channels"]} == wanted
    assert f"# model: {context.params['out']}" in comments


@pytest.fixture
def home(make_broker):
    """Zigbee2MQTT that has been running for some time: its definitions are retained."""
    broker, home = make_broker(), ZigbeeHome(climate=["fridge", "living room"], plugs=["dish washer"])
    with Client(broker.port) as zigbee:
        say(zigbee, home.retained(), retain=True)
        yield broker.port, home, zigbee


def healthy_home(home, *, steps=220):
    """A reading of each device every five minutes."""
    for step in range(steps):
        at = START_S + 300 * step
        yield home.climate("fridge", at)
        yield home.climate("living room", at + 7, temperature=21.5 + step % 7 / 10)
        yield home.plug("dish washer", at + 9)


def test_home_a_fridge_left_open_and_a_plug_that_draws_too_much(tmp_path, home):
    port, home, zigbee = home
    at = START_S + 300 * 220
    with (
        Client(port, "gatewayd/#", "homeassistant/#") as people,
        Daemon(tmp_path, moved("zigbee2mqtt-home.yaml", port)) as daemon,
    ):
        daemon.ready()
        say(zigbee, healthy_home(home))
        say(zigbee, [home.climate("fridge", at + 60 * n, temperature=7 + 2 * n) for n in range(8)])
        say(zigbee, [home.climate("fridge", at + 1800 + 300 * n, temperature=5.5) for n in range(3)])
        say(zigbee, [home.plug("dish washer", at + 600, power=2900), home.plug("dish washer", at + 700)])
        people.wait_for("/alert", 4)
        assert daemon.stop() == 0
        figures = daemon.last_figures()
    assert told(people) == [
        ("climate", "fridge", "anomaly", None, "raised"),
        ("climate", "fridge", "anomaly", None, "cleared"),
        ("plug", "dish washer", "out_of_range", "power", "raised"),
        ("plug", "dish washer", "out_of_range", "power", "cleared"),
    ]
    opened = people.documents("/alert")[0]
    assert opened["causes"][0]["channel"] == "temperature"
    assert opened["raised_at"] == iso(at + 60 * 4).replace(".000Z", "Z")  # the third reading above 9 °C or so
    anomalous = {document["device"] for document in people.documents("/prediction")}
    assert anomalous == {"fridge", "dish washer"}
    announced = {document["dev"]["name"]: set(document["cmps"]) for document in people.documents("/config")}
    assert announced == {
        "fridge": {"anomaly", "silent"},
        "dish washer": {"anomaly", "silent", "out_of_range_power"},
    }
    assert adds_up(figures)
    assert lost(figures) == {"unscored": {"warming_up": 100 + 100 + 200}}
    assert (figures["readings"], figures["devices"]) == (220 * 3 + 8 + 3 + 2, 3)
    assert figures["marked"] == {"out_of_range": 1}


def test_home_a_sensor_that_zigbee2mqtt_says_has_gone_is_silent_at_once(tmp_path, home):
    port, home, zigbee = home
    with (
        Client(port, "gatewayd/#") as people,
        Daemon(tmp_path, moved("zigbee2mqtt-home.yaml", port)) as daemon,
    ):
        daemon.ready()
        before = time.time()
        say(zigbee, healthy_home(home, steps=5))
        say(zigbee, [("zigbee2mqtt/living room/availability", b'{"state":"offline"}')], retain=True)
        silent = people.wait_for("/alert", 1)[0]
        say(zigbee, [("zigbee2mqtt/living room/availability", b'{"state":"online"}')], retain=True)
        say(zigbee, [home.climate("living room", START_S + 1900, temperature=21.6)])
        until(lambda: "cleared" in told(people)[-1], 60, lambda: str(told(people)))
        assert daemon.stop() == 0
    assert told(people) == [
        ("climate", "living room", "silent", None, "raised"),
        ("climate", "living room", "silent", None, "cleared"),
    ]
    assert datetime.fromisoformat(silent["raised_at"]).timestamp() == pytest.approx(before, abs=3600)


def test_home_a_sensor_in_fahrenheit_is_not_read_and_the_log_says_so(tmp_path, make_broker):
    port = make_broker().port
    home = ZigbeeHome(climate=["fridge"], plugs=[], unit="°F")
    with (
        Client(port) as zigbee,
        Daemon(tmp_path, moved("zigbee2mqtt-home.yaml", port)) as daemon,
    ):
        say(zigbee, home.retained(), retain=True)
        daemon.ready()
        say(zigbee, [home.climate("fridge", START_S + 300 * n, temperature=41) for n in range(10)])
        figures = figures_where(daemon, dropped={"missing": 10})  # humidity came, temperature did not
        assert figures["unread"] == {"unit_differs": 10}
        (line,) = daemon.events("parts_unread")[:1]
        assert (line["reason"], line["first_seen_on"]) == (
            "unit_differs",
            "climate/zigbee2mqtt/fridge temperature: °F, not °C",
        )
        assert adds_up(figures)


def test_home_names_with_slashes_need_what_the_comment_says(tmp_path, make_broker):
    port, home = make_broker().port, ZigbeeHome(climate=["kitchen/fridge"], plugs=[])
    text = moved("zigbee2mqtt-home.yaml", port).replace("topic: zigbee2mqtt/+\n", "topic: zigbee2mqtt/#\n")
    text = re.sub(r"(?m)^    also: .*\n", "", text)
    with (
        Client(port) as zigbee,
        Client(port, "gatewayd/#") as people,
        Daemon(tmp_path, text) as daemon,
    ):
        say(zigbee, home.retained(), retain=True)
        daemon.ready()
        say(zigbee, (home.climate("kitchen/fridge", START_S + 300 * n) for n in range(110)))
        say(
            zigbee,
            [home.climate("kitchen/fridge", START_S + 300 * 110 + n, temperature=25) for n in range(3)],
        )
        people.wait_for("/alert", 1)
        say(zigbee, [("zigbee2mqtt/kitchen/fridge/availability", b"offline")], retain=True)
        people.wait_for("/alert", 2)
        assert daemon.stop() == 0
    assert told(people) == [
        ("climate", "kitchen/fridge", "anomaly", None, "raised"),
        ("climate", "kitchen/fridge", "silent", None, "raised"),
    ]
    topics = {message.topic for message in people.received if message.topic.endswith("/alert")}
    assert topics == {"gatewayd/home-gw/climate/kitchen%2Ffridge/alert"}
    assert lost(daemon.last_figures()) == {"unscored": {"warming_up": 100}}


@pytest.fixture
def press_shop(tmp_path, make_broker):
    """An edge node with two presses, people, and the daemon: it came after the births, and has asked for others."""
    port = make_broker().port
    node = SparkplugNode("PlantA", "Edge1", ["Press7", "Press8"])
    with (
        Client(port, "spBv1.0/PlantA/NCMD/#") as plant,
        Client(port, "gatewayd/#") as people,
        Daemon(tmp_path, moved("sparkplug-plant.yaml", port)) as daemon,
    ):
        daemon.ready()
        say(plant, [node.data("Press7", START_S)])
        until(lambda: plant.received, 60, lambda: "no birth was asked for")
        asked = parse_payload(plant.received[0].payload).metrics[0]
        assert plant.received[0].topic == "spBv1.0/PlantA/NCMD/Edge1"
        assert (asked.name, asked.boolean_value) == ("Node Control/Rebirth", True)
        say(plant, node.born(START_S + 1))
        yield node, plant, people, daemon


def test_plant_a_press_loses_pressure_until_somebody_has_seen_it(press_shop):
    node, plant, people, daemon = press_shop
    say(plant, (node.data(press, START_S + second) for second in range(2, 500) for press in node.presses))
    leak = [node.data("Press7", START_S + 500 + n, pressure=178 - n) for n in range(30)]
    mended = [node.data("Press7", START_S + 530 + n) for n in range(40)]
    say(plant, [*leak, *mended])
    raised, escalated, _ = people.wait_for("/alert", 3)
    command = {"command": "acknowledge", "alert": raised["id"], "by": "early shift"}
    people.publish("gatewayd/plant-a-gw/command", command).wait_for_publish(60)
    people.wait_for("/alert", 4)
    assert told(people) == [
        ("press", "Edge1/Press7", "anomaly", None, state)
        for state in ("raised", "escalated", "cleared", "acknowledged")
    ]
    assert [document["status"] for document in people.documents("/alert")] == [
        "unacknowledged",
        "unacknowledged",
        "returned_unacknowledged",
        "normal",
    ]
    assert (raised["severity"], escalated["severity"]) == ("medium", "high")
    assert raised["causes"][0]["channel"] == "pressure"
    topics = {message.topic for message in people.received if message.topic.endswith("/alert")}
    assert topics == {"gatewayd/plant-a-gw/press/Edge1%2FPress7/alert"}
    states = [m.payload for m in people.received if "/alert/state/" in m.topic]
    assert [bool(payload) for payload in states] == [True, True, True, False]
    assert daemon.stop() == 0
    assert adds_up(daemon.last_figures())


def test_plant_history_within_the_lateness_is_used_and_older_is_late(press_shop):
    node, plant, _, daemon = press_shop

    def live(*seconds):
        return [node.data("Press7", START_S + second) for second in range(*seconds)]

    def stored(*seconds, sent_at):
        return [node.history("Press7", [START_S + s for s in range(*seconds)], sent_at=START_S + sent_at)]

    said = say(plant, live(2, 100))
    said += say(plant, [*live(103, 105), *stored(100, 103, sent_at=105), *live(105, 200)])
    # behind 240 everything before 235 is late
    said += say(plant, [*live(240, 241), *stored(200, 240, sent_at=241), *live(241, 300)])
    figures = figures_where(daemon, messages=said + 5)  # a reading, the request, three births
    assert adds_up(figures)
    assert lost(figures) == {"unread": BEFORE_BIRTH, "dropped": {"late": 35}, "unscored": figures["unscored"]}


def test_plant_a_device_that_dies_is_silent_at_once_and_its_birth_ends_that(press_shop):
    node, plant, people, daemon = press_shop
    say(plant, (node.data(press, START_S + second) for second in range(2, 20) for press in node.presses))
    say(plant, [node.device_death("Press8", START_S + 20)])
    people.wait_for("/alert", 1)
    say(plant, node.born(START_S + 60))
    people.wait_for("/alert", 2)
    assert told(people) == [
        ("press", "Edge1/Press8", "silent", None, "raised"),
        ("press", "Edge1/Press8", "silent", None, "cleared"),
    ]
    assert daemon.stop() == 0
    assert adds_up(daemon.last_figures())


def test_plant_a_node_that_dies_takes_its_presses_with_it(press_shop):
    node, plant, people, _ = press_shop
    before = time.time()
    say(plant, (node.data(press, START_S + second) for second in range(2, 20) for press in node.presses))
    say(plant, [node.death()])
    silent = people.wait_for("/alert", 2)
    node.session += 1
    say(plant, node.born(START_S + 60))
    until(lambda: told(people)[-1][4] == "cleared", 60, lambda: str(told(people)))
    assert {alert[1:3] for alert in told(people)} == {("Edge1/Press7", "silent"), ("Edge1/Press8", "silent")}
    assert datetime.fromisoformat(silent[0]["raised_at"]).timestamp() == pytest.approx(before, abs=3600)


def chillers_for(steps, start, chillers, *, warmer=False, frozen=False):
    """Two chillers' events, every 10 s: one may warm up by 0.1 K each time, the other's sensor hang."""
    for step in steps:
        at, kelvin = start + 10 * step, 0.1 * (step - steps.start)
        first = {"SupplyTemp": 7 + kelvin, "ReturnTemp": 8 + kelvin} if warmer else {}
        yield chillers.json_event("chiller-1", at, **first)
        yield chillers.cbor_event("chiller-2", at, **({"SupplyTemp": 7.1} if frozen else {}))


def test_edgex_a_chiller_that_no_longer_cools_and_a_sensor_that_hangs(tmp_path, make_broker):
    port, chillers = make_broker().port, EdgeXChillers()
    start = time.time() // 60 * 60 - 7200  # not older than max_age_s
    with (
        Client(port) as edgex,
        Client(port, "building/#") as people,
        Daemon(tmp_path, moved("edgex-gateway.yaml", port)) as daemon,
    ):
        daemon.ready()
        said = say(edgex, chillers_for(range(480), start, chillers))
        said += say(edgex, chillers_for(range(480, 540), start, chillers, warmer=True, frozen=True))
        said += say(edgex, chillers_for(range(540, 600), start, chillers))
        figures = figures_where(daemon, messages=said)
        predictions = people.wait_for("/prediction", 2 * (600 - 360) // 6)
        people.wait_for("/alert", 4)
    assert sorted(told(people)) == [
        ("chiller", "chiller-1", "anomaly", None, "cleared"),
        ("chiller", "chiller-1", "anomaly", None, "raised"),
        ("chiller", "chiller-2", "stuck", "supply", "cleared"),
        ("chiller", "chiller-2", "stuck", "supply", "raised"),
    ]
    anomaly = next(alert for alert in people.documents("/alert") if alert["condition"] == "anomaly")
    assert {cause["channel"] for cause in anomaly["causes"][:2]} == {"supply", "return"}
    assert {document["device"] for document in predictions if document["verdict"] == "anomalous"} == {
        "chiller-1"
    }
    assert adds_up(figures)
    assert lost(figures) == {"unscored": {"warming_up": 2 * 360 // 6}}
    assert (figures["readings"], figures["marked"]) == (2 * 600, {"stuck": 1})


def test_wearable_a_heart_out_of_step_is_told_and_nothing_of_the_other_wearer(tmp_path, make_broker):
    port, straps, beats = make_broker().port, Wearables(), random.Random(23)

    def seconds():
        for second in range(900):
            wild = {"bpm": beats.choice([48, 95, 118, 131, 142])} if 600 <= second < 660 else {}
            off = {"bpm": 0} if 300 <= second < 303 else {}
            yield from straps.second("w1", START_S + second, **wild)
            yield from straps.second("w2", START_S + second, **off)

    with (
        Client(port) as ward,
        Client(port, "gatewayd/#") as people,
        Daemon(tmp_path, moved("wearable-heart-rate.yaml", port)) as daemon,
    ):
        daemon.ready()
        figures = figures_where(daemon, messages=say(ward, seconds()))
        raised, _ = people.wait_for("/alert", 2)
    assert told(people) == [("wearer", "w1", "anomaly", None, state) for state in ("raised", "cleared")]
    assert raised["causes"][0]["channel"] == "heart_rate"
    assert adds_up(figures)
    assert lost(figures) == {"dropped": {"out_of_range": 3}, "unscored": {"warming_up": 2 * 300}}


def test_wearable_what_waits_goes_on_when_the_strap_is_taken_off(tmp_path, make_broker):
    port, straps = make_broker().port, Wearables()
    text = moved("wearable-heart-rate.yaml", port, idle_timeout_s=2, silent_after_s=3)
    with (
        Client(port) as ward,
        Client(port, "gatewayd/#") as people,
        Daemon(tmp_path, text) as daemon,
    ):
        daemon.ready()
        say(ward, (message for second in range(30) for message in straps.second("w1", START_S + second)))
        people.wait_for("/alert", 1)
        figures = figures_where(daemon, alerts_standing=1)
    assert told(people) == [("wearer", "w1", "silent", None, "raised")]
    assert adds_up(figures)
    # a row at each second from the first one that both channels were known at
    assert (figures["waiting"], figures["grid_rows"]) == (0, 29)


def test_traffic_a_blocked_lane_is_told_with_its_site(tmp_path, make_broker):
    port, site = make_broker().port, RoadSite("A9-km512", ["L1", "L2", "L3"])
    with (
        Client(port) as road,
        Client(port, "gatewayd/#") as people,
        Daemon(tmp_path, moved("traffic-detectors.yaml", port)) as daemon,
    ):
        daemon.ready()
        said = say(road, (site.minute(START_S + 60 * n) for n in range(200)))
        said += say(road, (site.minute(START_S + 60 * n, empty=["L3"]) for n in range(200, 207)))  # at night
        said += say(road, (site.minute(START_S + 60 * n) for n in range(207, 1300)))
        said += say(road, (site.minute(START_S + 60 * n, blocked=["L2"]) for n in range(1300, 1330)))
        said += say(road, (site.minute(START_S + 60 * n) for n in range(1330, 1400)))
        figures = figures_where(daemon, messages=said)
        raised, _ = people.wait_for("/alert", 2)
        predictions = people.wait_for("/prediction", figures["predictions"])
    assert told(people) == [("lane", "L2", "anomaly", None, state) for state in ("raised", "cleared")]
    assert raised["labels"] == {"site": "A9-km512"}
    assert raised["causes"][0]["channel"] == "occupancy"
    assert raised["raised_at"] == iso(START_S + 60 * 1304).replace(".000Z", "Z")  # the fifth blocked minute
    by_lane = {lane: [p for p in predictions if p["device"] == lane] for lane in ("L1", "L2", "L3")}
    for found in by_lane.values():
        assert [p["threshold"] is None for p in found[:1001]] == [True] * 1000 + [False]
    assert adds_up(figures)
    assert lost(figures) == {"dropped": {"missing": 7}, "unscored": {"warming_up": 3 * 120}}


def test_traffic_a_site_that_fails_is_ten_alerts_and_a_flood(tmp_path, make_broker):
    port, site = make_broker().port, RoadSite("A9-km512", [f"L{lane}" for lane in range(1, 13)])
    with (
        Client(port) as road,
        Client(port, "gatewayd/#") as people,
        Daemon(tmp_path, moved("traffic-detectors.yaml", port, silent_after_s=2)) as daemon,
    ):
        daemon.ready()
        say(road, [site.minute(START_S + 60 * n) for n in range(3)])
        daemon.wait_for("alert_flood_began")
        people.wait_for("/alert", 10)
        assert daemon.stop() == 0
    assert sorted(told(people)) == sorted(
        ("lane", f"L{lane}", "silent", None, "raised") for lane in range(1, 11)
    )
    assert daemon.last_figures()["alerts_standing"] == 12


def test_traffic_a_lane_whose_detector_says_that_it_is_broken_is_not_read(tmp_path, make_broker):
    port, site = make_broker().port, RoadSite("A9-km512", ["L1", "L2"])
    with Client(port) as road, Daemon(tmp_path, moved("traffic-detectors.yaml", port)) as daemon:
        daemon.ready()
        say(road, [site.minute(START_S), site.minute(START_S + 60, status="bad")])
        figures = figures_where(daemon, messages=2)
        assert daemon.events("payloads_rejected")[0]["first_seen_on"] == "lane/traffic/A9-km512/detectors"
    assert (figures["rejected"], figures["unread"]) == ({"bad_quality": 1}, {"bad_quality": 1})
    assert adds_up(figures)


def test_plant_births_and_alerts_outlive_a_restart_of_the_gateway(press_shop):
    node, plant, people, daemon = press_shop
    said = say(plant, (node.data("Press7", START_S + second) for second in range(2, 500)))
    said += say(plant, [node.data("Press7", START_S + 500 + n, pressure=100) for n in range(20)])
    figures_where(daemon, messages=said + 5)
    raised = people.wait_for("/alert", 1)[0]
    assert daemon.stop() == 0
    daemon.start()
    daemon.wait_for("service_ready", count=2)
    restored = daemon.events("state_restored")[-1]
    assert (restored["devices"], restored["alerts_standing"]) == (2, 1)
    say(plant, [node.data("Press7", START_S + second) for second in range(520, 560)])
    until(lambda: told(people)[-1][4] == "cleared", 60, lambda: str(told(people)))
    assert people.documents("/alert")[-1]["id"] == raised["id"]
    assert [row[4] for row in told(people)] == ["raised", "cleared"]
    assert daemon.stop() == 0
    figures = daemon.last_figures()
    assert adds_up(figures)
    assert lost(figures) == {
        "unread": BEFORE_BIRTH,
        "unscored": figures["unscored"],
    }  # no further birth needed
    assert len(plant.received) == 1
