"""Makes the man pages from their frames in packaging/man, the README and the command line.

    python -m builders.man DIR

A line of a frame that begins with @ is replaced: `@commands` by what each command of filemapd takes,
`@options` by filemapd's own options, `@## Title` by that section of the README.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Final

import click

from builders.roff import literal, paragraph, roff, section
from supervisor.cli.main import main as filemapd

_FOLDER: Final = Path(__file__).parents[1]
FRAMES: Final = tuple(sorted((_FOLDER / "man").iterdir()))


def page(frame: Path, readme: str, day: str) -> str:
    """Return the source of the man page that a frame makes. Raises LookupError for a section that isn't there."""
    lines: list[str] = []
    for line in frame.read_text(encoding="utf-8").splitlines():
        if line == "@options":
            lines += _options(filemapd, _context())
        elif line == "@commands":
            lines += _commands()
        elif line.startswith("@"):
            lines += roff(section(readme, line[1:]))
        else:
            lines.append(line.replace("@DATE@", day).replace("@VERSION@", version("filemapd")))
    # A heading begins a paragraph by itself.
    kept = [
        line for before, line in pairwise(["", *lines]) if line != ".PP" or before[:3] not in {".SH", ".SS"}
    ]
    return "\n".join(kept) + "\n"


def _commands() -> Iterator[str]:
    """Yield the lines of each command: its arguments, its help, its options."""
    top = _context()
    for name in filemapd.list_commands(top):
        _, command, _ = filemapd.resolve_command(top, [name])
        if command is None:
            raise LookupError(name)
        context = click.Context(command, info_name=name, parent=top)
        words = " ".join(rf"\fI{literal(word)}\fR" for word in command.collect_usage_pieces(context))
        yield f".SS \\fBfilemapd {name}\\fR {words}"
        for block in re.split(r"\n\s*\n", command.help or ""):
            yield ".PP"
            yield from paragraph(block)
        yield from _options(command, context)


def _context() -> click.Context:
    return click.Context(filemapd, info_name="filemapd", **filemapd.context_settings)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if record is not None and isinstance(option, click.Option):
            yield ".TP"
            yield rf"\fB{literal(record[0])}\fR"
            yield from paragraph(record[1])


def date() -> str:
    """Return the day of SOURCE_DATE_EPOCH where that is set, today otherwise."""
    return time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))


def write(folder: Path) -> None:
    """Write all pages into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    readme = (_FOLDER.parent / "README.md").read_text(encoding="utf-8")
    for frame in FRAMES:
        (folder / frame.name).write_text(page(frame, readme, date()), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
