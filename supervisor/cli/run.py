"""`filemapd run` and `filemapd check`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from supervisor.cli.common import config_option, fail, load_config, load_or_raise


@click.command()
@config_option
@click.pass_context
def run(context: click.Context, config: str) -> None:
    """Run the supervisor in the foreground.

    It runs until SIGTERM, SIGINT or `filemapd stop`.
    """
    from dmstats import ioctl  # noqa: PLC0415 - `check` needs none of these
    from dmstats.errors import DmStatsError  # noqa: PLC0415
    from supervisor.control.server import AlreadyRunning  # noqa: PLC0415
    from supervisor.daemon import Daemon  # noqa: PLC0415
    from supervisor.service import instance_lock  # noqa: PLC0415

    path = os.path.abspath(config)
    loaded = load_config(path, context, wait=False)
    try:
        ioctl.control()
        lock = instance_lock.acquire(Path(loaded.runtime_dir))
        daemon = Daemon(loaded, lambda: load_or_raise(path, context, wait=False))
    except (DmStatsError, OSError, instance_lock.AnotherSupervisorError, AlreadyRunning) as error:
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
    """Check the configuration and list the selected files.

    If it is invalid, the exit status is 78.
    """
    from supervisor.discovery.selection import scan, select_files  # noqa: PLC0415 - not needed for an invalid configuration

    loaded = load_config(config, context)
    scans = {directory.path: scan(directory) for directory in loaded.directories}
    for directory in loaded.directories:
        found = scans[directory.path]
        if found.reason is not None:
            click.echo(f"directory {found.reason} (filemapd would wait for it)", err=True)
        if found.truncated:
            more = f"{found.truncated} more, as max_files is {directory.max_files}"
            click.echo(f"directory {directory.path}: left out: {more}", err=True)
    tls = loaded.web.tls_server_config
    if tls is not None:
        from supervisor.config.tls import UnusableError, server_context  # noqa: PLC0415 - ssl is only needed with TLS

        try:
            server_context(tls.model_dump())
        except UnusableError as error:
            click.echo(
                f"web.tls_server_config: {error} (the page and the metrics would be unavailable)", err=True
            )
    files = select_files(loaded, scans)
    for wish in files.values():
        group = "" if wish.group_id is None else f"  group {wish.group_id}"
        click.echo(f"{wish.name}  {wish.options.mode.value}{group}  ({wish.source})")
    click.echo(f"{config}: OK, {len(files)} {'file' if len(files) == 1 else 'files'} selected", err=True)
