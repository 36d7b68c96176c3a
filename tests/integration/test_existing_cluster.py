# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests on a cluster where others live: an Envoy Gateway by Helm, users' objects, admission policies.

The site is one of platform openshift, under an admission policy that refuses what OpenShift refuses. The tests are
steps, on the cluster that the tests of two gateways leave; each runs alone too: make integration ARGS="-k NAME".
"""

from __future__ import annotations

import base64
import json
import pathlib
import subprocess
import typing as t

import catalogs
import existing_cluster
import objects
import pytest
import yaml
from runs import INVENTORY, follow, playbook, recaps, start
from sites import NO_SITE, UNKNOWN, Sites, is_used, validation

#: The inventory's cluster as if it was an OpenShift cluster of somebody else.
OPENSHIFT: dict[str, t.Any] = {
    "ai_gateway_platform": "openshift",
    "ai_gateway_kubeconfig": f"{objects.STATE}/kubeconfig",
    "ai_gateway_helm_binary": f"{objects.STATE}/bin/helm",
    "ai_gateway_offline_directory": f"{objects.STATE}/upstream",
    "ai_gateway_controller_replicas": 1,
    "versions_images": "{{ versions_embedded_images }}",
    "gateway_replicas": 1,
    "gateway_service_type": "NodePort",
    "gateway_drain_timeout": "5s",
    "validation_recovery": False,
    # The embedded cluster enforces none.
    "validation_network_policies": False,
}
BACKEND_TLS = "backendtlspolicies.gateway.networking.k8s.io"
ENVOY_PROXY = "envoyproxies.gateway.envoyproxy.io"
FILTER_ORDER = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/filterOrder"
VIEWER = "viewer"


def fails(name: str, *arguments: str) -> str:
    """Run a playbook that fails, and return what it said, words with one space between."""
    with start("ansible-playbook", "--inventory", INVENTORY, *arguments, f"egress.ai_gateway.{name}") as process:
        output = follow(process)
    assert process.returncode != 0
    (recap,) = recaps(output)
    assert recap["embedded"]["changed"] == 0
    return " ".join(output.split())


@pytest.fixture(scope="module")
def openshift(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("openshift") / "variables.yml"
    path.write_text(yaml.safe_dump(OPENSHIFT), encoding="utf-8")
    return f"@{path}"


@pytest.fixture(scope="module")
def theirs(bare_objects: set[str], sites: Sites) -> dict[str, existing_cluster.Body]:
    """What others have on the cluster. It stays there: the tests of another site make a new cluster."""
    assert bare_objects
    if sites.present != NO_SITE or is_used():
        playbook("egress.ai_gateway.destroy")
        playbook("egress.ai_gateway.cluster")
    sites.present = UNKNOWN
    existing_cluster.install()
    existing_cluster.apply(existing_cluster.restricted())
    return existing_cluster.contents()


@pytest.fixture(scope="module")
def beside(theirs: dict[str, existing_cluster.Body], openshift: str) -> dict[str, existing_cluster.Body]:
    """The site, and what existed before."""
    assert playbook("egress.ai_gateway.site", "--extra-vars", openshift) > 0
    return theirs


class Hindrances:
    """What stands in the way of a site, in as many ways as go together, and what a run says of each."""

    def __init__(self) -> None:
        made = existing_cluster.made
        container = {
            "name": "c",
            "image": "docker.io/envoyproxy/ai-gateway-controller:v0.5.0",
            "args": ["--watchNamespaces="],
        }
        labels = {"app": "c"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        controller = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
        self._made = [
            *(made("v1", "Namespace", "", name) for name in ("ai-gateway", "ai-gateway-authorino", "their-ai")),
            made("apps/v1", "Deployment", "their-ai", "ai-gateway-controller", spec=controller),
            made("v1", "ConfigMap", "ai-gateway", "gateway", data={"theirs": "1"}),
            made("v1", "ConfigMap", "ai-gateway", "authorino.access-policies", data={"theirs": "1"}),
            made("v1", "Secret", "ai-gateway", "half-a-key", stringData={"wrong": "1"}),
            made("v1", "ServiceAccount", "ai-gateway-authorino", "authorino"),
            {**made("rbac.authorization.k8s.io/v1", "ClusterRole", "", "ai-gateway-authorino-reviews"), "rules": []},
            made(
                "gateway.networking.k8s.io/v1",
                "GatewayClass",
                "",
                "ai-gateway",
                spec={"controllerName": "example.com/theirs"},
            ),
            *existing_cluster.refusing(
                "team-labels",
                "apps",
                "deployments",
                "has(object.metadata.labels) && 'team' in object.metadata.labels",
                "every Deployment needs the label team",
                namespace="ai-gateway-authorino",
            ),
            *existing_cluster.refusing(
                "guarded-crds",
                "apiextensions.k8s.io",
                "customresourcedefinitions",
                "object.spec.group != 'aigateway.envoyproxy.io'",
                "CRDs of this group are the platform team's",
            ),
        ]
        crd = json.loads(objects.kubectl("get", "crd", BACKEND_TLS, "--output=json"))
        names = [version["name"] for version in crd["spec"]["versions"]]
        self._served = f"/spec/versions/{names.index('v1')}/served"
        crd = json.loads(objects.kubectl("get", "crd", ENVOY_PROXY, "--output=json"))
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        self._filter_order = schema["filterOrder"]

    def __enter__(self) -> None:
        patch(BACKEND_TLS, {"op": "replace", "path": self._served, "value": False})
        patch(ENVOY_PROXY, {"op": "remove", "path": FILTER_ORDER})
        existing_cluster.apply(self._made)

    def __exit__(self, *_error: object) -> None:
        existing_cluster.delete(reversed(self._made))
        patch(ENVOY_PROXY, {"op": "add", "path": FILTER_ORDER, "value": self._filter_order})
        patch(BACKEND_TLS, {"op": "replace", "path": self._served, "value": True})


def patch(crd: str, *operations: dict[str, t.Any]) -> None:
    objects.kubectl("patch", "crd", crd, "--type=json", f"--patch={json.dumps(operations)}")


SAID = [
    "The AI gateway cannot be provisioned on this cluster as it is. Nothing was written to it.",
    "Envoy AI Gateway v0.5.0 in namespace their-ai takes the AIGatewayRoutes of every namespace",
    "claims GatewayClasses of controller gateway.envoyproxy.io/gatewayclass-controller too",
    "An issuer in gateway_tls_issuer or gateway_listeners needs cert-manager, which is not on the cluster",
    "provider lost: Secret ai-gateway/no-key is missing: kubectl create secret generic no-key",
    "provider half: Secret ai-gateway/half-a-key has no apiKey, or an empty one",
    f"CustomResourceDefinition {BACKEND_TLS} exists, belongs to no set and does not serve BackendTLSPolicy in "
    "gateway.networking.k8s.io/v1",
    "CustomResourceDefinition aigatewayroutes.aigateway.envoyproxy.io",
    "denied request: CRDs of this group are the platform team's",
    "these objects exist and are not managed by this set; nothing was written: - ServiceAccount "
    "ai-gateway-authorino/authorino - ClusterRole ai-gateway-authorino-reviews",
    "Deployment ai-gateway-authorino/authorino",
    "denied request: every Deployment needs the label team",
    "ConfigMap ai-gateway/gateway exists and is no parent of a set",
    "- GatewayClass ai-gateway",
    ".spec.filterOrder: field not declared in schema; CustomResourceDefinition "
    f"{ENVOY_PROXY} of the cluster is older than the manifest",
    "- ConfigMap ai-gateway/authorino.access-policies",
    "Found on the cluster",
    "Envoy Gateway v1.8.3 in namespace envoy-gateway-system",
]


def test_what_stands_in_the_way_is_reported_on_one_page_and_nothing_is_written(
    theirs: dict[str, existing_cluster.Body], openshift: str, tmp_path: pathlib.Path
) -> None:
    assert theirs
    model = {"schema": "openai", "endpoint": {"hostname": "api.openai.com"}}
    providers = [
        {**model, "name": "lost", "credential": {"secret": "no-key"}, "models": [{"name": "gpt-5"}]},
        {**model, "name": "half", "credential": {"secret": "half-a-key"}, "models": [{"name": "gpt-6"}]},
    ]
    variables = tmp_path / "variables.yml"
    given = {
        "ai_gateway_providers": providers,
        "ai_gateway_controller_name": "gateway.envoyproxy.io/gatewayclass-controller",
        "gateway_hostname": "ai.example.com",
        "gateway_tls_issuer": {"name": "letsencrypt"},
    }
    variables.write_text(yaml.safe_dump(given), encoding="utf-8")
    with Hindrances():
        before = objects.settled_listing(quiet=3), existing_cluster.contents()
        output = fails("site", "--extra-vars", openshift, "--extra-vars", f"@{variables}")
        missing = [words for words in SAID if words not in output]
        assert missing == []
        assert (objects.listing(), existing_cluster.contents()) == before


def test_missing_rights_are_listed_and_nothing_is_written(
    theirs: dict[str, existing_cluster.Body], openshift: str, tmp_path: pathlib.Path
) -> None:
    assert theirs
    account = existing_cluster.made("v1", "ServiceAccount", "shop", VIEWER)
    subject = {"kind": "ServiceAccount", "name": VIEWER, "namespace": "shop"}
    binding = {
        **existing_cluster.made("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", VIEWER),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [subject],
    }
    existing_cluster.apply([account, binding])
    try:
        config = yaml.safe_load(pathlib.Path(f"{objects.STATE}/kubeconfig").read_text(encoding="utf-8"))
        token = objects.kubectl("create", "token", VIEWER, "--namespace=shop").strip()
        config["users"][0]["user"] = {"token": token}
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
        before = objects.settled_listing(quiet=3)
        output = fails("site", "--extra-vars", openshift, "--extra-vars", f"ai_gateway_kubeconfig={kubeconfig}")
        assert "may not do all that the run needs, in all namespaces: namespaces: create, patch, delete" in output
        assert "secrets: get, list, create, patch, delete" in output
        assert "kubectl auth can-i --list" in output
        assert objects.listing() == before
    finally:
        existing_cluster.delete([binding, account])


def test_both_serve_under_the_admission_policy(beside: dict[str, existing_cluster.Body]) -> None:
    assert beside
    assert existing_cluster.page() == "theirs"
    assert {check for check, status in validation().items() if status != "passed"} == {"rate-limit-recovery"}
    # The policy does refuse: what the site runs with a fixed user, it may.
    pod = {"containers": [{"name": "c", "image": "x", "securityContext": {"runAsUser": 65532}}]}
    with pytest.raises(subprocess.CalledProcessError):
        existing_cluster.apply([existing_cluster.made("v1", "Pod", "ai-gateway-authorino", "fixed", spec=pod)])


def test_the_next_site_mends_what_broke(beside: dict[str, existing_cluster.Body], openshift: str) -> None:
    """A webhook with another's CA bundle, so that no proxy can be made; an expired certificate of it; a CRD deleted by
    hand, with all objects of the kind; a tier without its namespace; and a Deployment that somebody scaled.
    """
    assert beside
    webhooks = objects.kubectl("get", "mutatingwebhookconfigurations", "--output=name").split()
    (webhook,) = [name for name in webhooks if "ai-gateway" in name]
    path = "/webhooks/0/clientConfig/caBundle"
    others_ca = base64.b64encode(catalogs.Authority("Another").certificate.encode()).decode()
    operation = [{"op": "replace", "path": path, "value": others_ca}]
    objects.kubectl("patch", webhook, "--type=json", f"--patch={json.dumps(operation)}")
    proxies = "gateway.envoyproxy.io/owning-gateway-name=ai-gateway"
    objects.kubectl("delete", "pods", "--namespace=ai-gateway-envoy-gateway", f"--selector={proxies}")
    expired = catalogs.Authority("Another").issue("ai-gateway-controller", -catalogs.DAY)["certificate"]
    data = {"data": {"tls.crt": base64.b64encode(expired.encode()).decode()}}
    secret = ("secret/ai-gateway-webhook-certificate", "--namespace=ai-gateway-envoy-ai-gateway")
    objects.kubectl("patch", *secret, "--type=merge", f"--patch={json.dumps(data)}")
    objects.kubectl("delete", "crd", "backendsecuritypolicies.aigateway.envoyproxy.io")
    objects.kubectl("delete", "namespace", "ai-gateway-tier-free")
    objects.kubectl("scale", "deployment/authorino", "--namespace=ai-gateway-authorino", "--replicas=2")
    assert playbook("egress.ai_gateway.site", "--extra-vars", openshift) > 0
    assert {check for check, status in validation().items() if status != "passed"} == {"rate-limit-recovery"}
    scaled = objects.kubectl(
        "get", "deployment/authorino", "--namespace=ai-gateway-authorino", "--output=jsonpath={.spec.replicas}"
    )
    assert scaled == "2"
    assert playbook("egress.ai_gateway.site", "--extra-vars", openshift) == 0


def test_teardown_stops_before_a_secret_of_a_user_and_leaves_others_as_they_were(
    beside: dict[str, existing_cluster.Body], openshift: str
) -> None:
    secret = existing_cluster.made("v1", "Secret", "ai-gateway", "users-tls", stringData={"tls.key": "k"})
    existing_cluster.apply([secret])
    with start("ansible-playbook", "--inventory", INVENTORY, "-e", openshift, "egress.ai_gateway.teardown") as process:
        output = " ".join(follow(process).split())
    assert process.returncode != 0
    assert "Namespace ai-gateway cannot be deleted: Secret ai-gateway/users-tls would go with it" in output
    assert "ai_gateway_force_removal: true" in output
    existing_cluster.delete([secret])
    assert playbook("egress.ai_gateway.teardown", "--extra-vars", openshift) > 0
    after = existing_cluster.contents()
    assert {name for name in after if after[name] != beside.get(name)} == set(), "changed or left behind"
    assert set(beside) - set(after) == set(), "taken away"
    assert existing_cluster.page() == "theirs"
