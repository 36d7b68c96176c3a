# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the collection relies on of Kuadrant's operator, by its fake or the real one.

The real one is on a cluster with an object Kuadrant and a gateway provider whose GatewayClass CONTRACT_GATEWAY_CLASS
names.
"""

from __future__ import annotations

import copy
import os
import typing as t
from collections.abc import Iterator

import pytest
from cluster import RESOURCES, Cluster, Resources
from contracts import APISERVER, Body, Objects, Program, eventually, fake_only

GATEWAY_API = "gateway.networking.k8s.io"
ENVOY = "gateway.envoyproxy.io/v1alpha1"
HOME = "kuadrant-contract"
GATEWAYS = f"/apis/{GATEWAY_API}/v1/namespaces/{HOME}/gateways"
ROUTES = f"/apis/{GATEWAY_API}/v1/namespaces/{HOME}/httproutes"
AUTH = f"/apis/kuadrant.io/v1/namespaces/{HOME}/authpolicies"
LIMITS = f"/apis/kuadrant.io/v1alpha1/namespaces/{HOME}/tokenratelimitpolicies"
CONFIGS = "/apis/authorino.kuadrant.io/v1beta3/authconfigs"
KUADRANT = "/apis/kuadrant.io/v1beta1/namespaces/kuadrant-system/kuadrants/kuadrant"
KINDS: Resources = {
    **RESOURCES,
    f"{GATEWAY_API}/v1": {
        "gatewayclasses": ("GatewayClass", False),
        "gateways": ("Gateway", True),
        "httproutes": ("HTTPRoute", True),
    },
    "kuadrant.io/v1beta1": {"kuadrants": ("Kuadrant", True)},
    "kuadrant.io/v1": {"authpolicies": ("AuthPolicy", True)},
    "kuadrant.io/v1alpha1": {"tokenratelimitpolicies": ("TokenRateLimitPolicy", True)},
    "authorino.kuadrant.io/v1beta3": {"authconfigs": ("AuthConfig", True)},
    ENVOY: {
        "backends": ("Backend", True),
        "securitypolicies": ("SecurityPolicy", True),
        "envoyextensionpolicies": ("EnvoyExtensionPolicy", True),
        "backendtrafficpolicies": ("BackendTrafficPolicy", True),
    },
}
KEY = "sk-key-of-a-provider"
AUTHENTICATION = {"tokens": {"kubernetesTokenReview": {"audiences": ["maas-default-gateway-sa"]}}}
IDENTITY = {
    "userid": {"expression": 'auth.identity.user.username.split(":")[3]'},
    "tier": {"expression": 'auth.identity.user.username.split(":")[2]'},
}
RULES: Body = {
    "authentication": AUTHENTICATION,
    "authorization": {"tier": {"patternMatching": {"patterns": [{"predicate": "true"}]}}},
    "response": {
        "unauthenticated": {"code": 401},
        "success": {
            "headers": {"authorization": {"plain": {"expression": f'"Bearer {KEY}"'}}},
            "filters": {"identity": {"json": {"properties": IDENTITY}}},
        },
    },
}
#: As role access_policies writes them.
TOKENS = {
    "free-0": {
        "rates": [{"limit": 100, "window": "1m"}],
        "when": [
            {"predicate": r'!request.url_path.matches("^/maas-api(/[A-Za-z0-9_~:@-][A-Za-z0-9._~:@-]*)+/?$")'},
            {"predicate": r'!request.url_path.matches("^(/[a-z0-9][-a-z0-9.]*){0,2}/v1/models$")'},
            {"predicate": 'auth.identity.tier == "free"'},
        ],
        "counters": [{"expression": "auth.identity.userid"}],
    }
}


def settled(body: Body) -> Body | None:
    """What Authorino and Envoy Gateway say of what they got, which is yes."""
    accepted = {"type": "Accepted", "status": "True", "observedGeneration": body["metadata"].get("generation")}
    parents = body.get("spec", {}).get("parentRefs", [])
    ancestors = {"ancestors": [{"conditions": [accepted]}]}
    return {
        "AuthConfig": {"conditions": [{"type": "Ready", "status": "True"}]},
        "HTTPRoute": {"parents": [{"parentRef": parent, "conditions": [accepted]} for parent in parents]},
        "GatewayClass": {"conditions": [accepted]},
        "SecurityPolicy": ancestors,
        "EnvoyExtensionPolicy": ancestors,
        "BackendTrafficPolicy": ancestors,
    }.get(body["kind"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """The fake API server of the fake."""
    running = Cluster(KINDS)
    for namespace in ("kuadrant-system", "authorino"):
        running.put("namespaces", "", namespace)
    kuadrant = {"apiVersion": "kuadrant.io/v1beta1", "kind": "Kuadrant"}
    running.add({**kuadrant, "metadata": {"name": "kuadrant", "namespace": "kuadrant-system"}})
    running.status = settled
    running.serve()
    yield running
    running.close()


class Kuadrant(Objects):
    """A running operator, and policies on the Gateway ``contract``."""

    def auth_policy(self, name: str, target: tuple[str, str] = ("Gateway", "contract"), rules: Body = RULES) -> str:
        return self.apply(
            AUTH, name, "kuadrant.io/v1", "AuthPolicy", spec={"targetRef": _target(*target), "rules": rules}
        )

    def limit_policy(self, limits: Body = TOKENS) -> str:
        spec = {"targetRef": _target("Gateway", "contract"), "limits": limits}
        return self.apply(LIMITS, "tokens", "kuadrant.io/v1alpha1", "TokenRateLimitPolicy", spec=spec)

    def route(self, name: str, gateway: str = "contract") -> str:
        rules = [{"matches": [{"path": {"type": "PathPrefix", "value": f"/{name}"}}]}]
        spec = {"parentRefs": [{"group": GATEWAY_API, "kind": "Gateway", "name": gateway}], "rules": rules}
        return self.apply(ROUTES, name, f"{GATEWAY_API}/v1", "HTTPRoute", spec=spec)

    def outcome(self, path: str) -> tuple[str, str, str]:
        """The first condition that is not True, or Enforced, of the object's current generation."""
        generation = self.get(path)["metadata"]["generation"]
        conditions = self.conditions(path)
        for name in ("Accepted", "Enforced"):
            condition = conditions[name]
            assert condition.get("observedGeneration", generation) == generation
            if condition["status"] != "True" or name == "Enforced":
                return name, condition["status"], condition["reason"]
        raise KeyError("Enforced")

    def becomes(self, path: str, *outcome: str) -> None:
        eventually(lambda: self.outcome(path) == outcome)

    def configs(self) -> list[Body]:
        """What was made for Authorino of the rules here."""
        return [
            item["spec"] for item in self.api.items(CONFIGS) if item["spec"].get("authentication") == AUTHENTICATION
        ]


