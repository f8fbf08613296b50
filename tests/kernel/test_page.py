"""The pages of a running fleet in a browser: they agree with status and kernel, and the console has no errors."""

from __future__ import annotations

import contextlib
import itertools
import mimetypes
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pytest

from sandbox.devices import filesystem
from supervisor.text.printable import printable
from supervisor.web.charts import figures
from supervisor.web.server import HEADERS
from tests.kernel import oracle
from tests.kernel.browser import PHONE, load
from tests.kernel.conftest import KIB64, Disk
from tests.kernel.driver import Driver
from tests.kernel.running import Running, running, wait_for, write
from tests.kernel.scraping import fetch, free_port, listen
from tests.unit.web_fleet import Page

HOSTILE = "<img src=x onerror=alert(1)> \n\x1b[31m.img"


@dataclass
class Shown:
    """A fleet after its I/O, and the address of its pages."""

    supervisor: Running
    port: int
    device: str
    busy: Path
    scattered: Path
    driver: Driver
    """Does all I/O, on the busy image."""

    def url(self, page: str, **query: str) -> str:
        """Return a page's address."""
        return f"http://127.0.0.1:{self.port}/{page}?{urlencode(query)}"

    def html(self, page: str, **query: str) -> Page:
        """Return a page as it is served."""
        return Page(200, fetch(self.port, f"/{page}?{urlencode(query)}").decode())


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Five images on two devices, one busy and one with a hostile name, and one that can't be mapped."""
    folder, port = tmp_path_factory.mktemp("page"), free_port()
    with filesystem("ext4", 128) as fs, filesystem("ext4", 64) as other:
        busy, scattered = fs.mountpoint / "db01.img", fs.mountpoint / "web01.qcow2"
        write(busy, 8)
        Disk(fs.device, fs.mountpoint).pieces(scattered.name, 12, 4 * KIB64)
        write(fs.mountpoint / HOSTILE, 2)
        (fs.mountpoint / "empty.img").touch()
        write(other.mountpoint / "mail01.img", 3)
        unmappable = folder / "nowhere.img"
        write(unmappable, 1)
        directories = [{"path": str(one.mountpoint), "include": ["*.img", "*.qcow2"]} for one in (fs, other)]
        config = {
            "defaults": {"sample": "1s"},
            "directories": directories,
            "filemaps": [{"path": str(unmappable)}],
        }
        with running(folder, {**config, **listen(port)}) as supervisor:
            supervisor.wait_state(busy)
            supervisor.wait_state(unmappable, "FAILED")
            one = Shown(supervisor, port, fs.device.name, busy, scattered, Driver(busy))
            drive(one)
            yield one


def drive(one: Shown) -> None:
    """Do I/O until the page shows it, in the totals and as current I/O."""
    driver = one.driver

    def known() -> Page:
        driver.counted(one.supervisor)
        page = one.html("image", name=one.busy.name)
        assert f"Reads {figures.count(driver.reads)}," in page.text
        return page

    def drive_more() -> Page:
        driver.read(300, 0)
        driver.write(200, 1)
        return wait_for("the page shows all I/O", known)

    def busy() -> bool:
        """Current I/O is only shown until the next sample, so this may have to be repeated."""
        figures = drive_more().rows("figures")
        assert re.match(r"now [1-9]", figures[1]), figures
        return True

    drive_more()
    wait_for("the page shows current I/O", busy)


def test_the_fleet(shown: Shown) -> None:
    """Each image has a row with the state and the number of regions of its status."""
    loaded = load(shown.url(""), "fleet-desktop-light")
    assert loaded.console == []
    rows = loaded.page.rows("images")
    statuses = shown.supervisor.status()["filemaps"]
    assert len(statuses) == 6
    for status in statuses:
        (row,) = [row for row in rows if row.startswith(printable(status["name"]))]
        assert f" {status['state']} " in row
        assert row.endswith(f" {status['regions']}")
    assert "alert(1)" in loaded.page.text
    assert [a for tag, a in loaded.page.read.elements if tag == "script"] == [
        {"src": "/static/live.js", "defer": ""}
    ]
    assert [tag for tag, a in loaded.page.read.elements if tag == "button"] == ["button", "button"], (
        "Show, Pause"
    )


