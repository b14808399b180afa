"""Whatever talks on a broker, the configuration that is made of it reads it: every sensor, nothing rejected."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.config.settings import StreamSettings
from gatewayd.workbench.discover import MAX_STREAMS, discover
from tests.support import plant
from tests.support.discovered import by_format, configured, overhear, replayed

# make -> for each stream: the filter, the channels, the devices
EXPECTED = {
    plant.pumps: [("site/{line}/{device}/telemetry", {"temperature", "vibration", "motor.current_a"}, 3)],
    plant.numbers: [
        ("heat/{device}/flow_temperature", {"flow_temperature"}, 2),
        ("heat/{device}/pressure_bar", {"pressure_bar"}, 2),
    ],
    plant.zigbee2mqtt: [
        ("zigbee2mqtt/#", {"humidity", "temperature"}, 2),
        ("zigbee2mqtt/pump plug", {"current", "power", "voltage"}, 1),
    ],
    plant.tasmota: [("tele/+/SENSOR", {"ENERGY.Power", "ENERGY.Voltage", "ENERGY.Current"}, 2)],
    plant.shelly: [
        (
            "+/status/switch:0",
            {
                "switch_0.apower",
                "switch_0.voltage",
                "switch_0.current",
                "switch_0.temperature.tC",
                "switch_0.temperature.tF",
            },
            2,
        )
    ],
    plant.esphome: [("weather/sensor/+/state", {"sensor.outside_temperature", "sensor.pressure"}, 1)],
    plant.homie: [("homie/#", {"circuit.flow-temp", "circuit.return-temp", "circuit.power"}, 1)],
    plant.sparkplug: [("spBv1.0/PlantA/#", {"Hydraulics_Pressure", "Hydraulics_OilTemp"}, 1)],
    plant.senml: [("farm/+/senml", {"level", "temp"}, 2)],
    plant.senml_cbor: [("farm/well/cbor", {"depth", "flow"}, 1)],
    plant.influx: [("telegraf/press/air", {"air.temperature", "air.humidity"}, 1)],
    plant.edgex: [
        (
            "edgex/events/device/device-modbus/chiller/chiller-2/all",
            {"SupplyTemp", "ReturnTemp"},
            1,
        )
    ],
    plant.ttn: [("v3/app1@ttn/devices/+/up", {"soil_temp", "moisture"}, 2)],
    plant.cloudevents: [("cloud/events", {"celsius"}, 1)],
    plant.csv: [("logger/out", {"temp", "rh"}, 1)],
    plant.maps: [
        ("lora/{device}/cbor", {"temp", "vbat_mv"}, 2),
        ("node/{device}/msgpack", {"temp", "vbat_mv"}, 2),
    ],
    plant.lists: [("kepware/press", {"press.in", "press.out"}, 1)],
    plant.ruuvi: [
        (
            "ruuvi/raw",
            {
                "temperature",
                "humidity",
                "pressure",
                "acceleration_x",
                "acceleration_y",
                "acceleration_z",
                "battery",
            },
            1,
        )
    ],
}
SECONDS = 20


def shape(stream):
    return stream.filters[0], {name for name, _ in stream.channels}, len(stream.devices)


def check_reads_all(findings, folder, said):
    """The configuration's streams decode these messages, and nothing of them is rejected, unread or dropped."""
    prepared, text = configured(findings, folder)
    assert not prepared.warnings, text
    figures = replayed(prepared, said)
    assert (figures.rejected, figures.unread, figures.untimed) == ({}, {}, {}), (figures, text)
    assert not figures.dropped, (figures, text)
    assert figures.readings
    return prepared, figures


@pytest.mark.parametrize("make", EXPECTED, ids=lambda make: make.__name__)
def test_a_make_is_recognised_and_read(make, tmp_path):
    said = plant.talk([make], SECONDS)
    findings = discover(overhear(said))
    assert [shape(stream) for stream in findings.streams] == EXPECTED[make]
    assert len(by_format(findings)) == (2 if make is plant.maps else 1)
    check_reads_all(findings, tmp_path, said)


def test_all_makes_together_are_found_as_each_alone(tmp_path):
    said = plant.talk(plant.ALL, SECONDS)
    findings = discover(overhear(said))
    expected = [one for streams in EXPECTED.values() for one in streams]
    assert all(one in [shape(stream) for stream in findings.streams] for one in expected)
    names = [stream.name for stream in findings.streams]
    assert len(set(names)) == len(names) == len(expected)
    prepared, _ = check_reads_all(findings, tmp_path, said)
    assert prepared.settings.streams.keys() == set(names)
    assert {one.reason for one in findings.left_out} == {"own_results", "text"}


