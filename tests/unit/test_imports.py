"""The imports of the long-lived processes: each module takes memory, in the fork server times the number of
workers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

import pytest

from tests.unit.data import HERE

# The imports of each process's program.
_PROGRAMS: Final = {
    "fork_server": "import workers.fork_server",
    "supervisor": "import supervisor.cli.main, supervisor.cli.run, supervisor.daemon",
    "web": "import supervisor.web.__main__",
}
_OURS: Final = ("dmstats", "workers", "supervisor")
_PRINT: Final = "; import json, sys; print(json.dumps(sorted(sys.modules)))"


def loaded(program: str) -> set[str]:
    """Return the modules that a program has loaded: of libraries the package only, of the standard library
    public ones."""
    output = subprocess.run(
        [sys.executable, "-I", "-c", program + _PRINT],
        check=True,
        capture_output=True,
        text=True,
        env={"HOME": "/"},  # without the variables that ask for coverage
    ).stdout
    modules = {name if name.startswith(_OURS) else name.partition(".")[0] for name in json.loads(output)}
    return {name for name in modules if not name.startswith("_")}


@pytest.mark.parametrize("process", _PROGRAMS)
def test_no_module_is_new(process: str) -> None:
    """New modules of a process are reported; necessary ones are to be added to the list."""
    listed = set((HERE / f"modules_{process}.txt").read_text(encoding="utf-8").split())
    found = loaded(_PROGRAMS[process])
    assert sorted(found - listed) == []
    gone = {name for name in listed - found if name.startswith(_OURS)}
    assert sorted(gone) == []
