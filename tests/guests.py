"""Runs the tests that need device-mapper: each file of them in a guest of its own, as many at once as there are
processors.

    python -m tests.guests [--jobs N] [--out DIR] [FILE...]

Tells how each file went when it is through, with all its output where a test failed. What it printed and left is in
DIR/NAME. Gives 0 where all passed.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

_TESTS = Path("tests/kernel")
# Those that take longest are begun with, so that none of them is alone at the end.
_LONG = (
    "many",
    "package",
    "commands",
    "health",
    "page",
    "web",
    "following",
    "supervisor",
    "ledger",
    "soak",
    "torture",
    "create_order",
)
# A worker has some 5 MiB, with what the kernel keeps for it.
_MEMORY = {"test_many": "8G"}
# Beyond the deadlines of the tests in a file.
_GIVEN_UP = 3600


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
    options = _parse()
    files = ordered(options.files or _TESTS.glob("test_*.py"))
    failed = []
    with ThreadPoolExecutor(options.jobs) as guests:
        futures = [guests.submit(run, file, options.out) for file in files]
        for done, future in enumerate(as_completed(futures), 1):
            ended = future.result()
            print(f"[{done}/{len(files)}] {ended.line()}", flush=True)
            if ended.status != 0:
                failed.append(ended.file)
                print(f"{ended.output}\n{ended.file}: exit status {ended.status}", flush=True)
    if failed:
        print("failed:", *failed)
    return 1 if failed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.guests", description="Run tests in guests.")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="guests at once (default: processors)"
    )
    parser.add_argument("--out", type=Path, default=Path("out/kernel"), help="what they print and leave")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="default: all of tests/kernel")
    return parser.parse_args()


def ordered(files: Iterable[Path]) -> list[Path]:
    """Return the files in the order in which to begin them."""
    rank = {f"test_{name}": place for place, name in enumerate(_LONG)}
    return sorted(files, key=lambda file: (rank.get(file.stem, len(rank)), file.name))


def run(file: Path, out: Path) -> Ended:
    """Run the tests of a file in a guest."""
    folder = out / file.stem.removeprefix("test_")
    folder.mkdir(parents=True, exist_ok=True)
    memory = _MEMORY.get(file.stem, "3G")
    guest = [sys.executable, "-m", "sandbox", "--out", str(folder), "--memory", memory]
    command = [*guest, "--timeout", str(_GIVEN_UP), "--", sys.executable, "-m", "pytest", "-q", str(file)]
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    output = ended.stdout.decode(errors="replace")
    (folder / "log").write_text(output)
    return Ended(file, ended.returncode, output)


if __name__ == "__main__":
    sys.exit(main())
