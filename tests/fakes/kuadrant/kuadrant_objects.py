# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kinds that the operator reads and makes, and how one object is named."""

from __future__ import annotations

import hashlib
import typing as t

Object = dict[str, t.Any]

#: Kind, namespace and name.
Key = tuple[str, str, str]


class Kind(t.NamedTuple):
    name: str
    api_version: str
    plural: str

    def path(self, namespace: str = "", name: str = "", part: str = "") -> str:
        """The path of one object, of a part of it, or of all objects of the kind in a namespace or, without one, in the
        cluster.
        """
        steps = ["/apis", self.api_version, *(["namespaces", namespace] if namespace else []), self.plural, name, part]
        return "/".join(step for step in steps if step)


GATEWAY_API = "gateway.networking.k8s.io"
ENVOY_GATEWAY = "gateway.envoyproxy.io"

KINDS = {
    kind.name: kind
    for kind in (
        Kind("GatewayClass", f"{GATEWAY_API}/v1", "gatewayclasses"),
        Kind("Gateway", f"{GATEWAY_API}/v1", "gateways"),
        Kind("HTTPRoute", f"{GATEWAY_API}/v1", "httproutes"),
        Kind("Kuadrant", "kuadrant.io/v1beta1", "kuadrants"),
        Kind("AuthPolicy", "kuadrant.io/v1", "authpolicies"),
        Kind("RateLimitPolicy", "kuadrant.io/v1", "ratelimitpolicies"),
        Kind("TokenRateLimitPolicy", "kuadrant.io/v1alpha1", "tokenratelimitpolicies"),
        Kind("AuthConfig", "authorino.kuadrant.io/v1beta3", "authconfigs"),
        Kind("Backend", f"{ENVOY_GATEWAY}/v1alpha1", "backends"),
        Kind("SecurityPolicy", f"{ENVOY_GATEWAY}/v1alpha1", "securitypolicies"),
        Kind("EnvoyExtensionPolicy", f"{ENVOY_GATEWAY}/v1alpha1", "envoyextensionpolicies"),
        Kind("BackendTrafficPolicy", f"{ENVOY_GATEWAY}/v1alpha1", "backendtrafficpolicies"),
    )
}
POLICIES = ("AuthPolicy", "RateLimitPolicy", "TokenRateLimitPolicy")
#: In the order in which they are written; they are deleted in the reverse.
MADE = ("AuthConfig", "Backend", "SecurityPolicy", "EnvoyExtensionPolicy", "BackendTrafficPolicy")

#: What this operator made carries this label, and what carries it and is no longer wanted is deleted.
MADE_LABEL = ("app.kubernetes.io/managed-by", "kuadrant-operator-double")
_LONGEST_NAME = 253


def key_of(item: Object) -> Key:
    metadata = item["metadata"]
    return item["kind"], metadata.get("namespace", ""), metadata["name"]


def age(item: Object) -> tuple[str, str, str]:
    """What sorts objects from the oldest to the newest, and those of one second by their names."""
    metadata = item["metadata"]
    return metadata.get("creationTimestamp", ""), metadata.get("namespace", ""), metadata["name"]


def bounded(name: str) -> str:
    """The name, shortened where it would be too long for an object."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 13]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def made(kind: str, namespace: str, name: str, spec: Object) -> Object:
    label, value = MADE_LABEL
    metadata = {"name": bounded(name), "namespace": namespace, "labels": {label: value}}
    return {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": metadata, "spec": spec}
