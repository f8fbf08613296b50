"""The web process of a running supervisor: metrics, privileges, and that the supervisor never waits for it."""

from __future__ import annotations

import base64
import contextlib
import os
import pwd
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.devices import Filesystem, filesystem
from tests.kernel import oracle
from tests.kernel.driver import Driver
from tests.kernel.running import Running, open_files, running, wait_for, write
from tests.kernel.scraping import fetch, free_port, listen, scrape
from tests.unit.certificates import Authority, openssl

CLIENTS = 300
# With the 200 accepted connections these are 10,000.
REQUESTS = 50
# Made by crypt(3).
PASSWORD = b"correct horse"
HASH = "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem("ext4", 64) as made:
        yield made


@pytest.fixture
def file(fs: Filesystem) -> Path:
    """A file on it."""
    path = fs.mountpoint / "disk.img"
    write(path, 1)
    os.sync()
    return path


@pytest.fixture
def port() -> int:
    """A free port."""
    return free_port()


@pytest.fixture
def supervisor(file: Path, port: int, tmp_path: Path) -> Iterator[Running]:
    """A supervisor that follows the file and serves at the port."""
    config = {"filemaps": [{"path": str(file)}], "defaults": {"sample": "1s"}, **listen(port)}
    with running(tmp_path, config) as one:
        one.wait_state(file)
        wait_for("it serves", lambda: fetch(port, "/healthz"))
        yield one


def proc(pid: int) -> dict[str, str]:
    """Return /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_counts_are_those_of_dmstats(supervisor: Running, file: Path, port: int, fs: Filesystem) -> None:
    """Without retired regions, the exported counters are those of dmstats report. The report clears the kernel's
    counters, but not the exported ones."""
    drive = Driver(file)
    drive.read(40, 0)
    drive.write(25, 0)
    names = ("reads_completed", "writes_completed", "read_bytes", "written_bytes")

    def exported() -> list[float]:
        found = scrape(port)
        return [found[f"file_{name}_total", file.name] for name in names]

    wait_for("all is exported", lambda: exported()[:2] == [drive.reads, drive.writes])
    before = exported()
    (report,) = oracle.report(
        fs.device.name, "read_count", "write_count", "read_sector_count", "write_sector_count"
    )
    reads, writes, sectors_read, sectors_written = map(int, report)
    assert before == [reads, writes, sectors_read * 512, sectors_written * 512]
    drive.read(10, 0)
    wait_for("later I/O is added", lambda: exported()[0] == drive.reads == before[0] + 10)
    assert supervisor.filemap(file)["noticed"] == {"cleared": 1}
    assert supervisor.filemap(file)["moves"] == []


def test_promtool_accepts_the_metrics(file: Path, port: int, tmp_path: Path) -> None:
    """promtool finds no error in format and names, with any file name and labels."""
    awkward = Path(os.fsdecode(os.fsencode(file.parent) + b'/two\nlines "\\\x1b[31m \xff.img'))
    write(awkward, 1)
    config = {
        "filemaps": [{"path": str(file), "labels": {"tenant": 'ac"me\\\n\x1b[31m'}}],
        "directories": [{"path": str(file.parent), "include": ["*.img"]}],
        **listen(port),
    }
    with running(tmp_path, config) as supervisor:
        name = supervisor.wait_state(awkward)["name"]
        wait_for("it is exported", lambda: scrape(port)["mapping_regions", name] == 1)
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=fetch(port), capture_output=True, check=False
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_it_has_no_privileges(supervisor: Running) -> None:
    """It runs as another user, without groups and capabilities, can't get any, and only has sockets open."""
    pid = supervisor.status()["web"]["pid"]
    status = proc(pid)
    nobody = pwd.getpwnam("nobody")
    assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
    assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
    assert status["Groups"] == ""
    assert {
        name: int(value, 16) for name, value in status.items() if name.startswith("Cap")
    } == dict.fromkeys(["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"], 0)
    assert status["NoNewPrivs"] == "1"
    assert status["Threads"] == "1"
    sockets = ("socket:", "anon_inode:[eventpoll]")
    others = {name for name in open_files(pid) if not name.startswith(sockets)}
    assert others == {os.devnull, str(supervisor.log)}
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""


