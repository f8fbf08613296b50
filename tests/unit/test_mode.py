"""The two modes of a filemap."""

from __future__ import annotations

import pytest

from dmstats.mode import FilemapdMode


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
