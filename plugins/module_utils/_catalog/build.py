# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalogue of an AI gateway: its providers, models and tiers, checked as a whole.

Nothing here reads files, calls an API or keeps a credential's value.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.allowed_endpoints import AllowedEndpoints
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.callers import (
    check_callers,
    outside_of_cluster,
    read_callers,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.combinations import (
    check_combination,
    check_request_limits,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.content import content_faults
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import CatalogError
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inference_pools import (
    check_pools,
    read_inference_pools,
    with_models,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import (
    DEFAULTS,
    INPUTS,
    PREFIX,
    check_names,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.mcp_servers import (
    authorization,
    read_mcp_servers,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import (
    BackendRef,
    Callers,
    Catalog,
    IdentityKey,
    InferencePool,
    McpServer,
    Model,
    Observability,
    Provider,
    SemanticRouter,
    Tier,
    plain,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.models import pool_of, read_models
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.network_policy import (
    once,
    to_identities,
    to_models,
    to_namespace,
    to_pods,
    to_pools,
    to_providers,
    to_router,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.observability import (
    collectors,
    read_observability,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.prices import check_prices, with_prices
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.providers import read_providers
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.secrets import needed_secrets
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.semantic_router import (
    DUAL,
    SINGLE,
    finish,
    read_semantic_router,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.settings import Settings, read_settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.tiers import read_tiers


def build(inputs: Mapping[str, t.Any], defined: Iterable[str] = ()) -> Catalog:
    """Check an inventory and build its catalogue.

    :param inputs: the values of ``INPUTS``, named without the prefix ``ai_gateway_``.
    :param defined: names of all variables in scope; one that nearly is a variable of the role is a fault.
    :raises CatalogError: with all faults.
    """
    faults = [fault for name, value in inputs.items() for fault in content_faults(PREFIX + name, value)]
    if faults:
        # Nothing can be read of it.
        raise CatalogError(faults)
    root = Entry(plain(dict(inputs)), "ai_gateway", INPUTS, faults, prefix=PREFIX)
    check_names(defined, faults)
    settings = read_settings(root)
    allowed = AllowedEndpoints(root, settings.own_namespaces)
    read = read_providers(root, settings, allowed)
    described = read_inference_pools(root, settings)
    models = read_models(root, read, settings, described)
    servers = read_mcp_servers(root, settings, allowed)
    models = with_prices(root, models)
    routed = read_semantic_router(root, settings, read, models)
    if routed and routed.public_model:
        models = (*models, routed.public_model)
    tiers = read_tiers(root, settings, models, servers, routed.router.model if routed else "")
    router = finish(root, routed, tiers)
    if router is not None and router.mode == DUAL:
        called = [model for model in models if model.name in {found.name for found in router.models}]
        router = replace(router, egress=once(to_models(called, settings.simulators_namespace)))
    rules = authorization(root, (tier for _path, tier in tiers))
    pools = with_models(described, _pool_references(models), models)
    check_pools(root, pools, models, tiers)
    check_prices(root, models, tiers, [routed.router.model] if routed and routed.public_model else [])
    check_combination(root, settings, read, models, tiers)
    callers = read_callers(root, settings, allowed)
    check_callers(root, callers, tiers)
    check_request_limits(root, read, models, tiers)
    observability = read_observability(root, settings)
    _check_not_empty(root, models, servers, tiers)
    if faults:
        raise CatalogError(faults)
    return _catalog(
        settings,
        [found.provider for found in read],
        models,
        servers,
        [tier for _path, tier in tiers],
        rules,
        pools,
        allowed,
        router,
        callers,
        observability,
    )


def _pool_references(models: Sequence[Model]) -> dict[str, BackendRef]:
    """The InferencePools that models name, by the name of their backend."""
    found = {}
    for model in models:
        reference = pool_of(model.backends)
        if reference is not None:
            found[model.backends[0].name] = reference
    return found


def _check_not_empty(
    root: Entry, models: Sequence[Model], servers: Sequence[McpServer], tiers: Sequence[tuple[str, Tier]]
) -> None:
    """Without ``allow_empty``, there is a model and a tier; not said where other faults may be the reason."""
    if root.flag("allow_empty", DEFAULTS["allow_empty"]):
        return
    if not root.faults and not models:
        besides = f", or set {PREFIX}allow_empty to true for MCP servers alone" if servers else ""
        root.fault("providers", "has no model to serve", f"write at least one provider with a model{besides}")
    if not root.faults and not tiers:
        root.fault("tiers", "is empty, so that nobody could call", "write at least one tier")


def _catalog(
    settings: Settings,
    providers: Sequence[Provider],
    models: tuple[Model, ...],
    servers: tuple[McpServer, ...],
    tiers: Iterable[Tier],
    mcp_authorization: tuple[str, ...],
    pools: tuple[InferencePool, ...],
    allowed: AllowedEndpoints,
    router: SemanticRouter | None,
    callers: Callers,
    observability: Observability,
) -> Catalog:
    """The catalogue of parts without a fault."""
    simulators_namespace, maas_api = settings.simulators_namespace, settings.maas_api
    destinations = to_providers(
        [*providers, *servers],
        simulators_namespace,
        allowed.cluster_networks,
        allowed.allowed,
        [*outside_of_cluster(callers), *([] if settings.two_gateways else collectors(observability))],
    )
    destinations += to_identities(providers)
    egress_gateway = None
    if settings.two_gateways:
        egress_gateway = replace(settings.egress_gateway, egress=tuple(destinations))
        destinations = [to_pods("egress-gateway", egress_gateway.namespace, {"app": egress_gateway.service})]
        destinations += to_providers(
            [], simulators_namespace, allowed.cluster_networks, allowed.allowed, collectors(observability)
        )
    destinations += to_models(models, simulators_namespace)
    destinations += to_pools(pools)
    if router is not None and router.mode == SINGLE:
        destinations.append(to_router(router))
    if maas_api.enabled:
        destinations.append(to_namespace("maas-api", maas_api.namespace))
    egress_namespace = egress_gateway.namespace if egress_gateway else ""
    return Catalog(
        platform=settings.platform,
        stack=settings.stack,
        policy_engine=settings.policy_engine,
        namespace=settings.namespace,
        name=settings.name,
        audience=f"{settings.name}-sa",
        identity_key=IdentityKey(
            settings.controller_namespaces.envoy_gateway, f"{settings.namespace}.{settings.name}.identity-key"
        ),
        gateway_namespace=settings.gateway_namespace,
        egress_gateway=egress_gateway,
        maas_api=maas_api,
        simulators_namespace=simulators_namespace,
        controller_namespaces=settings.controller_namespaces,
        currency=settings.currency,
        uncounted_tokens=settings.uncounted_tokens,
        request_body_limit=settings.request_body_limit,
        providers=tuple(providers),
        models=models,
        tiers=tuple(tiers),
        secrets=needed_secrets(providers, models, settings.namespace, egress_namespace, servers),
        egress=once(destinations),
        mcp_servers=servers,
        mcp_authorization=mcp_authorization,
        inference_pools=pools,
        semantic_router=router,
        callers=callers,
        observability=observability,
    )
