# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the collection relies on of the controller of wg-ai-gateway, traps included, by its fake or the real one.

The fake's Envoy is a real one, from the wheel that the embedded cluster takes it from.
"""

from __future__ import annotations

import base64
import json
import socket
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import RESOURCES, Cluster, Resources
from contracts import APISERVER, Body, Objects, Program, eventually, fake_only
from envoys import Envoy, Upstream, certificates, envoy_program

GATEWAY_API = "gateway.networking.k8s.io/v1"
HOME = "wg-contract"
NAME = f"envoy-{HOME}-egress"
CORE, APPS = f"/api/v1/namespaces/{HOME}", f"/apis/apps/v1/namespaces/{HOME}"
CLASS = f"/apis/{GATEWAY_API}/gatewayclasses/wg-ai-gateway"
GATEWAYS, ROUTES = (f"/apis/{GATEWAY_API}/namespaces/{HOME}/{plural}" for plural in ("gateways", "httproutes"))
GATEWAY = f"{GATEWAYS}/egress"
WG_VERSION = "ainetworking.prototype.x-k8s.io/v0alpha0"
DESTINATIONS = f"/apis/{WG_VERSION}/namespaces/{HOME}/xbackenddestinations"
#: Seconds after which a controller has nothing to do that a change of before gave it, such as its own statuses.
QUIET = 4
CONTROLLER = "sigs.k8s.io/wg-ai-gateway-envoy-controller"
KINDS: Resources = {
    "v1": {
        **RESOURCES["v1"],
        "serviceaccounts": ("ServiceAccount", True),
        "services": ("Service", True),
    },
    "apps/v1": RESOURCES["apps/v1"],
    "authorization.k8s.io/v1": {},
    GATEWAY_API: {
        "gatewayclasses": ("GatewayClass", False),
        "gateways": ("Gateway", True),
        "httproutes": ("HTTPRoute", True),
    },
    WG_VERSION: {"xbackenddestinations": ("XBackendDestination", True)},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """The fake API server of the fake, where each Deployment is available at once."""
    running = Cluster(KINDS)
    gateway_class = {"apiVersion": GATEWAY_API, "kind": "GatewayClass", "spec": {"controllerName": CONTROLLER}}
    running.add({**gateway_class, "metadata": {"name": "wg-ai-gateway"}})
    available = {"conditions": [{"type": "Available", "status": "True"}]}
    running.status = lambda body: available if body["kind"] == "Deployment" else None
    running.serve()
    yield running
    running.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Controller(Objects):
    """A running controller, and the cluster that it is on."""

    def __init__(self, url: str, discovery_port: int = 0) -> None:
        super().__init__(url)
        self.discovery_port = discovery_port

    def gateway(self, name: str = "egress", port: int = 80, class_name: str = "wg-ai-gateway") -> str:
        namespaces = {"namespaces": {"from": "Same"}}
        listener = {"name": "http", "port": port, "protocol": "HTTP", "allowedRoutes": namespaces}
        spec = {"gatewayClassName": class_name, "listeners": [listener]}
        return self.apply(GATEWAYS, name, GATEWAY_API, "Gateway", spec=spec)

    def route(self, name: str, *rules: Body, parent: str = "egress", **reference: t.Any) -> str:
        reference = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": parent, **reference}
        spec = {"parentRefs": [reference], "rules": list(rules) or [rule(f"/{name}", name)]}
        return self.apply(ROUTES, name, GATEWAY_API, "HTTPRoute", spec=spec)

    def destination(
        self, name: str, *numbers: int, hostname: str = "api.openai.example", tls: Body | None = None
    ) -> str:
        ports = [
            {"number": number, "protocol": "HTTP", **({"tls": tls} if tls else {})} for number in numbers or (8000,)
        ]
        spec = {"destination": {"type": "Fqdn", "fqdn": {"hostname": hostname}, "ports": ports}}
        return self.apply(DESTINATIONS, name, WG_VERSION, "XBackendDestination", spec=spec)

    def secret(self, name: str, **data: bytes) -> str:
        encoded = {key.replace("_", "."): base64.b64encode(value).decode() for key, value in data.items()}
        return self.apply(f"{CORE}/secrets", name, "v1", "Secret", data=encoded)

    def parent(self, path: str) -> dict[str, Body]:
        """The conditions of a route's only parent of this controller, once they are of its current generation."""
        body = self.get(path)
        (found,) = [item for item in body["status"]["parents"] if item["controllerName"] == CONTROLLER]
        conditions = {item["type"]: item for item in found["conditions"]}
        assert {item["observedGeneration"] for item in conditions.values()} == {body["metadata"]["generation"]}
        return conditions

    def programmed(self) -> tuple[str, str]:
        condition = self.conditions(GATEWAY)["Programmed"]
        return condition["status"], condition["reason"]


