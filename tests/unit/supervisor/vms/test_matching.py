"""Which machine a file is shown with."""

from __future__ import annotations

from itertools import permutations

from supervisor.vms.matching import Claim, Machine, Source, choose

FILE = (1, 2)


def claim(name: str, role: str = "disk", source: Source = Source.RUNNING, uuid: str | None = None) -> Claim:
    """Return a claim to FILE."""
    return Claim(FILE, name, uuid, role, source)


def chosen(*claims: Claim) -> Machine:
    """Return the machine, which must not depend on the order."""
    found = {choose(order)[FILE] for order in permutations(claims)}
    assert len(found) == 1
    return found.pop()


def test_one_claim() -> None:
    """A single claim is taken."""
    assert choose([]) == {}
    assert chosen(claim("web", uuid="u")) == Machine("web", "u", "disk", 0)


def test_running_machines_take_precedence() -> None:
    """A process has the file now, a defined machine may have lost it: the process takes precedence."""
    defined = claim("defined", source=Source.DEFINED)
    process = claim("process", "backing", Source.PROCESS)
    runs = claim("runs", "backing")
    assert chosen(defined, process, runs).name == "runs"
    assert chosen(defined, process).name == "process"
    assert chosen(defined).name == "defined"


def test_a_disk_before_a_backing_file() -> None:
    """A file can be both, of one machine or of two: the machine that writes to it takes precedence."""
    assert chosen(claim("a", "backing"), claim("b", "disk")) == Machine("b", None, "disk", 1)
    assert chosen(claim("a", "backing"), claim("a", "disk")) == Machine("a", None, "disk", 0)


def test_others_are_counted() -> None:
    """A shared backing file is shown with the first machine by name, and the number of others."""
    clones = [claim(f"clone{i}", "backing", uuid=f"u{i}") for i in range(4)]
    assert chosen(*clones) == Machine("clone0", "u0", "backing", 3)
    same_name = [claim("clone", "backing", uuid=f"u{i}") for i in range(2)]
    assert chosen(*same_name) == Machine("clone", "u0", "backing", 1)
    assert chosen(claim("a"), claim("b", source=Source.DEFINED)).others == 0


def test_names_are_printable() -> None:
    """A tenant may choose the name: control characters are escaped, and the length is bounded."""
    assert chosen(claim("a\x1b[31m\nb\udcff", uuid="\x07")) == Machine(
        "a\\x1b[31m\\nb\\udcff", "\\x07", "disk", 0
    )
    assert len(chosen(claim("x" * 100_000)).name) == 255
