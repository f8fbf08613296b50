"""The Debian package's completions, in the shells themselves."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from builders.deb import completion

_DEADLINE = 60.0


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which a shell finds filemapd, with `folder` as home."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", "TERM": "dumb", "PS1": "> "}


def test_fish(tmp_path: Path) -> None:
    """fish completes commands and options."""
    script = tmp_path / "filemapd.fish"
    script.write_text(completion("fish"))
    for typed, expected in (("filemapd re", ["reload", "restart"]), ("filemapd top --s", ["--sort"])):
        command = ["fish", "--no-config", "-c", f"source {script}; complete -C '{typed}'"]
        done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == expected


def test_zsh(tmp_path: Path) -> None:
    """zsh, on a terminal, finds filemapd's function by its first line, and completes commands."""
    (tmp_path / "_filemapd").write_text(completion("zsh"))
    ours, theirs = os.openpty()
    with subprocess.Popen(
        ["zsh", "-f", "-i"],
        env=environment(tmp_path),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as shell:
        os.close(theirs)
        os.write(ours, f"fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -u -D\n".encode())
        os.write(ours, b"filemapd re\t\t")
        shown = b""
        deadline = time.monotonic() + _DEADLINE
        while not {b"reload", b"restart"} <= set(shown.split()):
            ready, _, _ = select.select([ours], [], [], deadline - time.monotonic())
            assert ready, shown
            shown += os.read(ours, 4096)
        shell.kill()
    os.close(ours)
