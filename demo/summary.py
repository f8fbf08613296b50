"""The end: the findings, and whether all checks passed."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from demo.findings import Finding, Findings
from demo.timing import Timing


@dataclass(frozen=True, slots=True)
class Check:
    """A condition; `passed` is None if the run ended before it was tried."""

    passed: bool | None
    text: str


def coverage_checks(findings: Findings) -> list[Check]:
    """Check the regions on the device, as the tools report them."""
    wrong = [_difference(finding) for finding in findings.images if not finding.agrees]
    every = "filefrag and dmstats agree: the regions cover all extents and nothing else"
    orphans = ", ".join(map(str, findings.orphans))
    return [
        *([Check(False, text) for text in wrong] or [Check(True, every)]),
        Check(False, f"regions on the device that belong to no image: {orphans}")
        if orphans
        else Check(True, "every region on the device belongs to an image's group"),
    ]


def print_summary(console: Console, findings: Findings, timing: Timing, checks: list[Check]) -> bool:
    """Print the summary; return whether no check failed."""
    console.print()
    console.print(_table(findings, timing))
    console.print(Text(_LEGEND, "dim"))
    console.print()
    for check in checks:
        console.print(_MARKS[check.passed].copy().append(check.text), soft_wrap=True)
    failed = sum(check.passed is False for check in checks)
    console.print()
    if failed:
        console.print(Text(f"{failed} of {len(checks)} checks failed", "bold red"))
    else:
        console.print(Text("Everything agrees", "bold green"))
    return not failed


_LEGEND = """\
EXTENTS by filefrag, REGIONS by dmstats. CHG: changes followed. MS: how fast, by
our own clock, median-longest. RST: restarts. MOVES: the group's ids, how often."""

_MARKS = {
    True: Text.assemble(("ok    ", "green")),
    False: Text.assemble(("FAIL  ", "bold red")),
    None: Text.assemble(("-     ", "dim"), "not tried: "),
}


def _table(findings: Findings, timing: Timing) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for heading in ("IMAGE", "AGREE"):
        table.add_column(heading, no_wrap=True)
    for heading in ("EXTENTS", "REGIONS", "CHG", "MS", "RST", "MOVES", "READS", "WRITES"):
        table.add_column(heading, justify="right", no_wrap=True)
    for finding in findings.images:
        seen, name = finding.seen, finding.path.name
        table.add_row(
            name,
            Text("yes", "green") if finding.agrees else Text("NO", "bold red"),
            str(finding.extents),
            str(finding.regions),
            str(seen.changes),
            timing.span(name),
            str(seen.restarts),
            seen.moves_text(),
            str(seen.reads),
            str(seen.writes),
        )
    return table


def _difference(finding: Finding) -> str:
    reported = finding.seen
    return (
        f"{finding.path.name}: {finding.uncovered_bytes} bytes not covered, {finding.excess_bytes} too much, "
        f"{finding.regions} regions; filemapd reports {reported.uncovered_bytes}, {reported.excess_bytes}, "
        f"{reported.regions} "
        f"({reported.state}{f': {reported.reason}' if reported.reason else ''})"
    )
