"""The unit as it is shipped, under a real systemd, with a real mosquitto beside it.

The machine is booted once; each test installs its configuration anew and leaves the service stopped. Where the
daemon is installed is the only thing arranged for the test: ``/opt/gatewayd/bin/gatewayd`` starts this Python.
"""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.broker import require_mosquitto
from tests.support.machine import ROOT, Machine, require_systemd

pytestmark = [pytest.mark.systemd, pytest.mark.broker, pytest.mark.timeout(290)]

UNIT = "gatewayd.service"
PORT = 1883  # the machine has a loopback of its own: no port can be taken
CONFIG = """
gateway: {id: gw-1}
brokers:
  local: {host: 127.0.0.1}
  cloud: {host: 127.0.0.1, port: %d, username: gw-1, password_file: /run/credentials/gatewayd.service/cloud-password}
streams:
  pump:
    from: local
    topic: site/{line}/{device}/telemetry
    channels: {temperature: {unit: °C}, vibration: {unit: g}, pressure: {unit: bar}, current: {unit: A}}
    model: models/pump
    publish: {to: cloud}
"""
PASSWORD = "S3cr3t-Ga7e!/@x"
CLIENT = """
import sys, threading, paho.mqtt.client as mqtt
topic, count = sys.argv[1], int(sys.argv[2])
done, left = threading.Event(), count
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
def on_message(client, userdata, message):
    global left
    print(message.payload.decode())
    left -= 1
    if not left: done.set()
client.on_message = on_message
client.connect("127.0.0.1", 1883)
client.loop_start()
if len(sys.argv) > 3:
    for _ in range(count): client.publish(topic, sys.argv[3], qos=1).wait_for_publish(30)
else:
    client.subscribe(topic, 1)
    assert done.wait(60), f"{left} of {count} did not come"
client.disconnect()
client.loop_stop()
"""
READING = '{"temperature": 36.0, "vibration": 0.2, "pressure": 3.6, "current": 8.8}'


@pytest.fixture(scope="module")
def machine():
    require_systemd()
    mosquitto = require_mosquitto()
    with Machine() as machine:
        _install_python(machine)
        unit = (ROOT / "systemd" / UNIT).read_text()
        machine.write("/etc/systemd/system/gatewayd.service", unit)
        machine.write(
            "/etc/systemd/system/gatewayd.service.d/password.conf",
            "[Service]\nLoadCredential=cloud-password:/etc/gatewayd/secrets/cloud-password\n",
        )
        machine.write(
            "/run/mosquitto-test.conf", f"user root\nlistener {PORT} 127.0.0.1\nallow_anonymous true\n"
        )
        machine.run("systemd-run", "--unit=broker", mosquitto, "-c", "/run/mosquitto-test.conf")
        yield machine


def _install_python(machine):
    """This Python may lie where a service user can't reach, such as /root: show it to the machine under /opt."""
    site = Path(sysconfig.get_paths()["purelib"])
    for folder, source in (("base", sys.base_prefix), ("site", site), ("source", ROOT)):
        machine.run("mkdir", "-p", f"/opt/python-{folder}")
        machine.run("mount", "--bind", source, f"/opt/python-{folder}")
    python = f"/opt/python-base/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    launcher = f"""#!/bin/sh
