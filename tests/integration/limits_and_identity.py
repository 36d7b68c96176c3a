# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Spend a user's limit at a provider of each kind, and see what the provider learned of who called."""

from __future__ import annotations

import json
import sys
import time
import typing as t

import external_provider
from gateway_requests import Ask, Reply, body_of, log, send, tokens
from provider_kinds import INSTANCE, LIMITED, NAMESPACE, UNLIMITED, Kind, secret, token_of
from runs import ROOT

#: Tokens a minute of tier free, and of the model of tier premium.
LIMIT = 100
#: Seconds that a window must have left for a whole table, and seconds after an answer within which it is counted.
NEEDED, COUNTED = 12, 0.25
#: Headers of the request itself and of proxies on the way, which differ from provider to provider.
OF_THE_CALL = {
    *("host", "content-length", "content-type", "user-agent", "accept-encoding", "x-request-id"),
    *("x-envoy-expected-rq-timeout-ms", "x-envoy-attempt-count"),
}


def fresh_window() -> None:
    """Wait until the minute that the limits count has long enough to go."""
    if (left := 60 - time.time() % 60) < NEEDED:
        time.sleep(left + 0.5)


def calls(kind: Kind) -> int:
    """How many calls pass: the last of them is let in as the limit is not used up yet."""
    return LIMIT // kind.cost + 1


def ask(kind: Kind, number: int = 0, **headers: str) -> Ask:
    """A request for the model of a kind, under the provider's own path every other time."""
    return Ask(
        kind.prefix * (number % 2) + kind.path,
        body_of(kind.path, kind.model),
        {**kind.headers, **headers},
        note=kind.name,
    )


def spend(url: str, kind: Kind) -> tuple[str, list[Reply]]:
    """Call until the limit of tier free is used up; return the user and the answers, of which the last alone is 429."""
    user, token = token_of("free")
    replies: list[Reply] = []
    while len(replies) <= calls(kind):
        replies.append(send(url, token, ask(kind, len(replies))))
        if replies[-1].status == 429:
            break
        time.sleep(COUNTED)
    return user, replies


def faults(kind: Kind, user: str, replies: list[Reply], entries: t.Mapping[str, t.Any]) -> list[str]:
    """Return what is wrong with the answers, and with their lines in the log."""
    found = []
    statuses = [reply.status for reply in replies]
    if statuses != [200] * calls(kind) + [429]:
        found.append(f"{kind.name}: answered {statuses} to calls of {kind.cost} tokens")
    remaining = [int(reply.header("x-ratelimit-remaining") or -1) for reply in replies]
    expected = [max(0, LIMIT - number * kind.cost) for number in range(len(replies))]
    if remaining != expected:
        found.append(f"{kind.name}: x-ratelimit-remaining is {remaining} instead of {expected}")
    found += [f"{kind.name}: 429 {problem}" for problem in replies[-1].problems]
    if f"The {LIMIT} total tokens that tier free allows" not in replies[-1].message:
        found.append(f"{kind.name}: 429 says {replies[-1].message}")
    for reply in replies:
        entry = entries[reply.ask.agent]
        told = (entry["user"], entry["tier"], tokens(entry))
        if told != (user, "free", kind.cost if reply.status == 200 else 0):
            found.append(f"{kind.name}: the log has {told} for {user}")
        if reply.status == 200 and entry["model"] != kind.model:
            found.append(f"{kind.name}: the log has model {entry['model']}")
    return found


def one_table(url: str, kinds: list[Kind]) -> list[str]:
    """Use up a limit at each kind; print the figures and return what is wrong."""
    fresh_window()
    spent = [(kind, *spend(url, kind)) for kind in kinds]
    entries = log(reply.ask.agent for _kind, _user, replies in spent for reply in replies)
    found = []
    for kind, user, replies in spent:
        remaining = [reply.header("x-ratelimit-remaining") for reply in replies]
        print(
            f"{kind.name}: {kind.cost} tokens a call, answers {[reply.status for reply in replies]}, "
            f"remaining {remaining}, {user} in the log"
        )
        found += faults(kind, user, replies, entries)
    return found


def of_one_model(url: str) -> dict[str, list[int]]:
    """Spend what tier premium allows of one model outside; return the statuses of that, and of another of the same
    provider afterwards.
    """
    fresh_window()
    _user, token = token_of("premium")
    statuses: dict[str, list[int]] = {}
    for model, count in ((LIMITED, 4), (UNLIMITED, 2)):
        for _number in range(count):
            reply = send(url, token, Ask("/v1/chat/completions", body_of("/v1/chat/completions", model)))
            statuses.setdefault(model, []).append(reply.status)
            time.sleep(COUNTED)
    return statuses


def received(url: str, kind: Kind, token: str) -> dict[str, str]:
    """Return the headers with which a request of a kind came to its provider."""
    asked = ask(
        kind,
        **{
            "x-maas-user": "another",
            "x-maas-tier": "another",
            "x-ai-gateway-user": "another",
            "x-ai-gateway-tier": "another",
        },
    )
    if not kind.upstream:
        asked = Ask(asked.path, asked.body, {**asked.headers, "x-simulator-echo": "headers"}, agent=asked.agent)
        reply = send(url, token, asked)
        assert reply.status == 200, reply
        told = json.loads(reply.header("x-simulator-received-headers"))
        return {name.lower(): ", ".join(value) if isinstance(value, list) else value for name, value in told.items()}
    external_provider.reset()
    reply = send(url, token, asked)
    assert reply.status == 200, reply
    (request,) = external_provider.requests(kind.upstream)
    names = [name for name, _value in request["headers"]]
    assert len(names) == len(set(names)), f"a header came twice: {names}"
    return dict(request["headers"])


def identity_faults(kind: Kind, headers: dict[str, str], user: str, tier: str, token: str) -> list[str]:
    """Return what the headers of a request to a provider reveal although they must not, or lack."""
    sys.path.insert(0, str(ROOT / ".collections"))
    from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import identity as catalog_identity
    from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import model as catalog_model

    place = catalog_model.IdentityKey("ai-gateway-envoy-gateway", f"{NAMESPACE}.{INSTANCE}.identity-key")
    key = secret(place.secret, place.key, place.namespace)
    expected = {
        "x-ai-gateway-user": catalog_identity.digest(key, tier, user),
        "x-ai-gateway-tier": catalog_identity.digest(key, tier),
    }
    found = [
        f"{kind.name}: {name} is {headers.get(name)} instead of {value}"
        for name, value in expected.items()
        if headers.get(name) != value
    ]
    name, value = kind.key
    keys = {header: headers[header] for header in ("authorization", "x-api-key", "api-key") if header in headers}
    # A simulator does not return its key.
    if set(keys) != ({name} if name else set()) or (kind.upstream and keys[name] != value):
        found.append(f"{kind.name}: the headers with keys are {keys}")
    for header, text in headers.items():
        if header.startswith("x-maas") or header in ("cookie", "x-forwarded-for", "x-envoy-external-address"):
            found.append(f"{kind.name}: {header} came")
        # The word free is in no header by chance; those of a request id and of keys have no such letters.
        told = [word for word in (token, token.split(".")[2], user, f"{INSTANCE}-tier-{tier}", tier) if word in text]
        if told:
            found.append(f"{kind.name}: header {header} reveals a caller's token, name or tier")
    return found


def names(headers: dict[str, str], kind: Kind) -> set[str]:
    """The names of headers that must be the same at every provider."""
    return (
        {name for name in headers if not name.startswith("x-simulator-")}
        - OF_THE_CALL
        - ({kind.key[0]} if kind.key[0] else set())
    )
