"""The documents agree with the code on modules, keys, commands, states and messages."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import pytest
import yaml
from builders.roff import section
from click.testing import CliRunner
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from pydantic import BaseModel

from supervisor.cli.main import main
from supervisor.config.load import parse
from supervisor.config.models import Config, Defaults, Overrides
from supervisor.control.status import StatusSource, SupervisorInfo, filemap_status
from supervisor.discovery.selection import select_files
from supervisor.fleet import state_machine
from supervisor.fleet.devices import Budget, device_status
from supervisor.fleet.filemap import Filemap
from supervisor.fleet.state_machine import State
from supervisor.web.metrics.exposition import Metrics
from supervisor.web.state.store import Store
from tests import commands
from tests.unit.fleets import small_fleet
from tests.unit.serving import recorded_status
from workers import messages

ROOT: Final = Path(__file__).parents[3]
DECISIONS: Final = tuple(f"docs/decisions/{path.name}" for path in (ROOT / "docs/decisions").glob("*.md"))
DOCUMENTS: Final = ("ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md", *commands.DOCUMENTS, *DECISIONS)
PATHS: Final = ("ARCHITECTURE.md", "CONTRIBUTING.md", "docs/DEVELOPMENT.md", *DECISIONS)


def text(name: str) -> str:
    """Return a document."""
    return (ROOT / name).read_text(encoding="utf-8")


def rows(part: str) -> Iterator[list[str]]:
    """Yield the rows of a section's tables, without their heads, as cells."""
    lines = part.splitlines()
    for i, line in enumerate(lines):
        if line.startswith("|") and "---" not in line and "---" not in "".join(lines[i + 1 : i + 2]):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def code(cell: str) -> list[str]:
    """Return the texts in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def dotted(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the keys of the configuration as the README writes them.

    An entry's keys that are also in `defaults` are left out.
    """
    for name, field in model.model_fields.items():
        inner = (get_args(field.annotation) or (field.annotation,))[0]
        if issubclass(model, Overrides) and name in Defaults.model_fields:
            continue
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            several = get_origin(field.annotation) is tuple
            yield from dotted(inner, f"{prefix}{name}{'[]' if several else ''}.")
        else:
            yield prefix + name


def nested(key: str, value: Any) -> dict[str, Any]:
    """Return a configuration with only `key` set."""
    for name in reversed(key.split(".")):
        value = {name[:-2]: [{"path": "/x", **value}]} if name.endswith("[]") else {name: value}
        if name == "tls_server_config":
            value[name] = {"cert_file": "/x", "key_file": "/x", **value[name]}
    return {"version": 1, **value}


def without(key: str) -> dict[str, Any]:
    """Return the configuration in which `key` is missing."""
    if "[]" in key:
        return nested(f"{key.partition('[]')[0]}[].path", "/x")
    return nested("web.tls_server_config.key_file", "/x") if "tls_server_config" in key else {"version": 1}


def load(content: object) -> Config:
    """Return the configuration with this content."""
    return parse(yaml.safe_dump(content).encode(), "README.md", lambda _path: None)


def test_every_message_is_explained() -> None:
    """Every message between a worker and its supervisor has its own docstring, and there is no other
    class."""
    kinds = get_args(messages.Message)
    classes = [one for one in vars(messages).values() if isinstance(one, type) and is_dataclass(one)]
    assert [kind.__name__ for kind in kinds] == [
        one.__name__ for one in classes if one.__module__ == messages.__name__
    ]
    for kind in kinds:
        assert kind.__doc__, kind
        assert not kind.__doc__.startswith(f"{kind.__name__}("), f"{kind}: dataclass made the docstring"


def test_every_state_and_event_is_in_the_table() -> None:
    """The state machine's docstring has all states as rows, and all events in the rows."""
    assert state_machine.__doc__ is not None
    listed = list(rows(state_machine.__doc__))
    assert set(State) == {word for row in listed for word in re.findall(r"\b[A-Z]+\b", row[0])}
    named = {word for row in listed for word in re.findall(r"\b[A-Z_]+\b", row[1])}
    assert {event.name for event in state_machine.Event} <= named


