# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packing of a model's backends into routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import (
    ANY_PROVIDER,
    ModelBackend,
    Route,
    RouteBackend,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import route_name


def pack_routes(model: str, backends: Sequence[ModelBackend], objects: Mapping[str, str]) -> tuple[Route, ...]:
    """The routes of a model.

    With one backend there is one route for all paths. With several, there is one for the paths that name nobody, with
    all backends, and one for the path of each.

    :param model: public name.
    :param backends: what serves it, at least one.
    :param objects: by the name of a provider, that of its Backend object. Others have the name of their backend.
    """
    found = tuple(
        RouteBackend(objects.get(backend.name, backend.name), backend.provider_model, backend.weight, backend.priority)
        for backend in backends
    )
    shared = route_name(model, [backend.name for backend in found])
    if len(backends) == 1:
        return (Route(shared, (ANY_PROVIDER, backends[0].name), found),)
    own = [
        Route(
            f"{route_name(model, [target.name])}.{backend.name}",
            (backend.name,),
            (replace(target, weight=1, priority=0),),
        )
        for backend, target in zip(backends, found)
    ]
    return (Route(shared, (ANY_PROVIDER,), found), *own)
