# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the objects of Envoy AI Gateway that others made to the variables of a catalogue. Pure.

It reads no Secret: a policy names the Secret of a key, and so does the catalogue.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import quote
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import slug
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.refused_endpoints import danger
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.schemas import SCHEMAS
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import MODEL, PROVIDER
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.document import Note
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.headers import read_header

Body = Mapping[str, t.Any]

AI = "aigateway.envoyproxy.io/v1beta1"
ENVOY = "gateway.envoyproxy.io/v1alpha1"
ROUTE, SERVICE_BACKEND, SECURITY = "AIGatewayRoute", "AIServiceBackend", "BackendSecurityPolicy"
BACKEND, TLS, MCP = "Backend", "BackendTLSPolicy", "MCPRoute"
#: By kind, the API version to read it in. What comes after MCP has no counterpart, and is named alone.
KINDS: dict[str, str] = {
    "Gateway": "gateway.networking.k8s.io/v1",
    ROUTE: AI,
    SERVICE_BACKEND: AI,
    SECURITY: AI,
    BACKEND: ENVOY,
    TLS: "gateway.networking.k8s.io/v1",
    MCP: AI,
    "GatewayConfig": AI,
    "QuotaPolicy": "aigateway.envoyproxy.io/v1alpha1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "SecurityPolicy": ENVOY,
    "BackendTrafficPolicy": ENVOY,
    "ClientTrafficPolicy": ENVOY,
    "EnvoyExtensionPolicy": ENVOY,
    "EnvoyPatchPolicy": ENVOY,
}
_UNREAD = tuple(kind for kind in KINDS if kind not in ("Gateway", ROUTE, SERVICE_BACKEND, SECURITY, BACKEND, TLS, MCP))
_REASONS = {
    "SecurityPolicy": "who may call is in ai_gateway_callers and ai_gateway_tiers; write it there",
    "BackendTrafficPolicy": "limits are those of ai_gateway_tiers; write them there",
    "QuotaPolicy": "limits are those of ai_gateway_tiers; write them there",
    "HTTPRoute": "the gateway serves models and MCP servers alone",
}
MODEL_HEADER = "x-ai-eg-model"
#: Of routes that this collection made: which provider a path named.
_PROVIDER_HEADER = "x-ai-gateway-provider"
_SERVICE = re.compile(r"([a-z]([-a-z0-9]*[a-z0-9])?)\.([a-z0-9]([-a-z0-9]*[a-z0-9])?)\.svc\.cluster\.local")
_SCHEMAS = {schema.resource: name for name, schema in SCHEMAS.items()}
_POLICIES = {"APIKey": "apiKey", "AnthropicAPIKey": "anthropicAPIKey", "AzureAPIKey": "azureAPIKey"}
_HEADERS = {"APIKey": ("Authorization", "Bearer"), "AnthropicAPIKey": ("x-api-key", ""), "AzureAPIKey": ("api-key", "")}
#: What site makes of an AIServiceBackend and a route in any case.
_KNOWN = {
    SERVICE_BACKEND: ("schema", "backendRef", "headerMutation"),
    ROUTE: ("parentRefs", "rules", "llmRequestCosts"),
    "rule": ("matches", "backendRefs", "timeouts", "modelsOwnedBy", "modelsCreatedAt", "name"),
    "reference": ("name", "kind", "group", "weight", "priority", "modelNameOverride", "namespace"),
    BACKEND: ("type", "endpoints", "tls"),
}


@dataclass
class _Made:
    """What was made so far."""

    namespace: str
    notes: list[Note] = field(default_factory=list)
    providers: dict[str, dict[str, t.Any]] = field(default_factory=dict)
    models: list[dict[str, t.Any]] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)
    timeouts: dict[str, None] = field(default_factory=dict)

    def note(self, body: Body, reason: str, inside: str = "") -> None:
        self.notes.append(Note(named(body) + (f" {inside}" if inside else ""), reason))

    def name_rest(self, body: Body, part: Body, known: str, inside: str) -> None:
        """Name the fields that are not read."""
        for key in part:
            if key not in _KNOWN[known]:
                self.note(body, "has no counterpart in a catalogue", f"{inside}{key}")


def named(body: Body) -> str:
    """An object, for notes."""
    return f"{body['kind']} {body['metadata'].get('namespace', '')}/{body['metadata']['name']}"


