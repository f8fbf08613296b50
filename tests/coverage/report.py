"""Adds up what was measured, and tells what was not taken: for each package, for each module, and as HTML."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage

from tests.coverage.measuring import PACKAGES, ROOT


@dataclass(frozen=True)
class Share:
    """How many of the lines and branches were taken."""

    lines: int = 0
    lines_taken: int = 0
    branches: int = 0
    branches_taken: int = 0

    def __add__(self, other: Share) -> Share:
        return Share(
            self.lines + other.lines,
            self.lines_taken + other.lines_taken,
            self.branches + other.branches,
            self.branches_taken + other.branches_taken,
        )

    @property
    def of_branches(self) -> float:
        """Per cent."""
        return _percent(self.branches_taken, self.branches)

    def row(self, name: str) -> str:
        """Return it as a row of the table."""
        lines = _percent(self.lines_taken, self.lines)
        return (
            f"{name:<22}{self.lines_taken:>7} of {self.lines:>5} lines {lines:6.2f}%"
            f"{self.branches_taken:>7} of {self.branches:>5} branches {self.of_branches:6.2f}%"
        )


def report(measured: Iterable[Path], out: Path) -> Share:
    """Print what the files `measured` say in all, with what is missing, and leave it in `out`; return the total."""
    added = coverage.Coverage(
        data_file=str(out / "data"), config_file=str(ROOT / "pyproject.toml"), messages=False
    )
    added.combine([str(file) for file in measured], keep=True)
    # What no process has imported is to be seen, too.
    added.get_data().touch_files(
        [str(file) for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    )
    added.save()
    added.report(show_missing=True, skip_covered=True)
    added.html_report(directory=str(out / "html"))
    added.json_report(outfile=str(out / "coverage.json"))
    packages = by_package(json.loads((out / "coverage.json").read_text())["files"])
    total = sum(packages.values(), Share())
    print()
    for name, share in sorted(packages.items()):
        print(share.row(name))
    print(total.row("in all"))
    return total


def by_package(files: dict[str, Any]) -> dict[str, Share]:
    """Return each package's share, from the files of coverage's JSON."""
    packages: dict[str, Share] = defaultdict(Share)
    for path, file in files.items():
        told = file["summary"]
        share = Share(
            told["num_statements"], told["covered_lines"], told["num_branches"], told["covered_branches"]
        )
        packages[str(Path(path).parent)] += share
    return packages


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 100.0
