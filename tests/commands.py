"""The commands in the documents, with their output, and a shell that runs them. The first part is pure."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
DOCUMENTS: Final = (
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT: Final = re.compile(r"[#$] ")
# Read-only commands, repeated until the output is as shown.
_READS: Final = ("filemapd status", "filemapd top", "filemapd events", "filemapd map", "dmstats list", "grep")
_PATIENCE: Final = 60.0
# The width of the widest table shown.
_COLUMNS: Final = 90
_MARK: Final = "the command ended with status"


@dataclass(frozen=True, slots=True)
class Command:
    """A command and its output in the document; a line `...` stands for omitted ones."""

    text: str
    shown: tuple[str, ...]


def fences(document: str) -> Iterator[tuple[str, str]]:
    """Yield the fenced blocks of a document: language and text."""
    for found in _FENCE.finditer(document):
        yield found[1], found[2]


def commands(document: str) -> Iterator[Command]:
    """Yield the commands in blocks of the language `console`: lines that begin with `# ` (for root) or `$ `,
    continued by lines that begin with `> `."""
    for language, block in fences(document):
        if language != "console":
            continue
        text = ""
        shown: list[str] = []
        for line in block.splitlines():
            if _PROMPT.match(line):
                if text:
                    yield Command(text, tuple(shown))
                text, shown = line[2:], []
            elif line.startswith("> ") and not shown:
                text += f"\n{line[2:]}"
            else:
                shown.append(line)
        yield Command(text, tuple(shown))


def shape(line: str) -> list[str]:
    """Return the words of a line with each number replaced by 0; so are `-`, which stands for none, and
    `few`."""
    words: list[str] = []
    for word in line.split():
        if re.match(r"[<>]?\d", word) or word in {"-", "few"}:
            words.append("0")
        else:
            words += [re.sub(r"^\d.*|\d+", "0", part) for part in re.split(r"(?<=[,{\[:])", word) if part]
    return words


def missing(shown: tuple[str, ...], printed: str) -> list[str]:
    """Return the shown lines without an equivalent among the printed ones."""
    there = [shape(line) for line in printed.splitlines()]
    return [line for line in shown if line != "..." and shape(line) not in there]


class Shell:
    """A shell that retains its state between commands, as a reader's does."""

    def __init__(self) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "COLUMNS": str(_COLUMNS)},
        )

    def run(self, text: str) -> tuple[int, str]:
        """Run a command and return its exit status and output."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        # The next command may read this one's status.
        self._bash.stdin.write(f"{{ {text}\n}} </dev/null; s=$?; echo; echo {_MARK} $s; (exit $s)\n")
        self._bash.stdin.flush()
        printed: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(_MARK):
                return int(line.removeprefix(_MARK)), "".join(printed)
            printed.append(line)
        raise AssertionError(f"the shell ended in {text!r}: {''.join(printed)}")

    def check(self, command: Command, *, may_fail: bool) -> None:
        """Run a command, which must succeed and print what is shown."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            status, printed = self.run(command.text)
            wrong = missing(command.shown, printed)
            if command.text == "echo $?" and (command.shown[0],) != tuple(printed.split()):
                wrong = list(command.shown)
            if not wrong and (status == 0 or may_fail):
                return
            assert command.text.startswith(_READS), (
                f"{command.text}\nstatus {status}\n{printed}\nmissing: {wrong}"
            )
            assert time.monotonic() < deadline, (
                f"{command.text}\nstatus {status}\n{printed}\nmissing: {wrong}"
            )
            time.sleep(0.2)

    def close(self) -> None:
        """End the shell with its background jobs."""
        self.run("kill $(jobs -p); wait")
        self._bash.communicate()