def from_objects(
    objects: Mapping[str, Sequence[Body]], namespace: str, gateway: str
) -> tuple[dict[str, t.Any], list[Note]]:
    """The variables that the objects come to, and what has no counterpart.

    :param objects: by kind, the objects of the Gateway's namespace.
    :param namespace: that namespace.
    :param gateway: name of the Gateway.
    """
    made = _Made(namespace)
    served: dict[str, list[tuple[Body, Body]]] = {}
    for route in objects.get(ROUTE, ()):
        if _attached(route, gateway):
            _read_route(made, route, served)
        else:
            made.note(route, f"belongs to another Gateway than {gateway}")
    by_kind = {kind: {body["metadata"]["name"]: body for body in objects.get(kind, ())} for kind in KINDS}
    policies = _by_target(objects.get(SECURITY, ()))
    secured = _by_target(objects.get(TLS, ()))
    for name, backends in served.items():
        _place(made, name, backends, by_kind, policies, secured)
    for route in objects.get(MCP, ()):
        made.note(route, "its servers are not read; describe each in ai_gateway_mcp_servers")
    used = {reference["name"] for backends in served.values() for _route, reference in backends}
    for body in objects.get(SERVICE_BACKEND, ()):
        if body["metadata"]["name"] not in used:
            made.note(body, "no route that is read leads to it")
    for kind in _UNREAD:
        for body in objects.get(kind, ()):
            # What a controller made of another object, which is read.
            if body["metadata"].get("ownerReferences"):
                continue
            made.note(body, f"has no counterpart; {_REASONS.get(kind, 'site makes such objects of its own')}")
    for body in objects.get("Gateway", ()):
        if body["metadata"]["name"] == gateway:
            listeners = ", ".join(_listener(listener) for listener in body["spec"].get("listeners", ()))
            reason = (
                f"its listeners ({listeners}) are described by gateway_hostname, gateway_listeners and gateway_tls_*"
            )
            made.note(body, f"{reason}, and its proxies by gateway_service_type and gateway_replicas")
    reason = "objects do not say which users are of which tier; the role's default has free, premium and enterprise"
    made.notes.append(Note("ai_gateway_tiers", reason))
    return _variables(made), made.notes


def _variables(made: _Made) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    if made.providers:
        found["ai_gateway_providers"] = list(made.providers.values())
    if made.models:
        found["ai_gateway_models"] = made.models
    if made.allowed:
        found["ai_gateway_allowed_endpoints"] = made.allowed
    if len(made.timeouts) == 1:
        (found["providers_request_timeout"],) = made.timeouts
    elif made.timeouts:
        reason = (
            f"routes have the timeouts {', '.join(made.timeouts)}, and a catalogue has one, providers_request_timeout"
        )
        made.notes.append(Note(ROUTE, reason))
    return found


def _listener(listener: Body) -> str:
    return f"{listener.get('protocol', '')} {listener.get('hostname', '*')}:{listener.get('port', '')}"


def _attached(route: Body, gateway: str) -> bool:
    return any(reference.get("name") == gateway for reference in route["spec"].get("parentRefs", ()))


def _by_target(policies: Iterable[Body]) -> dict[tuple[str, str], Body]:
    """By kind and name of its target, the policy; the last one counts, as only one is accepted."""
    return {
        (target["kind"], target["name"]): policy
        for policy in policies
        for target in policy["spec"].get("targetRefs", ())
    }


def _read_route(made: _Made, route: Body, served: dict[str, list[tuple[Body, Body]]]) -> None:
    """Collect the backends of each public name."""
    made.name_rest(route, route["spec"], ROUTE, "")
    for cost in route["spec"].get("llmRequestCosts", ()):
        if cost.get("cel"):
            made.note(route, "costs are counted by ai_gateway_prices, and by no expression", "llmRequestCosts")
    for number, rule in enumerate(route["spec"].get("rules", ())):
        inside = f"rules[{number}]."
        made.name_rest(route, rule, "rule", inside)
        if (rule.get("timeouts") or {}).get("request"):
            made.timeouts[rule["timeouts"]["request"]] = None
        names = [name for match in rule.get("matches", ()) for name in _names(made, route, match, inside)]
        if not rule.get("matches"):
            made.note(route, "matches requests of any model, and a catalogue names each model", inside.rstrip("."))
        for reference in rule.get("backendRefs", ()):
            made.name_rest(route, reference, "reference", f"{inside}backendRefs.")
            for name in names:
                served.setdefault(name, []).append((route, reference))


def _names(made: _Made, route: Body, match: Body, inside: str) -> list[str]:
    """The public name that a match is for; none where it is for no single one."""
    headers = {header["name"].lower(): header for header in match.get("headers", ())}
    provider = headers.pop(_PROVIDER_HEADER, None)
    if provider is not None and provider.get("value") != "*":
        # The same models under the path of one provider, which site makes by itself.
        return []
    model = headers.pop(MODEL_HEADER, None)
    for header in headers:
        made.note(route, f"requests are not distinguished by header {quote(header)}", f"{inside}matches")
    if model is None:
        made.note(route, "matches requests of any model, and a catalogue names each model", f"{inside}matches")
        return []
    value = str(model.get("value", ""))
    if model.get("type", "Exact") != "Exact" or not MODEL.accepts(value):
        made.note(route, "matches a pattern of names, and a catalogue names each model", f"{inside}matches")
        return []
    return [value]


