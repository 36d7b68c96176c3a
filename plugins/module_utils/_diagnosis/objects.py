# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a snapshot keeps of each object of the API server: fields by name, and no value that may be a secret. Pure."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import re
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.secrets import parse_path

Body = dict[str, t.Any]

#: The name of the semantic router's objects, and of its container.
ROUTER = "semantic-router"
_CONDITIONS = ("status.conditions",)
_PARENTS = ("spec.parentRefs", "status.parents")
_ANCESTORS = ("spec.targetRef", "spec.targetRefs", "spec.targetSelectors", "status.ancestors")
_PROXY_LABELS = (
    "gateway.envoyproxy.io/owning-gateway-name",
    "gateway.envoyproxy.io/owning-gateway-namespace",
)

#: By API group and kind, the fields that are kept. Whatever is not named here never gets into a snapshot.
KEPT: dict[str, dict[str, tuple[str, ...]]] = {
    "gateway.networking.k8s.io": {
        "GatewayClass": ("spec.controllerName", *_CONDITIONS),
        "Gateway": (
            "spec.gatewayClassName",
            "spec.listeners",
            "status.conditions",
            "status.listeners",
            "status.addresses",
        ),
        "HTTPRoute": (
            *_PARENTS,
            "spec.hostnames",
            "spec.rules[*].name",
            "spec.rules[*].backendRefs[*].group",
            "spec.rules[*].backendRefs[*].kind",
            "spec.rules[*].backendRefs[*].name",
            "spec.rules[*].backendRefs[*].namespace",
        ),
        "BackendTLSPolicy": (*_ANCESTORS, "spec.validation.hostname"),
    },
    "gateway.envoyproxy.io": {
        "Backend": ("spec.type", "spec.endpoints", *_CONDITIONS),
        "SecurityPolicy": (*_ANCESTORS, "spec.extAuth.grpc.backendRefs", "spec.extAuth.http.backendRefs"),
        "BackendTrafficPolicy": (
            *_ANCESTORS,
            "spec.rateLimit.type",
            "spec.rateLimit.global.rules[*].cost",
            "spec.rateLimit.global.rules[*].limit",
            "spec.rateLimit.global.rules[*].name",
        ),
        "ClientTrafficPolicy": _ANCESTORS,
        "EnvoyExtensionPolicy": _ANCESTORS,
        "EnvoyPatchPolicy": (*_ANCESTORS, "spec.jsonPatches[*].operation.value.name"),
    },
    "aigateway.envoyproxy.io": {
        "AIGatewayRoute": (
            "spec.parentRefs",
            "spec.hostnames",
            "spec.llmRequestCosts[*].metadataKey",
            "spec.rules[*].matches[*].headers",
            "spec.rules[*].backendRefs[*].group",
            "spec.rules[*].backendRefs[*].kind",
            "spec.rules[*].backendRefs[*].name",
            "spec.rules[*].backendRefs[*].namespace",
            "spec.rules[*].backendRefs[*].modelNameOverride",
            *_CONDITIONS,
        ),
        "AIServiceBackend": ("spec.schema.name", "spec.backendRef", *_CONDITIONS),
        "BackendSecurityPolicy": (
            "spec.type",
            "spec.targetRefs",
            "spec.apiKey.secretRef",
            "spec.anthropicAPIKey.secretRef",
            "spec.azureAPIKey.secretRef",
            "spec.awsCredentials.credentialsFile.secretRef",
            "spec.gcpCredentials.credentialsFile.secretRef",
            "spec.azureCredentials.clientSecretRef",
            "spec.awsCredentials.oidcExchangeToken.oidc.clientSecret",
            "spec.azureCredentials.oidcExchangeToken.oidc.clientSecret",
            "spec.gcpCredentials.workloadIdentityFederationConfig.oidcExchangeToken.oidc.clientSecret",
            *_CONDITIONS,
        ),
        "MCPRoute": (
            "spec.parentRefs",
            "spec.backendRefs[*].name",
            "spec.backendRefs[*].namespace",
            "spec.backendRefs[*].forwardHeaders[*].name",
            "spec.backendRefs[*].securityPolicy.apiKey.secretRef",
            *_CONDITIONS,
        ),
        "QuotaPolicy": (
            "spec.targetRefs",
            "spec.perModelQuotas[*].modelName",
            "spec.serviceQuota.quota.limit",
            "spec.perModelQuotas[*].quota.bucketRules[*].shadowMode",
            *_CONDITIONS,
        ),
        "GatewayConfig": ("spec.globalLLMRequestCosts[*].metadataKey", *_CONDITIONS),
    },
    "inference.networking.k8s.io": {
        "InferencePool": ("spec.selector", "spec.targetPorts", "spec.endpointPickerRef", "status.parents"),
    },
    "authorino.kuadrant.io": {
        "AuthConfig": ("spec.hosts", *_CONDITIONS, "status.summary.ready"),
    },
    "apps": {
        "Deployment": (
            "spec.replicas",
            "spec.selector",
            "status.availableReplicas",
            "status.readyReplicas",
            "status.conditions",
        ),
    },
    "discovery.k8s.io": {"EndpointSlice": ("endpoints[*].conditions", "endpoints[*].targetRef")},
    "admissionregistration.k8s.io": {
        "MutatingWebhookConfiguration": (
            "webhooks[*].name",
            "webhooks[*].clientConfig.service",
            "webhooks[*].failurePolicy",
            "webhooks[*].namespaceSelector",
            "webhooks[*].objectSelector",
        ),
    },
    "": {
        "Namespace": (),
        "Service": ("spec.selector", "spec.ports", "spec.type"),
        "Pod": (
            "spec.containers[*].name",
            "spec.containers[*].image",
            "spec.initContainers[*].name",
            "spec.initContainers[*].image",
            "status.phase",
            "status.reason",
            "status.conditions",
            "status.containerStatuses",
            "status.initContainerStatuses",
        ),
        "Secret": (),
        "ConfigMap": (),
        "Event": ("involvedObject", "reason", "message", "type", "count", "lastTimestamp", "eventTime"),
    },
}

