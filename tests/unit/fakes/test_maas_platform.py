# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fake of a cluster with Models-as-a-Service: its manifests, and the program that writes the model's status."""

from __future__ import annotations

import importlib
import re
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import third_party_crds
import yaml
from cluster import RESOURCES, Cluster
from contracts import FAKES, Objects
from plays import run_playbook
from rendering import documents

TESTS = FAKES.parent
# The program of the model's status, as in its pod.
sys.path.append(str(FAKES / "maas_platform"))
model_status = importlib.import_module("model_status")

MODEL = "facebook-opt-125m-simulated"
Manifests = dict[tuple[str, str], dict[str, t.Any]]


def rendered(directory: Path, **variables: t.Any) -> Manifests:
    lookup = "{{ lookup('ansible.builtin.template', maas_platform_directory ~ '/platform.yaml.j2') }}"
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "roles": ["egress.ai_gateway.versions"],
        "tasks": [{"ansible.builtin.copy": {"content": lookup, "dest": f"{directory}/out"}}],
    }
    ended = run_playbook(directory, play, {"maas_platform_directory": str(FAKES / "maas_platform"), **variables})
    assert ended.returncode == 0, ended.output
    found = documents((directory / "out").read_text())
    named = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in found}
    assert len(named) == len(found)
    return named


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    return rendered(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    return rendered(
        tmp_path_factory.mktemp("full"),
        maas_platform_kuadrant=True,
        maas_platform_model=True,
        maas_platform_managed="true",
        maas_platform_image="localhost/egress-ai-gateway/maas-api@sha256:" + "0" * 64,
        maas_platform_gateway_namespace="ai-gateway",
        maas_platform_gateway_name="clients",
        maas_platform_audiences=["https://issuer.example.com"],
    )


def test_the_platform_alone(plain: Manifests) -> None:
    kinds = sorted(kind for kind, _name in plain)
    roles = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]
    assert kinds == sorted(["ConfigMap", "Deployment", "HTTPRoute", "Service", "ServiceAccount", *roles])
    deployment = plain["Deployment", "maas-api"]
    assert deployment["metadata"]["namespace"] == "opendatahub"
    assert "annotations" not in deployment["metadata"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert (container["name"], container["image"]) == ("maas-api", "localhost/egress-ai-gateway/maas-api:v0.0.2")
    # The image alone says what it is, so that another image may take its place.
    assert not {"command", "args"} & container.keys()
    environment = {item["name"]: item.get("value") for item in container["env"]}
    gateway = {"GATEWAY_NAME": "maas-default-gateway", "GATEWAY_NAMESPACE": "openshift-ingress"}
    assert environment == {"NAMESPACE": None, "INSTANCE_NAME": "maas-default-gateway", **gateway}


def test_the_tiers_that_models_as_a_service_comes_with(plain: Manifests) -> None:
    tiers = yaml.safe_load(plain["ConfigMap", "tier-to-group-mapping"]["data"]["tiers"])
    assert [(tier["name"], tier["level"]) for tier in tiers] == [("free", 0), ("premium", 1), ("enterprise", 2)]
    assert tiers[0]["groups"] == ["tier-free-users", "system:authenticated"]


@pytest.mark.parametrize(
    ("variables", "value"), [({"maas_platform_managed": False}, "false"), ({"maas_platform_managed": "true"}, "true")]
)
def test_what_an_operator_left(tmp_path: Path, variables: dict[str, t.Any], value: str) -> None:
    annotations = rendered(tmp_path, **variables)["Deployment", "maas-api"]["metadata"]["annotations"]
    assert annotations == {"opendatahub.io/managed": value}


def test_everything_hangs_on_the_named_gateway(full: Manifests) -> None:
    for name in ("maas-api-route", f"{MODEL}-kserve-route"):
        (parent,) = full["HTTPRoute", name]["spec"]["parentRefs"]
        assert (parent["namespace"], parent["name"]) == ("ai-gateway", "clients")
    assert full["LLMInferenceService", MODEL]["spec"]["router"]["gateway"]["refs"] == [
        {"name": "clients", "namespace": "ai-gateway"}
    ]
    policy = full["AuthPolicy", "maas-api-auth-policy"]["spec"]
    assert policy["targetRef"]["name"] == "maas-api-route"
    (review,) = policy["rules"]["authentication"].values()
    assert review["kubernetesTokenReview"]["audiences"] == [
        "https://kubernetes.default.svc",
        "clients-sa",
        "https://issuer.example.com",
    ]
    assert sorted(policy["rules"]["response"]["success"]["headers"]) == ["X-MaaS-Group", "X-MaaS-Username"]


def test_routes_lead_to_services_that_have_pods(full: Manifests) -> None:
    for kind, name in full:
        if kind != "HTTPRoute":
            continue
        for rule in full[kind, name]["spec"]["rules"]:
            (backend,) = rule["backendRefs"]
            service = full["Service", backend["name"]]
            assert [port["port"] for port in service["spec"]["ports"]] == [backend["port"]]
            selected = [
                manifest
                for (kind_of, _name), manifest in full.items()
                if kind_of == "Deployment"
                and service["spec"]["selector"].items() <= manifest["spec"]["template"]["metadata"]["labels"].items()
            ]
            assert [item["metadata"]["namespace"] for item in selected] == [service["metadata"]["namespace"]]
            (container,) = selected[0]["spec"]["template"]["spec"]["containers"]
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= {
                port["name"] for port in container["ports"]
            }


def test_pods_have_no_more_rights_than_they_need(full: Manifests) -> None:
    deployments = [manifest for (kind, _name), manifest in full.items() if kind == "Deployment"]
    assert len(deployments) == 4
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    granted = {
        verb
        for (kind, _name), manifest in full.items()
        if kind in ("Role", "ClusterRole")
        for rule in manifest["rules"]
        for verb in rule["verbs"]
    }
    assert granted == {"get", "list", "watch", "create", "delete", "patch"}


def test_the_programs_in_config_maps_are_whole(full: Manifests) -> None:
    for name, first in ((MODEL, "provider_simulator.py"), ("model-status", "model_status.py")):
        files = full["ConfigMap", name]["data"]
        assert first in files
        for file, text in files.items():
            compile(text, file, "exec")
            # What it imports is of Python or is in the ConfigMap too.
            imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)) - sys.stdlib_module_names
            assert {f"{module}.py" for module in imported} <= set(files)
            (source,) = [
                path
                for path in (*FAKES.rglob("*.py"), *(TESTS.parent / "roles/simulators/files").iterdir())
                if path.name == file
            ]
            assert text == source.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "name", "file", "version"),
    [
        ("LLMInferenceService", MODEL, "serving.kserve.io_llminferenceservices.yaml", "v1alpha1"),
        ("AuthPolicy", "maas-api-auth-policy", "kuadrant.io_authpolicies.yaml", "v1"),
    ],
)
def test_kinds_of_others_are_valid(full: Manifests, kind: str, name: str, file: str, version: str) -> None:
    jsonschema.validate(full[kind, name], third_party_crds.schema_of(file, version))


