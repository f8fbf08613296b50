"""The web process's part of the configuration.

TLS and users have the form of the web configuration file of Prometheus's exporters (exporter-toolkit,
docs/web-configuration.md), of which this is a subset.
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from supervisor.config.address import Address, parse_address
from supervisor.config.base import Model, absolute

# The algorithm, the cost, 22 letters of salt, of which the last has 2 bits only, and 31 of the hash.
_HASH: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_COSTS: Final = range(4, 17)


def _listen(value: object) -> Address | None:
    """Return the address, or None for `off`, which YAML reads as false."""
    return None if value is False or value == "off" else parse_address(value)


def _user(name: str) -> str:
    try:
        found = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise ValueError(f"there is no user {name!r} on this host: make it, or name another") from None
    if found.pw_uid == 0:
        raise ValueError(f"{name!r} has all privileges: name a user that has none, as in nobody")
    return name


def _beside(text: str, info: ValidationInfo) -> str:
    """Return the path of a file; a relative one begins at the configuration's folder, the validation's context."""
    if not text or text.endswith("/"):
        raise ValueError(f"{text!r} names no file")
    return absolute(os.path.join(info.context or "", text))


def _hash(value: object) -> str:
    """Check a bcrypt hash. The error doesn't show the value: it may be the password itself."""
    found = _HASH.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(
            "is no bcrypt hash, as in '$2y$10$...' with 60 characters: `htpasswd -nBC 10 NAME` makes one"
        )
    if int(found[1]) not in _COSTS:
        raise ValueError(
            f"the hash has a cost of {found[1]}, which can be {_COSTS[0]} to {_COSTS[-1]}: each more doubles "
            "the time that a password takes, 10 are some 70 ms"
        )
    return found[0]


def _names(users: dict[str, str]) -> dict[str, str]:
    for name in users:
        if not name.isprintable() or not name or ":" in name:
            raise ValueError(
                f"{name!r} can't be a user's name: it must not be empty nor hold a colon or control characters"
            )
    return users


Beside = Annotated[str, AfterValidator(_beside)]
Users = Annotated[dict[str, Annotated[str, BeforeValidator(_hash)]], AfterValidator(_names)]


class TlsServerConfig(Model):
    """TLS: files in PEM format, and what clients must present."""

    cert_file: Beside
    """The certificate, and after it those that lead to an authority's."""
    key_file: Beside
    client_ca_file: Beside | None = None
    """The authorities that clients' certificates may come from."""
    client_auth_type: Annotated[
        Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"],
        Field(validate_default=True),
    ] = "NoClientCert"
    min_version: Literal["TLS12", "TLS13"] = "TLS12"

    @field_validator("client_auth_type")
    @classmethod
    def _with_authorities(cls, value: str, info: ValidationInfo) -> str:
        """Refuse one of the two without the other."""
        if "client_ca_file" not in info.data:  # it is wrong itself
            return value
        given = info.data["client_ca_file"] is not None
        if given and value == "NoClientCert":
            raise ValueError(
                "no client is asked for a certificate, so client_ca_file is of no use: leave that out, or set "
                "this to RequireAndVerifyClientCert or VerifyClientCertIfGiven"
            )
        if value != "NoClientCert" and not given:
            raise ValueError(f"{value} needs client_ca_file: whose certificates clients may have")
        return value


class Web(Model):
    """The process that serves metrics and the page over TCP."""

    listen: Annotated[Address | None, BeforeValidator(_listen)] = Address("127.0.0.1", 9737)
    """None: there is no such process."""
    user: Annotated[str, AfterValidator(_user)] = "nobody"
    tls_server_config: TlsServerConfig | None = None
    """None: plain HTTP."""
    basic_auth_users: Users = Field(default_factory=dict)
    """bcrypt hashes of passwords, by user name. If there are any, clients must authenticate."""

    @property
    def for_anybody(self) -> bool:
        """Whether other hosts can reach it without TLS and authentication."""
        return (
            self.listen is not None
            and not ipaddress.ip_address(self.listen.host).is_loopback
            and self.tls_server_config is None
            and not self.basic_auth_users
        )
