"""YAML text as plain data, with the place of every key. Nothing here knows what the keys mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML without libyaml
    from yaml import SafeLoader as Loader  # type: ignore[assignment] # it has the same interface

# Aliases make a small text a huge document, and libyaml's composer overruns the stack on deep nesting.
MAX_NODES = 200_000
MAX_DEPTH = 32

_TAG = "tag:yaml.org,2002:"
_COLLECTIONS: dict[type[yaml.Node], str] = {yaml.MappingNode: f"{_TAG}map", yaml.SequenceNode: f"{_TAG}seq"}

# Common mistakes: libyaml's message, and a plainer one.
_PLAINER: dict[str, str] = {
    "mapping values are not allowed": "': ' can't stand here: put a value that holds it in quotes; else a line above "
    "lacks the space after its colon, or this one is indented too far",
    "sequence entries are not allowed": "a list can't begin here: write each item in a line of its own",
    "did not find expected key": "no key of the mapping that begins in line {begin} can stand here: indent it as the "
    "others are, and see whether a quote above ends too early",
    "found another document": "a second document begins here: a configuration is one",
    "found undefined alias": "'*' begins an alias, and no anchor has that name: put a pattern in quotes",
}

Location = tuple[str | int, ...]
"""The keys and list positions that lead to a value: ("filemaps", 1, "path")."""

Pair = tuple[yaml.Node, yaml.Node, bool]


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the text, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Flaw:
    """An error at one place of the text."""

    place: Place
    location: Location
    message: str


class YamlError(Exception):
    """The text can't be parsed; `place` is where that showed."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.place = Place(line, column)


@dataclass(slots=True)
class Document:
    """The data, without the flawed parts."""

    data: Any = None
    places: dict[Location, Place] = field(default_factory=dict)
    """Where each key or list item stands."""
    flaws: list[Flaw] = field(default_factory=list)

    def place(self, location: Location) -> Place:
        """Return the place of `location`, or of its nearest parent that has one."""
        while location and location not in self.places:
            location = location[:-1]
        return self.places.get(location, Place(1, 1))


def read_document(text: str) -> Document:
    """Return the one document in `text`; data is None where there is none. Raises YamlError."""
    bad = Reader.NON_PRINTABLE.search(text)
    if bad:
        before = text[: bad.start()]
        column = bad.start() - before.rfind("\n")
        raise YamlError(before.count("\n") + 1, column, f"the character {bad[0]!r} must not stand in YAML")
    try:
        _check_depth(text)
        root = yaml.compose(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _at(mark, f"not YAML: {_syntax(error, text)}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(1, 1, f"not YAML: {error}") from error
    builder = _Builder()
    if root is not None:
        builder.document.places[()] = _place(root)
        builder.document.data = builder.build(root, ())
    return builder.document


def _syntax(error: yaml.MarkedYAMLError, text: str) -> str:
    """Return the error in plainer words, where libyaml's are hard to understand."""
    problem, context = error.problem or "", error.context or ""
    begin = error.context_mark.line + 1 if error.context_mark else 0
    if "scanning an alias" in context or "scanning a tag" in context:
        return _no_value(error.context_mark, text)
    if "cannot start any token" in problem:
        return _no_value(error.problem_mark, text)
    for theirs, plainer in _PLAINER.items():
        if theirs in problem:
            return plainer.format(begin=begin)
    return f"{problem}, {context} that begins in line {begin}" if context and begin else problem


def _no_value(mark: Any, text: str) -> str:
    """Return advice about the character at `mark`."""
    character = text.splitlines()[mark.line][mark.column]
    if character == "\t":
        return "a tab can't indent a line: use spaces"
    return f"{character!r} can't begin a value: put it in quotes"


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _at(event.start_mark, f"nested more than {MAX_DEPTH} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _at(mark: Any, message: str) -> YamlError:
    """Return the error at `mark`, which is of a class of its own with libyaml, or None."""
    return YamlError(mark.line + 1, mark.column + 1, message) if mark else YamlError(1, 1, message)


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


class _Builder:
    """Turns nodes into data like SafeConstructor, and retains what that loses: places and duplicate keys."""

    def __init__(self) -> None:
        self.document = Document()
        self._scalars = SafeConstructor()
        self._nodes = 0

    def build(self, node: yaml.Node, location: Location) -> Any:
        self._count(node, location)
        tag = _COLLECTIONS.get(type(node))
        if tag is not None and node.tag != tag:
            self._flaw(
                node, location, f"the tag {node.tag.replace(_TAG, '!!')} means nothing here: leave it out"
            )
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return self._sequence(node, location)
        return self._scalar(node, location)

    def _count(self, node: yaml.Node, location: Location, merges: int = 0) -> None:
        self._nodes += 1
        place = _place(node)
        if len(location) + merges > MAX_DEPTH:
            raise YamlError(
                place.line, place.column, f"nested more than {MAX_DEPTH} levels deep by its aliases"
            )
        if self._nodes > MAX_NODES:
            raise YamlError(
                place.line, place.column, f"more than {MAX_NODES} values, counting each use of an alias"
            )

    def _sequence(self, node: yaml.SequenceNode, location: Location) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self.document.places[*location, index] = _place(item)
            items.append(self.build(item, (*location, index)))
        return items

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        data: dict[str, Any] = {}
        seen: dict[str, Place] = {}
        for key_node, value_node, merged in self._pairs(node, location, 0):
            key = self._key(key_node, location)
            if key is None or (key in seen and merged):
                continue
            if key in seen:
                message = f"given twice: it stands in line {seen[key].line} already"
                self._flaw(key_node, (*location, key), message)
                continue
            seen[key] = self.document.places[*location, key] = _place(key_node)
            if value_node.tag == f"{_TAG}null":
                self._flaw(key_node, (*location, key), "has no value: write one, or leave the key out")
            else:
                data[key] = self.build(value_node, (*location, key))
        return data

    def _pairs(self, node: yaml.MappingNode, location: Location, depth: int) -> Iterator[Pair]:
        """Yield keys and values: the node's own first, then those of `<<: *anchor`, marked as merged."""
        merges: list[yaml.Node] = []
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                merges += value.value if isinstance(value, yaml.SequenceNode) else [value]
            else:
                yield key, value, depth > 0
        for source in merges:
            self._count(source, location, depth)
            if isinstance(source, yaml.MappingNode):
                yield from self._pairs(source, location, depth + 1)
            else:
                self._flaw(source, location, "<< takes a mapping, as in <<: *name")

    def _key(self, node: yaml.Node, location: Location) -> str | None:
        self._count(node, location)
        key = self._scalar(node, location) if isinstance(node, yaml.ScalarNode) else None
        if isinstance(key, str):
            return key
        shown = node.value if isinstance(node, yaml.ScalarNode) else "a collection"
        self._flaw(node, location, f"the key {shown} is not text: put it in quotes")
        return None

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        try:
            return self._scalars.construct_object(node)
        except yaml.constructor.ConstructorError:
            self._unknown_tag(node, location)
        except ValueError as error:
            self._flaw(node, location, f"{node.value!r} can't be read ({error}): put it in quotes")
        return node.value

    def _unknown_tag(self, node: yaml.Node, location: Location) -> None:
        self._flaw(node, location, f"the tag {node.tag.replace(_TAG, '!!')} means nothing here: leave it out")

    def _flaw(self, node: yaml.Node, location: Location, message: str) -> None:
        self.document.flaws.append(Flaw(_place(node), location, message))
