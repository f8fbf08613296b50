"""The virtual machines of images on a real device, as reported to users."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.kernel.conftest import Disk
from tests.kernel.running import Running, running, wait_for
from tests.unit import libvirt
from tests.unit.libvirt import UUID
from tests.unit.supervisor.vms.test_qemu import process

MIB = 1 << 20


def machine(name: str, role: str = "disk", uuid: str | None = UUID, others: int = 0) -> dict[str, Any]:
    """Return a file's `vm`."""
    return {"name": name, "uuid": uuid, "role": role, "others": others}


def machines_of(supervisor: Running) -> dict[str, Any]:
    """Return each file's machine, by the file's name."""
    return {f["name"]: f["vm"] for f in supervisor.status()["filemaps"]}


def wait_for_machines(supervisor: Running, **machines: dict[str, Any] | None) -> None:
    """Wait until exactly these machines are reported, by the files' names without extension."""
    wanted = {f"{name}.img": vm for name, vm in machines.items()}

    def so() -> bool:
        assert machines_of(supervisor) == wanted
        return True

    wait_for(f"the machines are {machines}", so)


def config(disk: Disk, *folders: Path) -> dict[str, Any]:
    """Return a configuration for all images of the disk."""
    directory = {"path": str(disk.folder), "include": ["*.img"]}
    return {"directories": [directory], "vms": {"folders": [str(folder) for folder in folders]}}


def test_machines_of_libvirt(disk: Disk, tmp_path: Path) -> None:
    """Overlay, backing file and defined disk, through links. Changes are noticed while it runs."""
    live, defined = tmp_path / "live", tmp_path / "defined"
    live.mkdir()
    defined.mkdir()
    overlay, base, old = (disk.write(f"{name}.img", MIB) for name in ("overlay", "base", "old"))
    os.link(overlay, disk.folder / "hard.qcow2")
    (tmp_path / "images").symlink_to(disk.folder)
    chain = libvirt.disk(f"{disk.folder}/hard.qcow2", f"{tmp_path}/images/base.img")
    (live / "web.xml").write_text(libvirt.running("web\x7f[31m", chain))
    (defined / "old.xml").write_text(libvirt.domain("old", libvirt.disk(str(old))))
    (live / "bad.xml").write_text("<!DOCTYPE x><domain/>")
    with running(tmp_path, config(disk, live, defined)) as supervisor:
        name = "web\\x7f[31m"
        wait_for_machines(
            supervisor, overlay=machine(name), base=machine(name, "backing"), old=machine("old")
        )
        # A second machine with the same backing file. Like libvirt, write a new file and rename it.
        (live / "clone.xml.new").write_text(
            libvirt.running("clone", libvirt.disk("/none", str(base)), uuid="2")
        )
        (live / "clone.xml.new").rename(live / "clone.xml")
        (defined / "old.xml").unlink()
        shared = machine("clone", "backing", "2", others=1)
        wait_for_machines(supervisor, overlay=machine(name), base=shared, old=None)
        overlay.unlink()
        (disk.folder / "hard.qcow2").rename(overlay)
        wait_for_machines(supervisor, overlay=machine(name), base=shared, old=None)

        def shown() -> bool:
            """The command prints an earlier state: the renamed file may just be selected."""
            text = supervisor.command("status", "--json").stdout
            assert {f["name"]: f["vm"] for f in json.loads(text)["filemaps"]} == machines_of(supervisor)
            assert "\x7f" not in text
            return True

        wait_for("so does the command", shown)


def test_machines_without_libvirt(disk: Disk, tmp_path: Path) -> None:
    """A QEMU process is the machine of its open image, until it closes it."""
    one, two = disk.write("one.img", MIB), disk.write("two.img", MIB)
    with running(tmp_path, config(disk, tmp_path / "none")) as supervisor:
        supervisor.wait_state(one)
        wait_for_machines(supervisor, one=None, two=None)
        words = ("-name", "guest=plain,debug-threads=on", "-uuid", UUID)
        with process(f"rw:{one}", f"ro:{two}", words=words):
            wait_for_machines(supervisor, one=machine("plain"), two=machine("plain", "backing"))
        wait_for_machines(supervisor, one=None, two=None)


def test_a_file_that_is_taken_up_again(disk: Disk, tmp_path: Path) -> None:
    """A file is removed from the configuration and added again between two searches for machines."""
    image, live = disk.write("one.img", MIB), tmp_path / "live"
    live.mkdir()
    (live / "web.xml").write_text(libvirt.running("web", libvirt.disk(str(image))))
    without = {"vms": {"folders": [str(live)], "processes": False}}
    settings = {**without, "filemaps": [{"path": str(image)}]}
    with running(tmp_path, settings) as supervisor:
        wait_for_machines(supervisor, one=machine("web"))
        for _ in range(2):
            for written in (without, settings):
                supervisor.write(written)
                done = supervisor.command("reload")
                assert done.returncode == 0, done.stderr
            wait_for_machines(supervisor, one=machine("web"))
