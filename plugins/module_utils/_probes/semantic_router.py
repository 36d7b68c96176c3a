# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a validation asks of the semantic router: who gets which model, and what the answer says of it. Pure."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Collection, Iterator, Mapping, Sequence

Params = dict[str, t.Any]
Document = Mapping[str, t.Any]

#: The response header with the model that answered.
EXECUTED = "x-maas-model-executed"
#: What would change where a request goes, if a client could say it.
_FORGED = {"x-vsr-destination-endpoint": "127.0.0.1:1", "x-vsr-skip-processing": "true"}


def unclear_keywords(config: Document) -> set[str]:
    """The signals of keywords that a prompt may have without their words in it."""
    return {
        signal["name"]
        for signal in config["routing"]["signals"].get("keywords", ())
        if signal["operator"] == "NOR" or signal.get("method") or signal.get("fuzzy_match")
    }


def holds(rules: Document, facts: Collection[tuple[str, str]], unclear: Collection[str] = ()) -> bool | None:
    """Whether the rules of a decision hold for a request; None where that depends on more than keywords and the tier.

    :param facts: type and name of the signals that the request has.
    :param unclear: signals of keywords that it may have besides.
    """
    if "conditions" not in rules:
        if rules.get("type") not in ("keyword", "authz"):
            return None
        if (rules["type"], rules["name"]) in facts:
            return True
        return None if rules["type"] == "keyword" and rules["name"] in unclear else False
    found = [holds(condition, facts, unclear) for condition in rules["conditions"]]
    if rules.get("operator") == "OR":
        return True if True in found else None if None in found else False
    if rules.get("operator") == "NOT":
        return None if found[0] is None else not found[0]
    return False if False in found else None if None in found else True


def chosen(config: Document, facts: Collection[tuple[str, str]]) -> tuple[str, str]:
    """The decision and the model for a request; empty where that depends on more than keywords and the tier."""
    unclear = unclear_keywords(config)
    for decision in config["routing"]["decisions"]:
        result = holds(decision["rules"], facts, unclear)
        if result is None:
            break
        if result:
            return decision["name"], decision["modelRefs"][0]["model"]
    return "", ""


def planned_router(catalog: Document, tier: Document, common: Params, wait_timeout: int, hint: str) -> Iterator[Params]:
    """The probes of the router, none where the catalogue has none.

    :param common: ``token`` and ``skip`` of the caller.
    :param hint: what to look at where callers come in who may not.
    """
    router = catalog.get("semantic_router")
    if not router:
        return
    name, headers = router["model"], catalog["headers"]
    where = f"See Deployment semantic-router in namespace {router['namespace']}, and playbook diagnose."
    asks = {**common, "hint": where, "model": name, "wait_timeout": wait_timeout}
    refused = {"status": [401], "api_error": True}
    for id_, title, token in (
        ("router:no-token", f"A chat with {name} without a token is refused", ""),
        ("router:bad-token", f"A chat with {name} and a token that is none is refused", "not-a-token"),
    ):
        yield {"id": id_, "name": title, "hint": hint, "model": name, "token": token, "expect": refused}
    allowed = [model["name"] for model in router["models"] if model["name"] in tier["models"]]
    if name not in tier["models"]:
        expect = {"status": [403], "api_error": True}
        yield {**asks, "id": "router:forbidden", "name": f"Tier {tier['name']} may not use {name}", "expect": expect}
        return
    default = chosen(router["config"], {("authz", tier["name"])})[1]
    # Where more than the tier decides, any model that it may use is right.
    likely = [default] if default else allowed
    whole = _answer(catalog, tier, likely)
    yield {**asks, "id": "router:chat", "name": f"{name} gets a model that the tier may use", "expect": whole}
    if whole["status"] == [200]:
        stream = {key: value for key, value in whole.items() if key != "model"} | {"minimum_chunks": 3}
        yield {
            **asks,
            "id": "router:stream",
            "name": f"{name} streams, and the answer names the model",
            "stream": True,
            "expect": stream,
        }
    others = [other["name"] for other in router["models"] if other["name"] != default]
    tiers = [other["name"] for other in catalog["tiers"] if other["name"] != tier["name"]]
    yield {
        **asks,
        "id": "router:forged",
        "name": f"What a client says of the chosen model of {name} has no effect",
        "extra_headers": {
            **dict.fromkeys(headers["router"], "forged"),
            **_FORGED,
            headers["router_groups"]: [*tiers, "forged"][0],
            "x-selected-model": [*others, "forged"][0],
            EXECUTED: "forged",
        },
        "expect": whole,
    }
    yield from _decisions(catalog, tier, asks)


def answers(router: Document, tier: Document) -> bool:
    """Whether a request of a tier with no keyword in it surely gets a model."""
    model = chosen(router["config"], {("authz", tier["name"])})[1]
    return router["model"] in tier["models"] and model in tier["models"]


def _decisions(catalog: Document, tier: Document, asks: Params) -> Iterator[Params]:
    """One chat for each signal of keywords."""
    router = catalog["semantic_router"]
    more_than_words = unclear_keywords(router["config"])
    for signal in router["config"]["routing"]["signals"].get("keywords", ()):
        if signal["name"] in more_than_words:
            continue
        facts = {("keyword", signal["name"]), ("authz", tier["name"])}
        decision, model = chosen(router["config"], facts)
        shared = [
            other["name"]
            for other in router["config"]["routing"]["signals"]["keywords"]
            if other is not signal and _overlap(other, signal)
        ]
        unclear = "" if decision and not shared else "more than these keywords decides"
        yield {
            **asks,
            "id": f"router:keywords:{signal['name']}",
            "name": f"Keywords {signal['name']} lead tier {tier['name']} to {model or 'a model'}",
            "skip": asks["skip"] or unclear,
            "prompt": f"Please explain: {', '.join(signal['keywords'])}.",
            "expect": _answer(catalog, tier, [model]),
        }


def _overlap(left: Document, right: Document) -> bool:
    """Whether a prompt with all keywords of ``right`` may have some of ``left``."""
    words = " ".join(right["keywords"]).lower()
    return left["operator"] == "NOR" or any(str(word).lower() in words for word in left["keywords"])


def _answer(catalog: Document, tier: Document, names: Sequence[str]) -> Params:
    """What is expected of a request for which one of the models is chosen."""
    usable = [name for name in names if name in tier["models"]]
    if not usable:
        return {"status": [403], "api_error": True}
    answered_as = [
        known
        for model in catalog["models"]
        if model["name"] in usable
        for known in (model["name"], *(backend.get("provider_model", "") for backend in model["backends"]))
        if known
    ]
    pattern = "|".join(map(re.escape, usable))
    return {
        "status": [200],
        "model": list(dict.fromkeys(answered_as)),
        "usage": True,
        "headers": {EXECUTED: f"^({pattern})$"},
    }
