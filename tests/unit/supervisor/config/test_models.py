"""The models of the configuration, its units, and a file's effective options."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dmstats.mode import FilemapdMode
from supervisor.config.models import Config, Defaults, Directory, Filemap, Restart, Supervisor, resolve
from supervisor.config.units import format_duration, parse_duration, parse_percent, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("10s", 10), ("1.5s", 1.5), ("10m", 600), ("1h", 3600), ("2 s", 2)]
)
def test_duration(text: str, seconds: float) -> None:
    """A number with its unit is a duration in seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("64kB", 64_000), ("128MiB", 134_217_728), ("1GiB", 1 << 30), ("7 B", 7)]
)
def test_size(text: str, size: int) -> None:
    """A number with its unit is a size in bytes; k is 1000 and Ki is 1024."""
    assert parse_size(text) == size


@pytest.mark.parametrize("value", [10, 0.5, "10"])
def test_a_bare_number_needs_a_unit(value: object) -> None:
    """A number without a unit is refused: 10 could be seconds or milliseconds."""
    with pytest.raises(ValueError, match="has no unit: write it with one, as in 10s"):
        parse_duration(value)
    with pytest.raises(ValueError, match="has no unit: write it with one, as in 128MiB"):
        parse_size(value)


@pytest.mark.parametrize(
    "value", ["0s", "-1s", "1d", "s", "", True, None, [], "9" * 5000 + "s", "1e3s", "٣s"]
)
def test_no_duration(value: object) -> None:
    """Anything else is refused with an example, and shown shortened."""
    with pytest.raises(ValueError, match="as in 500ms or 10m") as caught:
        parse_duration(value)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("value", ["0B", "128M", "1.5GiB", "", True, None])
def test_no_size(value: object) -> None:
    """128M is ambiguous and refused with the list of units."""
    with pytest.raises(ValueError, match="kB, MB, GB, KiB, MiB, GiB"):
        parse_size(value)


@given(st.integers(1, 10**9))
def test_format_duration_is_read_back(milliseconds: int) -> None:
    """A formatted duration is valid in a configuration and has the same value."""
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