def rule(path: str, backend: str, *filters: Body, port: int | None = 8000, kind: str = "Backend") -> Body:
    reference = {
        "group": "ainetworking.prototype.x-k8s.io",
        "kind": kind,
        "name": backend,
        **({} if port is None else {"port": port}),
    }
    match = {"path": {"type": "PathPrefix", "value": path}}
    return {"matches": [match], "filters": list(filters), "backendRefs": [reference]}


def replace_prefix(replacement: str) -> Body:
    path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": replacement}
    return {"type": "URLRewrite", "urlRewrite": {"path": path}}


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The API server of the controller, and the port where a fake's proxies ask."""
    if APISERVER:
        yield APISERVER, 0
        return
    cluster, port = request.getfixturevalue("cluster"), free_port()
    arguments = ["--envoy-image=localhost/envoy:1", f"--discovery-port={port}", "-v=2", "--logtostderr"]
    directory = tmp_path_factory.mktemp("controller")
    program = Program(directory, "wg_ai_gateway/wg_ai_gateway.py", cluster.url, *arguments)
    yield cluster.url, port
    program.stop()


@pytest.fixture
def controller(running: tuple[str, int]) -> Iterator[Controller]:
    found = Controller(*running)
    found.apply("/api/v1/namespaces", HOME, "v1", "Namespace")
    found.gateway()
    found.destination("openai")
    found.route("openai")
    eventually(lambda: found.programmed() == ("True", "Programmed"))
    eventually(lambda: found.parent(f"{ROUTES}/openai"))
    yield found
    found.clean()


def test_a_gateway_gets_an_envoy_and_its_conditions(controller: Controller) -> None:
    assert controller.conditions(CLASS)["Accepted"]["status"] == "True"
    paths = (f"{CORE}/configmaps", f"{CORE}/serviceaccounts", f"{APPS}/deployments", f"{CORE}/services")
    made = [controller.get(f"{path}/{NAME}") for path in paths]
    for body in made:
        label = {"aigateway.networking.k8s.io/managed": "sigs.k8s.io-wg-ai-gateway-envoy-controller"}
        assert label.items() <= body["metadata"]["labels"].items()
        (owner,) = body["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("Gateway", "egress")
    template = made[2]["spec"]["template"]
    assert template["metadata"]["labels"]["app"] == NAME
    (container,) = template["spec"]["containers"]
    assert not {"readinessProbe", "livenessProbe"} & container.keys()
    assert container["command"] == ["envoy", "-c", "/etc/envoy/envoy.yaml", "--log-level", "trace"]
    assert made[3]["spec"]["type"] == "LoadBalancer"
    assert [(port["name"], port["port"]) for port in made[3]["spec"]["ports"]] == [("http", 80)]
    (bootstrap,) = made[0]["data"].values()
    assert "ai-gateway-controller.ai-gateway-system.svc.cluster.local" in bootstrap
    assert "15001" in bootstrap
    # They do not say of which generation they are, nor where the Gateway is.
    conditions = controller.conditions(GATEWAY)
    assert {name: item["status"] for name, item in conditions.items()} == {"Accepted": "True", "Programmed": "True"}
    assert not any("observedGeneration" in item for item in conditions.values())
    assert not {"addresses", "listeners"} & controller.get(GATEWAY)["status"].keys()
    route = controller.parent(f"{ROUTES}/openai")
    assert {name: item["status"] for name, item in route.items()} == {"Accepted": "True", "ResolvedRefs": "True"}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (rule("/broken", "openai", kind="XBackendDestination"), "UnsupportedValue"),
        (rule("/broken", "nowhere"), "BackendNotFound"),
        (rule("/broken", "openai", port=None), "ResolvedRefs"),
        (rule("/broken", "openai", port=443), "ResolvedRefs"),
    ],
)
def test_a_backend_that_cannot_be_used(controller: Controller, broken: Body, reason: str) -> None:
    path = controller.route("broken", broken)
    conditions = eventually(lambda: controller.parent(path))
    assert (conditions["ResolvedRefs"]["status"], conditions["ResolvedRefs"]["reason"]) == ("False", reason)
    assert conditions["Accepted"]["status"] == "True"
    assert controller.programmed() == ("True", "Programmed")


