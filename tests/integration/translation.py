# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Envoy Gateway says of a rendered tree without a cluster: egctl translates it and reports the statuses.

egctl is in the Go module of Envoy Gateway. It is built once for each version, by the go.mod of the embedded cluster.
"""

from __future__ import annotations

import base64
import datetime
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import typing as t

import crd_defaults
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = pathlib.Path(__file__).parents[2]
GO_MOD = ROOT / "roles/embedded_cluster/files/go/envoy-gateway"
MODULE = "github.com/envoyproxy/gateway"
CACHE = pathlib.Path(os.environ.get("CACHE", pathlib.Path.home() / ".cache/egress-ai-gateway")) / "bin"
#: The kinds that Envoy Gateway itself reads, with a part of their group where others have the kind too.
KINDS = {
    "GatewayClass": "gateway.networking.k8s.io",
    "Gateway": "gateway.networking.k8s.io",
    "HTTPRoute": "gateway.networking.k8s.io",
    **dict.fromkeys(
        (
            "Backend",
            "BackendTrafficPolicy",
            "ClientTrafficPolicy",
            "EnvoyExtensionPolicy",
            "EnvoyPatchPolicy",
            "EnvoyProxy",
            "SecurityPolicy",
        ),
        "gateway.envoyproxy.io",
    ),
    "ConfigMap": "",
    "Namespace": "",
    "Secret": "",
    "Service": "",
}
Body = dict[str, t.Any]


def version() -> str:
    """The version of Envoy Gateway."""
    required = (GO_MOD / "go.mod").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^(?:require)?\s*{MODULE} (\S+)", required, re.MULTILINE)
    return str(found)


def program() -> pathlib.Path:
    """Where egctl is kept once it was built."""
    return CACHE / f"egctl-{version()}"


def build() -> pathlib.Path:
    """Build egctl unless it is kept; that takes some minutes."""
    kept = program()
    if kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        for name in ("go.mod", "go.sum"):
            shutil.copy(GO_MOD / name, directory)
        environment = {**os.environ, "CGO_ENABLED": "0"}
        for command in (
            ["go", "get", "-tool", f"{MODULE}/cmd/egctl@{version()}"],
            ["go", "build", "-o", f"{directory}/egctl", f"{MODULE}/cmd/egctl"],
        ):
            subprocess.run(["nice", *command], cwd=directory, env=environment, check=True, timeout=1800)
        shutil.copy(f"{directory}/egctl", f"{kept}.new")
    pathlib.Path(f"{kept}.new").rename(kept)
    return kept


def certificate(namespace: str, name: str, host: str) -> Body:
    """The Secret that an issuer would make."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/tls",
        "data": {
            "tls.crt": base64.b64encode(signed.public_bytes(pem)).decode(),
            "tls.key": base64.b64encode(private).decode(),
        },
    }


def translated(tree: pathlib.Path, secrets: pathlib.Path, egctl: pathlib.Path) -> dict[str, list[Body]]:
    """The conditions of each object that Envoy Gateway reads, by kind and name.

    Certificates of an issuer are made for it.
    """
    rendered = crd_defaults.objects(tree)
    bodies = [*rendered, *yaml.safe_load_all(secrets.read_text(encoding="utf-8"))]
    read = [body for body in bodies if KINDS.get(body["kind"]) == body["apiVersion"].rpartition("/")[0]]
    read += [
        certificate(body["metadata"]["namespace"], body["spec"]["secretName"], body["spec"]["dnsNames"][0])
        for body in rendered
        if body["kind"] == "Certificate"
    ]
    # egctl reads no label of a namespace, so that which ones a listener selects is not for it to judge.
    for listener in (listener for body in read if body["kind"] == "Gateway" for listener in body["spec"]["listeners"]):
        if "selector" in listener["allowedRoutes"]["namespaces"]:
            listener["allowedRoutes"] = {"namespaces": {"from": "All"}}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump_all(read, file)
        file.flush()
        command = [str(egctl), "x", "translate", "--from", "gateway-api", "--to", "gateway-api", "--file", file.name]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    listed = yaml.load(ended.stdout, yaml.CSafeLoader)
    return {
        f"{body['kind']} {body['metadata']['name']}": list(_conditions(body.get("status", {})))
        for found in listed.values()
        for body in (found if isinstance(found, list) else [found])
    }


def _conditions(status: t.Any) -> t.Iterator[Body]:
    if isinstance(status, dict):
        yield from status.get("conditions") or ()
        for value in status.values():
            yield from _conditions(value) if isinstance(value, (dict, list)) else ()
    elif isinstance(status, list):
        for item in status:
            yield from _conditions(item) if "type" not in item or "conditions" in item else ()
