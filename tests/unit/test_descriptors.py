"""When no descriptor is available the main loop goes on: what needs one is left out or retried."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_START = """
import resource, sys
def use_up():
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
"""


def output_of(code: str) -> str:
    """Return the output of `code` in a separate process, in which use_up() leaves no descriptor."""
    done = subprocess.run(
        [sys.executable, "-c", _START + code], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_memory_is_left_out() -> None:
    """The supervisor reads its own memory use from a file."""
    code = "from supervisor.control.status import _rss_bytes\nuse_up()\nprint(_rss_bytes())"
    assert output_of(code) == "None"
    assert int(output_of(code.replace("use_up()", ""))) > 1 << 20


def test_status_is_reported() -> None:
    """The supervisor's own status is available, on request and without."""
    code = """
from types import SimpleNamespace
from supervisor.control.status import SupervisorInfo, StatusSource
config = SimpleNamespace(devices=SimpleNamespace(max_regions=1))
fleet = SimpleNamespace(filemaps={}, ledger=SimpleNamespace(problem=None), config=config)
use_up()
print(StatusSource(fleet, None).supervisor(SupervisorInfo(started=0.0))["started"])
"""
    assert output_of(code) == "1970-01-01T00:00:00.000Z"


def test_worker_is_not_measured() -> None:
    """A worker that can't be measured is neither healthy nor unhealthy."""
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
    assert output_of(code) == "False"


def test_search_is_postponed() -> None:
    """The search for virtual machines is postponed, with a warning."""
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
    assert output_of(code) == "virtual machines are not known: Too many open files"


def test_watchdog_is_fed(tmp_path: Path) -> None:
    """The service manager still gets messages, through the socket of the first one."""
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
    assert output_of(code) == "True\nTrue b'READY=1' b'WATCHDOG=1'"
