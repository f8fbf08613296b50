"""The demonstration, in a guest that has device-mapper.

python -m demo.guest --config FILE --duration SECONDS --since EPOCH
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Final

from demo.filemapd import Filemapd, FilemapdError
from demo.images import IMAGES, make_fragmented, make_growing, make_steady
from demo.load import Load
from demo.oracle import OracleError
from demo.run import Run
from demo.show import Show
from demo.summary import print_summary
from sandbox.devices import DeviceError, filesystem

_SIZE_MB: Final = 512


def main() -> int:
    """Run the demonstration. Return 0 if everything agreed."""
    options = _parse()
    ended = threading.Event()
    _on_interrupt(ended)
    show = Show(options.since)
    show.say("a guest with device-mapper has started")
    try:
        return 0 if _demonstrate(options, show, ended) else 1
    except (DeviceError, FilemapdError, OracleError, OSError, subprocess.SubprocessError) as error:
        show.say(f"the demonstration failed: {error}", "bold red")
        return 1


def _demonstrate(options: argparse.Namespace, show: Show, ended: threading.Event) -> bool:
    with contextlib.ExitStack() as undo:
        with show.step(f"ext4 on a device of its own at {IMAGES}"):
            made = undo.enter_context(filesystem("ext4", _SIZE_MB, IMAGES))
        with show.step("three images: steady, fragmented and growing"):
            images = [undo.enter_context(make()) for make in (make_steady, make_fragmented, make_growing)]
        filemapd = Filemapd(options.config, _log())
        undo.callback(filemapd.kill)
        run = Run(show, filemapd, images, made.device.name, ended)
        with show.step(f"filemapd runs on {options.config.name} and follows all three"):
            run.wait_until_followed()
        with Load(*images) as load, show.live():
            run.watch(load, options.duration)
        findings, checks = run.come_to_rest()
        checks.append(run.stop())
        return print_summary(show.console, findings, run.timing, checks)


def _log() -> Path:
    """Where filemapd's log goes: to the host, if it has a folder for it."""
    return Path(os.environ.get("SANDBOX_OUT", "/run"), "filemapd.log")


def _on_interrupt(ended: threading.Event) -> None:
    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.guest")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--duration", type=float, required=True, help="seconds; 0 for until Ctrl-C")
    parser.add_argument(
        "--since", type=float, default=time.time(), help="start of the run, in seconds since the epoch"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
