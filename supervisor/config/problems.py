"""Errors of a configuration, with their places, as text for operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervisor.text.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from supervisor.config.yaml_positions import Location


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. Line and column count from 1; None where the file was not read."""

    file: str
    line: int | None
    column: int | None
    key: str
    """The dotted path of the key, as in filemaps[1].path; empty for the file as a whole."""
    message: str
    """What is wrong, and what would be right."""

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        text = f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"
        # One problem is one line, for any content of the file.
        return printable(text)


class ConfigError(Exception):
    """The configuration can't be used; `problems` holds all that was found, in the order of the lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        super().__init__()
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0)))

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def key_path(location: Location) -> str:
    """Return `location` as filemaps[1].path."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")
