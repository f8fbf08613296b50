"""Loading the configuration: all problems at once, each with line, key and what would be valid."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.checks import duplicate_group_ids
from supervisor.config.load import MAX_BYTES, load, parse
from supervisor.config.models import Config
from supervisor.config.problems import ConfigError, Problem

EXAMPLE = Path(__file__).parents[4] / "config" / "filemaps.yaml"


def check(text: str | bytes, devices: dict[str, int] | None = None) -> Config:
    """Parse `text` as the file f; `devices` are the device numbers of the existing files."""
    content = text if isinstance(text, bytes) else textwrap.dedent(text).encode()
    return parse(content, "f", (devices or {}).get)


def attempt(text: str | bytes) -> ConfigError | None:
    """Return the error of `text`, None if it is valid."""
    try:
        check(text)
    except ConfigError as error:
        return error
    return None


def problems(text: str | bytes, devices: dict[str, int] | None = None) -> list[str]:
    """Return the lines that an operator sees for `text`."""
    with pytest.raises(ConfigError) as caught:
        check(text, devices)
    return str(caught.value).splitlines()


def test_the_example_is_valid() -> None:
    """The shipped example configuration is valid."""
    config = load(str(EXAMPLE))
    assert config.filemaps[0].labels == {"tenant": "acme"}
    assert config.supervisor.health.max_rss == 128 << 20


def test_all_problems_at_once_in_the_order_of_the_lines() -> None:
    """All problems are reported at once, each with place, key and remedy."""
    assert problems("""\
        version: 1
        defaults:
          sample: 10
        filemaps:
          - pth: /a
          - path: images/b.img
            mode: indoe
          - {path: /c, labels: {rack: 7}, group_id: 1.5, precise: 1}
        supervisor:
          on_stop: drop
          health: {max_load: 3}
        zzz: 1
    """) == [
        "f:3:3: defaults.sample: 10 has no unit: write it with one, as in 10s or 500ms",
        "f:5:5: filemaps[0].path: is missing, and has no default",
        "f:5:5: filemaps[0].pth: unknown key; did you mean 'path'?",
        "f:6:5: filemaps[1].path: 'images/b.img' is not absolute: begin it with /",
        "f:7:5: filemaps[1].mode: unknown mode 'indoe': it is 'inode' or 'path'",
        "f:8:25: filemaps[2].labels.rack: must be text, not 7: put it in quotes",
        "f:8:35: filemaps[2].group_id: must be a whole number, not 1.5",
        "f:8:50: filemaps[2].precise: must be true or false, not 1",
        "f:10:3: supervisor.on_stop: must be 'keep' or 'delete', not 'drop'",
        "f:11:12: supervisor.health.max_load: unknown key; the keys here are interval, heartbeat, max_rss, "
        "max_cpu, max_cpu_for, max_open_files",
        "f:12:1: zzz: unknown key; the keys here are version, defaults, filemaps, directories, supervisor, "
        "devices, web, vms, state_dir, runtime_dir",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "f:1:1: is empty: begin it with `version: 1`"),
        ("# nothing\n", "f:1:1: is empty: begin it with `version: 1`"),
        ("- a\n", "f:1:1: is no mapping: begin it with `version: 1`"),
        ("{}", "f:1:1: version: is missing, and has no default"),
        ("version: 2", "f:1:1: version: this filemapd reads version 1, not 2"),
        ("version: true", "f:1:1: version: this filemapd reads version 1, not True"),
        ("version: 1\ndevices: 7", "f:2:1: devices: must be a mapping (`key: value`), not 7"),
        ("version: 1\nversion: 1", "f:2:1: version: given twice: it stands in line 1 already"),
        ("version: 1\nfilemaps:\n", "f:2:1: filemaps: has no value: write one, or leave the key out"),
        ("version: 1\non: 1", "f:2:1: the key on is not text: put it in quotes"),
        ("version: 1\nfilemaps:\n\t- a", "f:3:1: not YAML: a tab can't indent a line: use spaces"),
        ("version: @1", "f:1:10: not YAML: '@' can't begin a value: put it in quotes"),
        ("version: [*.a]", "f:1:12: not YAML: '*' can't begin a value: put it in quotes"),
        ("version: *", "f:1:11: not YAML: '*' can't begin a value: put it in quotes"),
        ("version: [!a]", "f:1:13: not YAML: '!' can't begin a value: put it in quotes"),
        (
            "version: *a",
            "f:1:10: not YAML: '*' begins an alias, and no anchor has that name: put a pattern in",
        ),
        ("version: 1\n---\na: 1", "f:2:1: not YAML: a second document begins here"),
        (
            "- path:/a\n  mode: path",
            "f:2:7: not YAML: ': ' can't stand here: put a value that holds it in quotes;",
        ),
        ("version: - 1", "f:1:10: not YAML: a list can't begin here: write each item in a line of its own"),
        (
            "a:\n   b: 1\n  c: 1",
            "f:3:3: not YAML: no key of the mapping that begins in line 1 can stand here",
        ),
        ("version: [1", "f:2:1: not YAML: did not find expected ',' or ']', while parsing a flow sequence"),
        ("version: 1\n# \x01", "f:2:3: the character '\\x01' must not stand in YAML"),
        (b"version: 1\n# \xff", "f:2:3: the byte 0xff is not UTF-8: save the file as UTF-8"),
        (
            "version: 1\nfilemaps: !!set {}",
            "f:2:11: filemaps: the tag !!set means nothing here: leave it out",
        ),
        (
            "version: 1\nstate_dir: 2024-13-01",
            "f:2:12: state_dir: '2024-13-01' can't be read (month must be in",
        ),
        (
            "version: !!python/name:os.system x",
            "f:1:10: version: the tag !!python/name:os.system means nothing",
        ),
        ("version: 1\nfilemaps: &a [*a]", "f:2:11: nested more than 32 levels deep by its aliases"),
        ("[" * 100_000, "f:1:33: nested more than 32 levels deep"),
        ("<<: 1\nversion: 1", "f:1:5: << takes a mapping, as in <<: *name"),
        ("&a {<<: *a}", "f:1:1: nested more than 32 levels deep by its aliases"),
        (
            "version: 1\nsupervisor: {restart: {initial: 2m}}",
            "f:2:24: supervisor.restart.initial: the first wait (2m) is longer than max (1m), the longest",
        ),
    ],
)
def test_one_problem(text: str | bytes, line: str) -> None:
    """Whatever the error in the text, the first line has its place and reason."""
    assert problems(text)[0].startswith(line)


def test_a_bomb_of_aliases_is_refused_quickly() -> None:
    """A few lines that expand to billions of values are not expanded."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "more than 200000 values, counting each use of an alias" in problems("\n".join(lines))[0]


