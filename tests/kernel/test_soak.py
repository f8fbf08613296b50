"""A short run of tests/soak."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.run import soak


@pytest.mark.timeout(900)
def test_nothing_is_lost(tmp_path: Path) -> None:
    """Faults in a fleet with I/O lose no group, no counter and no other file's service."""
    tally = soak(75, seed=1, folder=tmp_path)
    assert tally.passed, tally.table()
    assert len(tally.faults) > 2