def shown(port: int) -> str:
    """Return the serial number of the certificate at a port."""
    try:
        certificate = ssl.get_server_certificate(("127.0.0.1", port), timeout=20)
    except OSError as error:
        raise LookupError(str(error)) from error
    return openssl("x509", "-noout", "-serial", given=certificate).strip()


def test_tls_and_passwords(file: Path, port: int, tmp_path: Path) -> None:
    """It serves with a key that only root can read, and no thread of it has the privilege afterwards. A reload loads
    a renewed certificate. Neither this nor a wrong key affects the worker."""
    authority = Authority(tmp_path)
    own, other = authority.issue("server"), authority.issue("other")
    own.key.chmod(0o600)
    tls = {"cert_file": "server.pem", "key_file": "server.key"}
    web = {**listen(port)["web"], "tls_server_config": tls, "basic_auth_users": {"prometheus": HASH}}
    trusting = ssl.create_default_context(cafile=authority.file)
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trusting))
    request = urllib.request.Request(f"https://127.0.0.1:{port}/metrics")
    request.add_header("Authorization", f"Basic {base64.b64encode(b'prometheus:' + PASSWORD).decode()}")

    def metrics() -> bytes:
        try:
            with opener.open(request, timeout=20) as response:
                body: bytes = response.read()
        except OSError as error:
            raise LookupError(str(error)) from error
        return body

    with running(tmp_path, {"filemaps": [{"path": str(file)}], "web": web}) as supervisor:
        worker = supervisor.wait_state(file)["pid"]
        assert b"filemapd_file_reads_completed_total{" in wait_for("it serves", metrics)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            opener.open(request.full_url, timeout=20)
        pid = supervisor.status()["web"]["pid"]
        nobody = pwd.getpwnam("nobody").pw_uid
        threads = [proc(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()]
        assert len(threads) == 2
        for status in threads:
            assert status["Uid"].split() == [str(nobody)] * 4
            assert {int(value, 16) for name, value in status.items() if name.startswith("Cap")} == {0}
        assert (own.key.stat().st_uid, own.key.stat().st_mode & 0o777) == (0, 0o600)
        ours = {name for name in open_files(pid) if name.startswith(str(tmp_path))}
        assert not ours - {str(supervisor.log)}
        authority.issue("server")
        assert supervisor.command("reload").returncode == 0
        wait_for("the new certificate is served", lambda: own.serial == shown(port) and metrics())
        own.key.write_bytes(other.key.read_bytes())
        assert supervisor.command("reload").returncode == 0
        wait_for("the status shows it", lambda: "see the log" in (supervisor.status()["web"]["reason"] or ""))
        reason = f"key_file {own.key} are no certificate"
        wait_for("the log has it", lambda: reason in supervisor.log.read_text())
        assert supervisor.filemap(file)["pid"] == worker


def test_it_is_restarted(supervisor: Running, file: Path, port: int) -> None:
    """After a kill the next process gets the whole status. Worker and group are not affected."""
    before = supervisor.filemap(file)
    first = supervisor.status()["web"]["pid"]
    os.kill(first, signal.SIGKILL)

    def back() -> bool:
        return bool(supervisor.status()["web"]["pid"] not in {None, first} and scrape(port))

    wait_for("it is back", back)
    after = supervisor.filemap(file)
    assert [after[key] for key in ("pid", "group_id", "restarts")] == [
        before[key] for key in ("pid", "group_id", "restarts")
    ]
    assert scrape(port)["file_reads_completed_total", file.name] == after["reads"]
    assert supervisor.status()["web"]["last_crash"] == "killed by SIGKILL"


def test_it_ends_with_the_supervisor(supervisor: Running) -> None:
    """After kill -9 of the supervisor there is no web process, not even a stopped one."""
    pid = supervisor.status()["web"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    supervisor.process.kill()
    wait_for("it has gone", lambda: not Path(f"/proc/{pid}").exists())


def test_clients_block_nothing(supervisor: Running, file: Path, port: int) -> None:
    """With more connections than the limit, which request much and read nothing, the supervisor responds, the file
    is followed, and later clients are served."""
    with contextlib.ExitStack() as clients:
        for _ in range(CLIENTS):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            with contextlib.suppress(OSError):
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * REQUESTS)
        changes = supervisor.filemap(file)["changes"]
        write(file, 1, at=4)
        wait_for("the growth is followed", lambda: supervisor.filemap(file)["changes"] > changes)
        assert supervisor.command("status").returncode == 0
    wait_for("others are served", lambda: fetch(port, "/healthz"))
    assert supervisor.status()["web"]["restarts"] == 0
    assert "ERROR" not in supervisor.log.read_text()


def test_it_is_not_waited_for(supervisor: Running, file: Path, port: int) -> None:
    """While it is stopped the supervisor continues. Later it gets the current status."""
    pid = supervisor.status()["web"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    drive = Driver(file)
    drive.read(30, 0)
    wait_for("all is counted", lambda: drive.counted(supervisor))
    os.kill(pid, signal.SIGCONT)
    wait_for("all is exported", lambda: scrape(port)["file_reads_completed_total", file.name] == drive.reads)


def test_a_port_in_use(file: Path, port: int, tmp_path: Path) -> None:
    """The fleet runs without its web process, and the status shows why. Once the port is free, it serves."""
    config = {"filemaps": [{"path": str(file)}], **listen(port)}
    with socket.create_server(("127.0.0.1", port)) as others, running(tmp_path, config) as supervisor:
        supervisor.wait_state(file)
        web = supervisor.status()["web"]
        assert (web["state"], web["pid"]) == ("WAITING", None)
        assert f"127.0.0.1:{port} can't be listened on: Address already in use" in web["reason"]
        assert web["reason"] in supervisor.log.read_text()
        assert web["reason"] in " ".join(supervisor.command("status").stdout.split())
        others.close()
        wait_for("it serves", lambda: fetch(port, "/healthz"))
        assert supervisor.status()["web"]["state"] == "RUNNING"


def test_reload_moves_it(supervisor: Running, file: Path, port: int) -> None:
    """A reload changes its address or stops it. The worker's process stays."""
    pid, config = (
        supervisor.filemap(file)["pid"],
        {"filemaps": [{"path": str(file)}], "defaults": {"sample": "1s"}},
    )
    second = free_port()
    supervisor.write({**config, **listen(second)})
    assert supervisor.command("reload").returncode == 0
    wait_for("it serves there", lambda: fetch(second, "/healthz"))
    with pytest.raises(LookupError, match="refused"):
        fetch(port)
    supervisor.write(config)
    assert supervisor.command("reload").returncode == 0
    wait_for("it has ended", lambda: supervisor.status()["web"]["pid"] is None)
    with pytest.raises(LookupError, match="refused"):
        fetch(second)
    assert supervisor.filemap(file)["pid"] == pid


def test_idle_it_only_wakes_for_heartbeats(supervisor: Running) -> None:
    """Without I/O and requests it only wakes for the heartbeats, 10 s apart."""
    pid = supervisor.status()["web"]["pid"]

    def wakes() -> int:
        return int(proc(pid)["voluntary_ctxt_switches"])

    def woken(before: int) -> float:
        wait_for("a heartbeat", lambda: wakes() > before)
        return time.monotonic()

    def quiet() -> bool:
        """Three wakes are two intervals, after the messages at the start."""
        first = woken(wakes())
        second = woken(wakes())
        return second - first > 9

    wait_for("heartbeats only", quiet, deadline=90)
