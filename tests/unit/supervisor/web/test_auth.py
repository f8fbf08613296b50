"""Names and passwords: who is answered, and that asking costs the web process little."""

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
    """Return the header of a name and a password."""
    return f"Basic {base64.b64encode(name.encode() + b':' + password).decode()}"


@pytest.fixture
def web() -> Iterator[Serving]:
    """A web process with users that was told all."""
    with serving(users=USERS) as one:
        one.tell_all(recorded_status())
        yield one


def test_who_is_answered(web: Serving) -> None:
    """Nothing is answered without a name and its password, at any address; curl's are taken as they come."""
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
    """A longer password counts as far as bcrypt takes it, which is no error."""
    assert web.get("/healthz", Authorization=basic("prometheus", b"x" * 5000)).status == 401
    password = b"0123456789" * 8
    hashed = bcrypt.hashpw(password[:72], bcrypt.gensalt(4)).decode()
    with serving(users={"long": hashed}) as one:
        one.tell_all(recorded_status())
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
    """RFC 7617: the scheme in any case; all after the first colon is the password."""
    assert credentials(header) == found


class Asked:
    """A guarded application that is asked without a network."""

    def __init__(self, users: dict[str, str]) -> None:
        self.guarded = BasicAuth(PlainTextResponse("in"), users)

    async def status(self, name: str, password: bytes) -> int:
        """Return the status that somebody gets."""
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
    """bcrypt's check, counted, and which passwords it was asked for at the same time as another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real = bcrypt.checkpw
        self.asked: list[tuple[bytes, bytes]] = []
        self._under_way = 0
        self.most_at_once = 0
        monkeypatch.setattr(bcrypt, "checkpw", self)

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        self.asked.append((password, hashed))
        try:
            return self._real(password, hashed)
        finally:
            self._under_way -= 1


def test_right_ones_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A right password is checked once, however often and however many ask at the same time; a wrong one each time,
    before and after; the right one of another is no good."""
    counting = Counting(monkeypatch)

    async def run() -> None:
        asked = Asked(USERS)
        assert await asked.status("prometheus", b"wrong") == 401
        many = await asyncio.gather(*(asked.status("prometheus", PASSWORD) for _ in range(10)))
        assert many == [200] * 10
        for _ in range(3):
            assert await asked.status("prometheus", b"wrong") == 401
            assert await asked.status("prometheus", PASSWORD) == 200
        assert await asked.status("bäcker", PASSWORD) == 401
        assert PASSWORD not in repr(vars(asked.guarded)).encode()

    asyncio.run(run())
    assert [password for password, _ in counting.asked] == [b"wrong", PASSWORD, *[b"wrong"] * 3, PASSWORD]
    assert counting.most_at_once == 1


def test_wrong_ones_burn_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many who guess at the same time, a few are looked at, one after another; the others are told to come back.
    Meanwhile who is known is answered, and so is who has no password at all."""
    counting = Counting(monkeypatch)

    async def run() -> None:
        asked = Asked({**USERS, "slow": SLOW_HASH})
        assert await asked.status("prometheus", PASSWORD) == 200
        guesses = [asyncio.create_task(asked.status("slow", b"%d" % i)) for i in range(100)]
        await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
        assert await asked.status("prometheus", PASSWORD) == 200
        assert not all(guess.done() for guess in guesses)
        monkeypatch.setattr(asked.guarded, "_users", {b"slow": HASH.encode()})
        statuses = await asyncio.gather(*guesses)
        assert (statuses.count(401), statuses.count(503)) == (auth.MOST_WAITING, 100 - auth.MOST_WAITING)

    asyncio.run(run())
    assert (len(counting.asked), counting.most_at_once) == (1 + auth.MOST_WAITING, 1)


def test_unknown_names_take_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a name that isn't there a hash is made as well, of the highest cost there is; what matches that does not
    let it in."""
    counting = Counting(monkeypatch)

    async def run() -> None:
        asked = Asked(USERS)
        assert await asked.status("nobody", b"x") == 401
        assert await asked.status("nobody", PASSWORD) == 401

        async def seconds(name: str) -> float:
            began = time.perf_counter()
            await asked.status(name, b"x")
            return time.perf_counter() - began

        # In turns, and the least of each: then nobody else had the processor.
        both = [(await seconds("prometheus"), await seconds("nobody")) for _ in range(30)]
        known, unknown = map(min, zip(*both, strict=True))
        assert 0.5 < unknown / known < 2

    asyncio.run(run())
    assert {hashed for _, hashed in counting.asked} == {HASH.encode()}