# Python's own library is searched where it was built to lie, which the service must not see either
export LD_LIBRARY_PATH=/opt/python-base/lib
export PYTHONPATH=${{PYTHONPATH:+$PYTHONPATH:}}/opt/python-site:/opt/python-source
exec {python} -m gatewayd "$@"
"""
    machine.write("/opt/gatewayd/bin/gatewayd", launcher)
    machine.run("chmod", "755", "/opt/gatewayd/bin/gatewayd")


@pytest.fixture
def service(machine):
    """The service, configured and stopped; nothing of an earlier test is left."""
    machine.run("rm", "-rf", "/etc/gatewayd", "/var/lib/private/gatewayd", "/var/lib/gatewayd")
    configure(machine, CONFIG % PORT)
    machine.write("/etc/gatewayd/secrets/cloud-password", PASSWORD + "\n")
    machine.run("chmod", "700", "/etc/gatewayd/secrets")
    machine.run("chmod", "600", "/etc/gatewayd/secrets/cloud-password")
    machine.run("mkdir", "-p", "/etc/gatewayd/models")
    machine.run("cp", "-r", ROOT / "config" / "models" / "pump", "/etc/gatewayd/models/")
    machine.run("chmod", "-R", "a+rX", "/etc/gatewayd/models")
    machine.run("systemctl", "daemon-reload")
    yield machine
    machine.run("systemctl", "stop", UNIT, check=False)
    machine.run("rm", "-f", "/etc/systemd/system/gatewayd.service.d/test.conf")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "reset-failed", UNIT, check=False)


def configure(machine, text):
    machine.write("/etc/gatewayd/gatewayd.yaml", text)


def publish(machine, count):
    machine.run(sys.executable, "-c", CLIENT, "site/a/pump-1/telemetry", str(count), READING)


def receive(machine, topic, count):
    return [
        json.loads(line) for line in machine.run(sys.executable, "-c", CLIENT, topic, str(count)).splitlines()
    ]


def events(machine, name):
    """The daemon's JSON lines in the journal, since the machine was booted."""
    lines = machine.run("journalctl", "--no-pager", "-o", "cat", "-u", UNIT).splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [event for event in found if event["event"] == name]


def status_text(machine):
    return machine.show(UNIT, "StatusText")["StatusText"]


@pytest.mark.parametrize(("limit", "command", "code"), [("60", "exit 7", 7), ("8", "sleep 60", None)])
def test_nothing_of_a_machine_outlasts_its_command_or_its_limit(tmp_path, limit, command, code):
    """Every process of it has the name of its folder among its arguments, or is a child of one that has."""
    require_systemd()
    tool = [str(ROOT / "tools" / "with-systemd"), "--limit", limit, "bash", "-c", command]
    done = subprocess.run(tool, env={**os.environ, "TMPDIR": str(tmp_path)}, check=False, capture_output=True)
    assert done.returncode == code if code is not None else done.returncode != 0
    assert list(tmp_path.iterdir()) == []
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in _read(path)]
    assert left == []


def _read(path):
    try:
        return path.read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


def test_the_unit_says_nothing_that_systemd_does_not_understand(service):
    assert service.run("systemd-analyze", "verify", f"/etc/systemd/system/{UNIT}") == ""


def test_start_is_ready_when_subscribed_and_the_status_is_live(service):
    service.run("systemctl", "start", UNIT)  # returns with READY
    assert service.show(UNIT, "ActiveState", "SubState") == {"ActiveState": "active", "SubState": "running"}
    assert status_text(service).startswith("receiving: 0 devices, 0 readings")
    publish(service, 40)
    service.wait_for(
        lambda: (
            status_text(service)
            == ("receiving: 1 device, 40 readings, 2 predictions · cloud: open, 0 waiting")
        ),
        "the figures in the status",
    )
    (online,) = receive(service, "gatewayd/gw-1/status", 1)
    assert online["status"] == "online"


def test_stop_delivers_what_there_is_and_says_goodbye(service):
    service.run("systemctl", "start", UNIT)
    publish(service, 32)
    service.run("systemctl", "stop", UNIT)
    assert service.show(UNIT, "Result", "ExecMainStatus", "NRestarts") == {
        "Result": "success",
        "ExecMainStatus": "0",
        "NRestarts": "0",
    }
    (offline,) = receive(service, "gatewayd/gw-1/status", 1)
    assert offline["status"] == "offline"


