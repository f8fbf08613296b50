"""The man pages are well-formed, and have all options and keys with their defaults."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path
from typing import Final

import click
import pytest
import yaml
from builders import man
from builders.roff import roff
from click.testing import CliRunner

from supervisor.cli.main import main
from supervisor.config.models import Config
from tests.unit.documents.test_documents import dotted, load, nested, text, without
from workers.dmfilemapd import parse_arguments

PAGES: Final = {frame.name: man.page(frame, text("README.md"), "2026-01-31") for frame in man.FRAMES}
COMMANDS: Final = main.list_commands(click.Context(main))


def run(*command: str | Path, source: str = "") -> str:
    """Return a command's stdout and stderr."""
    return subprocess.run(
        command, input=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    ).stdout


def entries(name: str, heading: str = "") -> dict[str, str]:
    """Return the terms of a page's lists, in one section or all, each with its description on one line."""
    found: dict[str, str] = {}
    for one in re.split(
        r"<section [^>]*>", run("mandoc", "-man", "-Thtml", "-Ofragment", source=PAGES[name])
    ):
        title = re.search(r"<h[12] .*?>(.*?)</h[12]>", one, re.DOTALL)
        if heading in ("", _plain(title[1]) if title else ""):
            items = re.findall(r"<dt.*?>(.*?)</dt>\s*<dd>(.*?)</dd>", one, re.DOTALL)
            found.update((_plain(tag), _plain(description)) for tag, description in items)
    return found


def _plain(markup: str) -> str:
    return html.unescape(" ".join(re.sub(r"<[^>]+>", "", markup).split()))


@pytest.mark.parametrize("name", PAGES)
def test_page_is_well_formed(name: str) -> None:
    """Neither mandoc nor groff reports anything, and no placeholder is left."""
    assert run("mandoc", "-Tlint", "-Wall", source=PAGES[name]) == ""
    assert run("groff", "-ww", "-k", "-man", "-z", source=PAGES[name]) == ""
    assert not re.search(r"^@|@[A-Z]+@", PAGES[name], re.MULTILINE)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_option_is_described(name: str) -> None:
    """filemapd.8 has each option of `--help`, with its description and default."""
    command = main.get_command(click.Context(main), name) if name else main
    assert command is not None
    context = click.Context(command)
    title = " ".join(["filemapd", name, *command.collect_usage_pieces(context)]) if name else "OPTIONS"
    described = entries("filemapd.8", title)
    options = [option for option in command.params if isinstance(option, click.Option)]
    for option in options:
        tag, description = next(
            (tag, description) for tag, description in described.items() if option.opts[-1] in tag
        )
        assert set(option.opts) <= set(re.split(r"[, ]+", tag))
        assert option.help is not None
        assert description.startswith(" ".join(option.help.split()))
        if option.show_default:
            assert f"default: {option.default}" in description
    assert len(described) == len(options) + 1, "and --help"


def test_every_key_has_its_default() -> None:
    """filemaps.yaml.5 has each key of the configuration; setting it to the documented default changes
    nothing."""
    described = entries("filemaps.yaml.5")
    for key in dotted(Config):
        default = described[key].rpartition("Default: ")[2].removesuffix(".")
        if default not in {"required", "none"}:
            assert load(nested(key, yaml.safe_load(default))) == load(without(key)), key


def test_every_exit_status_is_listed() -> None:
    """filemapd.8 lists those of `--help`."""
    helped = CliRunner().invoke(main, ["--help"]).output.partition("Exit statuses:")[2]
    assert list(entries("filemapd.8", "EXIT STATUS")) == re.findall(r"^ +(\d+) ", helped, re.MULTILINE)


def test_arguments_of_dmfilemapd() -> None:
    """dmfilemapd.8 has the arguments of the printed usage, in that order, and their defaults."""
    with pytest.raises(ValueError, match="usage") as wrong:
        parse_arguments([])
    described = entries("dmfilemapd.8", "ARGUMENTS")
    assert list(described) == re.findall(r"<(\w+)>", str(wrong.value))
    given = parse_arguments(["3", "0", "/x", "inode"])
    assert f"{int(given.foreground)} goes on in the background, and is the default" in described["foreground"]
    assert f"{given.log_level}, which is the default" in described["log_level"]
    assert list(entries("dmfilemapd.8", "EXIT STATUS")) == ["0", "1"]


def test_examples_are_shown_as_they_stand() -> None:
    """Nothing in examples or code is parsed as roff or replaced with typographic characters."""
    lines = ["-a 'b' `c` \\n \\fB \"^~\"", ".TP", "'br", "  0→4 µs", "a -- b"]
    source = "\n".join([".TH X 1 2026-01-31", ".SH NAME", *roff("\n".join(["```", *lines, "```"])), ""])
    page = run("mandoc", "-man", "-Tutf8", source=source).splitlines()
    assert [line[11:] for line in page[3:8]] == lines
    assert list(roff("See `a\\-b` in [Top](#top), *not*\n.here")) == [
        ".PP",
        r"See \fBa\e\-b\fR in Top, \fInot\fR .here",
    ]
