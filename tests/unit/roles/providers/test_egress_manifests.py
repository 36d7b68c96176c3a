# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What leads from the clients' gateway through the egress gateway to the providers."""

from __future__ import annotations

import base64
import re
import typing as t
from pathlib import Path

import jsonschema
import pytest
from rendering import manifests
from third_party_crds import validator_of

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
CREDENTIAL = {"value": "sk-key"}


def provider(name: str, endpoint: dict[str, t.Any] | None) -> dict[str, t.Any]:
    more = {"simulated": True} if endpoint is None else {"endpoint": endpoint}
    return {"name": name, "schema": "openai", "credential": CREDENTIAL, "models": [{"name": f"{name}-model"}], **more}


VARIABLES: dict[str, t.Any] = {
    "ai_gateway_stack": "wg_ai_gateway",
    "providers_system_roots": "/etc/ssl/certs/ca-certificates.crt",
    "ai_gateway_providers": [
        provider("simulated", None),
        provider("public", {"hostname": "api.example.com", "prefix": "/api/v1"}),
        provider("private", {"hostname": "vllm.example.com", "port": 8443, "tls": {"ca_bundle": CERTIFICATE}}),
        provider(
            "mutual",
            {
                "hostname": "two.example.com",
                "tls": {"mode": "mutual", "ca_bundle": "their-ca", "client_certificate": "ours"},
            },
        ),
    ],
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("roots")
    (path / "roots.crt").write_text(CERTIFICATE)
    return path


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory, directory: Path) -> dict[tuple[str, str], dict[str, t.Any]]:
    return rendered(tmp_path_factory.mktemp("providers"), directory, {})


def rendered(path: Path, directory: Path, versions: dict[str, str]) -> dict[tuple[str, str], dict[str, t.Any]]:
    secrets = {
        "resources": [{"metadata": {"name": name, "resourceVersion": version}} for name, version in versions.items()]
    }
    variables = {**VARIABLES, "providers_system_roots": f"{directory}/roots.crt", "__providers_tls_secrets": secrets}
    return manifests(path, "providers", "wg_ai_gateway.yaml.j2", variables)


def test_each_provider_has_a_destination_and_a_route(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    names = {"simulated", "public", "private", "mutual"}
    assert {name for kind, name in objects if kind == "XBackendDestination"} == names
    assert {name for kind, name in objects if kind == "HTTPRoute"} == {f"egress.{name}" for name in names}
    route = objects["HTTPRoute", "egress.public"]["spec"]
    assert route["parentRefs"] == [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "egress-gateway"}]
    (rule,) = route["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/public/v1/"}}]
    assert rule["filters"][0]["urlRewrite"]["path"] == {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/api/v1/"}
    # The controller knows XBackendDestinations by this kind, and needs the port.
    assert rule["backendRefs"] == [
        {"group": "ainetworking.prototype.x-k8s.io", "kind": "Backend", "name": "public", "port": 443, "weight": 1}
    ]


def test_connections_are_verified(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    ports = {
        name: manifest["spec"]["destination"]["ports"][0]
        for (kind, name), manifest in objects.items()
        if kind == "XBackendDestination"
    }
    assert ports["simulated"] == {"number": 8000, "protocol": "HTTP", "tls": {"mode": "None"}}

    def verified(name: str, mode: str, sni: str, secret: str) -> dict[str, t.Any]:
        tls = t.cast("dict[str, t.Any]", ports[name]["tls"])
        (bundle,) = tls["caBundleRef"]
        # Without the digest of the place.
        name_of = re.sub(r"\.[0-9a-f]{8}-", "-", bundle["name"])
        assert (tls["mode"], tls["sni"], {**bundle, "name": name_of}) == (
            mode,
            sni,
            {"group": "", "kind": "Secret", "name": secret},
        )
        assert tls["subjectAltNames"] == [sni]
        return tls

    verified("public", "Simple", "api.example.com", "system-roots")
    verified("private", "Simple", "vllm.example.com", "private-ca-bundle")
    assert verified("mutual", "Mutual", "two.example.com", "their-ca")["clientCertificateRef"] == {
        "group": "",
        "kind": "Secret",
        "name": "ours",
    }
    (found,) = (
        body["data"] for (kind, name), body in objects.items() if kind == "Secret" and name.startswith("private.")
    )
    assert base64.b64decode(found["ca.crt"]).decode() == CERTIFICATE
    assert base64.b64decode(objects["Secret", "system-roots"]["data"]["ca.crt"]).decode().strip() == CERTIFICATE.strip()


def test_destinations_fit_their_definition(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    validator = validator_of("ainetworking.prototype.x-k8s.io_xbackenddestinations.yaml", "v0alpha0")
    for (kind, _name), manifest in objects.items():
        if kind == "XBackendDestination":
            validator.validate(manifest)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**manifest, "spec": {"destination": {"type": "Fqdn", "ports": [{"number": 1}]}}})


def test_no_key_is_in_it(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    assert "sk-key" not in str(objects)
    assert base64.b64encode(b"sk-key").decode() not in str(objects)


def test_another_certificate_changes_the_route(tmp_path: Path, directory: Path) -> None:
    found = []
    for version in ("1", "2"):
        path = tmp_path / version
        path.mkdir()
        routes = rendered(path, directory, {"their-ca": version, "ours": "1", "other": version})
        found.append(
            {name: routes["HTTPRoute", f"egress.{name}"]["metadata"]["annotations"] for name in ("public", "mutual")}
        )
    assert found[0]["public"] == found[1]["public"]
    assert found[0]["mutual"] != found[1]["mutual"]


def test_what_the_proxies_of_the_egress_gateway_may_call(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    policies = {name: manifest for (kind, name), manifest in objects.items() if kind == "NetworkPolicy"}
    service = "envoy-ai-gateway-egress-egress-gateway"
    assert set(policies) == {f"{service}.{name}" for name in ("port-443", "port-8443", "simulators")}
    assert all(policy["spec"]["podSelector"] == {"matchLabels": {"app": service}} for policy in policies.values())


def test_the_clients_gateway_calls_the_egress_gateway(tmp_path: Path) -> None:
    rendered_objects = manifests(tmp_path, "providers", "envoy_ai_gateway.yaml.j2", VARIABLES)
    # By the provider's name, without the digest of its place.
    found = {
        (kind, name if kind == "NetworkPolicy" else name.partition(".")[0]): body
        for (kind, name), body in rendered_objects.items()
    }
    host = "envoy-ai-gateway-egress-egress-gateway.ai-gateway-egress.svc.cluster.local"
    for name in ("simulated", "public", "private", "mutual"):
        assert found["Backend", name]["spec"] == {
            "type": "Endpoints",
            "endpoints": [{"fqdn": {"hostname": host, "port": 8080}}],
        }
        assert found["AIServiceBackend", name]["spec"]["schema"] == {"name": "OpenAI", "prefix": f"/{name}/v1"}
        assert ("BackendSecurityPolicy", name) in found
    assert {name for kind, name in found if kind == "NetworkPolicy"} == {
        f"ai-gateway.maas-default-gateway.{name}" for name in ("egress-gateway", "maas-api")
    }
