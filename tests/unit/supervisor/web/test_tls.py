"""The web process over TLS: which clients it accepts, and the limits of unfinished handshakes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from supervisor.cli.main import main
from supervisor.config.tls import UnusableError, server_context
from supervisor.config.web import TlsServerConfig
from supervisor.web import server
from supervisor.web.app import application
from supervisor.web.server import MOST_CONNECTIONS, HttpServer
from supervisor.web.state.store import Store
from tests.unit.certificates import Authority, Certificate, openssl
from tests.unit.serving import DEADLINE, Serving, recorded_status, serving


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The issuer of all certificates here."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def own(authority: Authority) -> Certificate:
    """The web process's certificate."""
    return authority.issue("server")


def config(own: Certificate, **more: object) -> TlsServerConfig:
    """Return the configuration of TLS with a certificate."""
    return TlsServerConfig.model_validate({"cert_file": str(own.cert), "key_file": str(own.key), **more})


def trusting(authority: Authority, client: Certificate | None = None) -> ssl.SSLContext:
    """Return the context of a client that trusts an authority. It may have a certificate."""
    context = ssl.create_default_context(cafile=str(authority.file))
    if client is not None:
        context.load_cert_chain(client.cert, client.key)
    return context


@pytest.fixture
def web(authority: Authority, own: Certificate) -> Iterator[Serving]:
    """A web process with TLS, which has the whole status."""
    with serving(tls=config(own), context=trusting(authority)) as one:
        one.send_all(recorded_status())
        yield one


def client(port: int, *words: str) -> str:
    """Return the output of `openssl s_client` for a connection."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *words]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=DEADLINE, check=False)
    return done.stdout + done.stderr


def test_answers(web: Serving, authority: Authority) -> None:
    """Requests succeed as without TLS, also with curl and openssl. A client that doesn't trust the certificate
    disconnects, and a client without TLS gets no response. Nothing is logged."""
    assert web.get("/metrics").body.count(b"\n") > 100
    curl = ["curl", "--silent", "--cacert", str(authority.file), f"https://127.0.0.1:{web.port}/healthz"]
    assert subprocess.run(curl, capture_output=True, check=True, timeout=DEADLINE).stdout == b"ok\n"
    assert "Verification: OK" in client(web.port, "-CAfile", str(authority.file))
    with (
        pytest.raises(ssl.SSLCertVerificationError),
        socket.create_connection(("127.0.0.1", web.port)) as one,
    ):
        ssl.create_default_context().wrap_socket(one, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in one.recv(1000)
    assert web.get("/healthz").status == 200
    assert web.records() == []


@pytest.mark.parametrize(
    ("least", "offered", "spoken"),
    [
        ("TLS12", "-tls1_3", "TLSv1.3"),
        ("TLS12", "-tls1_2", "TLSv1.2"),
        ("TLS13", "-tls1_3", "TLSv1.3"),
        ("TLS13", "-tls1_2", None),
        ("TLS12", "-tls1_1", None),
    ],
)
def test_versions(
    authority: Authority, own: Certificate, least: str, offered: str, spoken: str | None
) -> None:
    """TLS versions from `min_version` upwards are accepted."""
    with serving(tls=config(own, min_version=least), context=trusting(authority)) as web:
        web.send_all(recorded_status())
        output = client(web.port, "-CAfile", str(authority.file), offered, "-cipher", "DEFAULT:@SECLEVEL=0")
        assert (f"New, {spoken}" in output) if spoken else ("New, (NONE)" in output)


@pytest.mark.parametrize(
    ("client_auth", "without"), [("RequireAndVerifyClientCert", False), ("VerifyClientCertIfGiven", True)]
)
def test_clients_certificates(
    authority: Authority, own: Certificate, tmp_path: Path, client_auth: str, *, without: bool
) -> None:
    """Clients with a certificate of the authority are accepted, with one of another authority refused, and without
    one as configured."""
    tls = config(own, client_auth_type=client_auth, client_ca_file=str(authority.file))
    with serving(tls=tls, context=trusting(authority, authority.issue("client"))) as web:
        web.send_all(recorded_status())
        web.context = trusting(authority, Authority(tmp_path, "another").issue("stranger"))
        with pytest.raises(OSError, match=r"(?i)alert|reset|closed"):
            web.get("/healthz")
        web.context = trusting(authority)
        if without:
            assert web.get("/healthz").status == 200
        else:
            with pytest.raises(OSError, match=r"(?i)alert|reset|closed"):
                web.get("/healthz")
        assert web.records() == []


def test_unfinished_handshakes_are_counted(web: Serving) -> None:
    """Silent clients count as connections. When they disconnect, others are served."""
    while (refused := refused_beside_silent(web)) is None:
        pass
    assert refused
    deadline = time.monotonic() + DEADLINE
    while True:
        with contextlib.suppress(OSError):
            if web.get("/healthz").status == 200:
                break
        assert time.monotonic() < deadline
    assert web.records() == []


def refused_beside_silent(web: Serving) -> bool | None:
    """Return whether a request is refused while silent clients have all connections. Return None if it took so long
    that they may have timed out."""
    began = time.monotonic()
    with contextlib.ExitStack() as silent:
        for _ in range(MOST_CONNECTIONS):
            silent.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE))
        try:
            web.get("/healthz")
        except (ssl.SSLError, ConnectionError):
            return True
    return False if time.monotonic() - began < server._HANDSHAKE else None


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00"])
def test_unfinished_handshakes_time_out(
    monkeypatch: pytest.MonkeyPatch, own: Certificate, sent: bytes
) -> None:
    """A client that doesn't finish its handshake is disconnected after the timeout."""
    monkeypatch.setattr(server, "_HANDSHAKE", 0.2)

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as one:
            http_server = HttpServer(application(Store()), server_context(config(own).model_dump()))
            http_server.start(listening)
            one.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(one, listening.getsockname())
            await loop.sock_sendall(one, sent)
            assert await asyncio.wait_for(loop.sock_recv(one, 1), DEADLINE) == b""
            while http_server._opening:
                await asyncio.sleep(0)
            assert not http_server._state.connections
            loop.remove_reader(listening)

    asyncio.run(run())


