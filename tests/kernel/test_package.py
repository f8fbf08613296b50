"""The Debian package in its own Debian with systemd and device-mapper: installed, upgraded, removed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.devices import Filesystem, filesystem
from tests.kernel import oracle
from tests.kernel.conftest import read_direct
from tests.kernel.machine import Machine, machine
from tests.kernel.running import wait_for, write
from tests.kernel.scraping import fetch

# dpkg writes some thousand files in each test.
pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
IMAGES = "var/lib/libvirt/images"


@pytest.fixture(scope="module")
def fs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filesystem]:
    """A file system, mounted at the usual place of images: the Debian's root is the third folder above."""
    root = tmp_path_factory.mktemp("debian")
    oracle.run("tar", "-C", str(root), "-xf", str(ROOT / "out/debian.tar"))
    with filesystem("ext4", 100, root / IMAGES) as made:
        yield made


@pytest.fixture(scope="module")
def debian(fs: Filesystem) -> Iterator[Machine]:
    """A booted Debian."""
    with machine(fs.mountpoint.parents[3]) as one:
        yield one


@pytest.fixture(scope="module")
def package(debian: Machine) -> str:
    """The package's path inside."""
    (built,) = (ROOT / "out/deb").glob("filemapd_*.deb")
    shutil.copy(built, debian.root / "root")
    return f"/root/{built.name}"


def repacked(debian: Machine, package: str, version: str) -> str:
    """Build the same package with another version, also in the program's own version."""
    debian.run("dpkg-deb", "--raw-extract", package, "/root/next")
    folder = debian.root / "root/next"
    (metadata,) = folder.glob("usr/lib/filemapd/lib/python3*/site-packages/filemapd-*.dist-info/METADATA")
    for file in (folder / "DEBIAN/control", metadata):
        file.write_text(re.sub(r"^Version: .*", f"Version: {version}", file.read_text(), flags=re.MULTILINE))
    debian.run("dpkg-deb", "--root-owner-group", "-Znone", "--build", "/root/next", "/root/next.deb")
    shutil.rmtree(folder)
    return "/root/next.deb"


def status(debian: Machine) -> dict[str, Any]:
    """Return the output of `filemapd status --json`."""
    status: dict[str, Any] = json.loads(debian.run("filemapd", "status", "--json"))
    return status


def filemap(debian: Machine, name: str) -> dict[str, Any]:
    """Return the status of a file, empty if there is none."""
    filemaps: dict[str, dict[str, Any]] = {one["name"]: one for one in status(debian)["filemaps"]}
    return filemaps.get(name, {})


def the_file(debian: Machine, reads: int) -> dict[str, Any]:
    """Return the status of db01.img once it is RUNNING with that many reads."""

    def there() -> dict[str, Any]:
        found = filemap(debian, "db01.img")
        assert (found["state"], found["reads"]) == ("RUNNING", reads), found
        return found

    return wait_for(f"it is followed, and has {reads} reads", there)


@pytest.fixture(scope="module")
def installed(debian: Machine, package: str, fs: Filesystem) -> Iterator[Machine]:
    """The same with the package installed and two files to follow."""
    for name in ("web01.qcow2", "web02.qcow2"):
        write(fs.mountpoint / name, 1)
    debian.run("dpkg", "--install", package)
    yield debian
    debian.run("dpkg", "--purge", "filemapd")


def test_access_to_the_control_socket(installed: Machine) -> None:
    """Members of the group filemapd may use the control socket. The web process runs as filemapd-web, which
    may not."""
    ask = ("--clear-groups", "filemapd", "status")
    installed.run("setpriv", "--reuid=nobody", "--regid=filemapd", *ask)
    refused = installed.call("setpriv", "--reuid=filemapd-web", "--regid=filemapd-web", *ask)
    assert (refused.returncode, "no permission" in refused.stdout) == (1, True)
    web = wait_for("the web process runs", lambda: status(installed)["web"]["pid"])

    def its_own_user() -> bool:
        """It is forked as root."""
        assert installed.run("stat", "--format=%U:%G", f"/proc/{web}").strip() == "filemapd-web:filemapd-web"
        return True

    wait_for("the web process is another user's", its_own_user)


@pytest.mark.usefixtures("installed")
def test_the_page() -> None:
    """The page is served with all its assets, and so are the metrics."""

    def get(path: str) -> str:
        return fetch(9737, path).decode()

    wait_for("the page has the files", lambda: "web01.qcow2" in get("/"))
    loaded = re.findall(r'(?:href|src)="(/static/[^"]+)"', get("/"))
    assert {Path(path).suffix for path in loaded} == {".css", ".js", ".svg"}
    assert all(get(path) for path in loaded)
    wait_for("the metrics are there", lambda: "filemapd_build_info" in get("/metrics"))


def test_completion_in_bash(installed: Machine) -> None:
    """bash completes commands, and the names of the files of the running filemapd."""
    script = "source /usr/share/bash-completion/completions/filemapd; _filemapd_completion filemapd"
    for words, at, expected in (
        ("filemapd re", 1, ["reload", "restart"]),
        ("filemapd status web", 2, ["web01.qcow2", "web02.qcow2"]),
    ):
        typed = f"COMP_WORDS=({words}); COMP_CWORD={at}; {script}; echo ${{COMPREPLY[@]}}"
        assert installed.run("bash", "-c", typed).split() == expected


