# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs between the stacks and policy engines:

the second gateway, and what each of them can carry of a catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import Entry, Fault, listing, quote
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import (
    Model,
    Provider,
    ProviderModel,
    Tier,
)

ProviderEntries = Sequence[tuple[Entry, Provider, Sequence[tuple[Entry, ProviderModel]]]]

PLATFORMS = ("embedded", "kind", "openshift", "kubernetes")
ENVOY_AI_GATEWAY = "envoy_ai_gateway"
WG_AI_GATEWAY = "wg_ai_gateway"
STACKS = (ENVOY_AI_GATEWAY, WG_AI_GATEWAY)
AUTHORINO = "authorino"
KUADRANT = "kuadrant"
POLICY_ENGINES = (AUTHORINO, KUADRANT)

# wg-ai-gateway reconciles the GatewayClass of this name alone.
EGRESS_CLASS = "wg-ai-gateway"
# That of its listener. Its proxies run without any privilege, so that it is none of the first 1024.
EGRESS_PORT = 8080


def default_engine(platform: str, stack: str) -> str:
    return KUADRANT if platform == "openshift" and stack == WG_AI_GATEWAY else AUTHORINO


def egress_service(namespace: str, gateway: str) -> str:
    """The name that wg-ai-gateway gives to all that it makes for a Gateway."""
    return f"envoy-{gateway}" if namespace == "default" else f"envoy-{namespace}-{gateway}"


def check_cell(stack: str, engine: str, root: Entry) -> None:
    """A stack and an engine that cannot work together are a fault."""
    if (stack, engine) == (ENVOY_AI_GATEWAY, KUADRANT):
        problem = "Kuadrant and Envoy AI Gateway's rules each put a program into the proxies, and Envoy Gateway takes one from each Gateway"
        root.fault("policy_engine", problem, f"write {AUTHORINO}, or stack {WG_AI_GATEWAY}")


def check_second_gateway(entries: ProviderEntries) -> None:
    """The egress gateway reaches one provider by each path, and its kind of destination is a name."""
    first: dict[str, str] = {}
    for entry, provider, served in entries:
        if provider.endpoint.address:
            entry.entry("endpoint", ("hostname", "port", "prefix", "tls")).fault(
                "hostname",
                f"{quote(provider.endpoint.hostname)} is an address, and wg-ai-gateway's destinations are names",
                "write a name that leads to it",
            )
        for model_entry, model in served:
            path = first.setdefault(model.name, model_entry.path) if model.name else model_entry.path
            if path != model_entry.path:
                problem = f"{quote(model.name)} is served by {path} too, and stack {WG_AI_GATEWAY} does not choose among providers"
                model_entry.fault("name", problem, "give the model another public name here")


def check_kuadrant(
    entries: ProviderEntries, models: Sequence[Model], tiers: Sequence[tuple[str, Tier]], faults: list[Fault]
) -> None:
    """Kuadrant's rules see paths and headers, count all tokens of OpenAI's answers and carry keys as texts."""
    for entry, provider, served in entries:
        if provider.schema == "anthropic":
            entry.fault(
                "schema",
                f"engine {KUADRANT} counts tokens in answers of OpenAI's API alone",
                "write openai, where the provider speaks it too",
            )
        if provider.credential.external_secret is not None:
            entry.entry("credential", tuple(entry.value.get("credential") or ())).fault(
                "external_secret",
                f"engine {KUADRANT} carries keys in AuthPolicies, not in Secrets",
                "write `secret` or `value`",
            )
        for model_entry, model in served:
            if model.provider_model != model.name:
                problem = f"is another name than the public one, and engine {KUADRANT} does not change bodies"
                model_entry.fault("provider_model", problem, "leave it out, and name the model as the provider does")
    # What is behind one path, and its models.
    ends: dict[str, list[str]] = {}
    for found in models:
        for backend in found.backends:
            reference = backend.backend_ref
            name = (
                f"provider {backend.provider}"
                if reference is None
                else f"{reference.kind} {reference.namespace}/{reference.name}"
            )
            ends.setdefault(name, []).append(found.name)
    for path, tier in tiers:
        counted = sorted({limit.measure for limit in tier.limits} & {"input_tokens", "output_tokens"})
        for measure in counted:
            problem = f"engine {KUADRANT} counts the tokens of prompts and completions together"
            faults.append(Fault(f"{path}.{measure.removesuffix('s')}_limit", problem, "write `token_limit`"))
        if not tier.restricted:
            continue
        for end, names in ends.items():
            allowed = [name for name in names if name in tier.models]
            if allowed and len(allowed) < len(names):
                others = listing([quote(name) for name in names if name not in tier.models])
                problem = f"names {listing([quote(name) for name in allowed])} of {end} and not {others}"
                faults.append(
                    Fault(
                        f"{path}.models",
                        f"{problem}: engine {KUADRANT} tells paths apart, not models",
                        "name all of them or none",
                    )
                )
