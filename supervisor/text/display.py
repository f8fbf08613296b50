"""Formats paths for display. Guests and users choose file names, so these are untrusted."""

from __future__ import annotations


def display(path: str) -> str:
    """Return `path` as printable UTF-8 on one line. Different paths have different results."""
    if path.isprintable() and "\\" not in path:
        return path
    return "".join(c if c.isprintable() and c != "\\" else ascii(c)[1:-1] for c in path)
