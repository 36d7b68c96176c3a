# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What site refuses before its first write."""

from __future__ import annotations

import datetime
import json
import shutil
import sys
import typing as t
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

sys.path.insert(0, str(Path(__file__).parents[1] / "roles"))
from api_server import Server
from plays import ansible_playbook, run_playbook

ROOT = Path(__file__).parents[3]

PROVIDER = {
    "name": "openai",
    "schema": "openai",
    "simulated": True,
    "credential": {"value": "k"},
    "models": [{"name": "gpt-4"}],
}
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_providers": [PROVIDER],
    # Nothing listens there.
    "ai_gateway_kubeconfig": "/nonexistent/kubeconfig",
    "gateway_allow_plain_http": True,
}
#: The other stack, whose CRD can be any file as nothing reads it.
TWO_GATEWAYS = {
    "ai_gateway_stack": "wg_ai_gateway",
    "crds_wg_ai_gateway": __file__,
    "controllers_images": {"wg_ai_gateway": "registry.example.com/wg-ai-gateway:1"},
    "maas_api_image": "registry.example.com/maas-api:1",
}
#: All that a playbook asks of a cluster before its first write.
KINDS = {("v1", "secrets"): "Secret"}
OUTSIDE = {
    "name": "openai",
    "schema": "openai",
    "endpoint": {"hostname": "api.openai.com"},
    "credential": {"value": "k"},
    "models": [{"name": "gpt-4"}],
}


def site(tmp_path: Path, variables: dict[str, t.Any], *arguments: str, playbook: str = "site") -> tuple[int, str]:
    """Run the playbook; its exit status and what it said."""
    ended = run_playbook(
        tmp_path, f"egress.ai_gateway.{playbook}", {**VARIABLES, **variables}, *arguments, host="cluster"
    )
    return ended.returncode, " ".join(ended.output.split())