def _place(
    made: _Made,
    name: str,
    backends: Sequence[tuple[Body, Body]],
    by_kind: Mapping[str, Mapping[str, Body]],
    policies: Mapping[tuple[str, str], Body],
    secured: Mapping[tuple[str, str], Body],
) -> None:
    """Put a public model where it is served."""
    several = len(backends) > 1
    for route, reference in backends:
        if reference.get("kind") == "InferencePool":
            if several:
                made.note(route, f"{quote(name)} has an InferencePool among several backends, which cannot be")
                continue
            made.models.append({"name": name, "backend_ref": {"kind": "InferencePool", "name": reference["name"]}})
            continue
        service = by_kind[SERVICE_BACKEND].get(reference["name"])
        if service is None:
            made.note(route, f"leads to AIServiceBackend {reference['name']}, which does not exist")
            continue
        backend = by_kind[BACKEND].get((service["spec"].get("backendRef") or {}).get("name", ""))
        policy = policies.get((SERVICE_BACKEND, reference["name"]))
        if backend is None:
            made.note(service, "its backendRef is no Backend of its namespace")
            continue
        endpoint = _endpoint(made, backend, secured)
        if endpoint is None:
            continue
        override = reference.get("modelNameOverride")
        on_premises = _SERVICE.fullmatch(endpoint["hostname"])
        if policy is None and on_premises and not several and endpoint["tls"].get("mode") == "none":
            place = {"name": on_premises[1], "namespace": on_premises[3], "port": endpoint["port"]}
            renamed = {"provider_model": override} if override and override != name else {}
            made.models.append({"name": name, **renamed, "backend_ref": place})
            continue
        provider = _provider(made, service, policy, endpoint)
        if provider is None:
            continue
        if name in (model["name"] for model in provider["models"]):
            made.note(route, f"{quote(name)} has {named(service)} a second time, which cannot be")
            continue
        model: dict[str, t.Any] = {"name": name}
        if override and override != name:
            model["provider_model"] = override
        if several:
            model["weight"] = max(1, int(reference.get("weight", 1)))
            model["priority"] = int(reference.get("priority", 0))
        provider["models"].append(model)


def _endpoint(made: _Made, backend: Body, secured: Mapping[tuple[str, str], Body]) -> dict[str, t.Any] | None:
    made.name_rest(backend, backend["spec"], BACKEND, "")
    endpoints = backend["spec"].get("endpoints") or []
    if len(endpoints) != 1 or not (endpoints[0].get("fqdn") or endpoints[0].get("ip")):
        made.note(backend, "has not one host name or address as its endpoint, which a provider has")
        return None
    (found,) = endpoints
    hostname = found["fqdn"]["hostname"] if found.get("fqdn") else found["ip"]["address"]
    port = (found.get("fqdn") or found.get("ip"))["port"]
    tls = dict(backend["spec"].get("tls") or {})
    policy = secured.get((BACKEND, backend["metadata"]["name"]))
    if policy is not None:
        validation = policy["spec"].get("validation") or {}
        tls = {"sni": validation.get("hostname", ""), **tls, **validation}
    made_tls: dict[str, t.Any] = {"mode": "simple"} if tls else {"mode": "none"}
    if tls.get("insecureSkipVerify"):
        made.note(backend, "does not verify its certificate, which the catalogue does in any case", "tls")
    if tls.get("sni") and tls["sni"] != hostname:
        made_tls["sni"] = tls["sni"]
    for reference in tls.get("caCertificateRefs") or ():
        if reference.get("kind", "Secret") == "Secret":
            made_tls["ca_bundle"] = reference["name"]
        else:
            reason = f"write the certificates of {reference.get('kind')} {reference['name']} into tls.ca_bundle"
            made.note(backend, reason, "tls.caCertificateRefs")
    if tls.get("clientCertificateRef"):
        made_tls |= {"mode": "mutual", "client_certificate": tls["clientCertificateRef"]["name"]}
    return {"hostname": hostname, "port": port, "tls": made_tls}


