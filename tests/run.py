"""Runs all tests: each file of those that need device-mapper in a guest of its own, beside them those on the host.

    python -m tests.run [--jobs N] [--out DIR] [FILE...]

Two more are run at once than there are processors, as guests wait for timers at times. Tells how each went when it is
through, with all its output where a test failed. What it printed and left is in DIR/NAME. Gives 0 where all passed.
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
# Guests keep nothing of what Python compiles in them: what is not compiled before, each of their processes would.
_CODE = ("dmstats", "workers", "supervisor", "sandbox", "bench", "demo", "packaging", "tests")
_HOST = Path("tests/host")
"""Stands for all that run on the host, in one process."""
# Those that take longest are begun with, so that none of them is alone at the end.
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
# What is made for the tests of a file, while others run.
_BEFORE = {"test_package": [["make", "--no-print-directory", "deb", "out/debian.tar"]]}
# A worker has some 5 MiB, with what the kernel keeps for it.
_MEMORY = {"test_many": "8G"}
# Beyond the deadlines of the tests in a file.
_GIVEN_UP = 3600


Around = Callable[[list[str], Path], list[str]]
"""Returns the command that runs a command of tests, which leaves what it leaves in a folder."""


@dataclass(frozen=True)
class Ended:
    """How the tests of a file went: the guest's exit status and all that was printed."""

    file: Path
    status: int
    output: str

    def line(self) -> str:
        """Return what there is to say of it in a line."""
        lines = self.output.strip().splitlines() or ["it printed nothing"]
        return f"{self.file.name:<28} {lines[-1].strip('= ')}"


def main() -> int:
    options = parser("python -m tests.run", "Run the tests.", Path("out/tests")).parse_args()
    return 1 if run_all(options.files, options.jobs, options.out, _bare) else 0


def parser(program: str, does: str, out: Path) -> argparse.ArgumentParser:
    """Return the parser of a command that runs tests."""
    made = argparse.ArgumentParser(prog=program, description=does)
    made.add_argument("--jobs", type=int, default=_AT_ONCE, help="at once (default: processors and two)")
    made.add_argument("--out", type=Path, default=out, help="what they print and leave")
    made.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="default: all of tests/kernel, and the host's"
    )
    return made


def run_all(files: Sequence[Path], jobs: int, out: Path, around: Around) -> list[Path]:
    """Run the tests of `files`, of all where there are none, and return those that failed."""
    files = ordered(files or every())
    compiled, said = _run([sys.executable, "-m", "compileall", "-q", *_CODE])
    assert compiled == 0, said
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
    """Return all files of tests, and what stands for those on the host."""
    return [_HOST, *_TESTS.glob("test_*.py")]


def ordered(files: Iterable[Path]) -> list[Path]:
    """Return the files in the order in which to begin them."""
    rank = {name: place for place, name in enumerate(_LONG)}
    return sorted(files, key=lambda file: (rank.get(_name(file), len(rank)), file.name))


def run(file: Path, out: Path, around: Around) -> Ended:
    """Run the tests of a file, in a guest where they need one, by the command in which `around` puts theirs."""
    folder = out / _name(file)
    folder.mkdir(parents=True, exist_ok=True)
    status, output = 0, ""
    for command in (*_BEFORE.get(file.stem, ()), _command(file, folder, around)):
        if status == 0:
            status, said = _run(command)
            output += said
    (folder / "log").write_text(output)
    return Ended(file, status, output)


def _bare(tests: list[str], _folder: Path) -> list[str]:
    return tests


def _run(command: Sequence[str]) -> tuple[int, str]:
    """Return a command's exit status and all that it printed."""
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
    return [*guest, "--timeout", str(_GIVEN_UP), "--", *tests]


def _name(file: Path) -> str:
    return file.stem.removeprefix("test_")


if __name__ == "__main__":
    sys.exit(main())
