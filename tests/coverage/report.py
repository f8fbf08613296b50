"""Combines the measurements and reports missed branches: per package, per module, and as HTML."""

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
    """The number of lines and branches, and of those taken."""

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
        """Return a row of the table."""
        lines = _percent(self.lines_taken, self.lines)
        return (
            f"{name:<22}{self.lines_taken:>7} of {self.lines:>5} lines {lines:6.2f}%"
            f"{self.branches_taken:>7} of {self.branches:>5} branches {self.of_branches:6.2f}%"
        )


def report(measured: Iterable[Path], out: Path) -> Share:
    """Combine the files `measured`, print coverage and missing lines, and write both to `out`. Return the total."""
    added = coverage.Coverage(
        data_file=str(out / "data"), config_file=str(ROOT / "pyproject.toml"), messages=False
    )
    added.combine([str(file) for file in measured], keep=True)
    # Include modules that no process has imported.
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
        summary = file["summary"]
        share = Share(
            summary["num_statements"],
            summary["covered_lines"],
            summary["num_branches"],
            summary["covered_branches"],
        )
        packages[str(Path(path).parent)] += share
    return packages


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 100.0
