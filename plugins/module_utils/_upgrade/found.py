# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on a cluster before an upgrade, and the record of an earlier one."""

from __future__ import annotations

import base64
import gzip
import json
import typing as t
import zlib
from urllib.parse import urlsplit

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.module import read_objects
from ansible_collections.egress.ai_gateway.plugins.module_utils._upgrade.allowed import BUDGET, KINDS, check
from ansible_collections.egress.ai_gateway.plugins.module_utils._upgrade.manifests import (
    CANARY_LABEL,
    CONTROLLER,
    INSTANCE_LABEL,
    recorded,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._upgrade.versions import version_of

Body = dict[str, t.Any]

#: As the chart of Envoy AI Gateway calls its Deployment.
EXTENSION = "ai-gateway-controller"
#: One of the small CRDs of Envoy Gateway, and the release that role crds writes into it.
CRD = "backends.gateway.envoyproxy.io"
RELEASE_ANNOTATION = "egress.ai-gateway/release"
RECORD_KEY = "record"
#: Manifests of a release have some ten thousand bytes.
LARGEST_MANIFESTS = 4 * 1024 * 1024


def read(
    api: Api, namespace: str, gateway: str, gateway_namespace: str, ai_gateway_namespace: str, record: str
) -> Body:
    """Everything that an upgrade has to know of the cluster.

    :param namespace: that of Envoy Gateway and the proxies.
    :param record: name of the ConfigMap beside the Gateway with the record of an earlier upgrade.
    :raises ValueError: where that record cannot be read, or has objects that are not of Envoy Gateway.
    """
    deployment = _one(api, "apps/v1", "Deployment", namespace, CONTROLLER)
    instance = _instance(deployment)
    extension = _one(api, "apps/v1", "Deployment", ai_gateway_namespace, EXTENSION)
    owners = [
        f"gateway.envoyproxy.io/owning-gateway-name={gateway}",
        f"gateway.envoyproxy.io/owning-gateway-namespace={gateway_namespace}",
        f"!{CANARY_LABEL}",
    ]
    proxies = next(iter(_all(api, "apps/v1", "Deployment", namespace, owners)), None)
    services = _all(api, "v1", "Service", namespace, owners)
    custom = _one(api, "gateway.envoyproxy.io/v1alpha1", "EnvoyProxy", gateway_namespace, gateway)
    crd = _one(api, "apiextensions.k8s.io/v1", "CustomResourceDefinition", "", CRD)
    api_crd = _one(api, "apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "gateways.gateway.networking.k8s.io")
    images = {
        "envoy_gateway": _image(deployment, CONTROLLER),
        "envoy_ai_gateway": _image(extension),
        # What is asked for, not what a rollout has come to: a proxy that cannot start is to be replaced.
        "envoy": _wanted_proxy_image(custom) or _image(proxies, "envoy"),
    }
    return {
        "images": images,
        "versions": {name: version_of(image) for name, image in images.items()},
        "proxies": _slim(proxies) if proxies else {},
        "proxy_ports": [
            {"port": port["port"], "node_port": port.get("nodePort", 0), "target": port.get("targetPort")}
            for service in services
            for port in service["spec"]["ports"]
        ],
        "crds": {
            "envoy_gateway": _annotation(crd, RELEASE_ANNOTATION),
            "gateway_api": _annotation(api_crd, "gateway.networking.k8s.io/bundle-version"),
        },
        "manifests": recorded(_release(api, namespace, instance)),
        # Without a release of this collection there is nothing to go back from.
        "record": record_of(_one(api, "v1", "ConfigMap", gateway_namespace, record), namespace, instance)
        if instance
        else {},
    }


def _instance(deployment: Body | None) -> str:
    """The name of the chart's release."""
    return str(((deployment or {}).get("metadata", {}).get("labels") or {}).get(INSTANCE_LABEL, ""))


def _release(api: Api, namespace: str, instance: str) -> list[Body]:
    """The objects of Envoy Gateway's chart."""
    if not instance:
        return []
    found = [body for version, kind in KINDS for body in _all(api, version, kind, "", [f"{INSTANCE_LABEL}={instance}"])]
    budget = _one(api, *BUDGET, namespace, CONTROLLER)
    return [*found, *([budget] if budget else [])]


def proxy_port(ports: t.Iterable[t.Mapping[str, t.Any]], url: str) -> int:
    """The port of a proxy's container behind a URL of the gateway; 0 where there is none."""
    parts = urlsplit(url)
    wanted = parts.port or (443 if parts.scheme == "https" else 80)
    for key in ("node_port", "port"):
        for port in ports:
            if port.get(key) == wanted and isinstance(port.get("target"), int):
                return int(port["target"])
    return 0


def packed(manifests: t.Sequence[Body]) -> str:
    """Manifests as a short string for a record."""
    return base64.b64encode(gzip.compress(json.dumps(manifests, sort_keys=True).encode(), mtime=0)).decode()


def unpacked(content: str) -> list[Body]:
    """The manifests of such a string.

    Raises ValueError or zlib.error for another one, and for one that is too long.
    """
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    text = decoder.decompress(base64.b64decode(content), LARGEST_MANIFESTS)
    if not decoder.eof:
        raise ValueError(f"its manifests are cut off, or have more than {LARGEST_MANIFESTS} bytes")
    manifests = json.loads(text)
    if not isinstance(manifests, list) or not all(isinstance(manifest, dict) for manifest in manifests):
        raise ValueError("its manifests are no list of objects")
    return manifests


def record_of(config_map: Body | None, namespace: str, instance: str) -> Body:
    """What a record says, with its manifests; empty where there is none.

    :param namespace: that of Envoy Gateway.
    :param instance: name of the chart's release.
    :raises ValueError: where it cannot be read, or has objects that are not of Envoy Gateway.
    """
    data = (config_map or {}).get("data") or {}
    if not data:
        return {}
    try:
        record = json.loads(data[RECORD_KEY])
        if not all(isinstance(record["images"][name], str) for name in ("envoy_gateway", "envoy")):
            raise ValueError("its images are no strings")
        manifests = unpacked(data["manifests"])
        check(manifests, namespace, instance)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"the record of an earlier upgrade cannot be read: {error}") from error
    return {**record, "manifests": manifests}


def _slim(body: Body) -> Body:
    metadata = {key: body["metadata"][key] for key in ("name", "namespace")}
    return {"metadata": metadata, "spec": body["spec"], "status": body.get("status", {})}


def _annotation(body: Body | None, name: str) -> str:
    return str(((body or {}).get("metadata", {}).get("annotations") or {}).get(name, ""))


def _image(body: Body | None, container: str = "") -> str:
    """The image of the container of this name in a Deployment, or of its first."""
    if not body:
        return ""
    containers = body["spec"]["template"]["spec"]["containers"]
    return next((str(entry["image"]) for entry in containers if container in ("", entry["name"])), "")


def _wanted_proxy_image(custom: Body | None) -> str:
    node: t.Any = custom or {}
    for key in ("spec", "provider", "kubernetes", "envoyDeployment", "container", "image"):
        node = node.get(key) or {}
    return node if isinstance(node, str) else ""


def _one(api: Api, version: str, kind: str, namespace: str, name: str) -> Body | None:
    return next(iter(read_objects(api, _query(version, kind, namespace, name, []))), None)


def _all(api: Api, version: str, kind: str, namespace: str, labels: list[str]) -> list[Body]:
    # Items of a list do not say what they are.
    return [
        {**body, "apiVersion": version, "kind": kind}
        for body in read_objects(api, _query(version, kind, namespace, "", labels))
    ]


def _query(version: str, kind: str, namespace: str, name: str, labels: list[str]) -> Body:
    return {
        "api_version": version,
        "kind": kind,
        "namespace": namespace,
        "name": name,
        "label_selectors": labels,
        "field_selectors": [],
    }
