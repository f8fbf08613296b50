"""Which machine a file is shown with."""

from __future__ import annotations

from itertools import permutations

from supervisor.vms.matching import Claim, Machine, Source, choose

FILE = (1, 2)


def claim(name: str, role: str = "disk", source: Source = Source.RUNNING, uuid: str | None = None) -> Claim:
    """Return a claim to FILE."""
    return Claim(FILE, name, uuid, role, source)


def chosen(*claims: Claim) -> Machine:
    """Return the machine, which doesn't depend on the order."""
    found = {choose(order)[FILE] for order in permutations(claims)}
    assert len(found) == 1
    return found.pop()


def test_one_claim() -> None:
    """Nothing to choose from."""
    assert choose([]) == {}
    assert chosen(claim("web", uuid="u")) == Machine("web", "u", "disk", 0)


def test_what_runs_is_believed_most() -> None:
    """A machine that is only defined may have been given the file long ago; a process has it now."""
    defined = claim("defined", source=Source.DEFINED)
    process = claim("process", "backing", Source.PROCESS)
    runs = claim("runs", "backing")
    assert chosen(defined, process, runs).name == "runs"
    assert chosen(defined, process).name == "process"
    assert chosen(defined).name == "defined"


def test_a_disk_before_a_backing_file() -> None:
    """A file can be both, of one machine or of two: whoever has it as a disk writes to it."""
    assert chosen(claim("a", "backing"), claim("b", "disk")) == Machine("b", None, "disk", 1)
    assert chosen(claim("a", "backing"), claim("a", "disk")) == Machine("a", None, "disk", 0)


def test_others_are_counted() -> None:
    """A common backing file is the first one's by name, and that it isn't its alone is told."""
    clones = [claim(f"clone{i}", "backing", uuid=f"u{i}") for i in range(4)]
    assert chosen(*clones) == Machine("clone0", "u0", "backing", 3)
    same_name = [claim("clone", "backing", uuid=f"u{i}") for i in range(2)]
    assert chosen(*same_name) == Machine("clone", "u0", "backing", 1)
    assert chosen(claim("a"), claim("b", source=Source.DEFINED)).others == 0


def test_names_are_printable() -> None:
    """A tenant may choose the name: it can't steer a terminal, and isn't long without end."""
    assert chosen(claim("a\x1b[31m\nb\udcff", uuid="\x07")) == Machine(
        "a\\x1b[31m\\nb\\udcff", "\\x07", "disk", 0
    )
    assert len(chosen(claim("x" * 100_000)).name) == 255
