"""Compares what the tools and filemapd report for each image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from demo.filemapd import Seen
from demo.oracle import SECTOR, read_extents, read_regions, union, without


@dataclass(frozen=True, slots=True)
class Finding:
    """An image: filefrag's extents, adjacent ones merged, and dmstats' regions."""

    path: Path
    seen: Seen
    extents: int
    regions: int
    uncovered_bytes: int
    excess_bytes: int

    @property
    def agrees(self) -> bool:
        """Whether the regions cover exactly the extents, and filemapd reports the same."""
        reported = (self.seen.uncovered_bytes, self.seen.excess_bytes)
        exact = self.uncovered_bytes == self.excess_bytes == 0
        return exact and reported == (0, 0) and self.seen.regions == self.regions


@dataclass(frozen=True, slots=True)
class Findings:
    """All images; `orphans` are the ids of regions on the device that belong to none."""

    images: tuple[Finding, ...]
    orphans: tuple[int, ...]

    @property
    def agree(self) -> bool:
        """Whether all images agree and no region is an orphan."""
        return not self.orphans and all(finding.agrees for finding in self.images)


def find(paths: Iterable[Path], seen: Mapping[Path, Seen], device: str) -> Findings:
    """Run the tools and compare. Raises OracleError."""
    regions = read_regions(device)
    images = []
    for path in paths:
        here = seen[path]
        covered = [r.sectors for r in regions if r.group_id is not None and r.group_id == here.group_id]
        extents = [extent.sectors for extent in read_extents(path)]
        images.append(
            Finding(
                path,
                here,
                len(union(extents)),
                len(covered),
                without(extents, covered) * SECTOR,
                without(covered, extents) * SECTOR,
            )
        )
    groups = {finding.seen.group_id for finding in images}
    orphans = tuple(r.region_id for r in regions if r.group_id is None or r.group_id not in groups)
    return Findings(tuple(images), orphans)
