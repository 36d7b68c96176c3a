# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Catalogues that the end-to-end tests give to site:

the providers of several kinds together, and certificates that must be refused.
"""

from __future__ import annotations

import datetime
import pathlib
import typing as t

import provider_secrets
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from simulators import NAMESPACE

DAY = datetime.timedelta(days=1)

#: Providers of the default inventory, a remote vLLM, one of Anthropic's API, and a model that two of them serve.
PROVIDERS: list[dict[str, t.Any]] = [
    {
        "name": "openai",
        "schema": "openai",
        "key": "sk-openai-key-for-demo",
        "models": [{"name": "gpt-4"}, {"name": "shared", "priority": 0}],
    },
    {
        "name": "anthropic",
        "schema": "openai",
        "key": "sk-ant-claude-key-for-demo",
        "models": [
            {"name": "claude-3-sonnet"},
            {"name": "shared", "provider_model": "shared-elsewhere", "priority": 1},
        ],
    },
    {"name": "vllm", "schema": "openai", "key": "change-me-super-secret", "models": [{"name": "Qwen/Qwen3-0.6B"}]},
    {
        "name": "claude",
        "schema": "anthropic",
        "key": "sk-ant-of-its-own-for-demo",
        "models": [{"name": "claude-sonnet-4"}],
    },
]
#: On the premises, with a simulator in place of the Service.
MODELS: list[dict[str, t.Any]] = [
    {
        "name": "facebook/opt-125m",
        "simulated": True,
        "backend_ref": {"name": "facebook-opt-125m-simulated", "namespace": "llm", "port": 8000},
    }
]
#: What is wrong with the certificate of a provider of that name, and the word for it in the report.
REFUSED = {"tls-wrong-name": "SAN", "tls-unknown-authority": "issuer certificate", "tls-expired": "expired"}


class Authority:
    """A certificate authority of a test."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self._certificate = (
            self._builder(self._name, self._key, DAY * 30)
            .add_extension(constraints, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: datetime.timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        return (
            builder.serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY * 60)
            .not_valid_after(now + lifetime)
        )

    @property
    def certificate(self) -> str:
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, hostname: str, lifetime: datetime.timedelta = DAY * 30) -> dict[str, str]:
        """Return certificate and key of `hostname`, as role simulators takes them."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
        names = x509.SubjectAlternativeName([x509.DNSName(hostname)])
        certificate = (
            self._builder(subject, key, lifetime).add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {"certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(), "key": private.decode()}


def provider(entry: dict[str, t.Any], keys: dict[str, str] | None = None) -> dict[str, t.Any]:
    """Return a simulated provider of the inventory; `keys` has other keys than the entry's, by name."""
    given = {name: value for name, value in entry.items() if name != "key"}
    return {**given, "simulated": True, "credential": {"value": (keys or {}).get(entry["name"], entry["key"])}}


def variables(path: pathlib.Path, *, keys: dict[str, str] | None = None, refused: bool = False) -> pathlib.Path:
    """Write the extra variables of a mixed catalogue: one provider is behind TLS, and the key of one is in a Secret.

    :param keys: other keys by provider, for rotate_keys. That of the Secret is then the second one.
    :param refused: whether those providers are added whose certificates are wrong.
    """
    authority, unknown = Authority("One"), Authority("Another")
    hostname = "{}-simulator." + NAMESPACE + ".svc.cluster.local"
    issued = {"tls": authority.issue(hostname.format("tls"))}
    if refused:
        issued["tls-wrong-name"] = authority.issue("other.example.com")
        issued["tls-unknown-authority"] = unknown.issue(hostname.format("tls-unknown-authority"))
        issued["tls-expired"] = authority.issue(hostname.format("tls-expired"), -DAY)
    providers = [provider(entry, keys) for entry in PROVIDERS]
    for name in issued:
        entry = {
            "name": name,
            "schema": "openai",
            "key": f"sk-{name}-key-for-demo",
            "models": [{"name": f"model-of-{name}"}],
        }
        providers.append(
            provider({**entry, "endpoint": {"tls": {"mode": "simple", "ca_bundle": authority.certificate}}}, keys)
        )
    first, second = provider_secrets.KEYS
    providers += provider_secrets.providers(second if keys else first)
    written = {
        "ai_gateway_providers": providers,
        "ai_gateway_models": MODELS,
        "ai_gateway_allowed_endpoints": [provider_secrets.HOSTNAME],
        "simulators_certificates": issued,
    }
    if not keys:
        # The simulator accepts both. As an extra variable this would take precedence over what rotate_keys sets.
        written["simulators_additional_keys"] = {"twin": [second]}
    path.write_text(yaml.safe_dump(written), encoding="utf-8")
    path.chmod(0o600)
    return path
