"""The commands in the documents have the output shown there, run in order with a small fleet."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from sandbox.devices import filesystem
from tests.commands import DOCUMENTS, ROOT, Command, Shell, commands
from tests.kernel import oracle
from tests.kernel.conftest import Disk
from tests.kernel.running import write

# Commands that are not run here, and where they are run.
ELSEWHERE: Final = {
    "git clone <this repository> filemapd && cd filemapd": "before the tests",
    "make check": "make test",
    "make deb": "make test",
    "make run": "the demonstration is a guest of its own",
    "make test": "this is part of it",
    "apt-get install ./out/deb/filemapd_*.deb": "tests/kernel/test_package.py",
    "python3 -m venv /opt/filemapd": "tests/packaging/test_wheel.py",
    "/opt/filemapd/bin/pip install --require-hashes -r requirements.lock": "tests/packaging/test_wheel.py",
    "/opt/filemapd/bin/pip install --no-deps .": "tests/packaging/test_wheel.py",
    "ln -s /opt/filemapd/bin/filemapd /opt/filemapd/bin/dmfilemapd /usr/local/sbin/": "tests/packaging/test_wheel.py",
    ".venv/bin/python -m sandbox -- python -m pytest tests/kernel/test_following.py": "as each guest is started",
    ".venv/bin/python -m sandbox --out out/debug -- bash debug.sh": "as each guest is started",
    ".venv/bin/python -m sandbox --out tests/unit/data -- python -m tests.unit.data.record_status": "as above",
    ".venv/bin/python -m bench compare docs/performance.json out/bench/bench.json": "tests/unit/bench/test_bench.py",
}
CONSOLE: Final = {name: list(commands((ROOT / name).read_text(encoding="utf-8"))) for name in DOCUMENTS}
HERE: Final = [name for name, shown in CONSOLE.items() if any(one.text not in ELSEWHERE for one in shown)]
IMAGES: Final = Path("/var/lib/libvirt/images")
_MACHINE: Final = """
<domain type="kvm">
  <name>db01</name>
  <uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>
  <devices>
    <disk type="file" device="disk"><source file="/var/lib/libvirt/images/db01.img"/></disk>
  </devices>
</domain>
"""


@pytest.fixture
def fleet() -> Iterator[None]:
    """Create the three images of the README's session, not followed yet, and its configuration."""
    with contextlib.ExitStack() as undo:
        fs = undo.enter_context(filesystem("ext4", 400, IMAGES))
        oracle.run("dmsetup", "rename", fs.device.name, "vg-images")
        undo.callback(oracle.run, "dmsetup", "rename", "vg-images", fs.device.name)
        undo.callback(oracle.run, "dmstats", "delete", "--allregions", "vg-images")
        write(IMAGES / "db01.img", 24)
        Disk(fs.device, IMAGES).pieces("mail01.img", 21)
        write(IMAGES / "web01.qcow2", 8)
        config = Path("/etc/filemapd/filemaps.yaml")
        config.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "config/filemaps.yaml", config)
        machine = Path("/etc/libvirt/qemu/db01.xml")
        machine.parent.mkdir(parents=True, exist_ok=True)
        machine.write_text(_MACHINE)
        undo.callback(machine.unlink)
        undo.callback(shutil.rmtree, "/var/lib/filemapd", ignore_errors=True)
        yield


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("name", HERE)
def test_commands(name: str) -> None:
    """Each command prints the lines shown, and exits with 0 unless the next command prints the status."""
    shown = CONSOLE[name]
    with contextlib.closing(Shell()) as shell:
        for one, after in zip(shown, [*shown[1:], Command("", ())], strict=True):
            if one.text not in ELSEWHERE:
                shell.check(one, may_fail=after.text == "echo $?")


def test_commands_run_elsewhere_are_shown() -> None:
    """Every command in ELSEWHERE is in a document."""
    assert set(ELSEWHERE) <= {one.text for shown in CONSOLE.values() for one in shown}
    assert os.getcwd() == str(ROOT), "the commands run in the repository's root"
