"""Parsers of foreign input accept any bytes: they return a value, or raise the one error that callers
expect."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from dmstats.counters import parse_print
from dmstats.fiemap import FIEMAP, FIEMAP_EXTENT, Extent, parse_fiemap
from supervisor.control import requests
from supervisor.control.requests import RequestError, from_body, from_query
from workers import log_records, messages

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
DEEP = b"[" * 100_000
MODELS = (requests.RestartRequest, requests.SampleRequest, requests.EventsRequest)


@given(
    st.lists(st.tuples(*[st.integers(0, 2**64 - 1)] * 3, st.integers(0, 2**32 - 1)), max_size=20),
    st.integers(0, 5),
)
def test_fiemap_buffer_with_any_extents(extents: list[tuple[int, int, int, int]], room: int) -> None:
    """Exactly the extents that the kernel counted are read, whatever they hold, and nothing beyond them."""
    packed = b"".join(FIEMAP_EXTENT.pack(*extent) for extent in extents)
    head = FIEMAP.pack(0, 2**64 - 1, 0, len(extents), len(extents) + room, 0)
    assert parse_fiemap(head + packed + b"\xff" * (FIEMAP_EXTENT.size * room)) == [
        Extent(*e) for e in extents
    ]


NUMBER = st.integers(0, 2**64 - 1)


@given(st.text(max_size=200) | st.lists(st.text("0123456789+:- \n", max_size=30)).map(" ".join))
def test_any_print_reply(text: str) -> None:
    """A reply of another form is an error, never false counters."""
    with contextlib.suppress(ValueError):
        assert len(parse_print(text)) >= 13


@given(
    st.integers(0, 3).flatmap(
        lambda bins: st.lists(
            st.lists(NUMBER, min_size=13 + bins, max_size=13 + bins), min_size=1, max_size=4
        )
    )
)
def test_print_reply_is_read(areas: list[list[int]]) -> None:
    """Each number gets into its field, summed over all areas."""
    lines = []
    for area in areas:
        histogram = ":".join(map(str, area[13:]))
        lines.append(" ".join(["0+8", *map(str, area[:13]), *([histogram] if histogram else [])]))
    found = parse_print("\n".join(lines) + "\n")
    assert list(found) == [sum(column) for column in zip(*areas, strict=True)]


@given(st.binary(max_size=200) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_any_packet_of_a_worker(packet: bytes) -> None:
    """A packet on a worker's channel is a message or refused."""
    with contextlib.suppress(ValueError):
        messages.decode(packet)


@given(st.sampled_from(sorted(messages._KINDS)), st.lists(ANY_JSON, max_size=13))
def test_message_with_any_values(name: str, values: list[Any]) -> None:
    """A message is decoded as it was encoded; one with too few or too many values is refused."""
    with contextlib.suppress(ValueError):
        message = messages.decode(json.dumps([name, *values]).encode())
        assert type(message).__name__ == name


@given(st.binary(max_size=200) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_any_log_packet(packet: bytes) -> None:
    """A packet on the log's socket is a printable record, or refused."""
    with contextlib.suppress(ValueError):
        assert isinstance(logging.Formatter().format(log_records.decode(packet)), str)


@pytest.mark.parametrize("decode", [messages.decode, log_records.decode])
def test_deeply_nested(decode: Any) -> None:
    """Nesting beyond Python's recursion limit is refused like other errors."""
    with pytest.raises(ValueError, match=r"invalid message|nested"):
        decode(DEEP)


@given(st.sampled_from(MODELS), ANY_JSON)
def test_any_body(model: type[BaseModel], body: object) -> None:
    """A body is a request or an error for the client."""
    with contextlib.suppress(RequestError):
        assert isinstance(from_body(model, body), model)


@given(st.sampled_from(MODELS), st.text(max_size=80))
def test_any_query(model: type[BaseModel], query: str) -> None:
    """So is an address's query."""
    with contextlib.suppress(RequestError):
        assert isinstance(from_query(model, query), model)
