"""The messages to a device, against the output of dmsetup and dmstats."""

from __future__ import annotations

import errno
import os

import pytest

from dmstats import ioctl
from dmstats.device import Device
from dmstats.errors import DmError
from dmstats.region import Region
from sandbox import devices
from tests.kernel import oracle
from tests.unit.model import ModelDevice


def touch(device: devices.Device, sector: int, reads: int, writes: int) -> None:
    """Do reads and writes of 4 KiB at a sector, past the page cache."""
    script = ("dd", "bs=4096", "status=none")
    for _ in range(reads):
        oracle.run(
            *script, f"if={device.path}", "of=/dev/null", f"skip={sector // 8}", "count=1", "iflag=direct"
        )
    for _ in range(writes):
        oracle.run(
            *script, "if=/dev/zero", f"of={device.path}", f"seek={sector // 8}", "count=1", "oflag=direct"
        )


def test_create_and_list(device: devices.Device) -> None:
    """Regions are created as requested, with ids from the kernel, and listed as dmsetup and dmstats list
    them."""
    stats = Device(device.dev_t)
    assert stats.list().regions == ()
    assert stats.create(0, 64) == 0
    assert stats.create(64, 8, precise=True, program="other", aux="mine") == 1
    assert stats.create(72, 8, bounds=(1, 10)) == 2
    assert stats.create(80, 8, precise=True, bounds=(100_000, 1_000_000)) == 3
    assert stats.list().regions == (
        Region(0, 0, 64, 64, "dmstats", "-"),
        Region(1, 64, 8, 8, "other", "mine", precise=True),
        Region(2, 72, 8, 8, "dmstats", "-", bounds=(1, 10)),
        Region(3, 80, 8, 8, "dmstats", "-", precise=True, bounds=(100_000, 1_000_000)),
    )
    assert [r.id for r in stats.list("other").regions] == [1]
    assert stats.list("nobody").regions == ()
    assert [(row.id, row.start, row.length) for row in oracle.rows(device.name)] == [
        (0, 0, 64), (1, 64, 8), (2, 72, 8), (3, 80, 8),
    ]  # fmt: skip
    shown = oracle.fields(device.name, "region", "region_id", "region_start", "region_len", "precise")
    assert shown == [["0", "0", "64", "0"], ["2", "72", "8", "0"], ["3", "80", "8", "1"]]


def test_delete_frees_the_id(device: devices.Device) -> None:
    """A deleted region is gone. Its id, the lowest free one, is the next that the kernel assigns."""
    stats = Device(device.dev_t)
    for at in range(3):
        stats.create(8 * at, 8)
    stats.delete(1)
    assert [row.id for row in oracle.rows(device.name)] == [0, 2]
    assert stats.create(800, 8) == 1
    assert stats.create(808, 8) == 3


def test_print_and_clear(device: devices.Device) -> None:
    """Counters are those of the region's own I/O; clearing and reading with clearing reset them."""
    stats = Device(device.dev_t)
    stats.create(0, 64, precise=True, bounds=(3_600_000_000_000,))
    stats.create(64, 64)
    first, second = stats.list().regions
    touch(device, 8, reads=3, writes=2)
    counters = stats.print(first)
    assert (counters.reads, counters.sectors_read, counters.writes, counters.sectors_written) == (
        3,
        24,
        2,
        16,
    )
    assert counters.histogram == (5, 0)
    assert counters.read_ns > 0
    assert stats.print(second).scalars() == (0,) * 9
    assert stats.print_clear(first).reads == 3
    assert stats.print(first).reads == 0
    touch(device, 64, reads=1, writes=0)
    assert stats.print(second).reads == 1
    stats.clear(second.id)
    assert stats.print(second).reads == 0


