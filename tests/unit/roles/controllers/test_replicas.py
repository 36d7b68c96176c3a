# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""One pod or several of what judges and counts requests, and the Redis that holds the counts."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from plays import Ended, run_playbook
from rendering import ROLES, manifests

SINGLE: dict[str, t.Any] = {
    "ai_gateway_allow_empty": True,
    "ai_gateway_platform": "embedded",
    "__controllers_kept_charts": [],
    "__controllers_ca": {"certificate": "authority", "key": "key"},
    "__controllers_certificates": {
        name: {"certificate": f"{name} certificate", "key": "key"} for name in ("webhook", "authorino")
    },
    "__controllers_redis_password": "password",
}
SEVERAL = {**SINGLE, "ai_gateway_platform": "kubernetes"}
SENTINEL = {
    "type": "sentinel",
    "url": "mymaster,sentinel-0.example.com:26379,sentinel-1.example.com:26379",
    "tls": True,
    "ca_secret": "redis-ca",
    "auth_secret": "redis-password",
}
Objects = dict[tuple[str, str], dict[str, t.Any]]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return manifests(tmp_path_factory.mktemp("single"), "controllers", "controllers.yaml.j2", SINGLE)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return manifests(
        tmp_path_factory.mktemp("several"),
        "controllers",
        "controllers.yaml.j2",
        {**SEVERAL, "controllers_redis": SENTINEL},
    )


def played(directory: Path, tasks: list[dict[str, t.Any]], variables: dict[str, t.Any]) -> Ended:
    """Tasks of a play that knows the variables of the role."""
    files = [str(ROLES / "controllers" / part / "main.yml") for part in ("defaults", "vars")]
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "roles": ["egress.ai_gateway.catalog"],
        "vars_files": files,
        "tasks": tasks,
    }
    return run_playbook(directory, play, variables)


def configuration(directory: Path, variables: dict[str, t.Any]) -> dict[str, t.Any]:
    """The configuration of Envoy Gateway that the chart is given."""
    task = {
        "ansible.builtin.copy": {
            "content": "{{ __controllers_envoy_gateway_values.config.envoyGateway | to_json }}",
            "dest": f"{directory}/out",
        }
    }
    ended = played(directory, [task], variables)
    assert ended.returncode == 0, ended.output
    return t.cast("dict[str, t.Any]", json.loads((directory / "out").read_text()))


def test_one_pod_needs_no_budget(single: Objects) -> None:
    spec = single["Deployment", "authorino"]["spec"]
    assert spec["replicas"] == 1
    assert "topologySpreadConstraints" not in spec["template"]["spec"]
    assert "--enable-leader-election" not in spec["template"]["spec"]["containers"][0]["args"]
    assert not [name for kind, name in single if kind == "PodDisruptionBudget"]


def test_authorino_gives_memory_back_before_its_limit(single: Objects) -> None:
    """It was killed at the limit, as caches that a changed AuthConfig leaves behind were not collected."""
    (container,) = single["Deployment", "authorino"]["spec"]["template"]["spec"]["containers"]
    (heap,) = (entry["value"] for entry in container["env"] if entry["name"] == "GOMEMLIMIT")
    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert int(heap.removesuffix("MiB")) < 1024 * 0.9


