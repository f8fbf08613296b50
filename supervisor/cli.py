"""The filemapd command."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

import click

EX_CONFIG: Final = 78
NOT_RUNNING: Final = 3
DEFAULT_CONFIG: Final = "/etc/filemapd/filemaps.yaml"
DEFAULT_RUNTIME_DIR: Final = "/run/filemapd"
# What `top` can be sorted by: activity.SORTS.
TOP_SORTS: Final = ("iops", "bytes", "latency", "p99", "share", "name")
_STOP_DEADLINE: Final = 60.0
_UNPROCESSABLE: Final = 422

# What only one command needs is imported in that command: workers share the memory of `run`.


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--runtime-dir", metavar="DIR", help=f"Where the control socket lies.  [default: {DEFAULT_RUNTIME_DIR}]"
)
@click.option(
    "--state-dir", metavar="DIR", help="Where the ledger lies.  [default: the configuration's state_dir]"
)
@click.version_option(package_name="filemapd")
@click.pass_context
def main(context: click.Context, runtime_dir: str | None, state_dir: str | None) -> None:
    """Keep device-mapper statistics on the extents of disk images."""
    context.obj = {"runtime_dir": runtime_dir, "state_dir": state_dir}


_config_option = click.option(
    "-c", "--config", metavar="FILE", default=DEFAULT_CONFIG, show_default=True, help="The configuration."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="For machines.")


@main.command()
@_config_option
@click.pass_context
def run(context: click.Context, config: str) -> None:
    """Run the supervisor in the foreground, until SIGTERM, SIGINT or `filemapd stop`."""
    from dmstats import ioctl  # noqa: PLC0415 - see above
    from dmstats.errors import DmStatsError  # noqa: PLC0415
    from supervisor import single  # noqa: PLC0415
    from supervisor.control import AlreadyRunning  # noqa: PLC0415
    from supervisor.daemon import Daemon  # noqa: PLC0415

    path = os.path.abspath(config)
    loaded = _load(path, context.obj)
    try:
        ioctl.control()
        lock = single.take(Path(loaded.runtime_dir))
        daemon = Daemon(loaded, lambda: _load_or_raise(path, context.obj))
    except (DmStatsError, OSError, single.AnotherSupervisorError, AlreadyRunning) as error:
        _fail(str(error))
    try:
        daemon.run()
    finally:
        daemon.close()
        os.close(lock)


@main.command()
@_config_option
@click.pass_context
def check(context: click.Context, config: str) -> None:
    """Check the configuration and say what it selects; exit status 78 where it is wrong."""
    from supervisor.selection import scan, wanted  # noqa: PLC0415

    loaded = _load(config, context.obj)
    scans = {directory.path: scan(directory) for directory in loaded.directories}
    for path, found in scans.items():
        if found.reason is not None:
            click.echo(f"directory {path}: {found.reason} (it would be waited for)", err=True)
    files = wanted(loaded, scans)
    for wish in files.values():
        group = "" if wish.group_id is None else f"  group {wish.group_id}"
        click.echo(f"{wish.name}  {wish.options.mode.value}{group}  ({wish.source})")
    click.echo(f"{config}: right; {len(files)} files now", err=True)


@main.command()
@_json_option
@click.pass_context
def status(context: click.Context, *, as_json: bool) -> None:
    """Show the fleet."""
    answer = _call(context.obj, "GET", "/v1/status")
    if as_json:
        click.echo(json.dumps(answer, indent=1))
        return
    from supervisor.table import print_status  # noqa: PLC0415

    print_status(answer)


@main.command()
@_json_option
@click.option(
    "--once", is_flag=True, help="Print one interval's figures and end.  [default without a terminal]"
)
@click.option(
    "--interval",
    type=click.FloatRange(1, 3600),
    metavar="SECONDS",
    default=3,
    show_default=True,
    help="Over how many seconds the figures are; 1 at least.",
)
@click.option(
    "--sort", type=click.Choice(TOP_SORTS), default="iops", show_default=True, help="What is first."
)
@click.option("--device", metavar="DEVICE", help="Only the files on it: its name, MAJOR:MINOR or path.")
@click.pass_context
def top(
    context: click.Context, *, as_json: bool, once: bool, interval: float, sort: str, device: str | None
) -> None:
    """Show what the files do: the rates and latencies of each, the busiest first."""
    from rich.console import Console  # noqa: PLC0415 - see above

    from supervisor import top as shown  # noqa: PLC0415
    from supervisor.activity import as_json as rates_json  # noqa: PLC0415
    from supervisor.client import ControlError, call  # noqa: PLC0415

    status = _call(context.obj, "GET", "/v1/status")
    name = None if device is None else shown.device_named(device, status["devices"])
    if device is not None and name is None:
        there = ", ".join(repr(d["device"]) for d in status["devices"]) or "none"
        _fail(f"no file that is followed is on {device!r}; devices with files: {there}")
    view = shown.View(sort, name, interval)

    def ask(method: str, path: str, body: object) -> Any:
        return call(_runtime_dir(context.obj), method, path, body, timeout=shown.PATIENCE)

    try:
        if once or as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            status, activity = shown.once(ask, view, Console(stderr=True))
            if as_json:
                click.echo(json.dumps(rates_json(activity, sort), indent=1))
            else:
                shown.print_once(status, activity, view, Console())
        else:
            from supervisor.toplive import LiveTop  # noqa: PLC0415

            LiveTop(ask, view, Console(), status["version"]).run()
    except ControlError as error:
        _give_up(error)


@main.command()
@_json_option
@click.pass_context
def reload(context: click.Context, *, as_json: bool) -> None:
    """Have the configuration read again; where it is wrong nothing changes and the exit status is 78."""
    from supervisor.client import ControlError  # noqa: PLC0415

    try:
        changes = _call(context.obj, "POST", "/v1/reload", raise_errors=True)
    except ControlError as error:
        click.echo(str(error), err=True)
        sys.exit(EX_CONFIG if error.status == _UNPROCESSABLE else 1)
    if as_json:
        click.echo(json.dumps(changes))
        return
    for what, names in changes.items():
        click.echo(f"{what}: {', '.join(names) or '-'}")


@main.command()
@click.argument("name")
@click.pass_context
def restart(context: click.Context, name: str) -> None:
    """Start the worker of filemap NAME anew, one that was given up too."""
    _call(context.obj, "POST", "/v1/restart", {"name": name})
    click.echo(f"{name}: restarted")


@main.command()
@click.pass_context
def stop(context: click.Context) -> None:
    """Stop the supervisor and wait for its end."""
    from dmstats.marker import start_time  # noqa: PLC0415

    pid = _call(context.obj, "POST", "/v1/stop")["pid"]
    deadline = time.monotonic() + _STOP_DEADLINE
    while start_time(pid) is not None:
        if time.monotonic() > deadline:
            _fail(f"filemapd (pid {pid}) has not stopped within {_STOP_DEADLINE:.0f} s")
        time.sleep(0.05)


def _load(path: str, options: dict[str, str | None]) -> Any:
    """Return the configuration with the command line's folders, or end with status 78."""
    from supervisor.load import ConfigError  # noqa: PLC0415

    try:
        return _load_or_raise(path, options)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EX_CONFIG)


