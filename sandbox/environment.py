"""The environment of a guest's command: the host's, without what belongs to the host's session."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_JUNK = frozenset(
    {
        "DISPLAY",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "MAINPID",
        "MAKEFLAGS",
        "MAKELEVEL",
        "MFLAGS",
        "NOTIFY_SOCKET",
        "OLDPWD",
        "PYTEST_CURRENT_TEST",
        "SHLVL",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "WAYLAND_DISPLAY",
        "XDG_RUNTIME_DIR",
        "_",
    }
)
_JUNK_PREFIXES = ("DBUS_", "SSH_", "XDG_SESSION_", "SYSTEMD_")
# dmsetup and mkfs live here, and a plain user's PATH often lacks them.
_SYSTEM = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def inside() -> bool:
    """Return whether this process runs in a guest."""
    return os.environ.get("SANDBOX_GUEST") == "1"


def guest_environment(host: Mapping[str, str], out: Path | None) -> dict[str, str]:
    """Return the variables for the command. PATH starts with this interpreter's virtual environment."""
    guest_variables = {name: value for name, value in host.items() if not _is_junk(name)}
    path = [entry for entry in guest_variables.get("PATH", "").split(os.pathsep) if entry]
    own = []
    if sys.prefix != sys.base_prefix:
        own = [str(Path(sys.prefix, "bin"))]
        guest_variables["VIRTUAL_ENV"] = sys.prefix
    guest_variables["PATH"] = os.pathsep.join(dict.fromkeys([*own, *path, *_SYSTEM]))
    guest_variables["SANDBOX_GUEST"] = "1"
    guest_variables["DM_DISABLE_UDEV"] = "1"  # there is no udev: dmsetup creates the nodes
    guest_variables.pop("SANDBOX_OUT", None)
    if out is not None:
        guest_variables["SANDBOX_OUT"] = str(out)
    return guest_variables


def _is_junk(name: str) -> bool:
    return name in _JUNK or name.startswith(_JUNK_PREFIXES)
