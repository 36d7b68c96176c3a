# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""TLS of the simulator, with certificates that these tests make."""

from __future__ import annotations

import datetime
import http.client
import socket
import ssl
import time
import typing as t
from collections.abc import Callable
from pathlib import Path

import provider_simulator
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from simulator_process import CHAT, KEY, Simulator


class Authority:
    """A certificate authority; what it issues goes to files ``<name>.crt`` and ``<name>.key`` of its directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = directory / f"{name}.crt"
        usage = x509.BasicConstraints(ca=True, path_length=None)
        certificate = (
            self._builder(self.name, self.key).add_extension(usage, critical=True).sign(self.key, hashes.SHA256())
        )
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName(name)])
        certificate = builder.add_extension(names, critical=False).sign(self.key, hashes.SHA256())
        files = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return files

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(subject_name=subject, issuer_name=self.name, public_key=key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
            now + datetime.timedelta(hours=1)
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def client(authority: Authority, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.file))
    context.check_hostname = False
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


def served_name(simulator: Simulator, context: ssl.SSLContext) -> str:
    with (
        socket.create_connection(("127.0.0.1", simulator.port), timeout=10) as plain,
        context.wrap_socket(plain) as connection,
    ):
        subject: t.Any = t.cast("dict[str, t.Any]", connection.getpeercert())["subject"]
    return subject[0][0][1]


def test_it_serves_tls(start: Callable[..., Simulator], authority: Authority) -> None:
    certificate, key = authority.issue("server")
    simulator = start(f"--tls-certificate={certificate}", f"--tls-key={key}", tls=client(authority))
    assert simulator.ask("GET", "/health")[0] == 200
    assert simulator.chat()[0] == 200
    assert simulator.chat({**CHAT, "stream": True})[2].endswith("data: [DONE]\n\n")
    assert served_name(simulator, client(authority)) == "server"


def test_two_requests_on_one_connection(start: Callable[..., Simulator], authority: Authority) -> None:
    certificate, key = authority.issue("server")
    simulator = start(f"--tls-certificate={certificate}", f"--tls-key={key}", tls=client(authority))
    connection = simulator.connect()
    for _number in range(2):
        connection.request("GET", "/v1/models", headers={"x-api-key": KEY})
        response = connection.getresponse()
        assert response.status == 200
        response.read()
    connection.close()


def test_breaks_under_tls(start: Callable[..., Simulator], authority: Authority) -> None:
    certificate, key = authority.issue("server")
    simulator = start(f"--tls-certificate={certificate}", f"--tls-key={key}", tls=client(authority))
    for control in ("headers", "body"):
        with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            simulator.chat(**{"x-simulator-break": control})
    assert simulator.chat()[0] == 200


def test_tls_1_2_is_the_oldest(authority: Authority) -> None:
    certificate, key = authority.issue("server")
    assert provider_simulator.tls_context(certificate, key, None).minimum_version is ssl.TLSVersion.TLSv1_2
    assert provider_simulator.tls_context(certificate, key, None).verify_mode is ssl.CERT_NONE
    assert provider_simulator.tls_context(certificate, key, authority.file).verify_mode is ssl.CERT_REQUIRED


def test_what_is_no_tls_is_refused_and_keeps_nobody_waiting(
    start: Callable[..., Simulator], authority: Authority
) -> None:
    certificate, key = authority.issue("server")
    simulator = start(f"--tls-certificate={certificate}", f"--tls-key={key}", tls=client(authority))
    with socket.create_connection(("127.0.0.1", simulator.port)) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        simulator.logged("a TLS handshake failed: HTTP_REQUEST")
    # One that says nothing, like a probe of the port, is neither in the way nor logged.
    with socket.create_connection(("127.0.0.1", simulator.port)):
        assert simulator.ask("GET", "/health")[0] == 200
    time.sleep(0.2)
    assert simulator.log.count("failed") == 1


def test_client_certificates(start: Callable[..., Simulator], authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("server")
    simulator = start(f"--tls-certificate={certificate}", f"--tls-key={key}", f"--client-ca={authority.file}")
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other")
    simulator.tls = client(authority, authority.issue("client"))
    assert simulator.chat()[0] == 200
    for context in (client(authority), client(authority, other.issue("client"))):
        simulator.tls = context
        # With TLS 1.3 a client learns of it after its own part of the handshake.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            simulator.chat()
    simulator.logged("PEER_DID_NOT_RETURN_A_CERTIFICATE")
    simulator.logged("CERTIFICATE_VERIFY_FAILED")


def test_a_renewed_certificate_is_taken_without_a_restart(
    start: Callable[..., Simulator], authority: Authority
) -> None:
    certificate, key = authority.issue("server")
    simulator = start(f"--tls-certificate={certificate}", f"--tls-key={key}", f"--client-ca={authority.file}")
    context = client(authority, authority.issue("client"))
    assert served_name(simulator, context) == "server"
    renewed, its_key = authority.issue("renewed")
    # The certificate alone does not fit its key, so the former stays until both are there.
    renewed.replace(certificate)
    assert served_name(simulator, context) == "server"
    assert served_name(simulator, context) == "server"
    assert simulator.log.count("the changed certificate cannot be loaded (SSLError) and the former stays") == 1
    its_key.replace(key)
    assert served_name(simulator, context) == "renewed"


def test_a_renewed_authority_of_clients_takes_the_place_of_the_former(
    start: Callable[..., Simulator], authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.issue("server")
    own = tmp_path / "clients.crt"
    own.write_bytes(authority.file.read_bytes())
    simulator = start(f"--tls-certificate={certificate}", f"--tls-key={key}", f"--client-ca={own}")
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other")
    former, new = client(authority, authority.issue("client")), client(authority, other.issue("client"))
    simulator.tls = former
    assert simulator.chat()[0] == 200
    own.write_bytes(other.file.read_bytes())
    simulator.tls = new
    assert simulator.chat()[0] == 200
    simulator.tls = former
    with pytest.raises((ssl.SSLError, ConnectionError)):
        simulator.chat()
