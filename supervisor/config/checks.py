"""Checks across keys: entries that contradict each other. Reads files only through `device`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dmstats.bounds import to_kernel
from supervisor.config.models import Defaults, Directory, Filemap, Overrides, Restart, resolve
from supervisor.config.units import format_duration
from supervisor.config.yaml_positions import Location

Flaw = tuple[Location, str]
LineOf = Callable[[Location], int]
_PAIR = {"histogram", "precise"}
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a configuration that are valid in themselves, with their positions in the file."""

    defaults: Defaults | None
    filemaps: Sequence[tuple[int, Filemap]]
    directories: Sequence[tuple[int, Directory]]
    restart: Restart | None


def valid_parts(data: dict[str, Any]) -> Parts:
    """Return the valid parts of `data`, so that they are checked even if another key is wrong."""
    supervisor = data.get("supervisor", {})
    return Parts(
        _valid(Defaults, data.get("defaults", {})),
        _valid_items(Filemap, data.get("filemaps")),
        _valid_items(Directory, data.get("directories")),
        _valid(Restart, supervisor.get("restart", {})) if isinstance(supervisor, dict) else None,
    )


def _valid(model: type[Model], data: object) -> Model | None:
    try:
        return model.model_validate(data)
    except ValidationError:
        return None


def _valid_keys(model: type[Model], data: object) -> Model | None:
    """Return `data` without the keys that are wrong; None where it is nothing without them."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        wrong = {details["loc"][0] for details in error.errors() if details["loc"]}
    # The two are validated together: if one is wrong, the other is unknown.
    if wrong & _PAIR:
        wrong |= _PAIR
    good = {key: value for key, value in data.items() if key not in wrong} if isinstance(data, dict) else data
    return _valid(model, good)


def _valid_items(model: type[Model], items: object) -> list[tuple[int, Model]]:
    found = [
        (index, _valid_keys(model, item))
        for index, item in enumerate(items if isinstance(items, list) else [])
    ]
    return [(index, item) for index, item in found if item is not None]


def all_checks(given: Parts, line_of: LineOf, device: Callable[[str], int | None]) -> list[Flaw]:
    """Return the contradictions between the parts. `device` returns a file's device number, or None."""
    adopted: list[tuple[Location, int, int | None]] = [
        (("filemaps", index, "group_id"), entry.group_id, device(entry.path))
        for index, entry in given.filemaps
        if entry.group_id is not None
    ]
    paths = [(("filemaps", index, "path"), entry.path) for index, entry in given.filemaps]
    directories = [(("directories", index, "path"), entry.path) for index, entry in given.directories]
    names = [(("filemaps", index, "name"), entry.name) for index, entry in given.filemaps if entry.name]
    return [
        *_twice(paths, line_of, "a file is listed once"),
        *_twice(directories, line_of, "a directory is listed once, with all its patterns"),
        *_twice(names, line_of, "a name is given once"),
        *_group_ids(adopted, line_of),
        *_histograms(given),
        *_backoff(given.restart),
    ]


def duplicate_group_ids(
    entries: Iterable[tuple[Location, int, int | None]],
) -> list[tuple[Location, Location]]:
    """Return (later, first) for each entry whose group_id another on its device has already.

    An entry is its location, its group_id and its device number. One whose device is not known (None) is
    skipped: region ids count from 0 on each device.
    """
    first: dict[tuple[int, int], Location] = {}
    found = []
    for location, group_id, device in entries:
        if device is None:
            continue
        earlier = first.setdefault((device, group_id), location)
        if earlier != location:
            found.append((location, earlier))
    return found


def _group_ids(entries: list[tuple[Location, int, int | None]], line_of: LineOf) -> list[Flaw]:
    ids = {location: group_id for location, group_id, _ in entries}
    return [
        (
            later,
            f"the group {ids[later]} is that of line {line_of(earlier)} already, on the same device; "
            "a group is one file's: give another id, or leave it out to have a group made",
        )
        for later, earlier in duplicate_group_ids(entries)
    ]


def _twice(entries: Iterable[tuple[Location, str]], line_of: LineOf, rule: str) -> list[Flaw]:
    first: dict[str, Location] = {}
    flaws = []
    for location, value in entries:
        earlier = first.setdefault(value, location)
        if earlier != location:
            flaws.append((location, f"{value!r} is named in line {line_of(earlier)} already: {rule}"))
    return flaws


def _histograms(given: Parts) -> list[Flaw]:
    """Return where bounds finer than a millisecond meet `precise: false`."""
    if given.defaults is None:
        return []
    entries: list[tuple[Location, Overrides | Defaults]] = [(("defaults",), given.defaults)]
    entries += [(("filemaps", index), entry) for index, entry in given.filemaps]
    entries += [(("directories", index), entry) for index, entry in given.directories]
    return [flaw for location, entry in entries for flaw in _histogram(given.defaults, location, entry)]


def _histogram(defaults: Defaults, location: Location, entry: Overrides | Defaults) -> list[Flaw]:
    own = [key for key in ("histogram", "precise") if key in entry.model_fields_set]
    if not own:
        return []
    if isinstance(entry, Defaults):
        bounds, precise = entry.histogram, entry.precise
    else:
        options = resolve(defaults, entry)
        bounds, precise = options.histogram_ns, options.precise
    try:
        to_kernel(bounds, precise=precise)
    except ValueError as error:
        return [
            ((*location, own[0]), f"{error}; set precise: true, or give a histogram of whole ms ([] is none)")
        ]
    return []


def _backoff(restart: Restart | None) -> list[Flaw]:
    if restart is None or restart.initial <= restart.max:
        return []
    longest = format_duration(restart.max)
    key = "initial" if "initial" in restart.model_fields_set else "max"
    message = (
        f"the first wait ({format_duration(restart.initial)}) is longer than max ({longest}), the longest"
    )
    return [(("supervisor", "restart", key), message)]