def test_several_pods_are_spread_and_go_one_at_a_time(several: Objects) -> None:
    spec = several["Deployment", "authorino"]["spec"]
    assert spec["replicas"] == 2
    (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
    labels = spec["template"]["metadata"]["labels"].items()
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert spread["labelSelector"]["matchLabels"].items() <= labels
    assert "--enable-leader-election" in spec["template"]["spec"]["containers"][0]["args"]
    budget = several["PodDisruptionBudget", "authorino"]
    assert budget["metadata"]["namespace"] == several["Deployment", "authorino"]["metadata"]["namespace"]
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels


def test_an_update_takes_no_pod_before_another_is_ready(single: Objects, several: Objects) -> None:
    for objects in (single, several):
        assert objects["Deployment", "authorino"]["spec"]["strategy"]["rollingUpdate"] == {
            "maxUnavailable": 0,
            "maxSurge": 1,
        }


def test_the_names_of_the_pods_are_there_with_one_pod_too(single: Objects, several: Objects) -> None:
    """A cluster that goes from several to one has proxies that ask for them until the policies are applied."""
    for objects in (single, several):
        assert objects["Service", "authorino-pods"]["spec"]["clusterIP"] == "None"
        assert (
            objects["Service", "authorino-pods"]["spec"]["selector"]
            == objects["Service", "authorino"]["spec"]["selector"]
        )
        assert "clusterIP" not in objects["Service", "authorino"]["spec"]


def test_an_external_redis_stands_instead_of_ours(single: Objects, several: Objects) -> None:
    assert {kind for kind, name in single if name == "redis"} == {"Deployment", "Service", "NetworkPolicy"}
    assert not [kind for kind, name in several if name == "redis"]


def test_the_rate_limit_service_with_one_pod_and_our_redis(tmp_path: Path) -> None:
    found = configuration(tmp_path, SINGLE)
    deployment = found["provider"]["kubernetes"]["rateLimitDeployment"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    checksum = deployment["pod"].pop("annotations")
    assert set(checksum) == {"egress.ai-gateway/checksum"}
    assert deployment["pod"] == {"topologySpreadConstraints": [], "volumes": []}
    password = {"secretKeyRef": {"name": "ai-gateway-redis-password", "key": "auth"}}
    assert deployment["container"]["env"] == [{"name": "REDIS_AUTH", "valueFrom": password}]
    assert found["provider"]["kubernetes"]["rateLimitPDB"] is None
    assert found["rateLimit"]["backend"]["redis"] == {"url": "redis.ai-gateway-envoy-gateway.svc.cluster.local:6379"}
    assert found["rateLimit"]["failClosed"] is True


def test_the_rate_limit_service_with_several_pods_and_sentinels(tmp_path: Path) -> None:
    found = configuration(tmp_path, {**SEVERAL, "controllers_redis": SENTINEL})
    kubernetes = found["provider"]["kubernetes"]
    deployment = kubernetes["rateLimitDeployment"]
    assert deployment["replicas"] == 2
    assert (
        deployment["pod"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]["app.kubernetes.io/name"]
        == "envoy-ratelimit"
    )
    assert kubernetes["rateLimitPDB"] == {"maxUnavailable": 1}
    assert found["rateLimit"]["backend"]["redis"] == {"url": SENTINEL["url"]}
    assert {entry["name"]: entry.get("value") or entry["valueFrom"] for entry in deployment["container"]["env"]} == {
        "REDIS_TYPE": "SENTINEL",
        "REDIS_TLS": "true",
        "REDIS_TLS_CACERT": "/redis-ca/ca.crt",
        "REDIS_AUTH": {"secretKeyRef": {"name": "redis-password", "key": "auth"}},
        "REDIS_SENTINEL_AUTH": {"secretKeyRef": {"name": "redis-password", "key": "sentinelAuth", "optional": True}},
    }
    assert deployment["pod"]["volumes"] == [{"name": "redis-ca", "secret": {"secretName": "redis-ca"}}]
    assert deployment["container"]["volumeMounts"] == [{"name": "redis-ca", "mountPath": "/redis-ca", "readOnly": True}]


def test_a_cluster_of_redis_is_asked_for_several_keys_at_once(tmp_path: Path) -> None:
    redis = {"type": "cluster", "url": "redis-0.example.com:6379,redis-1.example.com:6379"}
    environment = configuration(tmp_path, {**SEVERAL, "controllers_redis": redis})["provider"]["kubernetes"][
        "rateLimitDeployment"
    ]["container"]["env"]
    assert environment == [
        {"name": "REDIS_TYPE", "value": "CLUSTER"},
        {"name": "REDIS_PIPELINE_WINDOW", "value": "150us"},
    ]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param(
            {"controllers_redis": {"type": "sentinel"}},
            "controllers_redis.url is ''; with type sentinel write the name of the master",
            id="no URL",
        ),
        pytest.param({"controllers_redis": {"url": "10.0.0.1:6379"}}, "no addresses and no scheme", id="address"),
        pytest.param(
            {"controllers_redis": {"url": "redis://:word@redis.example.com:6379"}},
            "passwords go to controllers_redis.auth_secret",
            id="scheme",
        ),
        pytest.param(
            {"controllers_redis": {"url": "a.example.com:6379,b.example.com:6379"}},
            "with type single write a host and its port",
            id="two for one",
        ),
        pytest.param(
            {"controllers_redis": {"type": "sentinel", "url": "a.example.com:26379"}},
            "and then the sentinels",
            id="no master",
        ),
        pytest.param(
            {"controllers_redis": {"url": "redis.example.com:6379", "ca_secret": "ca"}},
            "controllers_redis.tls is not true",
            id="CA without TLS",
        ),
        pytest.param(
            {"ai_gateway_controller_replicas": 0}, "ai_gateway_controller_replicas is 0; write 1 or more", id="no pod"
        ),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, variables: dict[str, t.Any], expected: str) -> None:
    ended = played(
        tmp_path,
        [{"ansible.builtin.import_tasks": str(ROLES / "controllers/tasks/validate_variables.yml")}],
        {**SINGLE, **variables},
    )
    assert ended.returncode == 2, ended.output
    assert expected in " ".join(ended.stdout.split()), ended.stdout


@pytest.mark.parametrize(
    "redis",
    [
        {},
        SENTINEL,
        {"url": "redis.example.com:6379"},
        {"type": "cluster", "url": "a.example.com:6379,b.example.com:6379"},
    ],
)
def test_what_works_is_taken(tmp_path: Path, redis: dict[str, t.Any]) -> None:
    ended = played(
        tmp_path,
        [{"ansible.builtin.import_tasks": str(ROLES / "controllers/tasks/validate_variables.yml")}],
        {**SEVERAL, "controllers_redis": redis},
    )
    assert ended.returncode == 0, ended.output


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"controllers_redis": SENTINEL}, [("redis-password", ["auth"]), ("redis-ca", ["ca.crt"])]),
        ({"controllers_redis": {"url": "redis.example.com:6379"}}, []),
        (
            {
                "controllers_redis": SENTINEL,
                "ai_gateway_stack": "wg_ai_gateway",
                "ai_gateway_policy_engine": "kuadrant",
            },
            [],
        ),
    ],
    ids=["sentinels", "none", "no rate limit service of ours"],
)
def test_the_secrets_that_must_be_there(tmp_path: Path, variables: dict[str, t.Any], expected: list[t.Any]) -> None:
    task = {
        "ansible.builtin.copy": {"content": "{{ __controllers_redis_secrets | to_json }}", "dest": f"{tmp_path}/out"}
    }
    ended = played(tmp_path, [task], {**SEVERAL, **variables})
    assert ended.returncode == 0, ended.output
    assert [(secret["name"], secret["keys"]) for secret in json.loads((tmp_path / "out").read_text())] == [
        (name, keys) for name, keys in expected
    ]
