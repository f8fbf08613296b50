"""Scrapes a running web process with prometheus-client's parser."""

from __future__ import annotations

import socket
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, str], float]
"""Values by metric name without `filemapd_`, and file."""


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
    return port


def listen(port: int) -> dict[str, Any]:
    """Return the part of a configuration that starts a web process."""
    return {"web": {"listen": f"127.0.0.1:{port}"}}


def fetch(port: int, path: str = "/metrics", timeout: float = 20) -> bytes:
    """Return the body of a response. Raises LookupError if the request fails, so that wait_for() retries."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout) as response:
            body: bytes = response.read()
    except OSError as error:
        raise LookupError(f"{path}: {error}") from error
    return body


def scrape(port: int) -> Samples:
    """Return all samples except buckets and states."""
    return {
        (sample.name.removeprefix("filemapd_"), sample.labels.get("file", "")): sample.value
        for family in text_string_to_metric_families(fetch(port).decode())
        for sample in family.samples
        if not sample.labels.keys() & {"le", "filemapd_worker_state"}
    }