#: Arguments of programs that rules read. The others are not kept, as some hold secrets.
_ARGUMENTS = re.compile(
    r"^--?(maxRecvMsgSize|watchNamespaces|envoyGatewayNamespace|evaluator-cache-size|quotaRateLimitServiceAddr|"
    r"quotaRateLimitFailureModeDeny|pool-?[Nn]amespace|pool-?[Nn]ame)(=.*)?$"
)
#: Annotations that rules read.
_ANNOTATIONS = re.compile(r"^(gateway\.envoyproxy\.io/ai-gateway-generated|applyset\.kubernetes\.io/.*)$")
#: Names and versions of API groups and of Envoy Gateway's settings that rules read, of its configuration in YAML.
_SETTINGS = ("controllerName", "enableBackend", "enableEnvoyPatchPolicy", "maxMessageSize", "failOpen")


def kept(body: Body) -> Body:
    """What a snapshot keeps of an object of one of KEPT."""
    group = body["apiVersion"].rpartition("/")[0]
    metadata = body.get("metadata") or {}
    result: Body = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": _kept_metadata(metadata)}
    for path in KEPT[group][body["kind"]]:
        _copy(body, result, parse_path(path))
    special = _SPECIAL.get(body["kind"])
    if special:
        result.update(special(body))
    return result


def _kept_metadata(metadata: Body) -> Body:
    names = ("name", "namespace", "generation", "creationTimestamp", "deletionTimestamp")
    result = {name: metadata[name] for name in names if metadata.get(name)}
    result["labels"] = dict(metadata.get("labels") or {})
    annotations = {
        name: value for name, value in (metadata.get("annotations") or {}).items() if _ANNOTATIONS.match(name)
    }
    if annotations:
        result["annotations"] = annotations
    owners = [{"kind": owner["kind"], "name": owner["name"]} for owner in metadata.get("ownerReferences") or ()]
    if owners:
        result["owners"] = owners
    managers = sorted(
        {
            str(entry.get("manager", ""))
            for entry in metadata.get("managedFields") or ()
            if not entry.get("subresource") and "f:spec" in (entry.get("fieldsV1") or {})
        }
    )
    if managers:
        # Those of fields of the specification.
        result["managers"] = managers
    return result


