# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans of validations, for catalogues as inventories describe them."""

from __future__ import annotations

import base64
import hashlib
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.identity import digest
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.evaluation import checks
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.plan import (
    Plan,
    Seen,
    Settings,
    bounded,
    is_paid,
    setting_faults,
)
from validated_providers import KEY, ON_PREMISES, REAL, SIMULATED

ANTHROPIC = {**REAL, "name": "claude", "schema": "anthropic", "models": [{"name": "claude"}]}
SIMULATED_ANTHROPIC = {**SIMULATED, "name": "claude", "schema": "anthropic", "models": [{"name": "claude"}]}
KSERVE = {"name": "opt", "backend_ref": {"kind": "LLMInferenceService", "name": "opt", "namespace": "llm"}}
FREE = {"name": "free", "level": 0, "groups": ["a"], "token_limit": {"tokens": 100, "window": "1m"}, "models": ["*"]}
PAID = {
    "name": "paid",
    "level": 1,
    "groups": ["b"],
    "token_limit": {"tokens": 5000, "window": "1m"},
    "models": ["gpt-4"],
}
REQUESTS = {"name": "calls", "level": 2, "groups": ["c"], "request_limit": {"requests": 10, "window": "1m"}}
KUADRANT = {"stack": "wg_ai_gateway", "policy_engine": "kuadrant"}
#: What issuing tokens returns where all goes well.
PURPOSES = ("caller", "limited", "outside", "outside-anthropic", "on-premises", "outsider", "other_audience", "minted")
IDENTITY = {"resources": [{"data": {"key": base64.b64encode(b"secret").decode()}}]}


def issued(*missing: str, purposes: tuple[str, ...] = PURPOSES) -> dict[str, t.Any]:
    results: list[dict[str, t.Any]] = []
    for purpose in purposes:
        outcome = {"msg": "forbidden"} if purpose in missing else {"token": purpose * 20, "service_account": "sa-1"}
        results.append({"item": {"id": purpose}, **outcome})
    return {"results": results}


def plan(inputs: dict[str, t.Any], settings: dict[str, t.Any] | None = None, **seen: t.Any) -> Plan:
    catalog = build({"tiers": [FREE], **inputs}).as_dict()
    given = Settings.of({"providers": inputs.get("providers", []), **(settings or {})})
    return Plan(catalog, given, Seen(**{"run": "r1", "issued": issued(), **seen}))