def test_counters_of_many_regions(device: devices.Device) -> None:
    """Each row has the counters that dmsetup prints for the region, or the sums over its areas. A region
    whose id has been reused for another range has none."""
    stats = Device(device.dev_t)
    stats.create(0, 64, precise=True)
    oracle.message(device.name, "@stats_create 64+24 8 1 precise_timestamps dmstats -")
    touch(device, 8, reads=3, writes=2)
    touch(device, 72, reads=1, writes=1)
    touch(device, 80, reads=2, writes=0)
    regions = stats.list().regions
    rows = []
    for region in regions:
        areas = [
            list(map(int, line.split()[1:]))
            for line in oracle.message(device.name, f"@stats_print {region.id}").splitlines()
        ]
        rows += [region.start, region.length, *map(sum, zip(*areas, strict=True))]
    assert rows[17 : 17 + 3] == [3, 0, 24]
    assert list(stats.print_all(regions)) == rows
    assert list(stats.print_all(())) == []
    stats.delete(0)
    stats.create(8, 64, precise=True)
    with pytest.raises(DmError, match="the range of a region is another now"):
        stats.print_all(regions)


def test_print_is_what_dmstats_reports(device: devices.Device) -> None:
    """The counters are those that `dmstats report` shows."""
    stats = Device(device.dev_t)
    stats.create(0, 64, precise=True)
    (region,) = stats.list().regions
    touch(device, 0, reads=4, writes=3)
    # Read first: `dmstats report` zeroes what it reports.
    counters = stats.print(region)
    text = oracle.run(
        "dmstats", "report", "--noheadings", "--separator", "|", "--units", "s", "--nosuffix", "-o",
        "read_count,write_count,read_sector_count,write_sector_count", device.name,
    )  # fmt: skip
    figures = [counters.reads, counters.writes, counters.sectors_read, counters.sectors_written]
    assert [float(figure) for figure in text.strip().split("|")] == figures


def test_print_of_a_reused_id(device: devices.Device) -> None:
    """When the id has been reused for another range, no counters are returned for the old region."""
    stats = Device(device.dev_t)
    stats.create(0, 64)
    (old,) = stats.list().regions
    stats.delete(0)
    stats.create(64, 64)
    for read in (stats.print, stats.print_clear):
        with pytest.raises(DmError, match="its range is another now") as refused:
            read(old)
        assert refused.value.errno == errno.ENOENT


ODD_WORDS = [
    "two words",
    "  ends  ",
    "tab\there",
    "\v\f\r",
    "back\\slash\\",
    "à la carte",
    "\udcff\udca0",
    '"quoted"',
    "x" * 5000,
]


@pytest.mark.parametrize("aux", ODD_WORDS)
def test_aux_is_stored_to_the_byte(device: devices.Device, aux: str) -> None:
    """An aux of any bytes is read back unchanged, after creation and after set_aux."""
    stats = Device(device.dev_t)
    stats.create(0, 8, aux=aux)
    stats.create(8, 8)
    stats.set_aux(1, aux)
    assert [region.aux for region in stats.list().regions] == [aux, aux]
    raw = aux.encode("utf-8", "surrogateescape")
    assert oracle.message(device.name, "@stats_list") == b"0: 0+8 8 dmstats %s\n1: 8+8 8 dmstats %s\n" % (
        raw,
        raw,
    )
    stats.set_aux(1, "")
    assert stats.list().regions[1].aux == "-"


@pytest.mark.parametrize("program", ["two words", "à", "back\\slash"])
def test_program_is_one_word(device: devices.Device, program: str) -> None:
    """A program name of any bytes reaches the kernel as one word, and its regions are found by it."""
    stats = Device(device.dev_t)
    stats.create(0, 8, program=program, aux="mine")
    stats.create(8, 8, program="two")
    (line,) = stats.list_text(program).splitlines()
    assert line == f"0: 0+8 8 {program} mine".encode()


def test_model_is_like_the_kernel(device: devices.Device) -> None:
    """The unit tests' model of the kernel responds as the kernel does."""
    real, model = Device(device.dev_t), ModelDevice()
    for one in (real, model):
        for at in range(6):
            one.create(8 * at, 8, precise=at % 2 == 0, bounds=(1, 5) if at > 2 else (), aux=f"a {at}")
        one.delete(1)
        one.delete(4)
        one.set_aux(2, 'DMS_GROUP="à b":2-3#-')
        assert one.create(100, 8, program="p q") == 1
        one.clear(0)
    assert real.list_text() == model.list_text()
    assert real.list_text("dmstats") == model.list_text("dmstats")
    for region in model.list("dmstats").regions:
        assert real.print(region) == model.print(region)
    for one in (real, model):
        with pytest.raises(DmError) as refused:
            one.delete(77)
        assert refused.value.errno == errno.ENOENT


