# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs of catalogues by chance:

what a site has, and what its next run wants. Pure; the same seed gives the same pair.
"""

from __future__ import annotations

import copy
import json
import pathlib
import random
import typing as t

import yaml

Variables = dict[str, t.Any]

PROVIDERS = ("openai", "anthropic", "vllm", "mistral")
MODELS = ("gpt-4", "gpt-4o", "claude-3-sonnet", "Qwen/Qwen3-0.6B", "m:1", "shared")
TIERS = ("free", "premium", "enterprise", "research")
WINDOWS = ("1s", "1m", "1h", "24h")
LIMITS = {
    "token_limit": "tokens",
    "input_token_limit": "tokens",
    "output_token_limit": "tokens",
    "request_limit": "requests",
}


def pair(seed: int) -> tuple[Variables, Variables]:
    """Two catalogues, as variables of an inventory: of simulated providers alone, each with a key of its own.

    Seed 0 adds a tier of one named model to three that have all, seed 1 takes it away; any other changes several things
    at once, or everything.
    """
    chance = random.Random(seed)  # noqa: S311 - chooses catalogues, keeps no secret
    if seed in (0, 1):
        plain = _catalogue(chance, providers=("openai", "anthropic"), tiers=TIERS[:3])
        for provider, model in zip(plain["ai_gateway_providers"], ("gpt-4", "claude-3-sonnet")):
            provider.update(models=[{"name": model}])
        for tier in plain["ai_gateway_tiers"]:
            tier.update(models=["*"], model_limits=[])
        more = copy.deepcopy(plain)
        more["ai_gateway_tiers"].append({**_tier(chance, "research", 3, ["gpt-4"]), "models": ["gpt-4"]})
        return (plain, more) if seed == 0 else (more, plain)
    first = _catalogue(chance)
    if chance.random() < 0.2:
        return first, _catalogue(chance)
    second = copy.deepcopy(first)
    for change in chance.sample(CHANGES, chance.randint(1, 3)):
        change(chance, second)
    _repair(chance, second)
    return first, second


def keys(*catalogues: Variables) -> list[str]:
    """Every provider's key in the catalogues."""
    return sorted(
        {provider["credential"]["value"] for catalogue in catalogues for provider in catalogue["ai_gateway_providers"]}
    )


def write(path: pathlib.Path, catalogue: Variables) -> pathlib.Path:
    """Write a catalogue as a file of extra variables."""
    path.write_text(yaml.safe_dump(catalogue), encoding="utf-8")
    path.chmod(0o600)
    return path


def shown(catalogue: Variables) -> str:
    """A catalogue in one line, without keys."""
    providers = [
        f"{provider['name']}: {[model['name'] for model in provider['models']]}"
        for provider in catalogue["ai_gateway_providers"]
    ]
    tiers = [f"{tier['name']}: {tier['models']}" for tier in catalogue["ai_gateway_tiers"]]
    return json.dumps({"providers": providers, "tiers": tiers})


def _catalogue(chance: random.Random, providers: t.Sequence[str] = (), tiers: t.Sequence[str] = ()) -> Variables:
    names = providers or chance.sample(PROVIDERS, chance.randint(1, 3))
    catalogue: Variables = {"ai_gateway_providers": [_provider(chance, name) for name in names], "ai_gateway_tiers": []}
    _share(chance, catalogue)
    for level, name in enumerate(tiers or chance.sample(TIERS, chance.randint(1, 4))):
        catalogue["ai_gateway_tiers"].append(_tier(chance, name, level, _models(catalogue)))
    return catalogue


def _provider(chance: random.Random, name: str) -> Variables:
    provider: Variables = {
        "name": name,
        "schema": chance.choice(("openai", "openai", "anthropic")),
        "simulated": True,
        "credential": _credential(chance, name),
        "models": [{"name": model} for model in chance.sample(MODELS, chance.randint(1, 4))],
    }
    for model in provider["models"]:
        if chance.random() < 0.3:
            model["provider_model"] = f"{model['name']}-{chance.randint(1, 9)}"
    if chance.random() < 0.3:
        provider["headers"] = {
            f"x-{name}-{number}": str(chance.randint(1, 9)) for number in range(chance.randint(1, 3))
        }
    return provider


def _credential(chance: random.Random, name: str) -> Variables:
    key = f"sk-{name}-{chance.getrandbits(64):016x}"
    return (
        {"value": key} if chance.random() < 0.7 else {"value": key, "header": chance.choice(("x-api-key", "api-key"))}
    )


