"""The filemapd command. Commands import their modules when called: workers share the memory of `run`."""

from __future__ import annotations

import importlib
import os
from typing import Final

import click

from supervisor.cli.common import DEFAULT_RUNTIME_DIR

# The module of supervisor.cli that defines each command, under the command's name.
_COMMANDS: Final = {
    "check": "run",
    "cleanup": "cleanup",
    "events": "events",
    "map": "map",
    "reload": "manage",
    "restart": "manage",
    "run": "run",
    "status": "manage",
    "stop": "manage",
    "top": "top.command",
}


class _Commands(click.Group):
    """A group whose commands are imported one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"supervisor.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


_EXIT_STATUSES: Final = """\b
Exit statuses:
   0  Success.
   1  Failure; stderr has the reason.
   2  The command line is invalid.
   3  filemapd is not running.
  78  The configuration is invalid.
"""


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXIT_STATUSES)
@click.option(
    "--runtime-dir", metavar="DIR", help=f"Directory of the control socket.  [default: {DEFAULT_RUNTIME_DIR}]"
)
@click.option(
    "--state-dir", metavar="DIR", help="Directory of the ledger.  [default: the configuration's state_dir]"
)
@click.version_option(package_name="filemapd")
def main(runtime_dir: str | None, state_dir: str | None) -> None:  # noqa: ARG001 - see cli.common
    """Maintain device-mapper statistics on the extents of disk images."""
    if os.environ.get("NO_COLOR"):
        click.get_current_context().color = False
