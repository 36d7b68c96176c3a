# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of the InferencePools: pods that serve models, and the endpoint picker that chooses among them."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import (
    Fault,
    listing,
    quote,
    type_name,
    unique,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import (
    AUTHORINO,
    ENVOY_AI_GATEWAY,
    PREFIX,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import (
    BackendRef,
    EndpointPicker,
    InferencePool,
    Model,
    Objective,
    PoolSimulator,
    Tier,
    plain,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import (
    PICKER_PORT,
    PICKER_SUFFIX,
    SIMULATOR_SUFFIX,
    pool_backend_name,
    route_name,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.settings import Settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import (
    HOSTNAME,
    LABEL,
    LABEL_KEY,
    LABEL_VALUE,
    METRIC,
    PICKER_PLUGIN,
    POOL,
)

#: By namespace and name.
Pools = dict[tuple[str, str], InferencePool]

FAIL_CLOSE, FAIL_OPEN = "FailClose", "FailOpen"
#: The plugins of the endpoint picker that rank pods, in the version of role versions.
SCORERS = ("queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer", "lora-affinity-scorer")
_DEFAULT_SCORERS = SCORERS[:3]
# Chooses the pod that a request's header names.
_TESTING_PLUGIN = "header-based-testing-filter"
# Chooses among the pods with the best scores, one in each profile.
_PICKERS = ("max-score-picker", "random-picker", "weighted-random-picker")
# For one profile alone.
_PROFILE_HANDLER = "single-profile-handler"
#: All plugins of the endpoint picker, in the version of role versions.
PLUGINS = (*SCORERS, *_PICKERS, _PROFILE_HANDLER)
_CONFIG_API = "inference.networking.x-k8s.io/v1alpha1"
_POOL_KEYS = (
    "name",
    "namespace",
    "target_port",
    "selector",
    "endpoint_picker",
    "objectives",
    "direct_route",
    "simulated",
    "simulator",
)
_PICKER_KEYS = ("replicas", "port", "failure_mode", "scorers", "config", "saturation", "metrics")
#: A rule of an HTTPRoute holds 64 matches, and each model needs one.
MODELS_LIMIT = 64
_PRIORITY_LIMIT = 2**31 - 1


def read_inference_pools(root: Entry, settings: Settings) -> Pools:
    """The pools that the inventory describes, in its order.

    :param root: all variables, by their names without the prefix.
    """
    pools: Pools = {}
    names: list[tuple[str, str]] = []
    for entry in root.entries("inference_pools", _POOL_KEYS):
        problem = unsupported(settings)
        if problem:
            entry.fault("", problem, f"take it out of {PREFIX}inference_pools")
        pool = _pool(entry, settings)
        if pool.name:
            names.append((entry.at("name"), f"{pool.namespace}/{pool.name}"))
            pools.setdefault((pool.namespace, pool.name), pool)
    unique(names, "pool", "describe each pool once", root.faults)
    return pools


def unsupported(settings: Settings) -> str:
    """Why no pool works with the stack and the engine; empty where they do."""
    if (settings.stack, settings.policy_engine) == (ENVOY_AI_GATEWAY, AUTHORINO):
        return ""
    return f"InferencePools need stack {ENVOY_AI_GATEWAY} with engine {AUTHORINO}"


def with_models(
    pools: Pools, references: Mapping[str, BackendRef], models: Sequence[Model]
) -> tuple[InferencePool, ...]:
    """The pools with their models: those of the inventory, then those that models name and the cluster has.

    :param references: the objects of kind InferencePool that models name, by the name of their backend.
    """
    found = {pool.backend: pool for pool in pools.values()}
    for backend, reference in references.items():
        if reference.name:
            found.setdefault(backend, existing_pool(reference.namespace, reference.name))
    served: dict[str, list[str]] = {}
    for model in models:
        for one in model.backends:
            served.setdefault(one.name, []).append(model.name)
    return tuple(replace(pool, models=tuple(served.get(backend, ()))) for backend, pool in found.items())


def existing_pool(namespace: str, name: str) -> InferencePool:
    """A pool that the cluster has and the inventory does not describe."""
    backend = pool_backend_name(namespace, name)
    return InferencePool(name, namespace, backend, route_name(backend, [backend]))


def check_pools(
    root: Entry, pools: Sequence[InferencePool], models: Sequence[Model], tiers: Sequence[tuple[str, Tier]]
) -> None:
    """Note the faults among pools, models and tiers."""
    for pool in pools:
        if len(pool.models) > MODELS_LIMIT:
            root.fault(
                "models",
                f"InferencePool {pool.namespace}/{pool.name} has {len(pool.models)} of them",
                f"name it in at most {MODELS_LIMIT}: a route holds no more",
            )
    by_backend = {pool.backend: pool for pool in pools}
    for model in models:
        # One without a name has a fault already.
        described = by_backend.get(model.backends[0].name) if model.name and model.backends else None
        if model.objective and described is not None and described.managed:
            _check_objective(root, f"{_place(root, model.name)}.objective", model.objective, [described])
    for path, tier in tiers:
        if tier.objective and not any(pool.models and not pool.managed for pool in pools):
            _check_objective(root, f"{path}.objective", tier.objective, pools)
    # Where there are other faults, pools may have no name, or models another one than they should.
    if not root.faults:
        _check_described(root, [pool for pool in pools if pool.managed], [tier for _path, tier in tiers])


def _place(root: Entry, model: str) -> str:
    """Where the inventory has a model on the premises."""
    entries = root.value.get("models")
    listed = entries if isinstance(entries, Sequence) else ()
    names = [entry.get("name") if isinstance(entry, Mapping) else None for entry in listed]
    return root.at(f"models[{names.index(model)}]")


def _check_objective(root: Entry, path: str, objective: str, pools: Sequence[InferencePool]) -> None:
    known = sorted({found.name for pool in pools for found in pool.objectives})
    if objective not in known:
        remedy = f"write {listing(known, 'or')}" if known else f"describe it in {PREFIX}inference_pools[].objectives"
        root.faults.append(Fault(path, f"names objective {quote(objective)}, which no pool of it has", remedy))


def _check_described(root: Entry, pools: Sequence[InferencePool], tiers: Sequence[Tier]) -> None:
    """Note the faults among the pools that the inventory describes: each has models, and pods of its own."""
    tier_namespaces = {tier.namespace: tier.name for tier in tiers}
    for index, pool in enumerate(pools):
        path = f"inference_pools[{index}]"
        if pool.namespace in tier_namespaces:
            root.fault(
                f"{path}.namespace",
                f"{quote(pool.namespace)} is that of the callers of tier {tier_namespaces[pool.namespace]}",
                "write that of the pods that serve the models",
            )
        if not pool.models:
            root.fault(
                path,
                f"no model names InferencePool {pool.namespace}/{pool.name}",
                f"write it as `backend_ref` of a model in {PREFIX}models, with its namespace, or leave the pool out",
            )
        for other_index, other in enumerate(pools):
            same = pool.selector == other.selector
            if (
                other is pool
                or pool.namespace != other.namespace
                or not pool.selector.items() <= other.selector.items()
                # Which of two with the same labels is wrong is not known: the later one.
                or (same and index < other_index)
            ):
                continue
            root.fault(
                f"{path}.selector",
                f"selects the pods of {PREFIX}inference_pools[{other_index}] too",
                "write labels that its own pods have alone",
            )


def _pool(entry: Entry, settings: Settings) -> InferencePool:
    name = entry.string("name", POOL)
    namespace = entry.string("namespace", LABEL, settings.namespace)
    controllers = settings.controller_namespaces
    if namespace and namespace in (
        settings.simulators_namespace,
        controllers.envoy_gateway,
        controllers.envoy_ai_gateway,
        controllers.authorino,
    ):
        entry.fault(
            "namespace", f"{quote(namespace)} has another use already", "write that of the pods that serve the models"
        )
    backend = pool_backend_name(namespace, name)
    simulated = entry.flag("simulated", False)
    # The namespace of simulators is made and removed with them.
    if namespace.startswith("kube-") or (simulated and namespace == "default"):
        entry.fault("namespace", f"{quote(namespace)} is the cluster's own", "write another, that of the pods")
    if entry.has("simulator") and not simulated:
        entry.fault("simulator", "is used where `simulated` is true", "leave it out, or write `simulated: true`")
    port = entry.integer("target_port", 1, 65535, 8000)
    if simulated and port is not None and port < 1024:
        entry.fault("target_port", f"{port} is none for a simulator, which has no privilege", "write one from 1024")
    direct_route = ""
    if entry.has("direct_route"):
        direct_route = entry.entry("direct_route", ("hostname",)).string("hostname", HOSTNAME)
    return InferencePool(
        name=name,
        namespace=namespace,
        backend=backend,
        route=route_name(backend, [backend]),
        managed=True,
        target_port=port,
        selector=_selector(entry),
        picker=_picker(entry, name),
        objectives=_objectives(entry),
        simulator=_simulator(entry, name) if simulated else None,
        direct_hostname=direct_route,
    )


def _selector(entry: Entry) -> Mapping[str, str]:
    """The labels of the pods. No other pod may have all of them, so that there is one at least."""
    entry.missing("selector", "labels of the pods that serve the models, such as {model: gemma2}")
    if not entry.has("selector"):
        return {}
    value = entry.value["selector"]
    if not isinstance(value, Mapping):
        entry.fault("selector", f"is {type_name(value)}", "write labels of pods, such as {model: gemma2}")
        return {}
    if not value:
        entry.fault("selector", "is empty and would select every pod", "write labels of pods, such as {model: gemma2}")
    labels: dict[str, str] = {}
    labelled = Entry(value, entry.at("selector"), tuple(map(str, value)), entry.faults)
    for key in value:
        if not isinstance(key, str) or not LABEL_KEY.accepts(key):
            entry.faults.append(LABEL_KEY.fault(entry.at("selector"), str(key)))
            continue
        labels[key] = labelled.string(key, LABEL_VALUE)
    return labels


def _picker(pool: Entry, name: str) -> EndpointPicker:
    entry = pool.entry("endpoint_picker", _PICKER_KEYS) if pool.has("endpoint_picker") else Entry({}, "", (), [])
    config = _config(entry)
    picker = EndpointPicker(
        name=name + PICKER_SUFFIX,
        port=entry.integer("port", 1024, 65535, PICKER_PORT) or PICKER_PORT,
        replicas=entry.integer("replicas", 1, 10, required=False),
        failure_mode=entry.choice("failure_mode", (FAIL_CLOSE, FAIL_OPEN), FAIL_CLOSE),
        config=config,
        foreign_types=foreign_types(_types(config)),
    )
    if picker.port in (9003, 9090):
        entry.fault("port", f"{picker.port} is that of its health or its metrics", "write another, such as 9002")
    if entry.has("saturation"):
        limits = entry.entry("saturation", ("queue_depth", "kv_cache_percent", "metrics_age_milliseconds"))
        picker = replace(
            picker,
            queue_depth=limits.integer("queue_depth", 1, 1_000_000, picker.queue_depth) or picker.queue_depth,
            kv_cache_percent=limits.integer("kv_cache_percent", 1, 99, picker.kv_cache_percent)
            or picker.kv_cache_percent,
            metrics_age_milliseconds=limits.integer(
                "metrics_age_milliseconds", 50, 60_000, picker.metrics_age_milliseconds
            )
            or picker.metrics_age_milliseconds,
        )
    if entry.has("metrics"):
        metrics = entry.entry("metrics", ("queued_requests", "kv_cache_usage", "lora_info"))
        picker = replace(
            picker,
            queued_requests_metric=metrics.string("queued_requests", METRIC, picker.queued_requests_metric),
            kv_cache_usage_metric=metrics.string("kv_cache_usage", METRIC, picker.kv_cache_usage_metric),
            lora_info_metric=metrics.string("lora_info", METRIC, picker.lora_info_metric),
        )
    return picker


def _config(entry: Entry) -> Mapping[str, t.Any]:
    """The EndpointPickerConfig: as the inventory has it, or of its scorers."""
    if entry.has("config"):
        if entry.has("scorers"):
            entry.fault("scorers", "is part of `config`, which is written too", "leave one of them out")
        return _whole_config(entry)
    scorers = _scorers(entry)
    return {
        "apiVersion": _CONFIG_API,
        "kind": "EndpointPickerConfig",
        "plugins": [
            {"type": kind, **({"parameters": parameters} if parameters else {})}
            for kind, _weight, parameters in scorers
        ],
        "schedulingProfiles": [
            {
                "name": "default",
                "plugins": [{"pluginRef": kind, "weight": weight} for kind, weight, _parameters in scorers],
            }
        ],
    }


def _scorers(entry: Entry) -> list[tuple[str, int, Mapping[str, t.Any]]]:
    """Type, weight and parameters of each scorer."""
    if not entry.has("scorers"):
        return [(kind, 1, {}) for kind in _DEFAULT_SCORERS]
    if entry.value["scorers"] == []:
        entry.fault("scorers", "is empty", f"write at least one of {listing(SCORERS)}, or leave it out")
    found: list[tuple[str, int, Mapping[str, t.Any]]] = []
    kinds: list[tuple[str, str]] = []
    for scorer in entry.entries("scorers", ("type", "weight", "parameters")):
        kind = scorer.choice("type", SCORERS)
        kinds.append((scorer.at("type"), kind))
        parameters = scorer.value["parameters"] if scorer.has("parameters") else {}
        if not isinstance(parameters, Mapping):
            scorer.fault("parameters", f"is {type_name(parameters)}", "write a mapping")
            parameters = {}
        found.append(
            (kind, scorer.integer("weight", 1, 1000, 1) or 1, t.cast("Mapping[str, t.Any]", plain(parameters)))
        )
    unique(kinds, "type", "write each scorer once, with its weight", entry.faults)
    return found


def _whole_config(entry: Entry) -> Mapping[str, t.Any]:
    config = entry.entry("config", ("apiVersion", "kind", "plugins", "schedulingProfiles"))
    config.choice("apiVersion", (_CONFIG_API,), _CONFIG_API)
    config.choice("kind", ("EndpointPickerConfig",), "EndpointPickerConfig")
    for key in ("plugins", "schedulingProfiles"):
        config.missing(key, "a list, as in an EndpointPickerConfig")
        if config.value.get(key) == []:
            config.fault(key, "is empty", "write at least one, or `scorers` in place of the whole `config`")
    types = _plugins(config)
    names: list[tuple[str, str]] = []
    for profile in config.entries("schedulingProfiles", ("name", "plugins")):
        names.append((profile.at("name"), profile.string("name", PICKER_PLUGIN)))
        _profile(profile, types, config.faulty("plugins"))
    unique(names, "name", "give each profile its own", config.faults)
    if len(names) > 1 and not foreign_types(types.values()):
        config.fault(
            "schedulingProfiles",
            f"has {len(names)} profiles, and no plugin handles several",
            f"write one: {_PROFILE_HANDLER} is for one alone",
        )
    whole = {"apiVersion": _CONFIG_API, "kind": "EndpointPickerConfig", **config.value}
    return t.cast("Mapping[str, t.Any]", plain(whole))


def _types(config: Mapping[str, t.Any]) -> list[str]:
    """The types of the plugins of an EndpointPickerConfig, which may have faults."""
    plugins = config.get("plugins")
    listed = plugins if isinstance(plugins, Sequence) and not isinstance(plugins, str) else ()
    return [str(plugin.get("type") or "") for plugin in listed if isinstance(plugin, Mapping)]


def foreign_types(types: Iterable[str]) -> tuple[str, ...]:
    """The types of plugins that the endpoint picker of role versions does not know."""
    return tuple(dict.fromkeys(kind for kind in types if kind and kind not in (*PLUGINS, _TESTING_PLUGIN)))


def _plugins(config: Entry) -> dict[str, str]:
    """The types of the plugins by the names that profiles have for them."""
    types: dict[str, str] = {}
    names: list[tuple[str, str]] = []
    handlers: list[tuple[str, str]] = []
    for plugin in config.entries("plugins", ("name", "type", "parameters")):
        kind = plugin.string("type", PICKER_PLUGIN)
        if kind == _TESTING_PLUGIN:
            plugin.fault("type", "lets a client choose the pod", "leave it out")
        elif kind == _PROFILE_HANDLER:
            handlers.append((plugin.at("type"), kind))
        name = plugin.string("name", PICKER_PLUGIN, kind)
        names.append((plugin.at("name" if plugin.has("name") else "type"), name))
        types[name] = kind
    unique(names, "name", "give each plugin a `name` of its own", config.faults)
    if len(set(types)) == len(names):
        unique(handlers, "type", "keep one of them", config.faults)
    return types


def _profile(profile: Entry, types: Mapping[str, str], faulty: bool) -> None:
    """Note the faults of a profile, with which the picker would not start.

    :param types: those of the plugins by their names.
    :param faulty: whether that is not known.
    """
    profile.missing("plugins", "a list of plugins, each with its `pluginRef`")
    picker = ""
    for plugin in profile.entries("plugins", ("pluginRef", "weight")):
        name = plugin.string("pluginRef", PICKER_PLUGIN)
        weight = plugin.integer("weight", 0, 1_000_000, required=False)
        if name and name not in types and not faulty:
            known = f"write {listing(tuple(types), 'or')}" if types else "describe it in `plugins`"
            plugin.fault("pluginRef", f"{quote(name)} is none of `plugins`", known)
        kind = types.get(name, "")
        if kind in _PICKERS and picker:
            plugin.fault("pluginRef", f"{quote(name)} is a second picker beside {quote(picker)}", "keep one of them")
        elif kind in _PICKERS:
            picker = name
        elif kind in SCORERS and picker and weight is None and not plugin.faulty("weight"):
            # The picker of this version gives the scorers before it their default weight alone.
            plugin.missing("weight", f"it, or name the scorer before {picker}")


def _objectives(entry: Entry) -> tuple[Objective, ...]:
    found: list[Objective] = []
    names: list[tuple[str, str]] = []
    for objective in entry.entries("objectives", ("name", "priority")):
        name = objective.string("name", LABEL)
        names.append((objective.at("name"), name))
        priority = objective.integer("priority", -_PRIORITY_LIMIT, _PRIORITY_LIMIT)
        found.append(Objective(name, priority or 0))
    unique(names, "name", "give each objective its own", entry.faults)
    return tuple(found)


def _simulator(pool: Entry, name: str) -> PoolSimulator:
    simulator = PoolSimulator(name + SIMULATOR_SUFFIX)
    if not pool.has("simulator"):
        return simulator
    entry = pool.entry("simulator", ("replicas", "slots", "cache_blocks"))
    return replace(
        simulator,
        replicas=entry.integer("replicas", 1, 100, simulator.replicas) or simulator.replicas,
        slots=entry.integer("slots", 1, 10_000, simulator.slots) or simulator.slots,
        cache_blocks=entry.integer("cache_blocks", 1, 10_000_000, simulator.cache_blocks) or simulator.cache_blocks,
    )
