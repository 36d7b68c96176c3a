# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role's template renders."""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

import pytest
from rendering import manifests

POLICY = ("NetworkPolicy", "ai-gateway.ai-gateway.proxies")


def policy_of(directory: Path, **variables: t.Any) -> dict[str, t.Any]:
    given = {"ai_gateway_allow_empty": True, "__gateway_identity_key": "k" * 64, **variables}
    return t.cast("dict[str, t.Any]", manifests(directory, "gateway", "gateway.yaml.j2", given)[POLICY])


def gateway_of(directory: Path, **variables: t.Any) -> dict[tuple[str, str], dict[str, t.Any]]:
    given = {"ai_gateway_allow_empty": True, "__gateway_identity_key": "k" * 64, **variables}
    return manifests(directory, "gateway", "gateway.yaml.j2", given)


def ports_of(rules: list[dict[str, t.Any]]) -> set[tuple[str, int]]:
    return {(port["protocol"], port["port"]) for rule in rules for port in rule["ports"]}


@pytest.mark.parametrize(("secret", "port"), [("", 10080), ("certificate", 10443)])
def test_clients_reach_the_port_of_the_listener(tmp_path: Path, secret: str, port: int) -> None:
    policy = policy_of(tmp_path, gateway_tls_secret=secret)
    assert policy["metadata"]["namespace"] == "ai-gateway-envoy-gateway"
    ingress = policy["spec"]["ingress"]
    assert not any("from" in rule for rule in ingress)
    assert ports_of(ingress) == {("TCP", number) for number in (port, 19001, 19002, 19003, 1064)}


def test_the_proxies_reach_what_they_always_need_and_no_more(tmp_path: Path) -> None:
    spec = policy_of(tmp_path)["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    labels = {
        "gateway.envoyproxy.io/owning-gateway-name": "ai-gateway",
        "gateway.envoyproxy.io/owning-gateway-namespace": "ai-gateway",
    }
    assert spec["podSelector"] == {"matchLabels": labels}
    assert ports_of(spec["egress"]) == {("UDP", 53), ("TCP", 53), ("TCP", 18000), ("TCP", 8081), ("TCP", 50051)}
    assert all(rule["to"] for rule in spec["egress"])
    assert [peer["ipBlock"]["cidr"] for rule in spec["egress"] for peer in rule["to"] if "ipBlock" in peer] == [
        "169.254.20.10/32"
    ]


def test_openshift_resolves_elsewhere(tmp_path: Path) -> None:
    (rule, *_others) = policy_of(tmp_path, ai_gateway_platform="openshift", ai_gateway_policy_engine="authorino")[
        "spec"
    ]["egress"]
    assert rule["to"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "openshift-dns"}
    assert {port["port"] for port in rule["ports"]} == {5353}


BOTH = [
    {"name": "https-wildcard", "hostname": "*.ai.example.com"},
    {"name": "https-bare", "hostname": "ai.example.com"},
]
MADE = {
    "authority": {"certificate": "authority", "key": "key of the authority"},
    "servers": {
        f"ai-gateway{name}tls": {"certificate": f"certificate{name}", "key": f"key{name}"}
        for name in ("-", ".https-wildcard.", ".https-bare.")
    },
}
REDIRECT = "ai-gateway.ai-gateway.http-redirect"
FROM_SAME = {"namespaces": {"from": "Same"}}