def test_anchors_and_merge_keys() -> None:
    """An entry can merge another's keys, and its own keys take precedence."""
    config = check("""\
        version: 1
        filemaps:
          - &base {path: /a, sample: 1m, max_regions: 7}
          - {<<: *base, path: /b, max_regions: 9}
    """)
    assert [(entry.path, entry.sample, entry.max_regions) for entry in config.filemaps] == [
        ("/a", 60.0, 7),
        ("/b", 60.0, 9),
    ]


def test_duplicates() -> None:
    """A duplicate file, directory or name is reported with the line of its first occurrence."""
    assert problems("""\
        version: 1
        filemaps:
          - {path: /a/x/../b, name: one}
          - {path: /a/b, mood: path}
          - {path: /c, name: one}
        directories:
          - path: /d
          - path: /d/
    """) == [
        "f:4:6: filemaps[1].path: '/a/b' is named in line 3 already: a file is listed once",
        "f:4:18: filemaps[1].mood: unknown key; did you mean 'mode'?",
        "f:5:16: filemaps[2].name: 'one' is named in line 3 already: a name is given once",
        "f:8:5: directories[1].path: '/d' is named in line 7 already: a directory is listed once, "
        "with all its patterns",
    ]


def test_histogram_finer_than_the_clock() -> None:
    """Bounds below a millisecond need precise timestamps; the error has the line of the bounds."""
    lines = problems("""\
        version: 1
        defaults: {precise: false, histogram: [1ms]}
        filemaps:
          - {path: /a, histogram: [100us]}
          - {path: /b, histogram: [100us], precise: true}
          - {path: /c, histogram: [100], precise: false}
        directories:
          - {path: /d, histogram: [10ms]}
    """)
    assert lines == [
        "f:4:16: filemaps[0].histogram: the bound 100us needs precise timestamps: without, bounds are whole ms; "
        "set precise: true, or give a histogram of whole ms ([] is none)",
        "f:6:16: filemaps[2].histogram: 100 has no unit: write it with one, as in 100us or 10ms",
    ]
    [line] = problems("version: 1\ndefaults: {precise: false}")
    assert line.startswith("f:2:12: defaults.precise: the bound 100us needs precise timestamps")


def test_group_id_twice_on_one_device() -> None:
    """Ids count from 0 on each device, so only duplicates on one device are an error."""
    text = """\
        version: 1
        filemaps:
          - {path: /a, group_id: 0}
          - {path: /b, group_id: 0}
          - {path: /gone, group_id: 0}
    """
    check(text, {"/a": 1, "/b": 2})
    [line] = problems(text, {"/a": 1, "/b": 1})
    assert line.startswith(
        "f:4:16: filemaps[1].group_id: the group 0 is that of line 3 already, on the same device"
    )


