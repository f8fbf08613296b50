"""Basic authentication (RFC 7617), of every address, against bcrypt hashes.

A hash takes some 100 ms, so a thread makes them, one at a time, and the password that was right last is remembered.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping
from concurrent.futures.thread import ThreadPoolExecutor
from typing import Final

import bcrypt
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# With these before it a password is not looked at: each takes as long as its hash.
MOST_WAITING: Final = 20
# No more of a password counts for bcrypt.
_LONGEST: Final = 72


class BasicAuth:
    """Lets those pass to `app` who are among `users`, bcrypt hashes by name, of which there is one at least."""

    def __init__(self, app: ASGIApp, users: Mapping[str, str]) -> None:
        self._app = app
        self._users = {name.encode(): hashed.encode() for name, hashed in users.items()}
        # Checked in vain for names that aren't there, so that these take as long: the one with the highest cost.
        self._stand_in = max(self._users.values(), key=lambda hashed: hashed[4:6])
        self._secret = secrets.token_bytes(32)
        self._right: dict[bytes, bytes] = {}
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        given = credentials(Headers(scope=scope).get("authorization", ""))
        if given is not None and self._waiting >= MOST_WAITING and not self._remembered(*given):
            answer = PlainTextResponse("too many passwords to check\n", 503, {"Retry-After": "1"})
        elif given is not None and await self._may_pass(*given):
            await self._app(scope, receive, send)
            return
        else:
            asked = {"WWW-Authenticate": 'Basic realm="filemapd", charset="UTF-8"'}
            answer = PlainTextResponse("a name and a password are needed\n", 401, asked)
        await answer(scope, receive, send)

    async def _may_pass(self, name: bytes, password: bytes) -> bool:
        if self._remembered(name, password):
            return True
        self._waiting += 1
        try:
            async with self._turn:
                # It may have been found right while this one waited.
                if self._remembered(name, password):
                    return True
                loop = asyncio.get_running_loop()
                matches = await loop.run_in_executor(self._thread, self._matches, name, password)
        finally:
            self._waiting -= 1
        if matches and name in self._users:
            self._right[name] = self._digest(name, password)
            return True
        return False

    def _matches(self, name: bytes, password: bytes) -> bool:
        return bcrypt.checkpw(password[:_LONGEST], self._users.get(name, self._stand_in))

    def _remembered(self, name: bytes, password: bytes) -> bool:
        return hmac.compare_digest(self._right.get(name, b""), self._digest(name, password))

    def _digest(self, name: bytes, password: bytes) -> bytes:
        """Return what is kept of a right password: nothing that it could be found out from."""
        return hmac.digest(self._secret, name + b":" + password, "sha256")


def credentials(header: str) -> tuple[bytes, bytes] | None:
    """Return name and password in an Authorization header; None where there are none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if colon else None
