"""The routes of the control socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `body` is a JSON value; `allow` are the allowed methods, for a method that isn't."""

    status: int
    body: object
    allow: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """A response that is made and sent piece by piece, so that the main loop does its other work in between. The
    `pieces` together are JSON."""

    pieces: Iterator[str]


@dataclass(frozen=True, slots=True)
class Route:
    """A handler and the model of its request: a GET's query, else the body."""

    request: type[BaseModel]
    handler: Callable[[Any], Response | StreamedResponse]


Routes = Mapping[tuple[str, str], Route]
"""By method and path."""