def _tier(chance: random.Random, name: str, level: int, models: t.Sequence[str]) -> Variables:
    tier: Variables = {
        "name": name,
        "level": level,
        "groups": [f"tier-{name}-{number}" for number in range(chance.randint(1, 2))],
    }
    tier.update({limit: _limit(chance, limit) for limit in chance.sample(list(LIMITS), chance.randint(1, 3))})
    tier["models"] = ["*"] if chance.random() < 0.4 else sorted(chance.sample(models, chance.randint(1, len(models))))
    allowed = models if tier["models"] == ["*"] else tier["models"]
    if chance.random() < 0.4:
        limit = chance.choice(list(LIMITS))
        tier["model_limits"] = [{"models": [chance.choice(allowed)], limit: _limit(chance, limit)}]
    return tier


def _limit(chance: random.Random, limit: str) -> Variables:
    return {LIMITS[limit]: chance.randint(1, 10**6), "window": chance.choice(WINDOWS)}


def _models(catalogue: Variables) -> list[str]:
    return sorted({model["name"] for provider in catalogue["ai_gateway_providers"] for model in provider["models"]})


def _share(chance: random.Random, catalogue: Variables) -> None:
    """Say how providers of one API share a model; where their APIs differ, the first keeps it."""
    served: dict[str, list[tuple[Variables, Variables]]] = {}
    for provider in catalogue["ai_gateway_providers"]:
        for model in provider["models"]:
            model.pop("weight", None)
            model.pop("priority", None)
            served.setdefault(model["name"], []).append((provider, model))
    for ends in served.values():
        schema = ends[0][0]["schema"]
        for provider, model in ends:
            if provider["schema"] != schema:
                provider["models"].remove(model)
        shared = [model for provider, model in ends if provider["schema"] == schema]
        by_weight = chance.random() < 0.5
        for number, model in enumerate(shared if len(shared) > 1 else ()):
            model.update({"weight": chance.randint(1, 9)} if by_weight else {"priority": number})
    for provider in catalogue["ai_gateway_providers"]:
        if not provider["models"]:
            provider["models"].append({"name": f"only-{provider['name']}"})


def _repair(chance: random.Random, catalogue: Variables) -> None:
    """Leave no tier with a model that nobody serves, and no level twice."""
    _share(chance, catalogue)
    models = _models(catalogue)
    for level, tier in enumerate(catalogue["ai_gateway_tiers"]):
        tier["level"] = level
        if tier["models"] != ["*"]:
            tier["models"] = [model for model in tier["models"] if model in models] or [chance.choice(models)]
        allowed = models if tier["models"] == ["*"] else tier["models"]
        tier["model_limits"] = [limit for limit in tier.get("model_limits", ()) if set(limit["models"]) <= set(allowed)]


def _other_tiers(chance: random.Random, catalogue: Variables) -> None:
    """One more where there is room, else one less."""
    tiers = catalogue["ai_gateway_tiers"]
    unused = [name for name in TIERS if name not in {tier["name"] for tier in tiers}]
    if unused and (len(tiers) == 1 or chance.random() < 0.5):
        tiers.insert(chance.randint(0, len(tiers)), _tier(chance, chance.choice(unused), 0, _models(catalogue)))
    else:
        tiers.pop(chance.randrange(len(tiers)))


def _other_tier(chance: random.Random, catalogue: Variables) -> None:
    tiers = catalogue["ai_gateway_tiers"]
    number = chance.randrange(len(tiers))
    tiers[number] = _tier(chance, tiers[number]["name"], 0, _models(catalogue))


def _other_providers(chance: random.Random, catalogue: Variables) -> None:
    """One more, one less, or one under another name."""
    providers = catalogue["ai_gateway_providers"]
    unused = [name for name in PROVIDERS if name not in {provider["name"] for provider in providers}]
    kind = chance.choice(("more", "less", "renamed"))
    if kind == "more" and unused:
        providers.append(_provider(chance, chance.choice(unused)))
    elif kind == "less" and len(providers) > 1:
        providers.pop(chance.randrange(len(providers)))
    elif unused:
        chance.choice(providers)["name"] = chance.choice(unused)


def _other_provider(chance: random.Random, catalogue: Variables) -> None:
    providers = catalogue["ai_gateway_providers"]
    number = chance.randrange(len(providers))
    providers[number] = _provider(chance, providers[number]["name"])


def _other_keys(chance: random.Random, catalogue: Variables) -> None:
    for provider in catalogue["ai_gateway_providers"]:
        provider["credential"] = _credential(chance, provider["name"])


CHANGES = (_other_tiers, _other_tier, _other_providers, _other_provider, _other_keys)
