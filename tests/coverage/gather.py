"""Runs tests and combines the measurements of their processes in one file.

    python -m tests.coverage.gather FOLDER OUT -- COMMAND...

FOLDER is that of begun_by_python(), OUT the folder for the file. Exits with the command's status.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import coverage

from tests.coverage.measuring import NAME


def main() -> int:
    folder, out, _, *command = sys.argv[1:]
    Path(folder).mkdir(parents=True)
    Path(folder).chmod(0o1777)  # the web process is another user's
    status = subprocess.run(command, check=False).returncode
    # Warnings about incomplete files: a process was killed while it wrote one.
    warnings.simplefilter("ignore", coverage.exceptions.CoverageWarning)
    left = coverage.Coverage(data_file=str(Path(out, NAME)), branch=True, config_file=False, messages=False)
    left.combine([folder])
    left.save()
    return status


if __name__ == "__main__":
    sys.exit(main())
