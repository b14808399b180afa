"""``gatewayd discover``: listen to a broker, write a first configuration."""

import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import click
from pydantic import ValidationError

from gatewayd.cli.quiet import silent_logs, until_told
from gatewayd.config.secret import Secret, read_secret
from gatewayd.config.settings import BrokerSettings, TlsSettings
from gatewayd.domain.topic import TopicFilter
from gatewayd.errors import TransientError
from gatewayd.mqtt.session import Session
from gatewayd.workbench.discover import discover
from gatewayd.workbench.findings import Findings, StreamFound
from gatewayd.workbench.first_config import Listened, remark, write_config
from gatewayd.workbench.overheard import Overheard
from gatewayd.workbench.quantities import legal_name

_POLL_S = 0.25
_CLOSE_S = 1.0
_CHANNELS_SHOWN = 5
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def _filter(_context: click.Context, _parameter: click.Parameter, topics: tuple[str, ...]) -> tuple[str, ...]:
    for topic in topics:
        try:
            TopicFilter.parse(topic)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return topics


@click.command("discover")
@click.option("--host", required=True, help="Host name or address of the broker.")
@click.option("--port", type=click.IntRange(1, 65_535), help="TCP port; 1883, or 8883 with TLS.")
@click.option("--username", help="User name.")
@click.option("--password-file", type=_FILE, help="File whose only line is the password.")
@click.option("--tls", is_flag=True, help="Use TLS, verified against the system's authorities.")
@click.option("--ca-file", type=_FILE, help="PEM file of the authorities to trust instead; implies --tls.")
@click.option("--cert-file", type=_FILE, help="PEM file of the client certificate; implies --tls.")
@click.option("--key-file", type=_FILE, help="PEM file of the client certificate's key; implies --tls.")
@click.option("--insecure-skip-verify", is_flag=True, help="Accept any certificate; implies --tls.")
@click.option(
    "--topic",
    "topics",
    multiple=True,
    default=("#",),
    show_default=True,
    callback=_filter,
    help="Topic filter to listen to; may be given several times.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 86_400),
    default=30.0,
    show_default=True,
    help="How long to listen; Ctrl-C ends it earlier. Slow sensors need several of their intervals.",
)
@click.option("--gateway", help="Name for the gateway; this machine's.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; must not exist. Standard output.",
)
def command(  # one per option
    *,
    host: str,
    port: int | None,
    username: str | None,
    password_file: Path | None,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
    topics: tuple[str, ...],
    seconds: float,
    gateway: str | None,
    output: Path | None,
    tls: bool,
    insecure_skip_verify: bool,
) -> None:
    """Listen to a broker and write a first configuration of what was heard there.

    Only listens: nothing is published, and no session stays behind. What was found, and what was left out and why, is
    shown on standard error. Exit code 1 where the broker can't be reached or no sensor was heard.
    """
    files = (ca_file, cert_file, key_file)
    if (cert_file is None) != (key_file is None):
        raise click.UsageError("--cert-file and --key-file go together")
    if password_file is not None and username is None:
        raise click.UsageError("--password-file needs --username (MQTT 3.1.1, 3.1.2.9)")
    if output is not None and output.exists():
        raise click.UsageError(f"{output} exists already, and stays as it is")
    ca, cert, key = (None if file is None else str(file.absolute()) for file in files)
    is_secure = tls or insecure_skip_verify or any(files)
    try:
        broker = BrokerSettings(
            host=host,
            port=port,
            username=username,
            password_file=None if password_file is None else str(password_file.absolute()),
            tls=TlsSettings(
                ca_file=ca, cert_file=cert, key_file=key, insecure_skip_verify=insecure_skip_verify
            )
            if is_secure
            else None,
        )
    except ValidationError as error:
        raise click.UsageError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    password = None if password_file is None else read_secret(password_file)
    overheard, lasted_s = _listen(broker, password, topics, seconds)
    findings = discover(overheard)
    for line in _table(findings):
        click.echo(line, err=True)
    if not findings.streams:
        raise TransientError("no sensor was heard; listen longer (--seconds), or to other topics (--topic)")
    name = legal_name(gateway or socket.gethostname(), otherwise="gateway-1")
    text = write_config(findings, Listened(broker=broker, gateway=name, seconds=lasted_s))
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise TransientError(f"{output}: cannot be written: {error.strerror}") from error
    click.echo(f"{output}: written; now gatewayd check -c {output}", err=True)


def _listen(
    broker: BrokerSettings, password: Secret | None, topics: tuple[str, ...], seconds: float
) -> tuple[Overheard, float]:
    """Collect what comes until the time is over or somebody presses Ctrl-C; return how long that was.

    Raises:
        TransientError: The broker can't be reached, or refuses the subscriptions.
    """
    overheard = Overheard()
    with silent_logs():
        session = Session(
            broker,
            client_id=f"gatewayd-discover-{secrets.token_hex(4)}",
            gateway="discover",
            password=password,
            subscriptions=[(TopicFilter.parse(topic).filter, 0) for topic in topics],
        )
        began = time.monotonic()
        with until_told():
            while (left_s := began + seconds - time.monotonic()) > 0:
                session.poll(min(left_s, _POLL_S))
                arrived_at = time.time_ns()
                for topic, payload, header, _ in session.take_messages():
                    overheard.add(topic, payload, header, arrived_at)
                if session.last_error is not None and not overheard.messages:
                    session.close(0.0)
                    raise TransientError(f"{broker.host}:{broker.effective_port}: {session.last_error}")
        session.close(_CLOSE_S)
    return overheard, time.monotonic() - began


def _table(findings: Findings) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [
        ("stream", "format", "topic", "devices", "messages", "interval", "channels")
    ]
    rows += [_row(stream) for stream in findings.streams]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows if findings.streams else ():
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield findings.summary
    for one in findings.left_out:
        yield remark(f"left out: {one.text}")


def _row(stream: StreamFound) -> tuple[str, ...]:
    names = [name for name, _ in stream.channels]
    more = f" +{len(names) - _CHANNELS_SHOWN}" if len(names) > _CHANNELS_SHOWN else ""
    return (
        stream.name,
        stream.kind.format,
        remark(" ".join(stream.filters)),
        str(len(stream.devices)),
        str(stream.messages),
        "?" if stream.interval_s is None else f"{stream.interval_s:.3g} s",
        ", ".join(names[:_CHANNELS_SHOWN]) + more,
    )
