# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of the providers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.allowed_endpoints import AllowedEndpoints
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.credentials import (
    read_credential,
    read_headers,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import (
    Fault,
    listing,
    quote,
    unique,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import (
    Endpoint,
    Provider,
    ProviderModel,
    Tls,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import (
    CA_BUNDLE_SUFFIX,
    CREDENTIAL_SUFFIX,
    SIMULATOR_PORT,
    SIMULATOR_SUFFIX,
    named_after,
    service_hostname,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.refused_endpoints import address
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.schemas import (
    AWS,
    PLACE_KEYS,
    SCHEMAS,
    SIMULATED,
    Schema,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.settings import Settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import (
    API_VERSION,
    HOSTNAME,
    MODEL,
    PATH_PREFIX,
    PROJECT,
    PROVIDER,
    PROVIDER_MODEL,
    REGION,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.tls import TLS_KEYS, read_tls

ENDPOINT_KEYS = ("hostname", "port", "prefix", "tls")
#: Still accepted in place of provider_model.
FORMER_PROVIDER_MODEL = "upstream_name"
_PROVIDER_KEYS = ("name", "schema", "simulated", "endpoint", *PLACE_KEYS, "credential", "headers", "models")
_MODEL_KEYS = ("name", "provider_model", FORMER_PROVIDER_MODEL, "weight", "priority")
_PLACES = {"project": PROJECT, "region": REGION, "api_version": API_VERSION}
# Envoy numbers priorities from 0.
_PRIORITY_LIMIT = 127
_WEIGHT_LIMIT = 1_000_000


@dataclass(frozen=True)
class ReadProvider:
    """A provider and the entries that it was read from, for faults that only show beside others."""

    entry: Entry
    provider: Provider
    #: Each of the provider's models with its entry.
    models: tuple[tuple[Entry, ProviderModel], ...]


def read_providers(root: Entry, settings: Settings, allowed: AllowedEndpoints) -> list[ReadProvider]:
    """The providers of an inventory in its order.

    :param root: all variables, by their names without the prefix.
    """
    found = []
    for entry in root.entries("providers", _PROVIDER_KEYS):
        models = tuple(_models(entry))
        provider = _provider(entry, tuple(model for _entry, model in models), settings, allowed)
        found.append(ReadProvider(entry, provider, models))
    unique(
        ((read.entry.at("name"), read.provider.name) for read in found),
        "name",
        "give each provider its own",
        root.faults,
    )
    return found


def read_provider_model(entry: Entry, default: str) -> str:
    """The name that a backend has for a model, under its key or the former one."""
    if entry.has(FORMER_PROVIDER_MODEL) and entry.has("provider_model"):
        entry.fault(
            FORMER_PROVIDER_MODEL, "is the former name of `provider_model`, which is written too", "leave it out"
        )
    key = FORMER_PROVIDER_MODEL if entry.has(FORMER_PROVIDER_MODEL) else "provider_model"
    return entry.string(key, PROVIDER_MODEL, default)


def _models(provider: Entry) -> Iterator[tuple[Entry, ProviderModel]]:
    provider.missing("models", "a list of the models that the provider serves")
    if provider.value.get("models") == []:
        provider.fault("models", "is empty", "list at least one model that the provider serves")
    names: list[tuple[str, str]] = []
    for entry in provider.entries("models", _MODEL_KEYS):
        name = entry.string("name", MODEL)
        names.append((entry.at("name"), name))
        yield (
            entry,
            ProviderModel(
                name,
                read_provider_model(entry, name),
                entry.integer("weight", 1, _WEIGHT_LIMIT, required=False),
                entry.integer("priority", 0, _PRIORITY_LIMIT, required=False),
            ),
        )
    unique(names, "name", "list each model of a provider once", provider.faults)


def _provider(
    entry: Entry, models: tuple[ProviderModel, ...], settings: Settings, allowed: AllowedEndpoints
) -> Provider:
    name = entry.string("name", PROVIDER)
    schema = entry.choice("schema", SCHEMAS)
    simulated = entry.flag("simulated", False)
    if simulated and schema and schema not in SIMULATED:
        entry.fault(
            "simulated", f"no simulator speaks {schema}", f"write the endpoint, or schema {listing(SIMULATED, 'or')}"
        )
    places = _places(entry, schema)
    simulator = service_hostname(name + SIMULATOR_SUFFIX, settings.simulators_namespace)
    endpoint = Endpoint(simulator, SIMULATOR_PORT, Tls("none")) if simulated else None
    if entry.has("endpoint"):
        endpoint = _endpoint(entry.entry("endpoint", ENDPOINT_KEYS), name, endpoint, allowed)
    elif not simulated:
        entry.missing("endpoint", "hostname, port and tls of the provider, or `simulated: true`", unless="simulated")
    endpoint = endpoint or Endpoint("", 0, Tls("none"))
    if schema:
        _check_endpoint(entry, schema, endpoint, places["region"])
    backend = named_after(name, endpoint.hostname, endpoint.port)
    if endpoint.tls.ca_certificates:
        endpoint = replace(endpoint, tls=replace(endpoint.tls, ca_bundle=backend + CA_BUNDLE_SUFFIX))
    own_secret = named_after(name + CREDENTIAL_SUFFIX, endpoint.hostname, endpoint.port)
    egress = settings.egress_gateway
    spoken = SCHEMAS.get(schema, Schema("", ()))
    return Provider(
        name=name,
        schema=schema,
        simulated=simulated,
        endpoint=endpoint,
        credential=read_credential(
            entry, own_secret, schema, simulated and not entry.faulty("simulated"), settings.policy_engine
        ),
        headers=read_headers(entry),
        models=models,
        backend=backend,
        egress_endpoint=Endpoint(egress.hostname, egress.port, Tls("none"), prefix=f"/{name}/v1")
        if settings.two_gateways
        else None,
        schema_name=spoken.resource,
        project=places["project"],
        region=places["region"],
        api_version=places["api_version"] or spoken.version,
        cloud=spoken.cloud,
        has_prefix=spoken.has_prefix,
        answers=spoken.answers,
    )


def _places(entry: Entry, schema: str) -> dict[str, str]:
    """Project, region and version of the API, empty where the schema has none."""
    found = dict.fromkeys(_PLACES, "")
    for key, rule in _PLACES.items():
        if not schema or key in SCHEMAS[schema].needs:
            found[key] = entry.string(key, rule, None if schema else "")
        elif entry.has(key):
            entry.fault(key, f"has no meaning with schema {schema}", "leave it out")
    return found


def _check_endpoint(entry: Entry, schema: str, endpoint: Endpoint, region: str) -> None:
    """Note what Envoy AI Gateway does otherwise with an endpoint than it is written."""
    written = entry.value.get("endpoint")
    if not SCHEMAS[schema].has_prefix and isinstance(written, Mapping) and written.get("prefix") is not None:
        entry.faults.append(
            Fault(
                f"{entry.at('endpoint')}.prefix",
                f"has no meaning with schema {schema}: Envoy AI Gateway writes the whole path",
                "leave it out",
            )
        )
    if (
        SCHEMAS[schema].cloud == AWS
        and region
        and re.search(r"[.](amazonaws[.]com([.]cn)?|api[.]aws)$", endpoint.hostname)
    ):
        signed = f"bedrock-runtime.{region}.amazonaws.com"
        if endpoint.hostname != signed:
            entry.faults.append(
                Fault(
                    f"{entry.at('endpoint')}.hostname",
                    f"{quote(endpoint.hostname)} is not the name that Envoy AI Gateway signs its requests for",
                    f"write {signed}, or another region",
                )
            )


def _endpoint(entry: Entry, provider: str, simulator: Endpoint | None, allowed: AllowedEndpoints) -> Endpoint:
    """The endpoint as written.

    :param simulator: the endpoint of the simulator; None where the provider is not simulated. A simulator answers in
        place of an endpoint with a host name; an endpoint without one describes the simulator's own.
    """
    if simulator is None or entry.has("hostname"):
        value = entry.value.get("hostname")
        found = address(value) if isinstance(value, str) else None
        hostname = str(found) if found is not None else entry.string("hostname", HOSTNAME)
        if simulator is None:
            allowed.check(entry, hostname)
    else:
        found, hostname = None, simulator.hostname
    tls = Tls("simple", sni=hostname)
    if entry.has("tls"):
        tls = read_tls(entry.entry("tls", TLS_KEYS), provider, hostname, found is not None)
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
    prefix = entry.string("prefix", PATH_PREFIX, Endpoint.prefix)
    if simulator is not None and entry.has("hostname"):
        return simulator
    return Endpoint(hostname, port or 0, tls, found is not None, prefix)
