"""Runs the supervisor on a configuration: here, or without device-mapper as the demonstration in a guest.

python -m demo [--config FILE] [--duration SECONDS] [--have-device-mapper]
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
import time
from typing import Final, NoReturn

_CONTROL: Final = "/dev/mapper/control"
_LOGS: Final = "out/demo"
# Seconds besides the run itself: for the guest's start, the images and the end.
_MARGIN: Final = 150.0
_MEMORY: Final = "1G"


def main() -> NoReturn:
    """Run the command line. The exit status is 125 if the guest was lost."""
    options = _parse()
    if options.have_device_mapper:
        sys.exit(0 if have_device_mapper() else 1)
    command = _here(options.config) if have_device_mapper() else _in_guest(options.config, options.duration)
    sys.stdout.flush()
    os.execv(command[0], command)


def _here(config: str) -> list[str]:
    print("filemapd runs on this machine's device-mapper, until Ctrl-C")
    return [os.path.join(sys.prefix, "bin", "filemapd"), "run", "-c", config]


def _in_guest(config: str, duration: float) -> list[str]:
    print("No device-mapper here, or not root: starting a guest that has one")
    limit = ["--timeout", f"{duration + _MARGIN:g}"] if duration else []
    boot = ["-m", "sandbox", "--memory", _MEMORY, "--out", _LOGS, *limit, "--"]
    job = ["--config", os.path.abspath(config), "--duration", str(duration), "--since", str(time.time())]
    return [sys.executable, *boot, "python", "-m", "demo.guest", *job]


def have_device_mapper() -> bool:
    """Return whether this process may use device-mapper."""
    try:
        if os.geteuid() != 0 or not stat.S_ISCHR(os.stat(_CONTROL).st_mode):
            return False
        os.close(os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description="filemapd on three disk images.")
    parser.add_argument("--config", default="config/filemaps.yaml", help="the configuration of filemapd")
    parser.add_argument(
        "--duration", type=float, default=40, help="seconds; 0 for until Ctrl-C (default: 40)"
    )
    parser.add_argument(
        "--have-device-mapper",
        action="store_true",
        help="only check for device-mapper: exit status 0 if there is one",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