def test_check_reports_unusable_files(own: Certificate, tmp_path: Path) -> None:
    """`filemapd check` reports unusable TLS files as the web process does. The configuration is valid."""
    file = tmp_path / "filemaps.yaml"
    for key, error in ((own.key, ""), (Path("key"), f"key_file {tmp_path}/key can't be read: No such file")):
        file.write_text(
            f"version: 1\nweb: {{tls_server_config: {{cert_file: {own.cert}, key_file: {key}}}}}\n"
        )
        done = CliRunner().invoke(main, ["check", "-c", str(file)])
        assert (done.exit_code, "web.tls_server_config: " in done.stderr) == (0, bool(error))
        assert error in done.stderr


def test_unusable_files(authority: Authority, own: Certificate, tmp_path: Path) -> None:
    """The error names the file and the reason if files are missing, don't match, need a passphrase or are something
    else."""
    other, nothing, text = authority.issue("other"), tmp_path / "nothing", tmp_path / "text"
    text.write_text("no certificate\n")
    locked = tmp_path / "locked.key"
    openssl("ec", "-in", str(own.key), "-aes128", "-passout", "pass:secret", "-out", str(locked))
    for changed, error in (
        ({"cert_file": nothing}, f"cert_file {nothing} can't be read: No such file or directory"),
        ({"key_file": nothing}, f"key_file {nothing} can't be read: No such file or directory"),
        ({"cert_file": tmp_path}, f"cert_file {tmp_path} can't be read: Is a directory"),
        (
            {"key_file": other.key},
            f"{own.cert} and key_file {other.key} are no certificate .*: key values mismatch",
        ),
        ({"cert_file": text}, f"{text} and key_file {own.key} are no certificate in PEM form"),
        ({"key_file": locked}, f"{locked} are no certificate in PEM form and its key without a passphrase: "),
    ):
        wrong = config(own).model_dump() | {key: str(value) for key, value in changed.items()}
        with pytest.raises(UnusableError, match=error):
            server_context(wrong)
    client_auth = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": str(text)}
    with pytest.raises(UnusableError, match=f"client_ca_file {text} holds no certificates in PEM form: "):
        server_context(config(own, **client_auth).model_dump())
