"""The dmfilemapd command, in place of lvm2's (dmfilemapd(8)): the same arguments, checks and exit statuses."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from typing import Final

from dmstats.errors import DmStatsError
from dmstats.mode import FilemapdMode
from workers.standalone import StandaloneWorker

_USAGE: Final = "usage: dmfilemapd <fd> <group_id> <abs_path> <mode> [<foreground>[<log_level>]]"
_LEVELS: Final = (logging.WARNING, logging.WARNING, logging.INFO, logging.DEBUG)
_log = logging.getLogger("filemapd.worker")


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command's arguments. `log_level` is 0 to 3."""

    fd: int
    group_id: int
    path: str
    mode: FilemapdMode
    foreground: bool = False
    log_level: int = 0


def parse_arguments(words: list[str]) -> Arguments:
    """Return the arguments, or raise ValueError that names the wrong one."""
    if not 4 <= len(words) <= 6:  # noqa: PLR2004 - as in the usage
        raise ValueError(f"Wrong number of arguments.\n{_USAGE}")
    fd = _number(words[0], "file descriptor")
    group_id = _number(words[1], "group identifier")
    if not words[2]:
        raise ValueError("Path argument is required.")
    if not words[2].startswith("/"):
        raise ValueError("Path argument must specify an absolute path.")
    if not words[3]:
        raise ValueError("Mode argument is required.")
    try:
        mode = FilemapdMode.from_string(words[3])
    except ValueError as error:
        raise ValueError(f"Could not parse dmfilemapd mode: {error}") from None
    foreground = _number(words[4], "foreground argument") if len(words) > 4 else 0  # noqa: PLR2004
    log_level = _number(words[5], "verbose argument") if len(words) > 5 else 0  # noqa: PLR2004
    if log_level >= len(_LEVELS):
        raise ValueError(f"Verbose argument out of range: {log_level}.")
    return Arguments(fd, group_id, words[2], mode, bool(foreground), log_level)


def _number(word: str, name: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise ValueError(f"Could not parse {name}: {word}")
    return int(word)


def main() -> int:
    """Run the command and return its exit status."""
    try:
        arguments = parse_arguments(sys.argv[1:])
        os.fstat(arguments.fd)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Could not use file descriptor {arguments.fd}: {error.strerror}", file=sys.stderr)
        return 1
    logging.basicConfig(
        stream=sys.stderr, level=_LEVELS[arguments.log_level], format="dmfilemapd: %(message)s"
    )
    if not arguments.foreground:
        _detach(arguments)
    return _follow(arguments)


def _follow(arguments: Arguments) -> int:
    try:
        StandaloneWorker(arguments.fd, arguments.group_id, arguments.path, arguments.mode).run()
    except (DmStatsError, OSError) as error:
        _log.error("%s", error)
        return 1
    return 0


def _detach(arguments: Arguments) -> None:
    """Continue in a child with its own session; the parent exits with 0. Without a log level the child writes
    nothing. Only the file's descriptor and the standard ones stay open."""
    child = os.fork()
    if child:
        if arguments.log_level:
            print(f"Started dmfilemapd with pid={child}", file=sys.stderr)
            sys.stderr.flush()
        os._exit(0)
    os.setsid()
    os.chdir("/")
    if not arguments.log_level:
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null, standard)
        os.close(null)
    os.closerange(3, arguments.fd)
    os.closerange(max(arguments.fd + 1, 3), os.sysconf("SC_OPEN_MAX"))


if __name__ == "__main__":
    sys.exit(main())
