"""Runs the tests and measures which branches of filemapd they take, as `make coverage` does.

    python -m tests.coverage [--jobs N] [--out DIR] [FILE...]

Without FILE, runs all tests except those of what filemapd costs. For files not named, the last figures in DIR count.
The output of each is in DIR/NAME, the report in DIR/html. Exits with 0 if all passed and at least 95% of the branches
were taken.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

from tests import run
from tests.coverage.measuring import MEMORY, NAME, begun_by_python
from tests.coverage.report import report

_ENOUGH: Final = 95.0
# System calls, and the CPU of a thousand workers: measuring adds to both. Other tests take the same branches.
_OF_COSTS: Final = frozenset({"test_calls", "test_many"})


def main() -> int:
    what = "Run the tests, and measure which branches they take."
    options = run.parser("python -m tests.coverage", what, Path("out/coverage")).parse_args()
    files = options.files or [file for file in run.every() if file.stem not in _OF_COSTS]
    with tempfile.TemporaryDirectory(prefix="filemapd-coverage-", dir=MEMORY) as top:
        Path(top).chmod(0o755)  # the web process is another user's
        folder = Path(top, "left")

        def around(tests: list[str], out: Path) -> list[str]:
            gather = [sys.executable, "-m", "tests.coverage.gather", str(folder), str(out.resolve())]
            return [*gather, "--", *tests]

        with begun_by_python(folder):
            failed = run.run_all(files, options.jobs, options.out, around)
    taken = report(options.out.glob(f"*/{NAME}"), options.out).of_branches
    return 1 if failed or taken < _ENOUGH else 0


if __name__ == "__main__":
    sys.exit(main())