def _target(kind: str, name: str) -> Body:
    return {"group": GATEWAY_API, "kind": kind, "name": name}


@pytest.fixture(scope="module")
def operator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API server of the operator."""
    if APISERVER:
        yield APISERVER
        return
    cluster = request.getfixturevalue("cluster")
    program = _start(cluster, tmp_path_factory.mktemp("early"))
    eventually(lambda: Objects(cluster.url).conditions(KUADRANT)["Ready"]["reason"] == "MissingDependency")
    cluster.add({"apiVersion": f"{GATEWAY_API}/v1", "kind": "GatewayClass", "metadata": {"name": "eg"}})
    # What it missed once it misses until it is started anew.
    eventually(lambda: "Ready is False, MissingDependency" in program.log)
    program.stop()
    program = _start(cluster, tmp_path_factory.mktemp("kuadrant"))
    eventually(lambda: Objects(cluster.url).conditions(KUADRANT)["Ready"]["status"] == "True")
    yield cluster.url
    # No log shows a key.
    assert KEY not in program.log
    program.stop()


def _start(cluster: Cluster, directory: t.Any) -> Program:
    return Program(directory, "kuadrant/kuadrant_operator.py", cluster.url, "--health-port=0")


@pytest.fixture
def kuadrant(operator: str) -> Iterator[Kuadrant]:
    running = Kuadrant(operator)
    running.apply("/api/v1/namespaces", HOME, "v1", "Namespace")
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    gateway = {"gatewayClassName": os.environ.get("CONTRACT_GATEWAY_CLASS", "eg"), "listeners": [listener]}
    running.apply(GATEWAYS, "contract", f"{GATEWAY_API}/v1", "Gateway", spec=gateway)
    yield running
    running.clean()
    eventually(lambda: not running.configs())


def test_an_auth_policy_becomes_an_auth_config_and_is_enforced(kuadrant: Kuadrant) -> None:
    kuadrant.route("one")
    policy = kuadrant.auth_policy("gateway")
    kuadrant.becomes(policy, "Enforced", "True", "Enforced")
    (config,) = kuadrant.configs()
    assert config["authorization"] == RULES["authorization"]
    assert config["response"]["unauthenticated"] == RULES["response"]["unauthenticated"]
    headers = config["response"]["success"]["headers"]
    assert headers["authorization"] == RULES["response"]["success"]["headers"]["authorization"]
    # What another generation says counts for this one no more.
    changed = copy.deepcopy(RULES)
    changed["response"]["unauthenticated"]["code"] = 403
    kuadrant.auth_policy("gateway", rules=changed)
    kuadrant.becomes(policy, "Enforced", "True", "Enforced")
    (config,) = kuadrant.configs()
    assert config["response"]["unauthenticated"]["code"] == 403


def test_token_limits_are_enforced(kuadrant: Kuadrant) -> None:
    kuadrant.route("one")
    kuadrant.auth_policy("gateway")
    kuadrant.becomes(kuadrant.limit_policy(), "Enforced", "True", "Enforced")


def test_a_route_with_a_policy_of_its_own(kuadrant: Kuadrant) -> None:
    kuadrant.route("one")
    gateway, own = kuadrant.auth_policy("gateway"), kuadrant.auth_policy("own", ("HTTPRoute", "one"))
    kuadrant.becomes(own, "Enforced", "True", "Enforced")
    # No request meets the Gateway's, until there is a route without one.
    kuadrant.becomes(gateway, "Enforced", "False", "Overridden")
    kuadrant.route("two")
    kuadrant.becomes(gateway, "Enforced", "True", "Enforced")
    assert len(kuadrant.configs()) == 2


def test_a_policy_that_meets_no_route(kuadrant: Kuadrant) -> None:
    kuadrant.route("elsewhere", gateway="other")
    kuadrant.becomes(kuadrant.auth_policy("gateway"), "Enforced", "False", "Unknown")
    kuadrant.becomes(kuadrant.limit_policy(), "Enforced", "False", "Unknown")


def test_a_policy_without_its_target(kuadrant: Kuadrant) -> None:
    kuadrant.becomes(kuadrant.auth_policy("lost", ("HTTPRoute", "nowhere")), "Accepted", "False", "TargetNotFound")
    assert kuadrant.configs() == []


@fake_only
def test_what_counts_on_envoys_side(kuadrant: Kuadrant, cluster: Cluster) -> None:
    """Kuadrant counts by itself; its fake by Envoy's rate limit, for users that no client can forge."""
    kuadrant.route("one")
    kuadrant.auth_policy("gateway")
    kuadrant.becomes(kuadrant.limit_policy(), "Enforced", "True", "Enforced")
    (config,) = kuadrant.configs()
    headers = config["response"]["success"]["headers"]
    identities = {name: headers[f"x-kuadrant-{name}"]["plain"] for name in ("user", "tier")}
    assert identities == {"user": IDENTITY["userid"], "tier": IDENTITY["tier"]}
    (policy,) = cluster.of_kind("SecurityPolicy").values()
    assert policy["spec"]["targetRefs"] == [_target("Gateway", "contract")]
    assert policy["spec"]["extAuth"]["failOpen"] is False
    assert [item["value"] for item in policy["spec"]["extAuth"]["contextExtensions"]] == config["hosts"]
    (traffic,) = cluster.of_kind("BackendTrafficPolicy").values()
    (rule,) = traffic["spec"]["rateLimit"]["global"]["rules"]
    assert (rule["limit"], rule["shared"]) == ({"requests": 100, "unit": "Minute"}, True)
    ((user, chat, models, tier),) = [selector["headers"] for selector in rule["clientSelectors"]]
    assert user == {"name": "x-kuadrant-user", "type": "Distinct"}
    assert tier == {"name": "x-kuadrant-tier", "type": "Exact", "value": "free"}
    assert (chat["invert"], models["invert"], models["name"]) == (True, True, "x-kuadrant-path")
    assert models["value"] == r"(?:(/[a-z0-9][-a-z0-9.]*){0,2}/v1/models)(\?.*)?"
    assert rule["cost"]["request"] == {"from": "Number", "number": 0}
    (extension,) = cluster.of_kind("EnvoyExtensionPolicy").values()
    assert extension["spec"]["targetRefs"] == [_target("Gateway", "contract")]


@fake_only
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("counters", []),
        ("when", [{"predicate": f'requestBodyJSON("/model") == "{KEY}"'}]),
        ("rates", [{"limit": 1, "window": "30s"}]),
    ],
)
def test_what_it_does_not_do_it_does_not_enforce(kuadrant: Kuadrant, name: str, value: t.Any) -> None:
    kuadrant.route("one")
    policy = kuadrant.limit_policy({"free": {**TOKENS["free-0"], name: value}})
    kuadrant.becomes(policy, "Enforced", "False", "Unsupported")
    message = kuadrant.conditions(policy)["Enforced"]["message"]
    assert f"spec.limits.free.{name}" in message
    assert KEY not in message
