"""The configuration as frozen models, and the options of one file that follow from it.

Each error says what would be right; load.py adds its place in the file.
"""

from __future__ import annotations

import grp
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict

from dmstats.bounds import parse_bounds
from dmstats.mode import FilemapdMode
from supervisor.config.base import Model, absolute
from supervisor.config.restart_policy import RestartPolicy
from supervisor.config.units import parse_duration, parse_percent, parse_size
from supervisor.config.web import Web

_MAX_REGION_ID = 2**31 - 1
# A packet of a worker has room for the counters of a region with some times as many.
_MAX_BOUNDS = 1000
_MAX_GID = 2**32 - 2
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


def _file(path: str) -> str:
    if path == "/":
        raise ValueError("'/' is a directory: name a file, or list it under directories")
    return path


def _one_line(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError(f"{text!r} must not be empty nor hold control characters")
    return text


def _name(text: str) -> str:
    if text.startswith(("/", "-")):
        raise ValueError(f"{text!r} must not begin with '/' or '-': it is what `filemapd restart NAME` takes")
    return _one_line(text)


def _alias(text: str) -> str:
    if any(character in text for character in ':#"\\'):
        raise ValueError(
            f"{text!r} must not hold a colon, #, double quote or backslash: libdm would misread the group"
        )
    return _one_line(text)


def _program_id(text: str) -> str:
    """Check that the kernel and libdm can read a program_id."""
    if not text:
        raise ValueError("must not be empty: an empty program_id stands for all programs in dmstats")
    if re.fullmatch(r"[!-~]+", text) is None or "\\" in text:
        raise ValueError(
            f"{text!r} must be plain ASCII without spaces, control characters and backslashes: "
            "the kernel splits its arguments at them"
        )
    if text.startswith("-"):
        raise ValueError(f"{text!r} must not begin with '-': it breaks libdm's reader, and dmstats with it")
    if text.isdecimal():
        raise ValueError(f"{text!r} must not be a number: the kernel would read it as a count of arguments")
    return text


def _mode(value: object) -> FilemapdMode:
    return FilemapdMode.from_string(value if isinstance(value, str) else str(value))


def _histogram(value: object) -> tuple[int, ...]:
    """Return a list of bounds such as 100us in nanoseconds, or raise ValueError."""
    if not isinstance(value, list):
        raise ValueError("must be a list, as in [100us, 1ms, 10ms]; [] is none")  # noqa: TRY004 -- pydantic's own
    for bound in value:
        if not isinstance(bound, str) or bound.strip().isdecimal():
            raise ValueError(f"{bound!r} has no unit: write it with one, as in 100us or 10ms")
    if len(value) > _MAX_BOUNDS:
        raise ValueError(
            f"at most {_MAX_BOUNDS} bounds, not {len(value)}: each region has a counter for each"
        )
    return parse_bounds(value)


def _pattern(text: str) -> str:
    if not text or text.startswith("/"):
        raise ValueError(f"{text!r} matches nothing: a pattern is relative to the directory, as in *.img")
    return text


def _some(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not patterns:
        raise ValueError("an empty list selects no file: name a pattern, or leave the key out for all files")
    return patterns


def _labels(labels: dict[str, str]) -> dict[str, str]:
    for label in labels:
        if _LABEL.fullmatch(label) is None:
            raise ValueError(
                f"{label!r} can't be a label: letters, digits and _, not a digit first and not __ (Prometheus's rule)"
            )
    return labels


def _group(value: object) -> int | None:
    """Return the id of a group, given by name or id."""
    if value is None or (type(value) is int and 0 <= value <= _MAX_GID):
        return value
    if not isinstance(value, str):
        raise ValueError(f"must be a group's name or id, not {value!r}")  # noqa: TRY004 -- pydantic's own
    try:
        return grp.getgrnam(value).gr_gid
    except (KeyError, ValueError):
        raise ValueError(f"there is no group {value!r} on this host: make it, or name another") from None


def _command(words: tuple[str, ...]) -> tuple[str, ...]:
    if any("\0" in word for word in words):
        raise ValueError("a command can't hold a NUL character")
    if words and not words[0].startswith("/"):
        raise ValueError(f"{words[0]!r} is not absolute: the program is not looked for, and no shell runs it")
    return words


def _version(value: object) -> object:
    if value is True or value != 1:
        raise ValueError(f"this filemapd reads version 1, not {value!r}")
    return value


Group = Annotated[int | None, BeforeValidator(_group)]
Command = Annotated[tuple[str, ...], Strict(strict=False), AfterValidator(_command)]
Path = Annotated[str, AfterValidator(absolute)]
Histogram = Annotated[tuple[int, ...], BeforeValidator(_histogram)]
Mode = Annotated[FilemapdMode, BeforeValidator(_mode)]
ProgramId = Annotated[str, AfterValidator(_program_id)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]
Patterns = Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], Strict(strict=False)]
Seconds = Annotated[float, BeforeValidator(parse_duration)]
Bytes = Annotated[int, BeforeValidator(parse_size)]
Percent = Annotated[float, BeforeValidator(parse_percent)]
Count = Annotated[int, Field(ge=1, le=_MAX_REGION_ID)]
Keep = Literal["keep", "delete"]


