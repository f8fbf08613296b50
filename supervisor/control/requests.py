"""The control socket's requests: one model each, of the body or, for GET, of the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from supervisor.config.messages import describe
from supervisor.config.problems import key_path

Model = TypeVar("Model", bound=BaseModel)


class RequestError(Exception):
    """The request is invalid; the text names the key and what would be right."""


class Request(BaseModel):
    """A question without particulars, and the root of those that have some."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RestartRequest(Request):
    """Restart the worker of the file with this name."""

    name: str


class SampleRequest(Request):
    """Of which device counters are to be read, by its name; None for all."""

    device: str | None = None


class EventsRequest(Request):
    """Which events: the first `limit` after the one with id `after`, or without that the last ones; `name` is a
    file's name or path."""

    after: Annotated[int, Field(ge=0)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    name: str | None = None


def from_body(model: type[Model], body: object) -> Model:
    """Return the request in a body that was JSON. Raises RequestError."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise _error(model, error) from None


def from_query(model: type[Model], query: str) -> Model:
    """Return the request in the part of an address behind its `?`. Raises RequestError."""
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RequestError(f"{twice[0]}: is given twice")
    try:
        return model.model_validate_strings(dict(pairs))
    except ValidationError as error:
        raise _error(model, error) from None


def _error(model: type[BaseModel], error: ValidationError) -> RequestError:
    messages = [describe(details, model) for details in error.errors(include_url=False)]
    return RequestError("; ".join(_line(location, message) for location, message in messages))


def _line(location: Sequence[int | str], message: str) -> str:
    return f"{key_path(tuple(location))}: {message}" if location else f"the request {message}"
