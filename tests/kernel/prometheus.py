"""Debian's Prometheus with the configuration and rules of deploy/prometheus, in the guest for a test."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.kernel.running import DEADLINE, wait_for
from tests.kernel.scraping import fetch, free_port
from tests.unit.dashboard import DEPLOY

Vector = list[tuple[dict[str, str], float]]
_EVERY: Final = "1s"


class Prometheus:
    """One that runs, asked over its HTTP API."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data that a path of the API has for an answer that is a success."""
        answer = json.loads(fetch(self._port, f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> Vector:
        """Return what PromQL has for an answer now: labels and value, as Prometheus sorts them."""
        return [
            (sample["metric"], float(sample["value"][1]))
            for sample in self.get("query", query=expression)["result"]
        ]

    def label_values(self, label: str, series: str) -> list[str]:
        """Return the values that a label has in some series."""
        values: list[str] = self.get(f"label/{label}/values", **{"match[]": series})
        return values


@contextlib.contextmanager
def prometheus(folder: Path, targets: Mapping[str, int]) -> Iterator[Prometheus]:
    """Run one in `folder` that scrapes ports of this machine as hosts of those names, and that scrapes and evaluates
    every second; all else is as it is deployed. Its log is shown where the test fails."""
    _deploy(folder, targets)
    port = free_port()
    command = (
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    log = folder / "log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_for("Prometheus is ready", lambda: fetch(port, "/-/ready"), deadline=60)
            yield Prometheus(port)
        except BaseException:
            sys.stderr.write(log.read_text()[-4000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()


def _deploy(folder: Path, targets: Mapping[str, int]) -> None:
    """Write what is deployed to `folder`, with those targets and a short interval."""
    shutil.copytree(DEPLOY / "prometheus", folder)
    config = folder / "prometheus.yml"
    parsed = yaml.safe_load(config.read_text())
    parsed["global"].update(scrape_interval=_EVERY, evaluation_interval=_EVERY)
    config.write_text(json.dumps(parsed))
    (folder / "targets/example.yml").write_text(
        json.dumps(
            [{"targets": [f"127.0.0.1:{port}"], "labels": {"host": host}} for host, port in targets.items()]
        )
    )