def _copy(source: t.Any, target: t.Any, path: tuple[str | None, ...]) -> None:
    """Copy what a path of names and items leads to."""
    if not isinstance(source, dict) or path[0] not in source:
        return
    name, rest = t.cast(str, path[0]), path[1:]
    value = source[name]
    if not rest:
        target[name] = value
    elif rest[0] is None:
        if not isinstance(value, list):
            return
        items = target.setdefault(name, [{} for _item in value])
        for item, place in zip(value, items):
            if len(rest) > 1:
                _copy(item, place, rest[1:])
    else:
        _copy(value, target.setdefault(name, {}), rest)


def _secret(body: Body) -> Body:
    """Names and sizes of its keys, and what its certificate says."""
    data = body.get("data") or {}
    result: Body = {"type": body.get("type", ""), "keys": {key: _size(value) for key, value in data.items()}}
    for key in ("tls.crt", "ca.crt"):
        if key in data:
            result.setdefault("certificates", {})[key] = certificates(_decoded(data[key]))
    if "tls.crt" in data and "tls.key" in data:
        result["fits"] = _fits(_decoded(data["tls.crt"]), _decoded(data["tls.key"]))
    return result


def _config_map(body: Body) -> Body:
    """Of the configurations of Envoy Gateway and of the semantic router what rules read; of others nothing."""
    data = body.get("data") or {}
    if "envoy-gateway.yaml" in data:
        return {"envoy_gateway": envoy_gateway_settings(data["envoy-gateway.yaml"])}
    if body["metadata"]["name"] == ROUTER and "config.yaml" in data:
        found = semantic_router_settings(data["config.yaml"])
        return {} if found is None else {"semantic_router": found}
    return {}


def semantic_router_settings(text: str) -> Body | None:
    """The endpoint of each model, the model of each decision, and the default; None for what is no JSON of this
    collection.
    """
    try:
        config = json.loads(text)
        return {
            "models": {model["name"]: model["backend_refs"][0]["endpoint"] for model in config["providers"]["models"]},
            "decisions": [
                [decision["name"], reference["model"]]
                for decision in config["routing"]["decisions"]
                for reference in decision["modelRefs"]
            ],
            "default": config["providers"]["defaults"]["model"],
        }
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def envoy_gateway_settings(text: str) -> Body:
    """The settings that rules read, of Envoy Gateway's configuration, which has one key a line.

    A parser of YAML would have to be brought along for it.
    """
    found: Body = {}
    for name in _SETTINGS:
        match = re.search(rf"^\s*{name}:\s*[\"']?([^\s\"'#]+)", text, re.M)
        if match:
            found[name] = match.group(1)
    top = {match.group(1): match.start() for match in re.finditer(r"^(\w+):", text, re.M)}
    found["sections"] = sorted(top)
    block = _block(text, "extensionManager")
    found["hooks"] = bool(re.search(r"^\s+xdsTranslator:", block, re.M))
    found["translation"] = bool(re.search(r"^\s+-?\s*[\"']?Translation[\"']?\s*$|\[.*Translation.*\]", block, re.M))
    found["resources"] = sorted(set(re.findall(r"kind:\s*[\"']?(\w+)", block)))
    match = re.search(r"^\s*(?:hostname|host):\s*[\"']?([^\s\"'#]+)", block, re.M)
    found["extension"] = match.group(1) if match else ""
    return found


def _block(text: str, name: str) -> str:
    """The lines of a section of the first level."""
    match = re.search(rf"^{name}:.*\n((?:[ \t].*\n|\s*\n|- .*\n)*)", text if text.endswith("\n") else text + "\n", re.M)
    return match.group(1) if match else ""


def _auth_config(body: Body) -> Body:
    """Whether it caches anything; its rules are not kept."""
    specification = body.get("spec") or {}
    caches = any(
        isinstance(entry, dict) and "cache" in entry
        for phase in ("authentication", "metadata", "authorization")
        for entry in (specification.get(phase) or {}).values()
    )
    return {"caches": caches}


def _webhooks(body: Body) -> Body:
    """With what its CA bundle holds."""
    bundles = [
        certificates(_decoded((webhook.get("clientConfig") or {}).get("caBundle") or ""))
        for webhook in body.get("webhooks") or ()
    ]
    return {"bundles": bundles}


