"""The configuration of the port: TLS, users, and the account of the web process."""

from __future__ import annotations

from supervisor.config.load import parse
from tests.unit.supervisor.config.test_load import problems

HASH = "$2y$10$" + "a" * 21 + "u" + "b" * 31


def test_tls_and_users() -> None:
    """Paths are relative to the configuration's folder; optional keys have the defaults of Prometheus
    exporters."""
    tls = "tls_server_config: {cert_file: a/b.pem, key_file: /c}"
    text = f"version: 1\nweb: {{{tls}, basic_auth_users: {{d: {HASH}}}}}\n"
    web = parse(text.encode(), "/etc/filemapd/filemaps.yaml", lambda _path: None).web
    assert web.tls_server_config is not None
    assert web.tls_server_config.model_dump() == {
        "cert_file": "/etc/filemapd/a/b.pem",
        "key_file": "/c",
        "client_ca_file": None,
        "client_auth_type": "NoClientCert",
        "min_version": "TLS12",
    }
    assert web.basic_auth_users == {"d": HASH}


def test_wrong_tls() -> None:
    """Options of Prometheus exporters that Python's ssl or filemapd lacks are reported, and so are missing
    companions."""
    assert problems("""\
        version: 1
        web:
          tls_server_config:
            cert_file: ""
            client_auth_type: RequireAnyClientCert
            min_version: TLS11
            max_version: TLS13
    """) == [
        "f:3:3: web.tls_server_config.key_file: is missing, and has no default",
        "f:4:5: web.tls_server_config.cert_file: '' names no file",
        "f:5:5: web.tls_server_config.client_auth_type: must be 'NoClientCert', 'VerifyClientCertIfGiven' or "
        "'RequireAndVerifyClientCert', not 'RequireAnyClientCert'",
        "f:6:5: web.tls_server_config.min_version: must be 'TLS12' or 'TLS13', not 'TLS11'",
        "f:7:5: web.tls_server_config.max_version: unknown key; did you mean 'min_version'?",
    ]
    files = "version: 1\nweb: {tls_server_config: {cert_file: a, key_file: b, "
    (problem,) = problems(files + "client_ca_file: c/, client_auth_type: RequireAndVerifyClientCert}}")
    assert problem.endswith("client_ca_file: 'c/' names no file")
    assert problems(files + "client_auth_type: RequireAndVerifyClientCert}}")[0].endswith(
        "client_auth_type: RequireAndVerifyClientCert needs client_ca_file: whose certificates clients may have"
    )
    assert (
        "client_auth_type: no client is asked for a certificate, so client_ca_file is of no use"
        in (problems(files + "client_ca_file: c}}")[0])
    )


def test_the_web_process_is_some_user_without_privileges() -> None:
    """Root is refused, and so is an unknown user."""
    for name, error in (
        ("root", "'root' has all privileges"),
        ("no-such-user", "there is no user 'no-such-user'"),
    ):
        (problem,) = problems(f"version: 1\nweb: {{user: {name}}}")
        assert f"web.user: {error}" in problem


def test_wrong_users() -> None:
    """A value that is no hash may be a password: it is not shown."""
    for wrong in ("secret", "4711", "[secret]", HASH[:-1], HASH.replace("2y", "2x"), f"'{HASH}\\n'"):
        (error,) = problems(f"version: 1\nweb: {{basic_auth_users: {{anna: {wrong}}}}}")
        assert "web.basic_auth_users.anna: is no bcrypt hash, as in '$2y$10$...' with 60 characters" in error
        assert "secret" not in error
        assert "4711" not in error
    (error,) = problems(f"version: 1\nweb: {{basic_auth_users: {{anna: {HASH.replace('$10$', '$17$')}}}}}")
    assert "the hash has a cost of 17, which can be 4 to 16" in error
    for name in ("'a:b'", "''", '"a\\x01"'):
        (error,) = problems(f"version: 1\nweb: {{basic_auth_users: {{{name}: {HASH}}}}}")
        assert "can't be a user's name: it must not be empty nor hold a colon" in error
