"""The base of all models of the configuration: strict, with absolute paths."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict


def absolute(text: str) -> str:
    """Return the path `text` without `.`, `..` and doubled slashes. Raises ValueError."""
    if "\0" in text:
        raise ValueError("a path can't hold a NUL character")
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is not absolute: begin it with /")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} can't be the name of a file: it holds a lone surrogate") from None
    return os.path.normpath("/" + text.lstrip("/"))


class Model(BaseModel):
    """A mapping of the configuration, for good."""

    # Strict, so that nothing is guessed: `precise: 1` and `labels: {rack: 7}` are errors.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