def test_a_route_that_no_listener_takes_gets_no_status(controller: Controller) -> None:
    lost = controller.route("lost", sectionName="https")
    other = controller.route("later")
    eventually(lambda: controller.parent(other))
    assert "parents" not in controller.get(lost).get("status", {})


def test_a_destination_that_comes_later_is_seen_when_its_route_is_touched(controller: Controller) -> None:
    path = controller.route("later")
    assert eventually(lambda: controller.parent(path))["ResolvedRefs"]["status"] == "False"
    time.sleep(QUIET)
    controller.destination("later")
    time.sleep(QUIET)
    assert controller.parent(path)["ResolvedRefs"]["status"] == "False"
    spec = controller.get(path)["spec"]
    metadata = {"annotations": {"touched": "1"}}
    controller.apply(ROUTES, "later", GATEWAY_API, "HTTPRoute", metadata=metadata, spec=spec)
    eventually(lambda: controller.parent(path)["ResolvedRefs"]["status"] == "True")


def test_a_missing_secret_stops_the_whole_gateway(controller: Controller) -> None:
    bundle = {"mode": "Simple", "caBundleRef": [{"group": "", "kind": "Secret", "name": "ca"}]}
    controller.destination("second", tls=bundle)
    controller.route("second")
    eventually(lambda: controller.programmed() == ("False", "TranslationError"))
    controller.secret("ca", ca_crt=b"x")
    # It tries again, at growing distances.
    eventually(lambda: controller.programmed() == ("True", "Programmed"), within=60)


def test_a_gateway_of_another_class_is_taken_with_its_first_route(controller: Controller) -> None:
    foreign = controller.gateway("foreign", class_name="somebody-elses")
    time.sleep(QUIET)
    assert "status" not in controller.get(foreign)
    controller.route("bridge", rule("/bridge", "openai"), parent="foreign")
    eventually(lambda: controller.get(f"{APPS}/deployments/envoy-{HOME}-foreign"))
    eventually(lambda: controller.conditions(foreign)["Programmed"]["status"] == "True")


def test_what_another_made_is_not_taken_over(controller: Controller) -> None:
    spec = {"type": "ClusterIP", "ports": [{"name": "theirs", "port": 1}]}
    service = controller.apply(f"{CORE}/services", f"envoy-{HOME}-second", "v1", "Service", spec=spec)
    gateway = controller.gateway("second")
    eventually(lambda: controller.conditions(gateway)["Programmed"]["status"] == "True")
    assert controller.get(service)["spec"]["type"] == "ClusterIP"


