# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stand-in for wg-ai-gateway:

what it makes of the objects, how it behaves on a cluster, and that a real Envoy takes it.
"""

from __future__ import annotations

import base64
import datetime
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from wg_parts import (
    GATEWAY,
    PROGRAM,
    Body,
    Cluster,
    Envoy,
    Upstream,
    destination,
    envoy_program,
    gateway,
    replace_prefix,
    route,
    rule,
    secret,
)

# These come after wg_parts, which puts the program's directory into the path.
import wg_ai_gateway  # isort: skip
from wg_discovery import Discovery  # isort: skip
from wg_kubernetes import Api, ApiError  # isort: skip
from wg_manifests import bootstrap, manifests, node_id, resource_name  # isort: skip
from wg_translation import (
    CLUSTER_TYPE,
    LISTENER_TYPE,
    Surroundings,
    Translation,
    TranslationError,
    gateway_conditions,
    merged_conditions,
    selects,
    translate,
)  # isort: skip

ROUTE = (GATEWAY[0], "openai")
NOW = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


def translated(
    *routes: Body,
    destinations: t.Sequence[Body] = (),
    secrets: t.Sequence[Body] = (),
    of: Body | None = None,
    **labels: Body,
) -> Translation:
    there = {
        (body["metadata"]["namespace"], body["metadata"]["name"]): body for body in destinations or [destination()]
    }
    data = {(body["metadata"]["namespace"], body["metadata"]["name"]): body["data"] for body in secrets}
    return translate(of or gateway(), routes, Surroundings(there, data.get, labels))


def hosts(translation: Translation, port: int = 80) -> dict[str, list[Body]]:
    """Envoy's routes by domain."""
    (listener,) = [item for item in translation.listeners if item["name"] == f"listener-{port}"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return {host["domains"][0]: host["routes"] for host in manager["route_config"]["virtual_hosts"]}


def resolved(translation: Translation, key: tuple[str, str] = ROUTE) -> Body:
    parents = translation.parents[key]
    assert parents is not None
    (condition,) = [condition for condition in parents[0]["conditions"] if condition["type"] == "ResolvedRefs"]
    return t.cast(Body, condition)


##### Translation


def test_a_route_reaches_the_end_of_its_destination() -> None:
    translation = translated(route(rule("/openai", replace_prefix("/"))))
    (found,) = hosts(translation)["*"]
    assert found["match"] == {"prefix": "/openai/"}
    cluster = {"name": "ai-gateway-openai-8000", "weight": 1, "host_rewrite_literal": "api.openai.example"}
    assert found["route"] == {"weighted_clusters": {"clusters": [cluster]}, "prefix_rewrite": "/"}
    (made,) = translation.clusters
    assert made["name"] == "ai-gateway-openai-8000"
    assert (made["type"], made["dns_lookup_family"]) == ("LOGICAL_DNS", "V4_ONLY")
    address = made["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert address == {"address": "api.openai.example", "port_value": 8000}
    assert "transport_socket" not in made
    parents = translation.parents[ROUTE]
    assert parents is not None
    assert [(item["type"], item["status"], item["observedGeneration"]) for item in parents[0]["conditions"]] == [
        ("Accepted", "True", 3),
        ("ResolvedRefs", "True", 3),
    ]
    assert parents[0]["controllerName"] == "sigs.k8s.io/wg-ai-gateway-envoy-controller"


@pytest.mark.parametrize(
    ("path", "filters", "match", "action"),
    [
        ("/", [], {"prefix": "/"}, {}),
        ("/a/", [], {"path_separated_prefix": "/a"}, {}),
        ("/a", [replace_prefix("/")], {"prefix": "/a/"}, {"prefix_rewrite": "/"}),
        # To the letter: /a/chat becomes /v1chat with the first and /v1/chat with the second.
        ("/a", [replace_prefix("/v1")], {"prefix": "/a/"}, {"prefix_rewrite": "/v1"}),
        ("/a", [replace_prefix("/v1/")], {"prefix": "/a/"}, {"prefix_rewrite": "/v1/"}),
        ("/a", [replace_prefix("")], {"path_separated_prefix": "/a"}, {}),
        ("/", [replace_prefix("/b/")], {"prefix": "/"}, {"prefix_rewrite": "/b/"}),
        (
            "/a",
            [{"type": "URLRewrite", "urlRewrite": {"hostname": "other.example"}}],
            {"path_separated_prefix": "/a"},
            {},
        ),
        (
            "/a",
            [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/b"}}}],
            {"path_separated_prefix": "/a"},
            {"regex_rewrite": {"pattern": {"regex": ".*"}, "substitution": "/b"}},
        ),
    ],
)
def test_paths(path: str, filters: list[Body], match: Body, action: Body) -> None:
    (found,) = hosts(translated(route(rule(path, *filters))))["*"]
    assert found["match"] == match
    assert {key: value for key, value in found["route"].items() if key != "weighted_clusters"} == action


def test_other_matches_and_what_is_ignored_of_them() -> None:
    matched = rule(
        headers=[
            {"name": "X-Model", "value": "gpt-4"},
            {"name": "X-Team", "type": "RegularExpression", "value": "a.*"},
        ],
        queryParams=[{"name": "api-version", "value": "1"}],
        method="POST",
    )
    (found,) = hosts(translated(route(matched | {"timeouts": {"request": "300s"}})))["*"]
    assert found["match"] == {
        "path_separated_prefix": "/openai",
        "headers": [
            {"name": "X-Model", "string_match": {"exact": "gpt-4"}},
            {"name": "X-Team", "string_match": {"safe_regex": {"regex": "a.*"}}},
        ],
        "query_parameters": [{"name": "api-version", "string_match": {"exact": "1"}}],
    }
    assert list(found["route"]) == ["weighted_clusters"]


def test_the_most_specific_match_comes_first() -> None:
    long = rule("/openai/v1/chat")
    exact: Body = {**rule(), "matches": [{"path": {"type": "Exact", "value": "/x"}}]}
    header = rule("/openai", headers=[{"name": "x", "value": "y"}])
    found = hosts(
        translated(route(rule("/"), rule("/openai")), route(header, exact, name="second"), route(long, name="third"))
    )["*"]
    assert [item["name"] for item in found] == [
        "ai-gateway-second-rule-1-match-0",
        "ai-gateway-third-rule-0-match-0",
        "ai-gateway-second-rule-0-match-0",
        "ai-gateway-openai-rule-1-match-0",
        "ai-gateway-openai-rule-0-match-0",
    ]


def test_headers_are_changed() -> None:
    change = {
        "set": [{"name": "Authorization", "value": "Bearer k"}],
        "add": [{"name": "x-a", "value": "1"}],
        "remove": ["x-maas-user"],
    }
    filters = [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": change},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": change},
    ]
    (found,) = hosts(translated(route(rule("/a", *filters))))["*"]
    for side in ("request", "response"):
        assert found[f"{side}_headers_to_add"] == [
            {"header": {"key": "Authorization", "value": "Bearer k"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
            {"header": {"key": "x-a", "value": "1"}, "append_action": "APPEND_IF_EXISTS_OR_ADD"},
        ]
        assert found[f"{side}_headers_to_remove"] == ["x-maas-user"]


def test_a_filter_that_is_not_done_is_remarked() -> None:
    remarks = translated(route(rule("/a", {"type": "RequestRedirect", "requestRedirect": {}}))).remarks
    assert remarks == ["HTTPRoute ai-gateway/openai: filter RequestRedirect is not done"]


@pytest.mark.parametrize(
    ("broken", "reason", "message"),
    [
        (
            rule(kind="XBackendDestination"),
            "UnsupportedValue",
            "backends of kind XBackendDestination are not supported",
        ),
        (rule(kind="Service"), "UnsupportedValue", "backends of kind Service are not supported"),
        (rule(backend="other"), "BackendNotFound", "there is no XBackendDestination ai-gateway/other"),
        (rule(port=None), "ResolvedRefs", "the reference to ai-gateway/openai names no port"),
        (rule(port=443), "ResolvedRefs", "the reference to ai-gateway/openai has no port 443"),
        ({**rule(), "backendRefs": []}, "UnsupportedValue", "no backend has a weight above 0"),
    ],
)
def test_a_backend_that_cannot_be_used_answers_500(broken: Body, reason: str, message: str) -> None:
    translation = translated(route(broken, rule("/works")))
    works, fails = (
        hosts(translation)["*"]
        if broken["matches"][0]["path"]["value"] != "/openai"
        else reversed(hosts(translation)["*"])
    )
    assert fails["direct_response"] == {"status": 500}
    assert "route" not in fails
    assert "route" in works
    condition = resolved(translation)
    assert (condition["status"], condition["reason"], condition["message"]) == ("False", reason, message)
    parents = translation.parents[ROUTE]
    assert parents is not None
    assert parents[0]["conditions"][0]["status"] == "True"


def test_every_port_of_a_destination_gets_a_cluster() -> None:
    ports = [{"number": 8000, "protocol": "HTTP"}, {"number": 9000, "protocol": "HTTP"}]
    assert [item["name"] for item in translated(route(), destinations=[destination(*ports)]).clusters] == [
        "ai-gateway-openai-8000",
        "ai-gateway-openai-9000",
    ]


def test_a_destination_of_type_service_gets_no_endpoints() -> None:
    body = destination()
    body["spec"]["destination"] |= {"type": "Service", "service": {"name": "x", "namespace": "y"}}
    translation = translated(route(), destinations=[body])
    assert translation.clusters[0]["load_assignment"]["endpoints"] == []
    assert translation.remarks == [
        "XBackendDestination ai-gateway/openai: destinations of type Service get no endpoints"
    ]


def tls_of(translation: Translation) -> Body:
    return t.cast(Body, translation.clusters[0]["transport_socket"]["typed_config"])


def test_tls_is_verified_by_bundle_and_names() -> None:
    reference = [{"group": "", "kind": "ConfigMap", "name": "ca"}, {"group": "", "kind": "Secret", "name": "other"}]
    tls = {"mode": "Simple", "sni": "sni.example", "caBundleRef": reference, "subjectAltNames": ["api.openai.example"]}
    secrets = [secret("ca", ca_crt=b"one\n", tls_crt=b"no\n"), secret("other", tls_crt=b"two\n")]
    context = tls_of(translated(route(), destinations=[destination(tls=tls)], secrets=secrets))
    assert context["sni"] == "sni.example"
    assert context["common_tls_context"] == {
        "alpn_protocols": ["http/1.1"],
        "validation_context": {
            "trusted_ca": {"inline_bytes": base64.b64encode(b"one\ntwo\n").decode()},
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "api.openai.example"}}],
        },
    }


def test_tls_without_a_bundle_is_not_verified() -> None:
    context = tls_of(translated(route(), destinations=[destination(tls={"mode": "Simple"})]))
    assert context["sni"] == "api.openai.example"
    assert "validation_context" not in context["common_tls_context"]
    context = tls_of(
        translated(route(), destinations=[destination(tls={"mode": "Simple", "insecureSkipVerify": True})])
    )
    assert context["common_tls_context"]["validation_context"] == {"trust_chain_verification": "ACCEPT_UNTRUSTED"}


def test_a_client_certificate_is_shown_with_mode_mutual_only() -> None:
    reference = {"name": "client", "group": "", "kind": "Secret"}
    secrets = [secret("client", tls_crt=b"certificate", tls_key=b"key")]
    for mode, shown in (("Mutual", True), ("Simple", False)):
        tls = {"mode": mode, "clientCertificateRef": reference}
        context = tls_of(translated(route(), destinations=[destination(tls=tls)], secrets=secrets))
        assert ("tls_certificates" in context["common_tls_context"]) is shown
    assert "transport_socket" not in translated(route(), destinations=[destination(tls={"mode": "None"})]).clusters[0]


@pytest.mark.parametrize(
    ("secrets", "message"),
    [
        ([], "there is no Secret ai-gateway/ca"),
        ([secret("ca", other=b"x")], "Secret ca lacks tls.crt"),
        ([{**secret("ca"), "data": {"ca.crt": "***"}}], "Secret ca: ca.crt is not base64"),
    ],
)
def test_a_secret_that_is_missing_stops_the_whole_gateway(secrets: list[Body], message: str) -> None:
    tls = {"mode": "Simple", "caBundleRef": [{"group": "", "kind": "Secret", "name": "ca"}]}
    with pytest.raises(TranslationError, match=f"^{message.replace('*', '.')}$"):
        translated(route(), destinations=[destination(tls=tls)], secrets=secrets)


LISTENER = {"name": "http", "port": 80, "protocol": "HTTP"}


@pytest.mark.parametrize(
    ("listener", "made", "taken"),
    [
        (LISTENER, route(), True),
        (LISTENER, route(namespace="team", parents=[{"name": GATEWAY[1], "namespace": GATEWAY[0]}]), False),
        (
            LISTENER | {"allowedRoutes": {"namespaces": {"from": "All"}}},
            route(namespace="team", parents=[{"name": GATEWAY[1], "namespace": GATEWAY[0]}]),
            True,
        ),
        (
            LISTENER | {"allowedRoutes": {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}}},
            route(namespace="team", parents=[{"name": GATEWAY[1], "namespace": GATEWAY[0]}]),
            True,
        ),
        (
            LISTENER | {"allowedRoutes": {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "c"}}}}},
            route(),
            False,
        ),
        (LISTENER | {"allowedRoutes": {"kinds": [{"kind": "GRPCRoute"}]}}, route(), False),
        (LISTENER, route(parents=[{"name": GATEWAY[1], "sectionName": "http"}]), True),
        (LISTENER, route(parents=[{"name": GATEWAY[1], "sectionName": "https"}]), False),
        (LISTENER, route(parents=[{"name": GATEWAY[1], "port": 81}]), False),
        (LISTENER | {"hostname": "*.example.com"}, route(hostnames=["a.example.com"]), True),
        (LISTENER | {"hostname": "*.example.com"}, route(hostnames=["example.com"]), False),
        (LISTENER | {"protocol": "HTTPS"}, route(), False),
        # One reference is taken, the other is not: the status is refused as a whole.
        (LISTENER, route(parents=[{"name": GATEWAY[1]}, {"name": GATEWAY[1], "port": 81}]), False),
    ],
)
def test_a_route_that_no_listener_takes_gets_no_status(listener: Body, made: Body, taken: bool) -> None:
    destinations = [destination()]
    destinations[0]["metadata"]["namespace"] = made["metadata"]["namespace"]
    translation = translated(made, of=gateway(listener), destinations=destinations, team={"a": "b"})
    assert (translation.parents[made["metadata"]["namespace"], "openai"] is not None) is taken


