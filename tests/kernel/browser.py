"""Headless Chromium: what it makes of a page, what it has to say of it, and how that looks."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.unit.web_fleet import Page

DESKTOP: Final = (1280, 1800)
PHONE: Final = (390, 1800)
# In the guest, which has no GPU, no D-Bus and one CPU, and no network to reach for.
_CHROMIUM: Final = (
    "chromium",
    "--headless",
    "--no-sandbox",
    "--single-process",
    "--no-zygote",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)
_DEADLINE: Final = 100
# It crashes now and then under user-mode Linux. That says nothing about the page.
_ATTEMPTS: Final = 4
# It has pages of its own open, too.
_OWN: Final = "source: chrome://"


@dataclass
class Loaded:
    """A page as it is in the browser: with its scripts run."""

    page: Page
    console: list[str]
    """What a developer would see: errors, violations of the policy, what scripts wrote."""


def load(
    url: str,
    picture: str = "",
    *,
    size: tuple[int, int] = DESKTOP,
    dark: bool = False,
    seconds: int | None = None,
) -> Loaded:
    """Load a page. `picture` is the name of a screenshot of it, among what the guest hands out; `seconds` is how long
    its scripts run, by a clock of its own."""
    options = [f"--window-size={size[0]},{size[1]}", "--dump-dom"]
    if picture:
        options.append(f"--screenshot={_pictures() / picture}.png")
    if dark:
        options.append("--blink-settings=preferredColorScheme=0")
    if seconds is not None:
        options.append(f"--virtual-time-budget={seconds * 1000}")
    for _ in range(_ATTEMPTS):
        done = _run([*options, url])
        if done.returncode >= 0:
            break
    assert done.returncode == 0, done.stderr[-3000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line and _OWN not in line]
    return Loaded(Page(200, done.stdout), console)


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as home:
        return subprocess.run(
            [*_CHROMIUM, f"--user-data-dir={home}", *arguments],
            env={**os.environ, "HOME": home},
            capture_output=True,
            text=True,
            check=False,
            timeout=_DEADLINE,
        )


def _pictures() -> Path:
    folder = Path(os.environ.get("SANDBOX_OUT") or tempfile.gettempdir(), "screenshots")
    folder.mkdir(exist_ok=True)
    return folder
