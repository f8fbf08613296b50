"""pydantic's errors in the operator's words."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from supervisor.config.models import Config

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from supervisor.config.yaml_positions import Location

_SHOWN = 40

_MESSAGES = {
    "missing": "is missing, and has no default",
    "literal_error": "must be {expected}, not {found}",
    "bool_type": "must be true or false, not {found}",
    "int_type": "must be a whole number, not {found}",
    "int_parsing": "must be a whole number, not {found}",
    "greater_than_equal": "must be at least {ge}, not {found}",
    "less_than_equal": "must be at most {le}, not {found}",
    "tuple_type": "must be a list, not {found}: write each item in a line of its own that begins with `- `",
    "model_type": "must be a mapping (`key: value`), not {found}",
    "dict_type": "must be a mapping (`key: value`), not {found}",
}


def describe(error: ErrorDetails, model: type[BaseModel] = Config) -> tuple[Location, str]:
    """Return the location of `error`, from the validation of `model`, and its message: what is wrong, and what would
    be right."""
    location = error["loc"]
    if error["type"] == "extra_forbidden":
        return location, _unknown_key(str(location[-1]), known_keys(location[:-1], model))
    return location, _message(error["type"], error["input"], error.get("ctx", {}), error["msg"])


def known_keys(location: Location, model: type[BaseModel] = Config) -> list[str]:
    """Return the keys that the mapping at `location` of `model` can have."""
    for part in location:
        if isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation)
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel]:
    """Return the model in an annotation: itself, or the X of tuple[X, ...]."""
    model = (get_args(annotation) or (annotation,))[0]
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TypeError(f"{annotation} holds no model")
    return model


def _unknown_key(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key.lower(), known, n=1)
    if near:
        return f"unknown key; did you mean {near[0]!r}?"
    return f"unknown key; the keys here are {', '.join(known)}"


def _message(kind: str, value: object, context: dict[str, Any], fallback: str) -> str:
    if kind == "value_error":
        return str(context["error"])
    found = repr(value) if len(repr(value)) <= _SHOWN else f"{repr(value)[:_SHOWN]}..."
    if kind == "string_type":
        return f"must be text, not {found}{_quoting(value)}"
    return _MESSAGES[kind].format(found=found, **context) if kind in _MESSAGES else fallback


def _quoting(value: object) -> str:
    """Return advice where YAML has read a word as something else (7, on, 2024-05-01)."""
    return "" if isinstance(value, list | dict) else ": put it in quotes"
