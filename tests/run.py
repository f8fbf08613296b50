"""Runs all tests: each file of tests/kernel in a guest of its own, the others on the host.

    python -m tests.run [--jobs N] [--out DIR] [FILE...]

Runs two more at once than there are processors, as guests sometimes wait for timers. Prints each result when it ends,
with all output if a test failed. Output and files are in DIR/NAME. Exits with 0 if all passed.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

_TESTS = Path("tests/kernel")
# Guests do not retain compiled files: without this, each of their processes would compile the code again.
_CODE = ("dmstats", "workers", "supervisor", "sandbox", "bench", "demo", "packaging", "tests")
_HOST = Path("tests/host")
"""Stands for all tests on the host, which run in one process."""
# The longest start first, so that none of them runs alone at the end.
_LONG = (
    "many",
    "host",
    "soak",
    "bench",
    "calls",
    "package",
    "health",
    "killed_between",
    "web",
    "hanging_disk",
    "page",
    "vms",
    "ledger",
    "commands",
    "sampling",
    "following",
    "supervisor",
    "dmfilemapd",
)
_AT_ONCE = (os.cpu_count() or 1) + 2
# Commands that build a file's prerequisites, while others run.
_BEFORE = {"test_package": [["make", "--no-print-directory", "deb", "out/debian.tar"]]}
# A worker takes about 5 MiB, including kernel memory.
_MEMORY = {"test_many": "8G"}
# Beyond the deadlines of the tests in a file.
_GUEST_TIMEOUT = 3600


Around = Callable[[list[str], Path], list[str]]
"""Wraps a test command. The folder takes the files that it writes."""


@dataclass(frozen=True)
class Ended:
    """The result of a file's tests: the guest's exit status and all output."""

    file: Path
    status: int
    output: str

    def line(self) -> str:
        """Return the result as one line."""
        lines = self.output.strip().splitlines() or ["it printed nothing"]
        return f"{self.file.name:<28} {lines[-1].strip('= ')}"


def main() -> int:
    options = parser("python -m tests.run", "Run the tests.", Path("out/tests")).parse_args()
    return 1 if run_all(options.files, options.jobs, options.out, _bare) else 0


def parser(program: str, does: str, out: Path) -> argparse.ArgumentParser:
    """Return the parser of a command that runs tests."""
    made = argparse.ArgumentParser(prog=program, description=does)
    made.add_argument("--jobs", type=int, default=_AT_ONCE, help="at once (default: processors and two)")
    made.add_argument("--out", type=Path, default=out, help="for their output and files")
    made.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="default: all of tests/kernel, and the host's"
    )
    return made


def run_all(files: Sequence[Path], jobs: int, out: Path, around: Around) -> list[Path]:
    """Run the tests of `files`, of all where there are none, and return those that failed."""
    files = ordered(files or every())
    compiled, printed = _run([sys.executable, "-m", "compileall", "-q", *_CODE])
    assert compiled == 0, printed
    failed = []
    with ThreadPoolExecutor(jobs) as guests:
        futures = [guests.submit(run, file, out, around) for file in files]
        for done, future in enumerate(as_completed(futures), 1):
            ended = future.result()
            print(f"[{done}/{len(files)}] {ended.line()}", flush=True)
            if ended.status != 0:
                failed.append(ended.file)
                print(f"{ended.output}\n{ended.file}: exit status {ended.status}", flush=True)
    if failed:
        print("failed:", *failed)
    return failed


def every() -> list[Path]:
    """Return all test files, and _HOST for those on the host."""
    return [_HOST, *_TESTS.glob("test_*.py")]


def ordered(files: Iterable[Path]) -> list[Path]:
    """Return the files in the order in which to start them."""
    rank = {name: place for place, name in enumerate(_LONG)}
    return sorted(files, key=lambda file: (rank.get(_name(file), len(rank)), file.name))


def run(file: Path, out: Path, around: Around) -> Ended:
    """Run the tests of a file, in a guest if they need one, with their command wrapped by `around`."""
    folder = out / _name(file)
    folder.mkdir(parents=True, exist_ok=True)
    status, output = 0, ""
    for command in (*_BEFORE.get(file.stem, ()), _command(file, folder, around)):
        if status == 0:
            status, printed = _run(command)
            output += printed
    (folder / "log").write_text(output)
    return Ended(file, status, output)


def _bare(tests: list[str], _folder: Path) -> list[str]:
    return tests


def _run(command: Sequence[str]) -> tuple[int, str]:
    """Return a command's exit status and output."""
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return ended.returncode, ended.stdout.decode(errors="replace")


def _command(file: Path, folder: Path, around: Around) -> list[str]:
    which = f"--ignore={_TESTS}" if file == _HOST else str(file)
    tests = around([sys.executable, "-m", "pytest", "-q", which], folder)
    if file == _HOST:
        return tests
    guest = [sys.executable, "-m", "sandbox", "--out", str(folder), "--memory", _MEMORY.get(file.stem, "3G")]
    return [*guest, "--timeout", str(_GUEST_TIMEOUT), "--", *tests]


def _name(file: Path) -> str:
    return file.stem.removeprefix("test_")


if __name__ == "__main__":
    sys.exit(main())