def decoded(secret: dict[str, t.Any]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def test_a_wildcard_and_a_bare_host_share_an_existing_secret(tmp_path: Path) -> None:
    objects = gateway_of(tmp_path, gateway_listeners=BOTH, gateway_tls_secret="of-others")
    tls = {"mode": "Terminate", "certificateRefs": [{"group": "", "kind": "Secret", "name": "of-others"}]}
    assert objects["Gateway", "ai-gateway"]["spec"]["listeners"] == [
        {**listener, "protocol": "HTTPS", "port": 443, "tls": tls, "allowedRoutes": FROM_SAME} for listener in BOTH
    ]
    assert [name for kind, name in objects if kind in ("Secret", "HTTPRoute")] == ["ai-gateway.ai-gateway.identity-key"]


def test_one_certificate_of_cert_manager_has_all_names_that_share_it(tmp_path: Path) -> None:
    own = {"name": "own", "hostname": "own.example.com", "tls": {"issuer": {"name": "ca", "kind": "Issuer"}}}
    issuer = {"name": "letsencrypt"}
    objects = gateway_of(tmp_path, gateway_listeners=[*BOTH, own], gateway_tls_issuer=issuer)
    found = {name: manifest["spec"] for (kind, name), manifest in objects.items() if kind == "Certificate"}
    assert found["ai-gateway-tls"]["dnsNames"] == ["*.ai.example.com", "ai.example.com"]
    assert found["ai-gateway.own.tls"]["dnsNames"] == ["own.example.com"]
    assert found["ai-gateway.own.tls"]["issuerRef"] == {"group": "cert-manager.io", "kind": "Issuer", "name": "ca"}
    listeners = objects["Gateway", "ai-gateway"]["spec"]["listeners"]
    assert [listener["tls"]["certificateRefs"][0]["name"] for listener in listeners] == [
        "ai-gateway-tls",
        "ai-gateway-tls",
        "ai-gateway.own.tls",
    ]


def test_the_own_authority_is_kept_beside_its_certificates(tmp_path: Path) -> None:
    objects = gateway_of(tmp_path, gateway_listeners=BOTH, gateway_tls_own_ca=True, __gateway_made=MADE)
    assert decoded(objects["Secret", "ai-gateway.certification-authority"]) == {
        "tls.crt": "authority",
        "tls.key": "key of the authority",
    }
    assert decoded(objects["Secret", "ai-gateway.https-bare.tls"]) == {
        "ca.crt": "authority",
        "tls.crt": "certificate.https-bare.",
        "tls.key": "key.https-bare.",
    }
    kept = {"egress.ai-gateway/kept": "true"}
    secrets = [manifest for (kind, _name), manifest in objects.items() if kind == "Secret"]
    assert all(secret["metadata"]["labels"] == kept for secret in secrets)


def test_plain_http_is_redirected_and_nothing_else_answers_it(tmp_path: Path) -> None:
    objects = gateway_of(
        tmp_path,
        gateway_listeners=BOTH,
        gateway_tls_own_ca=True,
        __gateway_made=MADE,
        gateway_route_namespaces=["maas-api"],
        gateway_service_type="NodePort",
    )
    *https, plain = objects["Gateway", "ai-gateway"]["spec"]["listeners"]
    proxies = "ai-gateway-envoy-gateway"
    # Routes of models are in the gateway's namespace, and those of others in these.
    for listener in https:
        (expression,) = listener["allowedRoutes"]["namespaces"]["selector"]["matchExpressions"]
        assert expression["values"] == ["ai-gateway", "maas-api"]
    assert plain == {
        "name": "http-redirect",
        "protocol": "HTTP",
        "port": 80,
        "allowedRoutes": {
            "namespaces": {
                "from": "Selector",
                "selector": {"matchLabels": {"kubernetes.io/metadata.name": proxies}},
            }
        },
    }
    routes = [manifest for (kind, _name), manifest in objects.items() if kind == "HTTPRoute"]
    assert [route["metadata"] for route in routes] == [{"name": REDIRECT, "namespace": proxies}]
    spec = routes[0]["spec"]
    assert spec["parentRefs"] == [
        {
            "group": "gateway.networking.k8s.io",
            "kind": "Gateway",
            "namespace": "ai-gateway",
            "name": "ai-gateway",
            "sectionName": "http-redirect",
        }
    ]
    assert spec["hostnames"] == ["*.ai.example.com", "ai.example.com"]
    redirect = {"scheme": "https", "port": 30080, "statusCode": 308}
    assert spec["rules"] == [
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "filters": [{"type": "RequestRedirect", "requestRedirect": redirect}],
        }
    ]
    # Without these the policies of the Gateway would ask for a token.
    target = [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": REDIRECT}]
    exceptions = {kind: manifest["spec"] for (kind, name), manifest in objects.items() if name == REDIRECT}
    del exceptions["HTTPRoute"]
    assert exceptions == {
        "SecurityPolicy": {"targetRefs": target, "authorization": {"defaultAction": "Allow"}},
        "EnvoyExtensionPolicy": {"targetRefs": target},
        "BackendTrafficPolicy": {"targetRefs": target},
    }
    assert ports_of(objects[POLICY]["spec"]["ingress"]) >= {("TCP", 10443), ("TCP", 10080)}
    service = objects["EnvoyProxy", "ai-gateway"]["spec"]["provider"]["kubernetes"]["envoyService"]
    assert service["patch"]["value"]["spec"]["ports"] == [
        {"port": 443, "nodePort": 30080},
        {"port": 80, "nodePort": 30081},
    ]


def test_a_load_balancer_is_redirected_to_its_own_port(tmp_path: Path) -> None:
    listeners = [{"name": f"l{number}", "hostname": f"l{number}.example.com"} for number in range(20)]
    objects = gateway_of(
        tmp_path,
        gateway_listeners=listeners,
        gateway_tls_secret="of-others",
        gateway_http_redirect=True,
        gateway_service_type="LoadBalancer",
    )
    routes = {name: manifest["spec"] for (kind, name), manifest in objects.items() if kind == "HTTPRoute"}
    # A route has 16 host names at the most.
    assert [(name, len(spec["hostnames"])) for name, spec in routes.items()] == [(REDIRECT, 16), (f"{REDIRECT}-1", 4)]
    for spec in routes.values():
        assert spec["rules"][0]["filters"][0]["requestRedirect"]["port"] == 443


@pytest.mark.parametrize(
    ("variables", "listeners"),
    [
        ({"ai_gateway_platform": "embedded"}, ["https", "http-redirect"]),
        ({"ai_gateway_platform": "kind"}, ["https", "http-redirect"]),
        ({"ai_gateway_platform": "embedded", "gateway_tls_own_ca": False}, ["http"]),
        ({"ai_gateway_platform": "embedded", "gateway_http_redirect": False}, ["https"]),
        ({"ai_gateway_platform": "embedded", "gateway_tls_secret": "of-others"}, ["https"]),
        # Its address is not known beforehand.
        ({"ai_gateway_platform": "kind", "gateway_service_type": "LoadBalancer"}, ["http"]),
        ({"ai_gateway_platform": "kubernetes"}, ["http"]),
        ({"ai_gateway_platform": "kubernetes", "gateway_tls_secret": "of-others"}, ["https"]),
    ],
)
def test_where_the_own_authority_is_the_default(
    variables: dict[str, t.Any], listeners: list[str], tmp_path: Path
) -> None:
    objects = gateway_of(tmp_path, __gateway_made=MADE, **variables)
    assert [listener["name"] for listener in objects["Gateway", "ai-gateway"]["spec"]["listeners"]] == listeners
    own = "ai-gateway.certification-authority"
    assert (("Secret", own) in objects) == ("https" in listeners and "gateway_tls_secret" not in variables)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}}),
        ({"processor": {"resources": {"limits": {"memory": "1Gi"}}}, "all": {"nodeSelector": {"a": "b"}}}, None),
    ],
)
def test_the_processor_has_limits(tmp_path: Path, given: dict[str, t.Any], wanted: dict[str, t.Any] | None) -> None:
    """It reads what MCP servers answer, beside the proxy."""
    found = gateway_of(tmp_path, ai_gateway_workloads=given)
    config = found["GatewayConfig", "ai-gateway"]
    resources = wanted or given["processor"]["resources"]
    assert config["spec"] == {"extProc": {"kubernetes": {"resources": resources}}}
    gateway = found["Gateway", "ai-gateway"]["metadata"]
    assert gateway["annotations"] == {"aigateway.envoyproxy.io/gateway-config": config["metadata"]["name"]}
    assert gateway["namespace"] == config["metadata"]["namespace"]


