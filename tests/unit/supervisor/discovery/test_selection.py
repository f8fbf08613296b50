"""The files that a configuration selects, and their names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.models import Config, Directory
from supervisor.discovery import selection
from supervisor.discovery.selection import Scan, scan, select_files, selects, unique_names
from supervisor.text.display import display


def directory(path: object = "/d", **keys: Any) -> Directory:
    return Directory.model_validate({"path": str(path), **keys})


def touch(top: Path, *names: str) -> list[str]:
    """Create empty files below `top`; return their paths."""
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    return [str(top / name) for name in names]


@pytest.mark.parametrize(
    ("include", "exclude", "path", "selected"),
    [
        (["*"], [], "a.img", True),
        (["*"], [], ".hidden", True),
        (["*.img"], [], "sub/a.img", True),
        (["*.img"], [], "a.IMG", False),
        (["*.img"], ["a*"], "a.img", False),
        (["*.img", "*.raw"], ["*.tmp"], "a.raw", True),
        (["sub/*.img"], [], "sub/a.img", True),
        (["sub/*.img"], [], "sub/deeper/a.img", True),
        (["sub/*.img"], [], "a.img", False),
        (["*"], ["old/*"], "old/a.img", False),
        (["*.img"], [], "a\nb.img", True),
        (["*.img"], [], "a\udcff.img", True),
    ],
)
def test_selects(include: list[str], exclude: list[str], path: str, selected: bool) -> None:
    """A pattern without a slash matches the basename, one with a slash the path below the directory."""
    assert selects(directory(include=include, exclude=exclude), path) == selected


def test_scan_takes_regular_files_only(tmp_path: Path) -> None:
    """Links, directories and pipes are no disk images, whatever their names."""
    [image] = touch(tmp_path, "a.img")
    (tmp_path / "link.img").symlink_to(image)
    (tmp_path / "dir.img").mkdir()
    os.mkfifo(tmp_path / "pipe.img")
    assert scan(directory(tmp_path, include=["*.img"])) == Scan((image,))


def test_scan_is_recursive_when_asked(tmp_path: Path) -> None:
    """Subdirectories are entered only if configured, links to directories never."""
    files = touch(tmp_path, "a", "sub/b", "sub/deeper/c")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert scan(directory(tmp_path)).files == (files[0],)
    assert scan(directory(tmp_path, recursive=True)).files == tuple(files)


def test_scan_follows_its_own_path(tmp_path: Path) -> None:
    """The configured path may be a link to a directory."""
    touch(tmp_path, "real/a")
    (tmp_path / "link").symlink_to("real")
    assert scan(directory(tmp_path / "link")).files == (f"{tmp_path}/link/a",)


def test_scan_keeps_to_the_limit(tmp_path: Path) -> None:
    """The first files in order are selected, the rest is counted."""
    files = touch(tmp_path, "c", "a", "b", "d")
    found = scan(directory(tmp_path, max_files=2))
    assert (found.files, found.truncated) == ((files[1], files[2]), 2)


def test_scan_stays_on_its_file_system(tmp_path: Path) -> None:
    """Files on another device than the directory are not selected."""
    touch(tmp_path, "a", "sub/b")
    walk = selection._Listing(directory(tmp_path, recursive=True), lambda _folder: None)
    assert list(walk.files(tmp_path.stat().st_dev + 1)) == []


def test_what_is_followed_keeps_its_place(tmp_path: Path) -> None:
    """Followed files come first, in order; vanished ones take no place."""
    files = touch(tmp_path, "c", "a", "b", "d")
    followed = {files[3], files[0], f"{tmp_path}/gone"}
    assert scan(directory(tmp_path, max_files=2), followed) == Scan((files[0], files[3]), 2)
    assert scan(directory(tmp_path, max_files=3), followed) == Scan((files[1], files[0], files[3]), 1)


@pytest.mark.parametrize("name", ["gone", "file"])
def test_scan_of_no_directory_is_a_reason(tmp_path: Path, name: str) -> None:
    """A missing directory raises no exception, and nothing is found."""
    touch(tmp_path, "file")
    found = scan(directory(tmp_path / name))
    assert found.files == ()
    assert found.reason in {
        f"{tmp_path}/gone: No such file or directory",
        f"{tmp_path}/file: Not a directory",
    }


def test_scan_reports_unreadable_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of an unreadable subdirectory are left out, and the error is reported."""
    files = touch(tmp_path, "a", "locked/b")
    real = os.scandir

    def locked(path: str) -> Any:
        if path.endswith("/locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", locked)
    found = scan(directory(tmp_path, recursive=True))
    assert found == Scan((files[0],), 0, f"{tmp_path}/locked: Permission denied")