def test_every_folder_is_drawn() -> None:
    """ARCHITECTURE.md's drawing has the supervisor's folders, and import-linter's layers agree."""
    drawing = section(text("ARCHITECTURE.md"), "## Folders")
    edges = [
        tuple(re.split(r" & ", side) for side in line.strip().split(" --> "))
        for line in drawing.splitlines()
        if " --> " in line
    ]
    drawn = {name for edge in edges for side in edge for name in side}
    contracts = tomllib.loads(text("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = [one["layers"] for one in contracts if one.get("containers") == ["supervisor"]]
    rows_of_folders = [layer.split(" | ") for layer in layers]
    assert drawn == {name for row in rows_of_folders for name in row} | {"workers", "dmstats"}
    for upper, lower in pairwise(rows_of_folders):
        assert (upper, lower) in edges
    for folder in (ROOT / "supervisor").glob("*/__init__.py"):
        assert folder.parent.name in drawn


@pytest.mark.parametrize("name", PATHS)
def test_paths_are_there(name: str) -> None:
    """Every file and folder of the repository that a developers' document names exists."""
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"out"}
    for path in code(re.sub(r"^```.*?^```$", "", text(name), flags=re.MULTILINE | re.DOTALL)):
        if re.fullmatch(r"[\w./-]+/[\w./-]*", path) and path.partition("/")[0] in folders:
            assert (ROOT / path).exists(), path


def anchors(document: str) -> set[str]:
    """Return the anchors of a document's headings."""
    titles = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", document, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    """Every file that a document links to exists, and has the heading."""
    for target in re.findall(r"\]\(([^)]+)", text(name)):
        if target.startswith("https://"):
            continue
        path, _, heading = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        assert not heading or heading in anchors(file.read_text(encoding="utf-8")), target


def test_where_a_counter_is_added() -> None:
    """The places that docs/DEVELOPMENT.md names exist, with their functions."""
    for cells in rows(section(text("docs/DEVELOPMENT.md"), "## Adding a counter")):
        (place,) = code(cells[0])
        assert (ROOT / place).exists(), place
        for name in code(cells[1]):
            if name.endswith("()"):
                assert f"def {name.removesuffix('()')}(" in text(place), name


def test_example_is_right() -> None:
    """The README's example is a valid configuration."""
    part = section(text("README.md"), "## Configuration")
    examples = re.findall(r"```yaml\n(.*?)```", part, re.DOTALL)
    assert examples
    for example in examples:
        parse(example.encode(), "README.md", lambda _path: None)


def test_every_key_is_explained() -> None:
    """The README's tables have a row for every key of the configuration, and for no other."""
    part = section(text("README.md"), "## Configuration")
    assert sorted(code(row[0])[0] for row in rows(part)) == sorted(dotted(Config))


def test_defaults_are_so() -> None:
    """Setting a key to its documented default changes nothing."""
    documented = [
        (code(row[0])[0], code(row[1])) for row in rows(section(text("README.md"), "## Configuration"))
    ]
    assert sum(bool(default) for _, default in documented) > len(documented) / 2
    for key, default in documented:
        if default:
            assert load(nested(key, yaml.safe_load(default[0]))) == load(without(key)), key


def test_every_state_is_explained() -> None:
    """The README's table of states lists all of them."""
    part = section(text("README.md"), "## Worker states")
    assert [row[0] for row in rows(part)] == [state.value for state in State]


def test_every_status_key_is_explained(tmp_path: Path) -> None:
    """The README's tables of the JSON status list all keys of a file, of the supervisor and of a device."""
    part = section(text("README.md"), "## Status as JSON").partition("### ")[0]
    config = load({"version": 1, "filemaps": [{"path": "/x"}]})
    status = filemap_status(Filemap(select_files(config, {})["/x"]))
    assert sorted(key for row in rows(part) for key in code(row[0])) == sorted(status)
    part = section(text("README.md"), "### The supervisor")
    with small_fleet(tmp_path) as fleet:
        supervisor = {
            **StatusSource(fleet, lambda _filemap: None).supervisor(SupervisorInfo(0)),
            "filemaps": [],
        }
    assert sorted(key for row in rows(part) for key in code(row[0])) == sorted(supervisor)
    part = section(text("README.md"), "### Devices")
    device = device_status("vg-lv", "253:0", Budget(None, 2000), 0, "0 " * 11)
    assert sorted(key for row in rows(part) for key in code(row[0])) == sorted(device)


def test_every_metric_is_explained() -> None:
    """The README's tables have a row for every metric with its type, and for no other."""
    documented = [
        (name, row[1]) for row in rows(section(text("README.md"), "## Metrics")) for name in code(row[0])
    ]
    store, status = Store(), recorded_status()
    store.put(["file", status["filemaps"][0]])
    store.put(["supervisor", status])
    body, _ = Metrics(store).render("application/openmetrics-text", 0)
    suffixes = {"counter": "_total", "info": "_info"}
    assert sorted(documented) == sorted(
        (family.name + suffixes.get(family.type, ""), family.type)
        for family in text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call] # it is
    )


def test_every_command_is_named() -> None:
    """`filemapd --help` lists exactly the README's commands."""
    part = section(text("README.md"), "## Commands").partition("### ")[0]
    named = [code(row[0])[0].split() for row in rows(part)]
    shown = CliRunner().invoke(main, ["--help"]).output.partition("Commands:")[2]
    listed = re.findall(r"^  (\w+) ", shown.partition("Exit statuses:")[0], re.MULTILINE)
    assert sorted(words[1] for words in named if words[0] == "filemapd") == sorted(listed)
    assert "..." not in shown, "a command's description is cut short"


def test_every_exit_status_is_named() -> None:
    """`filemapd --help` lists exactly the README's exit statuses."""
    part = section(text("README.md"), "### Exit statuses")
    shown = CliRunner().invoke(main, ["--help"]).output.partition("Exit statuses:")[2]
    assert [row[0] for row in rows(part)] == re.findall(r"^ +(\d+) ", shown, re.MULTILINE)
