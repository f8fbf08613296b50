"""Arbitrary bytes for an HTTP server: requests, valid or with some error, one after another, cut anywhere."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from hypothesis import strategies as st

_LARGEST: Final = 16 * 1024
# Header lines, valid or not: wrong, contradictory and endless lengths.
_LINES: Final = (
    b"Host: y", b"Connection: close", b"Connection: keep-alive, upgrade",
    b"Content-Length: 5", b"Content-Length: 70000", b"Content-Length: -1", b"Content-Length: 1, 2",
    b"Content-Length: " + b"9" * 30, b"Content-Length: 0x5", b"Content-Length: 5\r\nContent-Length: 6",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: nothing",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Expect: 100-continue", b"Upgrade: h2c",
    b"Upgrade: websocket", b"Content-Encoding: gzip", b"Content-Type: text/plain", b"Accept: " + b"*/*," * 500,
    b"Accept: \xff", b"Accept: ;q=,", b"Accept-Encoding: gzip;q=x",
    b"X: " + b"x" * 17_000, b"x" * 17_000, b"X: 1\r\n" * 400 + b"X: 2", b" folded", b"no colon", b": no name",
    b"X y: z", b"X: \x00", b"X: \xff\xfe", b"Authorization: Basic !", b"Cookie: \x01",
)  # fmt: skip
_BODIES: Final = (
    *(b"",) * 12, b"{}", b"null", b"[" * 5000, b"\xff", b'{"name": "x"}', b"5\r\n{   }\r\n0\r\n\r\n", b"0\r\n\r\n",
    b"fffffffffffffffff\r\n", b"-1\r\n", b"5;x=y\r\n", b"11170\r\n" + b" " * 70_000, b"0\r\nTrailer: x\r\n\r\n",
)  # fmt: skip


def streams(*targets: bytes) -> st.SearchStrategy[list[bytes]]:
    """All bytes of a connection, in the pieces in which they are sent; requests are often for these
    targets."""
    target = st.sampled_from(targets) | st.sampled_from(
        (b"", b"*", b"//", b"/%", b"http://x/", b"/" + b"x" * 17_000)
    )
    method = st.sampled_from(
        (b"GET",) * 6 + (b"POST", b"POST", b"HEAD", b"get", b"", b"PRI", b"CONNECT", b"\x16\x03\x01")
    )
    version = st.sampled_from((b"HTTP/1.1",) * 12 + (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9.9", b"HTTP/", b""))
    words = st.tuples(method, target, version).map(b" ".join)
    first = words | words | words | st.binary(max_size=40)
    line = st.sampled_from(_LINES) | st.binary(max_size=40)
    none: list[bytes] = []
    more = st.just(none) | st.lists(line, max_size=1) | st.lists(line, max_size=5)
    hosts = st.sampled_from(([b"Host: x"],) * 9 + ([], [b"Host:"], [b"Host: a/b?c#d"], [b"Host: \xff"]))
    lines = st.tuples(hosts, more).map(lambda both: [*both[0], *both[1]])
    end = st.sampled_from((b"\r\n",) * 6 + (b"\n", b"\r"))
    request = st.builds(_request, first, lines, end, st.sampled_from(_BODIES) | st.binary(max_size=40))
    whole = st.lists(request, min_size=1, max_size=3).map(b"".join)
    return st.builds(_cut, whole, st.lists(st.floats(0, 1), max_size=6))


def _request(first: bytes, lines: list[bytes], end: bytes, body: bytes) -> bytes:
    return end.join([first, *lines, b"", body])


def _cut(whole: bytes, places: list[float]) -> list[bytes]:
    """Return the bytes in pieces small enough for any buffer; `places` are shares of the length."""
    cuts = [int(place * len(whole)) for place in places]
    edges = sorted([*range(0, len(whole), _LARGEST), *cuts, len(whole)])
    return [whole[start:end] for start, end in pairwise(edges) if start < end]
