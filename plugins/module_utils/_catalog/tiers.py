# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of the tiers and their limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import (
    Fault,
    listing,
    nearest,
    quote,
    unique,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import PREFIX
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.mcp_servers import read_mcp_tools
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import Limit, McpServer, Model, Tier
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import LABEL_LIMIT
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.prices import COST, MILLIONTHS
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.settings import Settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import GROUP, LABEL, MODEL, Rule

# A rate limit service counts in whole units; Gateway API writes a day as 24h.
_WINDOWS = {"1s": ("Second", 1), "1m": ("Minute", 60), "1h": ("Hour", 3600), "24h": ("Day", 86400)}
# The rate limit service counts in 32 bits.
_AMOUNT_LIMIT = 2**32 - 1
# A BackendTrafficPolicy holds so many rules.
_RATE_LIMIT_RULES = 256
# The limits that a tier or some of its models may have, what each counts, and the key of its amount.
# What is counted is a key of the metadata that token_counting.lua sets.
_LIMITS = {
    "token_limit": ("total_tokens", "tokens"),
    "input_token_limit": ("input_tokens", "tokens"),
    "output_token_limit": ("output_tokens", "tokens"),
    "cost_limit": (COST, "cost"),
    "request_limit": ("requests", "requests"),
}
_MODELS = Rule("a model's name", rf"\*|{MODEL.pattern}", 'names of models, or "*" for all', limit=MODEL.limit)


def read_tiers(
    root: Entry,
    settings: Settings,
    models: Sequence[Model],
    servers: Sequence[McpServer] = (),
    router_model: str = "",
) -> list[tuple[str, Tier]]:
    """The tiers of an inventory in its order, each with its path.

    :param root: all variables, by their names without the prefix.
    :param models: all public models.
    :param servers: all MCP servers.
    :param router_model: public name by which clients ask the semantic router; empty where there is none.
    """
    names = [model.name for model in models]
    names += [router_model] if router_model and router_model not in names else []
    tiers: list[tuple[str, Tier]] = []
    levels: list[tuple[str, int | None]] = []
    known = ("name", "level", "groups", *_LIMITS, "model_limits", "models", "mcp_tools", "objective")
    for entry in root.entries("tiers", known):
        tier, level = _tier(entry, settings.name, names, servers, router_model)
        tiers.append((entry.path, tier))
        levels.append((entry.at("level"), level))
    unique(((f"{path}.name", tier.name) for path, tier in tiers), "name", "give each tier its own", root.faults)
    unique(levels, "level", "give each tier its own: the highest level of a user's groups wins", root.faults)
    rules = sum(len(tier.limits) for _path, tier in tiers)
    if rules > _RATE_LIMIT_RULES:
        root.fault(
            "tiers",
            f"has {rules} limits, those of single models counted each",
            f"write at most {_RATE_LIMIT_RULES}: one policy holds no more",
        )
    for path, tier in tiers:
        if tier.namespace in settings.own_namespaces:
            problem = f"its namespace {tier.namespace} has another use already"
            root.faults.append(Fault(path, problem, "rename the tier or that namespace"))
    return tiers


def _tier(
    entry: Entry, gateway: str, models: Sequence[str], servers: Sequence[McpServer], router_model: str
) -> tuple[Tier, int | None]:
    """A tier and its level, which is None if that is wrong."""
    name = entry.string("name", LABEL)
    namespace = f"{gateway}-tier-{name}"
    if name and gateway and len(namespace) > LABEL_LIMIT:
        excess = len(namespace) - LABEL_LIMIT
        entry.fault(
            "name",
            f"its namespace {namespace} has {len(namespace)} characters",
            f"shorten it or {PREFIX}name by {excess}",
        )
    level = entry.integer("level", 0, 2**31 - 1)
    groups = tuple(group for _path, group in entry.strings("groups", GROUP))
    limits = _limits(entry)
    if not any(entry.has(key) for key in _LIMITS) and not entry.faulty(*_LIMITS):
        entry.missing("token_limit", "tokens and window, for example {tokens: 100, window: 1m}, or another limit")
    allowed = _allowed_models(entry, models)
    # What is counted is the model that the router chose.
    limits += _model_limits(entry, [name for name in allowed if name != router_model])
    restricted = entry.value.get("models") not in (None, ["*"])
    limits_requests = entry.has("request_limit") or entry.faulty("request_limit")
    tools = read_mcp_tools(entry, servers, limits_requests)
    objective = entry.string("objective", LABEL, "")
    return Tier(name, level or 0, groups, namespace, limits, allowed, restricted, tools, objective), level