def test_channels_of_separate_messages_are_aligned():
    streams = {
        stream.kind.format: stream.align_s
        for make in (plant.homie, plant.esphome, plant.pumps, plant.zigbee2mqtt)
        for stream in discover(overhear(plant.talk([make], SECONDS))).streams
    }
    assert streams == {"homie": 1.0, "esphome": 1.0, "json": None, "zigbee2mqtt": None}
    assert "align" in StreamSettings.model_fields


def json_pumps(*topics, keys=("temp", "flow"), count=9, **more):
    """Some seconds of objects on each topic; values that move."""
    return [
        (float(second), topic, plant.as_json({key: plant.wave(second, 1, 9) for key in keys} | more), False)
        for second in range(count)
        for topic in topics
    ]


def streams_of(said):
    return discover(overhear(said)).streams


def test_devices_with_other_channels_are_another_stream_whose_filter_is_apart(tmp_path):
    said = json_pumps("s/p1/t", "s/p2/t") + json_pumps("s/f1/t", "s/f2/t", keys=("rpm_a", "level_b", "x"))
    findings = discover(overhear(said))
    assert [shape(stream) for stream in findings.streams] == [
        ("s/f1/t", {"rpm_a", "level_b", "x"}, 1),
        ("s/f2/t", {"rpm_a", "level_b", "x"}, 1),
        ("s/p1/t", {"temp", "flow"}, 1),
        ("s/p2/t", {"temp", "flow"}, 1),
    ]
    check_reads_all(findings, tmp_path, said)


def test_devices_that_have_most_in_common_are_one_stream_of_what_they_share(tmp_path):
    plain = [f"s/p{n}/t" for n in range(6)]
    said = json_pumps(*plain) + json_pumps(*(f"s/q{n}/t" for n in range(6)), keys=("temp", "flow", "noise"))
    findings = discover(overhear(said))
    (stream,) = findings.streams
    assert shape(stream) == ("s/{device}/t", {"temp", "flow"}, 12)
    assert [(seen.field, seen.doubt) for seen in stream.doubtful] == [("noise", "partial")]
    check_reads_all(findings, tmp_path, said)


def test_a_switch_more_or_less_makes_no_other_stream():
    (stream,) = streams_of(json_pumps("s/p1/t", "s/p2/t") + json_pumps("s/p3/t", on=True))
    assert shape(stream) == ("s/{device}/t", {"temp", "flow"}, 3)


def test_text_topics_beside_are_not_subscribed_to(tmp_path):
    said = json_pumps("s/p1/t", "s/p2/t", "s/p1/u") + [(1.0, "s/p1/name", b"Pump one", False)] * 3
    findings = discover(overhear(said))
    assert [stream.filters[0] for stream in findings.streams] == ["s/p1/u", "s/{device}/t"]
    check_reads_all(findings, tmp_path, said)


def test_objects_with_a_value_are_parted_by_what_the_topic_says(tmp_path):
    said = json_pumps(
        "s/p1/temperature", "s/p2/temperature", "s/p1/pressure", "s/p2/pressure", keys=("value",)
    )
    findings = discover(overhear(said))
    assert [shape(stream) for stream in findings.streams] == [
        ("s/{device}/pressure", {"pressure"}, 2),
        ("s/{device}/temperature", {"temperature"}, 2),
    ]
    assert [seen.field for stream in findings.streams for _, seen in stream.channels] == ["value", "value"]
    check_reads_all(findings, tmp_path, said)


def test_home_assistant_knows_the_units_of_plain_numbers():
    config = b'{"state_topic":"heat/b1/xx","unit_of_measurement":"mbar","unique_id":"1"}'
    said = [*plant.talk([plant.numbers], 9), (0.0, "homeassistant/sensor/1/config", config, True)]
    said += [(float(second), "heat/b1/xx", str(second % 3 + 0.5).encode(), False) for second in range(9)]
    findings = discover(overhear(said))
    assert [stream.channels[0][1].unit for stream in findings.streams] == ["", "bar", "mbar"]
    assert {one.reason for one in findings.left_out} == {"discovery", "text"}


def test_channels_that_come_now_and_then_are_aligned(tmp_path):
    said = sorted([*json_pumps("s/p1/t", keys=("temp",)), *json_pumps("s/p1/t", keys=("flow",))])
    (stream,) = streams_of(said)
    assert (stream.align_s, {name for name, _ in stream.channels}) == (1.0, {"temp", "flow"})
    check_reads_all(discover(overhear(said)), tmp_path, said)


