"""TLS contexts, made anew from their files for every connection.

So a renewed certificate is taken up at the next reconnect, and an authority's file that has become empty or
unreadable refuses the link instead of leaving it unverified: it fails closed, every time.
"""

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewayd.config.settings import TlsSettings
from gatewayd.errors import TransientError


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """TLS of one link, paths resolved. Without ``ca_file`` the system's authorities are trusted."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure_skip_verify: bool = False

    @classmethod
    def of(cls, settings: TlsSettings, resolve: Callable[[str], Path] = Path) -> "TlsFiles":
        """Take over the settings, each path through ``resolve``."""

        def path(text: str | None) -> Path | None:
            return None if text is None else resolve(text)

        return cls(
            ca_file=path(settings.ca_file),
            cert_file=path(settings.cert_file),
            key_file=path(settings.key_file),
            insecure_skip_verify=settings.insecure_skip_verify,
        )


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """Read the files into a fresh context.

    Raises:
        TransientError: A file is missing, unreadable or holds no certificate; the message names it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies and checks the host name by default
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _ClosingSocket
    if files.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif files.ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        try:
            context.load_verify_locations(cadata=files.ca_file.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise TransientError(f"{files.ca_file}: no certificates to trust: {error}") from error
        if not context.cert_store_stats()["x509_ca"]:
            raise TransientError(f"{files.ca_file}: holds no certificate of an authority")
    if files.cert_file is not None:
        try:
            context.load_cert_chain(files.cert_file, files.key_file)
        except (OSError, ValueError) as error:
            raise TransientError(f"{files.cert_file}: client certificate or key unusable: {error}") from error
    return context


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho would leave it to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # the base class's signature
        try:
            super().do_handshake(block)
        except (OSError, ValueError):
            self.close()
            raise


class RenewingContext(ssl.SSLContext):
    """What paho is given once and for all: wraps each socket by a context made from the files at that moment."""

    files: TlsFiles

    @classmethod
    def of(cls, files: TlsFiles) -> "RenewingContext":
        """Make one for these files, without reading them yet."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.files = files
        if files.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:  # noqa: ANN401  # passed on
        """Wrap by a fresh context.

        Raises:
            TransientError: See ``make_context``.
        """
        try:
            return make_context(self.files).wrap_socket(sock, *args, **kwargs)
        except (TransientError, OSError, ValueError):
            sock.close()
            raise
