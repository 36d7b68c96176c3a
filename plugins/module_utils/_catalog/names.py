# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names and ports of what is made for providers and models, by the roles, KServe and wg-ai-gateway."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

#: The most characters of a DNS label.
LABEL_LIMIT = 63
SIMULATOR_SUFFIX = "-simulator"
SIMULATOR_PORT = 8000
#: What an endpoint picker is named by, and the port that the InferencePool's API has by default.
PICKER_SUFFIX = "-endpoint-picker"
PICKER_PORT = 9002
#: KServe names the Service of an LLMInferenceService so, cuts longer names, and has no setting for the port.
KSERVE_SUFFIX = "-kserve-workload-svc"
KSERVE_PORT = 8000
#: The only GatewayClass that wg-ai-gateway reconciles.
EGRESS_CLASS = "wg-ai-gateway"
#: That of its listener. Its proxies run without any privilege, so that it is none of the first 1024.
EGRESS_PORT = 8080
CREDENTIAL_SUFFIX = "-credential"
CA_BUNDLE_SUFFIX = "-ca-bundle"
#: What is made for an MCP server. No name that is made for a provider ends so.
MCP_SIMULATOR_SUFFIX = "-mcp-server"
MCP_CREDENTIAL_SUFFIX = "-mcp-key"
MCP_CA_BUNDLE_SUFFIX = "-mcp-ca"
#: What a Secret holds: a provider's key, certificates to verify with, and a certificate to present.
CREDENTIAL_KEY = "apiKey"
CA_BUNDLE_KEY = "ca.crt"
CLIENT_CERTIFICATE_KEYS = ("tls.crt", "tls.key")
# So much of a model's name is in that of its route.
_ROUTE_SLUG_LIMIT = 40


def slug(string: str) -> str:
    """The string as a DNS label, as far as that can be; empty where it has neither letter nor digit."""
    return re.sub(r"[^a-z0-9]+", "-", string.lower()).strip("-")


def ascii_hostname(hostname: str) -> str:
    """A host name with letters that DNS has not in the form that it has, ``xn--`` and their Punycode."""
    labels = unicodedata.normalize("NFC", hostname.lower()).split(".")
    return ".".join(label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in labels)


def service_hostname(service: str, namespace: str) -> str:
    """The DNS name of a Service inside the cluster."""
    return f"{service}.{namespace}.svc.cluster.local"


def egress_service(namespace: str, gateway: str) -> str:
    """The name that wg-ai-gateway gives to all that it makes for a Gateway."""
    return f"envoy-{gateway}" if namespace == "default" else f"envoy-{namespace}-{gateway}"


def named_after(name: str, hostname: str, port: int) -> str:
    """The name of what is made for a provider: ``name`` and a digest of where the provider is.

    So what has a key never gets another endpoint: until all have learnt of that, the old key would go to the new
    endpoint, or the new key to the old one.
    """
    return f"{name}.{hashlib.sha256(f'{hostname}:{port}'.encode()).hexdigest()[:8]}"


def pool_backend_name(namespace: str, name: str) -> str:
    """The name of the backend that an InferencePool is."""
    return f"inferencepool.{namespace}.{name}"


def route_name(model: str, backends: Sequence[str]) -> str:
    """The name of a route, a DNS label: what is readable of the model's public name, and a digest of that name and of
    the backends' names in their order.

    So the backends of a route never change. Envoy AI Gateway identifies a route's backends by their place, and it reads
    the route anew while Envoy Gateway may still have the previous backends: the key of one would go to another, and
    with one backend more than before, its controller crashes.
    """
    digest = hashlib.sha256("\n".join([model, *backends]).encode()).hexdigest()
    return f"{slug(model)[:_ROUTE_SLUG_LIMIT].rstrip('-')}-{digest[:8]}"
