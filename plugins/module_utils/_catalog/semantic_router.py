# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The semantic router of an inventory, which chooses a model for each request that names none, and its configuration.

Who may use which model is the tiers' to say. So for each tier that may not use the model of a decision, the
configuration has a decision of its own, or the gateway refuses the request.
"""

from __future__ import annotations

import math
import re
import typing as t
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.expressions import (
    ExpressionError,
    check_expression,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import (
    Fault,
    listing,
    nearest,
    quote,
    type_name,
    unique,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import KUADRANT, PREFIX
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import (
    BackendRef,
    Model,
    ModelBackend,
    RoutedModel,
    RouterTier,
    SemanticRouter,
    Tier,
    plain,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import (
    KSERVE_PORT,
    KSERVE_SUFFIX,
    ROUTER_PORT,
    ROUTER_SERVICE,
    service_hostname,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.paths import serves
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.providers import ReadProvider
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.quantities import SIZE, bytes_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.request_headers import (
    ROUTER_GROUPS,
    ROUTER_USER,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.routes import pack_routes
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.settings import Settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import (
    LABEL,
    MODEL,
    PHRASE,
    SENTENCE,
    SIGNAL,
    TOKENS,
    Rule,
)

SINGLE, DUAL = "single_gateway", "dual_gateway"
#: In place of a model in ``fallback``: the request is refused.
DENY = "deny"
#: The version of the schema, which that of the image must read.
SCHEMA = "v0.3"
#: Where the router would call a model itself with one gateway: nowhere, as nothing listens there.
NOWHERE = "127.0.0.1:9"
_KEYS = (
    "mode",
    "model",
    "namespace",
    "models",
    "default_model",
    "fallback",
    "body_limit",
    "signals",
    "decisions",
    "classifiers",
    "settings",
)
_DECISION_KEYS = ("name", "description", "priority", "rules", "model", "use_reasoning")
_MODELS = Rule("a model's name", rf"\*|{MODEL.pattern}", 'names of models, or "*" for all', limit=MODEL.limit)
_PRIORITY_LIMIT = 1_000_000
#: The largest body of a request where the inventory says nothing.
_BODY_LIMIT = "1Mi"
_MEBIBYTE = 2**20
#: The memory that role semantic_router gives the router, without and with classifiers.
_MEMORY, _CLASSIFIERS_MEMORY = "1Gi", "7Gi"
_MOST_AT_ONCE = 1024
#: Between the priorities of two decisions, so that there is room for the tiers' own.
_STEP = 10
#: The priority of the first decision that the inventory has.
FIRST_PRIORITY = 2 * _STEP
_DEPTH = 8
#: The families of signals by their key, and the type by which a condition names them. These need no model.
_PLAIN = {
    "keywords": "keyword",
    "context": "context",
    "structure": "structure",
    "conversation": "conversation",
    "language": "language",
}
#: These need one.
_CLASSIFIERS = {
    "domains": "domain",
    "embeddings": "embedding",
    "complexity": "complexity",
    "preferences": "preference",
    "fact_check": "fact_check",
    "user_feedbacks": "user_feedback",
    "modality": "modality",
    "jailbreak": "jailbreak",
    "pii": "pii",
    "classifiers": "classifier",
}
_FAMILIES = {**_PLAIN, **_CLASSIFIERS}
_AUTHZ = "authz"
#: What the collection itself decides of the router's ``global`` settings. ``router.learning`` keeps what it learns of a
#: session, ``router.fallback`` and ``integrations.looper`` ask models that no decision names, and with another
#: ``router.strategy`` the decisions of tiers would not go first.
_RESERVED = (
    "router.config_source",
    "router.auto_model_name",
    "router.auto_model_names",
    "router.clear_route_cache",
    "router.skip_processing",
    "router.streamed_body",
    "router.learning",
    "router.fallback",
    "router.strategy",
    "services.authz",
    "services.router_replay",
    "services.response_api",
    "services.management_api",
    "services.observability.tracing",
    "services.observability.profiling",
    "stores.response_cache",
    "stores.memory",
    "stores.vector_store",
    "integrations.looper",
)
#: What the router looks at in keywords.
_HAN = re.compile(
    "[\u2e80-\u2fd5\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufad9\U00020000-\U000323af]"
)
_ASCII_WORD = re.compile(r"[0-9A-Za-z_]")
_SECTIONS = ("router", "services", "stores", "integrations")


@dataclass(frozen=True)
class _Decision:
    """A decision of the inventory."""

    path: str
    name: str
    description: str
    priority: int
    rules: Mapping[str, t.Any]
    model: str
    use_reasoning: bool


@dataclass(frozen=True)
class ReadRouter:
    """What the inventory says of the router."""

    entry: Entry
    router: SemanticRouter
    decisions: tuple[_Decision, ...]
    signals: Mapping[str, t.Any]
    settings: Mapping[str, t.Any]

    @property
    def public_model(self) -> Model | None:
        """The model that leads to the router; None where the gateway asks the router before it chooses a route, and
        where no route is by model.
        """
        if self.router.mode != DUAL or self.router.by_path:
            return None
        reference = BackendRef(
            "Service", self.router.service, self.router.namespace, self.router.hostname, self.router.port
        )
        name = f"service.{reference.namespace}.{reference.name}.{reference.port}"
        backends = (ModelBackend(name, None, reference, self.router.model),)
        return Model(self.router.model, backends, pack_routes(self.router.model, backends, {}))


def read_semantic_router(
    root: Entry, settings: Settings, providers: Sequence[ReadProvider], models: Sequence[Model]
) -> ReadRouter | None:
    """The router of an inventory; None where it has none.

    :param root: all variables, by their names without the prefix.
    :param models: all public models, without that of the router.
    """
    if root.value.get("semantic_router") in (None, {}):
        return None
    entry = root.entry("semantic_router", _KEYS)
    by_path = settings.policy_engine == KUADRANT
    mode = entry.choice("mode", (SINGLE, DUAL), DUAL if by_path else SINGLE)
    if mode == SINGLE and by_path:
        problem = f"needs a program in the proxies, and with engine {KUADRANT} the gateway is another's"
        entry.fault("mode", problem, f"write {DUAL}")
    name = entry.string("model", MODEL, "auto")
    if name in [model.name for model in models]:
        entry.fault("model", f"{quote(name)} is a model of the catalogue too", "give one of them another name")
    routed = _routed(entry, mode, settings, providers, models)
    names = [model.name for model in routed]
    namespace = entry.string("namespace", LABEL, "vllm-semantic-router-system")
    if namespace in settings.own_namespaces:
        entry.fault("namespace", f"{quote(namespace)} has another use already", "write one of the router's own")
    default = _one_of(entry, "default_model", names, required=True)
    fallback = DENY if entry.value.get("fallback") in (None, DENY) else _one_of(entry, "fallback", [*names, DENY])
    signals = _signals(entry)
    classifiers = any(family in _CLASSIFIERS for family in signals)
    body_limit = _body_limit(entry, settings)
    decisions = _decisions(entry, names)
    for key in ("signals", "decisions"):
        entry.faults.extend(_substituted(entry.value.get(key), entry.at(key)))
    router = SemanticRouter(
        mode=mode,
        by_path=by_path,
        model=name,
        namespace=namespace,
        service=ROUTER_SERVICE,
        hostname=service_hostname(ROUTER_SERVICE, namespace),
        port=ROUTER_PORT,
        models=tuple(routed),
        default_model=default,
        fallback=fallback,
        classifiers=classifiers,
        body_limit=body_limit,
        requests_at_once=_requests_at_once(body_limit, classifiers),
    )
    return ReadRouter(entry, router, decisions, signals, _settings(entry))


def _body_limit(entry: Entry, settings: Settings) -> int:
    most = settings.request_body_limit
    if not entry.has("body_limit"):
        return min(bytes_of(_BODY_LIMIT), most)
    found = entry.string("body_limit", SIZE)
    if found and bytes_of(found) > most:
        problem = f"{quote(found)} is more than {PREFIX}request_body_limit, and no larger body comes this far"
        entry.fault("body_limit", problem, f"write at most {most} (bytes), or raise that")
    return bytes_of(found or _BODY_LIMIT)


def _requests_at_once(body_limit: int, classifiers: bool) -> int:
    """The requests whose largest bodies are half of the router's memory."""
    memory = bytes_of(_CLASSIFIERS_MEMORY if classifiers else _MEMORY)
    # A size that is faulty counts as one byte: the fault is reported elsewhere.
    return min(_MOST_AT_ONCE, max(1, memory // 2 // max(1, body_limit)))


def _substituted(node: t.Any, path: str) -> Iterator[Fault]:
    """The strings in which the router would put variables of its environment."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _substituted(str(key), path)
            yield from _substituted(value, f"{path}.{key}")
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for index, value in enumerate(node):
            yield from _substituted(value, f"{path}[{index}]")
    elif isinstance(node, str) and "$" in node:
        problem = "has `$`, where the router puts variables of its environment"
        yield Fault(path, problem, "write it without, as the router has no other spelling of it")


def _one_of(entry: Entry, key: str, names: Sequence[str], required: bool = False) -> str:
    """A name among the router's models; empty where it is wrong."""
    if required:
        entry.missing(key, f"one of {listing(names, 'or')}" if names else "a model of the router")
    name = entry.string(key, MODEL, "")
    if name and name not in names:
        entry.fault(key, f"{quote(name)} is no model of the router", _known(name, names))
    return name


def _known(name: str, names: Sequence[str]) -> str:
    near = nearest(name, names)
    if near:
        return f"did you mean `{near}`?"
    return f"write {listing(names, 'or')}" if 0 < len(names) <= 10 else f"list it in {PREFIX}models first"


def _routed(
    entry: Entry, mode: str, settings: Settings, providers: Sequence[ReadProvider], models: Sequence[Model]
) -> list[RoutedModel]:
    """The models that the router may choose, in the order of the catalogue.

    By default these are all that it can, so that a new model of the catalogue is among them by itself.
    """
    schemas = {read.provider.name: read.provider.schema for read in providers}
    found, problems = [], {}
    for model in models:
        routed, problem = _routed_model(model, mode, schemas, settings)
        if routed:
            found.append(routed)
        else:
            problems[model.name] = problem
    if not entry.has("models") or entry.value["models"] == ["*"]:
        if not found and entry.readable and not entry.faulty("mode"):
            reasons = "; ".join(f"{quote(name)} {problem}" for name, problem in list(problems.items())[:3])
            remedy = f"list one in {PREFIX}models" + (f", or write mode {SINGLE}" if mode == DUAL else "")
            entry.fault("models", f"leaves none to choose from ({reasons or 'the catalogue has no model'})", remedy)
        return found
    wanted = entry.strings("models", _MODELS)
    names = [model.name for model in found]
    for path, name in wanted:
        if name == "*":
            entry.fault("models", 'names models beside "*"', 'write ["*"] for all, or the names alone')
        elif name in problems:
            entry.faults.append(Fault(path, f"{quote(name)} {problems[name]}", "leave it out"))
        elif name not in names:
            entry.faults.append(Fault(path, f"{quote(name)} is no model of the catalogue", _known(name, names)))
    kept = {name for _path, name in wanted}
    return [model for model in found if model.name in kept]


def _routed_model(
    model: Model, mode: str, schemas: Mapping[str, str], settings: Settings
) -> tuple[RoutedModel | None, str]:
    """The model as the router knows it, or why it cannot choose it."""
    first = model.backends[0]
    reference = first.backend_ref
    if reference is None and not serves("/v1/chat/completions", schemas.get(first.provider or "", "")):
        return None, "is not served in chats of OpenAI's API, for which the router chooses"
    if mode == SINGLE:
        return RoutedModel(model.name, model.name, "", None), ""
    if reference is None:
        return None, f"is of a provider outside, whose key the router has not (mode {SINGLE} reaches it)"
    if reference.kind == "InferencePool":
        return None, f"is of an InferencePool, whose picker is asked by the gateway alone (mode {SINGLE} reaches it)"
    if reference.tls.mode != "none":
        return None, f"is served over TLS, and the router calls models by plain HTTP (mode {SINGLE} reaches it)"
    if "$" in first.provider_model:
        return None, f"is {quote(first.provider_model)} at its Service, and the router has a variable in place of `$`"
    hostname, port = reference.hostname, reference.port
    if settings.policy_engine == KUADRANT:
        hostname, port = service_hostname(reference.name + KSERVE_SUFFIX, reference.namespace), KSERVE_PORT
    return RoutedModel(model.name, first.provider_model, hostname, port), ""


# The signals


def _signals(router: Entry) -> dict[str, list[Mapping[str, t.Any]]]:
    """The signals by their family, as the router reads them."""
    if not router.has("signals"):
        return {}
    entry = router.entry("signals", tuple(_FAMILIES))
    found: dict[str, list[Mapping[str, t.Any]]] = {}
    for family in _FAMILIES:
        if not entry.has(family):
            continue
        if family in _CLASSIFIERS and not router.has("classifiers"):
            problem = "needs a model that the router loads"
            remedy = f"write {PREFIX}semantic_router.classifiers, the router's model_catalog, or leave it out"
            entry.fault(family, problem, remedy)
        items = entry.value[family]
        if not isinstance(items, Sequence) or isinstance(items, str):
            entry.fault(family, f"is {type_name(items)}", "write a list of signals")
            continue
        names = []
        for index, item in enumerate(items):
            path = f"{entry.at(family)}[{index}]"
            signal = Entry(item, path, None, entry.faults)
            names.append((signal.at("name"), signal.string("name", SIGNAL)))
            if signal.readable:
                _READERS.get(family, _any_signal)(signal)
                found.setdefault(family, []).append(_completed(family, signal.value))
        unique(names, "name", "give each signal of a family its own", entry.faults)
    return found


def _completed(family: str, signal: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
    """The signal with what the router's schema needs and a reader of the inventory does not."""
    if family == "keywords":
        return {"operator": "OR", "case_sensitive": False, **signal}
    if family == "language":
        return {"description": signal.get("name", ""), **signal}
    return dict(signal)


def _any_signal(signal: Entry) -> None:
    """Its other fields are for `vllm-sr config validate` to judge."""


def _keyword(signal: Entry) -> None:
    signal.check_keys(
        (
            "name",
            "operator",
            "keywords",
            "case_sensitive",
            "method",
            "fuzzy_match",
            "fuzzy_threshold",
            "bm25_threshold",
            "ngram_threshold",
            "ngram_arity",
        ),
    )
    signal.choice("operator", ("AND", "OR", "NOR"), "OR")
    signal.choice("method", ("regex", "bm25", "ngram"), "regex")
    words = signal.strings("keywords", PHRASE)
    if signal.value.get("method") == "regex":
        signal.faults.extend(fault for path, word in words for fault in _expression_faults(path, word))
    elif "method" not in signal.value:
        problem = "begins or ends with what is no ASCII letter, digit or _, so that the router finds it nowhere"
        remedy = "write method: regex in the signal, and an expression here"
        signal.faults.extend(Fault(path, problem, remedy) for path, word in words if is_never_found(word))
    signal.flag("case_sensitive", False)


def is_never_found(keyword: str) -> bool:
    """Whether the router finds a keyword without ``method`` in no prompt.

    It looks for one between the edges of words, which are those of ASCII in Go, unless a Chinese character is in it.
    """
    if _HAN.search(keyword) or not any(character.isalnum() or character == "_" for character in keyword):
        return False
    return not (_ASCII_WORD.match(keyword[0]) and _ASCII_WORD.match(keyword[-1]))


def _expression_faults(path: str, expression: str) -> Iterator[Fault]:
    try:
        check_expression(expression)
    except ExpressionError as error:
        yield Fault(path, f"is no regular expression of Go: it {error}", "correct it")


def _context(signal: Entry) -> None:
    signal.check_keys(("name", "min_tokens", "max_tokens", "description"))
    if signal.readable and not signal.has("min_tokens") and not signal.has("max_tokens"):
        signal.fault("", "bounds nothing", "write min_tokens, max_tokens or both, such as 8K")
    sizes = [_size(signal.string(key, TOKENS, "")) for key in ("min_tokens", "max_tokens")]
    if all(size is not None for size in sizes) and t.cast("float", sizes[0]) > t.cast("float", sizes[1]):
        signal.fault("max_tokens", "is less than min_tokens", "write the larger number here")


def _size(tokens: str) -> float | None:
    if not tokens:
        return None
    factor = {"K": 1e3, "M": 1e6}.get(tokens[-1].upper(), 1)
    return float(tokens.rstrip("kKmM")) * factor


def _shape(signal: Entry) -> None:
    signal.check_keys(("name", "description", "feature", "predicate"))
    signal.missing("feature", "type and source, such as {type: exists, source: {type: regex, pattern: class}}")
    if not signal.has("feature"):
        return
    feature = signal.entry("feature", ("type", "source"))
    feature.choice("type", ("count", "exists", "sequence", "density"))
    if feature.has("source") and isinstance(feature.value["source"], Mapping):
        pattern = feature.value["source"].get("pattern")
        if isinstance(pattern, str):
            feature.faults.extend(_expression_faults(feature.at("source.pattern"), pattern))
    else:
        feature.missing("source", "what is looked at, such as {type: regex, pattern: class}")


def _language(signal: Entry) -> None:
    signal.check_keys(("name", "description", "threshold"))


_READERS = {
    "keywords": _keyword,
    "context": _context,
    "structure": _shape,
    "conversation": _shape,
    "language": _language,
}


# The decisions


def _decisions(router: Entry, models: Sequence[str]) -> tuple[_Decision, ...]:
    found = []
    for entry in router.entries("decisions", _DECISION_KEYS):
        name = entry.string("name", SIGNAL)
        priority = entry.integer("priority", 1, _PRIORITY_LIMIT)
        model = _one_of(entry, "model", models, required=True)
        entry.missing("rules", "operator and conditions, such as {operator: AND, conditions: [...]}")
        rules = entry.value.get("rules")
        found.append(
            _Decision(
                entry.path,
                name,
                entry.string("description", SENTENCE, "") or name,
                priority or 0,
                plain(rules) if isinstance(rules, Mapping) else {},
                model,
                entry.flag("use_reasoning", False),
            )
        )
        if entry.has("rules") and (not rules or not isinstance(rules, Mapping)):
            problem = "is empty" if rules == {} else f"is {type_name(rules)}"
            entry.fault("rules", problem, "write operator and conditions")
    unique(((f"{one.path}.name", one.name) for one in found), "name", "give each decision its own", router.faults)
    remedy = "give each decision its own: the highest that matches wins"
    unique(((f"{one.path}.priority", one.priority or None) for one in found), "priority", remedy, router.faults)
    return tuple(found)


def _check_rules(
    node: t.Any, path: str, signals: Mapping[str, Collection[str]], faults: list[Fault], depth: int = 0
) -> None:
    """Note the faults of the rules of a decision: unknown operators, and signals that nobody describes."""
    if not isinstance(node, Mapping):
        faults.append(Fault(path, f"is {type_name(node)}", "write a mapping"))
        return
    if "operator" not in node and "conditions" not in node:
        _check_condition(node, path, signals, faults)
        return
    entry = Entry(node, path, ("operator", "conditions"), faults)
    operator = entry.choice("operator", ("AND", "OR", "NOT"))
    conditions = node.get("conditions")
    if not isinstance(conditions, Sequence) or isinstance(conditions, str) or not conditions:
        entry.fault("conditions", "names no condition", "write a list of {type, name}, or leave the decision out")
        return
    if operator == "NOT" and len(conditions) != 1:
        entry.fault("conditions", f"has {len(conditions)} items", "write one: NOT is about one condition")
    if depth >= _DEPTH:
        entry.fault("conditions", "is nested too deep", f"write at most {_DEPTH} levels")
        return
    for index, condition in enumerate(conditions):
        _check_rules(condition, f"{entry.at('conditions')}[{index}]", signals, faults, depth + 1)


def _check_condition(
    node: Mapping[str, t.Any], path: str, signals: Mapping[str, Collection[str]], faults: list[Fault]
) -> None:
    entry = Entry(node, path, ("type", "name"), faults)
    kind = entry.choice("type", (*_FAMILIES.values(), _AUTHZ))
    name = entry.string("name", SIGNAL)
    known = sorted(signals.get(kind, ()))
    # The router knows domains that nobody describes.
    if not kind or not name or name in known or (kind == "domain" and not known):
        return
    if kind == _AUTHZ:
        problem, place = f"no tier is named {quote(name)}", f"{PREFIX}tiers"
    else:
        family = next(family for family, of in _FAMILIES.items() if of == kind)
        problem = f"no signal of type {kind} is named {quote(name)}"
        place = f"{PREFIX}semantic_router.signals.{family}"
    entry.fault("name", problem, _known(name, known) if known else f"describe it in {place}")


def _settings(router: Entry) -> dict[str, t.Any]:
    """Further settings of the router, none of them the collection's own, and its model catalogue."""
    found: dict[str, t.Any] = {}
    if router.has("settings"):
        entry = router.entry("settings", (*_SECTIONS, "model_catalog"))
        if "model_catalog" in entry.value:
            entry.fault("model_catalog", "names models that the router loads", "write it in classifiers")
        for section in _SECTIONS:
            value = entry.value.get(section)
            if value is not None and not isinstance(value, Mapping):
                entry.fault(section, f"is {type_name(value)}", "write a mapping, or leave it out")
        for path in _RESERVED:
            *sections, name = path.split(".")
            given: t.Any = entry.value
            for section in sections:
                given = given.get(section) if isinstance(given, Mapping) else None
            if isinstance(given, Mapping) and name in given:
                why = "is the collection's to say: it keeps callers, prompts and answers apart, and within limits"
                entry.fault(path, why, "leave it out")
        found = {str(key): plain(value) for key, value in entry.value.items()}
    if router.has("classifiers"):
        catalogue = router.value["classifiers"]
        if not isinstance(catalogue, Mapping):
            router.fault("classifiers", f"is {type_name(catalogue)}", "write the router's model_catalog, a mapping")
        else:
            found["model_catalog"] = plain(catalogue)
    return found


# The whole


def finish(root: Entry, read: ReadRouter | None, tiers: Sequence[tuple[str, Tier]]) -> SemanticRouter | None:
    """The router with its configuration, and the faults of what it and the tiers say together.

    :param root: all variables, by their names without the prefix.
    :param tiers: the tiers with their paths.
    """
    if read is None:
        return None
    router, entry = read.router, read.entry
    allowed = [(path, tier) for path, tier in tiers if router.model in tier.models]
    signals: dict[str, Collection[str]] = {
        _FAMILIES[family]: [name for item in items if SIGNAL.accepts(name := str(item.get("name", "")))]
        for family, items in read.signals.items()
    }
    signals[_AUTHZ] = [tier.name for _path, tier in allowed]
    for decision in read.decisions:
        if decision.rules:
            _check_rules(decision.rules, f"{decision.path}.rules", signals, root.faults)
    _check_names(read, allowed, root.faults)
    names = [model.name for model in router.models]
    for path, tier in allowed:
        if names and not set(names) & set(tier.models):
            problem = f"has {quote(router.model)} and none of the models that it leads to"
            root.faults.append(Fault(f"{path}.models", problem, f"add {listing(names[:5], 'or')}, or leave it out"))
    chosen = [*(decision.model for decision in read.decisions), router.default_model]
    for _path, tier in allowed:
        lacking = [name for name in dict.fromkeys(chosen) if name and name not in tier.models]
        if not lacking:
            continue
        shown = listing([quote(name) for name in lacking])
        if router.fallback not in (DENY, "") and router.fallback not in tier.models:
            problem = f"{quote(router.fallback)} is in place of {shown}, and tier {tier.name} may not use it either"
            entry.fault("fallback", problem, f"write a model that it may use, or {DENY}")
            break
    if router.mode == DUAL:
        # A tier that lacks a chosen model gets the fallback.
        _check_model_limits(root, router, [*chosen, router.fallback], tiers)
    if tiers and not allowed and not root.faults:
        problem = f"no tier may use model {quote(router.model)}"
        entry.fault("model", problem, f"name it in models of {PREFIX}tiers, or leave the router out")
    asking = [RouterTier(tier.name, tuple(name for name in names if name in tier.models)) for _path, tier in allowed]
    router = replace(router, tiers=tuple(asking))
    return replace(router, config=_config(read, router, [tier for _path, tier in allowed]))


def _check_names(read: ReadRouter, tiers: Sequence[tuple[str, Tier]], faults: list[Fault]) -> None:
    """Logs and metrics name decisions, those that the collection adds too."""
    added = {"default", *(f"{decision.name}.{tier.name}" for decision in read.decisions for _path, tier in tiers)}
    for decision in read.decisions:
        if decision.name in added:
            problem = f"{quote(decision.name)} is the name of a decision that is added to those of the inventory"
            faults.append(Fault(f"{decision.path}.name", problem, "rename it"))


def _check_model_limits(
    root: Entry, router: SemanticRouter, chosen: Sequence[str], tiers: Sequence[tuple[str, Tier]]
) -> None:
    """Behind the gateway nobody counts by model."""
    for path, tier in tiers:
        limited = sorted({limit.model for limit in tier.limits} & {*chosen, router.model})
        if limited and router.model in tier.models:
            problem = (
                f"limit {listing([quote(name) for name in limited])}, and in mode {DUAL} requests for "
                f"{quote(router.model)} would pass by: the gateway does not know the model that will be chosen"
            )
            remedy = f"leave them out, or write mode {SINGLE} in {PREFIX}semantic_router"
            root.faults.append(Fault(f"{path}.model_limits", problem, remedy))


def _config(read: ReadRouter, router: SemanticRouter, tiers: Sequence[Tier]) -> dict[str, t.Any]:
    """The router's configuration in its own schema."""
    signals = {family: list(items) for family, items in read.signals.items()}
    signals["role_bindings"] = [
        {"name": tier.name, "role": tier.name, "subjects": [{"kind": "Group", "name": tier.name}]} for tier in tiers
    ]
    ours = {
        "router": {
            "config_source": "file",
            "auto_model_names": [router.model],
            "clear_route_cache": True,
            "skip_processing": {"enabled": False},
            "strategy": "priority",
            "learning": {"enabled": False},
        },
        "services": {
            "authz": {
                "fail_open": False,
                "identity": {"user_id_header": ROUTER_USER, "user_groups_header": ROUTER_GROUPS},
            },
            # What they keep are prompts and answers, which would reach other callers.
            "router_replay": {"enabled": False},
            "response_api": {"enabled": False},
            "observability": {"tracing": {"enabled": False}, "profiling": {"enabled": False}},
        },
        "stores": {name: {"enabled": False} for name in ("response_cache", "memory", "vector_store")},
        # A message has a whole body and its headers.
        "integrations": {"looper": {"grpc_max_msg_size_mb": math.ceil(router.body_limit / _MEBIBYTE) + 1}},
    }
    return {
        "version": SCHEMA,
        "providers": {
            "defaults": {"model": router.default_model},
            "models": [
                provider_model(
                    model.name, model.provider_model, f"{model.hostname}:{model.port}" if model.hostname else NOWHERE
                )
                for model in router.models
            ],
        },
        "routing": {
            "modelCards": [{"name": model.name} for model in router.models],
            "signals": signals,
            "decisions": _rendered_decisions(read, router, tiers),
        },
        "global": _merged(read.settings, ours),
    }


def provider_model(name: str, provider_name: str, endpoint: str) -> dict[str, t.Any]:
    """A model in the router's configuration.

    :param provider_name: what the router writes into the request.
    :param endpoint: DNS name and port, which the router calls by plain HTTP.
    """
    reference = {"name": "backend", "endpoint": endpoint, "protocol": "http", "weight": 1}
    return {"name": name, "provider_model_id": provider_name, "backend_refs": [reference]}


def _rendered_decisions(read: ReadRouter, router: SemanticRouter, tiers: Sequence[Tier]) -> list[dict[str, t.Any]]:
    """The decisions by falling priority, those of tiers that may not use the model of one before it.

    Requests that none of them is about get the default model by the last one.
    """
    found = []
    ordered = sorted(read.decisions, key=lambda decision: decision.priority)
    last = _Decision("", "default", "No other decision", 0, {}, router.default_model, False)
    for rank, decision in enumerate([last, *ordered], start=1):
        priority = rank * _STEP
        found.append(_rendered(decision, decision.name, priority, decision.model, decision.rules))
        if router.fallback == DENY:
            continue
        for tier in tiers:
            if decision.model not in tier.models:
                role = {"type": _AUTHZ, "name": tier.name}
                rules = {"operator": "AND", "conditions": [role, *([decision.rules] if decision.rules else [])]}
                name = f"{decision.name}.{tier.name}"
                found.append(_rendered(decision, name, priority + _STEP // 2, router.fallback, rules))
    return sorted(found, key=lambda rendered: -int(rendered["priority"]))


def _rendered(
    decision: _Decision, name: str, priority: int, model: str, rules: Mapping[str, t.Any]
) -> dict[str, t.Any]:
    shown = dict(rules) if "conditions" in rules else {"operator": "AND", "conditions": [dict(rules)] if rules else []}
    return {
        "name": name,
        "description": decision.description,
        "priority": priority,
        "rules": shown,
        "modelRefs": [{"model": model, "use_reasoning": decision.use_reasoning}],
    }


def _merged(base: Mapping[str, t.Any], over: Mapping[str, t.Any]) -> dict[str, t.Any]:
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result
