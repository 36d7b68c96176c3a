# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the combinations of stack and policy engine can carry of a catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import Fault, listing, quote
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import (
    AUTHORINO,
    ENVOY_AI_GATEWAY,
    KUADRANT,
    WG_AI_GATEWAY,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import Model, Tier
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.paths import serving
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.prices import COST
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.providers import ReadProvider
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.schemas import SCHEMAS
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.settings import Settings


def check_combination(
    root: Entry,
    settings: Settings,
    providers: Sequence[ReadProvider],
    models: Sequence[Model],
    tiers: Sequence[tuple[str, Tier]],
) -> None:
    """Note the faults of a stack and an engine that do not work together, and of what they cannot carry.

    :param root: all variables, by their names without the prefix.
    :param tiers: the tiers with their paths.
    """
    combination = (settings.stack, settings.policy_engine)
    if combination == (ENVOY_AI_GATEWAY, KUADRANT):
        problem = (
            "Kuadrant and Envoy AI Gateway's rules each put a program into the proxies, "
            "and Envoy Gateway accepts one for each Gateway"
        )
        root.fault("policy_engine", problem, f"write {AUTHORINO}, or stack {WG_AI_GATEWAY}")
    if settings.two_gateways:
        root.faults.extend(_faults_with_two_gateways(providers))
    if combination == (WG_AI_GATEWAY, KUADRANT):
        root.faults.extend(_provider_faults_with_kuadrant(providers))
        for path, tier in tiers:
            root.faults.extend(_tier_faults_with_kuadrant(path, tier, models))


def _faults_with_two_gateways(providers: Sequence[ReadProvider]) -> Iterable[Fault]:
    """The egress gateway reaches one provider by each path, and its kind of destination is a name."""
    first: dict[str, str] = {}
    for read in providers:
        endpoint, schema = read.provider.endpoint, read.provider.schema
        if schema and not SCHEMAS[schema].has_prefix:
            yield Fault(
                read.entry.at("schema"),
                f"{schema} has paths that Envoy AI Gateway writes, and the egress gateway chooses providers by path",
                f"write openai or anthropic, where the provider speaks it too, or stack {ENVOY_AI_GATEWAY}",
            )
        if endpoint.address:
            yield Fault(
                f"{read.entry.at('endpoint')}.hostname",
                f"{quote(endpoint.hostname)} is an address, and wg-ai-gateway's destinations are names",
                "write a name that leads to it",
            )
        for entry, model in read.models:
            path = first.setdefault(model.name, entry.path) if model.name else entry.path
            if path != entry.path:
                problem = (
                    f"{quote(model.name)} is served by {path} too, "
                    f"and stack {WG_AI_GATEWAY} does not choose among providers"
                )
                yield Fault(entry.at("name"), problem, "give the model another public name here")


def _provider_faults_with_kuadrant(providers: Sequence[ReadProvider]) -> Iterable[Fault]:
    """Kuadrant's rules count the tokens of OpenAI's answers alone, carry keys as strings and leave bodies alone."""
    for read in providers:
        if read.provider.schema == "anthropic":
            yield Fault(
                read.entry.at("schema"),
                f"engine {KUADRANT} counts tokens in answers of OpenAI's API alone",
                "write openai, where the provider speaks it too",
            )
        if read.provider.credential.external_secret is not None:
            yield Fault(
                f"{read.entry.at('credential')}.external_secret",
                f"engine {KUADRANT} carries keys in AuthPolicies, not in Secrets",
                "write `secret` or `value`",
            )
        for entry, model in read.models:
            if model.provider_model != model.name:
                problem = f"is another name than the public one, and engine {KUADRANT} does not change bodies"
                remedy = "leave it out, and name the model as the provider does"
                yield Fault(entry.at("provider_model"), problem, remedy)


def _tier_faults_with_kuadrant(path: str, tier: Tier, models: Sequence[Model]) -> Iterable[Fault]:
    """Kuadrant's rules count all tokens of an answer together, and see paths in place of models."""
    for measure in sorted({limit.measure for limit in tier.limits} & {"input_tokens", "output_tokens"}):
        problem = f"engine {KUADRANT} counts the tokens of prompts and completions together"
        yield Fault(f"{path}.{measure.removesuffix('s')}_limit", problem, "write `token_limit`")
    if any(limit.measure == COST for limit in tier.limits):
        yield Fault(f"{path}.cost_limit", f"engine {KUADRANT} counts tokens, not what they cost", "write `token_limit`")
    if not tier.restricted:
        return
    for backend, names in _models_by_path(models).items():
        allowed = [name for name in names if name in tier.models]
        if allowed and len(allowed) < len(names):
            others = listing([quote(name) for name in names if name not in tier.models])
            problem = f"names {listing([quote(name) for name in allowed])} of {backend} and not {others}"
            yield Fault(
                f"{path}.models",
                f"{problem}: engine {KUADRANT} distinguishes paths, not models",
                "name all of them or none",
            )


def check_request_limits(
    root: Entry, providers: Sequence[ReadProvider], models: Sequence[Model], tiers: Sequence[tuple[str, Tier]]
) -> None:
    """A model whose answers never report their tokens for sure needs a limit of requests in each tier that may use it.

    :param root: all variables, by their names without the prefix.
    :param tiers: the tiers with their paths.
    """
    schemas = {read.provider.name: read.provider.schema for read in providers}
    for model in models:
        found = [schemas.get(backend.provider or "", "openai") for backend in model.backends]
        if not found or not all(schema and all(path.limited for path in serving(schema)) for schema in found):
            continue
        for path, tier in tiers:
            limited = any(limit.measure == "requests" and limit.model in ("", model.name) for limit in tier.limits)
            if model.name in tier.models and not limited:
                problem = f"may use {quote(model.name)}, whose answers need not report tokens, and limits no requests"
                root.faults.append(Fault(path, problem, "write a `request_limit`, or leave the model out of `models`"))


def _models_by_path(models: Sequence[Model]) -> Mapping[str, Sequence[str]]:
    """The public names of the models behind each path, by what the path leads to in the words of messages."""
    found: dict[str, list[str]] = {}
    for model in models:
        for backend in model.backends:
            reference = backend.backend_ref
            name = (
                f"provider {backend.provider}"
                if reference is None
                else f"{reference.kind} {reference.namespace}/{reference.name}"
            )
            found.setdefault(name, []).append(model.name)
    return found