def test_routes_of_other_gateways_are_not_looked_at() -> None:
    translation = translated(
        route(parents=[{"name": "other"}]), route(name="b", parents=[{"name": GATEWAY[1], "namespace": "elsewhere"}])
    )
    assert (translation.parents, hosts(translation)) == ({}, {})


@pytest.mark.parametrize(
    ("listener", "names", "domains"),
    [
        ("", [], ["*"]),
        ("", ["a.example"], ["a.example"]),
        ("a.example", [], ["a.example"]),
        ("*.example", ["a.example", "b.c.example", "other"], ["a.example", "b.c.example"]),
        ("a.example", ["*.example"], ["a.example"]),
        ("*.example", ["*.a.example"], ["*.a.example"]),
    ],
)
def test_domains(listener: str, names: list[str], domains: list[str]) -> None:
    made = gateway(LISTENER | ({"hostname": listener} if listener else {}))
    assert sorted(hosts(translated(route(**({"hostnames": names} if names else {})), of=made))) == domains


def test_listeners_of_one_port_share_it() -> None:
    made = gateway(
        LISTENER | {"hostname": "a.example"},
        LISTENER | {"name": "second", "hostname": "b.example"},
        LISTENER | {"name": "third", "port": 8080},
    )
    translation = translated(route(), of=made)
    assert [item["name"] for item in translation.listeners] == ["listener-80", "listener-8080"]
    assert sorted(hosts(translation)) == ["a.example", "b.example"]


