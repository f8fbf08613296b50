"""The web process's TLS: the files that the configuration names as a context of Python's ssl."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_ASKED: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


class UnusableError(Exception):
    """The TLS files can't be used; the text names the file and the reason."""


def server_context(wanted: Mapping[str, str]) -> ssl.SSLContext:
    """Return the context for `wanted`, the values of a TlsServerConfig. Reads its files; raises UnusableError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[wanted["min_version"]]
    context.options |= ssl.OP_NO_RENEGOTIATION  # work for nothing, which OpenSSL 3 doesn't do anyway
    context.verify_mode = _ASKED[wanted["client_auth_type"]]
    certificate, key, authorities = (
        _readable(name, wanted) for name in ("cert_file", "key_file", "client_ca_file")
    )
    try:
        # A key with a passphrase is refused, as a daemon can't ask for it.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        raise UnusableError(
            f"cert_file {certificate} and key_file {key} are no certificate in PEM form and its key without a "
            f"passphrase: {_why(error)}"
        ) from error
    if authorities:
        try:
            context.load_verify_locations(authorities)
        except ssl.SSLError as error:
            raise UnusableError(
                f"client_ca_file {authorities} holds no certificates in PEM form: {_why(error)}"
            ) from error
    return context


def _readable(name: str, wanted: Mapping[str, str]) -> str:
    """Check that a file is readable: OpenSSL's own error says less."""
    path = wanted[name]
    if path:
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise UnusableError(f"{name} {path} can't be read: {error.strerror}") from error
    return path


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return reason.lower().replace("_", " ") if reason else str(error)
