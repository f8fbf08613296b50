"""The steps of the demonstration while filemapd runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from demo.filemapd import Filemapd, FilemapdError, Seen
from demo.findings import Findings, find
from demo.images import FRAGMENTED, STEADY, Image
from demo.load import Load
from demo.show import Show
from demo.summary import Check, coverage_checks
from demo.timing import Timing
from demo.trials import KillWorker, MoveGroup, Trial

_FOLLOWED_DEADLINE: Final = 30.0
# Counters are sampled at the configured interval, 10 s in the shipped configuration.
_REST_DEADLINE: Final = 30.0
_LOOK_EVERY: Final = 0.5
_LOOK_CLOSER: Final = 0.1
_UNTIL_CTRL_C: Final = 40.0


class Run:
    """filemapd, its images on `device`, and the trials; `ended` is set by Ctrl-C."""

    def __init__(
        self, show: Show, filemapd: Filemapd, images: Sequence[Image], device: str, ended: threading.Event
    ) -> None:
        self._show = show
        self._filemapd = filemapd
        self._images = {image.path: image for image in images}
        self._device = device
        self._ended = ended
        # The fraction of the run after which each starts, the trial, and what it shows.
        self._trials: list[tuple[float, Trial, str]] = [
            (0.25, KillWorker(FRAGMENTED), "a killed worker's group was taken over"),
            (0.5, MoveGroup(self._images[STEADY], device), "a group that lost its leader lives on"),
        ]
        self.timing = Timing(images)
        self._outcomes: dict[Trial, str] = {}

    def wait_until_followed(self) -> None:
        """Return once all images are RUNNING. Raises FilemapdError."""
        deadline = time.monotonic() + _FOLLOWED_DEADLINE
        while not self._ended.wait(_LOOK_EVERY):
            seen = self._filemapd.status()
            states = {path: seen[path].state if path in seen else "not selected" for path in self._images}
            if set(states.values()) == {"RUNNING"}:
                return
            if time.monotonic() > deadline:
                listed = ", ".join(f"{path.name} {state}" for path, state in states.items())
                waited = f"after {_FOLLOWED_DEADLINE:.0f} s: {listed}"
                raise FilemapdError(f"not all images are followed {waited}\n{self._filemapd.log_tail()}")
        raise FilemapdError("interrupted before all images were followed")

    def watch(self, load: Load, duration: float) -> None:
        """Show the fleet for `duration` seconds, 0 for until Ctrl-C, and run the trials."""
        began = time.monotonic()
        while True:
            load.check()
            elapsed = time.monotonic() - began
            seen = self._seen()
            until = f" of {duration:.0f} s" if duration else " s, until Ctrl-C"
            self._show.fleet(seen, self.timing, f"filemapd on {self._device}, {elapsed:.0f}{until}")
            pending = self._advance(seen, elapsed / (duration or _UNTIL_CTRL_C))
            over = self._ended.is_set() or (duration and elapsed >= duration)
            if over and not pending:
                return
            if pending:
                time.sleep(_LOOK_CLOSER)
            else:
                self._ended.wait(_LOOK_EVERY)

    def come_to_rest(self) -> tuple[Findings, list[Check]]:
        """Wait until the tools agree, or a deadline. Return the findings and the checks."""
        with self._show.step("the images are at rest, all is checked and counted again"):
            deadline = time.monotonic() + _REST_DEADLINE
            while True:
                seen = self._seen()
                findings = find(self._images, seen, self._device)
                counted = self._counted(seen)
                if (findings.agree and counted.passed) or time.monotonic() > deadline:
                    break
                time.sleep(_LOOK_EVERY)
        return findings, [*coverage_checks(findings), *self._tried(), counted]

    def _tried(self) -> list[Check]:
        """Return the trials' checks. Only Ctrl-C excuses a trial that did not start."""
        return [
            Check(
                trial.passed if trial.begun or self._ended.is_set() else False,
                self._outcomes.get(trial, what),
            )
            for _, trial, what in self._trials
        ]

    def stop(self) -> Check:
        """Stop filemapd."""
        code, took = self._filemapd.stop()
        if code is None:
            return Check(False, f"filemapd stop: it still ran after {took:.0f} s")
        return Check(code == 0, f"filemapd stop: exit status {code} after {took:.1f} s")

    def _seen(self) -> Mapping[Path, Seen]:
        seen = self._filemapd.status()
        missing = [path.name for path in self._images if path not in seen]
        if missing:
            raise FilemapdError(f"the status lacks {', '.join(missing)}")
        for path, image in self._images.items():
            self.timing.take(image, seen[path])
        return {path: seen[path] for path in self._images}

    def _advance(self, seen: Mapping[Path, Seen], part: float) -> bool:
        """Begin trials that are due and check those that run. Return whether one is pending."""
        for at, trial, _ in self._trials:
            due = part >= at and not trial.begun and not self._ended.is_set()
            if due and seen[trial.path].state == "RUNNING":
                self._show.say(trial.begin(seen[trial.path]), "yellow")
                return True
            if trial.pending and (outcome := trial.look(seen[trial.path])) is not None:
                self._outcomes[trial] = outcome
                self._show.say(outcome, "green" if trial.passed else "bold red")
            if trial.pending:
                return True
        return False

    def _counted(self, seen: Mapping[Path, Seen]) -> Check:
        """Compare I/O counts. The steady image was covered before its first read, so none may be missing."""
        image, counted = self._images[STEADY], seen[STEADY]
        passed = (counted.reads, counted.writes) == (image.reads, image.writes)
        return Check(
            passed,
            f"{STEADY.name}: {counted.reads} of {image.reads} reads and "
            f"{counted.writes} of {image.writes} writes counted",
        )