@pytest.mark.parametrize(
    "given",
    [
        {"ai_gateway_workloads": {"processor": {"resources": {"limits": {"memory": "1Gi"}}}}},
        {
            "ai_gateway_observability": {
                "enabled": True,
                "traces": {"endpoint": "http://collector.monitoring.svc:4317", "content": True},
            }
        },
    ],
    ids=["resources", "content of spans"],
)
def test_other_parameters_of_the_processor_replace_the_pods_that_have_it(
    tmp_path_factory: pytest.TempPathFactory, given: dict[str, t.Any]
) -> None:
    def annotations(**variables: t.Any) -> dict[str, str]:
        spec = gateway_of(tmp_path_factory.mktemp("given"), **variables)["EnvoyProxy", "ai-gateway"]["spec"]
        found: dict[str, str] = spec["provider"]["kubernetes"]["envoyDeployment"]["pod"].get("annotations", {})
        return found

    usual, other = annotations(), annotations(**given)
    assert usual == {key: value for key, value in other.items() if key != "egress.ai-gateway/processor"}
    assert "egress.ai-gateway/processor" in other
    assert other == annotations(**given)


def test_routes_of_others_are_refused_where_pools_are(tmp_path: Path) -> None:
    """What its expressions do was seen with a real API server; see tests/integration/inference_pools.py."""
    pools = [{"name": name, "namespace": name, "selector": {"model": name}} for name in ("vllm", "other")]
    models = [
        {"name": name, "backend_ref": {"kind": "InferencePool", "name": name, "namespace": name}}
        for name in ("vllm", "other")
    ]
    objects = manifests(
        tmp_path,
        "gateway",
        "route_guard.yaml.j2",
        {
            "ai_gateway_inference_pools": pools,
            "ai_gateway_models": models,
            "gateway_route_namespaces": ["apps", "vllm"],
            "gateway_route_writers": ["system:serviceaccount:a:b"],
        },
    )
    assert {name for _kind, name in objects} == {"ai-gateway.ai-gateway.routes"}
    spec = objects["ValidatingAdmissionPolicy", "ai-gateway.ai-gateway.routes"]["spec"]
    (expression,) = spec["matchConstraints"]["namespaceSelector"]["matchExpressions"]
    assert (expression["values"], spec["failurePolicy"]) == (["vllm", "other"], "Fail")
    guarded = {resource for rule in spec["matchConstraints"]["resourceRules"] for resource in rule["resources"]}
    assert {"httproutes", "grpcroutes", "aigatewayroutes", "securitypolicies", "envoyextensionpolicies"} <= guarded
    variables = {variable["name"]: variable["expression"] for variable in spec["variables"]}
    assert 'ref.name == "ai-gateway"' in variables["touches"]
    assert 'in ["system:serviceaccount:a:b"]' in variables["may"]
    binding = objects["ValidatingAdmissionPolicyBinding", "ai-gateway.ai-gateway.routes"]["spec"]
    assert binding == {"policyName": "ai-gateway.ai-gateway.routes", "validationActions": ["Deny"]}


