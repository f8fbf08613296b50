"""Validates worker messages; a worker may be compromised."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from workers import messages

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


_ADAPTERS = {
    kind: [(one.name, TypeAdapter(get_type_hints(kind)[one.name], config=_STRICT)) for one in fields(kind)]
    for kind in get_args(messages.Message)
}


def check(message: messages.Message) -> None:
    """Raise ValueError where a value of `message` has another type than its field."""
    for name, adapter in _ADAPTERS[type(message)]:
        try:
            adapter.validate_python(getattr(message, name))
        except ValidationError as error:
            first = error.errors(include_input=False)[0]["msg"]
            raise ValueError(
                f"sent an invalid message: {name} of {type(message).__name__}: {first}"
            ) from None
