# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models come and go, get other providers, and providers other places, while all are asked:

nobody notices, and no place gets the key of another.
"""

from __future__ import annotations

import collections
import json

import external_provider
import gateway_requests
from load import Load, Request
from objects import kubectl
from provider_kinds import KINDS, MOVED, MOVED_KEYS, NAMESPACE, SHARED, UNLIMITED, Site

ADDED = "odd-good-77"
#: Requests that are sent before and after the change.
AROUND = 100


def routes() -> dict[str, tuple[str, int]]:
    """The identity and the generation of each route of a model, by name."""
    items = json.loads(kubectl("get", "aigatewayroutes", f"--namespace={NAMESPACE}", "--output=json"))["items"]
    return {item["metadata"]["name"]: (item["metadata"]["uid"], item["metadata"]["generation"]) for item in items}


def move(url: str, token: str, site: Site) -> list[str]:
    """Take the first model of the provider outside away and put one into the middle, give a model of one provider to
    two and one of two to one, and have a provider go elsewhere with another key; print the figures and return what is
    wrong."""
    models, others = site.provider("odd")["models"], site.provider("tls")["models"]
    taken = models.pop(0)
    models.insert(len(models) // 2, {"name": ADDED})
    next(model for model in models if model["name"] == UNLIMITED)["weight"] = 1
    others[:] = [model for model in others if model["name"] != SHARED] + [{"name": UNLIMITED, "weight": 1}]
    moved = site.provider("moved")
    moved.update(endpoint=site.provider("tls")["endpoint"], credential={"value": MOVED_KEYS[1]})
    before, restarts = routes(), gateway_requests.restarts()
    asked = [
        Request("/v1/chat/completions", UNLIMITED),
        Request("/external/odd/v1/chat/completions", UNLIMITED),
        Request("/v1/chat/completions", SHARED),
        Request("/external/odd/v1/chat/completions", SHARED),
        Request("/v1/chat/completions", MOVED),
        Request("/external/moved/v1/chat/completions", MOVED),
        Request("/v1/chat/completions", "tls-odd-good"),
        Request("/v1/messages", "claude-odd-good"),
        Request("/v1/chat/completions", "gpt-4"),
    ]
    external_provider.reset()
    with Load(url, token, asked) as load:
        load.wait(AROUND)
        site.apply()
        load.wait(sum(load.outcomes.values()) + AROUND)
    keys = external_provider.keys()
    ends = {entry["tls"] for entry in external_provider.requests(UNLIMITED)}
    named = gateway_requests.send(
        url,
        token,
        gateway_requests.Ask(
            "/external/tls/v1/chat/completions", gateway_requests.body_of("/v1/chat/completions", UNLIMITED)
        ),
    )
    after = routes()
    gone, new = before.keys() - after.keys(), after.keys() - before.keys()
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    print(
        f"{sum(load.outcomes.values())} requests: {dict(load.outcomes)}; "
        f"routes gone {gone}, new {new}, changed {changed}; keys {keys}"
    )
    found = [
        f"{count} answers {outcome}: {load.refusals}" for outcome, count in load.outcomes.items() if outcome != "200"
    ]
    # A model of two providers has a route for each, and one for both.
    expected = ({taken["name"]: 1, SHARED: 3, UNLIMITED: 1, MOVED: 1}, {ADDED: 1, SHARED: 1, UNLIMITED: 3, MOVED: 1})
    if (
        tuple(collections.Counter(name.rpartition("-")[0] for name in names) for names in (gone, new)) != expected
        or changed
    ):
        found.append(f"routes gone {gone}, new {new}, changed {changed}")
    if ends != {False, True} or named.status != 200:
        found.append(
            f"{UNLIMITED} is asked at {ends}, and answers {named.status} under the path of its second provider"
        )
    own = {kind.name: kind.key[1].removeprefix("Bearer ") for kind in KINDS}
    places = {
        False: {own["outside"], MOVED_KEYS[0]},
        True: {own["outside in TLS"], own["outside of Anthropic's API"], MOVED_KEYS[1]},
    }
    if {tls: {key.removeprefix("Bearer ") for key in found_keys} for tls, found_keys in keys.items()} != places:
        found.append(f"keys {keys}")
    if (ended := gateway_requests.restarts()) != restarts:
        found.append(f"restarts {ended}, before {restarts}")
    return found
