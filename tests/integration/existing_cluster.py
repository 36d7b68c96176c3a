# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster on which others live.

It has Envoy Gateway by Helm in its usual namespace, with a gateway that serves, and an admission policy that refuses
what OpenShift's security context constraints refuse.
"""

from __future__ import annotations

import json
import subprocess
import time
import typing as t
import urllib.request

import objects
import yaml
from runs import ROOT

HELM = (f"{objects.STATE}/bin/helm", "--kubeconfig", f"{objects.STATE}/kubeconfig")
IMAGES = "localhost/egress-ai-gateway"
NAMESPACE, RELEASE = "envoy-gateway-system", "eg"
URL = "http://10.245.0.2:30090/"
#: Namespaces of others, whose pods the admission policy leaves alone.
OTHERS = [NAMESPACE, "shop", "kube-system"]

Body = dict[str, t.Any]


def versions() -> dict[str, str]:
    """Images of the embedded cluster, by role versions."""
    stated = yaml.safe_load((ROOT / "roles/versions/vars/main.yml").read_text(encoding="utf-8"))
    tags = {
        "envoy-gateway": stated["versions_envoy_gateway"],
        "envoy": stated["versions_envoy"],
        "python": stated["versions_embedded_differences"]["python"]["version"],
    }
    return {name: f"{IMAGES}/{name}:{tag}" for name, tag in tags.items()}


def manifests(images: t.Mapping[str, str]) -> list[Body]:
    """A Gateway of others, that serves a page."""
    proxies: Body = {
        "envoyDeployment": {"container": {"image": images["envoy"]}},
        "envoyService": {
            "type": "NodePort",
            "patch": {"type": "StrategicMerge", "value": {"spec": {"ports": [{"port": 80, "nodePort": 30090}]}}},
        },
    }
    container = {
        "name": "web",
        "image": images["python"],
        "command": ["python3", "-m", "http.server", "8080", "--directory", "/page"],
        "volumeMounts": [{"name": "page", "mountPath": "/page"}],
    }
    pod = {"containers": [container], "volumes": [{"name": "page", "configMap": {"name": "page"}}]}
    labels = {"app": "web"}
    parameters = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "theirs", "namespace": NAMESPACE}
    class_spec = {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller", "parametersRef": parameters}
    return [
        _made("v1", "Namespace", "", "shop"),
        _made("gateway.networking.k8s.io/v1", "GatewayClass", "", RELEASE, spec=class_spec),
        _made(
            "gateway.envoyproxy.io/v1alpha1",
            "EnvoyProxy",
            NAMESPACE,
            "theirs",
            spec={"provider": {"type": "Kubernetes", "kubernetes": proxies}},
        ),
        _made("v1", "ConfigMap", "shop", "page", data={"index.html": "theirs"}),
        _made(
            "apps/v1",
            "Deployment",
            "shop",
            "web",
            spec={"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
        ),
        _made("v1", "Service", "shop", "web", spec={"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}),
        _made(
            "gateway.networking.k8s.io/v1",
            "Gateway",
            "shop",
            "shop",
            spec={"gatewayClassName": RELEASE, "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}]},
        ),
        _made(
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            "shop",
            "shop",
            spec={"parentRefs": [{"name": "shop"}], "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]},
        ),
    ]


def restricted() -> list[Body]:
    """What restricted-v2 of OpenShift refuses, unless the pod's ServiceAccount may use nonroot-v2.

    OpenShift also gives pods without a user one of their namespace's range; here they have that of their image.
    """
    may_use = (
        "authorizer.serviceAccount(request.namespace, object.spec.serviceAccountName).group('security.openshift.io')"
        ".resource('securitycontextconstraints').namespace(request.namespace).name('nonroot-v2').check('use').allowed()"
    )
    pod = "has(object.spec.securityContext) && has(object.spec.securityContext."
    containers = "object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : [])"
    variables = [{"name": "containers", "expression": containers}, {"name": "nonroot", "expression": may_use}]
    each = "variables.containers.all(c, !has(c.securityContext) || "
    validations = [
        {
            "expression": f"variables.nonroot || (!({pod}runAsUser)) && {each}!has(c.securityContext.runAsUser)))",
            "message": "restricted-v2 refuses a fixed user",
        },
        {"expression": f"variables.nonroot || !({pod}fsGroup))", "message": "restricted-v2 refuses a fixed group"},
        {
            "expression": f"!({pod}runAsUser) && object.spec.securityContext.runAsUser == 0) "
            f"&& {each}!has(c.securityContext.runAsUser) || c.securityContext.runAsUser != 0)",
            "message": "root is refused",
        },
        {
            "expression": f"{each}(!has(c.securityContext.privileged) || !c.securityContext.privileged) "
            "&& (!has(c.securityContext.allowPrivilegeEscalation) || !c.securityContext.allowPrivilegeEscalation) "
            "&& (!has(c.securityContext.capabilities) || !has(c.securityContext.capabilities.add)))",
            "message": "privileges are refused",
        },
        {
            "expression": "(!has(object.spec.hostNetwork) || !object.spec.hostNetwork) && "
            "(!has(object.spec.volumes) || object.spec.volumes.all(v, !has(v.hostPath)))",
            "message": "the node's network and files are refused",
        },
    ]
    place = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": OTHERS}]}
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    use = {
        "apiGroups": ["security.openshift.io"],
        "resources": ["securitycontextconstraints"],
        "resourceNames": ["nonroot-v2"],
        "verbs": ["use"],
    }
    role = "system:openshift:scc:nonroot-v2"
    return [
        {**_made("rbac.authorization.k8s.io/v1", "ClusterRole", "", role), "rules": [use]},
        *_policy(
            "restricted-v2",
            {
                "matchConstraints": {"resourceRules": rules, "namespaceSelector": place},
                "variables": variables,
                "validations": validations,
            },
        ),
    ]


def refusing(name: str, group: str, resource: str, expression: str, message: str, namespace: str = "") -> list[Body]:
    """An admission policy of others."""
    rules = [{"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}]
    place = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}} if namespace else {}
    validations = [{"expression": expression, "message": message}]
    return _policy(name, {"matchConstraints": {"resourceRules": rules, **place}, "validations": validations})


def _policy(name: str, spec: Body) -> list[Body]:
    version, kind = "admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"
    binding = {"policyName": name, "validationActions": ["Deny"]}
    return [_made(version, kind, "", name, spec=spec), _made(version, f"{kind}Binding", "", name, spec=binding)]


def _made(version: str, kind: str, namespace: str, name: str, **content: t.Any) -> Body:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


made = _made


def apply(found: t.Iterable[Body]) -> None:
    objects.kubectl("apply", "--filename=-", document=yaml.safe_dump_all(found))


def delete(found: t.Iterable[Body]) -> None:
    objects.kubectl("delete", "--ignore-not-found", "--filename=-", document=yaml.safe_dump_all(found))


def install() -> None:
    """Install Envoy Gateway as its documentation says, and a gateway that serves a page."""
    images = versions()
    chart = f"{objects.STATE}/upstream/gateway-helm"
    manager = f"config.envoyGateway.provider.kubernetes.shutdownManager.image={images['envoy-gateway']}"
    _helm("install", RELEASE, chart, f"--namespace={NAMESPACE}", "--create-namespace", "--wait", f"--set={manager}")
    apply(manifests(images))
    wait_for_page()


def _helm(*arguments: str) -> None:
    subprocess.run([*HELM, *arguments], check=True, capture_output=True, text=True, timeout=180)


def page() -> str:
    with urllib.request.urlopen(URL, timeout=5) as answer:
        return str(answer.read().decode())


def wait_for_page(timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            assert page() == "theirs"
            return
        except OSError:
            assert time.monotonic() < deadline, f"{URL} does not answer"
            time.sleep(0.5)


def contents() -> dict[str, Body]:
    """Every object of others as it is, without what controllers write by the minute."""
    kinds = (
        "namespaces,crds,deployments,services,configmaps,secrets,serviceaccounts,jobs,clusterroles,clusterrolebindings,"
        "roles,rolebindings,gatewayclasses,gateways,httproutes,envoyproxies.gateway.envoyproxy.io,"
        "validatingadmissionpolicies,validatingadmissionpolicybindings,mutatingwebhookconfigurations"
    )
    listed = json.loads(objects.kubectl("get", kinds, "--all-namespaces", "--output=json"))["items"]
    found = {}
    for body in listed:
        if "ttlSecondsAfterFinished" in body["spec" if "spec" in body else "metadata"]:
            # A Job that the cluster removes by itself.
            continue
        metadata = {
            key: value
            for key, value in body["metadata"].items()
            # A controller's own status moves the version, and a test that has put back what it changed the generation.
            if key not in ("resourceVersion", "managedFields", "generation")
        }
        name = f"{body['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
        found[name] = {**{key: value for key, value in body.items() if key != "status"}, "metadata": metadata}
    return found
