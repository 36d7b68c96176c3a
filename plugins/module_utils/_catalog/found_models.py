# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The LLMInferenceServices of a cluster that are models of the semantic router without being in the inventory.

They say so themselves, by annotations: that they are, and the keywords that lead to them.
"""

from __future__ import annotations

import copy
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import (
    KSERVE_PORT,
    KSERVE_SUFFIX,
    service_hostname,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.semantic_router import (
    FIRST_PRIORITY,
    provider_model,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import MODEL, PHRASE, SERVICE_NAME

Document = Mapping[str, t.Any]
#: Name of a decision, its keywords and its model.
Leading = tuple[str, list[str], str]

#: With the value ``true``, an LLMInferenceService is one of the router's models.
ROUTED = "egress.ai-gateway/semantic-router"
#: The keywords that lead to it, with commas between them. Without any, no decision does.
KEYWORDS = "egress.ai-gateway/keywords"


def with_found(router: Document, tiers: Iterable[Document], services: Sequence[Document]) -> dict[str, t.Any]:
    """The router of a catalogue with the LLMInferenceServices that are to be among its models.

    Tiers whose models are named do not get them. ``faults`` lists what cannot be used, and why.

    :param router: ``semantic_router`` of a catalogue, as ``Catalog.as_dict`` returns it.
    :param services: LLMInferenceServices, as the API server returns them.
    """
    result: dict[str, t.Any] = {**copy.deepcopy(dict(router)), "faults": []}
    leading: list[Leading] = []
    named = {tier["name"] for tier in tiers if not tier["restricted"]}
    for service in sorted(services, key=lambda item: (item["metadata"]["namespace"], item["metadata"]["name"])):
        metadata = service["metadata"]
        annotations = metadata.get("annotations") or {}
        place = f"LLMInferenceService {metadata['namespace']}/{metadata['name']}"
        if annotations.get(ROUTED, "false") not in ("true", "false"):
            result["faults"].append(f"{place}: annotation {ROUTED} is {annotations[ROUTED]!r}; write true or false")
        if annotations.get(ROUTED) != "true" or metadata.get("deletionTimestamp"):
            continue
        model = ((service.get("spec") or {}).get("model") or {}).get("name") or metadata["name"]
        hostname = service_hostname(metadata["name"] + KSERVE_SUFFIX, metadata["namespace"])
        known = {found["name"]: found["hostname"] for found in result["models"]}
        if known.get(model) == hostname:
            continue
        words = [word.strip() for word in str(annotations.get(KEYWORDS, "")).split(",") if word.strip()]
        problem = _problem(metadata, str(model), known, router) or _words_problem(words)
        if problem:
            result["faults"].append(f"{place}: {problem}")
            continue
        _add(result, str(model), hostname, metadata, named)
        if words:
            leading.append((f"{metadata['namespace']}.{metadata['name']}", words, str(model)))
    _lead(result["config"]["routing"], leading, named)
    return result


def _problem(metadata: Document, model: str, known: Document, router: Document) -> str:
    if model in known or model == router["model"]:
        return f"its model {model} is one of the router already; give it another name in spec.model.name"
    if not MODEL.accepts(model):
        return f"its model {model!r} is no name of a model; change spec.model.name"
    if not SERVICE_NAME.accepts(metadata["name"]):
        return "KServe cuts its name, so that its Service is not known; give it a shorter one"
    return ""


def _words_problem(words: Iterable[str]) -> str:
    """As in the inventory: the router puts variables of its environment in the place of names behind a dollar sign."""
    if any("$" in word or not PHRASE.accepts(word) for word in words):
        return f"annotation {KEYWORDS} has a keyword that is too long, not printable or has `$`; shorten or change it"
    return ""


def _add(result: dict[str, t.Any], model: str, hostname: str, metadata: Document, tiers: Iterable[str]) -> None:
    result["models"].append(
        {"name": model, "provider_model": model, "hostname": hostname, "port": KSERVE_PORT},
    )
    config = result["config"]
    config["providers"]["models"].append(provider_model(model, model, f"{hostname}:{KSERVE_PORT}"))
    config["routing"]["modelCards"].append({"name": model})
    for tier in result["tiers"]:
        if tier["name"] in tiers:
            tier["models"].append(model)
    labels = {"app.kubernetes.io/part-of": "llminferenceservice", "app.kubernetes.io/name": metadata["name"]}
    namespace = {"matchLabels": {"kubernetes.io/metadata.name": metadata["namespace"]}}
    result["egress"].append(
        {
            "name": f"llminferenceservice.{metadata['namespace']}.{metadata['name']}",
            "port": KSERVE_PORT,
            "peers": [{"namespaceSelector": namespace, "podSelector": {"matchLabels": labels}}],
        }
    )


def _lead(routing: dict[str, t.Any], leading: Sequence[Leading], tiers: Iterable[str]) -> None:
    """Add a decision for each of these models: above the default, and below all that the inventory has."""
    asking = [role["role"] for role in routing["signals"]["role_bindings"] if role["role"] in tiers]
    if not asking or not leading:
        return
    callers = {"operator": "OR", "conditions": [{"type": "authz", "name": tier} for tier in asking]}
    for decision in routing["decisions"]:
        if decision["priority"] >= FIRST_PRIORITY:
            decision["priority"] += len(leading)
    for index, (name, words, model) in enumerate(leading):
        signal = {"name": name, "operator": "OR", "keywords": words, "case_sensitive": False}
        routing["signals"].setdefault("keywords", []).append(signal)
        routing["decisions"].append(
            {
                "name": name,
                "description": f"Keywords of LLMInferenceService {name}",
                "priority": FIRST_PRIORITY + len(leading) - 1 - index,
                "rules": {"operator": "AND", "conditions": [{"type": "keyword", "name": name}, callers]},
                "modelRefs": [{"model": model, "use_reasoning": False}],
            }
        )
    routing["decisions"].sort(key=lambda decision: -int(decision["priority"]))