def _limits(entry: Entry) -> tuple[Limit, ...]:
    """The limits that are written in a tier or in one of its ``model_limits``."""
    limits = []
    for key, (measure, unit_key) in _LIMITS.items():
        if not entry.has(key):
            continue
        limit = entry.entry(key, (unit_key, "window"))
        amount = _amount(limit, unit_key)
        why = ": the rate limit service counts per second, minute, hour or day"
        window = limit.choice("window", _WINDOWS, why=why)
        limits.append(Limit(measure, amount or 0, window, *_WINDOWS.get(window, ("", 0))))
    return tuple(limits)


def _amount(limit: Entry, key: str) -> int | None:
    """What a limit allows, in whole numbers; None if it is wrong."""
    if key != COST:
        return limit.integer(key, 1, _AMOUNT_LIMIT)
    cost = limit.number(key, 1 / MILLIONTHS, _AMOUNT_LIMIT // MILLIONTHS)
    return None if cost is None else round(cost * MILLIONTHS)


def _model_limits(tier: Entry, models: Sequence[str]) -> tuple[Limit, ...]:
    """One limit for each model that is named, so that each is counted on its own.

    :param models: public names of the models that the tier may use.
    """
    limits: list[Limit] = []
    places: list[tuple[str, tuple[str, str]]] = []
    for entry in tier.entries("model_limits", ("models", *_LIMITS)):
        found = _limits(entry)
        if entry.readable and not found and not entry.faulty(*_LIMITS):
            entry.fault("", "limits nothing", f"write {listing(list(_LIMITS), 'or')} in it")
        for path, name in entry.strings("models", MODEL):
            if _known_model(entry, path, name, models):
                limits += [replace(limit, model=name) for limit in found]
                places += [(path, (name, limit.measure)) for limit in found]
    first: dict[tuple[str, str], str] = {}
    for path, place in places:
        if first.setdefault(place, path) != path:
            name, measure = place
            problem = f"the {measure.replace('_', ' ')} of {quote(name)} are limited by {first[place]} too"
            tier.faults.append(Fault(path, problem, "keep one of them"))
    return tuple(limits)


def _allowed_models(tier: Entry, models: Sequence[str]) -> tuple[str, ...]:
    """Public names of the models that a tier may use, of ``models``."""
    if not tier.has("models"):
        return tuple(models)
    names = tier.strings("models", _MODELS)
    if any(name == "*" for _path, name in names):
        if len(names) > 1:
            tier.fault("models", 'names models beside "*"', 'write ["*"] for all, or the names alone')
        return tuple(models)
    return tuple(name for path, name in names if _known_model(tier, path, name, models))


def _known_model(entry: Entry, path: str, name: str, models: Sequence[str]) -> bool:
    """Whether ``name`` is one of ``models``; it is a fault if it is not."""
    if name in models:
        return True
    near = nearest(name, models)
    known = (
        f"it takes {listing(models)}"
        if 0 < len(models) <= 10
        else f"list it in {PREFIX}providers or {PREFIX}models first"
    )
    remedy = f"did you mean `{near}`?" if near else known
    entry.faults.append(Fault(path, f"{quote(name)} is no model that may be used here", remedy))
    return False
