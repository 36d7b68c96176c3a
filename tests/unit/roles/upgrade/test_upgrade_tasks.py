# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role upgrade does before its first write, in front of the fake API server."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._upgrade.found import packed, unpacked
from api_server import Server
from plays import run_playbook

Body = dict[str, t.Any]

NAMESPACE = "ai-gateway-envoy-gateway"
IMAGES = "localhost/egress-ai-gateway"
KINDS = {
    ("v1", "configmaps"): "ConfigMap",
    ("v1", "secrets"): "Secret",
    ("v1", "services"): "Service",
    ("v1", "serviceaccounts"): "ServiceAccount",
    ("apps/v1", "deployments"): "Deployment",
    ("rbac.authorization.k8s.io/v1", "roles"): "Role",
    ("gateway.networking.k8s.io/v1", "gateways"): "Gateway",
    ("gateway.envoyproxy.io/v1alpha1", "envoyproxies"): "EnvoyProxy",
}
VARIABLES = {
    "ai_gateway_platform": "embedded",
    "ai_gateway_providers": [
        {
            "name": "openai",
            "schema": "openai",
            "simulated": True,
            "credential": {"value": "k"},
            "models": [{"name": "gpt-4"}],
        }
    ],
    "gateway_tls_own_ca": False,
    # No chart is rendered: nothing gets that far.
    "__controllers_charts": [],
}
LABELS = {"app.kubernetes.io/instance": "ai-gateway-envoy-gateway"}
OWNERS = {
    "gateway.envoyproxy.io/owning-gateway-name": "ai-gateway",
    "gateway.envoyproxy.io/owning-gateway-namespace": "ai-gateway",
}


def pod(*containers: tuple[str, str]) -> Body:
    return {"template": {"spec": {"containers": [{"name": name, "image": image} for name, image in containers]}}}


