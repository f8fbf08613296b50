"""Records a kernel's replies for the parsers' tests.

    python -m sandbox --out DIR -- python -m tests.unit.data.record

The unchanged replies are written to DIR; those in this folder are from Linux 6.1, dm 4.47.
btrfs.img.xz is what `mkfs.btrfs -q -M --rootdir FOLDER IMAGE` (btrfs-progs 6.2) makes of a 16 MiB image, FOLDER
having a file "inline" of 6 bytes and a file "file" of 64 KiB; the guest has no mkfs.btrfs of its own.
"""

from __future__ import annotations

import fcntl  # noqa: TID251 - records the ioctl's own buffer, which no function hands out
import mmap
import os
from pathlib import Path
from typing import Literal

from dmstats.fiemap import FIEMAP, FIEMAP_EXTENT, FS_IOC_FIEMAP
from dmstats.ioctl import target_message
from sandbox.devices import Device, dm_device, filesystem

MIB = 1 << 20

REGIONS = {
    "plain": b"@stats_create 0+64 /1 0 dmstats -",
    "precise": b"@stats_create 64+64 /1 1 precise_timestamps dmstats -",
    "histogram": b"@stats_create 128+64 /1 1 histogram:1,10,100 dmstats -",
    "precise_histogram": b"@stats_create 192+64 /1 2 precise_timestamps histogram:100000,1000000 other aux",
    "areas": b"@stats_create 256+100 /3 1 precise_timestamps dmstats -",
    "areas_histogram": b"@stats_create 0+256 64 1 histogram:5 dmstats -",
    "nameless": b"@stats_create - /1",
}
ODD_AUX = (
    b"two\\ words\\ \\ here",
    b"back\\\\slash",
    b"tab\\\there",
    b"one\\\nline",
    b"caf\xc3\xa9",
    b"split\xc3\\\xa0",
    b"no\xff\xfetext",
    b"end\\ precise_timestamps",
    b'DMS_GROUP="vm\\ 1":8-9#mine',
    b"x" * 5000,
)


def _reply(device: Device, message: bytes) -> bytes:
    return bytes(target_message(device.dev_t, message))


def _read_and_write(device: Device) -> None:
    """Do direct I/O at the start of each region: 3 reads of 4 KiB, 2 writes of 8 KiB."""
    fd = os.open(device.path, os.O_RDWR | os.O_DIRECT)
    page = mmap.mmap(-1, 8192)
    for sector in (0, 64, 128, 192, 256):
        for _ in range(3):
            os.preadv(fd, [memoryview(page)[:4096]], sector * 512)
        for _ in range(2):
            os.pwritev(fd, [page], sector * 512)
    os.close(fd)


def record_stats(out: Path) -> None:
    """Record the replies to @stats_list and @stats_print."""
    with dm_device() as device:
        (out / "list_empty.txt").write_bytes(_reply(device, b"@stats_list"))
        ids = {name: _reply(device, message) for name, message in REGIONS.items()}
        _read_and_write(device)
        (out / "list.txt").write_bytes(_reply(device, b"@stats_list"))
        for name, number in ids.items():
            (out / f"print_{name}.txt").write_bytes(_reply(device, b"@stats_print " + number.strip()))
    with dm_device() as device:
        for at, aux in enumerate(ODD_AUX):
            _reply(device, b"@stats_create %d+8 /1 0 dmstats %s" % (8 * at, aux))
        _reply(device, b"@stats_create 800+8 /1 0 tab\\\tname -")
        _reply(device, b"@stats_create 808+8 /1 0 last -")
        (out / "list_odd.txt").write_bytes(_reply(device, b"@stats_list"))


def _fiemap(path: Path, room: int) -> bytes:
    """Return the buffer of one FIEMAP ioctl with room for `room` extents, cut after the filled ones."""
    buffer = bytearray(FIEMAP.size + room * FIEMAP_EXTENT.size)
    FIEMAP.pack_into(buffer, 0, 0, 2**64 - 1, 0, 0, room, 0)
    fd = os.open(path, os.O_RDONLY)
    fcntl.ioctl(fd, FS_IOC_FIEMAP, buffer, True)
    os.close(fd)
    return bytes(buffer)


def _write_at(fd: int, offset: int, length: int) -> None:
    os.pwrite(fd, b"x" * length, offset)


def record_fiemap(out: Path, fs: Literal["ext4", "xfs"]) -> None:
    """Record FIEMAP of files in all states: three extents with holes, an unwritten one, a delayed one."""
    with filesystem(fs) as made:
        holes = made.mountpoint / "holes"
        fd = os.open(holes, os.O_RDWR | os.O_CREAT)
        for offset in (0, 2 * MIB, 4 * MIB):
            _write_at(fd, offset, 65536)
        os.fsync(fd)
        os.close(fd)
        (out / f"fiemap_{fs}_holes.bin").write_bytes(_fiemap(holes, 4))
        (out / f"fiemap_{fs}_full.bin").write_bytes(_fiemap(holes, 2))
        unwritten = made.mountpoint / "unwritten"
        fd = os.open(unwritten, os.O_RDWR | os.O_CREAT)
        os.posix_fallocate(fd, 0, 131072)
        os.fsync(fd)
        (out / f"fiemap_{fs}_unwritten.bin").write_bytes(_fiemap(unwritten, 4))
        os.close(fd)
        late = made.mountpoint / "delalloc"
        fd = os.open(late, os.O_RDWR | os.O_CREAT)
        _write_at(fd, 0, 65536)
        os.fsync(fd)
        _write_at(fd, MIB, 65536)
        (out / f"fiemap_{fs}_delalloc.bin").write_bytes(_fiemap(late, 4))
        os.close(fd)
        empty = made.mountpoint / "empty"
        empty.touch()
        (out / f"fiemap_{fs}_empty.bin").write_bytes(_fiemap(empty, 1))


def main() -> None:
    """Record everything into $SANDBOX_OUT."""
    out = Path(os.environ["SANDBOX_OUT"])
    record_stats(out)
    record_fiemap(out, "ext4")
    record_fiemap(out, "xfs")


if __name__ == "__main__":
    main()