@pytest.mark.parametrize("variables", [{"maas_platform_state": "gone"}, {"maas_platform_crds": "/nowhere"}])
def test_wrong_variables_are_named(tmp_path: Path, variables: dict[str, t.Any]) -> None:
    given = {"ai_gateway_platform": "kubernetes", **variables}
    ended = run_playbook(tmp_path, str(FAKES / "maas_platform.yml"), given)
    assert ended.returncode != 0
    assert "write maas_platform_state as present or absent, and maas_platform_crds as a directory" in " ".join(
        ended.stdout.split()
    )


# The model's status


@pytest.fixture
def cluster(full: Manifests) -> Iterator[Cluster]:
    """The platform on the fake API server, with a Gateway that has an address and a model whose pod is available."""
    kinds = {
        "v1": {**RESOURCES["v1"], "services": ("Service", True)},
        "apps/v1": RESOURCES["apps/v1"],
        "serving.kserve.io/v1alpha1": {"llminferenceservices": ("LLMInferenceService", True)},
        "gateway.networking.k8s.io/v1": {"gateways": ("Gateway", True)},
    }
    running = Cluster(kinds)
    running.add(*(full[kind, name] for kind, name in full if kind in ("Service", "Deployment", "LLMInferenceService")))
    gateway = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway"}
    status = {"addresses": [{"value": "10.0.0.1"}]}
    running.add({**gateway, "metadata": {"name": "clients", "namespace": "ai-gateway"}, "status": status})
    running.objects["deployments", "llm", f"{MODEL}-kserve"]["status"] = {"availableReplicas": 1}
    running.serve()
    yield running
    running.close()


def status(cluster: Cluster) -> tuple[str, dict[str, str]]:
    """The url and the conditions, after a second look, which changes nothing."""
    objects = Objects(cluster.url)
    model_status.reconcile(objects.api, "llm")
    cluster.writes.clear()
    model_status.reconcile(objects.api, "llm")
    assert cluster.writes == []
    found = cluster.of_kind("LLMInferenceService")[MODEL]["status"]
    assert found["observedGeneration"] == 1
    assert all(condition["lastTransitionTime"] for condition in found["conditions"])
    return found.get("url", ""), {condition["type"]: condition["status"] for condition in found["conditions"]}


def test_the_url_of_a_model_answers_from_pods(cluster: Cluster, full: Manifests) -> None:
    """maas-api asks there, in a pod. That the port of the Service leads to one of the model's is tested above."""
    service = full["Service", f"{MODEL}-kserve-workload-svc"]
    host = f"{MODEL}-kserve-workload-svc.{service['metadata']['namespace']}.svc.cluster.local"
    url, conditions = status(cluster)
    assert url == f"http://{host}:{service['spec']['ports'][0]['port']}" == f"http://{host}:8000"
    assert conditions == {"RouterReady": "True", "WorkloadsReady": "True", "Ready": "True"}


def test_the_program_may_read_what_it_reads(full: Manifests) -> None:
    allowed = {
        (verb, resource)
        for kind, name in (("Role", "model-status"), ("ClusterRole", "maas-platform-model-status"))
        for rule in full[kind, name]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert allowed == {
        ("list", "llminferenceservices"),
        ("patch", "llminferenceservices/status"),
        ("get", "gateways"),
        ("get", "deployments"),
        ("get", "services"),
    }


def test_a_model_without_pods(cluster: Cluster) -> None:
    cluster.objects["deployments", "llm", f"{MODEL}-kserve"]["status"] = {}
    url, conditions = status(cluster)
    assert url
    assert conditions == {"RouterReady": "True", "WorkloadsReady": "False", "Ready": "False"}


def test_a_model_without_a_gateway(cluster: Cluster) -> None:
    gateway = cluster.objects["gateways", "ai-gateway", "clients"]
    addresses = gateway.pop("status")
    assert status(cluster)[1] == {"RouterReady": "False", "WorkloadsReady": "True", "Ready": "False"}
    del cluster.objects["gateways", "ai-gateway", "clients"]
    assert status(cluster)[1]["Ready"] == "False"
    cluster.add({**gateway, "status": addresses})
    assert status(cluster)[1]["Ready"] == "True"


def test_a_model_without_a_service(cluster: Cluster) -> None:
    del cluster.objects["services", "llm", f"{MODEL}-kserve-workload-svc"]
    url, conditions = status(cluster)
    assert (url, conditions["Ready"]) == ("", "False")