def test_what_a_stop_cannot_deliver_is_kept_and_comes_with_the_next_start(service):
    configure(service, CONFIG % 1999)  # nobody there
    service.run("systemctl", "start", UNIT)
    publish(service, 40)
    service.wait_for(lambda: "2 waiting" in status_text(service), "two predictions in the outbox")
    service.run("systemctl", "stop", UNIT)
    assert service.show(UNIT, "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
    configure(service, CONFIG % PORT)
    service.run(
        "systemd-run", "--unit=subscriber", "--property=StandardOutput=file:/run/predictions",
        sys.executable, "-c", CLIENT, "plant/gw-1/pump/pump-1/prediction", "2",
    )  # fmt: skip
    service.run("systemctl", "start", UNIT)
    service.wait_for(
        lambda: len(service.run("cat", "/run/predictions", check=False).splitlines()) == 2,
        "what was kept to arrive",
    )


def test_the_state_belongs_to_the_service_alone(service):
    service.run("systemctl", "start", UNIT)
    publish(service, 1)
    folder = service.run("stat", "-L", "-c", "%a %U", "/var/lib/gatewayd").split()
    outbox = service.run("stat", "-L", "-c", "%a %U", "/var/lib/gatewayd/outbox.db").split()
    assert folder == ["700", "gatewayd"]
    assert outbox == ["600", "gatewayd"]
    pid = service.show(UNIT, "MainPID")["MainPID"]
    status = service.run("cat", f"/proc/{pid}/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_a_wrong_configuration_ends_with_78_and_is_not_tried_again(service):
    configure(service, (CONFIG % PORT).replace("from: local", "from: locla"))
    service.run("systemctl", "start", UNIT, check=False)
    shown = service.show(UNIT, "ActiveState", "Result", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78", "NRestarts": "0"}
    log = service.run("journalctl", "--no-pager", "-o", "cat", "-u", UNIT)
    assert "/etc/gatewayd/gatewayd.yaml:8:" in log
    assert "locla" in log


def test_reload_takes_a_good_file_and_refuses_a_broken_one(service):
    service.run("systemctl", "start", UNIT)
    pid = service.show(UNIT, "MainPID")["MainPID"]
    reloaded = len(events(service, "config_reloaded"))
    configure(service, (CONFIG % PORT).replace("{id: gw-1}", "{id: gw-1, log_level: debug}"))
    service.run("systemctl", "reload", UNIT)
    service.wait_for(lambda: len(events(service, "config_reloaded")) == reloaded + 1, "the reload")
    configure(service, "gateway: {id: gw-1, colour: red}\n")
    service.run("systemctl", "reload", UNIT)
    service.wait_for(lambda: "reload refused" in status_text(service), "the refusal in the status")
    shown = service.show(UNIT, "ActiveState", "MainPID", "NRestarts")
    assert shown == {"ActiveState": "active", "MainPID": pid, "NRestarts": "0"}


def test_a_stalled_line_is_killed_by_the_watchdog_and_started_again(service):
    service.write(
        "/etc/systemd/system/gatewayd.service.d/test.conf",
        "[Service]\nWatchdogSec=3\nRestartSec=0\nEnvironment=GATEWAYD_TEST_STALL=/run/stall\n"
        "Environment=PYTHONPATH=/opt/python-source/tests/support/stall:/opt/python-site:/opt/python-source\n",
    )
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "start", UNIT)
    pid = service.show(UNIT, "MainPID")["MainPID"]
    service.run("touch", "/run/stall")
    publish(service, 1)
    service.wait_for(lambda: service.show(UNIT, "NRestarts")["NRestarts"] == "1", "the restart")
    service.run("rm", "/run/stall")
    service.wait_for(lambda: status_text(service).startswith("receiving"), "the line to receive again")
    assert service.show(UNIT, "MainPID")["MainPID"] != pid
    log = service.run("journalctl", "--no-pager", "-o", "cat", "-u", UNIT)
    assert "Watchdog timeout" in log
    assert "sitecustomize.py" in log  # where it hung: faulthandler's stacks


def test_the_journal_holds_json_lines_with_their_priority_and_no_secret(service):
    service.run("systemctl", "start", UNIT)
    service.run("systemctl", "stop", UNIT)
    lines = service.run("journalctl", "--no-pager", "-o", "json", "_SYSTEMD_UNIT=" + UNIT).splitlines()
    entries = [json.loads(line) for line in lines]
    loaded = [entry for entry in entries if '"config_loaded"' in str(entry["MESSAGE"])]
    assert loaded
    assert {entry["PRIORITY"] for entry in loaded} == {"6"}
    assert json.loads(loaded[-1]["MESSAGE"])["gateway"] == "gw-1"
    assert "S3cr3t-Ga7e" not in service.run("journalctl", "--no-pager", "-o", "export")


def test_without_network_it_is_up_all_the_same_and_says_what_it_waits_for(service):
    configure(service, (CONFIG % 1999).replace("{host: 127.0.0.1}", "{host: 127.0.0.1, port: 1998}"))
    service.run("systemctl", "start", UNIT)
    assert service.show(UNIT, "ActiveState")["ActiveState"] == "active"
    assert status_text(service).startswith("waiting for broker local")
