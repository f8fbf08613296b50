"""Where no descriptor is to be had any more, the main loop goes on: what needs one is left out, or tried again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_START = """
import resource, sys
def use_up():
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
"""


def said(code: str) -> str:
    """Return what a process of its own prints that runs `code`, in which use_up() leaves no descriptor."""
    done = subprocess.run(
        [sys.executable, "-c", _START + code], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_memory_is_not_told() -> None:
    """How large the supervisor is it reads from a file."""
    code = "from supervisor.control.status import _rss_bytes\nuse_up()\nprint(_rss_bytes())"
    assert said(code) == "None"
    assert int(said(code.replace("use_up()", ""))) > 1 << 20


def test_status_is_told() -> None:
    """What the supervisor tells of itself, also when nobody asks, is told all the same."""
    code = """
from types import SimpleNamespace
from supervisor.control.status import SupervisorInfo, StatusSource
config = SimpleNamespace(devices=SimpleNamespace(max_regions=1))
fleet = SimpleNamespace(filemaps={}, ledger=SimpleNamespace(problem=None), config=config)
use_up()
print(StatusSource(fleet, None).supervisor(SupervisorInfo(started=0.0))["started"])
"""
    assert said(code) == "1970-01-01T00:00:00.000Z"


def test_worker_is_not_measured() -> None:
    """A worker that can't be looked at is neither well nor unwell."""
    code = """
import os
from types import SimpleNamespace
from supervisor.fleet.filemap import Health
from supervisor.fleet.health import HealthCheck
from supervisor.runtime.timers import Timers
check = HealthCheck(SimpleNamespace(filemaps={}), Timers())
use_up()
print(check._measure(SimpleNamespace(health=Health()), os.getpid(), 0.0))
"""
    assert said(code) == "False"


def test_machines_are_looked_for_later() -> None:
    """The search for virtual machines is put off, with a warning."""
    code = """
import logging, selectors
from types import SimpleNamespace
from supervisor.config.models import Vms as Config
from supervisor.vms.watcher import VmWatcher
logging.basicConfig(stream=sys.stdout, format="%(message)s")
fleet = SimpleNamespace(filemaps={}, stopping=False, config=SimpleNamespace(vms=Config()))
vms = VmWatcher(fleet, selectors.DefaultSelector())
use_up()
vms.tick()
vms.tick()
"""
    assert said(code) == "virtual machines are not known: Too many open files"


def test_watchdog_is_fed(tmp_path: Path) -> None:
    """The service manager is told on, by the socket of the first message."""
    code = f"""
import os, socket
from supervisor.service.sd_notify import notify
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind({str(tmp_path / "notify")!r})
os.environ["NOTIFY_SOCKET"] = {str(tmp_path / "notify")!r}
print(notify("READY=1"))
use_up()
print(notify("WATCHDOG=1"), listener.recv(99), listener.recv(99))
"""
    assert said(code) == "True\nTrue b'READY=1' b'WATCHDOG=1'"