def test_a_clock_that_is_ahead_is_not_used(tmp_path):
    said = [(second, topic, payload, kept) for second, topic, payload, kept in plant.talk([plant.pumps], 9)]
    early = [(second - 3600, *rest) for second, *rest in said]
    (stream,) = streams_of(early)
    assert (stream.clock.is_ahead, stream.clock.zone_hours, stream.has_time) == (True, 1.0, False)
    _, figures = check_reads_all(discover(overhear(early)), tmp_path, early)
    assert figures.readings == len(said)


def test_a_clock_that_is_ahead_and_cannot_be_left_out_is_put_up_with(tmp_path):
    said = [(second - 300, *rest) for second, *rest in plant.talk([plant.senml, plant.edgex], 9)]
    prepared, figures = check_reads_all(discover(overhear(said)), tmp_path, said)
    assert {stream.max_future_s for stream in prepared.settings.streams.values()} == {360.0}
    assert figures.readings == 27


def test_stamps_that_repeat_are_not_used(tmp_path):
    said = json_pumps("s/p1/t", "s/p2/t", ts=plant.EPOCH_S)
    (stream,) = streams_of(said)
    assert (stream.clock.is_repeated, stream.has_time) == (True, False)
    check_reads_all(discover(overhear(said)), tmp_path, said)


def test_tasmota_in_local_time_gets_its_zone(tmp_path):
    said = [(second - 7200, *rest) for second, *rest in plant.talk([plant.tasmota], 9)]
    findings = discover(overhear(said))
    _, figures = check_reads_all(findings, tmp_path, said)
    assert figures.readings == 18
    assert "timezone: Etc/GMT-2\n" in (tmp_path / "first.yaml").read_text()


def in_local_time(second):
    """A table, a list and an object of somebody at UTC+2 who writes no offset."""
    stamp, value = plant.iso(second + 7200)[:19], plant.wave(second, 1, 9)
    yield "l/table", f"ts,temp\n{stamp},{value}".encode()
    yield "l/list", plant.as_json([{"ts": stamp, "temp": value}])
    yield "l/object", plant.as_json({"ts": stamp, "temp": value, "flow": value})


def test_other_local_times_get_their_zone_too(tmp_path):
    said = [(float(n), topic, payload, False) for n in range(9) for topic, payload in in_local_time(float(n))]
    findings = discover(overhear(said))
    assert [(stream.kind.format, stream.zone, stream.has_time) for stream in findings.streams] == [
        ("json_list", "Etc/GMT-2", True),
        ("json", "Etc/GMT-2", True),
        ("csv", "Etc/GMT-2", True),
    ]
    _, figures = check_reads_all(findings, tmp_path, said)
    assert figures.readings == 27


def test_sparkplug_without_a_birth_is_named_as_such():
    said = [one for one in plant.talk([plant.sparkplug], 9) if "BIRTH" not in one[1]]
    findings = discover(overhear(said))
    assert not findings.streams
    assert [(one.reason, one.count) for one in findings.left_out] == [("no_birth", 1)]


def test_zigbee2mqtt_with_a_topic_for_each_value_is_aligned(tmp_path):
    said = [(0.0, "z/bridge/state", b"online", True)]
    said += [
        (float(second), f"z/{device}/{name}", str(plant.wave(second, 1, 9)).encode(), False)
        for second in range(9)
        for device in ("hall", "attic")
        for name in ("temperature", "humidity")
    ]
    findings = discover(overhear(said))
    (stream,) = findings.streams
    assert (shape(stream), stream.align_s) == (("z/#", {"temperature", "humidity"}, 2), 1.0)
    check_reads_all(findings, tmp_path, said)


def test_a_device_that_sent_only_some_of_its_channels_so_far_belongs_to_its_like():
    said = plant.talk([plant.homie], 9)
    said += [
        (second, topic.replace("heatpump", "second"), payload, kept)
        for second, topic, payload, kept in said
        if not topic.endswith("power")
    ]
    (stream,) = streams_of(said)
    assert shape(stream) == ("homie/#", {"circuit.flow-temp", "circuit.return-temp", "circuit.power"}, 2)


def test_what_has_only_switches_or_counters_is_left_out():
    findings = discover(
        overhear(json_pumps("s/p1/t", keys=(), on=True) + json_pumps("s/p2/t", keys=(), serial=7))
    )
    assert not findings.streams
    assert {one.reason for one in findings.left_out} == {"switch", "identity"}


def test_there_is_a_limit_to_streams_and_what_is_beyond_is_counted():
    said = [one for n in range(120) for one in json_pumps(f"s{n}x/a/b", keys=(f"k{n}", "x"), count=3)]
    findings = discover(overhear(said))
    assert len(findings.streams) == MAX_STREAMS
    assert [(one.reason, one.count) for one in findings.left_out] == [("too_many_streams", 20)]


