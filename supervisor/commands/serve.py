"""`filemapd run` and `filemapd check`: the commands that read the configuration."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from supervisor.commands.common import EX_CONFIG, config_option, fail, folders

if TYPE_CHECKING:
    from supervisor.config import Config


@click.command()
@config_option
@click.pass_context
def run(context: click.Context, config: str) -> None:
    """Run the supervisor in the foreground, until SIGTERM, SIGINT or `filemapd stop`."""
    from dmstats import ioctl  # noqa: PLC0415 - `check` needs none of these
    from dmstats.errors import DmStatsError  # noqa: PLC0415
    from supervisor import single  # noqa: PLC0415
    from supervisor.control import AlreadyRunning  # noqa: PLC0415
    from supervisor.daemon import Daemon  # noqa: PLC0415

    path = os.path.abspath(config)
    loaded = _load(path, context)
    try:
        ioctl.control()
        lock = single.take(Path(loaded.runtime_dir))
        daemon = Daemon(loaded, lambda: _load_or_raise(path, context))
    except (DmStatsError, OSError, single.AnotherSupervisorError, AlreadyRunning) as error:
        fail(str(error))
    try:
        daemon.run()
    finally:
        daemon.close()
        os.close(lock)


@click.command()
@config_option
@click.pass_context
def check(context: click.Context, config: str) -> None:
    """Check the configuration and say what it selects; exit status 78 where it is wrong."""
    from supervisor.selection import scan, wanted  # noqa: PLC0415 - nothing to do for a wrong configuration

    loaded = _load(config, context)
    scans = {directory.path: scan(directory) for directory in loaded.directories}
    for path, found in scans.items():
        if found.reason is not None:
            click.echo(f"directory {path}: {found.reason} (it would be waited for)", err=True)
    files = wanted(loaded, scans)
    for wish in files.values():
        group = "" if wish.group_id is None else f"  group {wish.group_id}"
        click.echo(f"{wish.name}  {wish.options.mode.value}{group}  ({wish.source})")
    click.echo(f"{config}: right; {len(files)} files now", err=True)


def _load(path: str, context: click.Context) -> Config:
    """Return the configuration with the command line's folders, or end with status 78."""
    from supervisor.problems import ConfigError  # noqa: PLC0415 - `--help` needs none of these

    try:
        return _load_or_raise(path, context)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EX_CONFIG)


def _load_or_raise(path: str, context: click.Context) -> Config:
    from supervisor.load import load  # noqa: PLC0415 - as above

    return load(path).model_copy(update=folders(context))
