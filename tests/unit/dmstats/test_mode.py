"""The two modes of a filemap."""

from __future__ import annotations

import pytest

import dmstats
from dmstats.mode import FilemapdMode


def test_public_names() -> None:
    """All its public names can be imported from it, and no others."""
    assert {getattr(dmstats, name).__name__ for name in dmstats.__all__} == set(dmstats.__all__)
    with pytest.raises(AttributeError, match="module 'dmstats' has no attribute 'Devices'"):
        dmstats.Devices  # noqa: B018 - the access is tested


def test_names() -> None:
    """The modes have the names in dmfilemapd(8)."""
    assert FilemapdMode.from_string("inode") is FilemapdMode.INODE
    assert FilemapdMode.from_string("path") is FilemapdMode.PATH


@pytest.mark.parametrize("text", ["", "INODE", "path ", "file"])
def test_unknown(text: str) -> None:
    """An unknown mode is refused with the two valid ones."""
    with pytest.raises(ValueError, match="it is 'inode' or 'path'") as refused:
        FilemapdMode.from_string(text)
    assert repr(text) in str(refused.value)
