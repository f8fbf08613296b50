"""Addresses in the configuration, and the errors when listening on one fails."""

from __future__ import annotations

import errno
import socket

import pytest

from supervisor.config.address import Address, _advice, listening, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9737", Address("127.0.0.1", 9737)),
        ("0.0.0.0:80", Address("0.0.0.0", 80)),  # noqa: S104 - it is only read
        ("[::1]:9737", Address("::1", 9737)),
        ("[2001:DB8:0::1]:65535", Address("2001:db8::1", 65535)),
    ],
)
def test_an_address_and_back(text: str, address: Address) -> None:
    """IPv4 without brackets, IPv6 with them. A formatted address parses to the same one."""
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "value",
    ["localhost:9737", ":9737", "9737", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "[127.0.0.1]:9737",
     "::1:9737", "[::1]", "1.2.3:9737", "127.0.0.1:9737 ", "[fe80::1%eth0]:9737", "", None, True, 9737],
)  # fmt: skip
def test_no_address(value: object) -> None:
    """Anything else is an error that shows what would be valid."""
    with pytest.raises(ValueError, match=r"no address to listen on: .*127\.0\.0\.1:9737"):
        parse_address(value)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_in_use(host: str) -> None:
    """The error names the address, the reason, and how to find the process that uses it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as others:
        address = Address(host, others.getsockname()[1])
        with pytest.raises(OSError, match="Address already in use") as caught:
            listening(address)
    assert caught.value.strerror is not None
    assert caught.value.strerror.startswith(f"{address} can't be listened on: ")
    assert f"`ss -ltnp sport = :{address.port}` shows who has it" in caught.value.strerror


def test_an_address_that_is_not_there() -> None:
    """An address of no interface is reported as such (192.0.2.0/24 is unassigned, RFC 5737)."""
    with pytest.raises(OSError, match="no interface has it"):
        listening(Address("192.0.2.1", 9737))


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (
            errno.EACCES,
            "Permission denied: ports below 1024 take CAP_NET_BIND_SERVICE; set web.listen to another port",
        ),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_hints_for_errors(number: int, hint: str) -> None:
    """A port that needs a privilege gets a hint; other errors get the system's reason only."""
    assert _advice(OSError(number, "x"), Address("127.0.0.1", 80)) == hint


def test_all_addresses() -> None:
    """[::] accepts IPv4 connections too."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with listening(Address("::", port)) as ours:
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), timeout=10):
                ours.accept()[0].close()