def test_label_selectors() -> None:
    labels = {"a": "b"}
    assert selects({}, labels)
    for operator, values, expected in (
        ("In", ["b"], True),
        ("In", ["c"], False),
        ("NotIn", ["b"], False),
        ("Exists", None, True),
        ("DoesNotExist", None, False),
    ):
        assert selects({"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}, labels) is expected


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    before = [
        {"type": "Accepted", "status": "True", "lastTransitionTime": "2025-01-01T00:00:00Z"},
        {"type": "Other", "status": "True"},
    ]
    merged = {item["type"]: item for item in merged_conditions(before, gateway_conditions("no Secret"), NOW)}
    assert merged["Accepted"]["lastTransitionTime"] == "2025-01-01T00:00:00Z"
    assert merged["Programmed"] == {
        "type": "Programmed",
        "status": "False",
        "reason": "TranslationError",
        "message": "no Secret",
        "lastTransitionTime": "2026-01-01T12:00:00Z",
    }
    assert merged["Other"] == {"type": "Other", "status": "True"}


##### What is applied


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (("default", "poc-gateway"), "envoy-poc-gateway"),
        (("ai-gateway", "egress-gateway"), "envoy-ai-gateway-egress-gateway"),
        (("a", "B_c"), "envoy-a-b-c"),
    ],
)
def test_names(key: tuple[str, str], name: str) -> None:
    assert resource_name(key) == name