def own(labels: Body) -> Body:
    """The metadata of an object that this collection applied."""
    fields = {"f:metadata": {"f:labels": {f"f:{name}": {} for name in labels}}, "f:spec": {}}
    entry = {"manager": "egress.ai_gateway", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": fields}
    return {"labels": labels, "managedFields": [entry]}


@pytest.fixture
def server() -> t.Iterator[Server]:
    made = Server(KINDS)
    made.put("namespaces", "", "kube-system")
    made.put("namespaces", "", "ai-gateway")
    made.put("gateways", "ai-gateway", "ai-gateway", status={"addresses": [{"type": "IPAddress", "value": "10.0.0.1"}]})
    made.put("envoyproxies", "ai-gateway", "ai-gateway", spec={})
    made.put(
        "services",
        NAMESPACE,
        "proxies",
        metadata={"labels": OWNERS},
        spec={"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080, "targetPort": 10080}]},
    )
    made.put(
        "deployments",
        NAMESPACE,
        "proxies",
        metadata={"labels": OWNERS},
        spec=pod(("envoy", f"{IMAGES}/envoy:1.38.3"), ("shutdown-manager", f"{IMAGES}/envoy-gateway:v1.8.2")),
    )
    made.put(
        "deployments",
        NAMESPACE,
        "envoy-gateway",
        metadata=own(LABELS),
        spec=pod(("envoy-gateway", f"{IMAGES}/envoy-gateway:v1.8.2")),
    )
    made.put(
        "deployments",
        "ai-gateway-envoy-ai-gateway",
        "ai-gateway-controller",
        spec=pod(("controller", f"{IMAGES}/ai-gateway-controller:v1.0.0")),
    )
    yield made
    made.close()


def run(
    server: Server, directory: Path, *arguments: str, host: str = "localhost", **variables: t.Any
) -> tuple[int, str]:
    play = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.import_role": {"name": "egress.ai_gateway.upgrade"}}],
    }
    kubeconfig = str(server.kubeconfig(directory))
    ended = run_playbook(
        directory,
        play,
        {**VARIABLES, "upgrade_report_directory": str(directory), **variables},
        *arguments,
        host=host,
        environment={"K8S_AUTH_KUBECONFIG": kubeconfig},
    )
    return ended.returncode, " ".join(ended.output.split())


def test_a_pair_that_is_known_to_be_bad_is_refused_before_the_first_write(server: Server, tmp_path: Path) -> None:
    status, said = run(server, tmp_path, versions_envoy_gateway="v1.8.1")
    assert status != 0
    assert "These versions are known not to go together. Envoy Gateway 1.8.1: its rate limit service counts no" in said
    assert "upgrade_allow_known_bad_pairs" in said
    assert server.writes == []


def test_check_mode_says_the_plan_and_writes_nothing(server: Server, tmp_path: Path) -> None:
    status, said = run(server, tmp_path, "--check", versions_envoy_gateway="v1.8.1", upgrade_allow_known_bad_pairs=True)
    assert status == 0, said
    assert f"Envoy Gateway: {IMAGES}/envoy-gateway:v1.8.2 by {IMAGES}/envoy-gateway:v1.8.1" in said
    assert "tried on a canary, though they are known not to go together" in said
    assert "ask model gpt-4 as tier enterprise" in said
    assert server.writes == []


def test_what_nobody_has_tried_is_said_and_not_refused(server: Server, tmp_path: Path) -> None:
    status, said = run(server, tmp_path, "--check", versions_envoy_gateway="v1.10.0")
    assert status == 0, said
    assert "have not been tried together. The canary shows whether they do." in said
    assert server.writes == []


def test_nothing_is_done_where_all_is_of_the_release(server: Server, tmp_path: Path) -> None:
    status, said = run(server, tmp_path, versions_envoy_gateway="v1.8.2")
    assert status == 0, said
    assert "runs Envoy Gateway 1.8.2 and Envoy 1.38.3 already. Nothing is to be done." in said
    assert server.writes == []


def test_another_envoy_ai_gateway_is_refused(server: Server, tmp_path: Path) -> None:
    status, said = run(server, tmp_path, versions_envoy_ai_gateway="v1.1.0")
    assert status != 0
    assert "Envoy AI Gateway is to change too" in said
    assert server.writes == []


def test_envoy_gateway_of_others_is_refused(server: Server, tmp_path: Path) -> None:
    server.objects["deployments", NAMESPACE, "envoy-gateway"]["metadata"]["managedFields"] = []
    status, said = run(server, tmp_path)
    assert status != 0
    assert "was not applied by this collection" in said
    assert server.writes == []


def test_a_cluster_without_a_gateway_is_for_site(server: Server, tmp_path: Path) -> None:
    del server.objects["deployments", NAMESPACE, "proxies"]
    status, said = run(server, tmp_path)
    assert status != 0
    assert "There is no gateway to upgrade" in said
    assert "Run egress.ai_gateway.site" in said


def test_there_must_be_a_record_to_go_back(server: Server, tmp_path: Path) -> None:
    status, said = run(server, tmp_path, upgrade_state="previous")
    assert status != 0
    assert "has no record of an upgrade" in said
    assert server.writes == []


#: Of the release that was before: the ConfigMap that has it, with an image of its own.
BEFORE = {"envoy_gateway": f"{IMAGES}/envoy-gateway:v1.8.1", "envoy": f"{IMAGES}/envoy:1.38.3"}
RUNNING = {"envoy_gateway": f"{IMAGES}/envoy-gateway:v1.8.2", "envoy": f"{IMAGES}/envoy:1.38.3"}
#: No token can be issued, so that a run fails before it replaces anything.
NO_TOKEN = {"versions_envoy_gateway": "v1.8.3"}


def manifests_of(image: str) -> list[Body]:
    metadata = {"name": "envoy-gateway", "namespace": NAMESPACE, "labels": LABELS}
    spec = pod(("envoy-gateway", image))
    return [{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}]


def put_record(server: Server, phase: str, images: dict[str, str] = BEFORE) -> None:
    record = {"phase": phase, "images": images, "crds": {}, "to": {}, "written": ""}
    data = {"record": json.dumps(record), "manifests": packed(manifests_of(images["envoy_gateway"]))}
    server.put("configmaps", "ai-gateway", "ai-gateway.upgrade", data=data)


def record(server: Server) -> tuple[str, str, list[Body]]:
    """The phase, the image of Envoy Gateway and the manifests of the record."""
    data = server.objects["configmaps", "ai-gateway", "ai-gateway.upgrade"]["data"]
    said = json.loads(data["record"])
    return said["phase"], said["images"]["envoy_gateway"], unpacked(data["manifests"])


def test_a_replacement_that_was_cut_off_goes_back_where_the_next_run_fails_at_once(
    server: Server, tmp_path: Path
) -> None:
    """The canary may configure all proxies, so it stays until the way back has replaced them."""
    put_record(server, "replacing")
    status, said = run(server, tmp_path, **NO_TOKEN)
    assert status != 0
    assert "The gateway goes back to the earlier release." in said
    assert "nothing that serves was changed" not in said
    phase, image, _manifests = record(server)
    assert (phase, image) == ("back", BEFORE["envoy_gateway"])


@pytest.mark.parametrize("phase", ["done", "canary"])
def test_what_the_canary_refuses_leaves_the_way_back(phase: str, server: Server, tmp_path: Path) -> None:
    put_record(server, phase)
    status, said = run(server, tmp_path, **NO_TOKEN)
    assert status != 0
    assert "nothing that serves was changed" in said
    assert record(server) == ("done", BEFORE["envoy_gateway"], manifests_of(BEFORE["envoy_gateway"]))


def test_a_first_try_that_the_canary_refuses_has_no_earlier_release(server: Server, tmp_path: Path) -> None:
    status, said = run(server, tmp_path, **NO_TOKEN)
    assert status != 0
    assert "nothing that serves was changed" in said
    assert record(server)[:2] == ("done", RUNNING["envoy_gateway"])


def test_a_way_back_that_fails_before_it_replaces_changes_nothing(server: Server, tmp_path: Path) -> None:
    put_record(server, "done")
    status, said = run(server, tmp_path, upgrade_state="previous")
    assert status != 0
    assert "nothing that serves was changed: Envoy Gateway 1.8.2" in said
    assert "between two releases" not in said
    assert record(server)[:2] == ("done", BEFORE["envoy_gateway"])


def test_a_way_back_that_was_cut_off_leaves_the_canary_where_it_fails(server: Server, tmp_path: Path) -> None:
    put_record(server, "back")
    status, said = run(server, tmp_path, upgrade_state="previous")
    assert status != 0
    assert "between two releases" in said
    assert record(server)[:2] == ("back", BEFORE["envoy_gateway"])


def test_objects_of_others_in_a_record_are_refused(server: Server, tmp_path: Path) -> None:
    put_record(server, "done")
    added = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "mine", "namespace": NAMESPACE}}
    data = server.objects["configmaps", "ai-gateway", "ai-gateway.upgrade"]["data"]
    data["manifests"] = packed([*manifests_of(BEFORE["envoy_gateway"]), added])
    status, said = run(server, tmp_path, upgrade_state="previous")
    assert status != 0
    assert "CronJob mine is none that Envoy Gateway's chart makes: the chart has no such kind" in said
    assert server.writes == []


