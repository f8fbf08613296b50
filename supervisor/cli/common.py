"""What the commands share: options, requests to the supervisor, and exit statuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

if TYPE_CHECKING:
    from supervisor.config.models import Config

EX_CONFIG: Final = 78
NOT_RUNNING: Final = 3
DEFAULT_CONFIG: Final = "/etc/filemapd/filemaps.yaml"
DEFAULT_RUNTIME_DIR: Final = "/run/filemapd"
_COMPLETION_TIMEOUT: Final = 2.0

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
config_option = click.option(
    "-c",
    "--config",
    metavar="FILE",
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The configuration file.",
)


def complete_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of the supervisor's files that begin with `incomplete`; none if it doesn't respond."""
    from supervisor.control.client import ControlError, call  # noqa: PLC0415 - slow to import

    try:
        status = call(runtime_dir(context), "GET", "/v1/status", timeout=_COMPLETION_TIMEOUT)
    except (ControlError, OSError):
        return []
    return [f["name"] for f in status["filemaps"] if f["name"].startswith(incomplete)]


def runtime_dir(context: click.Context) -> Path:
    """Return the control socket's directory."""
    return Path(context.find_root().params.get("runtime_dir") or DEFAULT_RUNTIME_DIR)


def load_config(path: str, context: click.Context, *, wait: bool = True) -> Config:
    """Return the configuration with the command line's directories. Exit with 78 if invalid; `wait`: see load()."""
    from supervisor.config.problems import ConfigError  # noqa: PLC0415 - `--help` needs none of these

    try:
        return load_or_raise(path, context, wait=wait)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EX_CONFIG)


def load_or_raise(path: str, context: click.Context, *, wait: bool = True) -> Config:
    """Like load_config(), but raise ConfigError."""
    from supervisor.config.load import load  # noqa: PLC0415 - as above

    options = context.find_root().params
    directories = {
        key: str(Path(options[key]).absolute()) for key in ("runtime_dir", "state_dir") if options.get(key)
    }
    return load(path, wait=wait).model_copy(update=directories)


def send_request(
    context: click.Context, method: str, path: str, body: object = None, *, raise_errors: bool = False
) -> Any:
    """Return the supervisor's response. Exit with 3 if it isn't running, with 1 if it responds with an error.

    With `raise_errors`, raise ControlError for an error response instead.
    """
    from supervisor.control.client import ControlError, NotRunning, call  # noqa: PLC0415 - slow to import

    try:
        return call(runtime_dir(context), method, path, body)
    except (ControlError, OSError) as error:
        if raise_errors and isinstance(error, ControlError) and not isinstance(error, NotRunning):
            raise
        exit_with(error)


def exit_with(error: Exception) -> NoReturn:
    """Exit with the error of a request to the supervisor."""
    from supervisor.control.client import NotRunning  # noqa: PLC0415 - as above

    fail(str(error), NOT_RUNNING if isinstance(error, NotRunning) else 1)


def fail(message: str, status: int = 1) -> NoReturn:
    """Print an error to stderr and exit."""
    click.echo(f"filemapd: {message}", err=True)
    sys.exit(status)
