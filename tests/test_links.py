"""Which broker streams come from, what is subscribed to there, and how a broker is reached."""

from pathlib import Path

from gatewayd.config.document import Place, Table
from gatewayd.config.parse import Loaded
from gatewayd.config.settings import Settings
from gatewayd.links import broker_settings, source_name, subscriptions
from gatewayd.startup import Prepared


def stream(**options):
    return {"from": "local", "channels": {"a": {}}, "publish": {"to": "cloud"}, "device": "d", **options}


def prepared():
    settings = Settings.model_validate(
        {
            "gateway": {"id": "gw"},
            "brokers": {
                "local": {"host": "127.0.0.1"},
                "cloud": {"host": "127.0.0.1", "tls": {"ca_file": "certs/ca.pem"}},
            },
            "streams": {
                "one": stream(topic="site/{device}", qos=0),
                "two": stream(topic="site/{machine}", also=("births/#",)),
            },
        }
    )
    base = Path("/etc/gatewayd")
    loaded = Loaded(
        settings=settings,
        path=base / "gatewayd.yaml",
        base=base,
        root=Table(entries={}, place=Place(1, 1)),
    )
    return Prepared(loaded=loaded, bundles={}, secrets={}, warnings=())


def test_a_filter_of_two_streams_is_subscribed_to_once_with_the_higher_qos():
    assert subscriptions(prepared()) == [("site/+", 1), ("births/#", 1)]


def test_streams_name_the_broker_that_they_come_from():
    assert source_name(prepared().settings) == "local"


def test_tls_files_are_looked_for_beside_the_configuration():
    given = prepared()
    assert broker_settings(given, "cloud").tls.ca_file == "/etc/gatewayd/certs/ca.pem"
    assert broker_settings(given, "local").tls is None
