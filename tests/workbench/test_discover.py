"""Whatever talks on a broker, the configuration that is made of it reads it: every sensor, nothing rejected."""

import pytest

from gatewayd.config.settings import StreamSettings
from gatewayd.workbench.discover import discover
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


def test_a_list_of_samples_is_read_by_its_own_format_where_the_configuration_has_it(tmp_path):
    said = plant.talk([plant.lists], SECONDS)
    findings = discover(overhear(said))
    check_reads_all(findings, tmp_path, said)


def test_all_makes_together_are_found_as_each_alone(tmp_path):
    said = plant.talk(plant.ALL, SECONDS)
    findings = discover(overhear(said))
    expected = [one for streams in EXPECTED.values() for one in streams]
    assert all(one in [shape(stream) for stream in findings.streams] for one in expected)
    names = [stream.name for stream in findings.streams]
    assert len(set(names)) == len(names) == len(expected) + 1  # and the list of samples
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
