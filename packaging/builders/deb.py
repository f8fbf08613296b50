"""Makes the Debian package: filemapd in an environment of its own, for the python3 of the system it is made on.

    python -m builders.deb DIR

leaves filemapd_VERSION_ARCHITECTURE.deb in DIR and prints its path.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

from click.shell_completion import get_completion_class

from builders import man
from supervisor.cli.main import main as filemapd

_TREE: Final = Path(__file__).parents[2]
_FOLDER: Final = Path(__file__).parents[1] / "debian"
_PYTHON: Final = "/usr/bin/python3"
_HOME: Final = "usr/lib/filemapd"
_SCRIPTS: Final = ("postinst", "prerm", "postrm")
_COMPLETIONS: Final = {
    "bash": "usr/share/bash-completion/completions/filemapd",
    "zsh": "usr/share/zsh/vendor-completions/_filemapd",
    "fish": "usr/share/fish/vendor_completions.d/filemapd.fish",
}
# Where each file of the tree goes.
_FILES: Final = {
    "deploy/filemapd.service": "usr/lib/systemd/system/filemapd.service",
    "packaging/debian/sysusers.conf": "usr/lib/sysusers.d/filemapd.conf",
    "packaging/debian/tmpfiles.conf": "usr/lib/tmpfiles.d/filemapd.conf",
    "packaging/debian/filemaps.yaml": "etc/filemapd/filemaps.yaml",
    "README.md": "usr/share/doc/filemapd/README.md",
    "docs/OPERATION.md": "usr/share/doc/filemapd/docs/OPERATION.md",
    "docs/PERFORMANCE.md": "usr/share/doc/filemapd/docs/PERFORMANCE.md",
    "docs/openapi.json": "usr/share/doc/filemapd/docs/openapi.json",
    "docs/decisions": "usr/share/doc/filemapd/docs/decisions",
    "ARCHITECTURE.md": "usr/share/doc/filemapd/ARCHITECTURE.md",
    "SECURITY.md": "usr/share/doc/filemapd/SECURITY.md",
    "CHANGELOG.md": "usr/share/doc/filemapd/CHANGELOG.md",
    "LICENSE": "usr/share/doc/filemapd/copyright",
    "deploy/prometheus": "usr/share/doc/filemapd/examples/prometheus",
    "deploy/grafana": "usr/share/doc/filemapd/examples/grafana",
}
# Another program's page of the same name, in section 8 itself, is preferred by man.
_PAGES: Final = {
    "filemapd.8": "man8/filemapd.8",
    "filemaps.yaml.5": "man5/filemaps.yaml.5",
    "dmfilemapd.8": "man8/dmfilemapd.8filemapd",
}


def build(folder: Path) -> Path:
    """Make the package in `folder` and return its path. Raises CalledProcessError where a tool fails."""
    project = tomllib.loads((_TREE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = project["version"]
    with tempfile.TemporaryDirectory() as made:
        root = Path(made, "root")
        root.mkdir(mode=0o755)
        _environment(root, project["scripts"])
        for source, target in _FILES.items():
            _copy(_TREE / source, root / target)
        _pages(root / "usr/share/man")
        for shell, target in _COMPLETIONS.items():
            _write(root / target, completion(shell))
        architecture = _output("dpkg", "--print-architecture")
        _control(root, version, architecture)
        folder.mkdir(parents=True, exist_ok=True)
        package = folder / f"filemapd_{version}_{architecture}.deb"
        _run("dpkg-deb", "--root-owner-group", "-Zzstd", "--build", str(root), str(package))
    return package


def _environment(root: Path, scripts: dict[str, str]) -> None:
    """Make the virtual environment, with the versions that were tested, and the commands."""
    home = root / _HOME
    _run(_PYTHON, "-m", "venv", "--without-pip", str(home))
    shutil.rmtree(home / "include")
    for file in (home / "bin").iterdir():
        if not file.is_symlink():
            file.unlink()
    (home / "pyvenv.cfg").write_text(
        "home = /usr/bin\ninclude-system-site-packages = false\n", encoding="utf-8"
    )
    with tempfile.TemporaryDirectory() as wheels:
        _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", wheels, str(_TREE))
        install = [sys.executable, "-m", "pip", "--python", str(home / "bin/python3"), "install", "--quiet"]
        install += ["--no-compile", "--no-deps"]
        _run(*install, "--require-hashes", "-r", str(_TREE / "requirements.lock"))
        # By its name: of a file given by its path, pip would write down where on this machine it lay.
        _run(*install, "--no-index", "--find-links", wheels, "filemapd")
    for file in (home / "bin").iterdir():
        if not file.is_symlink():
            file.unlink()
    _run(_PYTHON, "-m", "compileall", "-q", "-s", str(root), "-p", "/", str(home / "lib"))
    (root / "usr/bin").mkdir()
    for name, target in scripts.items():
        module, _, function = target.partition(":")
        script = home / "bin" / name
        # -I: nothing of root's own environment is loaded.
        _write(
            script,
            f"#!/{_HOME}/bin/python3 -I\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n",
        )
        script.chmod(0o755)
        (root / "usr/bin" / name).symlink_to(f"../lib/filemapd/bin/{name}")


def _pages(folder: Path) -> None:
    readme = (_TREE / "README.md").read_text(encoding="utf-8")
    for frame in man.FRAMES:
        page = man.page(frame, readme, man.date())
        target = folder / f"{_PAGES[frame.name]}.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.compress(page.encode(), mtime=0))


def completion(shell: str) -> str:
    """Return the script that completes filemapd in a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise LookupError(shell)
    return kind(filemapd, {}, "filemapd", "_FILEMAPD_COMPLETE").source()


def _control(root: Path, version: str, architecture: str) -> None:
    """Write what dpkg reads."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    major, minor = map(int, _output(_PYTHON, "-c", "import sys; print(*sys.version_info[:2])").split())
    words = {
        "VERSION": version,
        "ARCHITECTURE": architecture,
        "SIZE": str(sum(path.stat().st_size for path in files) // 1024),
        "PYTHON": f"{major}.{minor}",
        "NEXT_PYTHON": f"{major}.{minor + 1}",
    }
    control = (_FOLDER / "control").read_text(encoding="utf-8")
    folder = root / "DEBIAN"
    _write(folder / "control", re.sub(r"@(\w+)@", lambda found: words[found[1]], control))
    _write(folder / "conffiles", "/etc/filemapd/filemaps.yaml\n")
    for name in _SCRIPTS:
        _copy(_FOLDER / name, folder / name)
        (folder / name).chmod(0o755)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def _write(target: Path, text: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def main() -> None:
    os.umask(0o022)
    print(build(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