def _load_or_raise(path: str, options: dict[str, str | None]) -> Any:
    from supervisor.load import load  # noqa: PLC0415

    config = load(path)
    folders = {key: os.path.abspath(value) for key, value in options.items() if value is not None}
    return config.model_copy(update=folders)


def _call(
    options: dict[str, str | None], method: str, path: str, body: object = None, *, raise_errors: bool = False
) -> Any:
    """Ask the running supervisor; end with status 3 where there is none."""
    from supervisor.client import ControlError, NotRunning, call  # noqa: PLC0415

    try:
        return call(_runtime_dir(options), method, path, body)
    except (ControlError, OSError) as error:
        if raise_errors and isinstance(error, ControlError) and not isinstance(error, NotRunning):
            raise
        _give_up(error)


def _runtime_dir(options: dict[str, str | None]) -> Path:
    return Path(options["runtime_dir"] or DEFAULT_RUNTIME_DIR)


def _give_up(error: Exception) -> NoReturn:
    """End for what went wrong in asking the supervisor."""
    from supervisor.client import NotRunning  # noqa: PLC0415

    click.echo(f"filemapd: {error}", err=True)
    sys.exit(NOT_RUNNING if isinstance(error, NotRunning) else 1)


def _fail(message: str) -> NoReturn:
    click.echo(f"filemapd: {message}", err=True)
    sys.exit(1)
