"""Basic authentication: which requests pass, and that wrong passwords cost little CPU."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import time
from collections.abc import Iterator

import bcrypt
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from supervisor.web import auth
from supervisor.web.auth import BasicAuth, credentials
from tests.unit.serving import DEADLINE, Serving, recorded_status, serving

# Made by crypt(3).
HASH = "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"
PASSWORD = b"correct horse"
BYTES_HASH = "$2b$04$ABCDEFGHIJKLMNOPQRSTUuoyVKXwVNxSBiwBq43kcMSTbGpQJBdo."
BYTES = b"p\xc3\xa4\xdf"
# Takes a second or so.
SLOW_HASH = "$2y$14$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"
USERS = {"prometheus": HASH, "bäcker": BYTES_HASH}


def basic(name: str, password: bytes) -> str:
    """Return the Authorization header of a name and a password."""
    return f"Basic {base64.b64encode(name.encode() + b':' + password).decode()}"


@pytest.fixture
def web() -> Iterator[Serving]:
    """A web process with users, which has the whole status."""
    with serving(users=USERS) as one:
        one.send_all(recorded_status())
        yield one


def test_which_requests_pass(web: Serving) -> None:
    """All addresses need a name and its password. Requests of curl pass."""
    right = basic("prometheus", PASSWORD)
    for path in ("/", "/metrics", "/healthz", "/static/style.css", "/nothing"):
        for wrong in ({}, {"Authorization": basic("prometheus", b"wrong")}, {"Authorization": "Bearer x"}):
            refused = web.get(path, **wrong)
            assert (refused.status, refused.headers["www-authenticate"]) == (
                401,
                'Basic realm="filemapd", charset="UTF-8"',
            )
            assert b"filemapd_" not in refused.body
            assert "content-security-policy" in refused.headers
        assert web.get(path, Authorization=right).status == (404 if path == "/nothing" else 200)
    assert web.get("/healthz", Authorization=basic("bäcker", BYTES)).status == 200
    assert web.get("/healthz", Authorization=basic("bäcker", PASSWORD)).status == 401
    assert web.get("/healthz", Authorization=basic("nobody", PASSWORD)).status == 401
    curl = ["curl", "--silent", "--user", "prometheus:correct horse", f"http://127.0.0.1:{web.port}/healthz"]
    assert subprocess.run(curl, capture_output=True, check=True, timeout=DEADLINE).stdout == b"ok\n"
    assert web.records() == []


def test_only_72_bytes_count(web: Serving) -> None:
    """Bytes beyond bcrypt's limit are ignored, and are no error."""
    assert web.get("/healthz", Authorization=basic("prometheus", b"x" * 5000)).status == 401
    password = b"0123456789" * 8
    hashed = bcrypt.hashpw(password[:72], bcrypt.gensalt(4)).decode()
    with serving(users={"long": hashed}) as one:
        one.send_all(recorded_status())
        assert one.get("/healthz", Authorization=basic("long", password)).status == 200
        assert one.get("/healthz", Authorization=basic("long", password[:71])).status == 401


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Basic YTpi", (b"a", b"b")),
        ("basic YTpi", (b"a", b"b")),
        ("BASIC  YTpi ", (b"a", b"b")),
        ("Basic YTpiOmM=", (b"a", b"b:c")),
        ("Basic Og==", (b"", b"")),
        ("Basic YTpi!", None),
        ("Basic YQ==", None),
        ("Basic ä", None),
        ("Basic", None),
        ("Digest YTpi", None),
        ("", None),
    ],
)
def test_header(header: str, found: tuple[bytes, bytes] | None) -> None:
    """RFC 7617: the scheme is case-insensitive, and the password is all after the first colon."""
    assert credentials(header) == found


class Client:
    """A protected application, called without a network."""

    def __init__(self, users: dict[str, str]) -> None:
        self.guarded = BasicAuth(PlainTextResponse("in"), users)

    async def status(self, name: str, password: bytes) -> int:
        """Return the status of a request with this name and password."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        headers = [(b"authorization", basic(name, password).encode())]
        await self.guarded({"type": "http", "method": "GET", "headers": headers}, receive, send)
        status: int = sent[0]["status"]
        return status


class Counting:
    """bcrypt's check. Counts calls, and how many run at the same time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real = bcrypt.checkpw
        self.calls: list[tuple[bytes, bytes]] = []
        self._running = 0
        self.most_at_once = 0
        monkeypatch.setattr(bcrypt, "checkpw", self)

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        self._running += 1
        self.most_at_once = max(self.most_at_once, self._running)
        self.calls.append((password, hashed))
        try:
            return self._real(password, hashed)
        finally:
            self._running -= 1


def test_correct_passwords_are_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A correct password is checked once, also by parallel requests. A wrong one is checked each time. The password
    of another user is wrong."""
    counting = Counting(monkeypatch)

    async def run() -> None:
        client = Client(USERS)
        assert await client.status("prometheus", b"wrong") == 401
        many = await asyncio.gather(*(client.status("prometheus", PASSWORD) for _ in range(10)))
        assert many == [200] * 10
        for _ in range(3):
            assert await client.status("prometheus", b"wrong") == 401
            assert await client.status("prometheus", PASSWORD) == 200
        assert await client.status("bäcker", PASSWORD) == 401
        assert PASSWORD not in repr(vars(client.guarded)).encode()

    asyncio.run(run())
    assert [password for password, _ in counting.calls] == [b"wrong", PASSWORD, *[b"wrong"] * 3, PASSWORD]
    assert counting.most_at_once == 1


def test_wrong_passwords_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many parallel guesses a few are checked, one after another, and the others get 503. Meanwhile a cached
    password passes."""
    counting = Counting(monkeypatch)

    async def run() -> None:
        client = Client({**USERS, "slow": SLOW_HASH})
        assert await client.status("prometheus", PASSWORD) == 200
        guesses = [asyncio.create_task(client.status("slow", b"%d" % i)) for i in range(100)]
        await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
        assert await client.status("prometheus", PASSWORD) == 200
        assert not all(guess.done() for guess in guesses)
        monkeypatch.setattr(client.guarded, "_users", {b"slow": HASH.encode()})
        statuses = await asyncio.gather(*guesses)
        assert (statuses.count(401), statuses.count(503)) == (auth.MOST_WAITING, 100 - auth.MOST_WAITING)

    asyncio.run(run())
    assert (len(counting.calls), counting.most_at_once) == (1 + auth.MOST_WAITING, 1)


def test_unknown_names_take_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """For an unknown name a hash of the highest cost is checked, and the request is refused even if it matches."""
    counting = Counting(monkeypatch)

    async def run() -> None:
        client = Client(USERS)
        assert await client.status("nobody", b"x") == 401
        assert await client.status("nobody", PASSWORD) == 401

        async def seconds(name: str) -> float:
            began = time.perf_counter()
            await client.status(name, b"x")
            return time.perf_counter() - began

        # Alternately, and the minimum of each, to exclude time of other processes.
        both = [(await seconds("prometheus"), await seconds("nobody")) for _ in range(30)]
        known, unknown = map(min, zip(*both, strict=True))
        assert 0.5 < unknown / known < 2

    asyncio.run(run())
    assert {hashed for _, hashed in counting.calls} == {HASH.encode()}
