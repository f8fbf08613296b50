"""`filemapd cleanup`."""

from __future__ import annotations

import json
import os
import sys

import click

from supervisor.cli.common import config_option, fail, json_option, load_config


@click.command()
@config_option
@json_option
@click.option("-n", "--dry-run", is_flag=True, help="Only list the regions.")
@click.pass_context
def cleanup(context: click.Context, *, config: str, as_json: bool, dry_run: bool) -> None:
    """Remove regions that filemapd made and nothing uses any more.

    Their groups are removed too. Regions stay if the configuration selects their file, the running filemapd follows
    it, a running process maintains them, or another program made them.
    """
    from dmstats.errors import DmStatsError  # noqa: PLC0415 - `--help` needs none of these
    from supervisor.cleanup.cleanup import Cleanup  # noqa: PLC0415
    from supervisor.cleanup.owners import UnknownError  # noqa: PLC0415
    from supervisor.control.client import ControlError  # noqa: PLC0415

    loaded = load_config(os.path.abspath(config), context)
    try:
        work = Cleanup(loaded)
        found = work.find()
        # Described before they are removed, while their groups and files can still be looked up.
        rows = {one.file: work.as_json(one) | {"removed": False, "error": None} for one in found}
        for one, error in () if dry_run else work.remove(found):
            rows[one.file] |= {"removed": error is None, "error": error}
    except (DmStatsError, OSError, ControlError, UnknownError) as error:
        fail(str(error))
    result = {"dry_run": dry_run, "left_over": list(rows.values())}
    if as_json:
        click.echo(json.dumps(result, indent=1))
    else:
        from supervisor.cli.cleanup_table import print_cleanup  # noqa: PLC0415 - rich is not needed for JSON

        print_cleanup(result)
    if any(one["error"] is not None for one in rows.values()):
        sys.exit(1)
