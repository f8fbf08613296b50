"""Runs Debian's Prometheus with the configuration and rules of deploy/prometheus."""

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
    """A running Prometheus, queried over its HTTP API."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of a successful response of the API."""
        response = json.loads(fetch(self._port, f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
        assert response["status"] == "success", response
        return response["data"]

    def query(self, expression: str) -> Vector:
        """Return the result of a PromQL query: labels and values, in the order of Prometheus."""
        return [
            (sample["metric"], float(sample["value"][1]))
            for sample in self.get("query", query=expression)["result"]
        ]

    def label_values(self, label: str, series: str) -> list[str]:
        """Return the values of a label in a series selector."""
        values: list[str] = self.get(f"label/{label}/values", **{"match[]": series})
        return values


@contextlib.contextmanager
def prometheus(folder: Path, targets: Mapping[str, int]) -> Iterator[Prometheus]:
    """Run Prometheus in `folder`, with ports of this machine as targets by host name. It scrapes and evaluates every
    second; all other settings are those of deploy/. If the test fails, its log is printed."""
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
    """Copy the configuration to `folder`, with these targets and a short interval."""
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
