# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The router's configuration: version v0.3 of its schema, as far as the fake follows it, and what is wrong with it.

A key that the schema does not have is refused, and so is one that the fake does not follow.
"""

from __future__ import annotations

import os
import re
import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import yaml
from router_expressions import compiled

VERSION = "v0.3"
#: The recipe that the top of the configuration describes.
DEFAULT_RECIPE = "default"
#: What a client may ask for where the configuration names nothing.
AUTO_MODELS = ("vllm-sr/auto", "auto", "MoM")

#: By the family of signals, the type that conditions name.
FAMILIES = {
    "keywords": "keyword",
    "context": "context",
    "structure": "structure",
    "conversation": "conversation",
    "language": "language",
    "role_bindings": "authz",
}
#: Those that need a model, and those of the metadata of requests. The fake has neither.
OTHER_FAMILIES = (
    "classifiers", "complexity", "domains", "embeddings", "events", "fact_check", "input_modality", "jailbreak", "kb",
    "metadata", "modality", "pii", "preferences", "reasks", "safety", "user_feedbacks",
)  # fmt: skip
OTHER_TYPES = (
    "classifier", "complexity", "domain", "embedding", "event", "fact_check", "input_modality", "jailbreak", "kb",
    "metadata", "modality", "pii", "preference", "projection", "reask", "safety", "user_feedback",
)  # fmt: skip

#: The keys of each place.
_TOP = ("version", "listeners", "providers", "routing", "entrypoints", "recipes", "global")
_PROVIDERS = ("defaults", "models")
_PROVIDER_MODEL = ("name", "provider_model_id", "backend_refs", "pricing")
_BACKEND = ("name", "endpoint", "protocol", "weight")
_ROUTING = ("modelCards", "signals", "decisions")
_CARD = ("name", "description", "context_window_size", "param_size", "capabilities", "tags", "quality_score")
_DECISION = ("name", "description", "priority", "rules", "modelRefs", "annotations")
_MODEL_REF = ("model", "use_reasoning", "weight")
_SIGNALS = {
    "keywords": (
        "name", "operator", "keywords", "case_sensitive", "method", "fuzzy_match", "fuzzy_threshold",
    ),
    "context": ("name", "min_tokens", "max_tokens", "description"),
    "structure": ("name", "description", "feature", "predicate"),
    "conversation": ("name", "description", "feature", "predicate"),
    "language": ("name", "description", "threshold"),
    "role_bindings": ("name", "role", "subjects", "description"),
}  # fmt: skip
_STRUCTURE_SOURCES = {"regex": "pattern", "keyword_set": "keywords", "sequence": "sequences"}
_CONVERSATION_SOURCES = (
    "message", "tool_definition", "assistant_tool_call", "assistant_tool_cycle", "active_tool_loop",
)  # fmt: skip
_ROLES = ("user", "assistant", "system", "developer", "tool", "non_user")
#: The megabytes of a message where the configuration says nothing.
_MESSAGE_SIZE = 4
_COMPARATORS = ("gt", "gte", "lt", "lte")

Body = Mapping[str, t.Any]


class ConfigError(Exception):
    """A configuration that the router refuses."""


@dataclass(frozen=True)
class Backend:
    """Where a model is served."""

    protocol: str
    host: str
    port: int
    weight: int


@dataclass(frozen=True)
class Model:
    name: str
    provider_model: str
    backends: tuple[Backend, ...]


@dataclass(frozen=True)
class Decision:
    name: str
    priority: int
    rules: Body
    model: str


@dataclass(frozen=True)
class Recipe:
    """A profile of routing: its signals by family, and its decisions by falling priority."""

    name: str
    signals: Mapping[str, Sequence[Body]]
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class Config:
    models: Mapping[str, Model]
    default_model: str
    #: By what a client may ask for.
    entrypoints: Mapping[str, Recipe]
    user_header: str
    groups_header: str
    fail_open: bool
    clear_route_cache: bool
    skip_processing: bool
    replay: bool
    #: Bytes of a message of the external processor, which has a whole body.
    largest_message: int


def load(path: str, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration of a file. Raises ConfigError with all its faults."""
    try:
        with open(path, encoding="utf-8") as stream:
            document = yaml.load(stream, _Loader)  # noqa: S506 (a safe loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(" ".join(str(error).split())) from error
    return read(document, environment)