def _deployment(body: Body) -> Body:
    pod = (body["spec"].get("template") or {}).get("spec") or {}
    return {
        "containers": [
            {
                "name": container.get("name", ""),
                "image": container.get("image", ""),
                "arguments": [
                    argument
                    for argument in map(str, [*(container.get("command") or ()), *(container.get("args") or ())])
                    if _ARGUMENTS.match(argument)
                ],
            }
            for container in [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]
        ],
        "secrets": sorted(
            str(volume["secret"].get("secretName", ""))
            for volume in pod.get("volumes") or ()
            if isinstance(volume.get("secret"), dict)
        ),
    }


_SPECIAL: dict[str, t.Callable[[Body], Body]] = {
    "Secret": _secret,
    "ConfigMap": _config_map,
    "AuthConfig": _auth_config,
    "MutatingWebhookConfiguration": _webhooks,
    "Deployment": _deployment,
}


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value)
    except (binascii.Error, ValueError):
        return b""


def _size(value: str) -> int:
    return len(_decoded(value))


def certificates(pem: bytes) -> list[Body]:
    """What the certificates of a PEM say: subject, issuer, dns names, times, and identifiers of keys.

    Empty where the library cryptography is missing or nothing can be read.
    """
    try:
        from cryptography import x509
    except ImportError:
        return []
    try:
        loaded = x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []
    found = []
    for certificate in loaded:
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            dns = [str(name) for name in names.get_values_for_type(x509.DNSName)]
            dns += [str(name) for name in names.get_values_for_type(x509.IPAddress)]
        except (x509.ExtensionNotFound, ValueError):
            dns = []
        found.append(
            {
                "subject": certificate.subject.rfc4514_string(),
                "issuer": certificate.issuer.rfc4514_string(),
                "names": dns,
                "not_before": _time(certificate.not_valid_before_utc),
                "not_after": _time(certificate.not_valid_after_utc),
                "fingerprint": certificate.fingerprint(_sha256()).hex(),
                "signed_by": "",
            }
        )
    return found


def _sha256() -> t.Any:
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA256()


def _time(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _fits(certificate: bytes, key: bytes) -> bool | None:
    """Whether a private key is that of the first certificate; None where one of them cannot be read."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
    except ImportError:
        return None
    try:
        public = x509.load_pem_x509_certificates(certificate)[0].public_key()
        own = serialization.load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError, IndexError):
        return None
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return bool(public.public_bytes(*form) == own.public_bytes(*form))


def verifies(bundle: bytes, certificate: bytes) -> bool | None:
    """Whether a certificate of ``bundle`` has issued the first of ``certificate``, or is it."""
    try:
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature
    except ImportError:
        return None
    try:
        authorities = x509.load_pem_x509_certificates(bundle)
        leaf = x509.load_pem_x509_certificates(certificate)[0]
    except (ValueError, IndexError):
        return None
    for authority in authorities:
        if authority == leaf:
            return True
        try:
            leaf.verify_directly_issued_by(authority)
            return True
        except (ValueError, TypeError, InvalidSignature):
            continue
    return False


def add_trust(webhooks: t.Sequence[Body], raw_webhooks: t.Sequence[Body], secrets: t.Sequence[Body]) -> None:
    """Note on each kept webhook configuration which Secrets of its Service's namespace its CA bundle verifies.

    :param raw_webhooks: the same configurations as the API server returned them, in the same order.
    :param secrets: Secrets as the API server returned them.
    """
    for configuration, raw in zip(webhooks, raw_webhooks):
        trust = []
        for webhook in raw.get("webhooks") or ():
            client = webhook.get("clientConfig") or {}
            bundle = _decoded(client.get("caBundle") or "")
            namespace = (client.get("service") or {}).get("namespace", "")
            trust.append(
                {
                    secret["metadata"]["name"]: verifies(bundle, _decoded((secret.get("data") or {})["tls.crt"]))
                    for secret in secrets
                    if secret["metadata"].get("namespace") == namespace and "tls.crt" in (secret.get("data") or {})
                }
            )
        configuration["trust"] = trust
