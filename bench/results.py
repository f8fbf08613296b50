"""A run's figures, and their form as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.noise import median

Unit = Literal["s", "ms", "us", "ns", "MiB", "bytes", "% CPU", "/s", "x", "count"]
Subject = Literal["filemapd", "floor", "peer"]
Series = Literal["", "update", "update-other", "start", "idle-cpu", "pss"]


class ResultsError(Exception):
    """A file is not the JSON of a run. The message holds its path and the reason."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Goal(_Model):
    """The limit of a figure: `most` times the figure of `of`, or `most` itself, plus `plus`."""

    most: float
    of: Literal["floor", "peer"] | None = None
    plus: float = 0.0


class Row(_Model):
    """One thing measured. Each subject's samples are in `unit`, in the order in which they were taken, those of
    different subjects in turns. Less is better in every row. `note` is a remark.

    Rows of a `series` are points of a plot, each at its `size`, and not in the table."""

    name: str
    unit: Unit
    filemapd: tuple[float, ...]
    floor: tuple[float, ...] = ()
    peer: tuple[float, ...] = ()
    goals: tuple[Goal, ...] = ()
    note: str = ""
    series: Series = ""
    size: int = 0

    def limit(self, goal: Goal) -> float | None:
        """Return a goal's limit in the row's unit, None if its reference was not measured."""
        if goal.of is None:
            return goal.most + goal.plus
        samples = self.floor if goal.of == "floor" else self.peer
        return goal.most * median(samples) + goal.plus if samples else None

    def met(self) -> bool | None:
        """Return whether all goals are reached, None if there are none or none can be checked."""
        limits = [limit for limit in map(self.limit, self.goals) if limit is not None]
        return all(median(self.filemapd) <= limit for limit in limits) if limits else None


class Made(_Model):
    """How a run was made."""

    at: str
    command: str
    kernel: str
    machine: str
    cpus: int
    memory_mib: int
    python: str
    filemapd: str
    peer: str | None
    quick: bool


class Run(_Model):
    """All figures of a run."""

    format: Literal[1] = 1
    made: Made
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row | None:
        """Return the row of that name."""
        return next((row for row in self.rows if row.name == name), None)


def load(path: Path) -> Run:
    """Return the run in a JSON file. Raises ResultsError."""
    try:
        return Run.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ResultsError(
            f"{path}: {where}: {first['msg']} (the JSON of `python -m bench` is wanted)"
        ) from None


def save(run: Run, path: Path) -> None:
    """Write a run as JSON. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(run.model_dump_json(indent=1) + "\n", encoding="utf-8")
