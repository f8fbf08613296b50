"""Parsing of libvirt's XML, and what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.vms.libvirt import MAX_BYTES, Domain, parse
from tests.unit.libvirt import UUID, disk, domain, running


def read(text: str) -> Domain:
    """Return the domain of a text."""
    return parse(text.encode())


def test_a_machine_that_runs() -> None:
    """Process, overlay and chain of backing files are distinguished; metadata, jobs and ports are ignored."""
    overlay = disk("/images/web01.qcow2", "/images/base.qcow2", "/images/golden.qcow2")
    assert read(running("web01", overlay, disk("/images/data.img"), pid=4711)) == Domain(
        "web01",
        UUID,
        running=True,
        pid=4711,
        disks=(
            ("/images/web01.qcow2", "disk"),
            ("/images/base.qcow2", "backing"),
            ("/images/golden.qcow2", "backing"),
            ("/images/data.img", "disk"),
        ),
        whole=True,
    )


def test_a_machine_that_is_defined() -> None:
    """A defined machine has no process, and mostly no backing files in its XML."""
    text = domain("web01", "<disk type='file'><source file='/images/web01.qcow2'/><target dev='vda'/></disk>")
    assert read(text) == Domain("web01", UUID, False, None, (("/images/web01.qcow2", "disk"),), True)


def test_every_file_of_a_disk() -> None:
    """A job's target and a data file belong to the machine too; those of a backing file are backing."""
    copied = """
      <disk type='file' device='disk'>
        <source file='/a.qcow2'>
          <slices><slice type='storage' offset='0' size='1'/></slices>
          <dataStore type='file'><format type='raw'/><source file='/a.raw'/></dataStore>
        </source>
        <backingStore type='file'>
          <source file='/b.qcow2'>
            <dataStore type='file'><format type='raw'/><source file='/b.raw'/></dataStore>
          </source>
        </backingStore>
        <mirror type='file' job='copy' ready='yes'><format type='qcow2'/><source file='/c.qcow2'/></mirror>
      </disk>"""
    assert read(running("x", copied)).disks == (
        ("/a.qcow2", "disk"),
        ("/a.raw", "disk"),
        ("/b.qcow2", "backing"),
        ("/b.raw", "backing"),
        ("/c.qcow2", "disk"),
    )


@pytest.mark.parametrize(
    ("other", "whole"),
    [
        ("<disk type='block'><source dev='/dev/vg/lv'/></disk>", True),
        ("<disk type='network'><source protocol='rbd' name='pool/image'/></disk>", True),
        ("<disk type='file' device='cdrom'><target dev='sda'/></disk>", True),
        ("<disk type='file'><source file=''/></disk>", True),
        ("<disk type='file'><source file='relative.img'/></disk>", True),
        ("<disk type='volume'><source pool='default' volume='web01.qcow2'/></disk>", False),
    ],
)
def test_disks_that_are_no_file_with_a_path(other: str, whole: bool) -> None:
    """They are ignored; if only libvirt knows the file, the domain is marked incomplete."""
    found = read(running("x", other, disk("/a.img")))
    assert (found.disks, found.whole) == ((("/a.img", "disk"),), whole)


def test_names_are_as_written() -> None:
    """XML's own escapes are decoded, others left alone."""
    name = "<&\"' \x1b".rstrip("\x1b") + "ü\u202e"
    assert read(domain(name, disk("/a&b<c>'d\".img"))) == Domain(
        name, UUID, False, None, (("/a&b<c>'d\".img", "disk"),), True
    )


@pytest.mark.parametrize("pid", ["", "x", "-1", "99999999999", "²"])
def test_a_pid_that_is_none(pid: str) -> None:
    """The rest still counts."""
    text = running("x").replace("pid='4711'", f"pid='{pid}'")
    assert read(text).pid is None


BOMB = '<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)
)


@pytest.mark.parametrize(
    "head",
    [
        "<!DOCTYPE domain>",
        f"{BOMB}]>",
        '<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/shadow">]>',
        '<!DOCTYPE d SYSTEM "http://example.org/x.dtd">',
        '<!DOCTYPE d [<!ENTITY % p SYSTEM "file:///etc/shadow"> %p;]>',
    ],
    ids=["plain", "bomb", "file", "dtd", "parameter"],
)
def test_document_types_are_refused(head: str) -> None:
    """Nothing is expanded, and nothing is read from elsewhere."""
    text = domain("x").partition("-->\n\n")[2].replace("<name>x", "<name>&a;")
    with pytest.raises(ValueError, match="has a document type"):
        read(head + text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not XML: no element found"),
        ("<domain", "not XML: unclosed token"),
        (domain("x")[:-20], "not XML"),
        ("<domain><name>&a;</name></domain>", "not XML: undefined entity"),
        ("<domain><name>x</name></domain><domain/>", "not XML: junk after document element"),
        ("<domain><uuid>x</uuid></domain>", "no domain with a name"),
        ("<network><name>default</name></network>", "no domain with a name"),
        ("<domstatus><name>x</name></domstatus>", "no domain with a name"),
        ("<x><domain><name>x</name></domain></x>", "no domain with a name"),
        (domain("x" * MAX_BYTES), f"larger than {MAX_BYTES} bytes"),
    ],
)
def test_no_domain(text: str, reason: str) -> None:
    """The error has the reason."""
    with pytest.raises(ValueError, match=reason):
        read(text)


def test_deep_nesting() -> None:
    """Nesting as deep as the size allows needs no recursion."""
    depth = (MAX_BYTES - 100) // 7
    assert read(f"<domain><name>x</name>{'<a>' * depth}{'</a>' * depth}</domain>").name == "x"


@given(st.binary(max_size=300) | st.text(alphabet="<>/='&;! abdomeinstu\n", max_size=300).map(str.encode))
def test_anything_is_a_domain_or_an_error(data: bytes) -> None:
    """Arbitrary content raises no other exception."""
    with contextlib.suppress(ValueError):
        assert parse(data).name


@given(st.data())
def test_a_cut_or_broken_file_is_a_domain_or_an_error(data: st.DataObject) -> None:
    """The same for files half-written or damaged."""
    whole = bytearray(running("web01", disk("/a.img", "/b.img")).encode())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        assert parse(bytes(whole[: data.draw(st.integers(0, len(whole)))])).name