def _provider(made: _Made, service: Body, policy: Body | None, endpoint: dict[str, t.Any]) -> dict[str, t.Any] | None:
    """The provider that an AIServiceBackend is, once."""
    key = service["metadata"]["name"]
    if key in made.providers:
        return made.providers[key]
    spec = service["spec"]
    made.name_rest(service, spec, SERVICE_BACKEND, "")
    schema = _SCHEMAS.get(spec["schema"]["name"])
    if schema is None:
        made.note(service, f"no catalogue has its schema {spec['schema']['name']}")
        return None
    # Without the digest of the endpoint that this collection puts behind the name.
    name = slug(re.sub(r"\.[0-9a-f]{8}$", "", key))
    if not PROVIDER.accepts(name) or name in (provider["name"] for provider in made.providers.values()):
        made.note(service, f"its name {quote(name)} is no name of a provider, or that of another")
        return None
    entry: dict[str, t.Any] = {"name": name, "schema": schema}
    if "api_version" in SCHEMAS[schema].needs and spec["schema"].get("version"):
        entry["api_version"] = spec["schema"]["version"]
    prefix = spec["schema"].get("prefix") or (
        f"/{spec['schema']['version'].strip('/')}" if schema == "openai" and spec["schema"].get("version") else ""
    )
    entry["endpoint"] = {**endpoint, **({"prefix": prefix} if prefix and SCHEMAS[schema].has_prefix else {})}
    credential = _credential(made, service, policy, entry)
    if credential is None:
        return None
    entry["credential"] = credential
    headers: dict[str, str] = {}
    for item in (spec.get("headerMutation") or {}).get("set") or ():
        read, problem = read_header(item["name"], item["value"])
        headers |= read
        if problem:
            made.note(service, f"was not copied: it {problem}", f"headerMutation.set.{item['name']}")
    if headers:
        entry["headers"] = headers
    problem = danger(endpoint["hostname"], (), (), ())
    if problem:
        made.allowed.append(endpoint["hostname"])
        made.note(service, f"{endpoint['hostname']} is in ai_gateway_allowed_endpoints now, as it {problem}")
    entry["models"] = []
    return made.providers.setdefault(key, entry)


def _credential(made: _Made, service: Body, policy: Body | None, entry: dict[str, t.Any]) -> dict[str, t.Any] | None:
    if policy is None:
        made.note(service, "has no BackendSecurityPolicy, and a provider has a key; write the name of its Secret")
        return {"secret": f"{entry['name']}-key"}
    spec = policy["spec"]
    kind = spec.get("type", "")
    if kind in _POLICIES:
        header, scheme = _HEADERS[kind]
        secret = _secret(made, policy, spec[_POLICIES[kind]].get("secretRef"))
        if SCHEMAS[entry["schema"]].key_header == (header, scheme):
            return {"secret": secret}
        return {"header": header, **({"scheme": scheme} if scheme else {}), "secret": secret}
    if kind == "AWSCredentials":
        found = spec["awsCredentials"]
        entry["region"] = found.get("region", "")
        if found.get("credentialsFile"):
            return {"form": "access_key", "secret": _secret(made, policy, found["credentialsFile"].get("secretRef"))}
        if not found.get("oidcExchangeToken"):
            return {"form": "workload_identity"}
        federation = _federation(found["oidcExchangeToken"])
        federation["federation"]["role_arn"] = found["oidcExchangeToken"].get("awsRoleArn", "")
        return federation
    if kind == "AzureCredentials":
        found = spec["azureCredentials"]
        identity = {"client_id": found.get("clientID", ""), "tenant_id": found.get("tenantID", "")}
        if found.get("clientSecretRef"):
            return {"form": "client_secret", **identity, "secret": _secret(made, policy, found["clientSecretRef"])}
        return {**_federation(found["oidcExchangeToken"]), **identity}
    if kind == "GCPCredentials":
        found = spec["gcpCredentials"]
        entry |= {"project": found.get("projectName", ""), "region": found.get("region", "")}
        if found.get("credentialsFile"):
            reference = found["credentialsFile"].get("secretRef")
            return {"form": "service_account_key", "secret": _secret(made, policy, reference)}
        pool = found.get("workloadIdentityFederationConfig")
        if not pool:
            return {"form": "workload_identity"}
        federation = _federation(pool["oidcExchangeToken"])
        account = (pool.get("serviceAccountImpersonation") or {}).get("serviceAccountName")
        federation["federation"] |= {
            "pool": pool.get("workloadIdentityPoolName", ""),
            "pool_provider": pool.get("workloadIdentityProviderName", ""),
            "project_number": pool.get("projectID", ""),
            **({"service_account": account} if account else {}),
        }
        return federation
    made.note(policy, f"no credential of a catalogue is of type {kind}")
    return None


def _federation(exchange: Body) -> dict[str, t.Any]:
    oidc = exchange["oidc"]
    scopes = list(oidc.get("scopes") or ())
    return {
        "form": "federation",
        "secret": (oidc.get("clientSecret") or {}).get("name", ""),
        "federation": {
            "issuer": oidc["provider"]["issuer"],
            "client_id": oidc.get("clientID", ""),
            **({"scopes": scopes} if scopes else {}),
        },
    }


def _secret(made: _Made, policy: Body, reference: Body | None) -> str:
    found = reference or {}
    if found.get("namespace", made.namespace) != made.namespace:
        made.note(policy, f"its Secret is in namespace {found['namespace']}; copy it into {made.namespace}")
    return str(found.get("name", ""))
