"""Changes files in all ways at random, with other programs on the device, and checks the result after each
change:

    python -m sandbox --memory 3G -- python -m tests.torture --seed N --count N [--fs ext4|xfs]

The same seed makes the same changes. Exits with 1 if anything was missed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.torture.run import Kind, torture

_KINDS: tuple[Kind, ...] = ("ext4", "xfs")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description="Torture filemapd.")
    parser.add_argument("--seed", type=int, default=1, help="which stream of changes (default: 1)")
    parser.add_argument(
        "--count", type=int, default=1000, help="how many changes a file system (default: 1000)"
    )
    parser.add_argument("--fs", choices=_KINDS, help="the file system (default: first ext4, then XFS)")
    options = parser.parse_args()
    passed = True
    for kind in _KINDS if options.fs is None else (options.fs,):
        with tempfile.TemporaryDirectory() as folder:
            tally = torture(kind, options.seed, options.count, Path(folder))
        print(f"\n{tally.table()}\n", flush=True)
        passed = passed and tally.passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
