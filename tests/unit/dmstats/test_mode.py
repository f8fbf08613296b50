"""The two modes of a filemap."""

from __future__ import annotations

import pytest

import dmstats
from dmstats.mode import FilemapdMode


def test_what_the_package_offers() -> None:
    """All that it names is to be had from it, and nothing else."""
    assert {getattr(dmstats, name).__name__ for name in dmstats.__all__} == set(dmstats.__all__)
    with pytest.raises(AttributeError, match="module 'dmstats' has no attribute 'Devices'"):
        dmstats.Devices  # noqa: B018 - it is asked for


def test_names() -> None:
    """The modes are named as dmfilemapd(8) names them."""
    assert FilemapdMode.from_string("inode") is FilemapdMode.INODE
    assert FilemapdMode.from_string("path") is FilemapdMode.PATH


@pytest.mark.parametrize("text", ["", "INODE", "path ", "file"])
def test_unknown(text: str) -> None:
    """What is no mode is refused with the two there are."""
    with pytest.raises(ValueError, match="it is 'inode' or 'path'") as refused:
        FilemapdMode.from_string(text)
    assert repr(text) in str(refused.value)