def test_yields_to_lvm2(installed: Machine) -> None:
    """If another package ships dmfilemapd and its man page, both install, and the other one comes first in
    PATH."""
    ours = installed.run("sh", "-c", "command -v dmfilemapd").strip()
    assert "dmfilemapd <fd>" in installed.call(ours).stdout
    other = installed.root / "root/other"
    for path, text in {
        "DEBIAN/control": "Package: other\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n",
        "usr/sbin/dmfilemapd": "#!/bin/sh\n",
        "usr/share/man/man8/dmfilemapd.8.gz": "",
    }.items():
        (other / path).parent.mkdir(parents=True, exist_ok=True)
        (other / path).write_text(text)
        (other / path).chmod(0o755)
    installed.run("dpkg-deb", "--build", "/root/other", "/root/other.deb")
    installed.run("dpkg", "--install", "/root/other.deb")
    assert installed.run("sh", "-c", "command -v dmfilemapd").strip() == "/usr/sbin/dmfilemapd"
    installed.run("dpkg", "--purge", "other")
    assert installed.run("sh", "-c", "command -v dmfilemapd").strip() == ours


def test_systemd_accepts_the_unit(installed: Machine) -> None:
    """systemd accepts the unit without warnings. A reload of an invalid configuration fails with a reason."""
    assert installed.run("systemd-analyze", "verify", "--man=no", "filemapd.service") == ""
    config = installed.root / "etc/filemapd/filemaps.yaml"
    right = config.read_text()
    config.write_text(f"{right}defualts: {{}}\n")
    assert installed.call("systemctl", "reload", "filemapd").returncode == 1
    lines = ("journalctl", "--unit=filemapd", "--lines=20", "--no-pager")
    wait_for("the journal has it", lambda: "defualts: unknown key" in installed.run(*lines))
    assert installed.run("systemctl", "is-active", "filemapd").strip() == "active"
    config.write_text(right)


def test_what_the_unit_allows(installed: Machine, fs: Filesystem) -> None:
    """The unit allows little, by systemd's rating and in truth. It suffices to follow a file that appears and
    grows, whose worker is killed together with the fork server."""
    rating = installed.run("systemd-analyze", "security", "--offline=true", "--no-pager", "filemapd.service")
    assert float(re.findall(r"Overall exposure level for \S+: (\d+\.\d)", rating)[0]) < 4.0

    main = int(installed.run("systemctl", "show", "--value", "--property=MainPID", "filemapd"))
    children = wait_for("the files are followed", lambda: lasting_children(installed, main))
    for pid in (main, *children):
        held = installed.run("grep", "--extended-regexp", "^(NoNewPrivs|Seccomp):", f"/proc/{pid}/status")
        assert held.split() == ["NoNewPrivs:", "1", "Seccomp:", "2"]
    inside = ("nsenter", f"--target={main}", "--mount")
    for path in ("/etc", "/usr", "/sys/kernel", f"/{IMAGES}"):
        assert "Read-only file system" in installed.call(*inside, "touch", f"{path}/x").stdout

    file = fs.mountpoint / "grows.img"
    write(file, 1)
    worker = wait_for("it is taken in", lambda: filemap(installed, file.name).get("pid"))
    server = min(pid for pid, command in children.items() if "workers.fork_server" in command)
    installed.run("sh", "-c", f"kill -KILL {worker} {server}")
    write(file, 1, at=4)
    wait_for("another worker follows it", lambda: filemap(installed, file.name)["extents"] == 2)
    oracle.assert_exact_cover(file, fs.device.name)


def lasting_children(debian: Machine, main: int) -> dict[int, str]:
    """Return the commands of the supervisor's lasting children by pid, without short-lived ones such as
    searches for virtual machines."""
    found = {}
    for pid in debian.run("cat", f"/proc/{main}/task/{main}/children").split():
        command = debian.call("cat", f"/proc/{pid}/cmdline").stdout
        if "workers.fork_server" in command or "supervisor.web" in command:
            found[int(pid)] = command
    assert len(found) >= 4, "the fork server, two workers, the web process"
    return found


def test_life_of_a_package(installed: Machine, package: str, fs: Filesystem) -> None:
    """Installed it runs and counts. Upgraded it continues with the same group and totals. Removed it leaves
    groups and configuration, purged nothing."""
    file = fs.mountpoint / "db01.img"
    write(file, 4)
    assert installed.called("direct_url.json") == [], "it doesn't reveal where it was built"
    assert installed.run("systemctl", "is-enabled", "filemapd").strip() == "enabled"
    assert installed.run("systemctl", "is-active", "filemapd").strip() == "active"
    the_file(installed, 0)

    config = installed.root / "etc/filemapd/filemaps.yaml"
    config.write_text(f"{config.read_text()}defaults: {{sample: 1s}}\n")
    installed.run("systemctl", "reload", "filemapd")
    read_direct(file, 0, 100)
    counted, old = the_file(installed, 100), status(installed)
    installed.run("dpkg", "--install", repacked(installed, package, "9.9"))
    read_direct(file, 0, 50)
    now, new = the_file(installed, 150), status(installed)
    assert (now["group_id"], now["moves_total"]) == (counted["group_id"], 0)
    assert (old["version"], new["version"]) == (package.split("_")[1], "9.9")
    assert new["pid"] != old["pid"]
    assert "sample: 1s" in config.read_text(), "the administrator's changes stay"
    oracle.assert_exact_cover(file, fs.device.name)

    installed.run("dpkg", "--remove", "filemapd")
    assert installed.call("systemctl", "is-active", "filemapd").stdout.strip() == "inactive"
    assert now["group_id"] in oracle.groups(fs.device.name)
    assert config.exists()
    assert (installed.root / "var/lib/filemapd/ledger.sqlite3").exists()
    installed.run("dpkg", "--purge", "filemapd")
    assert installed.called("*filemap*") == []
