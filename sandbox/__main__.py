"""Runs a command in a guest with device-mapper, against this checkout and its virtual environment.

    python -m sandbox [--memory 2G] [--out DIR] [--timeout S] [--system-kernel] -- COMMAND...

Exits with the command's status. If the guest was lost, exits with 125 and prints the end of its console to stderr.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from sandbox.guest import Guest, GuestLost, SandboxError
from sandbox.host import memory_size

_LOST = 125


def main() -> int:
    options = _parse(sys.argv[1:])
    try:
        with Guest(
            options.command,
            memory=options.memory,
            out=options.out,
            system_kernel=options.system_kernel,
        ) as guest:
            _forward_signals(guest)
            return guest.wait(options.timeout)
    except GuestLost as lost:
        print(f"{lost.console_tail}\nsandbox: {lost.reason}; above is the console's end", file=sys.stderr)
    except (SandboxError, OSError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
    return _LOST


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="Run a command in a guest with device-mapper, against this checkout.",
        epilog="Exits with the command's status, or with 125 if the guest was lost.",
    )
    parser.add_argument("--memory", type=_memory, default="2G", help="the guest's memory (default: 2G)")
    parser.add_argument("--out", type=Path, help="a folder the guest can write to, $SANDBOX_OUT in it")
    parser.add_argument("--timeout", type=float, help="seconds after which the guest is killed")
    parser.add_argument(
        "--system-kernel", action="store_true", help="run the system's kernel, not that of sandbox/kernel.sh"
    )
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    return parser.parse_args(arguments)


def _memory(text: str) -> str:
    try:
        memory_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _forward_signals(guest: Guest) -> None:
    """Forward the first signal to the command. A second one kills the guest."""
    forwarded = False

    def forward(number: int, _frame: FrameType | None) -> None:
        nonlocal forwarded
        if forwarded:
            guest.kill()
        else:
            forwarded = True
            guest.send_signal(number)

    def resize(_number: int, _frame: FrameType | None) -> None:
        for fd in (1, 2):
            if os.isatty(fd):
                size = os.get_terminal_size(fd)
                guest.resize(size.lines, size.columns)
                return

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    signal.signal(signal.SIGWINCH, resize)


if __name__ == "__main__":
    sys.exit(main())
