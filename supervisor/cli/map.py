"""`filemapd map`: reads a file's extents and regions from the kernel."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from supervisor.cli.common import fail, json_option
from supervisor.text.printable import printable


@click.command()
@json_option
@click.argument("file", type=click.Path(readable=False))
def map(*, file: str, as_json: bool) -> None:  # noqa: A001 - the command's name
    """Show where FILE lies on its device and which regions count it.

    This reads the kernel's data, whether or not filemapd runs or follows the file.
    """
    from dmstats.errors import DmStatsError  # noqa: PLC0415 - `--help` needs none of these

    try:
        result = _read(file)
    except DmStatsError as error:
        fail(f"{printable(file)}: {error}")
    except OSError as error:
        fail(f"{printable(file)}: {error.strerror}")
    if as_json:
        click.echo(json.dumps(result, indent=1))
        return
    from supervisor.cli.map_table import print_map  # noqa: PLC0415 - rich is not needed for JSON

    print_map(result)


def _read(file: str) -> dict[str, Any]:
    """Return what `map --json` prints. Raises DmStatsError and OSError."""
    from dmstats.device import Device  # noqa: PLC0415 - as above
    from dmstats.fiemap import read_extents  # noqa: PLC0415
    from dmstats.files import identify_mappable  # noqa: PLC0415
    from supervisor.cli.file_layout import layout  # noqa: PLC0415

    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        identity, size, extents = identify_mappable(fd), os.fstat(fd).st_size, read_extents(fd)
    finally:
        os.close(fd)
    device = Device(identity.dev)
    return {
        "path": os.path.abspath(file),
        "device": device.name(),
        "number": device.number,
        "inode": identity.inode,
        "generation": identity.generation,
        "size": size,
        "extents": len(extents),
        **layout(size, extents, device.list().regions),
    }
