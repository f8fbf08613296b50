"""One guest, run from a copy of the checkout, that tries everything a guest can do."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.conftest import CHECKOUT, Start
from tests.sandbox.visit import noise

STRAY = "fmd-written-in-a-guest"


@dataclass
class Visit:
    checkout: Path
    out: Path
    status: int
    stdout: bytes
    stderr: bytes
    report: dict[str, Any]


@pytest.fixture(scope="module")
def visit(start: Start, place: Path) -> Iterator[Visit]:
    checkout, out = place / "a checkout", place / "out, here"
    shutil.copytree(CHECKOUT / "sandbox", checkout / "sandbox")
    (checkout / "out").mkdir()
    (checkout / "out/sandbox").symlink_to(CHECKOUT / "out/sandbox")
    script = shutil.copy(CHECKOUT / "tests/sandbox/visit.py", checkout)
    arguments = ["python", str(script), STRAY, "/etc", "/tmp", str(CHECKOUT), str(checkout)]  # noqa: S108
    process = start("--out", str(out), "--timeout", "90", "--", *arguments, cwd=checkout)
    stdout, stderr = process.communicate()
    report = out / "report.json"
    assert report.exists(), stderr[-4000:].decode(errors="replace")
    yield Visit(checkout, out, process.returncode, stdout, stderr, json.loads(report.read_text()))
    for folder in ("/etc", "/tmp", str(CHECKOUT)):  # noqa: S108 - in case the guest could write there
        Path(folder, STRAY).unlink(missing_ok=True)


def test_status_is_the_commands(visit: Visit) -> None:
    """The command's status is returned, though a process that it left behind still runs."""
    assert visit.status == 3


def test_output_is_exact(visit: Visit) -> None:
    """Megabytes of arbitrary bytes arrive complete and in order, stdout and stderr separately."""
    assert visit.stdout == noise(1, 3_000_000)
    assert visit.stderr == noise(2, 1_000_000)


def test_nothing_reaches_the_host(visit: Visit) -> None:
    """The guest's writes to /etc, /tmp and both checkouts succeeded there and don't exist here."""
    for folder in (Path("/etc"), Path("/tmp"), CHECKOUT, visit.checkout):  # noqa: S108 - not written here
        assert not (folder / STRAY).exists()


def test_out_comes_back(visit: Visit) -> None:
    """Files in --out are on the host, complete and owned by its user, also if the folder has an odd name."""
    assert (visit.out / "large").read_bytes() == noise(3, 1_000_000)
    assert (visit.out / "large").stat().st_uid == visit.out.stat().st_uid


def test_checkout_under_tmp_is_seen(visit: Visit) -> None:
    """The guest's working folder is the host's, though it is below /tmp."""
    assert visit.report["cwd"] == str(visit.checkout)
    assert {"sandbox", "visit.py"} <= set(visit.report["here"])


def test_environment(visit: Visit) -> None:
    """The command runs as root, in this virtual environment, with device-mapper and without input."""
    assert visit.report["uid"] == 0
    assert visit.report["hostname"] == "sandbox"
    assert visit.report["prefix"] == sys.prefix
    assert visit.report["path"][0] == str(Path(sys.prefix, "bin"))
    assert visit.report["stdin"] == "/dev/null"
    assert "Driver version" in visit.report["driver"]
