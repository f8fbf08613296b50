"""A short run of tests/torture on each file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.run import Kind, torture


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_nothing_is_missed(kind: Kind, tmp_path: Path) -> None:
    """A stream of changes, kills and interference leaves nothing uncovered, orphaned, uncounted or
    restarted."""
    tally = torture(kind, seed=20, count=25, folder=tmp_path)
    assert tally.passed, tally.table()
    assert tally.done >= 25
