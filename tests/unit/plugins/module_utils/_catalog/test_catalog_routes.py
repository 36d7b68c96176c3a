# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from catalog_inventory import ANTHROPIC, INVENTORY, OPENAI, changed, shared


def routes(inventory: t.Any) -> dict[str, str]:
    """By model, the name of the route for the paths that name nobody."""
    return {model.name: model.routes[0].name for model in build(inventory).models}


def test_a_route_depends_on_no_other_model() -> None:
    before = routes(INVENTORY)
    for models in (
        [{"name": "a"}, *INVENTORY["providers"][0]["models"]],
        [*INVENTORY["providers"][0]["models"], {"name": "z"}],
    ):
        after = routes(changed("providers.0.models", models))
        assert {name: after[name] for name in before} == before
    assert routes({**INVENTORY, "providers": INVENTORY["providers"][::-1]}) == before
    alone = {**INVENTORY, "providers": INVENTORY["providers"][:1], "tiers": []}
    assert routes(alone) == {"gpt-4": before["gpt-4"]}


def test_the_backends_of_a_route_never_change() -> None:
    """A backend got the key of another one for a while, and Envoy AI Gateway's controller crashed with one more."""
    two, one = shared({"priority": 0}, {"priority": 1}), INVENTORY
    turned = {**two, "providers": two["providers"][::-1]}
    found = [
        model.routes for inventory in (one, two, turned) for model in build(inventory).models if model.name == "gpt-4"
    ]
    by_name: dict[str, set[tuple[str, ...]]] = {}
    for route in (route for routes_of_model in found for route in routes_of_model):
        by_name.setdefault(route.name, set()).add(tuple(backend.name for backend in route.backends))
    assert all(len(backends) == 1 for backends in by_name.values())
    # Of one backend; of two in this order and in that; and one for the path of each, the same for both.
    assert len(by_name) == 1 + 2 + 2
    weights = routes(shared({"weight": 1}, {"weight": 1})), routes(shared({"weight": 9}, {"weight": 1}))
    assert weights[0] == weights[1] == routes(two)


def test_the_path_of_each_backend_of_a_model_has_a_route() -> None:
    (model,) = [model for model in build(shared({"priority": 0}, {"priority": 1})).models if model.name == "gpt-4"]
    assert [
        (route.providers, [(backend.name, backend.priority) for backend in route.backends]) for route in model.routes
    ] == [
        (("*",), [(OPENAI, 0), (ANTHROPIC, 1)]),
        (("openai",), [(OPENAI, 0)]),
        (("anthropic",), [(ANTHROPIC, 0)]),
    ]


def test_names_that_read_alike_have_routes_of_their_own() -> None:
    names = ["A/B", "a/b", "a.b", "a-b", "a+b", "a@b", "x" * 39 + "-y", "x" * 39 + "-z", "x" * 39 + ":y"]
    found = routes(changed("providers.0.models", [{"name": name} for name in [*names, "gpt-4"]]))
    assert len(set(found.values())) == len(names) + 2
    assert all(
        re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", route) and "--" not in route for route in found.values()
    )
    assert {found[name].rpartition("-")[0] for name in names[:6]} == {"a-b"}
    assert {found[name].rpartition("-")[0] for name in names[6:]} == {"x" * 39}