def test_hostile_names(tmp_path: Path) -> None:
    """Names with newlines and undecodable bytes are found, can be opened, and are shown on one line."""
    for name in (b"a\nb.img", b"\xff.img", b"\x1b[2J.img"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).touch()
    config = Config.model_validate({"version": 1, "directories": [{"path": str(tmp_path)}]})
    found = select_files(config, {str(tmp_path): scan(config.directories[0])})
    assert all(os.path.exists(path) for path in found)
    assert {want.name for want in found.values()} == {"a\\nb.img", "\\udcff.img", "\\x1b[2J.img"}


def test_wanted_merges_the_lists() -> None:
    """A listed file has its listed options; of two directories with the same file the first counts."""
    config = Config.model_validate(
        {
            "version": 1,
            "filemaps": [{"path": "/d/a", "group_id": 3, "alias": "db", "mode": "path"}],
            "directories": [
                {"path": "/d", "recursive": True, "max_regions": 7},
                {"path": "/d/sub"},
                {"path": "/e"},
            ],
        }
    )
    scans = {"/d": Scan(("/d/a", "/d/b", "/d/sub/c")), "/d/sub": Scan(("/d/sub/c", "/d/sub/d"))}
    found = select_files(config, scans)
    assert {path: want.source for path, want in found.items()} == {
        "/d/a": "filemaps[0]",
        "/d/b": "directories[0]",
        "/d/sub/c": "directories[0]",
        "/d/sub/d": "directories[1]",
    }
    listed = found["/d/a"]
    assert (listed.name, listed.path, listed.group_id, listed.alias) == ("a", "/d/a", 3, "db")
    assert (listed.options.mode.value, found["/d/b"].options.mode.value) == ("path", "inode")
    assert (found["/d/b"].options.max_regions, found["/d/b"].group_id) == (7, None)


def test_given_names_are_kept() -> None:
    """A configured name stays; another file with the same basename gets a longer name."""
    config = Config.model_validate(
        {"version": 1, "filemaps": [{"path": "/x/y", "name": "disk.img"}, {"path": "/vm/disk.img"}]}
    )
    assert [want.name for want in select_files(config, {}).values()] == ["disk.img", "vm/disk.img"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/v/a.img", "/v/b.img"], ["a.img", "b.img"]),
        (["/v/a/disk.img", "/v/b/disk.img", "/v/c.img"], ["a/disk.img", "b/disk.img", "c.img"]),
        (["/a/x/d", "/b/x/d", "/c/y/d"], ["a/x/d", "b/x/d", "y/d"]),
        (["/d", "/a/d"], ["/d", "a/d"]),
    ],
)
def test_unique_names(paths: list[str], names: list[str]) -> None:
    """The name is the shortest end of the path that distinguishes the file from all others."""
    assert unique_names(paths, ()) == dict(zip(paths, names, strict=True))


PATHS = st.lists(st.sampled_from(["a", "b", "\n", "\\n", "\udcff", "é"]), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(st.sets(PATHS), st.sets(st.sampled_from(["a", "b", "a/b", "b/a"])))
def test_names_are_unique_whatever_the_paths(paths: set[str], taken: set[str]) -> None:
    """No two files share a name, none has a taken one, and each is printable."""
    names = unique_names(paths, taken)
    assert names.keys() == paths
    assert len(set(names.values())) == len(paths)
    assert not taken & set(names.values())
    assert all(name.isprintable() and display(path).endswith(name) for path, name in names.items())