def test_only_cached_files_are_compared(tmp_path: Path) -> None:
    """Without waiting for a disk, duplicates are found only among files that the kernel has cached."""
    config, known, unknown = tmp_path / "config", tmp_path / "known", tmp_path / "never" / "asked for"
    known.touch()

    def both(one: Path, other: Path) -> str:
        entries = [{"path": str(path), "group_id": 0} for path in (one, other)]
        config.write_text(json.dumps({"version": 1, "filemaps": entries}))
        return str(config)

    load(both(known, unknown), wait=False)
    with pytest.raises(ConfigError, match="on the same device"):
        load(both(known, tmp_path), wait=False)


def test_duplicate_group_ids() -> None:
    """Each duplicate is paired with the first; files on unknown devices have none."""
    entries = [
        (("a",), 0, 1),
        (("b",), 0, 1),
        (("c",), 0, 2),
        (("d",), 1, 1),
        (("e",), 0, 1),
        (("f",), 0, None),
    ]
    assert duplicate_group_ids(entries) == [(("b",), ("a",)), (("e",), ("a",))]


def test_load_looks_up_the_devices(tmp_path: Path) -> None:
    """Two files of one file system that adopt one group are found at load."""
    for name in ("a", "b"):
        (tmp_path / name).touch()
    file = tmp_path / "filemaps.yaml"
    file.write_text(
        f"version: 1\nfilemaps:\n- {{path: {tmp_path}/a, group_id: 3}}\n- {{path: {tmp_path}/b, group_id: 3}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(str(file))
    assert [(problem.line, problem.key) for problem in caught.value.problems] == [(4, "filemaps[1].group_id")]


@pytest.mark.parametrize("name", ["gone.yaml", "", "gone/below", "nul\0"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    """A missing file, a directory and an impossible name are problems of the file as a whole."""
    with pytest.raises(ConfigError) as caught:
        load(os.path.join(tmp_path, name))
    [problem] = caught.value.problems
    assert problem.line is None
    assert ": can't be read: " in str(problem)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A supervisor's configuration may not be a pipe, with or without a writer; `check` reads pipes."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading, writing = os.pipe()
    os.write(writing, b"version: 1")
    os.close(writing)
    for name in (str(path), f"/dev/fd/{reading}"):
        with pytest.raises(ConfigError, match="can't be read: it is a pipe, which can't be read again"):
            load(name, wait=False)
    assert load(f"/dev/fd/{reading}").version == 1
    os.close(reading)


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    """A configuration too large to be real is not parsed."""
    file = tmp_path / "filemaps.yaml"
    file.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match=r"filemaps\.yaml: is larger than \d+ MiB"):
        load(str(file))


def test_group_ids_of_files_that_are_not_there(tmp_path: Path) -> None:
    """The devices of missing files are unknown: two of them may adopt the same group id."""
    file = tmp_path / "filemaps.yaml"
    entries = [f"{{path: {tmp_path}/{name}, group_id: 3}}" for name in ("a", "b")]
    file.write_text(f"version: 1\nfilemaps: [{', '.join(entries)}]\n")
    assert [entry.group_id for entry in load(str(file)).filemaps] == [3, 3]


def test_a_byte_order_mark_is_no_problem() -> None:
    """A byte order mark, as some editors write it, is accepted."""
    assert check(b"\xef\xbb\xbfversion: 1\r\n").version == 1


def test_a_problem_is_one_line() -> None:
    """A newline in the file's values can't forge a second problem."""
    assert str(Problem("f", 1, 2, "a\nb", "x\x1b[2J")) == "f:1:2: a\\nb: x\\x1b[2J"


@given(
    st.binary(max_size=200)
    | st.text(alphabet=" \n\t-:[]{}&*!|>'\"#%@,?<a1\u2028\x85\r", max_size=60).map(str.encode)
)
def test_any_bytes_are_a_configuration_or_a_problem(content: bytes) -> None:
    """Arbitrary content raises only ConfigError, which always has a text."""
    found = attempt(content)
    assert found is None or found.problems
    assert found is None or len(str(found).splitlines()) == len(found.problems)


KEYS = st.sampled_from(
    ["path", "mode", "labels", "sample", "histogram", "restart", "group_id", "x", "1", "<<"]
)
VALUES = st.recursive(
    st.sampled_from(["1", "/a", "1s", "[]", "{}", "inode", "true", "!!set {a}", "1.5", "'\\0'"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(KEYS, inner, max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs.items()) + "}"
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*Config.model_fields, "y"]), VALUES))
def test_any_structure_is_a_configuration_or_a_problem(sections: dict[str, str]) -> None:
    """Values of the wrong type are explained at any place."""
    text = "version: 1\n" + "".join(
        f"{key}: {value}\n" for key, value in sections.items() if key != "version"
    )
    found = attempt(text)
    assert found is None or all(problem.line for problem in found.problems)
