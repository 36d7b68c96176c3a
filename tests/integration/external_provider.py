# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A provider outside of what the collection deploys:

the odd provider of tests/fakes in a namespace of its own, and the inventory's entry for it.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import sys
import typing as t
import urllib.parse

import simulators
import yaml
from objects import kubectl

PROGRAM = pathlib.Path(__file__).resolve().parents[1] / "fakes/odd_provider"
VERSIONS = yaml.safe_load((PROGRAM.parents[2] / "roles/versions/vars/main.yml").read_text(encoding="utf-8"))
sys.path.append(str(PROGRAM))

from odd_answers import KINDS, OF_ANSWERS, OF_STREAMS, PREFIX, STATUSES  # noqa: E402

NAMESPACE = "outside"
NAME = "odd-provider"
#: Has to be in ai_gateway_allowed_endpoints, as it leads into the cluster.
HOSTNAME = f"{NAME}.{NAMESPACE}.svc.cluster.local"
PORT, TLS_PORT = 8000, 8443
#: That of the simulators on the embedded cluster.
IMAGE = f"localhost/egress-ai-gateway/python:{VERSIONS['versions_embedded_differences']['python']['version']}"
#: Each behaviour; each status with an error of OpenAI's API, and each kind of error with a status of the client and of
#: the provider.
MODELS = [
    PREFIX + name
    for name in (
        *OF_ANSWERS,
        *OF_STREAMS,
        *(f"error-{status}-json" for status in STATUSES),
        *(f"error-{status}-{kind}" for status in (400, 503) for kind in KINDS if kind != "json"),
    )
]

Document = dict[str, t.Any]


def manifests(certificate: t.Mapping[str, str] | None = None) -> list[Document]:
    """Return the objects of the odd provider; `certificate` is one for HOSTNAME, as catalogs.Authority issues it,
    without which there is no TLS.
    """
    metadata = {"name": NAME, "namespace": NAMESPACE}
    labels = {"app.kubernetes.io/name": NAME}
    program = {path.name: path.read_text(encoding="utf-8") for path in sorted(PROGRAM.glob("*.py"))}
    checksum = hashlib.sha256(json.dumps([program, dict(certificate or {})]).encode()).hexdigest()
    arguments = [f"--port={PORT}", "--admin-port=8001"]
    mounts: list[Document] = [{"name": "program", "mountPath": "/opt/odd", "readOnly": True}]
    volumes: list[Document] = [{"name": "program", "configMap": {"name": NAME}}]
    ports = {"http": PORT}
    if certificate:
        arguments += [f"--tls-port={TLS_PORT}", "--tls-certificate=/run/odd/tls.crt", "--tls-key=/run/odd/tls.key"]
        mounts.append({"name": "tls", "mountPath": "/run/odd", "readOnly": True})
        volumes.append({"name": "tls", "secret": {"secretName": NAME, "defaultMode": 0o440}})
        ports["https"] = TLS_PORT
    container = {
        "name": "provider",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-u", "-B", "/opt/odd/odd_provider.py"],
        "args": arguments,
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "fsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    deployment = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels, "annotations": {"checksum": checksum}}, "spec": pod},
    }
    # Both ports stay, so that the Service does not change with the certificate.
    service = {"selector": labels, "ports": [{"name": "http", "port": PORT}, {"name": "https", "port": TLS_PORT}]}
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    found: list[Document] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": enforced}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": program},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
    ]
    if certificate:
        data = {"tls.crt": certificate["certificate"], "tls.key": certificate["key"]}
        found.insert(
            1,
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": metadata,
                "type": "kubernetes.io/tls",
                "stringData": data,
            },
        )
    return found


def deploy(certificate: t.Mapping[str, str] | None = None) -> None:
    """Deploy the odd provider and wait until it answers; see manifests for `certificate`."""
    listed = {"apiVersion": "v1", "kind": "List", "items": manifests(certificate)}
    kubectl("apply", "--server-side", "--filename=-", document=json.dumps(listed))
    kubectl("rollout", "status", "--namespace", NAMESPACE, f"deployment/{NAME}", "--timeout=100s")


def remove() -> None:
    """Remove the odd provider with its namespace."""
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=100s")


def _admin(method: str, path: str) -> t.Any:
    answer = kubectl(
        "exec",
        "--namespace",
        NAMESPACE,
        f"deployment/{NAME}",
        "--",
        "python3",
        "-c",
        simulators.PROGRAM,
        method,
        path,
        "",
    )
    return json.loads(answer) if answer.strip() else None


def requests(model: str | None = None) -> list[Document]:
    """Return the last requests that the provider received, oldest first, those for `model` by the name it has there;
    its README says what is in one.
    """
    query = "?" + urllib.parse.urlencode({"model": model}) if model is not None else ""
    found: list[Document] = _admin("GET", f"/requests{query}")["requests"]
    return found


def keys() -> dict[bool, set[str]]:
    """Return the keys that the provider received since it was reset, by whether they came in TLS."""
    found: dict[bool, set[str]] = {False: set(), True: set()}
    for entry in _admin("GET", "/requests")["keys"]:
        found[entry["tls"]].add(entry["key"])
    return found


def reset() -> None:
    """Have the provider forget the requests."""
    _admin("POST", "/reset")


def provider(
    name: str = "odd",
    *,
    schema: str = "openai",
    key: str = "sk-odd-key-for-demo",
    models: t.Iterable[str] = MODELS,
    public: str = "{}",
    ca_bundle: str | None = None,
) -> Document:
    """Return the entry of ai_gateway_providers for the odd provider.

    :param models: names of models as the odd provider knows them.
    :param public: their names for clients, with {} for the name there; a second provider of the same models needs other
        names.
    :param ca_bundle: certificates in PEM to verify the provider's with; without them the connection is plain.
    """
    tls = {"mode": "simple", "ca_bundle": ca_bundle} if ca_bundle else {"mode": "none"}
    return {
        "name": name,
        "schema": schema,
        "simulated": False,
        "endpoint": {"hostname": HOSTNAME, "port": TLS_PORT if ca_bundle else PORT, "tls": tls},
        "credential": {"value": key},
        "models": [{"name": public.format(model), "provider_model": model} for model in models],
    }


def variables(*providers: Document) -> Document:
    """Return the variables of a catalogue with these entries, and what allows them."""
    return {"ai_gateway_providers": list(providers), "ai_gateway_allowed_endpoints": [HOSTNAME]}
