"""What the commands say where there is nothing to be done: in this process, without a supervisor."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from supervisor.cli.main import main


def test_check_tells_what_is_left_out(tmp_path: Path) -> None:
    """A directory that is not there, and what is beyond a limit, are no mistakes, but told."""
    (tmp_path / "full").mkdir()
    for name in ("a.img", "b.img", "c.img"):
        (tmp_path / "full" / name).touch()
    config = tmp_path / "filemaps.yaml"
    directories = [{"path": f"{tmp_path}/full", "max_files": 1}, {"path": f"{tmp_path}/gone"}]
    config.write_text(json.dumps({"version": 1, "directories": directories}))
    done = CliRunner().invoke(main, ["check", "-c", str(config)])
    assert done.exit_code == 0
    assert f"directory {tmp_path}/full: left out: 2 more, as max_files is 1\n" in done.output
    assert (
        f"directory {tmp_path}/gone: No such file or directory (filemapd would wait for it)\n" in done.output
    )
    assert done.output.endswith("OK, 1 file selected\n")


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("events", "--since", "1", "-n", "1"), 2, "--since and --lines can't be given together"),
        (("map", "/nowhere/disk.img"), 1, "filemapd: /nowhere/disk.img: No such file or directory"),
        (("map", os.devnull), 1, f"filemapd: {os.devnull}: "),
        (("nonsense",), 2, "No such command 'nonsense'"),
    ],
)
def test_what_can_not_be_done(words: tuple[str, ...], status: int, told: str) -> None:
    """It is said in a line, with the status that the README names."""
    done = CliRunner().invoke(main, words)
    assert done.exit_code == status
    assert told in done.output
