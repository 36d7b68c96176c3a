# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of the prices of models, and what must hold between them and limits of costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import Fault, listing, quote
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import PREFIX
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import Model, Price, Tier

#: A limit of costs counts millionths of the currency, as a price is that of a million tokens.
COST = "cost"
MILLIONTHS = 1_000_000
#: No model costs more for a million tokens: a request's cost is one number of the rate limit service.
_PRICE_LIMIT = 100_000


def with_prices(root: Entry, models: Sequence[Model]) -> tuple[Model, ...]:
    """The models, each with its price where ``prices`` has one.

    :param root: all variables, by their names without the prefix.
    """
    # Where names are all that is wanted of the catalogue, it has no models.
    if not root.value.get("prices") or not models:
        return tuple(models)
    entry = root.entry("prices", tuple(model.name for model in models))
    found: dict[str, Price] = {}
    for model in models:
        if entry.has(model.name):
            price = entry.entry(model.name, ("input", "output", "cached_input"))
            read, written = (price.number(key, 0, _PRICE_LIMIT) or 0 for key in ("input", "output"))
            cached = price.number("cached_input", 0, _PRICE_LIMIT) if price.has("cached_input") else read
            found[model.name] = Price(read, written, cached or 0)
    return tuple(replace(model, price=found.get(model.name)) for model in models)


def check_prices(
    root: Entry, models: Sequence[Model], tiers: Sequence[tuple[str, Tier]], chosen: Sequence[str]
) -> None:
    """A limit of costs needs the price of each model that it counts.

    :param chosen: models that lead to others, whose cost is known elsewhere.
    """
    prices: Mapping[str, Price | None] = {model.name: model.price for model in models}
    for path, tier in tiers:
        limits = [limit for limit in tier.limits if limit.measure == COST]
        counted = {name for limit in limits for name in ([limit.model] if limit.model else tier.models)}
        leading = [name for name in tier.models if name in counted and name in chosen]
        unpriced = [name for name in tier.models if name in counted and name in prices and not prices[name]]
        if leading:
            problem = f"counts {quote(leading[0])}, behind which another gateway calls models of several prices"
            remedy = "write token_limit, or mode single_gateway in which the chosen model is counted"
            root.faults.append(Fault(f"{path}.cost_limit", problem, remedy))
        elif unpriced:
            problem = f"counts models that have no price, such as {listing([quote(name) for name in unpriced[:5]])}"
            remedy = f"write input and output of each in {PREFIX}prices, or name other models in {path}.models"
            root.faults.append(Fault(f"{path}.cost_limit", problem, remedy))
