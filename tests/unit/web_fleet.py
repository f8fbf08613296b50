"""A small fleet in the store of the web process, its pages, and a parser for them."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from starlette.applications import Starlette

from supervisor.text.times import rfc3339
from supervisor.web.app import application
from supervisor.web.pages.routes import Pages
from supervisor.web.state.recent import Recent
from supervisor.web.state.store import Store
from tests.unit.serving import recorded_status

T0 = 1_800_000_000.0
# Elements without an end tag.
_VOID = {"meta", "link", "input", "br"}


class Fleet:
    """A store filled with files, and its pages at `now`."""

    def __init__(self) -> None:
        recorded = recorded_status()
        self._pattern: dict[str, Any] = next(f for f in recorded["filemaps"] if f["name"] == "db01.img")
        self._device = recorded["devices"][0]
        self.now = T0 + 3600
        self.store, self.recent = Store(), Recent(lambda: self.now)
        self.store.listen(self.recent.put)
        pages = Pages(self.store, self.recent, "host7", lambda: self.now)
        self.app: Starlette = application(self.store, pages.routes())

    def status(self, name: str, **changes: Any) -> dict[str, Any]:
        """Return the status of a file with a recent sample, with these keys changed."""
        status: dict[str, Any] = copy.deepcopy(self._pattern)
        status |= {"name": name, "path": f"/images/{name}", "device": "vg0-images", "vm": None}
        status |= {"sampled_at": rfc3339(self.now - 2), "sampled_since": None}
        status |= changes
        return status

    def file(self, name: str, **changes: Any) -> dict[str, Any]:
        """Add a file and return its status."""
        status = self.status(name, **changes)
        self.store.put(["file", status])
        return status

    def busy(self, name: str, rate: int = 10, latency_ns: int = 5_000_000, **changes: Any) -> dict[str, Any]:
        """Add a file with `rate` reads of 4 KiB a second in the last ten minutes, each with the same latency."""
        bounds = self._pattern["bounds_ns"]
        at = sum(latency_ns >= bound for bound in bounds)
        status: dict[str, Any] = {}
        for seconds in range(0, 601, 10):
            reads = rate * seconds
            bins = [reads if i == at else 0 for i in range(len(bounds) + 1)]
            counters = {"reads": reads, "writes": 0, "bytes_read": 4096 * reads, "bytes_written": 0}
            times = {"read_ns": latency_ns * reads, "write_ns": 0, "histogram": bins}
            when = {"sampled_at": rfc3339(self.now - 602 + seconds)}
            status = self.file(name, **{**counters, **times, **when, **changes})
        return status

    def supervisor(self, **changes: Any) -> None:
        """Send a heartbeat, with one device."""
        device = self._device | {"device": "vg0-images", "size_bytes": 1 << 40}
        self.store.put(["supervisor", recorded_status() | {"devices": [device]} | changes])
        self.store.last_message_at = self.now

    def places(self, name: str, pieces: list[tuple[int, int, int]]) -> None:
        """Send the regions of a file: start and length in sectors, and new I/Os."""
        self.store.put(["regions", f"/images/{name}", [list(piece) for piece in pieces]])

    def get(self, address: str) -> Page:
        """Return the page at an address."""
        path, _, query = address.partition("?")
        scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": []}
        scope |= {"root_path": "", "scheme": "http", "server": ("127.0.0.1", 80), "http_version": "1.1"}
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return Page(sent[0]["status"], body.decode())


@dataclass
class Page:
    """A response, parsed."""

    status: int
    source: str
    read: Reader = field(init=False)

    def __post_init__(self) -> None:
        self.read = Reader()
        self.read.feed(self.source)
        self.read.close()
        assert self.read.open == [], f"not closed: {self.read.open}"

    @property
    def text(self) -> str:
        """Its text, with white space folded."""
        return " ".join(" ".join(self.read.texts).split())

    def rows(self, part: str) -> list[str]:
        """Return the rows of the table in the element with this id, each as one text."""
        return [" ".join(" ".join(row).split()) for where, row in self.read.rows if where == part]


class Reader(HTMLParser):
    """Collects elements, texts and rows of tables. Fails if elements don't nest."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[tuple[str, str | None]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.rows: list[tuple[str | None, list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append((tag, dict(attrs).get("id")))
        if tag == "tr":
            part = next((name for _, name in reversed(self.open) if name), None)
            self.rows.append((part, []))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop()[0] == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if any(tag == "tr" for tag, _ in self.open):
            self.rows[-1][1].append(data)