def read(document: t.Any, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration of a document. Raises ConfigError with all its faults."""
    reader = _Reader()
    config = reader.config(_expanded(document, environment))
    if reader.faults:
        raise ConfigError("; ".join(reader.faults))
    return config


class _Loader(yaml.SafeLoader):
    """Refuses a key twice in a mapping, as the router does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[t.Any, t.Any]:
        found: set[t.Any] = set()
        for key_node, _value in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in found:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is here twice", key_node.start_mark)
            found.add(key)
        return super().construct_mapping(node, deep)


_REFERENCE = re.compile(r"\$(?:\$|\{(?P<braced>[^}]*)\}|(?P<bare>[A-Za-z0-9_]+))")


def _expanded(value: t.Any, environment: Mapping[str, str]) -> t.Any:
    """The document with the environment in place of ``$NAME``, ``${NAME}``, ``${NAME:-default}`` and ``$$``."""

    def one(match: re.Match[str]) -> str:
        if match["bare"] is not None:
            return environment.get(match["bare"], "")
        if match["braced"] is None:
            return "$"
        name, dash, default = match["braced"].partition("-")
        found = environment.get(name.removesuffix(":"))
        if found is None or (name.endswith(":") and not found):
            return default if dash else ""
        return found

    if isinstance(value, str):
        return _REFERENCE.sub(one, value)
    if isinstance(value, dict):
        return {key: _expanded(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item, environment) for item in value]
    return value


@dataclass
class _Reader:
    faults: list[str] = field(default_factory=list)

    def fault(self, path: str, problem: str) -> None:
        self.faults.append(f"{path}: {problem}")

    def mapping(self, value: t.Any, path: str, known: Collection[str] | None = None) -> Body:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fault(path, f"must be a mapping, not {type(value).__name__}")
            return {}
        for key in value:
            if known is not None and key not in known:
                self.fault(f"{path}.{key}" if path else str(key), "is unknown to the fake")
        return value

    def items(self, value: t.Any, path: str, known: Collection[str]) -> list[tuple[str, Body]]:
        """The mappings of a list with their paths. Their names must differ."""
        if value is None:
            return []
        if not isinstance(value, list):
            self.fault(path, f"must be a list, not {type(value).__name__}")
            return []
        found = [
            (f"{path}[{index}]", self.mapping(item, f"{path}[{index}]", known)) for index, item in enumerate(value)
        ]
        names: set[str] = set()
        for at, item in found:
            if "name" in known:
                name = self.string(item, "name", at)
                if name and name in names:
                    self.fault(f"{at}.name", f"{name!r} is here twice")
                names.add(name)
        return found

    def string(self, entry: Body, key: str, path: str, default: str | None = None) -> str:
        value = entry.get(key, default)
        if isinstance(value, str) and (value.strip() or default == ""):
            return value
        self.fault(f"{path}.{key}", "is missing" if value in (None, "") else f"must be a string, not {value!r}")
        return ""

    def strings(self, entry: Body, key: str, path: str) -> list[str]:
        value = entry.get(key)
        if isinstance(value, list) and value and all(isinstance(item, str) and item for item in value):
            return value
        self.fault(f"{path}.{key}", "must be a list of strings, not empty")
        return []

    def flag(self, entry: Body, key: str, path: str, default: bool) -> bool:
        value = entry.get(key, default)
        if not isinstance(value, bool):
            self.fault(f"{path}.{key}", f"must be true or false, not {value!r}")
        return bool(value)

    def number(self, entry: Body, key: str, path: str, default: int | None, least: int = 0) -> int:
        value = entry.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        self.fault(f"{path}.{key}", f"must be a number of {least} or more, not {value!r}")
        return least

    def choice(self, entry: Body, key: str, path: str, choices: Collection[str], default: str | None = None) -> str:
        value = entry.get(key, default)
        if value in choices:
            return str(value)
        self.fault(f"{path}.{key}", f"{value!r} is unsupported, one of {', '.join(choices)} is not")
        return ""

    # The parts

    def config(self, document: t.Any) -> Config:
        top = self.mapping(document, "", _TOP)
        if top.get("version") != VERSION:
            self.fault("version", f"{top.get('version')!r} is unsupported, {VERSION!r} is not")
        providers = self.mapping(top.get("providers"), "providers", _PROVIDERS)
        models = self.models(providers)
        defaults = self.mapping(providers.get("defaults"), "providers.defaults", ("model", "reasoning_effort"))
        default = self.known_model(defaults, "model", "providers.defaults", models)
        router, services, integrations = self.globals(top)
        recipes = self.recipes(top, models)
        skipping = self.mapping(router.get("skip_processing"), "global.router.skip_processing", ("enabled",))
        authz = self.mapping(services.get("authz"), "global.services.authz", ("fail_open", "identity", "providers"))
        identity_keys = ("user_id_header", "user_groups_header")
        identity = self.mapping(authz.get("identity"), "global.services.authz.identity", identity_keys)
        replay = self.mapping(services.get("router_replay"), "global.services.router_replay")
        at = "global.services.authz.identity"
        return Config(
            models=models,
            default_model=default,
            entrypoints=self.entrypoints(top, router, recipes, models),
            user_header=self.string(identity, "user_id_header", at, "x-authz-user-id").lower(),
            groups_header=self.string(identity, "user_groups_header", at, "x-authz-user-groups").lower(),
            fail_open=self.flag(authz, "fail_open", "global.services.authz", False),
            clear_route_cache=self.flag(router, "clear_route_cache", "global.router", True),
            skip_processing=self.flag(skipping, "enabled", "global.router.skip_processing", False),
            replay=self.flag(replay, "enabled", "global.services.router_replay", True),
            largest_message=self.largest_message(integrations),
        )

    def globals(self, top: Body) -> tuple[Body, Body, Body]:
        found = self.mapping(
            top.get("global"), "global", ("router", "services", "stores", "integrations", "model_catalog")
        )
        router = self.mapping(found.get("router"), "global.router")
        if router.get("config_source", "file") != "file":
            self.fault("global.router.config_source", f"{router['config_source']!r} is unsupported, 'file' is not")
        services = self.mapping(found.get("services"), "global.services")
        return router, services, self.mapping(found.get("integrations"), "global.integrations")

    def largest_message(self, integrations: Body) -> int:
        looper = self.mapping(integrations.get("looper"), "global.integrations.looper")
        # As little as nothing is the default.
        size = self.number(looper, "grpc_max_msg_size_mb", "global.integrations.looper", 0)
        return (size or _MESSAGE_SIZE) * 2**20

    def models(self, providers: Body) -> dict[str, Model]:
        found = {}
        for path, entry in self.items(providers.get("models"), "providers.models", _PROVIDER_MODEL):
            backends = self.items(entry.get("backend_refs"), f"{path}.backend_refs", _BACKEND)
            name = str(entry.get("name") or "")
            if not backends:
                self.fault(f"{path}.backend_refs", f"model {name!r} has no backend")
            found[name] = Model(
                name,
                self.string(entry, "provider_model_id", path, name),
                tuple(self.backend(item, at) for at, item in backends),
            )
        if not found:
            self.fault("providers.models", "there is no model")
        return found

    def backend(self, entry: Body, path: str) -> Backend:
        protocol = self.choice(entry, "protocol", path, ("http", "https"), "http")
        endpoint = self.string(entry, "endpoint", path)
        place = re.fullmatch(r"(?P<host>[^\s/:]+|\[[0-9A-Fa-f:]+\]):(?P<port>\d{1,5})", endpoint)
        if endpoint and (not place or not 0 < int(place["port"]) < 65_536):
            self.fault(f"{path}.endpoint", f"{endpoint!r} must be a host and a port")
        weight = self.number(entry, "weight", path, 1)
        if not place:
            return Backend(protocol, "", 0, weight)
        return Backend(protocol, place["host"].strip("[]"), int(place["port"]), weight)

    def known_model(self, entry: Body, key: str, path: str, models: Collection[str]) -> str:
        name = self.string(entry, key, path)
        if name and name not in models:
            self.fault(f"{path}.{key}", f"{name!r} is no model of providers.models")
        return name

    def recipes(self, top: Body, models: Collection[str]) -> dict[str, Recipe]:
        routing = self.mapping(top.get("routing"), "routing", _ROUTING)
        for path, card in self.items(routing.get("modelCards"), "routing.modelCards", _CARD):
            self.known_model(card, "name", path, models)
        found = {DEFAULT_RECIPE: self.recipe(DEFAULT_RECIPE, routing, "routing", models)}
        for path, entry in self.items(top.get("recipes"), "recipes", ("name", "description", "routing")):
            name = str(entry.get("name") or "")
            if name == DEFAULT_RECIPE:
                self.fault(f"{path}.name", f"{name!r} is the recipe of routing")
            inner = self.mapping(entry.get("routing"), f"{path}.routing", ("signals", "decisions"))
            found[name] = self.recipe(name, inner, f"{path}.routing", models)
        return found

    def entrypoints(
        self, top: Body, router: Body, recipes: Mapping[str, Recipe], models: Collection[str]
    ) -> dict[str, Recipe]:
        names = router.get("auto_model_names")
        if names is None:
            single = router.get("auto_model_name")
            names = list(AUTO_MODELS) if single is None else [single]
        elif names:
            names = self.strings(router, "auto_model_names", "global.router")
        found = {str(name): recipes[DEFAULT_RECIPE] for name in names}
        for path, entry in self.items(top.get("entrypoints"), "entrypoints", ("model_names", "recipe")):
            recipe = self.string(entry, "recipe", path)
            if recipe and recipe not in recipes:
                self.fault(f"{path}.recipe", f"{recipe!r} is no recipe")
            for name in self.strings(entry, "model_names", path):
                if name in found:
                    self.fault(f"{path}.model_names", f"{name!r} has a recipe already")
                found[name] = recipes.get(recipe, recipes[DEFAULT_RECIPE])
        for name in found:
            if name in models:
                self.fault("global.router.auto_model_names", f"{name!r} is a model of providers.models too")
        return found

    # Signals and decisions

    def recipe(self, name: str, routing: Body, path: str, models: Collection[str]) -> Recipe:
        signals = self.signals(routing, f"{path}.signals")
        known = {
            kind: {str(item.get("role" if family == "role_bindings" else "name", "")) for item in signals[family]}
            for family, kind in FAMILIES.items()
        }
        decisions = []
        for at, entry in self.items(routing.get("decisions"), f"{path}.decisions", _DECISION):
            rules = self.mapping(entry.get("rules"), f"{at}.rules")
            if rules:
                self.rules(rules, f"{at}.rules", known, root=True)
            references = self.items(entry.get("modelRefs"), f"{at}.modelRefs", _MODEL_REF)
            if not references:
                self.fault(f"{at}.modelRefs", f"decision {str(entry.get('name'))!r} names no model")
            names = [self.known_model(reference, "model", place, models) for place, reference in references]
            decisions.append(
                Decision(
                    str(entry.get("name") or ""),
                    self.number(entry, "priority", at, None),
                    rules,
                    names[0] if names else "",
                )
            )
        return Recipe(name, signals, tuple(sorted(decisions, key=lambda decision: -decision.priority)))

    def rules(self, node: Body, path: str, known: Mapping[str, Collection[str]], root: bool = False) -> None:
        if "type" in node or "name" in node:
            self.mapping(node, path, ("type", "name"))
            kind, name = self.string(node, "type", path), self.string(node, "name", path)
            if kind in OTHER_TYPES:
                self.fault(f"{path}.type", f"signals of type {kind!r} are unsupported by the fake")
            elif kind and kind not in known:
                self.fault(f"{path}.type", f"{kind!r} is no type of signals")
            elif name and name not in known.get(kind, (name,)):
                self.fault(f"{path}.name", f"there is no signal {name!r} of type {kind}")
            return
        self.mapping(node, path, ("operator", "conditions"))
        operator = self.choice(node, "operator", path, ("AND", "OR", "NOT"), "AND" if root else None)
        conditions = node.get("conditions") or []
        if not isinstance(conditions, list):
            self.fault(f"{path}.conditions", "must be a list")
            return
        if not conditions and not (root and operator == "AND"):
            self.fault(f"{path}.conditions", "is empty")
        if operator == "NOT" and len(conditions) != 1:
            self.fault(f"{path}.conditions", f"must be one condition of NOT, not {len(conditions)}")
        for index, condition in enumerate(conditions):
            at = f"{path}.conditions[{index}]"
            self.rules(self.mapping(condition, at), at, known)

    def signals(self, routing: Body, path: str) -> dict[str, list[Body]]:
        entry = self.mapping(routing.get("signals"), path, (*FAMILIES, *OTHER_FAMILIES))
        for family in OTHER_FAMILIES:
            if entry.get(family):
                self.fault(f"{path}.{family}", "is unsupported by the fake: it has no model and no metadata")
        found: dict[str, list[Body]] = {}
        for family in FAMILIES:
            items = self.items(entry.get(family), f"{path}.{family}", _SIGNALS[family])
            for at, item in items:
                getattr(self, family)(item, at)
            found[family] = [item for _at, item in items]
        return found

    def keywords(self, entry: Body, path: str) -> None:
        self.choice(entry, "operator", path, ("AND", "OR", "NOR"))
        method = self.choice(entry, "method", path, ("regex",), "regex")
        self.flag(entry, "case_sensitive", path, False)
        self.flag(entry, "fuzzy_match", path, False)
        self.number(entry, "fuzzy_threshold", path, 0)
        for keyword in self.strings(entry, "keywords", path):
            if method and "method" in entry:
                self.pattern(keyword, f"{path}.keywords")

    def pattern(self, pattern: str, path: str) -> None:
        try:
            compiled(pattern, case_sensitive=True)
        except ValueError as error:
            self.fault(path, f"{pattern!r} is an invalid regular expression: {error}")

    def context(self, entry: Body, path: str) -> None:
        bounds = [entry.get(key) for key in ("min_tokens", "max_tokens")]
        if bounds == [None, None]:
            self.fault(path, "must have min_tokens or max_tokens")
        sizes = [tokens(bound) for bound in bounds]
        for key, bound, size in zip(("min_tokens", "max_tokens"), bounds, sizes):
            if bound is not None and size is None:
                self.fault(f"{path}.{key}", f"{bound!r} is an invalid number of tokens")
        if sizes[0] is not None and sizes[1] is not None and sizes[0] > sizes[1]:
            self.fault(path, "min_tokens must not be above max_tokens")

    def structure(self, entry: Body, path: str) -> None:
        feature = self.mapping(entry.get("feature"), f"{path}.feature", ("type", "source"))
        at = f"{path}.feature.source"
        known = ("type", "pattern", "keywords", "case_sensitive", "sequences")
        source = self.mapping(feature.get("source"), at, known)
        kind = self.choice(feature, "type", f"{path}.feature", ("count", "exists", "sequence", "density"))
        by = self.choice(source, "type", at, tuple(_STRUCTURE_SOURCES))
        self.flag(source, "case_sensitive", at, False)
        if kind == "sequence" and by not in ("", "sequence"):
            self.fault(f"{at}.type", f"{by!r} is unsupported for a feature of type 'sequence'")
        if by == "regex":
            self.pattern(self.string(source, "pattern", at), f"{at}.pattern")
        elif by == "keyword_set":
            self.strings(source, "keywords", at)
        elif by == "sequence":
            sequences = source.get("sequences")
            if not isinstance(sequences, list) or not sequences:
                self.fault(f"{at}.sequences", "must be a list of lists of strings, not empty")
                sequences = []
            for index, sequence in enumerate(sequences):
                self.strings({"sequence": sequence}, "sequence", f"{at}.sequences[{index}]")
        self.predicate(entry, path)

    def conversation(self, entry: Body, path: str) -> None:
        feature = self.mapping(entry.get("feature"), f"{path}.feature", ("type", "source"))
        at = f"{path}.feature.source"
        source = self.mapping(feature.get("source"), at, ("type", "role"))
        self.choice(feature, "type", f"{path}.feature", ("count", "exists"))
        if self.choice(source, "type", at, _CONVERSATION_SOURCES) == "message":
            self.choice(source, "role", at, _ROLES)
        elif "role" in source:
            self.fault(f"{at}.role", "must be left out, as the source is not 'message'")
        self.predicate(entry, path)

    def predicate(self, entry: Body, path: str) -> None:
        if "predicate" not in entry:
            return
        found = self.mapping(entry["predicate"], f"{path}.predicate", _COMPARATORS)
        numbers = [found[key] for key in _COMPARATORS if key in found]
        if not numbers or not all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in numbers):
            self.fault(f"{path}.predicate", f"must compare with numbers by {', '.join(_COMPARATORS)}")

    def language(self, entry: Body, path: str) -> None:
        """Its name says it all."""

    def role_bindings(self, entry: Body, path: str) -> None:
        self.string(entry, "role", path)
        subjects = self.items(entry.get("subjects"), f"{path}.subjects", ("kind", "name"))
        if not subjects:
            self.fault(f"{path}.subjects", "must have one or more")
        for at, subject in subjects:
            if str(subject.get("kind", "")).strip().lower() not in ("user", "group"):
                self.fault(f"{at}.kind", f"must be User or Group, not {subject.get('kind')!r}")


def tokens(size: t.Any) -> float | None:
    """A number of tokens such as ``32K``; None if it is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KkMm]?)", str(size).strip()) if not isinstance(size, bool) else None
    return float(match[1]) * {"K": 1e3, "M": 1e6}.get(match[2].upper(), 1) if match else None