def test_defaults_are_the_documented_ones() -> None:
    """An empty configuration has the documented defaults."""
    config = Config.model_validate({"version": 1})
    assert config.defaults.histogram == (100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
    assert (config.defaults.mode, config.defaults.program_id) == (FilemapdMode.INODE, "dmstats")
    assert (config.supervisor.on_stop, config.devices.max_regions) == ("keep", None)
    assert (config.state_dir, config.runtime_dir) == ("/var/lib/filemapd", "/run/filemapd")
    policy = Restart().policy()
    assert (policy.initial, policy.max, policy.give_up, policy.within) == (0.1, 60.0, 12, 600.0)


def test_an_entry_overrides_the_defaults() -> None:
    """An entry's keys take precedence, false and [] included; missing ones come from the defaults."""
    defaults = Defaults.model_validate({"sample": "1m", "mode": "path", "max_regions": 7})
    entry = Filemap.model_validate(
        {"path": "/a", "precise": False, "histogram": [], "mode": "inode", "labels": {"tenant": "acme"}}
    )
    options = resolve(defaults, entry)
    assert (options.mode, options.precise, options.histogram_ns) == (FilemapdMode.INODE, False, ())
    assert (options.sample_seconds, options.max_regions, options.on_unlink) == (60.0, 7, "delete")
    assert options.labels == {"tenant": "acme"}


@pytest.mark.parametrize(
    ("path", "normal"),
    [("/a/../b", "/b"), ("//a//b/", "/a/b"), ("/./a", "/a"), ("/../a", "/a"), ("/ä", "/ä")],
)
def test_paths_are_normalised(path: str, normal: str) -> None:
    """A file has one spelling, so that duplicates are found."""
    assert Filemap.model_validate({"path": path}).path == normal


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("path", "images/a", "not absolute"),
        ("path", "", "not absolute"),
        ("path", "/a\0b", "NUL"),
        ("path", "/", "is a directory"),
        ("path", "/\ud800", "surrogate"),
        ("program_id", "", "empty"),
        ("program_id", "a b", "splits its arguments"),
        ("program_id", "a\n", "splits its arguments"),
        # The kernel takes the byte 0xa0 for a space.
        ("program_id", "à", "splits its arguments"),
        ("program_id", "a\\b", "splits its arguments"),
        ("program_id", "-x", "libdm's reader"),
        ("program_id", "12", "count of arguments"),
        ("alias", "a:b", "must not hold"),
        ("alias", "a#b", "must not hold"),
        ("alias", 'a"b', "must not hold"),
        ("alias", "a\\b", "must not hold"),
        ("alias", "a\tb", "control characters"),
        ("name", "/a", "must not begin"),
        ("name", "", "must not be empty"),
        ("mode", "indoe", "it is 'inode' or 'path'"),
        ("histogram", "100us", "must be a list"),
        ("histogram", [100], "has no unit"),
        ("histogram", ["100"], "has no unit"),
        ("histogram", ["2ms", "1ms"], "must increase"),
        ("histogram", [f"{n}us" for n in range(1, 1002)], "at most 1000 bounds, not 1001"),
        ("group_id", -1, "greater than or equal to 0"),
        ("group_id", True, "valid integer"),
        ("max_regions", 0, "greater than or equal to 1"),
        ("precise", "yes", "valid boolean"),
        ("labels", {"a-b": "c"}, "can't be a label"),
        ("labels", {"__a": "c"}, "can't be a label"),
        ("labels", {"rack": 7}, "valid string"),
        ("on_unlink", "drop", "'keep' or 'delete'"),
    ],
)
def test_bad_values(key: str, value: Any, message: str) -> None:
    """Each invalid value that would do harm later is refused with the reason."""
    with pytest.raises(ValidationError, match=message) as caught:
        Filemap.model_validate({"path": "/a", key: value})
    assert [error["loc"][0] for error in caught.value.errors()] == [key]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("on_move", "/bin/true", "valid tuple"),
        ("on_move", ["true"], "is not absolute"),
        ("on_move", ["/bin/echo", 7], "valid string"),
        ("on_move", ["/bin/echo", "a\0b"], "NUL"),
        ("control_group", "no such group", "there is no group 'no such group' on this host"),
        ("control_group", -1, "must be a group's name or id, not -1"),
        ("control_group", True, "must be a group's name or id, not True"),
        ("control_group", 2**32 - 1, "must be a group's name or id"),
    ],
)
def test_bad_values_of_the_supervisor(key: str, value: Any, message: str) -> None:
    """So are those of the supervisor section."""
    with pytest.raises(ValidationError, match=message) as caught:
        Supervisor.model_validate({key: value})
    assert {error["loc"][0] for error in caught.value.errors()} == {key}


def test_group_by_name_or_id() -> None:
    """A name is resolved to the system's group id; an id may be of a group without a name."""
    assert Supervisor.model_validate({"control_group": "root"}).control_group == 0
    assert Supervisor.model_validate({"control_group": 4242}).control_group == 4242
    assert Supervisor.model_validate({"on_move": ["/bin/echo", "a b"]}).on_move == ("/bin/echo", "a b")


@pytest.mark.parametrize("program_id", ["dmstats", "filemapd", "12a", "a-b"])
def test_good_program_ids(program_id: str) -> None:
    """Numbers are refused only as the whole id, dashes only in front."""
    assert Defaults.model_validate({"program_id": program_id}).program_id == program_id


@pytest.mark.parametrize("patterns", [[], [""], ["/a/*.img"], "*.img"])
def test_patterns_that_match_nothing(patterns: object) -> None:
    """A directory that could never select a file is an error."""
    with pytest.raises(ValidationError):
        Directory.model_validate({"path": "/a", "include": patterns})


@pytest.mark.parametrize("key", ["group_id", "alias", "name"])
def test_keys_of_files_are_no_keys_of_directories(key: str) -> None:
    """Group, alias and name are valid for a single file only."""
    with pytest.raises(ValidationError, match="Extra inputs"):
        Directory.model_validate({"path": "/a", key: "1"})


@pytest.mark.parametrize(("text", "percent"), [("90%", 90), ("0.5 %", 0.5), ("100%", 100)])
def test_percent(text: str, percent: float) -> None:
    """A number with a percent sign is a share."""
    assert parse_percent(text) == percent


@pytest.mark.parametrize("value", ["0%", "101%", "-1%", "%", "", None, True])
def test_no_percent(value: object) -> None:
    """A share is above 0 and at most 100%."""
    with pytest.raises(ValueError, match="as in 90%"):
        parse_percent(value)
