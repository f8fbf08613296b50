"""Random requests, by the OpenAPI document and beside it, to a running supervisor and its web process: each
gets the documented response and has no other effect."""

from __future__ import annotations

import contextlib
import http.client
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import requests
import schemathesis
from builders.openapi import document
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core import NOT_SET

from sandbox.devices import filesystem
from tests.kernel import oracle
from tests.kernel.running import Running, running, wait_for, write
from tests.kernel.scraping import fetch, free_port, listen
from tests.kernel.unixhttp import session

SCHEMA = schemathesis.openapi.from_dict(document())
# No request for the status is invalid, and a valid one to stop would be the last.
QUESTIONS = [
    (path, method, mode)
    for path, methods in document()["paths"].items()
    for method in methods
    for mode in GenerationMode
    if (path, mode) not in {("/v1/status", GenerationMode.NEGATIVE), ("/v1/stop", GenerationMode.POSITIVE)}
]
# All run against one supervisor, on a slow machine.
MANY = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
METHODS = st.sampled_from(("GET", "HEAD")) | st.sampled_from(
    ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "X")
)
PAGES = st.sampled_from(("/", "/metrics", "/healthz", "/image", "/device", "/static/live.js", "/nowhere"))
KEYS = st.sampled_from(("name", "q", "sort", "page")) | st.text(max_size=5)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A supervisor with one file, its web process's port, and the device below."""

    supervisor: Running
    file: Path
    device: str
    port: int

    def facts(self) -> tuple[object, ...]:
        """Return the facts that no request may change."""
        filemap = self.supervisor.filemap(self.file)
        status = self.supervisor.status()
        kept = {
            key: filemap[key] for key in ("pid", "state", "restarts", "group_id", "regions", "moves_total")
        }
        return kept, status["pid"], status["web"]["pid"], len(status["filemaps"]), oracle.table(self.device)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One for all tests: each leaves it unchanged."""
    with filesystem("ext4", 64) as made:
        file, port = made.mountpoint / "disk.img", free_port()
        write(file, 1)
        os.sync()
        config = {"filemaps": [{"path": str(file)}], **listen(port)}
        with running(tmp_path_factory.mktemp("filemapd"), config) as supervisor:
            supervisor.wait_state(file)
            wait_for("it serves", lambda: fetch(port, "/healthz"))
            yield Fleet(supervisor, file, made.device.name, port)


@pytest.fixture
def control(fleet: Fleet) -> Iterator[requests.Session]:
    """A session on the control socket."""
    with session(fleet.supervisor.runtime_dir / "control.sock") as one:
        yield one


@pytest.mark.parametrize(("path", "method", "mode"), QUESTIONS)
def test_as_documented(
    fleet: Fleet, control: requests.Session, path: str, method: str, mode: GenerationMode
) -> None:
    """Valid requests get a documented response, invalid ones a documented refusal, and none causes a
    fault."""
    before = fleet.facts()
    cases = SCHEMA[path][method.upper()].as_strategy(generation_mode=mode)

    @MANY
    @given(cases.filter(harmless))
    def ask(case: Case[Any]) -> None:
        case.call_and_validate("http://localhost", session=control)

    ask()
    assert fleet.facts() == before


def harmless(case: Case[Any]) -> bool:
    """Return whether a request doesn't stop the supervisor."""
    return case.path != "/v1/stop" or case.body not in ({}, NOT_SET)


def test_restart_as_documented(fleet: Fleet, control: requests.Session) -> None:
    """A restart of an existing file, whose name random requests don't find, gets the documented response."""
    before = fleet.supervisor.filemap(fleet.file)["pid"]
    case = SCHEMA["/v1/restart"]["POST"].Case(body={"name": fleet.file.name})
    assert case.call_and_validate("http://localhost", session=control).status_code == 200
    wait_for("another worker runs", lambda: fleet.supervisor.filemap(fleet.file)["pid"] not in {None, before})
    fleet.supervisor.wait_state(fleet.file)


def test_pages(fleet: Fleet) -> None:
    """The port responds to any method and query at each of its addresses, and only reads."""
    before = fleet.facts()
    values = st.sampled_from((fleet.file.name, str(fleet.file), fleet.device, "")) | st.text(max_size=30)

    @MANY
    @given(METHODS, PAGES, st.lists(st.tuples(KEYS, values), max_size=4), st.binary(max_size=20))
    def ask(method: str, page: str, query: list[tuple[str, str]], more: bytes) -> None:
        address = f"{page}?{urlencode(query)}&{quote(more)}"
        status = response_status(fleet.port, method, address)
        assert status in ({200, 404} if method in {"GET", "HEAD"} else {404, 405}), (status, address)

    ask()
    assert response_status(fleet.port, "GET", f"/image?name={quote(fleet.file.name)}") == 200
    assert fleet.facts() == before


def response_status(port: int, method: str, address: str) -> int:
    """Return the status of a response, after reading all of it."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, address)
        response = connection.getresponse()
        response.read()
        return response.status
