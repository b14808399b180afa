"""TLS contexts verify by default and fail closed; the session's tests connect with them."""

import ssl
import subprocess

import pytest

from gatewayd.config.settings import TlsSettings
from gatewayd.errors import TransientError
from gatewayd.mqtt.tls import RenewingContext, TlsFiles, make_context


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """A certificate that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ca"]
    subprocess.run(
        [*command, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True,
        capture_output=True,
    )
    return folder


def test_certificates_and_names_are_verified_by_default(pem):
    for files in (TlsFiles(), TlsFiles(ca_file=pem / "cert.pem")):
        context = make_context(files)
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_only_the_option_that_says_so_turns_verification_off():
    context = make_context(TlsFiles(insecure_skip_verify=True))
    assert context.verify_mode == ssl.CERT_NONE
    assert not context.check_hostname


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_case_32_an_empty_or_unreadable_authority_fails_closed_every_time(tmp_path, content):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    for _ in range(2):
        with pytest.raises(TransientError, match=r"ca\.pem"):
            make_context(TlsFiles(ca_file=file))


def test_a_client_certificate_is_read_anew_for_every_connection(pem, tmp_path):
    files = TlsFiles(cert_file=tmp_path / "cert.pem", key_file=tmp_path / "key.pem")
    RenewingContext.of(files)  # reads nothing yet
    with pytest.raises(TransientError, match="client certificate or key unusable"):
        make_context(files)
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_bytes((pem / name).read_bytes())
    assert make_context(files)


def test_paths_come_from_the_settings(tmp_path):
    files = TlsFiles.of(TlsSettings(ca_file="ca.pem"), lambda text: tmp_path / text)
    assert files == TlsFiles(ca_file=tmp_path / "ca.pem")
