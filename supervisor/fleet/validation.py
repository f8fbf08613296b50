"""Validates worker messages; a worker may be compromised."""

from __future__ import annotations

from dataclasses import fields
from typing import Final, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from workers import messages

_LAST_INTEGER: Final = 2**63 - 1
_LAST_SECOND: Final = 253402300799
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


_ADAPTERS = {
    kind: [(one.name, TypeAdapter(get_type_hints(kind)[one.name], config=_STRICT)) for one in fields(kind)]
    for kind in get_args(messages.Message)
}


def check(message: messages.Message) -> None:
    """Raise ValueError where a value of `message` has another type than its field, or a number is out of range: the
    ledger has signed numbers of 64 bits, and times end with the year 9999."""
    for name, adapter in _ADAPTERS[type(message)]:
        value = getattr(message, name)
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]["msg"]
            raise ValueError(
                f"sent an invalid message: {name} of {type(message).__name__}: {first}"
            ) from None
        most = _LAST_SECOND if name == "at" else _LAST_INTEGER
        if isinstance(value, int | float) and not -most <= value <= most:
            raise ValueError(
                f"sent an invalid message: {name} of {type(message).__name__}: the number is out of range"
            )
