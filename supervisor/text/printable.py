"""Makes untrusted text, such as an image's name, safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return `text` with line ends and terminal control characters escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
