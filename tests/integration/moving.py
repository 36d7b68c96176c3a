# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models come and go while others are asked: nobody who asks another one notices."""

from __future__ import annotations

import json

from load import Load, Request
from objects import kubectl
from provider_kinds import NAMESPACE, UNLIMITED, Site

ADDED = "odd-good-77"
#: Requests that are sent before and after the change.
AROUND = 100


def routes() -> dict[str, tuple[str, int]]:
    """The identity and the generation of each route of a model, by name."""
    items = json.loads(kubectl("get", "aigatewayroutes", f"--namespace={NAMESPACE}", "--output=json"))["items"]
    return {item["metadata"]["name"]: (item["metadata"]["uid"], item["metadata"]["generation"]) for item in items}


def move(url: str, token: str, site: Site) -> list[str]:
    """Take the first model of the provider outside away and put one into the middle; print the figures and return what is wrong."""
    models = site.provider("odd")["models"]
    taken = models.pop(0)
    models.insert(len(models) // 2, {"name": ADDED})
    before = routes()
    untouched = [
        Request("/v1/chat/completions", UNLIMITED),
        Request("/external/odd/v1/chat/completions", UNLIMITED),
        Request("/v1/chat/completions", "tls-odd-good"),
        Request("/v1/messages", "claude-odd-good"),
        Request("/v1/chat/completions", "gpt-4"),
    ]
    with Load(url, token, untouched) as load:
        load.wait(AROUND)
        site.apply()
        load.wait(sum(load.outcomes.values()) + AROUND)
    after = routes()
    gone, new = before.keys() - after.keys(), after.keys() - before.keys()
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    print(f"{sum(load.outcomes.values())} requests of untouched models: {dict(load.outcomes)}; routes gone {gone}, new {new}, changed {changed}")
    found = [f"{count} answers {outcome}: {load.refusals}" for outcome, count in load.outcomes.items() if outcome != "200"]
    if [name.rpartition("-")[0] for name in gone] != [taken["name"]] or [name.rpartition("-")[0] for name in new] != [ADDED] or changed:
        found.append(f"routes gone {gone}, new {new}, changed {changed}")
    return found
