"""Selects the files to follow: those listed, and those found in the listed directories."""

from __future__ import annotations

import heapq
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from supervisor.config.filemap_spec import FilemapSpec
from supervisor.config.models import Config, Directory, Filemap, resolve
from supervisor.text.display import display

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Scan:
    """The files that a scan found in a directory."""

    files: tuple[str, ...]
    """The absolute paths of the selected files, sorted; undecodable bytes as surrogates."""
    truncated: int = 0
    """Number of files left out because of max_files: of those not followed before, the last in order."""
    reason: str | None = None
    """Why something could not be read. Then `files` may lack existing files, so none is removed for not being
    there."""


def selects(directory: Directory, relative_path: str) -> bool:
    """Return whether `directory` selects the file at `relative_path` below it.

    A pattern with a slash matches the whole relative path (its * matches slashes too), one without the basename.
    Case matters.
    """

    def matches(patterns: Iterable[str]) -> bool:
        basename = relative_path.rpartition("/")[2]
        return any(
            fnmatchcase(relative_path if "/" in pattern else basename, pattern) for pattern in patterns
        )

    return matches(directory.include) and not matches(directory.exclude)


def scan(
    directory: Directory,
    followed: Container[str] = frozenset(),
    enter: Callable[[str], object] = lambda _folder: None,
) -> Scan:
    """Return the regular files that `directory` selects. The reason names what can't be read.

    Where there are more than max_files, those among the paths `followed` come first: a new file doesn't displace a
    followed one. `enter` is called with each folder before it is read, and with mount points.

    Links are followed only at the directory's own path, mounts not at all: they could lead to files outside the
    directory.
    """
    listing = _Listing(directory, enter)
    try:
        device = os.stat(directory.path).st_dev
    except OSError as error:
        return Scan((), reason=f"{display(directory.path)}: {error.strerror}")
    # Only max_files names are held at a time, however many there are.
    first = heapq.nsmallest(
        directory.max_files, listing.files(device), key=lambda path: (path not in followed, path)
    )
    return Scan(tuple(sorted(first)), listing.found - len(first), listing.reason)


@dataclass(slots=True)
class _Listing:
    """One pass over a directory. Counts the files, and remembers the first problem."""

    directory: Directory
    enter: Callable[[str], object]
    found: int = 0
    reason: str | None = None
    pending: list[str] = field(default_factory=list)

    def files(self, device: int) -> Iterator[str]:
        """Yield the selected files on `device`."""
        top = self.directory.path
        self.pending = [top]
        while self.pending:
            for entry in self._entries(self.pending.pop(), device):
                if selects(self.directory, os.path.relpath(entry.path, top)):
                    self.found += 1
                    yield entry.path

    def _entries(self, path: str, device: int) -> Iterator[os.DirEntry[str]]:
        """Yield the regular files of one folder, and queue its folders."""
        self.enter(path)
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    status = self._status(entry)
                    if status is None:
                        continue
                    if stat.S_ISREG(status.st_mode) and status.st_dev == device:
                        yield entry
                    elif stat.S_ISDIR(status.st_mode) and self.directory.recursive:
                        self._below(entry.path, mounted=status.st_dev != device)
        except OSError as error:
            self._note_problem(path, error)

    def _below(self, path: str, *, mounted: bool) -> None:
        if mounted:
            self.enter(path)  # it may be unmounted
        else:
            self.pending.append(path)

    def _status(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """Return the entry's status; None for a link, or an entry that has gone."""
        try:
            return None if entry.is_symlink() else entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._note_problem(entry.path, error)
            return None

    def _note_problem(self, path: str, error: OSError) -> None:
        if self.reason is None:
            self.reason = f"{display(path)}: {error.strerror}"


def select_files(config: Config, scans: Mapping[str, Scan]) -> dict[str, FilemapSpec]:
    """Return the files to follow, by path. `scans` are the scans of directories, by their paths.

    For a file that is listed itself the listing counts, else the first directory that selects it.
    """
    files: dict[str, tuple[Filemap | Directory, str]] = {}
    for index, filemap in enumerate(config.filemaps):
        files[filemap.path] = (filemap, f"filemaps[{index}]")
    for index, directory in enumerate(config.directories):
        for path in scans[directory.path].files if directory.path in scans else ():
            files.setdefault(path, (directory, f"directories[{index}]"))

    names = {entry.path: entry.name for entry in config.filemaps if entry.name is not None}
    names |= unique_names(files.keys() - names.keys(), taken=names.values())
    # One entry's options are resolved once and shared by all its files.
    entries = {source: entry for entry, source in files.values()}
    options = {source: resolve(config.defaults, entry) for source, entry in entries.items()}
    return {
        path: FilemapSpec(
            name=names[path],
            path=path,
            options=options[source],
            group_id=entry.group_id if isinstance(entry, Filemap) else None,
            alias=entry.alias if isinstance(entry, Filemap) else None,
            source=source,
            directory=None if isinstance(entry, Filemap) else entry.path,
        )
        for path, (entry, source) in files.items()
    }


def unique_names(paths: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """Return a name for each of the absolute `paths`: its shortest end that is unique and not in `taken`.

    A path without such an end is its own name.
    """
    reserved = set(taken)
    names: dict[str, str] = {}
    open_paths = list(paths)
    length = 1
    while open_paths:
        ends = {path: _end(path, length) for path in open_paths}
        shared = Counter(ends.values())
        names |= {
            path: end
            for path, end in ends.items()
            if end == display(path) or (shared[end] == 1 and end not in reserved)
        }
        open_paths = [path for path in open_paths if path not in names]
        length += 1
    return names


def _end(path: str, length: int) -> str:
    """Return the last `length` parts of `path`, or all of it."""
    parts = display(path).split("/")
    return "/".join(parts[-length:])
