# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The LLMInferenceServices of a cluster that are models of the semantic router without being in the inventory.

They say so themselves, by annotations: that they are, and the keywords that lead to them.
"""

from __future__ import annotations

import copy
import re
import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import quote
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import (
    KSERVE_PORT,
    KSERVE_SUFFIX,
    service_hostname,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.semantic_router import (
    FIRST_PRIORITY,
    is_never_found,
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
#: In place of namespaces: all of them.
EVERYWHERE = "*"
#: The most keywords of a service, whose namespace others may own, and the letters that a word needs to count: two in
#: scripts other than Latin, where that is a word.
_KEYWORDS_LIMIT = 50
_LETTERS, _OTHER_LETTERS = 3, 2
#: Words that most prompts have.
_COMMON = frozenset((
    "about", "all", "also", "and", "answer", "any", "are", "ask", "assistant", "because", "been", "but", "can", "could",
    "did", "does", "each", "every", "explain", "find", "for", "from", "get", "give", "had", "has", "have", "hello",
    "help", "here", "how", "into", "its", "just", "know", "let", "like", "list", "make", "many", "may", "more", "most",
    "need", "not", "now", "one", "only", "other", "our", "out", "please", "question", "say", "see", "should", "show",
    "some", "such", "system", "tell", "than", "thank", "thanks", "that", "the", "their", "them", "then", "there",
    "these", "they", "thing", "this", "those", "time", "use", "user", "using", "very", "want", "was", "way", "were",
    "what", "when", "where", "which", "who", "why", "will", "with", "word", "words", "would", "write", "you", "your",
))  # fmt: skip


def with_found(
    router: Document,
    tiers: Iterable[Document],
    services: Sequence[Document],
    namespaces: Collection[str],
    models: Collection[str],
) -> dict[str, t.Any]:
    """The router of a catalogue with the LLMInferenceServices that are to be among its models.

    Tiers whose models are named do not get them. ``faults`` lists those that are left out, and why.

    :param router: ``semantic_router`` of a catalogue, as ``Catalog.as_dict`` returns it.
    :param services: LLMInferenceServices, as the API server returns them.
    :param namespaces: where they count; ``EVERYWHERE`` is anywhere.
    :param models: the names of all models of the catalogue.
    """
    result: dict[str, t.Any] = {**copy.deepcopy(dict(router)), "faults": []}
    leading: list[Leading] = []
    named = {tier["name"] for tier in tiers if not tier["restricted"]}
    for service in sorted(services, key=lambda item: (item["metadata"]["namespace"], item["metadata"]["name"])):
        metadata = service["metadata"]
        if metadata["namespace"] not in namespaces and EVERYWHERE not in namespaces:
            continue
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
        problem = _problem(metadata, str(model), {*known, *models}, router) or _words_problem(words)
        if problem:
            result["faults"].append(f"{place}: {problem}")
            continue
        _add(result, str(model), hostname, metadata, named)
        if words:
            leading.append((f"{metadata['namespace']}.{metadata['name']}", words, str(model)))
    _lead(result["config"]["routing"], leading, named)
    return result


def _problem(metadata: Document, model: str, known: Collection[str], router: Document) -> str:
    if model in known or model == router["model"]:
        return f"its model {model} is one of the catalogue already; give it another name in spec.model.name"
    routing = router["config"]["routing"]
    taken = {
        item["name"] for item in (*routing["decisions"], *(s for family in routing["signals"].values() for s in family))
    }
    if f"{metadata['namespace']}.{metadata['name']}" in taken:
        return "a signal or decision of the inventory has the name of its namespace and its own; rename that"
    if not MODEL.accepts(model):
        return f"its model {model!r} is no name of a model; change spec.model.name"
    if not SERVICE_NAME.accepts(metadata["name"]):
        return "KServe cuts its name, so that its Service is not known; give it a shorter one"
    return ""


def _words_problem(words: Sequence[str]) -> str:
    """As in the inventory: the router puts variables of its environment in the place of names behind a dollar sign.

    A keyword that most prompts have would draw all that no decision of the inventory is about.
    """
    if any("$" in word or not PHRASE.accepts(word) for word in words):
        return f"annotation {KEYWORDS} has a keyword that is too long, not printable or has `$`; shorten or change it"
    if len(words) > _KEYWORDS_LIMIT:
        return f"annotation {KEYWORDS} has {len(words)} keywords; write at most {_KEYWORDS_LIMIT}"
    common = [word for word in words if not any(map(_tells, re.findall(r"[^\W_]+", word.casefold())))]
    if common:
        return f"annotation {KEYWORDS} has {quote(common[0])}, which is in too many prompts; write a rarer word"
    lost = [word for word in words if is_never_found(word)]
    if lost:
        return (
            f"annotation {KEYWORDS} has {quote(lost[0])}, which begins or ends with what is no ASCII letter, digit or "
            "_, so that the router finds it nowhere; write another word"
        )
    return ""


def _tells(word: str) -> bool:
    """Whether a word of small letters is in some prompts and not in most."""
    return len(word) >= (_LETTERS if word.isascii() else _OTHER_LETTERS) and word not in _COMMON


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
