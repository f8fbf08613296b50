"""Injects faults into a running fleet with I/O and checks after each that nothing was lost:

    python -m sandbox --memory 3G -- python -m tests.soak --seed N --minutes N [--only FAULT]...

The same seed draws the same faults. Exits with 1 if anything was lost.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.faults import FAULTS
from tests.soak.run import soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Inject faults into filemapd.")
    parser.add_argument("--seed", type=int, default=1, help="which stream of faults (default: 1)")
    parser.add_argument("--minutes", type=float, default=5, help="for how long (default: 5)")
    parser.add_argument("--only", action="append", default=[], choices=sorted(FAULTS), help="just these")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        tally = soak(options.minutes * 60, options.seed, Path(folder), options.only)
    print(f"\n{tally.table()}", flush=True)
    return 0 if tally.passed else 1


if __name__ == "__main__":
    sys.exit(main())