def test_what_carries_a_gateway() -> None:
    listeners = [LISTENER, LISTENER | {"name": "same"}, LISTENER | {"name": "x.y", "port": 8080}]
    made = manifests(gateway(*listeners), "localhost/envoy:1")
    assert [body["kind"] for body in made] == ["ConfigMap", "ServiceAccount", "Deployment", "Service"]
    for body in made:
        assert body["metadata"] == {
            "name": "envoy-ai-gateway-egress-gateway",
            "namespace": "ai-gateway",
            "labels": {"aigateway.networking.k8s.io/managed": "sigs.k8s.io-wg-ai-gateway-envoy-controller"},
            "ownerReferences": [
                {
                    "apiVersion": "gateway.networking.k8s.io/v1",
                    "kind": "Gateway",
                    "name": "egress-gateway",
                    "uid": "uid-egress-gateway",
                }
            ],
        }
    template = made[2]["spec"]["template"]
    assert template["metadata"]["labels"] == {"app": "envoy-ai-gateway-egress-gateway"}
    (container,) = template["spec"]["containers"]
    assert container["image"] == "localhost/envoy:1"
    assert container["command"] == ["envoy", "-c", "/etc/envoy/envoy.yaml", "--log-level", "trace"]
    assert not {"readinessProbe", "livenessProbe"} & container.keys()
    assert made[3]["spec"]["type"] == "LoadBalancer"
    assert made[3]["spec"]["ports"] == [
        {"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "http"},
        {"name": "x-y", "port": 8080, "protocol": "TCP", "appProtocol": "http"},
    ]


def test_the_bootstrap_asks_the_controller() -> None:
    document = json.loads(manifests(gateway(), "x")[0]["data"]["envoy.yaml"])
    # The first 6 bytes of the digest of "ai-gateway/egress-gateway".
    assert document["node"] == {"id": "envoy-proxy-afecae36e72e", "cluster": "ai-gateway/egress-gateway"}
    (cluster,) = document["static_resources"]["clusters"]
    address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert address == {"address": "ai-gateway-controller.ai-gateway-system.svc.cluster.local", "port_value": 15001}
    for kind in ("cds_config", "lds_config"):
        assert document["dynamic_resources"][kind]["api_config_source"]["api_type"] == "REST"
    assert document["admin"]["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 15000}


##### Discovery


@pytest.fixture
def discovery() -> Iterator[Discovery]:
    server = Discovery("127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def discover(discovery: Discovery, what: str, node: str, version: str = "", **options: t.Any) -> tuple[int, t.Any]:
    connection = http.client.HTTPConnection("127.0.0.1", discovery.server_address[1], timeout=10)
    try:
        body = json.dumps({"node": {"id": node}, **({"version_info": version} if version else {})}).encode()
        connection.request(
            "POST",
            f"/v3/discovery:{what}",
            iter([body[:5], body[5:]]) if options.get("encode_chunked") else body,
            **options,
        )
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if response.status == 200 else content
    finally:
        connection.close()


def test_a_proxy_gets_what_is_new_and_nothing_else(discovery: Discovery) -> None:
    assert discover(discovery, "clusters", "a")[0] == 404
    assert discovery.put("a", [{"name": "l"}], [{"name": "c"}])
    assert not discovery.put("a", [{"name": "l"}], [{"name": "c"}])
    status, document = discover(discovery, "clusters", "a")
    assert (status, document["resources"], document["type_url"]) == (200, [{"name": "c"}], CLUSTER_TYPE)
    status, chunked = discover(
        discovery, "listeners", "a", encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    assert (status, chunked["resources"], chunked["type_url"]) == (200, [{"name": "l"}], LISTENER_TYPE)
    assert discover(discovery, "clusters", "a", document["version_info"]) == (304, b"")
    assert discovery.put("a", [{"name": "l"}], [])
    assert discover(discovery, "clusters", "a", document["version_info"])[1]["resources"] == []
    assert discover(discovery, "listeners", "a", chunked["version_info"]) == (304, b"")
    assert discover(discovery, "clusters", "b")[0] == 404
    assert discover(discovery, "secrets", "a")[0] == 404


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"node": 1}', b"{}"])
def test_a_request_that_makes_no_sense_is_refused(discovery: Discovery, body: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", discovery.server_address[1], timeout=10)
    connection.request("POST", "/v3/discovery:clusters", body)
    assert connection.getresponse().status == 400
    connection.close()


##### On a cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    server = Cluster()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": GATEWAY[0]}}
    gateway_class = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "wg-ai-gateway", "generation": 1},
        "spec": {"controllerName": "sigs.k8s.io/wg-ai-gateway-envoy-controller"},
    }
    other = {
        **gateway_class,
        "metadata": {"name": "other", "generation": 1},
        "spec": {"controllerName": "example.com/other"},
    }
    server.put(namespace, gateway_class, other, gateway(), destination(), route())
    yield server
    server.shutdown()
    server.server_close()


class Running:
    """A controller whose time the test tells; what it logged is in ``capsys``."""

    def __init__(self, cluster: Cluster, discovery: Discovery, resync: float = 0.0) -> None:
        self.cluster = cluster
        self.discovery = discovery
        self.now = 1000.0
        self.controller = wg_ai_gateway.Controller(
            Api(cluster.url), discovery, "localhost/envoy:1", resync, clock=lambda: self.now
        )

    def tick(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.controller.tick()

    def settle(self, seconds: int = 10) -> None:
        """With kubelet's part: a Deployment that was applied becomes available."""
        for _second in range(seconds):
            self.tick()
            self.start_proxies()

    def start_proxies(self) -> None:
        for (plural, _namespace, _name), body in list(self.cluster.objects.items()):
            if plural == "deployments":
                self.cluster.put({**body, "status": {"conditions": [{"type": "Available", "status": "True"}]}})

    def served(self, key: tuple[str, str] = GATEWAY) -> t.Any:
        """What a proxy's clusters and paths are, None before it has any."""
        status, document = discover(self.discovery, "clusters", node_id(key))
        if status != 200:
            return None
        listeners = discover(self.discovery, "listeners", node_id(key))[1]["resources"]
        paths = [found["match"] for domains in hosts(Translation(listeners, [], {}, [])).values() for found in domains]
        return [item["name"] for item in document["resources"]], [
            match.get("path_separated_prefix") or match["prefix"] for match in paths
        ]

    def conditions(self, plural: str = "gateways", name: str = GATEWAY[1]) -> dict[str, Body]:
        namespace = "" if plural == "gatewayclasses" else GATEWAY[0]
        return {
            item["type"]: item
            for item in self.cluster.get(plural, namespace, name).get("status", {}).get("conditions", ())
        }


@pytest.fixture
def running(cluster: Cluster, discovery: Discovery) -> Running:
    return Running(cluster, discovery)


def test_a_gateway_comes_up(running: Running, cluster: Cluster) -> None:
    running.tick()
    assert running.conditions("gatewayclasses", "wg-ai-gateway")["Accepted"]["observedGeneration"] == 1
    assert running.conditions("gatewayclasses", "other") == {}
    name = "ai-gateway/envoy-ai-gateway-egress-gateway"
    assert cluster.writes[1:] == [
        f"apply {kind} {name}" for kind in ("ConfigMap", "ServiceAccount", "Deployment", "Service")
    ]
    running.tick(5)
    # Its proxy does not run yet.
    assert running.served() is None
    assert running.conditions() == {}
    running.start_proxies()
    running.tick(5)
    assert running.served() == (["ai-gateway-openai-8000"], ["/openai"])
    conditions = running.conditions()
    assert {name: item["status"] for name, item in conditions.items()} == {"Accepted": "True", "Programmed": "True"}
    assert not any("observedGeneration" in item for item in conditions.values())
    assert cluster.get("gateways", *GATEWAY)["status"].keys() == {"conditions"}
    (parent,) = cluster.get("httproutes", *ROUTE)["status"]["parents"]
    assert parent["parentRef"]["name"] == GATEWAY[1]


def test_what_stands_is_not_written_again(running: Running, cluster: Cluster) -> None:
    running.settle()
    written = len([entry for entry in cluster.writes if entry.startswith("status")])
    running.settle()
    assert len([entry for entry in cluster.writes if entry.startswith("status")]) == written
    cluster.writes.clear()
    running.settle()
    assert cluster.writes == []


def test_a_proxy_that_never_runs_is_waited_for_one_minute(running: Running) -> None:
    for _look in range(8):
        running.tick(7)
    assert running.served() is None
    running.tick(12)
    assert running.served() is not None
    assert running.conditions()["Programmed"]["status"] == "True"


def test_a_destination_is_not_watched(running: Running, cluster: Cluster) -> None:
    running.settle()
    cluster.put(destination({"number": 8000, "protocol": "HTTP"}, {"number": 9000, "protocol": "HTTP"}))
    running.settle()
    assert running.served()[0] == ["ai-gateway-openai-8000"]
    touched = cluster.get("httproutes", *ROUTE)
    cluster.put({**touched, "metadata": {**touched["metadata"], "annotations": {"touched": "1"}}})
    running.settle(2)
    assert running.served()[0] == ["ai-gateway-openai-8000", "ai-gateway-openai-9000"]


def test_a_gateway_that_is_touched_is_read_anew_too(running: Running, cluster: Cluster) -> None:
    running.settle()
    cluster.put(destination({"number": 8000, "protocol": "HTTP"}, {"number": 9000, "protocol": "HTTP"}))
    touched = cluster.get("gateways", *GATEWAY)
    cluster.put({**touched, "metadata": {**touched["metadata"], "annotations": {"touched": "1"}}})
    running.settle(2)
    assert len(running.served()[0]) == 2


def test_everything_is_read_anew_after_the_resync_period(cluster: Cluster, discovery: Discovery) -> None:
    running = Running(cluster, discovery, resync=60.0)
    running.settle()
    cluster.put(destination({"number": 8000, "protocol": "HTTP"}, {"number": 9000, "protocol": "HTTP"}))
    running.settle()
    assert len(running.served()[0]) == 1
    running.tick(60)
    assert len(running.served()[0]) == 2


def test_routes_come_and_go(running: Running, cluster: Cluster) -> None:
    running.settle()
    cluster.put(route(rule("/anthropic", backend="anthropic"), name="anthropic"), destination(name="anthropic"))
    running.settle(2)
    assert running.served() == (["ai-gateway-anthropic-8000", "ai-gateway-openai-8000"], ["/anthropic", "/openai"])
    del cluster.objects["httproutes", *ROUTE]
    running.settle(2)
    assert running.served() == (["ai-gateway-anthropic-8000"], ["/anthropic"])


FOREIGN = ("openshift-ingress", "maas-default-gateway")


def foreign(cluster: Cluster) -> None:
    parents = [{"name": FOREIGN[1], "namespace": FOREIGN[0]}]
    cluster.put(
        gateway(namespace=FOREIGN[0], name=FOREIGN[1], class_name="openshift-default"),
        route(name="openai-bridge", parents=parents),
    )


def test_a_foreign_gateway_is_tried_and_does_no_harm_where_that_is_forbidden(
    running: Running, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign(cluster)
    cluster.forbidden = {(verb, FOREIGN[0]) for verb in ("get", "list", "patch", "update")}
    running.settle()
    assert (
        "Gateway openshift-ingress/maas-default-gateway: PATCH /api/v1/namespaces/openshift-ingress/configmaps/"
        in capsys.readouterr().err
    )
    assert running.served() is not None
    assert "status" not in cluster.get("gateways", *FOREIGN)
    assert "status" not in cluster.get("httproutes", GATEWAY[0], "openai-bridge")
    running.settle(60)
    # Again and again, at growing distances.
    assert 2 <= capsys.readouterr().err.count(": 403 patch configmaps in openshift-ingress is forbidden") <= 6


def test_a_foreign_gateway_gets_an_envoy_where_nothing_forbids_it(running: Running, cluster: Cluster) -> None:
    foreign(cluster)
    running.settle()
    assert cluster.get("deployments", FOREIGN[0], "envoy-openshift-ingress-maas-default-gateway")
    assert cluster.get("gateways", *FOREIGN)["status"]["conditions"]


def test_a_foreign_gateway_without_a_route_is_left_alone(running: Running, cluster: Cluster) -> None:
    cluster.put(gateway(namespace=FOREIGN[0], name=FOREIGN[1], class_name="openshift-default"))
    running.settle()
    assert ("configmaps", FOREIGN[0], "envoy-openshift-ingress-maas-default-gateway") not in cluster.objects


@pytest.mark.parametrize("missing", [("watch", "secrets"), ("list", "xbackenddestinations"), ("watch", "namespaces")])
def test_nothing_is_done_without_the_rights_of_the_real_one(
    running: Running, cluster: Cluster, missing: tuple[str, str]
) -> None:
    cluster.forbidden = {missing}
    with pytest.raises(ApiError, match=missing[1]) as refused:
        running.tick()
    assert refused.value.status == 403
    assert cluster.writes == []
    cluster.forbidden.clear()
    running.settle()
    assert running.served() is not None


def test_what_another_made_is_not_taken_over(
    running: Running, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = {"namespace": GATEWAY[0], "name": "envoy-ai-gateway-egress-gateway"}
    cluster.put({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"type": "ClusterIP"}})
    running.settle()
    assert cluster.get("services", GATEWAY[0], "envoy-ai-gateway-egress-gateway")["spec"] == {"type": "ClusterIP"}
    assert "is another's and stays as it is" in capsys.readouterr().err


def test_a_status_that_another_changed_is_written_again(running: Running, cluster: Cluster) -> None:
    cluster.refusals = [409, 409]
    running.settle()
    assert running.conditions()["Programmed"]["status"] == "True"
    cluster.refusals = [409] * 5
    cluster.put(route(rule("/other")))
    running.settle()
    assert cluster.get("httproutes", *ROUTE)["status"]["parents"]


def test_a_missing_secret_shows_at_the_gateway_and_changes_no_proxy(running: Running, cluster: Cluster) -> None:
    running.settle()
    before = running.served()
    tls = {"mode": "Simple", "caBundleRef": [{"group": "", "kind": "Secret", "name": "ca"}]}
    cluster.put(destination(tls=tls, name="second"), route(rule("/second", backend="second"), name="second"))
    running.settle()
    programmed = running.conditions()["Programmed"]
    assert (programmed["status"], programmed["reason"], programmed["message"]) == (
        "False",
        "TranslationError",
        "there is no Secret ai-gateway/ca",
    )
    assert running.served() == before
    cluster.put(secret("ca", ca_crt=b"x"))
    running.settle(40)
    assert running.conditions()["Programmed"]["status"] == "True"
    assert running.served()[1] == ["/openai", "/second"]


def test_a_rejected_route_keeps_its_status(
    running: Running, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.put(route(name="lost", parents=[{"name": GATEWAY[1], "sectionName": "none"}]))
    running.settle()
    assert "status" not in cluster.get("httproutes", GATEWAY[0], "lost")
    assert "HTTPRoute ai-gateway/lost: no listener takes it" in capsys.readouterr().err


def test_a_gateway_that_is_gone_is_forgotten(
    running: Running, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    running.settle()
    del cluster.objects["gateways", *GATEWAY]
    running.settle(2)
    assert "Gateway ai-gateway/egress-gateway is gone" in capsys.readouterr().err
    assert running.controller.work == {}
    # Its proxy may live a moment longer, with what it has.
    assert running.served() is not None


def test_an_api_server_that_comes_back_is_used_again(running: Running, cluster: Cluster) -> None:
    running.settle()
    port = cluster.server_address[1]
    connection = running.controller.api._connection
    connection.sock.shutdown(socket.SHUT_RDWR)
    running.tick()
    connection.close()
    connection.port = 1
    with pytest.raises(ApiError) as away:
        running.tick()
    assert away.value.status == 0
    connection.port = port
    cluster.put(route(rule("/other")))
    running.settle(2)
    assert running.served()[1] == ["/other"]


def test_secrets_are_read_one_by_one(running: Running, cluster: Cluster) -> None:
    tls = {"mode": "Simple", "caBundleRef": [{"group": "", "kind": "Secret", "name": "ca"}]}
    cluster.put(destination(tls=tls), secret("ca", ca_crt=b"x"), secret("other", key=b"y"))
    running.settle()
    assert running.served() is not None
    # Besides the first look at its rights.
    asked = [query for query in cluster.queries if "secrets" in query and not query.endswith("?limit=1")]
    assert asked
    assert all("/namespaces/ai-gateway/secrets?fieldSelector=metadata.name%3Dca" in query for query in asked)


##### The process


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--envoy-image=x"], ("x", 0.0, 0)),
        (
            ["-envoy-image", "x", "-v=4", "--resync-period=1h1m", "--logtostderr", "--alsologtostderr=true"],
            ("x", 3660.0, 4),
        ),
        (["--envoy-image=x", "--resync-period=1.5s", "--kubeconfig=", "--apiserver-url="], ("x", 1.5, 0)),
    ],
)
def test_arguments(arguments: list[str], expected: tuple[str, float, int]) -> None:
    options = wg_ai_gateway.parse(arguments)
    assert (options.envoy_image, options.resync_period, options.v) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--envoy-image cannot be empty"),
        (["--envoy-image=x", "--resync-period=soon"], "'soon' is no duration"),
        (["--envoy-image=x", "--kubeconfig=/root/.kube/config"], "the stand-in reads no kubeconfig"),
        (["--envoy-image=x", "--metrics-port=1"], "unrecognized arguments"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        wg_ai_gateway.parse(arguments)
    assert message in capsys.readouterr().err


def test_outside_of_a_pod_it_says_what_is_missing() -> None:
    ended = subprocess.run(
        [sys.executable, "-B", str(PROGRAM / "wg_ai_gateway.py"), "--envoy-image=x"],
        capture_output=True,
        text=True,
        env={},
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "wg-ai-gateway: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: outside of a pod give --apiserver-url\n"
    )


def test_it_ends_at_once_although_the_api_server_does_not_answer(tmp_path: Path) -> None:
    # The port of the real one may be taken here.
    start = f"import runpy, sys; sys.path.insert(0, {str(PROGRAM)!r}); import wg_manifests; wg_manifests.DISCOVERY_PORT = 0; "
    start += f"sys.argv = ['x', '--envoy-image=x', '--apiserver-url=' + sys.argv[1]]; runpy.run_path({str(PROGRAM / 'wg_ai_gateway.py')!r}, run_name='__main__')"
    with socket.create_server(("127.0.0.1", 0)) as silent, (tmp_path / "log").open("wb") as log:
        silent.settimeout(20)
        process = subprocess.Popen(
            [sys.executable, "-B", "-c", start, f"http://127.0.0.1:{silent.getsockname()[1]}"], stderr=log
        )
        try:
            connection, _address = silent.accept()
            connection.settimeout(20)
            assert connection.recv(100).startswith(
                b"GET /apis/gateway.networking.k8s.io/v1/gatewayclasses?limit=1 HTTP/1.1"
            )
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            assert time.monotonic() - began < 2
            connection.close()
        finally:
            process.kill()
            process.wait()


##### With a real Envoy


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return envoy_program(tmp_path_factory.mktemp("envoy"))


def certificates(directory: Path) -> tuple[ssl.SSLContext, bytes, bytes, bytes]:
    """A server's TLS that asks for a client's certificate, the bundle that both are verified with, and a client's
    certificate and key.
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
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("provider.example")]), critical=False)
        issued.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    texts = [key.private_bytes(*form) for key in keys]
    for name, content in (("ca.crt", issued[0]), ("tls.crt", issued[1]), ("tls.key", texts[1])):
        (directory / name).write_bytes(content)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(directory / "ca.crt"))
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context, issued[0], issued[2], texts[2]


def test_a_real_envoy_serves_what_the_objects_say(
    program: Path, running: Running, cluster: Cluster, tmp_path: Path
) -> None:
    context, authority, certificate, key = certificates(tmp_path)
    plain, secure = Upstream(), Upstream()
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    for upstream in (plain, secure):
        upstream.start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    bundle = {"caBundleRef": [{"group": "", "kind": "Secret", "name": "ca"}]}
    ends = {
        "plain": {"mode": "None"},
        "verified": {"mode": "Simple", "sni": "provider.example", "subjectAltNames": ["provider.example"], **bundle},
        "misnamed": {"mode": "Simple", "sni": "other.example", "subjectAltNames": ["other.example"], **bundle},
        "untrusted": {"mode": "Simple", "caBundleRef": [{"group": "", "kind": "Secret", "name": "client"}]},
        "skipping": {
            "mode": "Simple",
            "insecureSkipVerify": True,
            "caBundleRef": [{"group": "", "kind": "Secret", "name": "client"}],
        },
        "mutual": {
            "mode": "Mutual",
            "clientCertificateRef": {"name": "client", "group": "", "kind": "Secret"},
            **bundle,
        },
    }
    cluster.put(
        gateway(LISTENER | {"port": port}),
        secret("ca", ca_crt=authority),
        secret("client", tls_crt=certificate, tls_key=key),
    )
    change = {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": "x-api-key", "value": "sk"}], "remove": ["x-maas-user"]},
    }
    del cluster.objects["httproutes", *ROUTE]
    for name, tls in ends.items():
        number = plain.port if name == "plain" else secure.port
        made = rule(f"/{name}", replace_prefix("/"), change, backend=name, port=number)
        cluster.put(
            destination({"number": number, "protocol": "HTTP", "tls": tls}, name=name, hostname="localhost"),
            route(made, name=name),
        )
    cluster.put(route(rule("/broken", kind="XBackendDestination"), name="broken"))

    envoy = Envoy(program, tmp_path, bootstrap(GATEWAY, "127.0.0.1", running.discovery.server_address[1], 0), port)
    try:
        # It asks before there is anything.
        time.sleep(0.5)
        running.settle()
        assert (
            envoy.until("/plain/v1/chat/completions?a=b", 200, **{"x-maas-user": "u", "x-api-key": "token"})
            == "/v1/chat/completions?a=b"
        )
        path, headers = plain.requests[-1]
        assert path == "/v1/chat/completions?a=b"
        assert (headers["host"], headers["x-api-key"]) == ("localhost", "sk")
        assert "x-maas-user" not in headers
        assert envoy.ask("/plainer/v1")[0] == 404
        assert envoy.ask("/broken/v1")[0] == 500
        assert {name: envoy.ask(f"/{name}/v1")[0] for name in ends if name != "plain"} == {
            "verified": 200,
            "misnamed": 503,
            "untrusted": 503,
            "skipping": 200,
            "mutual": 200,
        }

        # A change is there within seconds for new connections; one that is kept sees the routes that stood when it was
        # made.
        kept = envoy.connect()
        kept.request("GET", "/plain/kept")
        assert kept.getresponse().read() == b"/kept"
        cluster.put(route(rule("/later", replace_prefix("/base/"), backend="plain", port=plain.port), name="plain"))
        running.settle(2)
        assert envoy.until("/later/v1", 200, within=8) == "/base/v1"
        assert envoy.ask("/plain/v1")[0] == 404
        kept.request("GET", "/plain/kept")
        assert kept.getresponse().read() == b"/kept"
        kept.close()

        # The Secret's change takes effect with the next touch.
        cluster.put(secret("ca", ca_crt=certificate))
        running.settle(2)
        time.sleep(2.5)
        assert envoy.ask("/verified/v1")[0] == 200
        cluster.put(
            route(
                rule("/verified", replace_prefix("/"), backend="verified", port=secure.port),
                rule("/touched"),
                name="verified",
            )
        )
        running.settle(2)
        envoy.until("/verified/v1", 503, within=8)
        # Listeners and clusters are asked for apart: a listener may come before its clusters, and is taken with the
        # next question.
        refused = [line for line in envoy.log_file.read_text(encoding="utf-8").splitlines() if "rejected" in line]
        assert not [line for line in refused if "unknown weighted cluster" not in line]
    finally:
        envoy.stop()
        for upstream in (plain, secure):
            upstream.shutdown()
            upstream.server_close()