def test_the_findings_do_not_depend_on_the_order_of_topics():
    said = plant.talk(plant.ALL, 9)
    mixed = sorted(said, key=lambda one: (one[0], one[1][::-1]))
    assert {(s.name, *s.filters) for s in streams_of(said)} == {
        (s.name, *s.filters) for s in streams_of(mixed)
    }


def test_where_filters_would_be_too_many_the_whole_root_is_subscribed_to(monkeypatch, tmp_path):
    monkeypatch.setattr("gatewayd.workbench.generalise.MAX_PATTERNS", 2)
    said = [
        (
            float(second),
            f"z/{device}",
            plant.as_json({"temp": plant.wave(second, 1, 9), device[0]: second % 3}),
            False,
        )
        for second in range(9)
        for device in ("a1", "b1", "a2", "b2", "a3", "b3")
    ]
    findings = discover(overhear([*said, (0.0, "z/bridge/state", b"online", True)]))
    assert [stream.filters for stream in findings.streams] == [("z/#",), ("z/#",)]
    configured(findings, tmp_path)


LEVELS = st.sampled_from(["a", "b", "p1", "p2", "temp", "x1f3"])
PLANTS = st.dictionaries(
    st.lists(LEVELS, min_size=1, max_size=4).map("/".join),
    st.one_of(
        st.frozensets(st.sampled_from(["temp", "flow", "value", "x", "a.b"]), min_size=1),
        st.sampled_from(["number", "text"]),
    ),
    min_size=1,
    max_size=12,
)


def payload_of(kind, second):
    if kind == "text":
        return b"all is well"
    if kind == "number":
        return str(plant.wave(second, 1, 9)).encode()
    return plant.as_json({key: plant.wave(second, 1, 9, len(key)) for key in sorted(kind)})


@settings(deadline=None)
@given(PLANTS)
def test_whatever_stands_beside_what_nothing_is_rejected_and_all_is_read(tmp_path_factory, topics):
    said = [(float(n), topic, payload_of(kind, n), False) for n in range(4) for topic, kind in topics.items()]
    findings = discover(overhear(said))
    sensors = {topic for topic, kind in topics.items() if kind != "text"}
    assert sum(one.count for one in findings.left_out) == len(topics) - len(sensors)
    assert bool(findings.streams) == bool(sensors)
    if sensors:
        _, figures = check_reads_all(findings, tmp_path_factory.mktemp("plant"), said)
        assert figures.readings == 4 * len(sensors)


CHANNELS = ["temperature", "humidity", "pressure", "power", "brightness"]
NAMES = st.sampled_from(["hall", "office/lamp", "cold store", "p1", "p2", "attic/p3", "0x00158d0001a2b3c4"])


def z2m(device, channels, second):
    yield (
        f"zigbee2mqtt/{device}",
        plant.as_json({name: plant.wave(second, 1, 9) for name in sorted(channels)}),
    )


def tasmota(device, channels, second):
    values = {name.title(): plant.wave(second, 1, 9) for name in sorted(channels)}
    now = plant.iso(second)[:19]
    yield f"tele/{device}/SENSOR", plant.as_json({"Time": now, "BME280": values, "TempUnit": "C"})


def shelly(device, channels, second):
    values = {name: plant.wave(second, 1, 9) for name in sorted(channels)}
    yield f"{device}/status/input:0", plant.as_json({"id": 0, **values})


def esphome(device, channels, second):
    for name in sorted(channels):
        yield f"{device}/sensor/{name}/state", str(plant.wave(second, 1, 9)).encode()


def homie(device, channels, second):
    for name in sorted(channels):
        yield f"homie/{device.replace('/', '-')}/node/{name}", str(plant.wave(second, 1, 9)).encode()


@pytest.mark.parametrize("make", [z2m, tasmota, shelly, esphome, homie], ids=lambda make: make.__name__)
@settings(deadline=None, max_examples=40)
@given(st.dictionaries(NAMES, st.frozensets(st.sampled_from(CHANNELS), min_size=1), min_size=1))
def test_devices_of_one_make_with_any_channels_are_all_read(tmp_path_factory, make, devices):
    said = [
        (float(second), topic, payload, False)
        for second in range(12)
        for device, channels in devices.items()
        for topic, payload in make(device, channels, float(second))
    ]
    findings = discover(overhear(said))
    assert not findings.left_out
    prepared, text = configured(findings, tmp_path_factory.mktemp("make"))
    figures = replayed(prepared, said)
    assert (figures.rejected, figures.unread, figures.refused) == ({}, {}, {}), text
    if make in (z2m, tasmota, shelly):
        assert (figures.dropped, figures.readings) == ({}, 12 * len(devices)), text
    found = {name for stream in findings.streams for name in stream.devices}
    assert len(found) == len(devices)
