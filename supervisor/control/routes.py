"""Which questions there are on the control socket, and what answers them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; `body` is what JSON can hold, `allow` are the methods there are where it is not one of them."""

    status: int
    body: object
    allow: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """An answer that is made and sent piece by piece, with what else the main loop has to do in between; `pieces` are
    JSON together."""

    pieces: Iterator[str]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a question, and what the question is to be like: a GET's query, else the body."""

    request: type[BaseModel]
    handler: Callable[[Any], Response | StreamedResponse]


Routes = Mapping[tuple[str, str], Route]
"""By method and path."""