def by_id(entries: list[dict[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    found = {entry["id"]: entry for entry in entries}
    assert len(found) == len(entries)
    return found


def ids(entries: list[dict[str, t.Any]]) -> list[str]:
    return list(by_id(entries))


REFUSALS = [
    "bad-token",
    "tampered-token",
    "expired-token",
    "other-audience",
    "outsider",
    "unknown-model",
    "unknown-path",
]


def test_probes_in_their_order() -> None:
    made = plan({"providers": [SIMULATED, REAL, ANTHROPIC], "models": [ON_PREMISES], "tiers": [FREE, PAID]})
    assert ids(made.probes) == [
        *("no-token:chat", "no-token:messages", "no-token:openai", "no-token:more", "no-token:claude"),
        *("no-token:models", *REFUSALS, "api-key-header"),
        *(f"{kind}:{model}" for model in ("org/more:1", "claude", "opt") for kind in ("forbidden", "hidden")),
        *("chat:gpt-4", "messages:gpt-4", "path:openai:gpt-4", "stream:gpt-4", "key:gpt-4", "forged:gpt-4"),
    ]
    made = plan({"providers": [ANTHROPIC], "models": [ON_PREMISES]})
    assert ids(made.probes)[-11:] == [
        *("chat:claude", "path:claude:claude", "stream:claude", "key:claude", "forged:claude"),
        *("chat:opt", "messages:opt", "path:service.llm.opt.8000:opt", "stream:opt", "key:opt", "forged:opt"),
    ]


def test_the_models_of_a_simulated_pool() -> None:
    pool = {
        "name": "gemma2",
        "selector": {"model": "gemma2"},
        "objectives": [{"name": "batch", "priority": -1}],
        "simulated": True,
    }
    reference = {"kind": "InferencePool", "name": "gemma2"}
    inputs = {
        "tiers": [{**FREE, "objective": "batch"}],
        "inference_pools": [pool],
        "models": [
            {"name": "gemma2", "backend_ref": reference},
            {"name": "other", "backend_ref": {**reference, "name": "other"}, "objective": "theirs"},
        ],
    }
    probes = by_id(plan(inputs).probes)
    backend = "inferencepool.ai-gateway.gemma2"
    assert list(probes)[-14:-7] == [
        *("chat:gemma2", "messages:gemma2", f"path:{backend}:gemma2", "stream:gemma2", "key:gemma2", "forged:gemma2"),
        "pool:gemma2",
    ]
    assert probes[f"path:{backend}:gemma2"]["base_path"] == "/ai-gateway/gemma2"
    probe = probes["pool:gemma2"]
    assert (probe["skip"], probe["echo"]) == ("", True)
    sent, received = probe["extra_headers"], probe["expect"]["received_headers"]
    assert {"cookie", "x-user", "x-maas-tier", "x-auth-validation", "x-gateway-model-name-rewrite"} <= set(sent)
    assert not {"authorization", "x-api-key"} & set(sent)
    assert set(received.values()) == {None, "*", "openai", "gemma2.batch"}
    assert {name for name, value in received.items() if value is None} > {
        *("authorization", "x-api-key", "cookie", "x-user", "x-maas-tier", "x-auth-validation", "x-forwarded-for"),
        *("x-gateway-model-name-rewrite", "x-gateway-inference-fairness-id"),
    }
    # What a real pod received is not known.
    assert probes["pool:other"]["skip"]
    assert probes["pool:other"]["expect"]["received_headers"]["x-gateway-inference-objective"] == "theirs"


def test_probes_behind_kuadrant() -> None:
    """Each provider has its own path and none is for all, and maas-api lists the models."""
    made = plan({**KUADRANT, "providers": [SIMULATED], "models": [KSERVE]})
    probes = by_id(made.probes)
    assert list(probes) == [
        *("no-token:chat", "no-token:openai", "no-token:models", *REFUSALS, "api-key-header"),
        *("maas-api-models", "maas-api-chat", "maas-api-no-token"),
        *("chat:gpt-4", "path:openai:gpt-4", "stream:gpt-4", "key:gpt-4", "forged:gpt-4"),
        *("chat:opt", "path:llminferenceservice.llm.opt:opt", "stream:opt", "key:opt", "forged:opt"),
    ]
    assert probes["chat:gpt-4"]["base_path"] == probes["no-token:chat"]["base_path"] == "/external/openai"
    assert probes["chat:opt"]["base_path"] == probes["path:llminferenceservice.llm.opt:opt"]["base_path"] == "/llm/opt"
    assert probes["unknown-path"]["expect"] == {"status": [404, 500], "api_error": False}
    assert probes["api-key-header"]["model"] == "gpt-4"
    assert "expect" not in probes["api-key-header"]
    listed = {"data[?id=='gpt-4'].id | [0]": "gpt-4", "data[?id=='opt'].id | [0]": "opt"}
    assert made.listing["expect"] == probes["maas-api-models"]["expect"] == {"query": listed}
    assert not plan({**KUADRANT, "maas_api": False, "providers": [SIMULATED]}).lists_models


def test_the_list_of_models() -> None:
    made = plan({"providers": [SIMULATED, REAL]}, {"wait_timeout": "7"})
    listing = made.listing
    assert (listing["id"], listing["token"], listing["skip"], listing["wait_timeout"]) == (
        "models",
        "caller" * 20,
        "",
        7,
    )
    assert listing["expect"] == {"models": ["gpt-4", "org/more:1"]}
    assert listing["hint"] == "See the EnvoyExtensionPolicy ai-gateway in namespace ai-gateway."
    unlisted = plan({**KUADRANT, "maas_api": False, "providers": [SIMULATED]})
    assert (
        unlisted.listing["skip"] == "with engine kuadrant maas-api lists the models, and ai_gateway_maas_api is false"
    )
    assert "no-token:models" not in by_id(unlisted.probes)
    no_token = plan({"providers": [SIMULATED]}, issued=issued("caller"))
    assert no_token.listing["skip"] == "no token: forbidden"


def test_maas_api_lists_what_is_registered_and_what_kserve_runs() -> None:
    simulated = {"name": "fake", "simulated": True}
    made = plan({"maas_api": True, "providers": [SIMULATED], "models": [ON_PREMISES, simulated]})
    assert by_id(made.probes)["maas-api-models"]["expect"] == {"query": {"data[?id=='gpt-4'].id | [0]": "gpt-4"}}


def test_a_list_that_is_waited_for_in_vain_is_waited_for_once() -> None:
    for status, seconds in (("passed", 60), ("failed", 0)):
        made = plan({"providers": [SIMULATED]}, listing={"checks": [{"id": "models", "status": status}]})
        waits = {probe.get("wait_timeout") for probe in made.probes} - {None}
        assert waits == {seconds}


def test_users_and_tokens() -> None:
    made = plan({"providers": [SIMULATED], "tiers": [FREE, PAID]}, {"audiences": ["a-sa"]})
    assert made.users == [
        {"user": "validation-r1", "tier": "paid"},
        {"user": "validation-r1-limit", "tier": "free"},
        {"user": "validation-r1-outside", "tier": "free"},
        {"user": "validation-r1-outside-anthropic", "tier": "free"},
        {"user": "validation-r1-on-premises", "tier": "free"},
        {"user": "validation-r1", "namespace": "ai-gateway"},
    ]
    requests = by_id(made.token_requests)
    assert list(requests) == [*PURPOSES[:6], "other_audience"]
    assert requests["caller"] == {"id": "caller", "user": "validation-r1", "tier": "paid", "audiences": ["a-sa"]}
    assert requests["other_audience"] == {
        **requests["caller"],
        "id": "other_audience",
        "audiences": ["https://other.example.com"],
    }
    assert set(made.tokens) >= {limit["user"] for limit in made.limits}


def test_tokens_that_not_every_cluster_gives() -> None:
    made = plan({"providers": [SIMULATED], "maas_api": True}, {"audiences": ["a-sa"]})
    minted = {"user": "validation-r1-minted", "tier": "free", "source": "maas_api"}
    assert made.users[-1] == minted
    # maas-api gives its tokens the audience that it was configured with.
    assert made.token_requests[-1] == {"id": "minted", **minted}


@pytest.mark.parametrize(
    ("tiers", "settings", "asking", "limited"),
    [
        ([FREE, PAID], {}, "paid", "free"),
        ([PAID, FREE], {}, "paid", "free"),
        ([PAID, FREE, REQUESTS], {}, "paid", "free"),
        ([REQUESTS], {}, "calls", "calls"),
        ([FREE, PAID, REQUESTS], {"tier": "calls", "rate_limit_tier": "paid"}, "calls", "paid"),
    ],
)
def test_tiers(tiers: list[dict[str, t.Any]], settings: dict[str, t.Any], asking: str, limited: str) -> None:
    made = plan({"providers": [SIMULATED], "tiers": tiers}, settings)
    assert (made.tier["name"], made.limit_tier["name"]) == (asking, limited)


@pytest.mark.parametrize(
    ("missing", "skipped"),
    [
        ("other_audience", {"other-audience"}),
        ("outsider", {"outsider"}),
        ("minted", {"maas-api-models", "maas-api-chat"}),
        ("limited", set()),
        (
            "caller",
            {
                *("tampered-token", "unknown-model", "unknown-path", "api-key-header", "chat:gpt-4", "messages:gpt-4"),
                *("path:openai:gpt-4", "stream:gpt-4", "key:gpt-4", "forged:gpt-4"),
            },
        ),
    ],
)
def test_what_needs_a_token_that_is_missing_is_skipped(missing: str, skipped: set[str]) -> None:
    made = plan({"providers": [SIMULATED], "maas_api": True}, {"expired_token": "old"}, issued=issued(missing))
    reasons = {probe["id"]: probe["skip"] for probe in made.probes if probe.get("skip")}
    assert reasons == dict.fromkeys(skipped, "no token: forbidden")


def test_a_token_that_nothing_is_known_of_was_not_issued() -> None:
    """So it is in check mode, where issuing is skipped."""
    made = plan({"providers": [SIMULATED]}, issued={"results": [{"item": {"id": "caller"}, "skipped": True}]})
    assert by_id(made.probes)["chat:gpt-4"]["skip"] == "no token: none was issued"


@pytest.mark.parametrize("token", ["", "old"])
def test_an_expired_token(token: str) -> None:
    probe = by_id(plan({"providers": [SIMULATED]}, {"expired_token": token}).probes)["expired-token"]
    assert probe["token"] == token
    assert probe["skip"] == ("" if token else "there is no validation_expired_token")


def test_without_a_model_nothing_is_asked_of_one() -> None:
    probes = by_id(plan({"providers": [SIMULATED, REAL], "tiers": [PAID]}, {"models": ["org/more:1"]}).probes)
    assert probes["no-token:chat"]["model"] == "none"
    for name in ("no-token:chat", "no-token:messages", "bad-token", "tampered-token", "other-audience", "outsider"):
        assert probes[name]["skip"] == "tier paid may use no model of the catalogue"
    assert "forbidden:org/more:1" in probes
    assert probes["hidden:org/more:1"]["path"] == "/v1/models/org/more%3A1"


@pytest.mark.parametrize(
    ("inputs", "status", "skip"),
    [
        ({"tiers": [FREE]}, 404, ""),
        ({"tiers": [PAID]}, 403, ""),
        ({**KUADRANT}, 404, ""),
        (
            {**KUADRANT, "providers": [{**REAL, "models": [{"name": "more"}]}]},
            404,
            "its headers cannot be seen: provider more is no simulator",
        ),
    ],
)
def test_an_unknown_model(inputs: dict[str, t.Any], status: int, skip: str) -> None:
    probe = by_id(plan({"providers": [SIMULATED], **inputs}).probes)["unknown-model"]
    assert (probe["model"], probe["name"]) == ("no-such-model-r1", f"An unknown model is a clear {status}")
    assert probe["expect"] == {"status": [status], "matches": "(?i)model", "api_error": True}
    assert probe["skip"] == skip


def test_keys_of_providers_are_looked_for_and_do_not_show() -> None:
    fake = {"name": "fake", "simulated": True}
    inputs = {"providers": [SIMULATED, REAL], "models": [fake, ON_PREMISES]}
    probes = by_id(plan(inputs).probes)
    digests = {"received_credentials": [hashlib.sha256(KEY.encode()).hexdigest()]}
    neither = {"authorization": None, "x-api-key": None, "api-key": None}
    assert (probes["key:gpt-4"]["skip"], probes["key:gpt-4"]["expect"]) == ("", {**digests, "excludes": [KEY]})
    assert probes["key:fake"]["skip"] == ""
    assert probes["key:fake"]["expect"] == {
        "received_credentials": [],
        "received_headers": neither,
        "excludes": [KEY],
    }
    unknown = by_id(plan(inputs, {"providers": []}).probes)["key:gpt-4"]
    assert unknown["skip"] == "the key of provider openai is known to the cluster alone"
    assert unknown["expect"] == {"received_credentials": [], "excludes": []}
    for name in ("key", "forged"):
        assert probes[f"{name}:org/more:1"]["skip"] == "its headers cannot be seen: provider more is no simulator"
        assert probes[f"{name}:opt"]["skip"] == "its headers cannot be seen: the model on the premises is no simulator"
    for name in ("chat", "stream", "path:more"):
        assert probes[f"{name}:org/more:1"]["expect"]["excludes"] == [KEY]
    assert probes["chat:org/more:1"]["expect"]["model"] == ["org/more:1", "more-1"]
    assert KEY not in repr(Settings.of({"providers": [SIMULATED], "expired_token": KEY}))


def test_forged_headers() -> None:
    inputs = {
        "providers": [SIMULATED, {**SIMULATED, "name": "b", "models": [{"name": "b"}]}],
        "tiers": [FREE, {**PAID, "models": ["*"]}],
    }
    probe = by_id(plan(inputs, identity=IDENTITY).probes)["forged:gpt-4"]
    assert probe["name"] == "gpt-4 gets what stands for the true caller, and no name"
    assert (probe["extra_headers"]["x-maas-tier"], probe["extra_headers"]["x-ai-eg-model"]) == ("free", "b")
    assert probe["expect"]["received_headers"] == {
        "x-maas-user": None,
        "x-maas-tier": None,
        "x-ai-gateway-user": digest("secret", "paid", "sa-1"),
        "x-ai-gateway-tier": digest("secret", "paid"),
        "x-ai-eg-model": "gpt-4",
    }
    nobody = {"x-maas-user": None, "x-maas-tier": None}
    for unread in ({}, {"resources": []}, {"msg": "forbidden"}, {"resources": [{"data": {}}]}):
        probe = by_id(plan({"providers": [SIMULATED]}, identity=unread).probes)["forged:gpt-4"]
        assert probe["name"] == "gpt-4 learns no name of a caller, a forged one neither"
        assert probe["expect"]["received_headers"] == nobody
        assert (probe["extra_headers"]["x-maas-tier"], probe["extra_headers"]["x-ai-eg-model"]) == ("forged", "forged")
    behind = plan({**KUADRANT, "providers": [SIMULATED]}, identity=IDENTITY)
    assert by_id(behind.probes)["forged:gpt-4"]["expect"]["received_headers"] == nobody


def test_hints_name_the_objects_of_the_engine() -> None:
    made = plan({"providers": [SIMULATED]})
    assert made.policies_hint == "See the SecurityPolicy ai-gateway in namespace ai-gateway, and the logs of Authorino."
    assert made.routes_hint == (
        "See the status of the AIGatewayRoutes and backends in namespace ai-gateway, and the logs of the proxies and "
        "of the provider."
    )
    assert (
        made.keys_hint
        == "See the BackendSecurityPolicy of the provider in namespace ai-gateway and the Secret it names."
    )
    assert (
        made.limits[0]["hint"]
        == "See the BackendTrafficPolicy ai-gateway in namespace ai-gateway, and the logs of the rate limit service."
    )
    made = plan({**KUADRANT, "providers": [SIMULATED]})
    assert made.policies_hint == "See the AuthPolicies in namespace openshift-ingress, and the logs of Authorino."
    assert made.keys_hint == "See the AuthPolicy of the bridge to the provider in namespace ai-gateway."
    assert (
        made.limits[0]["hint"]
        == "See the TokenRateLimitPolicies in namespace openshift-ingress, and the logs of the rate limit service."
    )


def test_the_limit_at_a_simulator() -> None:
    (limit, *_others) = plan({"providers": [SIMULATED, REAL]}).limits
    assert {name: value for name, value in limit.items() if name != "hint"} == {
        "id": "rate-limit",
        "user": "limited",
        "name": "The token limit of tier free",
        "skip": "",
        "model": "gpt-4",
        "operation": "chat_completions",
        "limit": 100,
        "window": 60,
        "elsewhere": [{"base_path": "/external/openai"}, {"model": "org/more:1", "operation": "chat_completions"}],
        "simulated_tokens": 30,
        "wait_for_recovery": True,
    }


def test_the_limit_behind_kuadrant() -> None:
    other = {**SIMULATED, "name": "b", "models": [{"name": "b"}]}
    (limit,) = plan({**KUADRANT, "providers": [SIMULATED, other]}).limits
    assert limit["base_path"] == "/external/openai"
    assert limit["elsewhere"] == [{"model": "b", "operation": "chat_completions", "base_path": "/external/b"}]
    (limit,) = plan({**KUADRANT, "providers": [SIMULATED]}).limits
    assert limit["elsewhere"] == []
    limit = plan({**KUADRANT, "models": [KSERVE]}).limits[0]
    assert (limit["model"], limit["base_path"]) == ("none", "")


def test_the_limit_in_anthropics_api() -> None:
    (limit,) = plan({"providers": [SIMULATED_ANTHROPIC, SIMULATED]}).limits
    assert (limit["model"], limit["operation"]) == ("claude", "messages")
    assert limit["elsewhere"][1] == {"model": "gpt-4", "operation": "chat_completions"}
    (limit,) = plan({"providers": [SIMULATED, SIMULATED_ANTHROPIC]}).limits
    assert (limit["model"], limit["elsewhere"]) == ("gpt-4", [{"base_path": "/external/openai"}])


@pytest.mark.parametrize(
    ("inputs", "settings", "missing", "skip"),
    [
        ({"providers": [SIMULATED]}, {}, "", ""),
        ({"providers": [SIMULATED]}, {}, "limited", "no token: forbidden"),
        ({"providers": [SIMULATED], "tiers": [REQUESTS]}, {}, "", "tier calls has no limit of all tokens"),
        (
            {"providers": [REAL]},
            {},
            "",
            "no simulator serves a model of tier free, and spending at a provider costs money",
        ),
        (
            {"providers": [SIMULATED], "tiers": [{**FREE, "token_limit": {"tokens": 100, "window": "1s"}}]},
            {},
            "",
            "a window of 1s ends before it is spent",
        ),
    ],
)
def test_why_the_limit_is_not_spent(
    inputs: dict[str, t.Any], settings: dict[str, t.Any], missing: str, skip: str
) -> None:
    assert plan(inputs, settings, issued=issued(missing)).limits[0]["skip"] == skip


@pytest.mark.parametrize(
    ("tokens", "window", "settings", "usage", "seconds", "waits"),
    [
        (100, "1m", {}, 30, 60, True),
        (100, "1m", {"recovery": "false"}, 30, 60, False),
        # Nobody waits for the end of an hour.
        (3, "1h", {}, 1, 3600, False),
        (19, "24h", {}, 5, 86400, False),
    ],
)
def test_how_the_limit_is_spent(
    tokens: int, window: str, settings: dict[str, t.Any], usage: int, seconds: int, waits: bool
) -> None:
    tier = {**FREE, "token_limit": {"tokens": tokens, "window": window}}
    limit = plan({"providers": [SIMULATED], "tiers": [tier]}, settings).limits[0]
    assert (limit["simulated_tokens"], limit["window"], limit["wait_for_recovery"]) == (usage, seconds, waits)


@pytest.mark.parametrize(
    ("tokens", "paid_requests", "skipped"),
    [(100, 50, []), (100, 20, ["outside-anthropic"]), (10**9, 50, ["outside", "outside-anthropic", "on-premises"])],
)
def test_no_limit_takes_more_requests_than_are_allowed(tokens: int, paid_requests: int, skipped: list[str]) -> None:
    """What is on the premises costs no money, but millions of requests to it are no check either."""
    tiers = [{**FREE, "token_limit": {"tokens": tokens, "window": "1m"}}]
    inputs = {"providers": [REAL, ANTHROPIC], "models": [ON_PREMISES], "tiers": tiers}
    places = plan(inputs, {"paid_requests": paid_requests, "max_tokens": 16}).limits[1:]
    assert ids(places) == [f"rate-limit-{kind}" for kind in ("outside", "outside-anthropic", "on-premises")]
    assert [place["user"] for place in places if place["skip"]] == skipped
    paid = [place for place in places if place["user"] != "on-premises" and not place["skip"]]
    assert sum(place["max_requests"] for place in paid) <= paid_requests


def test_places_of_the_limit() -> None:
    made = plan({"providers": [REAL, ANTHROPIC], "models": [ON_PREMISES]}, {"paid_requests": 20})
    outside, anthropic, own = made.limits[1:]
    assert {name: value for name, value in outside.items() if name != "hint"} == {
        "id": "rate-limit-outside",
        "user": "outside",
        "name": "The token limit of tier free at a provider outside",
        "skip": "",
        "model": "org/more:1",
        "operation": "chat_completions",
        "limit": 100,
        "window": 60,
        "max_tokens": 16,
        "max_requests": 16,
        "wait_for_recovery": False,
    }
    assert (anthropic["operation"], own["model"]) == ("messages", "opt")
    assert anthropic["skip"] == "it takes about 16 requests, and validation_paid_requests leaves 4"
    restricted = plan({"providers": [SIMULATED, REAL], "tiers": [PAID]}).limits[1]
    assert (restricted["model"], restricted["skip"]) == ("none", "tier paid may use none of these models")


PROBE = {"id": "chat:gpt-4", "token": "t", "model": "gpt-4", "skip": ""}


@pytest.mark.parametrize(
    ("changes", "paid"),
    [
        ({}, True),
        ({"expect": {"status": [200]}}, True),
        ({"expect": {"usage": True}}, True),
        ({"expect": {"status": [401]}}, False),
        ({"token": ""}, False),
        ({"skip": "no token"}, False),
        ({"model": "simulated"}, False),
        ({"model": None}, False),
    ],
)
def test_what_is_paid(changes: dict[str, object], paid: bool) -> None:
    assert is_paid({**PROBE, **changes}, {"gpt-4", "other"}) is paid


def test_the_first_of_each_model_goes_before_the_others() -> None:
    probes = [
        {**PROBE, "id": f"{number}:{model}", "model": model}
        for model in ("gpt-4", "free", "other")
        for number in range(3)
    ]
    for limit, sent in (
        (0, set()),
        (1, {"0:gpt-4"}),
        (2, {"0:gpt-4", "0:other"}),
        (3, {"0:gpt-4", "0:other", "1:gpt-4"}),
        (9, None),
        (-1, set()),
    ):
        found = bounded(probes, ["gpt-4", "other"], limit)
        assert [probe["id"] for probe in found] == [probe["id"] for probe in probes]
        paid = {probe["id"] for probe in probes if probe["model"] != "free"}
        assert {probe["id"] for probe in found if not probe["skip"] and probe["model"] != "free"} == (
            paid if sent is None else sent
        )
        assert all("validation_paid_requests" in probe["skip"] for probe in found if probe["skip"])


@pytest.mark.parametrize("allowed", [0, 1, 3, 17, 20, 40, 50, 500])
def test_no_more_requests_are_paid_than_allowed(allowed: int) -> None:
    made = plan({"providers": [SIMULATED, REAL, ANTHROPIC]}, {"paid_requests": str(allowed)})
    assert made.paid_models == ["org/more:1", "claude"]
    # Each model is asked for chat, under its path and as a stream, that of OpenAI's schema in Anthropic's API too.
    assert made.paid_requests == min(allowed, 4 + 3 + 2 * 16)


@pytest.mark.parametrize(
    ("provider", "arguments"),
    [
        (SIMULATED, ["/v1/chat/completions", "Authorization", "Bearer not-its-key", "gpt-4"]),
        (SIMULATED_ANTHROPIC, ["/v1/messages", "x-api-key", "not-its-key", "claude"]),
    ],
)
def test_a_wrong_key(provider: dict[str, t.Any], arguments: list[str]) -> None:
    wanted = {"skip": "", "provider": provider["name"], "arguments": arguments}
    assert plan({"providers": [REAL, provider]}).wrong_key == wanted
    assert plan({"providers": [provider]}, check_mode=True).wrong_key == {"skip": "check mode asks nothing"}


def test_a_wrong_key_is_not_sent_to_a_real_provider() -> None:
    assert plan({"providers": [REAL]}).wrong_key == {
        "skip": "no provider is a simulator that serves plain HTTP, and wrong keys are not sent to real ones"
    }


def test_settings_that_name_what_does_not_exist() -> None:
    catalog = build({"providers": [SIMULATED], "tiers": [FREE]}).as_dict()
    assert setting_faults(catalog, Settings.of({"tier": "free", "models": ["gpt-4"]})) == []
    wrong = {"tier": "gold", "rate_limit_tier": "gold", "models": ["gpt-5", "gpt-4"]}
    assert setting_faults(catalog, Settings.of(wrong)) == [
        "validation_tier or validation_rate_limit_tier: no tier is named gold; see ai_gateway_tiers",
        "validation_models: no model is named gpt-5; see ai_gateway_providers",
    ]


#: Which step of the proof of concept each check repeats: its quickstart's end-to-end validation, and the validation of
#: its mixed providers. docs/two-gateways.md says who does the other steps.
STEPS = {
    "gateway": "quickstart, step 2",
    "maas-api-token": "quickstart, mint a token; mixed providers 2",
    "tokens": "quickstart, mint a token; mixed providers 2",
    "models": "quickstart, list models; mixed providers 3",
    "maas-api-models": "quickstart, list models; mixed providers 3",
    "chat:gpt-4": "quickstart, chat completion; mixed providers 4 to 7",
    "path:openai:gpt-4": "mixed providers 4 to 7",
    "key:gpt-4": "mixed providers 4 to 6",
    "no-token:chat": "quickstart, auth enforcement",
    "no-token:openai": "mixed providers 8",
    "wrong-key": "mixed providers 9",
    "rate-limit": "quickstart, token rate limiting; mixed providers 10",
    "rate-limit-elsewhere": "mixed providers 10",
}


def test_each_step_of_the_proof_of_concept_has_a_check() -> None:
    other = {**SIMULATED, "name": "b", "models": [{"name": "b"}]}
    made = plan({**KUADRANT, "providers": [SIMULATED, other], "models": [KSERVE]}, probes={"checks": []})
    found = {entry["id"] for entry in (made.listing, *made.probes, *made.limits, *checks(made))}
    # Module rate_limit_probe adds this one where it is asked elsewhere.
    found |= {f"{limit['id']}-elsewhere" for limit in made.limits if limit.get("elsewhere")}
    assert set(STEPS) <= found


@pytest.mark.parametrize(
    "inputs",
    [
        {"providers": [SIMULATED, REAL], "models": [ON_PREMISES]},
        {**KUADRANT, "providers": [SIMULATED, {**REAL, "models": [{"name": "more"}]}], "models": [KSERVE]},
    ],
)
def test_a_quick_validation_costs_nothing_and_waits_for_nothing(inputs: dict[str, t.Any]) -> None:
    quick, full = plan(inputs, {"quick": True}), plan(inputs)
    assert full.paid_requests > 0
    assert quick.paid_requests == 0
    assert not [probe for probe in quick.probes if probe.get("model") in quick.paid_models]
    assert quick.limits == []
    assert quick.wrong_key["skip"]
    assert [user["user"] for user in quick.users] == ["validation-r1"]
    assert ids(quick.token_requests) == ["caller"]
    assert {"no-token:chat", "bad-token", "tampered-token", "chat:gpt-4"} <= set(ids(quick.probes))
    assert set(ids(quick.probes)) < set(ids(full.probes))
    assert quick.left_out >= len(full.probes) - len(quick.probes)
    assert full.left_out == 0


def test_a_quick_validation_says_what_it_leaves_out() -> None:
    inputs = {"providers": [SIMULATED, REAL]}
    seen = {"probes": {"checks": []}, "issued": issued(purposes=("caller",))}
    outcome = by_id(checks(plan(inputs, {"quick": True}, **seen)))
    assert outcome["full-validation"]["status"] == "skipped"
    assert "left out" in outcome["full-validation"]["observed"]
    assert outcome["tokens"]["status"] == "passed"
    assert "wrong-key" not in outcome
    assert "full-validation" not in by_id(checks(plan(inputs, **seen)))


@pytest.mark.parametrize(
    ("result", "status", "observed"),
    [
        ({"stdout": "\n"}, "passed", "reached none"),
        ({"stdout": "redis.x.svc:6379\n"}, "failed", "reached redis.x.svc:6379"),
        ({"msg": "no pod"}, "failed", "no pod"),
    ],
)
def test_whether_network_policies_are_enforced(result: dict[str, t.Any], status: str, observed: str) -> None:
    inputs, seen = {"providers": [SIMULATED]}, {"probes": {"checks": []}, "connections": result}
    found = plan(inputs, {"network_policies": True}, **seen)
    assert len(found.connections["arguments"]) == 2
    check = by_id(checks(found))["network-policies"]
    assert (check["status"], check["observed"]) == (status, observed)
    for settings in ({}, {"network_policies": True, "quick": True}):
        assert "network-policies" not in by_id(checks(plan(inputs, settings, **seen)))
    unseen = by_id(checks(plan({"providers": [REAL]}, {"network_policies": True}, **seen)))["network-policies"]
    assert (unseen["status"], unseen["observed"]) == ("skipped", "no simulator's pod can try it")
    assert plan({**KUADRANT, "providers": [SIMULATED]}, {"network_policies": True}).connections["skip"]