class Defaults(Model):
    """The options of files whose entries don't set others."""

    mode: Mode = FilemapdMode.INODE
    precise: bool = True
    histogram: Histogram = parse_bounds(("100us", "1ms", "10ms", "100ms", "1s"))
    """Nanoseconds."""
    max_regions: Count | None = None
    """None for no limit but the device's budget."""
    sample: Seconds = 10.0
    program_id: ProgramId = "dmstats"
    on_unlink: Keep = "delete"
    """What happens to the group when the file is unlinked and no process has it open."""


class Overrides(Model):
    """Options that an entry may set; None for the default."""

    mode: Mode | None = None
    precise: bool | None = None
    histogram: Histogram | None = None
    max_regions: Count | None = None
    sample: Seconds | None = None
    program_id: ProgramId | None = None
    on_unlink: Keep | None = None
    labels: Labels = Field(default_factory=dict)


class Filemap(Overrides):
    """One file."""

    path: Annotated[Path, AfterValidator(_file)]
    group_id: Annotated[int, Field(ge=0, le=_MAX_REGION_ID)] | None = None
    """The group to adopt; None makes one."""
    name: Annotated[str, AfterValidator(_name)] | None = None
    """None derives it from the path (selection.select_files)."""
    alias: Annotated[str, AfterValidator(_alias)] | None = None


class Directory(Overrides):
    """A directory whose files are selected by pattern (selection.selects)."""

    path: Path
    include: Annotated[Patterns, AfterValidator(_some)] = ("*",)
    exclude: Patterns = ()
    recursive: bool = False
    max_files: Count = 1000


class Restart(Model):
    """How a crashed worker is restarted; seconds."""

    initial: Seconds = 0.1
    max: Seconds = 60.0
    give_up: Count = 12
    within: Seconds = 600.0

    def policy(self) -> RestartPolicy:
        """Return the same for the state machine."""
        return RestartPolicy(initial=self.initial, max=self.max, give_up=self.give_up, within=self.within)


class Health(Model):
    """When a worker is not well: stuck, spinning, or too large."""

    interval: Seconds = 10.0
    heartbeat: Seconds = 30.0
    max_rss: Bytes = 128 * 2**20
    max_cpu: Percent = 90.0
    max_cpu_for: Seconds = 60.0
    max_open_files: Count = 64


class Log(Model):
    """The level and format of the log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Supervisor(Model):
    """The parent process."""

    restart: Restart = Restart()
    health: Health = Health()
    on_stop: Keep = "keep"
    on_move: Command = ()
    """The program, and its arguments, to be run for each move of a group; empty for none."""
    control_group: Group = None
    """The id of the group that may use the control socket beside the owner; None for the process's own."""
    log: Log = Log()


class Devices(Model):
    """The budget of regions of each block device: from `max_slowdown` (percent), unless `max_regions` sets it."""

    max_slowdown: Percent = 5.0
    max_regions: Count | None = None


class Vms(Model):
    """Where the virtual machines that files belong to are looked for."""

    folders: Annotated[tuple[Path, ...], Strict(strict=False)] = ("/run/libvirt/qemu", "/etc/libvirt/qemu")
    """Libvirt's: of machines that run, and of those that are defined."""
    processes: bool = True


class Config(Model):
    """The whole file."""

    version: Annotated[int, BeforeValidator(_version)]
    defaults: Defaults = Defaults()
    filemaps: Annotated[tuple[Filemap, ...], Strict(strict=False)] = ()
    directories: Annotated[tuple[Directory, ...], Strict(strict=False)] = ()
    supervisor: Supervisor = Supervisor()
    devices: Devices = Devices()
    web: Web = Web()
    vms: Vms = Vms()
    state_dir: Path = "/var/lib/filemapd"
    runtime_dir: Path = "/run/filemapd"


@dataclass(frozen=True, slots=True)
class FileOptions:
    """The resolved options of one file."""

    mode: FilemapdMode
    precise: bool
    histogram_ns: tuple[int, ...]
    max_regions: int | None
    sample_seconds: float
    program_id: str
    on_unlink: Keep
    labels: Mapping[str, str]


def resolve(defaults: Defaults, entry: Overrides) -> FileOptions:
    """Return the options of `entry`: its own, else the defaults."""

    def pick(key: str) -> Any:
        own = getattr(entry, key)
        return getattr(defaults, key) if own is None else own

    return FileOptions(
        mode=pick("mode"),
        precise=pick("precise"),
        histogram_ns=pick("histogram"),
        max_regions=pick("max_regions"),
        sample_seconds=pick("sample"),
        program_id=pick("program_id"),
        on_unlink=pick("on_unlink"),
        labels=entry.labels,
    )