def test_an_image(shown: Shown) -> None:
    """Its page has the totals of the status, and its percentiles."""
    loaded = load(shown.url("image", name=shown.busy.name), "image-desktop-dark", dark=True)
    assert loaded.console == []
    status = shown.supervisor.filemap(shown.busy)
    for text in (
        f"Reads {figures.count(status['reads'])}, {figures.size(status['bytes_read'])}",
        f"Writes {figures.count(status['writes'])}, {figures.size(status['bytes_written'])}",
        f"Group {status['group_id']} ",
        *(
            f"{name} {figures.count(ios)}"
            for name, ios in zip(figures.bins(status["bounds_ns"]), status["histogram"], strict=True)
        ),
    ):
        assert text in loaded.page.text, text
    _, _, minutes, _ = loaded.page.rows("figures")
    assert "too few" not in minutes
    columns = [a for tag, a in loaded.page.read.elements if tag == "rect" and a.get("class") == "column"]
    assert columns


def test_a_device(shown: Shown) -> None:
    """The parts of its map are the extents of filefrag, and only those of the busy image have I/O."""
    drive(shown)  # older I/O fades
    loaded = load(shown.url("device", name=shown.device), "device-desktop-light")
    assert loaded.console == []
    parts = loaded.page.rows("parts")[1:]
    for path in (shown.busy, shown.scattered):
        there = sorted(oracle.extents(path), key=lambda one: one.physical)
        (number,) = {re.split(r" +", row)[0] for row in loaded.page.rows("here") if f" {path.name} " in row}
        listed = [row for row in parts if f" {number} {path.name} " in row]
        assert [row.partition(f" {number} ")[0] for row in listed] == [
            f"{figures.place(e.physical)} {figures.place(e.physical + e.length)} {figures.size(e.length)}"
            for e in there
        ]
        has_io = [not row.endswith(" 0") for row in listed]
        assert any(has_io) if path == shown.busy else not any(has_io)


def test_on_a_phone(shown: Shown) -> None:
    """The pages work on a phone."""
    for page, query in (("", {}), ("image", {"name": shown.busy.name})):
        loaded = load(
            shown.url(page, **query),
            f"{page or 'fleet'}-phone-{'light' if page else 'dark'}",
            size=PHONE,
            dark=not page,
        )
        assert loaded.console == []


@contextlib.contextmanager
def serving_in_turn(pages: Sequence[bytes], port: int) -> Iterator[str]:
    """Serve the pages one after the other at one address, and then repeat the last. Other paths come from `port`."""
    turn = itertools.chain(pages, itertools.repeat(pages[-1]))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind = mimetypes.guess_type(self.path)[0] or "text/html"
            body = next(turn) if self.path == "/" else fetch(port, self.path)
            self.send_response(200)
            for name, value in (*HEADERS, ("content-type", kind)):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Don't log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_the_page_updates_itself(shown: Shown) -> None:
    """An open page shows new data without a reload."""
    before = fetch(shown.port, "/")
    after = before.replace(b"db01.img", b"renamed.img")
    with serving_in_turn([before, after], shown.port) as address:
        loaded = load(address, seconds=25)
    assert loaded.console == []
    assert "renamed.img" in loaded.page.text
    assert "db01.img" not in loaded.page.text


def test_a_new_web_process_has_the_map(shown: Shown) -> None:
    """After a kill, the next process gets the places of all images, also of idle ones, and no old I/O."""

    def places() -> list[str]:
        return [row.rpartition(" ")[0] for row in shown.html("device", name=shown.device).rows("parts")[1:]]

    before = places()
    assert len(before) == 14
    first = shown.supervisor.status()["web"]["pid"]
    os.kill(first, signal.SIGKILL)
    wait_for("another serves", lambda: shown.supervisor.status()["web"]["pid"] not in {first, None})
    wait_for("it has all places", lambda: places() == before)
    assert all(row.endswith(" 0") for row in shown.html("device", name=shown.device).rows("parts")[1:])
