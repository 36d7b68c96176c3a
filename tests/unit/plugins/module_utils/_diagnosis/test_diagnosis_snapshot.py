# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gets into a snapshot, and above all what does not."""

from __future__ import annotations

import base64
import datetime
import json
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.collect import collect
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.diagnose import diagnose
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.objects import (
    certificates,
    envoy_gateway_settings,
    kept,
    verifies,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.proxies import (
    kept_configuration,
    kept_statistics,
    last_answers,
    trouble,
    without_secrets,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.snapshot import Snapshot, SnapshotError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Answer, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.port_forward import ForwardError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Body = dict[str, t.Any]
#: In every place where a secret may be.
SECRET = "c0nfidential-and-long"
NOW = datetime.datetime(2026, 11, 28, 18, 46, tzinfo=datetime.UTC)


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def pair(name: str, authority: tuple[bytes, bytes] | None = None) -> tuple[bytes, bytes]:
    """A certificate and its key in PEM, signed by itself or by an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = subject, key
    if authority:
        issuer = x509.load_pem_x509_certificate(authority[0]).subject
        signer = t.cast(ec.EllipticCurvePrivateKey, serialization.load_pem_private_key(authority[1], None))
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + datetime.timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


AUTHORITY = pair("ca")
SERVED = pair("ai-gateway-controller.ai.svc", AUTHORITY)
OTHER = pair("ca")


def test_a_certificate_is_read() -> None:
    (found,) = certificates(SERVED[0])
    assert found["names"] == ["ai-gateway-controller.ai.svc"]
    assert found["not_after"] == "2027-02-26T18:46:00Z"
    assert certificates(b"nothing") == []


def test_trust_is_by_signature_and_not_by_name() -> None:
    assert verifies(AUTHORITY[0], SERVED[0]) is True
    assert verifies(OTHER[0], SERVED[0]) is False
    assert verifies(OTHER[0] + AUTHORITY[0], SERVED[0]) is True
    assert verifies(b"", SERVED[0]) is None


def test_a_secret_is_kept_by_the_names_of_its_keys() -> None:
    data = {"apiKey": encoded(SECRET), "tls.crt": encoded(SERVED[0]), "tls.key": encoded(SERVED[1])}
    found = kept({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "b"}, "data": data})
    assert found["keys"]["apiKey"] == len(SECRET)
    assert found["fits"] is True
    assert found["certificates"]["tls.crt"][0]["subject"] == "CN=ai-gateway-controller.ai.svc"
    assert SECRET not in json.dumps(found)
    assert encoded(SECRET) not in json.dumps(found)
    assert "PRIVATE" not in json.dumps(found)
    data["tls.key"] = encoded(OTHER[1])
    assert kept({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": data})["fits"] is False


def test_an_mcp_route_is_kept_without_its_keys() -> None:
    key = {"name": "weather", "namespace": "b"}
    servers = [
        {"name": "one", "path": "/mcp", "securityPolicy": {"apiKey": {"secretRef": key, "header": "X-Key"}}},
        {"name": "two", "securityPolicy": {"apiKey": {"inline": SECRET}}, "forwardHeaders": [{"name": "x-a"}]},
    ]
    body = {
        "apiVersion": "aigateway.envoyproxy.io/v1beta1",
        "kind": "MCPRoute",
        "metadata": {"name": "a", "namespace": "b"},
        "spec": {"path": "/mcp", "backendRefs": servers, "securityPolicy": {"oauth": {"issuer": SECRET}}},
    }
    one, two = kept(body)["spec"]["backendRefs"]
    assert one == {"name": "one", "securityPolicy": {"apiKey": {"secretRef": key}}}
    assert two["forwardHeaders"] == [{"name": "x-a"}]
    assert SECRET not in json.dumps(kept(body))


SETTINGS = f"""\
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
extensionApis:
  enableBackend: true
extensionManager:
  backendResources:
  - group: inference.networking.k8s.io
    kind: InferencePool
    version: v1
  hooks:
    xdsTranslator:
      post:
      - Translation
      - Cluster
  maxMessageSize: 128Mi
  service:
    fqdn:
      hostname: ai-gateway-controller.ai.svc.cluster.local
      port: 1063
gateway:
  controllerName: "example.com/controller"
rateLimit:
  backend:
    redis:
      url: redis://:{SECRET}@redis:6379
"""


def test_the_settings_of_envoy_gateway_are_read() -> None:
    assert envoy_gateway_settings(SETTINGS) == {
        "controllerName": "example.com/controller",
        "enableBackend": "true",
        "maxMessageSize": "128Mi",
        "sections": ["apiVersion", "extensionApis", "extensionManager", "gateway", "kind", "rateLimit"],
        "hooks": True,
        "translation": True,
        "resources": ["InferencePool"],
        "extension": "ai-gateway-controller.ai.svc.cluster.local",
    }
    bare = envoy_gateway_settings("kind: EnvoyGateway\ngateway:\n  controllerName: a\n")
    assert (bare["hooks"], bare["translation"], bare["extension"], bare["resources"]) == (False, False, "", [])


def test_a_deployment_is_kept_without_its_environment_and_with_few_arguments() -> None:
    container = {
        "name": "controller",
        "image": "a:1",
        "args": ["--maxRecvMsgSize=4194304", f"--mcpSessionEncryptionSeed={SECRET}"],
        "env": [{"name": "KEY", "value": SECRET}],
    }
    volumes = [{"name": "tls", "secret": {"secretName": "certificate"}}]
    specification = {"replicas": 1, "template": {"spec": {"containers": [container], "volumes": volumes}}}
    found = kept({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": specification})
    assert found["containers"] == [{"name": "controller", "image": "a:1", "arguments": ["--maxRecvMsgSize=4194304"]}]
    assert found["secrets"] == ["certificate"]
    assert SECRET not in json.dumps(found)


def dump() -> Body:
    """A proxy's configuration with a secret in each place that may hold one."""
    filters = [
        {"name": "envoy.filters.http.ext_proc/aigateway", "typed_config": {}},
        {"name": "program", "typed_config": {"default_source_code": {"inline_string": SECRET}}},
    ]
    manager = {
        "@type": "type.googleapis.com/a.HttpConnectionManager",
        "stat_prefix": "http-10080",
        "rds": {"route_config_name": "a/b/http"},
        "http_filters": filters,
        "access_log": [{"format": SECRET}],
    }
    listener = {
        "address": {"socket_address": {"port_value": 10080}},
        "filter_chains": [{"filters": [{"typed_config": manager}]}],
    }
    resources = [{"kind": "HTTPRoute", "namespace": "a", "name": "r", "annotations": {"ai-gateway-generated": "true"}}]
    route = {
        "name": "one",
        "match": {"headers": [{"string_match": {"exact": SECRET}}]},
        "route": {"cluster": "httproute/a/r/rule/0"},
        "request_headers_to_add": [{"header": {"key": "authorization", "value": SECRET}}],
        "metadata": {"filter_metadata": {"envoy-gateway": {"resources": resources}}},
        "typed_per_filter_config": {"envoy.filters.http.ext_proc/aigateway": {"token": SECRET}},
    }
    cluster = {
        "name": "ai-gateway-extproc-uds",
        "type": "STATIC",
        "load_assignment": {"endpoints": [{"pipe": {"path": "/etc/ai-gateway-extproc-uds/run.sock"}}]},
        "transport_socket": {"private_key": {"inline_string": SECRET}},
    }
    prefix = "type.googleapis.com/envoy.admin.v3."
    return {
        "configs": [
            {"@type": f"{prefix}BootstrapConfigDump", "bootstrap": {"key": SECRET}},
            {
                "@type": f"{prefix}ListenersConfigDump",
                "dynamic_listeners": [{"name": "l", "active_state": {"listener": listener}}],
            },
            {"@type": f"{prefix}ScopedRoutesConfigDump"},
            {
                "@type": f"{prefix}RoutesConfigDump",
                "dynamic_route_configs": [
                    {"route_config": {"name": "a/b/http", "virtual_hosts": [{"routes": [route]}]}}
                ],
            },
            {"@type": f"{prefix}ClustersConfigDump", "dynamic_active_clusters": [{"cluster": cluster}]},
            {"@type": f"{prefix}SecretsConfigDump", "dynamic_active_secrets": [{"secret": {"key": SECRET}}]},
        ]
    }


def test_a_configuration_is_kept_by_names() -> None:
    found = kept_configuration(dump())
    assert SECRET not in json.dumps(found)
    (chain,) = found["listeners"][0]["chains"]
    assert chain["filters"] == ["envoy.filters.http.ext_proc/aigateway", "program"]
    assert (chain["route_config"], found["listeners"][0]["port"]) == ("a/b/http", 10080)
    (route,) = found["route_configs"][0]["routes"]
    assert route["generated"]
    assert route["filters"] == ["envoy.filters.http.ext_proc/aigateway"]
    assert found["sockets"] == ["/etc/ai-gateway-extproc-uds/run.sock"]
    assert found["bytes"] > 500


def test_counters_of_no_interest_are_left_out() -> None:
    stats = [
        {"name": "cluster.a.cluster.aext_proc.streams_started", "value": 7},
        {"name": "cluster.a.membership_healthy", "value": 0},
        {"name": "cluster.a.upstream_cx_total", "value": 5},
        {"name": "cluster.a.upstream_rq_401", "value": 0},
        {"histograms": {}},
    ]
    assert kept_statistics({"stats": stats}) == {
        "cluster.a.cluster.aext_proc.streams_started": 7,
        "cluster.a.membership_healthy": 0,
    }


def line(time: str, code: int, details: str, flags: str = "-", cluster: str | None = "c", **more: t.Any) -> str:
    entry = {"start_time": time, "response_code": code, "response_code_details": details, "response_flags": flags}
    return json.dumps({**entry, "upstream_cluster": cluster, "user": SECRET, "path": f"/{SECRET}", **more})


def test_an_answer_of_the_proxy_hides_none_of_the_provider() -> None:
    found = last_answers(
        [
            line("2026-01-01T00:00:01Z", 200, "via_upstream"),
            line("2026-01-01T00:00:03Z", 401, "via_upstream"),
            line("2026-01-01T00:00:02Z", 200, "via_upstream"),
            line("2026-01-01T00:00:04Z", 429, "request_rate_limited", "RL"),
            line("2026-01-01T00:00:05Z", 500, "rate_limiter_error", "RLSE"),
            line("2026-01-01T00:00:06Z", 503, "ext_authz_error", "UAEX", None),
            "no answer",
            "{broken",
        ]
    )
    assert found["backends"]["c"]["response_code"] == 401
    assert set(found["own"]) == {"request_rate_limited", "rate_limiter_error", "ext_authz_error"}
    assert found["reached"] == "2026-01-01T00:00:04Z"
    assert SECRET not in json.dumps(found)


def test_a_connection_that_failed_is_an_answer_of_the_backend() -> None:
    reason = f"TLS_error: authorization: {SECRET}"
    found = last_answers(
        [line("2026-01-01T00:00:01Z", 503, "upstream_reset", "UF,URX", upstream_transport_failure_reason=reason)]
    )
    assert found["backends"]["c"]["upstream_transport_failure_reason"].startswith("TLS_error")
    assert SECRET not in json.dumps(found)


@pytest.mark.parametrize(
    "text",
    [
        f"error: Authorization: Bearer {SECRET}",
        f"error token={SECRET} refused",
        f'error {{"apiKey": "{SECRET}"}}',
        f"error sk-{SECRET}",
        "error eyJhbGciOiJSUzI1NiIs.eyJpc3MiOiJrdWJlcm5ldGVz.c2lnbmF0dXJl",
    ],
)
def test_what_looks_like_a_secret_is_hidden_in_lines(text: str) -> None:
    shown = without_secrets(text)
    assert SECRET not in shown
    assert "eyJ" not in shown
    assert shown.startswith("error")


def test_only_lines_of_trouble_are_kept() -> None:
    lines = [
        "info: all is well",
        "2026 error one",
        "2026 error one",
        "error: context canceled",
        line("2026-01-01T00:00:01Z", 500, "internal_error"),
        "[warning][main] two",
    ]
    assert trouble(lines) == ["2026 error one", "[warning][main] two"]


class Cluster:
    """Serves few kinds as Api does."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.lists: dict[str, list[Body]] = {}
        self.log = ""

    def each(self, function: t.Callable[[t.Any], t.Any], items: t.Sequence[t.Any]) -> list[t.Any]:
        return [function(item) for item in items]

    def versions(self, group: str) -> list[str]:
        return ["v1"] if not group else [f"{group}/v1"]

    def types(self, api_version: str) -> list[ResourceType]:
        kinds = {kind for kind in self.lists if self.lists[kind][0]["apiVersion"] == api_version}
        return [ResourceType(api_version, kind, f"{kind.lower()}s", True, frozenset()) for kind in sorted(kinds)]

    def pages(self, kind: ResourceType, namespace: str, query: Body | None) -> t.Iterator[tuple[str, list[Body]]]:
        if kind.kind in self.refused:
            raise ApiError(403, "Forbidden", f"{kind.plural} is forbidden")
        yield "1", self.lists[kind.kind]

    def get(self, path: str) -> Body:
        return {"gitVersion": "v1.34.4"}

    def request(self, method: str, path: str, query: Body, accept: str, patience: float) -> Answer:
        assert path.endswith("/log")
        return Answer(200, {"text": self.log})


def put(cluster: Cluster, api_version: str, kind: str, namespace: str, name: str, **fields: t.Any) -> None:
    metadata = {"name": name, "namespace": namespace, **fields.pop("metadata", {})}
    cluster.lists.setdefault(kind, []).append({"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields})


class Forwarded:
    """Gives what a proxy's administration gives."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.asked: list[tuple[str, int, str]] = []

    def get(self, namespace: str, pod: str, port: int, path: str) -> bytes:
        self.asked.append((f"{namespace}/{pod}", port, path))
        if self.fails:
            raise ForwardError("pods portforward is forbidden", 403)
        if path.startswith("/config_dump"):
            return json.dumps(dump()).encode()
        return json.dumps({"stats": [], "cluster_statuses": []}).encode()


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    put(
        made,
        "gateway.networking.k8s.io/v1",
        "GatewayClass",
        "",
        "eg",
        spec={"controllerName": "gateway.envoyproxy.io/a"},
    )
    put(made, "gateway.networking.k8s.io/v1", "Gateway", "a", "b", spec={"gatewayClassName": "eg", "listeners": []})
    put(made, "gateway.networking.k8s.io/v1", "Gateway", "x", "y", spec={"gatewayClassName": "istio", "listeners": []})
    put(made, "v1", "Secret", "a", "key", data={"apiKey": encoded(SECRET)})
    put(made, "v1", "Secret", "a", "a-b", data={"filter-config.yaml": encoded(f"[error] refused\nkey: {SECRET}\n")})
    put(made, "v1", "Secret", "elsewhere", "key", data={"apiKey": encoded(SECRET)})
    labels = {
        "gateway.envoyproxy.io/owning-gateway-name": "b",
        "gateway.envoyproxy.io/owning-gateway-namespace": "a",
    }
    status = {"containerStatuses": [{"name": "envoy", "state": {"running": {}}}]}
    environment = [{"name": "KEY", "value": SECRET}]
    specification = {"containers": [{"name": "envoy", "image": "envoy:1", "env": environment}]}
    put(made, "v1", "Pod", "a", "proxy", metadata={"labels": labels}, status=status, spec=specification)
    put(
        made,
        "v1",
        "Event",
        "a",
        "event",
        reason="Failed",
        message=f"cannot use key {SECRET}",
        involvedObject={"namespace": "a"},
    )
    made.log = f"[error] refused {SECRET}\n{line('2026-01-01T00:00:01Z', 401, 'via_upstream')}"
    return made


def test_a_snapshot_is_collected_without_secrets(cluster: Cluster) -> None:
    forwarded = Forwarded()
    found = collect(t.cast(t.Any, cluster), forwarded, [], 600, NOW)
    assert found["gateways"] == [{"namespace": "a", "name": "b"}]
    assert found["version"] == "v1.34.4"
    assert {(port, path.partition("?")[0]) for _pod, port, path in forwarded.asked} == {
        (19000, "/config_dump"),
        (19000, "/stats"),
        (19000, "/clusters"),
    }
    (proxy,) = found["proxies"]
    assert proxy["gateway"] == "a/b"
    assert proxy["answers"]["backends"]["c"]["response_code"] == 401
    assert found["logs"][0]["lines"] == ["[error] refused ********"]
    names = {(body["kind"], body["metadata"].get("namespace")) for body in found["objects"]}
    assert ("Secret", "a") in names
    assert ("Secret", "elsewhere") not in names
    text = json.dumps(found)
    assert SECRET not in text
    assert encoded(SECRET) not in text
    assert found["unread"] == []
    # The rules bear it.
    assert diagnose(Snapshot(found)) is not None


def test_what_may_not_be_read_is_noted(cluster: Cluster) -> None:
    cluster.refused = {"Secret"}
    found = collect(t.cast(t.Any, cluster), Forwarded(fails=True), [{"namespace": "a", "name": "b"}], 600, NOW)
    assert {(entry["what"], entry["reason"]) for entry in found["unread"]} == {
        ("secrets", "secrets is forbidden"),
        ("the configuration of proxy a/proxy", "pods portforward is forbidden"),
    }
    assert found["proxies"][0]["error"] == "pods portforward is forbidden"
    assert "AIG0901" in {root.code for root in diagnose(Snapshot(found))}


@pytest.mark.parametrize("data", [{}, {"format": 0, "objects": []}, {"format": 1}, []])
def test_another_file_is_no_snapshot(data: t.Any) -> None:
    with pytest.raises(SnapshotError, match="no snapshot of format 1"):
        Snapshot(data)


def test_of_a_semantic_router_its_models_and_decisions_are_kept() -> None:
    config = {
        "providers": {
            "defaults": {"model": "model-a"},
            "models": [{"name": "model-a", "backend_refs": [{"endpoint": "model-a.llm.svc.cluster.local:8000"}]}],
        },
        "routing": {
            "signals": {"keywords": [{"name": "secret-words", "keywords": ["canary"]}]},
            "decisions": [{"name": "math", "modelRefs": [{"model": "model-a"}]}],
        },
    }
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "semantic-router", "namespace": "router"},
        "data": {"config.yaml": json.dumps(config)},
    }
    found = kept(body)
    assert found["semantic_router"] == {
        "models": {"model-a": "model-a.llm.svc.cluster.local:8000"},
        "decisions": [["math", "model-a"]],
        "default": "model-a",
    }
    assert "canary" not in json.dumps(found)
    # One of somebody else is nobody's business.
    for text in ("version: v0.3", "{}", "[]"):
        assert "semantic_router" not in kept({**body, "data": {"config.yaml": text}})