def test_proxies_that_verify_service_accounts_reach_the_keys_of_the_cluster_and_no_more(tmp_path: Path) -> None:
    given = {
        "ai_gateway_callers": [{"kind": "service_account", "check": "signature"}],
        "__gateway_api_server_services": {
            "resources": [{"spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]}}]
        },
        "__gateway_api_server_endpoints": {
            "resources": [
                {
                    "endpoints": [{"addresses": ["192.0.2.10"]}, {"addresses": ["2001:db8::10"]}],
                    "ports": [{"name": "https", "port": 6443}],
                }
            ]
        },
    }
    objects = gateway_of(tmp_path, **given)
    rules = objects["NetworkPolicy", "ai-gateway.ai-gateway.proxies.signing-keys"]["spec"]["egress"]
    assert [(rule["to"][0]["ipBlock"]["cidr"], rule["ports"][0]["port"]) for rule in rules] == [
        ("10.96.0.1/32", 443),
        ("192.0.2.10/32", 6443),
        ("2001:db8::10/128", 6443),
    ]
    role = objects["ClusterRole", "ai-gateway.ai-gateway.signing-keys"]
    assert role["rules"] == [{"nonResourceURLs": ["/openid/v1/jwks"], "verbs": ["get"]}]
    (binding,) = (found for (kind, _name), found in objects.items() if kind == "ClusterRoleBinding")
    assert (binding["roleRef"]["name"], binding["subjects"][0]["name"]) == (
        role["metadata"]["name"],
        "system:unauthenticated",
    )
    proxies = objects["EnvoyProxy", "ai-gateway"]["spec"]["provider"]["kubernetes"]["envoyDeployment"]
    assert {"name": "cluster-ca", "configMap": {"name": "kube-root-ca.crt"}} in proxies["pod"]["volumes"]


def test_in_a_tree_of_manifests_the_api_server_is_known_by_its_ports(tmp_path: Path) -> None:
    objects = gateway_of(tmp_path, ai_gateway_callers=[{"kind": "service_account", "check": "signature"}])
    (rule,) = objects["NetworkPolicy", "ai-gateway.ai-gateway.proxies.signing-keys"]["spec"]["egress"]
    assert [port["port"] for port in rule["ports"]] == [443, 6443]


def test_proxies_that_do_not_verify_service_accounts_do_not_call_the_api_server(tmp_path: Path) -> None:
    keys = {"jwks_uri": "https://keys.example.com/jwks"}
    for index, callers in enumerate(
        ([], [{"kind": "service_account"}], [{"kind": "service_account", "check": "signature", **keys}])
    ):
        (tmp_path / str(index)).mkdir()
        objects = gateway_of(tmp_path / str(index), ai_gateway_callers=callers)
        assert not any(kind.startswith("ClusterRole") or name.endswith("signing-keys") for kind, name in objects)
