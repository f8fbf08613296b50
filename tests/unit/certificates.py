"""Certificates for tests, made by openssl(1)."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key."""

    cert: Path
    key: Path

    @property
    def serial(self) -> str:
        """The serial number."""
        return openssl("x509", "-in", str(self.cert), "-noout", "-serial").strip()


class Authority:
    """A certificate authority with its files in `folder`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._self = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
        make = ["req", "-x509", *_NEW_KEY, "-subj", f"/CN={name}", "-days", "2"]
        openssl(*make, "-keyout", str(self._self.key), "-out", str(self._self.cert))

    @property
    def file(self) -> Path:
        """The authority's own certificate."""
        return self._self.cert

    def issue(self, name: str) -> Certificate:
        """Issue a certificate for this host, and for clients. It replaces one of the same name by renames, as
        renewal tools do."""
        made = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request, new = self._folder / f"{name}.csr", self._folder / f"{name}.new"
        key = self._folder / f"{name}.newkey"
        openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
        extensions = self._folder / "extensions"
        extensions.write_text("subjectAltName = IP:127.0.0.1, DNS:localhost\n")
        by = ["-CA", str(self._self.cert), "-CAkey", str(self._self.key), "-CAcreateserial", "-days", "1"]
        openssl("x509", "-req", "-in", str(request), *by, "-extfile", str(extensions), "-out", str(new))
        os.replace(key, made.key)
        os.replace(new, made.cert)
        return made


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def openssl(*words: str, given: str = "") -> str:
    """Run openssl(1) and return its stdout."""
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True, input=given).stdout
