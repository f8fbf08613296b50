"""Basic authentication (RFC 7617) of all addresses, against bcrypt hashes.

A hash takes some 100 ms. So one thread computes them, one at a time, and each user's last correct password is cached.
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

# Further requests are refused while this many wait for a hash.
MOST_WAITING: Final = 20
# bcrypt ignores further bytes of a password.
_LONGEST: Final = 72


class BasicAuth:
    """Passes requests of `users` on to `app`. `users` are bcrypt hashes by name, and not empty."""

    def __init__(self, app: ASGIApp, users: Mapping[str, str]) -> None:
        self._app = app
        self._users = {name.encode(): hashed.encode() for name, hashed in users.items()}
        # Checked for unknown names, so that they take as long: the hash with the highest cost.
        self._stand_in = max(self._users.values(), key=lambda hashed: hashed[4:6])
        self._secret = secrets.token_bytes(32)
        self._correct: dict[bytes, bytes] = {}
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request. Refuse it here if it has no valid name and password, or if too many wait."""
        given = credentials(Headers(scope=scope).get("authorization", ""))
        if given is not None and self._waiting >= MOST_WAITING and not self._is_cached(*given):
            refusal = PlainTextResponse("too many passwords to check\n", 503, {"Retry-After": "1"})
        elif given is not None and await self._may_pass(*given):
            await self._app(scope, receive, send)
            return
        else:
            challenge = {"WWW-Authenticate": 'Basic realm="filemapd", charset="UTF-8"'}
            refusal = PlainTextResponse("name and password required\n", 401, challenge)
        await refusal(scope, receive, send)

    async def _may_pass(self, name: bytes, password: bytes) -> bool:
        if self._is_cached(name, password):
            return True
        self._waiting += 1
        try:
            async with self._turn:
                # Another request with the same password may have been checked meanwhile.
                if self._is_cached(name, password):
                    return True
                loop = asyncio.get_running_loop()
                matches = await loop.run_in_executor(self._thread, self._matches, name, password)
        finally:
            self._waiting -= 1
        if matches and name in self._users:
            self._correct[name] = self._digest(name, password)
            return True
        return False

    def _matches(self, name: bytes, password: bytes) -> bool:
        return bcrypt.checkpw(password[:_LONGEST], self._users.get(name, self._stand_in))

    def _is_cached(self, name: bytes, password: bytes) -> bool:
        return hmac.compare_digest(self._correct.get(name, b""), self._digest(name, password))

    def _digest(self, name: bytes, password: bytes) -> bytes:
        """Return the cached form of a correct password, which does not reveal it."""
        return hmac.digest(self._secret, name + b":" + password, "sha256")


def credentials(header: str) -> tuple[bytes, bytes] | None:
    """Return name and password in an Authorization header, or None."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if colon else None