def test_long_lists(device: devices.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that overflows the buffer many times over is read completely: over 1,000 regions, and one with
    an aux of 20 KiB."""
    monkeypatch.setattr(ioctl, "_buffer", bytearray(ioctl._FIRST_BUFFER))
    monkeypatch.setattr(ioctl, "_rooms", {})
    stats = Device(device.dev_t)
    for at in range(1100):
        stats.create(8 * at, 8)
    stats.set_aux(500, "y" * 20_000)
    regions = stats.list().regions
    assert [(r.id, r.start) for r in regions] == [(at, 8 * at) for at in range(1100)]
    assert regions[500].aux == "y" * 20_000
    assert len(ioctl._buffer) > ioctl._FIRST_BUFFER
    # The kernel copies as much as the stated buffer size: for other messages that stays small.
    assert set(ioctl._rooms) == {b"@stats_list"}
    # A message longer than the first buffer is also sent whole.
    monkeypatch.setattr(ioctl, "_buffer", bytearray(ioctl._FIRST_BUFFER))
    monkeypatch.setattr(ioctl, "_rooms", {})
    stats.set_aux(501, "z" * 30_000)
    assert stats.list().regions[501].aux == "z" * 30_000


def test_overflowing_print_clear_loses_nothing(
    device: devices.Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counters that overflow the buffer are read again before they are cleared."""
    stats = Device(device.dev_t)
    oracle.message(device.name, "@stats_create 0+8192 8")
    (region,) = stats.list().regions
    touch(device, 0, reads=2, writes=0)
    touch(device, 8000, reads=3, writes=0)
    monkeypatch.setattr(ioctl, "_buffer", bytearray(ioctl._FIRST_BUFFER))
    monkeypatch.setattr(ioctl, "_rooms", {})
    assert stats.print_clear(region).reads == 5
    assert len(ioctl._buffer) > ioctl._FIRST_BUFFER
    assert stats.print_clear(region).reads == 0


def test_refusals_name_command_and_device(device: devices.Device) -> None:
    """An error of the kernel is reported with its errno, the command and the device."""
    stats = Device(device.dev_t)
    for number, refused_call, command in (
        (errno.ENOENT, lambda: stats.delete(7), "@stats_delete 7"),
        (errno.ENOENT, lambda: stats.clear(7), "@stats_clear 7"),
        (errno.ENOENT, lambda: stats.set_aux(7, "a"), "@stats_set_aux 7 a"),
        (errno.ENOENT, lambda: stats.print(Region(7, 0, 8, 8, "dmstats", "-")), "@stats_print 7"),
        (errno.EINVAL, lambda: stats.create(8, 8, bounds=(5, 1)), "@stats_create 8+8 /1 1 histogram:5,1"),
        (errno.EINVAL, lambda: stats.create(8, 0), "@stats_create 8+0 /1"),
    ):
        with pytest.raises(DmError) as refused:
            refused_call()
        text = str(refused.value)
        assert refused.value.errno == number
        assert text.startswith(command)
        assert f"on device {stats.number}: {os.strerror(number)}" in text
    assert oracle.rows(device.name) == []


def test_no_such_device() -> None:
    """A number that isn't a device-mapper device's is refused, with the number."""
    with pytest.raises(DmError, match=r"@stats_list on device 7:250: .*\(ENXIO\)"):
        Device(os.makedev(7, 250)).list()


def test_name_and_io(device: devices.Device) -> None:
    """A device has the name that dmsetup shows, or its number once it's gone. I/O changes the text of its
    counters."""
    stats = Device(device.dev_t)
    assert stats.name() == device.name
    before = stats.io_text()
    assert stats.io_text() == before
    touch(device, 0, reads=1, writes=0)
    assert stats.io_text() != before
    assert Device(os.makedev(7, 250)).name() == "7:250"
