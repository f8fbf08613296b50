"""The wheel: its content, and that it works once installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.serving import Serving, recorded_status, serving

ROOT = Path(__file__).parents[2]
# A folder in which Python finds only the installed copy of the packages.
ELSEWHERE = "/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new virtual environment with the wheel and the locked dependencies."""
    home = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", str(home))
    install = (sys.executable, "-m", "pip", "--python", str(home / "bin/python"), "install", "--no-deps")
    run(*install, "--require-hashes", "-r", str(ROOT / "requirements.lock"))
    run(*install, str(wheel))
    return home / "bin"


@pytest.fixture(scope="module")
def web(programs: Path) -> Iterator[Serving]:
    """The installed web process, with a recorded fleet."""
    with serving(str(programs / "python")) as one:
        one.send_all(recorded_status())
        yield one


def run(*command: str | Path) -> str:
    """Run a command that must succeed, in another folder, and return its stdout and stderr."""
    done = subprocess.run(
        command, cwd=ELSEWHERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_contents(wheel: Path) -> None:
    """It has all files of the three packages, unchanged, and no others."""
    tracked = run("git", "-C", ROOT, "ls-files", "--", "dmstats", "workers", "supervisor").splitlines()
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert found == set(tracked)
        assert all(archive.read(name) == (ROOT / name).read_bytes() for name in tracked)
        about = {name.partition("/")[2] for name in archive.namelist()} - {
            name.partition("/")[2] for name in found
        }
    assert about == {"METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE", "RECORD"}


def test_requirements(programs: Path) -> None:
    """The lock has all the wheel's requirements, recursively."""
    checked = run(sys.executable, "-m", "pip", "--python", str(programs / "python"), "check")
    assert "No broken requirements found" in checked


def test_commands(programs: Path, tmp_path: Path) -> None:
    """filemapd prints its version and checks a configuration; dmfilemapd prints its usage."""
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert run(programs / "filemapd", "--version") == f"filemapd, version {version[1]}\n"
    (tmp_path / "db01.img").touch()
    config = tmp_path / "filemaps.yaml"
    config.write_text(f"{{version: 1, directories: [{{path: {tmp_path}, include: ['*.img']}}]}}")
    assert "db01.img  inode  (directories[0])\n" in run(programs / "filemapd", "check", "-c", config)
    commands = re.findall(r"^  ([a-z]+)  ", run(programs / "filemapd", "--help"), re.MULTILINE)
    for command in commands:
        assert "Usage: filemapd" in run(programs / "filemapd", command, "--help")
    asked = subprocess.run([programs / "dmfilemapd"], capture_output=True, text=True, check=False)
    assert (asked.returncode, "usage: dmfilemapd" in asked.stderr) == (1, True)


def test_what_is_served(web: Serving) -> None:
    """The pages, all their assets, and the metrics."""
    name = recorded_status()["filemaps"][0]["name"]
    device = recorded_status()["devices"][0]["device"]
    for path in ("/", f"/image?name={name}", f"/device?name={device}"):
        response = web.get(path)
        assert response.status == 200, path
        loaded = re.findall(r'(?:href|src)="(/static/[^"]+)"', response.body.decode())
        assert {os.path.splitext(one)[1] for one in loaded} == {".css", ".js", ".svg"}
        assert all(web.get(one).status == 200 for one in loaded)
    assert b"filemapd_build_info" in web.get("/metrics").body
    assert web.records() == []
