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
PORT, TLS_PORT, HTTP2_PORT = 8000, 8443, 8444
#: That of the simulators on the embedded cluster.
IMAGE = f"localhost/egress-ai-gateway/python:{VERSIONS['versions_embedded_differences']['python']['version']}"
#: What speaks HTTP/2 in front of the odd provider.
ENVOY_IMAGE = f"localhost/egress-ai-gateway/envoy:{VERSIONS['versions_envoy']}"
HTTP2_ARGUMENTS = [
    "--config-path",
    "/opt/odd/envoy.json",
    "--disable-hot-restart",
    "--concurrency",
    "1",
    "--log-level",
    "warn",
]
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


def http2_front() -> Document:
    """Configuration of an Envoy that speaks HTTP/2 in TLS, and nothing else, in front of the odd provider, and adds
    nothing to its requests.
    """
    types = "type.googleapis.com/envoy.extensions"
    files = {"certificate_chain": {"filename": "/run/odd/tls.crt"}, "private_key": {"filename": "/run/odd/tls.key"}}
    tls = {
        "@type": f"{types}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"alpn_protocols": ["h2"], "tls_certificates": [files]},
    }
    route = {
        "match": {"prefix": "/"},
        "route": {"cluster": "provider", "timeout": "0s"},
    }
    router = {"@type": f"{types}.filters.http.router.v3.Router", "suppress_envoy_headers": True}
    manager = {
        "@type": f"{types}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "codec_type": "HTTP2",
        "generate_request_id": False,
        "skip_xff_append": True,
        "preserve_external_request_id": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    chain = {
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
    }

    def address(host: str, port: int) -> Document:
        return {"socket_address": {"address": host, "port_value": port}}

    endpoint = {"endpoint": {"address": address("127.0.0.1", PORT)}}
    provider = {
        "name": "provider",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "provider", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listener = {"name": "front", "address": address("0.0.0.0", HTTP2_PORT), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [provider]}}


def manifests(certificate: t.Mapping[str, str] | None = None) -> list[Document]:
    """Return the objects of the odd provider; `certificate` is one for HOSTNAME, as catalogs.Authority issues it,
    without which there is neither TLS nor HTTP/2.
    """
    metadata = {"name": NAME, "namespace": NAMESPACE}
    labels = {"app.kubernetes.io/name": NAME}
    program = {path.name: path.read_text(encoding="utf-8") for path in sorted(PROGRAM.glob("*.py"))}
    program["envoy.json"] = json.dumps(http2_front())
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
    common = {
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    containers = [
        {
            **common,
            "name": "provider",
            "image": IMAGE,
            "command": ["python3", "-u", "-B", "/opt/odd/odd_provider.py"],
            "args": arguments,
            "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
            "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
        }
    ]
    if certificate:
        containers.append(
            {
                **common,
                "name": "http2",
                "image": ENVOY_IMAGE,
                "command": ["envoy"],
                "args": HTTP2_ARGUMENTS,
                "ports": [{"name": "http2", "containerPort": HTTP2_PORT}],
                "readinessProbe": {"tcpSocket": {"port": "http2"}, "periodSeconds": 1},
            }
        )
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
        "containers": containers,
        "volumes": volumes,
    }
    deployment = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels, "annotations": {"checksum": checksum}}, "spec": pod},
    }
    # All ports stay, so that the Service does not change with the certificate.
    served = {"http": PORT, "https": TLS_PORT, "http2": HTTP2_PORT}
    service = {"selector": labels, "ports": [{"name": name, "port": port} for name, port in served.items()]}
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
    http2: bool = False,
) -> Document:
    """Return the entry of ai_gateway_providers for the odd provider.

    :param models: names of models as the odd provider knows them.
    :param public: their names for clients, with {} for the name there; a second provider of the same models needs other
        names.
    :param ca_bundle: certificates in PEM to verify the provider's with; without them the connection is plain.
    :param http2: whether the provider, behind TLS, speaks HTTP/2 alone.
    """
    port = HTTP2_PORT if http2 else TLS_PORT if ca_bundle else PORT
    tls = {"mode": "simple", "ca_bundle": ca_bundle} if ca_bundle else {"mode": "none"}
    return {
        "name": name,
        "schema": schema,
        "simulated": False,
        "endpoint": {"hostname": HOSTNAME, "port": port, "tls": tls},
        "credential": {"value": key},
        "models": [{"name": public.format(model), "provider_model": model} for model in models],
    }


def variables(*providers: Document) -> Document:
    """Return the variables of a catalogue with these entries, and what allows them."""
    return {"ai_gateway_providers": list(providers), "ai_gateway_allowed_endpoints": [HOSTNAME]}
