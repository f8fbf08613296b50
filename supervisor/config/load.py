"""Reads the configuration file. All errors are reported at once, each with its line and key."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from pydantic import ValidationError

from supervisor.config import checks, messages
from supervisor.config.models import Config
from supervisor.config.problems import ConfigError, Problem, key_path
from supervisor.config.yaml_positions import Document, Place, YamlError, read_document
from workers import cached_stat

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.config.yaml_positions import Location

__all__ = ["ConfigError", "Problem", "device_of", "known_device_of", "load", "parse"]

# A host has thousands of images, not millions: more is a wrong file.
MAX_BYTES = 16 * 2**20


def load(path: str, *, wait: bool = True) -> Config:
    """Return the configuration in the file `path`. Raises ConfigError.

    Without `wait` it never waits for a disk: checks that need one are skipped, and a pipe is refused.
    """
    return parse(_read(path, wait=wait), path, device_of if wait else known_device_of)


def device_of(path: str) -> int | None:
    """Return the st_dev of the file `path`; None if it is unknown."""
    try:
        return os.stat(path).st_dev
    except OSError:
        return None


def known_device_of(path: str) -> int | None:
    """Return the same; None also where only the disk knows, which may hang."""
    try:
        found = cached_stat.stat(path)
    except BlockingIOError:
        return None
    return None if found is None else found.st_dev


def parse(content: bytes, file: str, device: Callable[[str], int | None]) -> Config:
    """Return the configuration in `content`, which was read from `file`. Raises ConfigError.

    `device` returns the device number of a file, None where it is not known.
    """
    try:
        document = read_document(_decode(content))
    except YamlError as error:
        raise ConfigError([_problem(file, error.place, (), str(error))]) from error
    if not isinstance(document.data, dict):
        message = "is empty" if document.data is None else "is no mapping"
        raise ConfigError([_problem(file, Place(1, 1), (), f"{message}: begin it with `version: 1`")])

    config, flaws = _validate(document, os.path.dirname(os.path.abspath(file)))
    flaws += checks.all_checks(
        checks.valid_parts(document.data), lambda location: document.place(location).line, device
    )
    reported = {flaw.location for flaw in document.flaws}
    found = [_problem(file, flaw.place, flaw.location, flaw.message) for flaw in document.flaws]
    found += [
        _problem(file, document.place(location), location, message)
        for location, message in flaws
        if location not in reported
    ]
    if config is None or found:
        raise ConfigError(found)
    return config


def _read(path: str, *, wait: bool) -> bytes:
    try:
        with open(path, "rb", opener=None if wait else _open_at_once) as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError([Problem(path, None, None, "", f"can't be read: {why}")]) from error
    if len(content) > MAX_BYTES:
        raise ConfigError([Problem(path, None, None, "", f"is larger than {MAX_BYTES >> 20} MiB")])
    return content


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the writer of a pipe. Raises OSError, and ValueError for a pipe."""
    fd = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise ValueError("it is a pipe, which can't be read again for a reload: name a file")
    return fd


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        message = f"the byte 0x{content[error.start]:02x} is not UTF-8: save the file as UTF-8"
        raise YamlError(line, column, message) from error


def _validate(document: Document, folder: str) -> tuple[Config | None, list[tuple[Location, str]]]:
    """Return the configuration, whose file is in `folder`, or None, and the errors."""
    try:
        return Config.model_validate(document.data, context=folder), []
    except ValidationError as error:
        return None, [messages.describe(details) for details in error.errors(include_url=False)]


def _problem(file: str, place: Place, location: Location, message: str) -> Problem:
    return Problem(file, place.line, place.column, key_path(location), message)
