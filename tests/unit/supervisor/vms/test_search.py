"""The search for machines, over real folders, links and processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from supervisor.vms.libvirt import MAX_BYTES
from supervisor.vms.matching import Identity, Machine
from supervisor.vms.search import LibvirtFile, SearchResult, from_raw, search, search_as_json, to_raw
from tests.unit.libvirt import UUID, disk, domain, running
from tests.unit.supervisor.vms.test_qemu import identity, process


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A folder like /run/libvirt/qemu."""
    folder = tmp_path / "live"
    folder.mkdir()
    return folder


@pytest.fixture
def defined(tmp_path: Path) -> Path:
    """A folder like /etc/libvirt/qemu, with its other content."""
    folder = tmp_path / "defined"
    (folder / "networks").mkdir(parents=True)
    (folder / "autostart").mkdir()
    (folder / "networks" / "default.xml").write_text("<network><name>default</name></network>")
    return folder


def image(tmp_path: Path, name: str) -> Path:
    """Create a file and return its path."""
    path = tmp_path / name
    path.touch()
    return path


def search_for(
    folders: list[Path], *wanted: Path, known: SearchResult | None = None, processes: bool = False
) -> SearchResult:
    """Search for the machines of files."""
    identities: set[Identity] = {identity(path) for path in wanted}
    names = [str(folder) for folder in folders]
    return search(names, processes=processes, wanted=identities, known=known.files if known else {})


def test_by_device_and_inode(tmp_path: Path, live: Path) -> None:
    """Libvirt's path may be a hard link or lead through links: files are matched by identity."""
    one, two, base = (image(tmp_path, name) for name in ("one.img", "two.img", "base.img"))
    os.link(one, tmp_path / "hard.img")
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "soft.img").symlink_to("folder/two.img")
    files = disk(f"{tmp_path}/hard.img", f"{tmp_path}/folder/base.img"), disk(f"{tmp_path}/soft.img")
    (live / "web.xml").write_text(running("web", *files))
    found = search_for([live], one, two, base)
    assert found.machines == {
        identity(one): Machine("web", UUID, "disk", 0),
        identity(two): Machine("web", UUID, "disk", 0),
        identity(base): Machine("web", UUID, "backing", 0),
    }


def test_only_what_is_wanted(tmp_path: Path, live: Path) -> None:
    """Other images of the host are left out."""
    one, two = image(tmp_path, "one.img"), image(tmp_path, "two.img")
    (live / "web.xml").write_text(running("web", disk(str(one)), disk(str(two)), disk("/none.img")))
    assert list(search_for([live], one).machines) == [identity(one)]


def test_running_before_defined(tmp_path: Path, live: Path, defined: Path) -> None:
    """A running clone takes precedence over the stopped template whose file is its backing file."""
    base = image(tmp_path, "base.img")
    (defined / "template.xml").write_text(domain("template", disk(str(base)), uuid="t"))
    assert search_for([live, defined], base).machines[identity(base)] == Machine("template", "t", "disk", 0)
    for i in range(3):
        (live / f"{i}.xml").write_text(running(f"clone{i}", disk("/x", str(base)), uuid=f"c{i}"))
    assert search_for([live, defined], base).machines[identity(base)] == Machine("clone0", "c0", "backing", 2)


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    """A host without libvirt has no machines."""
    one = image(tmp_path, "one.img")
    assert search_for([tmp_path / "none", one], one) == SearchResult({}, {})


def test_bad_files_cost_nothing_but_their_own_line(tmp_path: Path, live: Path) -> None:
    """Each bad file in the folder is reported with its reason, the good one counts, and nothing blocks."""
    one = image(tmp_path, "one.img")
    (live / "good.xml").write_text(running("good", disk(str(one))))
    (live / "cut.xml").write_text(running("cut", disk(str(one)))[:-40])
    (live / "bomb.xml").write_text("<!DOCTYPE x [<!ENTITY a 'b'>]><domain><name>&a;</name></domain>")
    (live / "large.xml").write_bytes(b" " * (MAX_BYTES + 1))
    (live / "link.xml").symlink_to(live / "good.xml")
    (live / "folder.xml").mkdir()
    os.mkfifo(live / "pipe.xml")
    (live / "good.pid").write_text("4711")
    (live / os.fsdecode(b"\xff.xml")).write_text("<domain/>")
    found = search_for([live], one)
    assert found.machines == {identity(one): Machine("good", UUID, "disk", 0)}
    reasons = {os.path.basename(path): read.problem for path, read in found.files.items()}
    assert reasons == {
        "good.xml": "",
        "cut.xml": reasons["cut.xml"],
        "bomb.xml": "has a document type",
        "large.xml": f"larger than {MAX_BYTES} bytes",
        "link.xml": "Too many levels of symbolic links",
        "folder.xml": "not a regular file",
        "pipe.xml": "not a regular file",
        "\udcff.xml": "no domain with a name",
    }
    assert reasons["cut.xml"].startswith("not XML")