def self_signed() -> tuple[str, str]:
    """A certificate and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ai.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=9))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("ai.example.com")]), critical=False)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return (
        builder.sign(key, hashes.SHA256()).public_bytes(encoding).decode(),
        key.private_bytes(encoding, form, serialization.NoEncryption()).decode(),
    )


CERTIFICATE, KEY = self_signed()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ai_gateway_providers": [{"name": "openai"}]}, "ai_gateway_providers[0].schema: is missing"),
        (
            {"ai_gateway_stack": "wg_ai_gateway", "crds_wg_ai_gateway": "/nonexistent/crd"},
            "crds_wg_ai_gateway is /nonexistent/crd.",
        ),
        ({"controllers_images": {"envoy": "envoy:1"}}, "controllers_images takes"),
        ({"gateway_allow_plain_http": False}, "gateway_tls_secret is empty"),
        ({"simulators_replicas": 0}, "write simulators_replicas from 1"),
        ({"gateway_service_type": "Nodeport"}, "gateway_service_type must be one of"),
        (
            {"access_policies_audiences": []},
            "access_policies_audiences and access_policies_user_audiences each take at least one audience",
        ),
        ({**TWO_GATEWAYS, "maas_api_image": "maas-api"}, 'maas_api_image is "maas-api"'),
        ({**TWO_GATEWAYS, "maas_api_image": ""}, "It has no default, as the image of maas-api that reads"),
        ({**TWO_GATEWAYS, "controllers_images": {}}, "controllers_images.wg_ai_gateway is missing."),
        (
            {**TWO_GATEWAYS, "controllers_images": {"wg_ai_gateway": ""}},
            "controllers_images.wg_ai_gateway is missing.",
        ),
        ({"ai_gateway_workloads": {"redis": {"replicas": 2}}}, "ai_gateway_workloads.redis.replicas is no field"),
        (
            {"gateway_tls_certificate": "x", "gateway_tls_private_key": "y"},
            "gateway_tls_certificate cannot be read as a certificate in PEM",
        ),
        ({"gateway_tls_certificate": "x"}, "gateway_tls_private_key is missing beside gateway_tls_certificate"),
        ({"gateway_tls_issuer": {"name": "ca"}}, "gateway_hostname is empty, and gateway_tls_issuer issues"),
        (
            {
                "gateway_tls_secret": "both",
                "gateway_listeners": [{"name": name, "hostname": "ai.example.com"} for name in ("one", "two")],
            },
            "gateway_listeners[1].hostname is ai.example.com, as is that of gateway_listeners[0]",
        ),
        ({"gateway_listeners": [{"hostname": "ai.example.com"}]}, "missing required arguments: name"),
        (
            {"gateway_listeners": [{"name": "bare", "tls": {"secrets": "x"}}]},
            "gateway_listeners.tls.secrets",
        ),
        ({"gateway_http_redirect": True}, "gateway_http_redirect is true and no listener serves HTTPS"),
        (
            {
                "gateway_tls_certificate": CERTIFICATE,
                "gateway_tls_private_key": KEY,
                "gateway_listeners": [
                    {"name": "wildcard", "hostname": "*.ai.example.com"},
                    {"name": "bare", "hostname": "ai.example.com"},
                ],
            },
            "gateway_tls_certificate is for DNS:ai.example.com, and not for *.ai.example.com of gateway_listeners[0]",
        ),
        (
            {"gateway_service_type": "NodePort", "gateway_load_balancer_class": "x"},
            "need gateway_service_type LoadBalancer, which is NodePort",
        ),
        ({"gateway_external_traffic_policy": "local"}, "gateway_external_traffic_policy is Local or Cluster"),
        (
            {
                **TWO_GATEWAYS,
                "ai_gateway_providers": [OUTSIDE],
                "controllers_images": {"wg_ai_gateway": "a:1"},
                "providers_system_roots": "/nonexistent/roots",
            },
            "providers_system_roots is /nonexistent/roots",
        ),
        ({"validation_tier": "gold"}, "no tier is named gold"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_asked_of_the_cluster(
    variables: dict[str, t.Any], said: str, tmp_path: Path
) -> None:
    status, output = site(tmp_path, variables)
    assert status != 0
    assert said in output
    assert "/nonexistent/kubeconfig" not in output
    assert "changed=0" in output


@pytest.mark.parametrize(
    "tags",
    ["--skip-tags=crds,controllers,gateway,simulators,providers", "--tags=maas_bridge", "--tags=validation_rate_limit"],
)
def test_any_choice_of_tags_has_a_catalogue(tags: str, tmp_path: Path) -> None:
    output = site(tmp_path, {}, tags)[1]
    assert "'ai_gateway_catalog' is undefined" not in output
    # It came as far as the cluster.
    assert "/nonexistent/kubeconfig" in output


@pytest.mark.parametrize("arguments", [("site",), ("site", "--check"), ("site", "--tags=providers"), ("rotate_keys",)])
def test_a_secret_that_is_missing_is_told_before_the_first_write(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    server = Server(KINDS)
    try:
        variables = {
            "ai_gateway_providers": [
                PROVIDER,
                {**OUTSIDE, "name": "outside", "credential": {"secret": "outside-key"}, "models": [{"name": "gpt-5"}]},
            ],
            "ai_gateway_kubeconfig": str(server.kubeconfig(tmp_path)),
            "gateway_url": "http://gateway.invalid",
            "gateway_listeners": [
                {"name": "partner", "hostname": "ai.partner.example", "tls": {"secret": "partner-tls"}}
            ],
            # Renders charts, for which there is no Helm.
            "preflight_rehearse": "never",
        }
        status, output = site(tmp_path, variables, *arguments[1:], playbook=arguments[0])
    finally:
        server.close()
    assert status != 0
    assert (
        "provider outside: Secret ai-gateway/outside-key is missing: "
        "kubectl create secret generic outside-key --namespace ai-gateway" in output
    )
    # What rotates keys needs no listener.
    listener = "gateway_listeners[0].tls.secret: Secret ai-gateway/partner-tls is missing: kubectl create secret"
    assert (listener in output) == (arguments[0] == "site")
    assert "changed=0" in output
    assert server.writes == []


INVENTORIES = sorted(path.name for path in (ROOT / "inventories").iterdir() if path.name != "embedded")


@pytest.mark.parametrize("name", INVENTORIES)
def test_each_inventory_comes_as_far_as_the_cluster(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_KEY", "VLLM_API_KEY"):
        monkeypatch.setenv(variable, "k")
    for variable in ("WG_AI_GATEWAY_IMAGE", "MAAS_API_IMAGE"):
        monkeypatch.setenv(variable, "registry.example.com/image@sha256:0")
    certificate, key = self_signed()
    given = {
        "ai_gateway_kubeconfig": "/nonexistent/kubeconfig",
        "crds_wg_ai_gateway": __file__,
    }
    (tmp_path / "given.json").write_text(json.dumps(given), encoding="utf-8")
    # As a user does: a copy, with what it names beside it.
    inventory = str(shutil.copytree(ROOT / "inventories" / name, tmp_path / name))
    (tmp_path / name / "ai.example.com.crt").write_text(certificate, encoding="utf-8")
    (tmp_path / name / "ai.example.com.key").write_text(key, encoding="utf-8")
    ended = ansible_playbook(
        tmp_path, "--inventory", inventory, "--extra-vars", f"@{tmp_path}/given.json", "egress.ai_gateway.site"
    )
    assert ended.returncode != 0
    assert "/nonexistent/kubeconfig" in ended.output, ended.output
    assert "changed=0" in ended.output
