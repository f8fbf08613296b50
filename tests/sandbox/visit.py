"""Runs in a guest: writes to the host's paths, reports to $SANDBOX_OUT, prints much and exits with 3."""

import json
import os
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _visit(stray: str, places: list[str]) -> None:
    out = Path(os.environ["SANDBOX_OUT"])
    for place in places:
        Path(place, stray).write_text("written in the guest")
    server = socket.create_server(("127.0.0.1", 0))
    with socket.create_connection(server.getsockname(), timeout=10):
        pass
    report = {
        "cwd": str(Path.cwd()),
        "here": sorted(path.name for path in Path.cwd().iterdir()),
        "uid": os.getuid(),
        "hostname": socket.gethostname(),
        "prefix": sys.prefix,
        "path": os.environ["PATH"].split(os.pathsep),
        "stdin": Path("/proc/self/fd/0").readlink().as_posix(),
        "driver": subprocess.check_output(["dmsetup", "version"], text=True),
    }
    (out / "report.json").write_text(json.dumps(report))
    (out / "large").write_bytes(noise(3, 1_000_000))
    stdout = threading.Thread(target=_write, args=(1, noise(1, 3_000_000)))
    stdout.start()
    _write(2, noise(2, 1_000_000))
    stdout.join()
    # A process left behind with the outputs open must not delay the end.
    subprocess.Popen(["sleep", "1000"])
    sys.exit(3)


if __name__ == "__main__":
    _visit(sys.argv[1], sys.argv[2:])
