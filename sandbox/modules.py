"""Kernel modules of the guest, loaded by path: the host's modprobe doesn't know them."""

import os
from pathlib import Path

from sandbox import syscalls

# The modules of the kernel of sandbox/kernel.sh, and of the system's package.
_ROOTS = (Path(__file__).resolve().parent.parent / "out/sandbox/modules", Path("/usr/lib/uml/modules"))


def load(name: str, parameters: str = "") -> None:
    """Load a module and its dependencies, such as load("dm-flakey"). A loaded module is skipped.

    Raises FileNotFoundError if the kernel has no such module, OSError if it can't be loaded.
    """
    release = os.uname().release
    folder = next((root / release for root in _ROOTS if (root / release).is_dir()), _ROOTS[-1] / release)
    table = _dependencies((folder / "modules.dep").read_text())
    wanted = name.replace("-", "_")
    try:
        path = next(path for path in table if Path(path).stem.replace("-", "_") == wanted)
    except StopIteration:
        raise FileNotFoundError(f"no kernel module {name} under {folder}") from None
    for needed in reversed(table[path]):
        _insert(folder / needed, "")
    _insert(folder / path, parameters)


def _dependencies(text: str) -> dict[str, list[str]]:
    """Parse modules.dep: each module's path and its dependencies, the ones to load first at the end."""
    return {
        path: needed.split()
        for path, separator, needed in (line.partition(":") for line in text.splitlines())
        if separator
    }


def _insert(path: Path, parameters: str) -> None:
    if Path("/sys/module", path.stem.replace("-", "_")).exists():
        return
    try:
        syscalls.insert_module(str(path), parameters)
    except FileExistsError:
        return
