"""The layout and numbers of the device-mapper ioctl, and its control node."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dmstats import ioctl
from dmstats.errors import DmError, NoDeviceMapperError, NoPermissionError
from tests.unit.data import sizes


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The values in the kernel's headers."""
    return sizes(tmp_path_factory.mktemp("sizes"))


def test_struct_is_that_of_the_headers(header: dict[str, int]) -> None:
    """struct dm_ioctl has the headers' size and offsets, the name at 48."""
    assert ioctl.DM_IOCTL.size == header["dm_ioctl"] == 312
    packed = ioctl.DM_IOCTL.pack(4, 0, 0, 11, 22, 0, 0, 33, 0, 0, 44, b"the name", b"the uuid")
    for field, width, value in (
        ("data_size", 4, 11),
        ("data_start", 4, 22),
        ("flags", 4, 33),
        ("dev", 8, 44),
    ):
        at = header[f"dm_ioctl.{field}"]
        assert int.from_bytes(packed[at : at + width], "little") == value, field
    assert packed.index(b"the name") == header["dm_ioctl.name"] == 48
    assert packed.index(b"the uuid") == header["dm_ioctl.uuid"] == 176


def test_reply_is_read_where_the_headers_have_it(header: dict[str, int]) -> None:
    """data_start and flags are unpacked at the headers' offsets."""
    packed = bytearray(ioctl.DM_IOCTL.size)
    for field, value in (("data_start", 305), ("flags", 1 << 8)):
        at = header[f"dm_ioctl.{field}"]
        packed[at : at + 4] = value.to_bytes(4, "little")
    assert ioctl._DATA_START_FLAGS.unpack_from(packed, ioctl._DATA_START_OFFSET) == (305, 1 << 8)


def test_numbers_are_those_of_the_headers(header: dict[str, int]) -> None:
    """The ioctl's number, its flags and the message's offset equal the headers'."""
    assert ioctl.DM_TARGET_MSG == header["DM_TARGET_MSG"] == 0xC138FD0E
    assert header["DM_BUFFER_FULL_FLAG"] == ioctl.DM_BUFFER_FULL_FLAG
    assert header["DM_DATA_OUT_FLAG"] == ioctl.DM_DATA_OUT_FLAG
    assert ioctl.DM_TARGET_MESSAGE.size == header["dm_target_msg"] == header["dm_target_msg.message"] == 8


def test_device_text() -> None:
    """A device number is formatted as by the kernel, also for minors above 255."""
    assert ioctl.device_text(os.makedev(254, 3)) == "254:3"
    assert ioctl.device_text(os.makedev(253, 70000)) == "253:70000"


def test_no_control_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a control node the error has its path and what to do about missing device-mapper."""
    missing = tmp_path / "control"
    monkeypatch.setattr(ioctl, "CONTROL_NODE", str(missing))
    with pytest.raises(NoDeviceMapperError, match="modprobe dm-mod") as refused:
        ioctl.control.__wrapped__()
    assert str(missing) in str(refused.value)
    assert os.strerror(errno.ENOENT) in str(refused.value)


def test_errors_name_command_and_device() -> None:
    """An error has command, device and the errno's name; missing privileges have their own error."""
    refused = ioctl._refused(OSError(errno.ENOENT, ""), os.makedev(254, 0), b"@stats_delete 7")
    assert isinstance(refused, DmError)
    assert refused.errno == errno.ENOENT
    assert str(refused) == "@stats_delete 7 on device 254:0: No such file or directory (ENOENT)"
    for number in (errno.EPERM, errno.EACCES):
        denied = ioctl._refused(OSError(number, ""), 0, b"@stats_list")
        assert isinstance(denied, NoPermissionError)
        assert "CAP_SYS_ADMIN" in str(denied)
