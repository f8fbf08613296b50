"""Where the web process listens: an IP address and a TCP port, as text and as a socket."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from dataclasses import dataclass

_TEXT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+)):(?P<port>[0-9]{1,5})")
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: object) -> Address:
    """Return the address `value` ("127.0.0.1:9737", "[::1]:9737"). Raises ValueError for anything else."""
    match = _TEXT.fullmatch(value) if isinstance(value, str) else None
    try:
        if match is None:
            raise ValueError  # noqa: TRY301 - there is one message for all errors
        host = ipaddress.ip_address(match["v6"] or match["v4"])
        port = int(match["port"])
        if not 0 < port <= _HIGHEST_PORT or (match["v6"] is not None) != (host.version == 6):  # noqa: PLR2004 - IPv6
            raise ValueError  # noqa: TRY301 - likewise
    except ValueError:
        raise ValueError(
            f"{value!r} is no address to listen on: an IP address and a port, as in 127.0.0.1:9737, "
            "[::1]:9737 or 0.0.0.0:9737 (all IPv4 addresses), or off"
        ) from None
    return Address(str(host), port)


def listening(address: Address) -> socket.socket:
    """Return a socket that listens on `address`. Raises OSError with advice."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    where, every = (address.host, address.port), address.host == "::"
    try:
        return socket.create_server(where, family=family, backlog=128, dualstack_ipv6=every)
    except OSError as error:
        raise OSError(error.errno, f"{address} can't be listened on: {_advice(error, address)}") from error


def _advice(error: OSError, address: Address) -> str:
    reason = os.strerror(error.errno) if error.errno is not None else str(error)
    match error.errno:
        case errno.EADDRINUSE:
            return f"{reason}: `ss -ltnp sport = :{address.port}` shows who has it; or set web.listen to another port"
        case errno.EADDRNOTAVAIL:
            return f"{reason}: no interface has it; set web.listen to one that `ip address` shows"
        case errno.EACCES:
            return f"{reason}: ports below 1024 take CAP_NET_BIND_SERVICE; set web.listen to another port"
    return reason
