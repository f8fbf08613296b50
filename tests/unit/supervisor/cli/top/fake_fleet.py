"""A control socket with a fleet for the tests of `filemapd top`."""

from __future__ import annotations

import contextlib
import selectors
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supervisor.control.requests import Request, SampleRequest
from supervisor.control.routes import Response, Route
from supervisor.control.server import ControlServer
from supervisor.text.times import rfc3339
from tests.unit.supervisor.cli.top.test_activity import NOTHING, filemap

TOP = (sys.executable, "-c", "from supervisor.cli.main import main; main()", "--runtime-dir")
"""`filemapd` with the option whose value, the directory of the control socket, comes next."""


class Fleet:
    """A control socket that responds as filemapd does. Samples are at least a second apart.

    The number in a file's name is its number of reads per millisecond.
    """

    def __init__(self, path: Path, names: list[str]) -> None:
        self.names = names
        self.samples: list[object] = []
        """The bodies of the requests for samples."""
        self._begin = self._sampled = _now_ms()
        self._selector = selectors.DefaultSelector()
        routes = {
            ("GET", "/v1/status"): Route(Request, lambda _: Response(200, self.status())),
            ("POST", "/v1/sample"): Route(SampleRequest, self.sample),
        }
        self._control = ControlServer(path, routes)
        self._control.register(self._selector)
        self._stopped = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stopped:
            for key, mask in self._selector.select(0.02):
                key.data(mask)

    def close(self) -> None:
        """Stop serving."""
        self._stopped = True
        self._thread.join()
        self._control.close()
        self._selector.close()

    def sample(self, request: SampleRequest) -> Response:
        """Sample the counters, unless they were sampled within the last second."""
        self.samples.append(request.model_dump(exclude_none=True) or None)
        if _now_ms() - self._sampled >= 1000:
            self._sampled = _now_ms()
        return Response(202, {"asked": 1})

    def status(self) -> dict[str, Any]:
        """Return the status of the last sample."""
        files = []
        for name in self.names:
            reads = int("".join(filter(str.isdigit, name))) * (self._sampled - self._begin)
            known = filemap(name, 0, reads, device=f"vg-{name[0]}")
            files.append(known | {"sampled_at": rfc3339(self._sampled / 1000)})
        devices = [
            {**NOTHING, "device": device, "number": f"253:{number}"}
            for number, device in enumerate(sorted({f"vg-{name[0]}" for name in self.names}))
        ]
        return {"version": "9.9", "at": rfc3339(time.time()), "devices": devices, "filemaps": files}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextlib.contextmanager
def serving(folder: Path, *names: str) -> Iterator[Fleet]:
    """Serve a fleet on the control socket in `folder`."""
    fleet = Fleet(folder / "control.sock", list(names))
    try:
        yield fleet
    finally:
        fleet.close()
