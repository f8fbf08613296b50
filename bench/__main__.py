"""Measures filemapd: here, or where there is no device-mapper, in a guest; and compares two runs.

python -m bench [--quick] [--only NAME...] [--peer PATH] [--json FILE]
python -m bench compare OLD.json NEW.json
python -m bench table FILE.json
python -m bench plot FILE.json FOLDER
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from bench.compare import compare, missing
from bench.context import Bench
from bench.libdm import PeerError, find_peer
from bench.plots import plots
from bench.registry import MEASUREMENTS, chosen
from bench.results import ResultsError, load
from bench.run import perform
from bench.table import markdown, number
from demo.__main__ import have_device_mapper

_OUT: Final = "out/bench"
_JSON: Final = "bench.json"
# Two thousand workers of some MB each have to fit.
_MEMORY: Final = "14G"
_USAGE: Final = 2


def main() -> int:
    """Run the command line. Return 1 if something got worse or failed, 125 if the guest was lost."""
    if sys.argv[1:2] == ["compare"]:
        return _compare(_parse_files("compare", "Name what got worse.", "old", "new"))
    if sys.argv[1:2] == ["table"]:
        return _table(_parse_files("table", "Print the table of a run as Markdown.", "file"))
    if sys.argv[1:2] == ["plot"]:
        return _plot(_parse_files("plot", "Draw how cost grows.", "file", "folder"))
    options = _parse(sys.argv[1:])
    try:
        measurements = chosen(options.only)
        peer = find_peer(options.peer) if options.peer is not None else None
    except (ValueError, PeerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return _USAGE
    if not have_device_mapper():
        print("No device-mapper here, or not root: starting a guest that has one", flush=True)
        guest = [
            "-m",
            "sandbox",
            "--memory",
            _MEMORY,
            "--out",
            _OUT,
            "--system-kernel",
            "--",
            "python",
            "-m",
            "bench",
            *sys.argv[1:],
        ]
        os.execv(sys.executable, [sys.executable, *guest])
    path = options.json or Path(os.environ.get("SANDBOX_OUT", _OUT), _JSON)
    return perform(Bench(options.quick, peer), measurements, sys.argv[1:], path)


def _parse(arguments: list[str]) -> argparse.Namespace:
    names = "\n".join(f"  {m.name:<12} {m.what}" for m in MEASUREMENTS)
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure filemapd beside dmfilemapd and the kernel's own limit.",
        epilog=f"measurements:\n{names}\n\npython -m bench compare OLD.json NEW.json names what got worse.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes and few repeats, to see that it works"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these measurements")
    parser.add_argument("--peer", type=Path, help="lvm2's dmfilemapd, to measure beside")
    parser.add_argument("--json", type=Path, help=f"where the figures go (default: {_OUT}/{_JSON})")
    return parser.parse_args(arguments)


def _parse_files(command: str, description: str, *names: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m bench {command}", description=description)
    for name in names:
        parser.add_argument(name, type=Path)
    return parser.parse_args(sys.argv[2:])


def _table(options: argparse.Namespace) -> int:
    try:
        print(markdown(load(options.file).rows), end="")
    except ResultsError as error:
        print(f"bench: {error}", file=sys.stderr)
        return _USAGE
    return 0


def _plot(options: argparse.Namespace) -> int:
    try:
        for name, picture in plots(load(options.file)).items():
            (options.folder / name).write_text(picture, encoding="utf-8")
    except (ResultsError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return _USAGE
    return 0


def _compare(options: argparse.Namespace) -> int:
    """Print what changed by more than noise. Return 1 if anything got worse."""
    try:
        old, new = load(options.old), load(options.new)
    except ResultsError as error:
        print(f"bench: {error}", file=sys.stderr)
        return _USAGE
    console = Console(highlight=False, soft_wrap=True, markup=False)
    changes = list(compare(old, new))
    worse = [change for change in changes if change.worse]
    for change in (*worse, *(change for change in changes if change.better)):
        word, style = ("worse", "bold red") if change.worse else ("better", "green")
        unit = f" times the {change.of}" if change.of else ""
        figures = f"{number(change.before)} to {number(change.after)}{unit}"
        console.print(
            Text(word, style), f" {change.name}: {figures} (noise explains {change.allowed:.2f} times)"
        )
    for name in missing(old, new):
        console.print(Text("not measured", "yellow"), f" {name}")
    console.print(f"{len(changes)} rows compared, {len(worse)} got worse")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
