"""Names for display: whoever creates files chooses them."""

from __future__ import annotations


def display(path: str) -> str:
    """Return `path` printable on one line and in UTF-8, such that no two paths are shown alike."""
    if path.isprintable() and "\\" not in path:
        return path
    return "".join(c if c.isprintable() and c != "\\" else ascii(c)[1:-1] for c in path)
