"""The parser of documented commands, and that it finds all of them."""

from __future__ import annotations

import re

import pytest

from tests.commands import DOCUMENTS, ROOT, Command, commands, fences, missing

TEXT = """Words.

```console
# first --flag \\
>    more
line 1
# second
$ third <<END
> here
> END
...
last
```
```text
# not a command
```
"""


def test_commands_are_read() -> None:
    """Each with its continuation lines and its output."""
    assert list(commands(TEXT)) == [
        Command("first --flag \\\n   more", ("line 1",)),
        Command("second", ()),
        Command("third <<END\nhere\nEND", ("...", "last")),
    ]


def test_what_is_missing() -> None:
    """Figures may differ, words and their number may not."""
    shown = (
        "db01.img  RUNNING 23  1  2MiB  -  0.4%",
        "...",
        '{"reads":100,"at":"2026-11-23T05:28:00Z","why":"it went"}',
        "over 3.4s; few",
        '"db01.img" 0,23 group',
    )
    printed = (
        "db01.img RUNNING -  0  17KiB few 12%\n"
        '{"reads":7,"at":"2027-01-01T00:00:00Z","why":"it went"}\nover 1s; -\n"db01.img" 22-23 group\n'
    )
    assert missing(shown, printed) == []
    for word, other in (
        ("RUNNING", "FAILED"),
        ("few 12%", "12%"),
        ("reads", "writes"),
        ("it went", "it came"),
    ):
        assert len(missing(shown, printed.replace(word, other))) == 1


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_command_is_hidden(name: str) -> None:
    """All code is in fences with a language, commands in those for commands."""
    document = (ROOT / name).read_text(encoding="utf-8")
    outside = re.sub(r"^```.*?^```$", "", document, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^(?: {4}|\t|~~~|```).*", outside, re.MULTILINE) == []
    for language, block in fences(document):
        assert language in {"console", "text", "yaml", "promql", "bash", "python"}
        if language == "console":
            assert block.startswith(("# ", "$ ")), block
        elif language == "text":
            assert not re.search(r"^[#$] ", block, re.MULTILINE), block
