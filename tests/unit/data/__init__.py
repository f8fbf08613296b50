"""Replies of a real kernel (recorded by record.py), and values of its headers (sizes.c)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
_HEADER = Path("/usr/include/linux/dm-ioctl.h")


def recorded(name: str) -> bytes:
    """Return the bytes of a recording."""
    return (HERE / name).read_bytes()


def recorded_text(name: str) -> str:
    """Return a message's reply as dmstats decodes it."""
    return recorded(name).decode("utf-8", "surrogateescape")


def sizes(folder: Path) -> dict[str, int]:
    """Return the sizes, offsets and numbers that sizes.c prints.

    They are those of the installed headers, or, without a compiler or headers, those of linux-libc-dev 6.1 on
    x86_64.
    """
    text = recorded_text("sizes.txt")
    compiler = shutil.which("cc")
    if compiler is not None and _HEADER.exists():
        program = folder / "sizes"
        subprocess.run([compiler, "-Wall", "-Werror", "-o", program, HERE / "sizes.c"], check=True)
        text = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in map(str.split, text.splitlines())}