def test_going_back_again_does_nothing(server: Server, tmp_path: Path) -> None:
    put_record(server, "done", RUNNING)
    status, said = run(server, tmp_path, upgrade_state="previous")
    assert status == 0, said
    assert "runs Envoy Gateway 1.8.2 and Envoy 1.38.3 already. Nothing is to be done." in said
    assert server.writes == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"upgrade_model": "gpt-5"}, "with upgrade_model 'gpt-5' is none"),
        ({"upgrade_tier": "gold"}, "upgrade_tier 'gold'"),
        ({"upgrade_failed_checks": 7}, "upgrade_failed_checks is from 1 to upgrade_canary_checks"),
        ({"upgrade_requests_per_second": 0}, "upgrade_requests_per_second is from 1 to 100"),
        ({"upgrade_wait_timeout": 5}, "upgrade_wait_timeout is 30 or more"),
        ({"upgrade_state": "newest"}, "value of upgrade_state must be one of"),
    ],
)
def test_variables_are_checked(variables: Body, said: str, server: Server, tmp_path: Path) -> None:
    status, output = run(server, tmp_path, **variables)
    assert status != 0
    assert said in output
    assert server.writes == []


def test_absent_removes_the_record_alone(server: Server, tmp_path: Path) -> None:
    server.put("configmaps", "ai-gateway", "ai-gateway.upgrade", data={})
    server.put("configmaps", "ai-gateway", "another", data={})
    status, said = run(server, tmp_path, upgrade_state="absent")
    assert status == 0, said
    assert server.names("configmaps") == ["another"]
