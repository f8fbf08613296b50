"""Records the status of a small fleet, for the tests of its consumers.

    python -m sandbox --out DIR -- python -m tests.unit.data.record_status

Writes DIR/status.json: a file with I/O that grew and whose group moved, one with an awkward name, an empty
one, and one that can't be mapped.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from sandbox.devices import filesystem
from tests.kernel.conftest import punch, read_direct
from tests.kernel.running import Running, running, wait_for, write

AWKWARD = b'two\nlines "\\\x1b[31m caf\xc3\xa9 \xff.img'


def _drive(supervisor: Running, file: Path) -> None:
    """Grow the file, move its group, and count some I/O."""
    supervisor.wait_state(file)
    wait_for("a sample", lambda: supervisor.filemap(file)["sampled_at"])
    write(file, 1, at=4)
    wait_for("the growth is followed", lambda: supervisor.filemap(file)["changes"])
    punch(file, 0, length=1 << 20)
    wait_for("the move is followed", lambda: supervisor.filemap(file)["moves"])
    read_direct(file, 4 << 20, 25)
    wait_for("all is counted", lambda: supervisor.filemap(file)["reads"] >= 25)


def main() -> None:
    """Record the status into $SANDBOX_OUT."""
    with filesystem("ext4", 64) as fs, tempfile.TemporaryDirectory() as folder:
        file, empty = fs.mountpoint / "db01.img", fs.mountpoint / "empty.img"
        awkward = Path(os.fsdecode(os.fsencode(fs.mountpoint) + b"/" + AWKWARD))
        nowhere = Path(folder, "nowhere.img")
        for path in (file, awkward, nowhere):
            write(path, 1)
        empty.touch()
        config = {
            "defaults": {"sample": "1s"},
            "filemaps": [
                {"path": str(file), "labels": {"tenant": 'ac"me\\\n\x1b[31m', "rack": "r7"}},
                {"path": str(nowhere)},
            ],
            "directories": [{"path": str(fs.mountpoint), "include": ["*.img"]}],
        }
        with running(Path(folder), config) as supervisor:
            _drive(supervisor, file)
            supervisor.wait_state(awkward)
            supervisor.wait_state(empty, "WAITING")
            supervisor.wait_state(nowhere, "FAILED")
            status = supervisor.status()
    Path(os.environ["SANDBOX_OUT"], "status.json").write_text(json.dumps(status, indent=1) + "\n")


if __name__ == "__main__":
    main()