@fake_only
def test_a_real_envoy_serves_what_the_objects_say(
    controller: Controller, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    program = envoy_program(tmp_path_factory.mktemp("envoy"))
    context, authority, certificate, key = certificates(tmp_path)
    plain, secure = Upstream(), Upstream()
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    for upstream in (plain, secure):
        upstream.start()
    port = free_port()
    bundle = {"caBundleRef": [{"group": "", "kind": "Secret", "name": "ca"}]}
    unrelated = {"caBundleRef": [{"group": "", "kind": "Secret", "name": "client"}]}
    backends: dict[str, Body] = {
        "plain": {"mode": "None"},
        "verified": {"mode": "Simple", "sni": "provider.example", "subjectAltNames": ["provider.example"], **bundle},
        "misnamed": {"mode": "Simple", "sni": "other.example", "subjectAltNames": ["other.example"], **bundle},
        "untrusted": {"mode": "Simple", **unrelated},
        "skipping": {"mode": "Simple", "insecureSkipVerify": True, **unrelated},
        "unverified": {"mode": "Simple"},
        "mutual": {
            "mode": "Mutual",
            "clientCertificateRef": {"name": "client", "group": "", "kind": "Secret"},
            **bundle,
        },
    }
    controller.secret("ca", ca_crt=authority)
    controller.secret("client", tls_crt=certificate, tls_key=key)
    modifier = {"set": [{"name": "x-api-key", "value": "sk"}], "remove": ["x-maas-user"]}
    change = {"type": "RequestHeaderModifier", "requestHeaderModifier": modifier}
    for name, tls in backends.items():
        number = plain.port if name == "plain" else secure.port
        controller.destination(name, number, hostname="localhost", tls=tls)
        controller.route(name, rule(f"/{name}", name, replace_prefix("/"), change, port=number))
    controller.route("letter", rule("/letter", "plain", replace_prefix("/v1"), port=plain.port))
    controller.route("broken", rule("/broken", "plain", kind="XBackendDestination"))
    controller.gateway(port=port)

    (text,) = controller.get(f"{CORE}/configmaps/{NAME}")["data"].values()
    bootstrap = json.loads(text)
    (cluster,) = bootstrap["static_resources"]["clusters"]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": controller.discovery_port}}
    cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    bootstrap["admin"]["address"]["socket_address"]["port_value"] = 0
    envoy = Envoy(program, tmp_path, bootstrap, port)
    try:
        sent = {"x-maas-user": "u", "x-api-key": "token"}
        answer = (200, "/v1/chat/completions?a=b")
        eventually(lambda: envoy.ask("/plain/v1/chat/completions?a=b", **sent) == answer)
        path, headers = plain.requests[-1]
        assert path == "/v1/chat/completions?a=b"
        assert (headers["host"], headers["x-api-key"]) == ("localhost", "sk")
        assert "x-maas-user" not in headers
        # A prefix is replaced to the letter.
        assert envoy.ask("/letter/chat") == (200, "/v1chat")
        assert envoy.ask("/plainer/v1")[0] == 404
        assert envoy.ask("/broken/v1")[0] == 500
        # What has no bundle is not verified.
        assert {name: envoy.ask(f"/{name}/v1")[0] for name in backends if name != "plain"} == {
            "verified": 200,
            "misnamed": 503,
            "untrusted": 503,
            "skipping": 200,
            "unverified": 200,
            "mutual": 200,
        }
        controller.route("plain", rule("/later", "plain", replace_prefix("/base/"), port=plain.port))
        eventually(lambda: envoy.ask("/later/v1") == (200, "/base/v1"))
        assert envoy.ask("/plain/v1")[0] == 404
        # A Secret's change takes effect when a route is touched.
        time.sleep(QUIET)
        controller.secret("ca", ca_crt=certificate)
        time.sleep(QUIET)
        assert envoy.ask("/verified/v1")[0] == 200
        controller.route("verified", rule("/verified", "verified", port=secure.port))
        eventually(lambda: envoy.ask("/verified/v1")[0] == 503)
        # Listeners and clusters are asked for apart: a listener may come before its clusters, and is taken with the
        # next question.
        refused = [line for line in envoy.log.splitlines() if "rejected" in line]
        assert not [line for line in refused if "unknown weighted cluster" not in line]
    finally:
        envoy.stop()
        for upstream in (plain, secure):
            upstream.shutdown()
            upstream.server_close()
