"""Markdown as the README is written in, as the source of a man page (man(7)). Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

_WIDTH: Final = 78
_INLINE: Final = re.compile(r"`(?P<code>[^`]+)`|\[(?P<link>[^]]+)\]\([^)]*\)|\*(?P<stressed>[^*]+)\*")
# What roff would replace by typographic characters, or takes for a command of its own.
_ESCAPES: Final = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}


def section(document: str, heading: str) -> str:
    """Return what stands below the heading `## Title`, up to the next one of its level or above.

    Raises LookupError where there is no such heading.
    """
    level = len(heading.partition(" ")[0])
    found: list[str] | None = None
    fenced = False
    for line in document.splitlines(keepends=True):
        fenced ^= line.startswith("```")
        # In a fence, # is a shell's prompt.
        title = None if fenced else re.match(r"(#+) ", line)
        if found is not None and title is not None and len(title[1]) <= level:
            break
        if found is not None:
            found.append(line)
        elif line.rstrip() == heading:
            found = []
    if found is None:
        raise LookupError(f"there is no section {heading!r}")
    return "".join(found)


def literal(text: str) -> str:
    """Return `text` such that it is shown as it stands."""
    escaped = "".join(_ESCAPES.get(char, char) for char in text)
    return "".join(char if char.isascii() else rf"\[u{ord(char):04X}]" for char in escaped)


def inline(text: str) -> str:
    """Return a piece of running text: code bold, what is stressed in italics, links as their words."""
    done, end = [], 0
    for match in _INLINE.finditer(text):
        done.append(_running(text[end : match.start()]))
        if match["code"]:
            done.append(rf"\fB{literal(match['code'])}\fR")
        elif match["link"]:
            done.append(inline(match["link"]))
        else:
            done.append(rf"\fI{_running(match['stressed'])}\fR")
        end = match.end()
    return "".join(done) + _running(text[end:])


def roff(markdown: str) -> Iterator[str]:
    """Yield the lines of the man page that `markdown` makes."""
    for kind, lines in _blocks(markdown.splitlines()):
        match kind:
            case "heading":
                yield f".SS {inline(lines[0].lstrip('# '))}"
            case "table":
                yield from _table(lines)
            case "example":
                yield from example(lines)
            case "list":
                for item in re.split(r"^- ", "\n".join(lines), flags=re.MULTILINE)[1:]:
                    yield r".IP \(bu 2"
                    yield from paragraph(item)
            case _:
                yield ".PP"
                yield from paragraph("\n".join(lines))


def paragraph(text: str) -> Iterator[str]:
    """Yield the lines of running text, none of which roff takes for a request."""
    for line in textwrap.wrap(
        inline(" ".join(text.split())), _WIDTH, break_long_words=False, break_on_hyphens=False
    ):
        yield rf"\&{line}" if line.startswith((".", "'")) else line


def example(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of text that is shown as it stands."""
    yield from (".PP", ".RS 4", ".EX")
    for line in lines:
        yield rf"\&{literal(line)}" if line.startswith((".", "'")) else literal(line)
    yield from (".EE", ".RE")


def entry(tag: str, text: str) -> Iterator[str]:
    """Yield the lines of one entry of a list of terms. `tag` is in roff, `text` in Markdown."""
    yield ".TP"
    yield tag
    yield from paragraph(text)


def _running(text: str) -> str:
    return literal(text).replace(r"\-", "-").replace(r"\(aq", "'")


def _table(lines: list[str]) -> Iterator[str]:
    """Yield a table: the first column names terms, one headed `Default` or `Details` comes after the others."""
    head, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    for row in rows[1:]:
        texts, after = [], []
        for title, cell in zip(head[1:], row[1:], strict=True):
            if title in {"Default", "Details"}:
                after.append(f"{title}: {cell}.")
            else:
                texts.append(cell)
        yield from entry(inline(row[0]), " ".join(texts))
        if after:
            yield ".br"
            yield from paragraph(" ".join(after))


def _blocks(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the blocks of a text, each with its kind and its lines."""
    at = 0
    while at < len(lines):
        kind = _kind(lines[at])
        start = at
        at += 1
        if kind == "fence":
            end = lines.index("```", at)
            yield "example", lines[at:end]
            at = end + 1
            continue
        while at < len(lines) and _goes_on(kind, lines[at]):
            at += 1
        if kind == "example":
            while not lines[at - 1]:
                at -= 1
            yield kind, textwrap.dedent("\n".join(lines[start:at])).split("\n")
        elif kind != "empty":
            yield kind, lines[start:at]


def _kind(line: str) -> str:
    for start, kind in (
        ("```", "fence"),
        ("#", "heading"),
        ("|", "table"),
        ("    ", "example"),
        ("- ", "list"),
    ):
        if line.startswith(start):
            return kind
    return "text" if line else "empty"


def _goes_on(kind: str, line: str) -> bool:
    """Return whether a block of that kind goes on with this line."""
    match kind:
        case "heading":
            return False
        case "example":
            return not line or line.startswith("    ")
        case "list":
            return bool(line)
        case _:
            return _kind(line) == kind
