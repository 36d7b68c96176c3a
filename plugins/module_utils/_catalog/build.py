# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalogue of an AI gateway: its providers, models and tiers, checked as a whole.

``build`` turns the inventory's variables into a ``Catalog`` or raises ``CatalogError`` with every fault it found.
Nothing here reads files, calls an API or keeps a credential's value.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.endpoints import (
    Network,
    address,
    danger,
    network,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import (
    LABEL_LIMIT,
    CatalogError,
    Entry,
    Fault,
    Rule,
    listing,
    quote,
    type_name,
    unique,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import (
    BackendRef,
    Catalog,
    Credential,
    EgressGateway,
    Endpoint,
    ExternalSecret,
    IdentityKey,
    Limit,
    MaasApi,
    Model,
    ModelBackend,
    Provider,
    ProviderModel,
    Route,
    RouteBackend,
    Tier,
    Tls,
    plain,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import (
    CERTIFICATE_BLOCK,
    CERTIFICATES,
    CREDENTIAL_KEY,
    CREDENTIAL_SUFFIX,
    ENDPOINT,
    GROUP,
    HEADER,
    HEADER_VALUE,
    HOSTNAME,
    KEY,
    LABEL,
    MODEL,
    NETWORK,
    OBJECT,
    PATH_PREFIX,
    PROVIDER,
    REMOTE_KEY,
    SCHEME,
    SECRET,
    SERVICE_NAME,
    SIMULATOR_SUFFIX,
    UPSTREAM,
    slug,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.network_policy import (
    Destination,
    to_inference_service,
    to_namespace,
    to_namespaces,
    to_outside,
    to_pods,
    to_simulators,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.secrets import needed_secrets
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.stacks import (
    AUTHORINO,
    EGRESS_CLASS,
    EGRESS_PORT,
    ENVOY_AI_GATEWAY,
    KUADRANT,
    PLATFORMS,
    POLICY_ENGINES,
    STACKS,
    WG_AI_GATEWAY,
    check_cell,
    check_kuadrant,
    check_second_gateway,
    default_engine,
    egress_service,
)

PREFIX = "ai_gateway_"
SCHEMAS = ("openai", "anthropic")
TLS_MODES = ("none", "simple", "mutual")
BACKEND_KINDS = ("Service", "InferencePool", "LLMInferenceService")
# What the roles of this version have templates for; the rest is refused before anything is written.
RENDERED_BACKEND_KINDS = ("Service", "LLMInferenceService")
# A rate limit service counts in whole units; Gateway API writes a day as 24h.
WINDOWS = {"1s": "Second", "1m": "Minute", "1h": "Hour", "24h": "Day"}

# Still accepted in place of provider_model.
FORMER_PROVIDER_MODEL = "upstream_name"

PROVIDER_KEYS = ("name", "schema", "simulated", "endpoint", "credential", "headers", "models")

INPUTS = (
    "platform",
    "stack",
    "policy_engine",
    "namespace",
    "name",
    "maas_gateway_namespace",
    "egress_gateway",
    "egress_namespace",
    "maas_api",
    "maas_api_namespace",
    "simulators_namespace",
    "envoy_gateway_namespace",
    "authorino_namespace",
    "providers",
    "models",
    "tiers",
    "allowed_endpoints",
    "cluster_networks",
    "uncounted_tokens",
    "allow_empty",
)
# Variables of the role that are not part of the catalogue, and the fact it sets.
OTHER_VARIABLES = (
    "kubeconfig",
    "context",
    "helm_binary",
    "offline_directory",
    "controller_name",
    "controller_replicas",
    "request_body_limit",
    "catalog",
)

SIMULATOR_PORT = 8000
# KServe names the Service of an LLMInferenceService so, cuts longer names, and has no setting for the port.
KSERVE_SUFFIX = "-kserve-workload-svc"
KSERVE_PORT = 8000
TLS_KEYS = ("mode", "sni", "ca_bundle", "client_certificate")
CA_BUNDLE_SUFFIX = "-ca-bundle"
EXTERNAL_SECRET_STORES = ("SecretStore", "ClusterSecretStore")
# Envoy numbers priorities from 0 and the rate limit service counts in 32 bits.
PRIORITY_LIMIT = 127
WEIGHT_LIMIT = 1_000_000
AMOUNT_LIMIT = 2**32 - 1
# What an answer costs of which no tokens can be counted: so many tokens at the most, or this word for reckoning them
# from its bytes.
UNCOUNTED_LIMIT = 10_000_000
ESTIMATED = "estimated"
# A BackendTrafficPolicy holds so many rules.
RATE_LIMIT_RULES = 256
# So much of a model's name is in that of its route.
ROUTE_SLUG_LIMIT = 40
# What header x-ai-gateway-provider says where the path names no end. No provider has that name.
ANY_END = "*"

# The limits that a tier or some of its models may have, what each counts, and under which key its amount stands.
LIMITS = {
    "token_limit": ("total_tokens", "tokens"),
    "input_token_limit": ("input_tokens", "tokens"),
    "output_token_limit": ("output_tokens", "tokens"),
    "request_limit": ("requests", "requests"),
}

# What Envoy AI Gateway's BackendSecurityPolicy can inject: APIKey, AnthropicAPIKey and AzureAPIKey.
ENVOY_CREDENTIAL_FORMS = (("authorization", "bearer"), ("x-api-key", ""), ("api-key", ""))
RESERVED_HEADERS = (
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "x-maas-user",
    "x-maas-tier",
    "x-ai-eg-model",
    "x-ai-gateway-provider",
    "x-ai-gateway-api",
)
# Headers that carry a key have their place in `credential`, where they stay out of manifests.
KEY_HEADERS = r"authori[sz]ation|cookie|api-?key|token|secret|password|credential|-key$"


def build(inputs: Mapping[str, t.Any], defined: Iterable[str] = ()) -> Catalog:
    """Check the inventory and build its catalogue.

    :param inputs: the values of ``INPUTS``, named without the prefix ``ai_gateway_``.
    :param defined: names of all variables in scope; one that nearly is a variable of the role is a fault.
    :raises CatalogError: with all faults.
    """
    faults: list[Fault] = []
    root = Entry(plain(dict(inputs)), "ai_gateway", INPUTS, faults, prefix=PREFIX)
    _misspelt_variables(defined, faults)

    platform = root.choice("platform", PLATFORMS, "kubernetes")
    stack = root.choice("stack", STACKS, "envoy_ai_gateway")
    engine = root.choice("policy_engine", POLICY_ENGINES, default_engine(platform, stack))
    check_cell(stack, engine, root)
    two_gateways = stack == WG_AI_GATEWAY
    namespace = root.text("namespace", LABEL, "ai-gateway")
    gateway = root.text("name", LABEL, "maas-default-gateway" if two_gateways else "ai-gateway")
    maas_gateway_namespace = root.text("maas_gateway_namespace", LABEL, "openshift-ingress")
    gateway_namespace = maas_gateway_namespace if engine == KUADRANT else namespace
    egress_gateway = root.text("egress_gateway", LABEL, "egress-gateway")
    egress_namespace = root.text("egress_namespace", LABEL, f"{namespace}-egress")
    if two_gateways and egress_namespace in (namespace, gateway_namespace):
        problem = f"{quote(egress_namespace)} holds routes of the clients' gateway, and wg-ai-gateway takes all routes where it may write for its own"
        root.fault("egress_namespace", problem, "write another: it is the egress gateway's alone")
    service = egress_service(egress_namespace, egress_gateway)
    if two_gateways and len(service) > LABEL_LIMIT:
        excess = len(service) - LABEL_LIMIT
        root.fault(
            "egress_gateway",
            f"its Service {service} has {len(service)} characters",
            f"shorten it or {PREFIX}egress_namespace by {excess}",
        )
    maas_api = MaasApi(root.flag("maas_api", two_gateways), root.text("maas_api_namespace", LABEL, "opendatahub"))
    simulators_namespace = root.text("simulators_namespace", LABEL, "external-models")
    if two_gateways and egress_namespace == simulators_namespace:
        root.fault(
            "egress_namespace",
            f"{quote(egress_namespace)} is the simulators' namespace",
            "write another: that goes away with the simulators",
        )
    uncounted_tokens = _uncounted_tokens(root)
    if namespace and namespace == simulators_namespace:
        root.fault(
            "simulators_namespace",
            f"{quote(namespace)} is the gateway's own namespace",
            "write another: it goes away with the simulators",
        )
    controllers = [
        root.text("envoy_gateway_namespace", LABEL, "envoy-gateway-system"),
        root.text("authorino_namespace", LABEL, "authorino"),
    ]
    for key, name in (
        ("namespace", namespace),
        ("egress_namespace", egress_namespace),
        ("simulators_namespace", simulators_namespace),
    ):
        if name and name in controllers:
            root.fault(
                key,
                f"{quote(name)} is a namespace of the controllers",
                "write another: each set of objects has its own",
            )

    provider_entries: list[tuple[Entry, Provider, list[tuple[Entry, ProviderModel]]]] = []
    guard = _Guard(root, (namespace, egress_namespace, simulators_namespace, *controllers))
    egress_hostname = f"{service}.{egress_namespace}.svc.cluster.local"
    for entry in root.entries("providers", PROVIDER_KEYS):
        served = list(_provider_models(entry))
        provider = _provider(entry, tuple(model for _entry, model in served), engine, simulators_namespace, guard)
        if two_gateways:
            provider = replace(
                provider, bridge=Endpoint(egress_hostname, EGRESS_PORT, Tls("none"), prefix=f"/{provider.name}/v1")
            )
        provider_entries.append((entry, provider, served))
    unique(
        ((entry.at("name"), provider.name) for entry, provider, _served in provider_entries),
        "name",
        "give each provider its own",
        faults,
    )
    if two_gateways:
        check_second_gateway(provider_entries)
    models = _models(root, provider_entries, namespace, simulators_namespace, stack, engine)
    tiers = _tiers(root, gateway, [model.name for model in models])
    if two_gateways and engine == KUADRANT:
        check_kuadrant(provider_entries, models, tiers, faults)
    rules = sum(len(tier.limits) for _path, tier in tiers)
    if rules > RATE_LIMIT_RULES:
        root.fault(
            "tiers",
            f"has {rules} limits, those of single models counted each",
            f"write at most {RATE_LIMIT_RULES}: one policy holds no more",
        )
    for path, tier in tiers:
        if tier.namespace in (namespace, egress_namespace, simulators_namespace, *controllers):
            faults.append(
                Fault(
                    path, f"its namespace {tier.namespace} has another use already", "rename the tier or that namespace"
                )
            )
    if not root.flag("allow_empty", True):
        if not faults and not models:
            root.fault("providers", "has no model to serve", "write at least one provider with a model")
        if not faults and not tiers:
            root.fault("tiers", "is empty, so that nobody could call", "write at least one tier")

    if faults:
        raise CatalogError(faults)
    providers = [provider for _entry, provider, _served in provider_entries]
    to_providers = _to_providers(providers, simulators_namespace, guard)
    to_models = _to_models(models, simulators_namespace)
    behind = (
        EgressGateway(
            egress_gateway, egress_namespace, EGRESS_CLASS, service, egress_hostname, EGRESS_PORT, tuple(to_providers)
        )
        if two_gateways
        else None
    )
    before = [to_pods("egress-gateway", egress_namespace, {"app": service})] if two_gateways else to_providers
    to_maas_api = [to_namespace("maas-api", maas_api.namespace)] if maas_api.enabled else []
    return Catalog(
        platform=platform,
        stack=stack,
        policy_engine=engine,
        namespace=namespace,
        name=gateway,
        audience=f"{gateway}-sa",
        identity_key=IdentityKey(controllers[0], f"{namespace}.{gateway}.identity-key"),
        gateway_namespace=gateway_namespace,
        egress_gateway=behind,
        maas_api=maas_api,
        simulators_namespace=simulators_namespace,
        uncounted_tokens=uncounted_tokens,
        providers=tuple(providers),
        models=models,
        tiers=tuple(tier for _path, tier in tiers),
        secrets=needed_secrets(providers, models, namespace, egress_namespace if two_gateways else ""),
        egress=_once([*before, *to_models, *to_maas_api]),
    )


def route_name(model: str, ends: Sequence[str]) -> str:
    """The name of a route, a DNS label: the model's public name as far as it is readable there, and a digest of that
    and of the backends' names in their order.

    So the backends of a route never change. Envoy AI Gateway tells a route's backends by their place, as it reads the
    route anew while Envoy Gateway may still have the backends from before: the key of one would go to another, and
    where there is one more than before, its controller ends.
    """
    digest = hashlib.sha256("\n".join([model, *ends]).encode()).hexdigest()
    return f"{slug(model)[:ROUTE_SLUG_LIMIT].rstrip('-')}-{digest[:8]}"


def named_after(name: str, hostname: str, port: int) -> str:
    """The name of what is made for a provider, with a digest of where the provider is.

    So what has a key never gets another place: until all have learnt of that, the old key would go there, or the new
    key to the old place.
    """
    return f"{name}.{hashlib.sha256(f'{hostname}:{port}'.encode()).hexdigest()[:8]}"


def _routes(model: str, ends: Sequence[ModelBackend], backends: Mapping[str, str]) -> tuple[Route, ...]:
    """One for all paths where one end serves the model; else one for the paths that name none, and one for each that is
    named.

    :param backends: the names of the providers' backends.
    """
    found = tuple(
        RouteBackend(backends.get(end.name, end.name), end.provider_model, end.weight, end.priority) for end in ends
    )
    shared = route_name(model, [backend.name for backend in found])
    if len(ends) == 1:
        return (Route(shared, (ANY_END, ends[0].name), found),)
    own = [
        Route(f"{route_name(model, [backend.name])}.{end.name}", (end.name,), (replace(backend, weight=1, priority=0),))
        for end, backend in zip(ends, found)
    ]
    return (Route(shared, (ANY_END,), found), *own)


def _uncounted_tokens(root: Entry) -> int:
    if root.value.get("uncounted_tokens") in (None, ESTIMATED):
        return 0
    return root.integer("uncounted_tokens", 1, UNCOUNTED_LIMIT, why=f", or {ESTIMATED}") or 0


def _to_providers(providers: Sequence[Provider], simulators_namespace: str, guard: _Guard) -> list[Destination]:
    outside = [(provider.endpoint.hostname, provider.endpoint.port) for provider in providers if not provider.simulated]
    found = to_outside(outside, guard.networks, guard.allowed)
    found += to_namespaces(hostname for hostname, _port in outside)
    if any(provider.simulated for provider in providers):
        found.append(to_simulators(simulators_namespace, SIMULATOR_PORT))
    return found


def _to_models(models: Sequence[Model], simulators_namespace: str) -> list[Destination]:
    """Where the models on the premises are."""
    references = {
        backend.name: backend.backend_ref
        for model in models
        for backend in model.backends
        if backend.backend_ref is not None
    }
    real = [reference for reference in references.values() if not reference.simulator]
    found = to_namespaces(reference.hostname for reference in real if reference.kind == "Service")
    found += [
        to_inference_service(reference.namespace, reference.name, KSERVE_PORT)
        for reference in real
        if reference.kind == "LLMInferenceService"
    ]
    if len(real) < len(references):
        found.append(to_simulators(simulators_namespace, SIMULATOR_PORT))
    return found


def _once(destinations: Sequence[Destination]) -> tuple[Destination, ...]:
    return tuple({destination.name: destination for destination in destinations}.values())


def _misspelt_variables(defined: Iterable[str], faults: list[Fault]) -> None:
    known = [PREFIX + name for name in (*INPUTS, *OTHER_VARIABLES)]
    for name in sorted(name for name in defined if name.startswith(PREFIX) and name not in known):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if near:
            faults.append(Fault(name, "is not a variable of this collection", f"did you mean `{near[0]}`?"))


class _Guard:
    """Which endpoints may not be called, from ``allowed_endpoints``, ``cluster_networks`` and the names of the
    gateway's namespaces.
    """

    def __init__(self, root: Entry, namespaces: Sequence[str]) -> None:
        self.namespaces = namespaces
        found = (
            [_network(root, path, text) for path, text in root.texts("cluster_networks", NETWORK)]
            if root.value.get("cluster_networks")
            else []
        )
        self.networks = [known for known in found if known is not None]
        self.allowed = (
            [text for _path, text in root.texts("allowed_endpoints", ENDPOINT)]
            if root.value.get("allowed_endpoints")
            else []
        )

    def check(self, entry: Entry, hostname: str) -> None:
        problem = danger(hostname, self.namespaces, self.networks, self.allowed) if hostname else ""
        if problem:
            remedy = f"write the provider's public name, or add this one to {PREFIX}allowed_endpoints if it is meant"
            entry.fault("hostname", f"{quote(hostname)} {problem}", remedy)


def _network(root: Entry, path: str, text: str) -> Network | None:
    found = network(text)
    if found is None:
        root.faults.append(
            Fault(
                path,
                f"{quote(text)} is no range of addresses",
                "write one such as 10.96.0.0/12, without bits set after the prefix",
            )
        )
    return found


def _provider(
    entry: Entry, models: tuple[ProviderModel, ...], engine: str, simulators_namespace: str, guard: _Guard
) -> Provider:
    name = entry.text("name", PROVIDER)
    schema = entry.choice("schema", SCHEMAS)
    simulated = entry.flag("simulated", False)
    endpoint = (
        Endpoint(f"{name}{SIMULATOR_SUFFIX}.{simulators_namespace}.svc.cluster.local", SIMULATOR_PORT, Tls("none"))
        if simulated
        else None
    )
    if entry.has("endpoint"):
        endpoint = _endpoint(entry.entry("endpoint", ("hostname", "port", "prefix", "tls")), name, endpoint, guard)
    elif not simulated:
        entry.missing("endpoint", "hostname, port and tls of the provider, or `simulated: true`", unless="simulated")
    endpoint = endpoint or Endpoint("", 0, Tls("none"))
    backend = named_after(name, endpoint.hostname, endpoint.port)
    if endpoint.tls.ca_certificates:
        endpoint = replace(endpoint, tls=replace(endpoint.tls, ca_bundle=backend + CA_BUNDLE_SUFFIX))
    credential = _credential(
        entry, named_after(name + CREDENTIAL_SUFFIX, endpoint.hostname, endpoint.port), schema, simulated, engine
    )
    return Provider(name, schema, simulated, endpoint, credential, _headers(entry), models, backend)


def _endpoint(entry: Entry, provider: str, simulator: Endpoint | None, guard: _Guard) -> Endpoint:
    """The endpoint as written.

    A simulator stands in for one with a host name; without one, it is the simulator's that is described.
    """
    if simulator is None or entry.has("hostname"):
        text = entry.value.get("hostname")
        found = address(text) if isinstance(text, str) else None
        hostname = str(found) if found is not None else entry.text("hostname", HOSTNAME)
        if simulator is None:
            guard.check(entry, hostname)
    else:
        found, hostname = None, simulator.hostname
    tls = Tls("simple", sni=hostname)
    if entry.has("tls"):
        tls = _tls(entry.entry("tls", TLS_KEYS), provider, hostname, found is not None)
    elif simulator is not None:
        tls = simulator.tls
    elif found is not None and not entry.faulty("hostname"):
        entry.fault(
            "tls",
            "is missing, and an address is no name to verify",
            "write `sni` (the name in the certificate) in it, or mode none",
        )
    default = simulator.port if simulator is not None else 80 if tls.mode == "none" else 443
    port = entry.integer("port", 1, 65535, default=default)
    prefix = entry.text("prefix", PATH_PREFIX, Endpoint.prefix)
    if simulator is not None and entry.has("hostname"):
        return simulator
    return Endpoint(hostname, port or 0, tls, found is not None, prefix)


def _tls(entry: Entry, backend: str, hostname: str, is_address: bool = False, default: str = "simple") -> Tls:
    mode = entry.choice("mode", TLS_MODES, default)
    sni = entry.text("sni", HOSTNAME, "" if is_address else hostname)
    ca_bundle, ca_certificates = _ca_bundle(entry, backend)
    client_certificate = entry.text("client_certificate", OBJECT, "")
    if mode == "none":
        for key in ("sni", "ca_bundle", "client_certificate"):
            if entry.has(key):
                entry.fault(key, "has no meaning with mode none", "leave it out, or write mode simple")
        return Tls(mode)
    if is_address:
        entry.missing("sni", "the name in the certificate: an address is no name to verify")
    if mode == "mutual" and not entry.has("client_certificate"):
        entry.fault(
            "client_certificate",
            "is missing",
            "write the name of the Secret of type kubernetes.io/tls that mode mutual presents",
        )
    if mode == "simple" and entry.has("client_certificate"):
        entry.fault("client_certificate", "is only presented with mode mutual", "write mode mutual, or leave it out")
    return Tls(mode, sni, ca_bundle, ca_certificates, client_certificate)


def _ca_bundle(entry: Entry, backend: str) -> tuple[str, str]:
    """The name of the object with the certificates, and the certificates themselves if they are written here."""
    text = entry.value.get("ca_bundle")
    if isinstance(text, str) and "-----" in text:
        blocks = re.findall(CERTIFICATE_BLOCK, entry.text("ca_bundle", CERTIFICATES))
        return backend + CA_BUNDLE_SUFFIX, "".join(f"{block}\n" for block in blocks)
    return entry.text("ca_bundle", OBJECT, ""), ""


def _headers(provider: Entry) -> dict[str, str]:
    """Headers that every request to the provider carries besides its key."""
    headers: dict[str, str] = {}
    value = provider.value.get("headers")
    if value is None:
        return headers
    if not isinstance(value, Mapping):
        provider.fault("headers", f"is {type_name(value)}", "write a mapping of names of headers and their values")
        return headers
    entry = Entry(value, provider.at("headers"), list(value), provider.faults)
    for name in value:
        if not isinstance(name, str) or not HEADER.accepts(name):
            entry.fault(str(name), "is no name of an HTTP header", f"write {HEADER.remedy}")
        elif re.search(KEY_HEADERS, name.lower()):
            entry.fault(name, "carries a key", "write the key in `credential`, from where it goes into a Secret")
        elif name.lower() in RESERVED_HEADERS:
            entry.fault(name, "has another meaning on the way to the provider", "leave it out")
        else:
            headers[name.lower()] = entry.text(name, HEADER_VALUE)
    return headers


def _credential(provider: Entry, own_secret: str, schema: str, simulated: bool, engine: str) -> Credential:
    missing = Credential("", "", "", CREDENTIAL_KEY, False)
    sources = "`secret` (the name of a Secret that exists), `value` (a lookup) or `external_secret`"
    if not provider.has("credential"):
        provider.missing("credential", f"{sources} in it")
        return missing
    entry = provider.entry("credential", ("header", "scheme", "secret", "value", "external_secret"))
    if not entry.readable:
        return missing
    header = entry.text("header", HEADER, "x-api-key" if schema == "anthropic" else "Authorization")
    scheme = (
        ""
        if entry.value.get("scheme") == ""
        else entry.text("scheme", SCHEME, "Bearer" if header.lower() == "authorization" else "")
    )
    if header.lower() in RESERVED_HEADERS:
        entry.fault(
            "header",
            f"{header} has another meaning on the way to the provider",
            "write the header that the provider reads its key from",
        )
    elif (
        engine == AUTHORINO
        and not entry.faulty("header", "scheme")
        and (header.lower(), scheme.lower()) not in ENVOY_CREDENTIAL_FORMS
    ):
        entry.fault(
            "header",
            "Envoy AI Gateway cannot send a key in this header and scheme",
            "write header Authorization with scheme Bearer, or header x-api-key or api-key without scheme",
        )

    secret = entry.text("secret", SECRET, "")
    entry.text("value", KEY, "")
    external_secret = (
        _external_secret(entry.entry("external_secret", ("store", "kind", "key", "property")))
        if entry.has("external_secret")
        else None
    )
    given = [key for key in ("secret", "value", "external_secret") if entry.has(key)]
    if len(given) > 1:
        entry.fault(
            "", f"has {listing([f'`{key}`' for key in given])}", "keep one of them: the place that the key comes from"
        )
    elif simulated and "value" not in given:
        entry.missing("value", "the key that the simulator shall accept (a simulated provider needs it, not a Secret)")
    elif not given and not entry.faulty("secret", "value", "external_secret"):
        entry.fault("", "does not say where the key comes from", f"write {sources}")
    return Credential(header, scheme, secret or own_secret, CREDENTIAL_KEY, "value" in given, external_secret)


def _external_secret(entry: Entry) -> ExternalSecret:
    return ExternalSecret(
        entry.text("store", OBJECT),
        entry.choice("kind", EXTERNAL_SECRET_STORES, "SecretStore"),
        entry.text("key", REMOTE_KEY),
        entry.text("property", REMOTE_KEY, ""),
    )


def _provider_model(entry: Entry, default: str) -> str:
    """The name that the provider has for a model, under its key or the former one."""
    if entry.has(FORMER_PROVIDER_MODEL) and entry.has("provider_model"):
        entry.fault(
            FORMER_PROVIDER_MODEL, "is the former name of `provider_model`, which is written too", "leave it out"
        )
    key = FORMER_PROVIDER_MODEL if entry.has(FORMER_PROVIDER_MODEL) else "provider_model"
    return entry.text(key, UPSTREAM, default)


def _provider_models(provider: Entry) -> Iterator[tuple[Entry, ProviderModel]]:
    provider.missing("models", "a list of the models that the provider serves")
    if provider.value.get("models") == []:
        provider.fault("models", "is empty", "list at least one model that the provider serves")
    names: list[tuple[str, str]] = []
    for entry in provider.entries("models", ("name", "provider_model", FORMER_PROVIDER_MODEL, "weight", "priority")):
        name = entry.text("name", MODEL)
        names.append((entry.at("name"), name))
        yield (
            entry,
            ProviderModel(
                name,
                _provider_model(entry, name),
                entry.integer("weight", 1, WEIGHT_LIMIT, required=False),
                entry.integer("priority", 0, PRIORITY_LIMIT, required=False),
            ),
        )
    unique(names, "name", "list each model of a provider once", provider.faults)


def _models(
    root: Entry,
    provider_entries: Sequence[tuple[Entry, Provider, list[tuple[Entry, ProviderModel]]]],
    namespace: str,
    simulators_namespace: str,
    stack: str,
    engine: str,
) -> tuple[Model, ...]:
    """All public models in the order of the catalogue: the providers' first, then the on-premises ones."""
    served: dict[str, list[tuple[str, ProviderModel, ModelBackend]]] = {}
    addresses = {provider.name for _entry, provider, _models in provider_entries if provider.endpoint.address}
    schema_of = {provider.name: provider.schema for _entry, provider, _models in provider_entries}
    for _entry, provider, models in provider_entries:
        listed = set()
        for entry, model in models:
            if not model.name or model.name in listed:
                continue
            listed.add(model.name)
            backend = ModelBackend(
                provider.name, provider.name, None, model.provider_model, model.weight or 1, model.priority or 0
            )
            served.setdefault(model.name, []).append((entry.path, model, backend))
    # Where one provider alone may serve a model, that is a fault already.
    for name, ends in served.items() if stack == ENVOY_AI_GATEWAY else ():
        schemas = {schema_of[backend.provider] for _path, _model, backend in ends if backend.provider} - {""}
        if len(schemas) > 1:
            root.faults.append(
                Fault(
                    ends[0][0],
                    f"the providers of {quote(name)} speak {listing(sorted(schemas))}, and a request of one cannot be sent to the other",
                    "give the model another public name at one of them",
                )
            )
        elif len(ends) > 1 and (
            by_address := [path for path, _model, backend in ends if backend.provider in addresses]
        ):
            # Envoy AI Gateway cannot tell such ends of a model apart: one would get the key of another, or the caller's
            # token.
            root.faults.append(
                Fault(
                    by_address[0],
                    f"{quote(name)} has several providers, and this one is reached by an address",
                    "write the host name of its endpoint",
                )
            )
        else:
            _sharing(name, ends, root.faults)

    own: dict[str, ModelBackend] = {}
    names: list[tuple[str, str]] = []
    # What each object and each simulator is already used for, with the path of that.
    described: dict[str, tuple[str, BackendRef]] = {}
    # What the path /<namespace>/<name> leads to.
    roads: dict[tuple[str, str], str] = {}
    simulators = {
        provider.name + SIMULATOR_SUFFIX: (entry.path, "")
        for entry, provider, _served in provider_entries
        if provider.simulated
    }
    for entry in root.entries("models", ("name", "provider_model", FORMER_PROVIDER_MODEL, "simulated", "backend_ref")):
        name = entry.text("name", MODEL)
        names.append((entry.at("name"), name))
        reference = _backend_ref(entry, name, namespace, simulators_namespace, engine)
        backend = ModelBackend(
            _backend_name(reference),
            None,
            reference,
            _provider_model(entry, _served_name(reference) or name),
        )
        if name in served:
            entry.fault(
                "name",
                f"{quote(name)} is also the model {served[name][0][0]} of a provider",
                "give one of them another public name",
            )
            continue
        own.setdefault(name, backend)
        if not reference.name:
            continue
        if reference.namespace == "external":
            entry.fault(
                "backend_ref",
                "its path begins with /external/, as those of providers do",
                "write an object of another namespace",
            )
        elif roads.setdefault((reference.namespace, reference.name), backend.name) != backend.name:
            road = f"/{reference.namespace}/{reference.name}"
            entry.fault(
                "backend_ref", f"the path {road} leads to another object already", "write an object of another name"
            )
        path, first = described.setdefault(backend.name, (entry.path, reference))
        if first != reference:
            problem = f"{reference.kind} {reference.namespace}/{reference.name} is described in another way by {path}"
            entry.fault("backend_ref", problem, "write the same `simulated` and `backend_ref` in both")
        elif reference.simulator:
            # Models share a simulator where they name the object that it stands in for.
            stands_for = backend.name if entry.has("backend_ref") else entry.path
            path, other = simulators.setdefault(reference.simulator, (entry.path, stands_for))
            if other != stands_for:
                remedy = "write a `backend_ref` with another name: the simulator is named after it"
                entry.fault("", f"its simulator {reference.simulator} is also that of {path}", remedy)
    unique(names, "name", "give each model its own", root.faults)

    found = [(name, tuple(backend for _path, _model, backend in ends)) for name, ends in served.items()]
    found += [(name, (backend,)) for name, backend in own.items()]
    backend_names = {provider.name: provider.backend for _entry, provider, _models in provider_entries}
    return tuple(Model(name, ends, _routes(name, ends, backend_names)) for name, ends in found)


def _sharing(name: str, ends: Sequence[tuple[str, ProviderModel, ModelBackend]], faults: list[Fault]) -> None:
    """A model with several providers needs a rule at each of them, and priorities count from 0 without a gap."""
    if len(ends) == 1:
        return
    paths = [path for path, _model, _backend in ends]
    without = [path for path, model, _backend in ends if model.weight is None and model.priority is None]
    if without:
        others = listing([path for path in paths if path != without[0]])
        faults.append(
            Fault(
                without[0],
                f"{quote(name)} is served by {others} too and nothing says which one to use",
                "write `weight` or `priority` in each of them",
            )
        )
        return
    priorities = sorted({backend.priority for _path, _model, backend in ends})
    if priorities != list(range(len(priorities))):
        shown = listing([str(priority) for priority in priorities])
        faults.append(
            Fault(
                f"{paths[0]}.priority",
                f"the providers of {quote(name)} ({listing(paths)}) have the priorities {shown}",
                "count them from 0 (used first) without a gap",
            )
        )


def _backend_ref(model: Entry, name: str, namespace: str, simulators_namespace: str, engine: str) -> BackendRef:
    """What serves a model: the object that is named, or the simulator that stands in for it."""
    simulated = model.flag("simulated", False)
    if simulated and engine == KUADRANT:
        problem = f"with engine {KUADRANT} the way to a model on the premises is the route that KServe makes"
        model.fault("simulated", problem, "leave it out, and write the LLMInferenceService as `backend_ref`")
    if not model.has("backend_ref"):
        if not simulated:
            remedy = "kind, name, namespace and, for a Service, port of what serves the model, or `simulated: true`"
            model.missing("backend_ref", remedy, unless="simulated")
            return BackendRef("", "", "")
        reference = BackendRef("Service", slug(name) + SIMULATOR_SUFFIX, simulators_namespace)
        return _simulated(reference, model, "name", name, simulators_namespace)
    entry = model.entry("backend_ref", ("kind", "name", "namespace", "port", "tls", "spec"))
    kind = entry.choice("kind", BACKEND_KINDS, "Service")
    if kind and kind not in RENDERED_BACKEND_KINDS:
        entry.fault(
            "",
            f"models behind an object of kind {kind} are not available in this version",
            f"take the model out of {PREFIX}models",
        )
    if kind == "Service" and engine == KUADRANT:
        problem = f"with engine {KUADRANT} the way to a model on the premises is the route that KServe makes"
        entry.fault("kind", problem, "write kind LLMInferenceService")
    name_rule = SERVICE_NAME if kind == "LLMInferenceService" else OBJECT
    reference = BackendRef(kind, entry.text("name", name_rule), entry.text("namespace", LABEL, namespace))
    if kind != "Service" and entry.has("port"):
        entry.fault("port", f"is not taken from here: {kind or 'the object'} knows its own", "leave it out")
    for key, kinds in (("tls", ("Service", "LLMInferenceService")), ("spec", ("LLMInferenceService",))):
        if kind and kind not in kinds and entry.has(key):
            entry.fault(key, f"has no meaning with kind {kind}", "leave it out")
    if kind == "Service":
        reference = _reached(entry, reference, reference.name, entry.integer("port", 1, 65535))
    elif kind == "LLMInferenceService" and engine == KUADRANT:
        if entry.has("tls"):
            entry.fault(
                "tls",
                f"is not used with engine {KUADRANT}: the MaaS gateway calls the model as KServe says",
                "leave it out",
            )
        reference = replace(reference, spec=_spec(entry))
    elif kind == "LLMInferenceService":
        reference = replace(_reached(entry, reference, reference.name + KSERVE_SUFFIX, KSERVE_PORT), spec=_spec(entry))
    return (
        _simulated(reference, entry, "name", reference.name, simulators_namespace)
        if simulated and reference.name
        else reference
    )


def _simulated(reference: BackendRef, entry: Entry, key: str, name: str, simulators_namespace: str) -> BackendRef:
    """The reference with a simulator at its end, which is named after it; what is said of the real end is kept for
    later.
    """
    simulator = slug(name) + SIMULATOR_SUFFIX
    if name and not PROVIDER.accepts(slug(name)):
        problem = f"the simulator cannot be named {quote(simulator)} after it: that is no name of a Service"
        entry.fault(
            key,
            problem,
            f"write a `backend_ref` with a name of up to {PROVIDER.limit} characters that starts with a letter",
        )
    hostname = f"{simulator}.{simulators_namespace}.svc.cluster.local"
    return replace(reference, hostname=hostname, port=SIMULATOR_PORT, tls=Tls("none"), simulator=simulator)


def _reached(entry: Entry, reference: BackendRef, service: str, port: int | None) -> BackendRef:
    """The reference with the end of its Service.

    Plain text is what Services speak, but not those of KServe unless that is said.
    """
    reference = replace(reference, hostname=f"{service}.{reference.namespace}.svc.cluster.local", port=port)
    kserve = reference.kind == "LLMInferenceService"
    why = "KServe's certificates come from an authority that the system does not know"
    remedy = "the name of a Secret, or certificates, or write `tls: {mode: none}` where KServe serves plain text (its enableLLMInferenceServiceTLS is false)"
    if not entry.has("tls"):
        if kserve and not entry.faulty("tls"):
            entry.fault("tls", f"is missing, and {why}", f"write `ca_bundle` in it, {remedy}")
        return reference
    tls = entry.entry("tls", TLS_KEYS)
    reference = replace(
        reference, tls=_tls(tls, _backend_name(reference), reference.hostname, default="simple" if kserve else "none")
    )
    if (
        kserve
        and tls.readable
        and reference.tls.mode in ("simple", "mutual")
        and not tls.has("ca_bundle")
        and not tls.faulty("ca_bundle")
    ):
        tls.fault("ca_bundle", f"is missing, and {why}", f"write {remedy}")
    return reference


def _spec(entry: Entry) -> Mapping[str, t.Any] | None:
    spec = entry.value.get("spec")
    if spec is None or isinstance(spec, Mapping):
        return t.cast("Mapping[str, t.Any] | None", plain(spec))
    entry.fault(
        "spec",
        f"is {type_name(spec)}",
        "write the fields of an LLMInferenceService's spec, or leave it out for one that exists",
    )
    return None


def _served_name(reference: BackendRef) -> str:
    """The name under which KServe serves the model of an LLMInferenceService:

    that in its spec, or its own; empty where there is no spec.
    """
    if reference.spec is None:
        return ""
    model = reference.spec.get("model")
    name = model.get("name") if isinstance(model, Mapping) else None
    return name if name and isinstance(name, str) else reference.name


def _backend_name(reference: BackendRef) -> str:
    """A name that no provider can have, as theirs have no dot."""
    parts = [reference.kind.lower(), reference.namespace, reference.name, str(reference.port or "")]
    return ".".join(filter(None, parts))


def _tiers(root: Entry, gateway: str, models: Sequence[str]) -> list[tuple[str, Tier]]:
    tiers: list[tuple[str, Tier]] = []
    levels: list[tuple[str, int | None]] = []
    for entry in root.entries("tiers", ("name", "level", "groups", *LIMITS, "model_limits", "models")):
        name = entry.text("name", LABEL)
        namespace = f"{gateway}-tier-{name}"
        if name and gateway and len(namespace) > LABEL_LIMIT:
            excess = len(namespace) - LABEL_LIMIT
            entry.fault(
                "name",
                f"its namespace {namespace} has {len(namespace)} characters",
                f"shorten it or {PREFIX}name by {excess}",
            )
        level = entry.integer("level", 0, 2**31 - 1)
        levels.append((entry.at("level"), level))
        groups = tuple(group for _path, group in entry.texts("groups", GROUP))
        limits = _limits(entry)
        if not any(entry.has(key) for key in LIMITS) and not entry.faulty(*LIMITS):
            entry.missing("token_limit", "tokens and window, for example {tokens: 100, window: 1m}, or another limit")
        tier_models = _tier_models(entry, models)
        limits += _model_limits(entry, tier_models)
        restricted = entry.value.get("models") not in (None, ["*"])
        tiers.append((entry.path, Tier(name, level or 0, groups, namespace, limits, tier_models, restricted)))
    unique(((f"{path}.name", tier.name) for path, tier in tiers), "name", "give each tier its own", root.faults)
    unique(levels, "level", "give each tier its own: the highest level of a user's groups wins", root.faults)
    return tiers


def _limits(entry: Entry) -> tuple[Limit, ...]:
    """The limits that stand in a tier or in one of its ``model_limits``."""
    limits = []
    for key, (measure, unit_key) in LIMITS.items():
        if not entry.has(key):
            continue
        limit = entry.entry(key, (unit_key, "window"))
        amount = limit.integer(unit_key, 1, AMOUNT_LIMIT)
        window = limit.choice("window", WINDOWS, why=": the rate limit service counts per second, minute, hour or day")
        limits.append(Limit(measure, amount or 0, window, WINDOWS.get(window, "")))
    return tuple(limits)


def _model_limits(tier: Entry, models: Sequence[str]) -> tuple[Limit, ...]:
    """One limit for each model that is named, so that each is counted on its own."""
    limits: list[Limit] = []
    places: list[tuple[str, tuple[str, str]]] = []
    for entry in tier.entries("model_limits", ("models", *LIMITS)):
        found = _limits(entry)
        if entry.readable and not found and not entry.faulty(*LIMITS):
            entry.fault("", "limits nothing", f"write {listing(list(LIMITS), 'or')} in it")
        for path, name in entry.texts("models", MODEL):
            if _known_model(entry, path, name, models):
                limits += [replace(limit, model=name) for limit in found]
                places += [(path, (name, limit.measure)) for limit in found]
    first: dict[tuple[str, str], str] = {}
    for path, place in places:
        if first.setdefault(place, path) != path:
            tier.faults.append(
                Fault(
                    path,
                    f"the {place[1].replace('_', ' ')} of {quote(place[0])} are limited by {first[place]} too",
                    "keep one of them",
                )
            )
    return tuple(limits)


def _tier_models(tier: Entry, models: Sequence[str]) -> tuple[str, ...]:
    if not tier.has("models"):
        return tuple(models)
    names = tier.texts(
        "models", Rule("a model's name", rf"\*|{MODEL.pattern}", 'names of models, or "*" for all', limit=MODEL.limit)
    )
    if any(name == "*" for _path, name in names):
        if len(names) > 1:
            tier.fault("models", 'names models beside "*"', 'write ["*"] for all, or the names alone')
        return tuple(models)
    return tuple(name for path, name in names if _known_model(tier, path, name, models))


def _known_model(entry: Entry, path: str, name: str, models: Sequence[str]) -> bool:
    if name in models:
        return True
    near = difflib.get_close_matches(name, models, n=1)
    known = (
        f"it takes {listing(models)}"
        if 0 < len(models) <= 10
        else f"list it in {PREFIX}providers or {PREFIX}models first"
    )
    entry.faults.append(
        Fault(path, f"{quote(name)} is no model that may be used here", f"did you mean `{near[0]}`?" if near else known)
    )
    return False