def test_only_changed_files_are_read_again(tmp_path: Path, live: Path) -> None:
    """A parsed file, also a bad one, is read again only once it was replaced."""
    one, two = image(tmp_path, "one.img"), image(tmp_path, "two.img")
    (live / "a.xml").write_text(running("a", disk(str(one))))
    (live / "b.xml").write_text("<b/>")
    first = search_for([live], one, two)
    second = search_for([live], one, two, known=first)
    assert all(second.files[path] is read for path, read in first.files.items())
    (live / "b.xml.new").write_text(running("b", disk(str(two))))
    (live / "b.xml.new").rename(live / "b.xml")
    third = search_for([live], one, two, known=second)
    same = {path for path, read in first.files.items() if third.files[path] is read}
    assert same == {str(live / "a.xml")}
    assert third.machines[identity(two)].name == "b"
    (live / "a.xml").unlink()
    assert list(search_for([live], one, two, known=third).files) == [str(live / "b.xml")]


def test_processes_are_searched_for_the_rest(tmp_path: Path, live: Path, defined: Path) -> None:
    """Processes are searched for machines without libvirt and for volumes that only libvirt knows. A process
    whose files are in libvirt's XML is skipped. A process takes precedence over a defined machine."""
    one, two, three = (image(tmp_path, f"{i}.img") for i in range(3))
    (live / "one.xml").write_text(running("one", disk(str(one)), pid=os.getpid()))
    (defined / "old.xml").write_text(domain("old", disk(str(two))))
    volume = "<disk type='volume'><source pool='default' volume='2.img'/></disk>"
    with process(f"rw:{one}", f"rw:{two}", f"ro:{three}", words=("-name", "plain")) as pid:
        found = search_for([live, defined], one, two, three, processes=True).machines
        assert found == {
            identity(one): Machine("one", UUID, "disk", 0),
            identity(two): Machine("plain", None, "disk", 0),
            identity(three): Machine("plain", None, "backing", 0),
        }
        for disks, asked in (((volume,), True), ((disk("/none.img"),), True), ((disk(str(one)),), False)):
            (live / "one.xml").write_text(running("one", *disks, pid=pid))
            found = search_for([live], one, three, processes=True).machines
            assert (identity(three) in found) is asked
        assert search_for([live], three).machines == {}


def test_the_result_is_json(tmp_path: Path, live: Path) -> None:
    """The result has machines with their files, and only files new to the caller. Names of any bytes
    survive."""
    one = image(tmp_path, "one.img")
    path = live / os.fsdecode(b"\xffweb.xml")
    path.write_text(running("web\u202e", disk(str(one), "/b.img")))
    (live / "bad.xml").write_text("<bad/>")
    wanted = {identity(one)}
    result = json.loads(search_as_json([str(live)], processes=False, wanted=wanted, known={}))
    assert result["machines"] == [[*identity(one), "web\\u202e", UUID, "disk", 0]]
    assert result["files"][str(live / "bad.xml")][1:] == [None, "no domain with a name"]
    again = json.loads(search_as_json([str(live)], processes=False, wanted=wanted, known=result["files"]))
    assert again == {"machines": result["machines"], "files": {str(live / "bad.xml"): None, str(path): None}}


def test_domains_as_json(live: Path) -> None:
    """Serialised and parsed it is the same."""
    (live / "web.xml").write_text(running("web", disk("/a.img", "/b.img")))
    for read in (*search_for([live]).files.values(), LibvirtFile((1, 2), None, "bad")):
        assert from_raw(json.loads(json.dumps(to_raw(read)))) == read
