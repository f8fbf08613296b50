"""What Prometheus ingests and stores for many hosts, computed from the series of one host. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.noise import median
from bench.results import Run

OF_FILE: Final = "Prometheus's series for each file"
OF_HOST: Final = "Prometheus's series for each host"
IMAGES: Final = 200
INTERVAL: Final = 15.0
# https://prometheus.io/docs/prometheus/latest/storage/ (Operational aspects): on average 1 to 2 bytes a sample.
BYTES: Final = (1, 2)
# https://prometheus.io/docs/concepts/jobs_instances/: `up` and four of how the scrape went.
_OF_SCRAPE: Final = 5
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Counted:
    """The number of series in a scrape: per file, and for the host itself."""

    file: int
    host: int

    def of(self, hosts: int, images: int = IMAGES) -> int:
        """Return how many there are of that many hosts with so many images each, Prometheus's own for each scrape
        included."""
        return hosts * (images * self.file + self.host + _OF_SCRAPE)

    def samples(self, hosts: int) -> float:
        """Return the samples that Prometheus ingests per second."""
        return self.of(hosts) / INTERVAL

    def stored(self, hosts: int, each: int) -> float:
        """Return the bytes that it stores per day, at so many bytes a sample."""
        return self.samples(hosts) * _DAY * each


def counted(run: Run) -> Counted | None:
    """Return the series that were counted in a run, None where they were not."""
    file, host = run.row(OF_FILE), run.row(OF_HOST)
    if file is None or host is None:
        return None
    return Counted(round(median(file.filemapd)), round(median(host.filemapd)))
