# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in for a cluster with Models-as-a-Service:

its manifests, and the program that writes the model's status.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build as catalog_build
from maas_api_cluster import GATEWAY_API, KSERVE, Cluster

TESTS = Path(__file__).resolve().parents[2]
FAKES = TESTS / "fakes"
COLLECTIONS = Path(catalog_build.__file__).parents[6]
# The program's modules as in their pod, and the schemas of kinds that others define.
sys.path += [str(FAKES / "maas_api"), str(FAKES / "maas_platform"), str(TESTS / "unit/roles")]
maas_kubernetes, maas_tokens, model_status, definitions = map(
    importlib.import_module, ("maas_kubernetes", "maas_tokens", "model_status", "definitions")
)

MODEL = "facebook-opt-125m-simulated"
SERVICES = f"{KSERVE}/namespaces/llm/llminferenceservices"
Manifests = dict[tuple[str, str], dict[str, t.Any]]


def play(directory: Path, *arguments: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
    (directory / "variables.yml").write_text(
        yaml.safe_dump({"ansible_python_interpreter": sys.executable, **variables})
    )
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_HOME": str(directory / "home")}
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        "localhost,",
        "-c",
        "local",
        "-e",
        f"@{directory}/variables.yml",
    ]
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def rendered(directory: Path, **variables: t.Any) -> Manifests:
    lookup = "{{ lookup('ansible.builtin.template', maas_platform_directory ~ '/platform.yaml.j2') }}"
    tasks = [{"ansible.builtin.copy": {"content": lookup, "dest": f"{directory}/out"}}]
    roles = ["egress.ai_gateway.versions"]
    (directory / "play.yml").write_text(
        json.dumps([{"hosts": "localhost", "gather_facts": False, "roles": roles, "tasks": tasks}])
    )
    ended = play(directory, f"{directory}/play.yml", maas_platform_directory=str(FAKES / "maas_platform"), **variables)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = [manifest for manifest in yaml.safe_load_all((directory / "out").read_text()) if manifest]
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


def test_the_tiers_are_those_that_the_program_reads(plain: Manifests) -> None:
    tiers = maas_tokens.parse_tiers(
        plain["ConfigMap", "tier-to-group-mapping"]["data"]["tiers"], "maas-default-gateway"
    )
    assert [(tier.name, tier.level) for tier in tiers] == [("enterprise", 2), ("premium", 1), ("free", 0)]
    assert tiers[2].groups == {
        "tier-free-users",
        "system:authenticated",
        "system:serviceaccounts:maas-default-gateway-tier-free",
    }


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
    assert len(deployments) == 3
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
    jsonschema.validate(full[kind, name], definitions.schema_of(file, version))


@pytest.mark.parametrize("variables", [{"maas_platform_state": "gone"}, {"maas_platform_crds": "/nowhere"}])
def test_wrong_variables_are_named(tmp_path: Path, variables: dict[str, t.Any]) -> None:
    ended = play(tmp_path, str(FAKES / "maas_platform.yml"), ai_gateway_platform="kubernetes", **variables)
    assert ended.returncode != 0
    assert "write maas_platform_state as present or absent, and maas_platform_crds as a directory" in " ".join(
        ended.stdout.split()
    )


# The model's status


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    running = Cluster()
    yield running
    running.stop()


def serve(cluster: Cluster, replicas: int = 1, listeners: t.Any = None, addresses: t.Any = None) -> None:
    cluster.put(
        f"{SERVICES}/model", spec={"router": {"gateway": {"refs": [{"name": "clients", "namespace": "ai-gateway"}]}}}
    )
    cluster.put("/apis/apps/v1/namespaces/llm/deployments/model-kserve", status={"availableReplicas": replicas})
    gateway = {"listeners": listeners or [{"protocol": "HTTP", "port": 80}]}
    status = {"addresses": [{"value": "10.0.0.1"}] if addresses is None else addresses}
    cluster.put(f"{GATEWAY_API}/namespaces/ai-gateway/gateways/clients", spec=gateway, status=status)


def status(cluster: Cluster) -> tuple[str, str]:
    """The url, and whether the model is ready; after a second look, which is to change nothing."""
    api = maas_kubernetes.Api(cluster.url, None)
    model_status.reconcile(api, "llm")
    cluster.requests.clear()
    model_status.reconcile(api, "llm")
    assert [request for request in cluster.requests if request.startswith("PATCH")] == []
    found = cluster.objects[f"{SERVICES}/model"]["status"]
    assert found["observedGeneration"] == 1
    assert all(condition["lastTransitionTime"] for condition in found["conditions"])
    return found.get("url", ""), next(
        condition["status"] for condition in found["conditions"] if condition["type"] == "Ready"
    )


@pytest.mark.parametrize(
    ("listeners", "url"),
    [
        (None, "http://10.0.0.1/llm/model"),
        ([{"protocol": "HTTP", "port": 8080}], "http://10.0.0.1:8080/llm/model"),
        (
            [{"protocol": "TLS", "port": 9}, {"protocol": "HTTPS", "port": 443, "hostname": "maas.example.com"}],
            "https://maas.example.com/llm/model",
        ),
    ],
)
def test_a_model_that_can_be_reached(cluster: Cluster, listeners: t.Any, url: str) -> None:
    serve(cluster, listeners=listeners)
    assert status(cluster) == (url, "True")


def test_a_model_without_pods(cluster: Cluster) -> None:
    serve(cluster, replicas=0)
    assert status(cluster) == ("http://10.0.0.1/llm/model", "False")


def test_a_model_without_a_gateway(cluster: Cluster) -> None:
    serve(cluster, addresses=[])
    assert status(cluster) == ("", "False")
    del cluster.objects[f"{GATEWAY_API}/namespaces/ai-gateway/gateways/clients"]
    assert status(cluster) == ("", "False")
    serve(cluster)
    assert status(cluster) == ("http://10.0.0.1/llm/model", "True")
