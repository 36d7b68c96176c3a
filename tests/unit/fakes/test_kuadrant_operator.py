# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stand-in for Kuadrant's operator:

its translation, its program, its statuses, and its passes over an API server that keeps what it is sent.
"""

from __future__ import annotations

import copy
import datetime
import http.server
import json
import re
import sys
import threading
import typing as t
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from lupa import luajit21

sys.path.insert(0, str(Path(__file__).parents[2] / "fakes/kuadrant"))

import kuadrant_api
import kuadrant_operator
from kuadrant_objects import GATEWAY_API, KINDS, MADE, MADE_LABEL, POLICIES, Object, bounded, key_of
from kuadrant_plan import (
    MISSING_PROVIDER,
    Settings,
    conditions_of,
    idle_plan,
    kuadrant_conditions,
    leftovers,
    new_status,
    plan,
    provider_installed,
)
from kuadrant_program import METADATA_KEY, METADATA_NAMESPACE, MODEL_HEADER, PATH_HEADER, program
from kuadrant_translation import (
    NOBODY,
    TIER_HEADER,
    USER_HEADER,
    UnsupportedError,
    auth_config,
    header_match,
    limit_rules,
    limits,
    seconds_of,
)

KEY = "sk-secret-of-a-provider"
GATEWAY = ("maas", "openshift-ingress")
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)

IDENTITY = {
    "userid": {"expression": "auth.identity.userid"},
    "tier": {"expression": 'auth.identity.user.username.split(":")[2].split("-tier-")[1]'},
}


def named(
    kind: str, name: str, namespace: str, *, created: str = "2026-01-01T00:00:00Z", generation: int = 1, **fields: t.Any
) -> Object:
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": created, "generation": generation}
    return {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": metadata, **fields}


def reference(kind: str, name: str) -> Object:
    return {"group": GATEWAY_API, "kind": kind, "name": name}


def gateway() -> Object:
    return named("Gateway", *GATEWAY)


def gateway_class(accepted: str = "True") -> Object:
    return named("GatewayClass", "eg", "", status={"conditions": [{"type": "Accepted", "status": accepted}]})


def route(
    name: str, namespace: str = "models", *, accepted: bool = True, own_gateway: tuple[str, str] = GATEWAY
) -> Object:
    parent = {"name": own_gateway[0], "namespace": own_gateway[1]}
    parents = [{"parentRef": parent, "conditions": [{"type": "Accepted", "status": str(accepted)}]}]
    return named("HTTPRoute", name, namespace, status={"parents": parents})


def rules() -> Object:
    return {
        "authentication": {
            "service-accounts": {
                "kubernetesTokenReview": {"audiences": ["maas-default-gateway-sa"]},
                "defaults": {"userid": {"expression": 'auth.identity.user.username.split(":")[3]'}},
                "cache": {"key": {"selector": "context.request.http.headers.authorization"}, "ttl": 60},
            }
        },
        "metadata": {"lookup": {"http": {"url": "https://maas-api/v1/tiers/lookup"}}},
        "authorization": {"tier": {"patternMatching": {"patterns": [{"predicate": "true"}]}}},
        "response": {
            "unauthenticated": {"code": 401},
            "success": {
                "headers": {"authorization": {"plain": {"expression": f'"Bearer {KEY}"'}}},
                "filters": {"identity": {"json": {"properties": IDENTITY}}},
            },
        },
    }


def auth_policy(
    name: str = "gateway-auth", namespace: str = GATEWAY[1], target: Object | None = None, **fields: t.Any
) -> Object:
    form = fields.pop("form", "rules")
    spec = {"rules": rules()} if form == "rules" else {form: {"rules": rules()}}
    spec.update(fields.pop("spec", {}))
    return named(
        "AuthPolicy", name, namespace, spec={"targetRef": target or reference("Gateway", GATEWAY[0]), **spec}, **fields
    )


def limit_policy(kind: str, name: str, given: Object, target: Object | None = None, **fields: t.Any) -> Object:
    spec = {"targetRef": target or reference("Gateway", GATEWAY[0]), "limits": given}
    return named(kind, name, GATEWAY[1], spec=spec, **fields)


def free(limit: int = 100, window: str = "1m", *predicates: str) -> Object:
    when = [{"predicate": text} for text in ('auth.identity.tier == "free"', *predicates)]
    return {
        "rates": [{"limit": limit, "window": window}],
        "counters": [{"expression": "auth.identity.userid"}],
        "when": when,
    }


TOKENS = limit_policy(
    "TokenRateLimitPolicy", "tokens", {"free": free(100, "1m", '!request.path.endsWith("/v1/models")')}
)
REQUESTS = limit_policy("RateLimitPolicy", "requests", {"gpt": free(5, "60s", 'requestBodyJSON("/model") == "gpt-4"')})


def cluster(*items: Object) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {kind: [] for kind in KINDS}
    for item in items:
        found[item["kind"]].append(item)
    return found


# What a policy becomes


def test_an_auth_policy_becomes_an_auth_config() -> None:
    config = auth_config(auth_policy(), "authorino")
    assert key_of(config) == ("AuthConfig", "authorino", "openshift-ingress.gateway-auth")
    assert config["metadata"]["labels"] == dict([MADE_LABEL])
    given, spec = rules(), config["spec"]
    assert spec["hosts"] == ["openshift-ingress.gateway-auth.authpolicy.kuadrant"]
    assert {part: spec[part] for part in ("authentication", "metadata", "authorization")} == {
        part: given[part] for part in ("authentication", "metadata", "authorization")
    }
    assert spec["response"]["unauthenticated"] == {"code": 401}
    success = spec["response"]["success"]
    assert success["dynamicMetadata"] == given["response"]["success"]["filters"]
    assert success["headers"]["authorization"] == given["response"]["success"]["headers"]["authorization"]
    assert (success["headers"][USER_HEADER]["plain"], success["headers"][TIER_HEADER]["plain"]) == (
        IDENTITY["userid"],
        IDENTITY["tier"],
    )


@pytest.mark.parametrize("form", ["defaults", "overrides"])
def test_all_places_of_rules_mean_the_same(form: str) -> None:
    assert auth_config(auth_policy(form=form), "authorino") == auth_config(auth_policy(), "authorino")


def test_identity_headers_are_set_even_without_an_identity() -> None:
    """Else a client could say who it is."""
    policy = auth_policy()
    del policy["spec"]["rules"]["response"]
    headers = auth_config(policy, "authorino")["spec"]["response"]["success"]["headers"]
    assert {name: item["plain"] for name, item in headers.items()} == {
        USER_HEADER: {"value": NOBODY},
        TIER_HEADER: {"value": NOBODY},
    }


def test_predicates_and_patterns_of_the_whole_policy() -> None:
    pattern = {"selector": "request.method", "operator": "eq", "value": "GET"}
    policy = auth_policy(
        spec={"when": [{"predicate": 'request.method == "POST"'}], "patterns": {"reads": {"allOf": [pattern]}}}
    )
    spec = auth_config(policy, "authorino")["spec"]
    assert (spec["when"], spec["patterns"]) == ([{"predicate": 'request.method == "POST"'}], {"reads": [pattern]})


def changed(policy: Object, path: str, value: t.Any) -> Object:
    policy = copy.deepcopy(policy)
    item = policy
    *steps, last = path.split("/")
    for step in steps:
        item = item.setdefault(step, {})
    item[last] = value
    return policy


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("spec/defaults", {"strategy": "merge", "rules": rules()}, "spec.defaults.strategy"),
        ("spec/when", [{"predicate": f'requestBodyJSON("/key") == "{KEY}"'}], "when[0].predicate"),
        (
            "spec/rules/authorization/tier/when",
            [{"predicate": 'requestBodyJSON("/model") == "gpt-4"'}],
            "rules.authorization.tier.when[0].predicate",
        ),
        (
            "spec/rules/response/success/filters/identity/when",
            [{"predicate": "true"}],
            "rules.response.success.filters.identity.when",
        ),
        (
            "spec/rules/response/success/headers/X-Kuadrant-User",
            {"plain": {"value": KEY}},
            "rules.response.success.headers",
        ),
        (
            "spec/rules/response/success/headers/user",
            {"key": "x-kuadrant-user", "plain": {"value": KEY}},
            "rules.response.success.headers",
        ),
    ],
)
def test_what_an_auth_policy_may_not_ask_is_named(path: str, value: t.Any, field: str) -> None:
    with pytest.raises(UnsupportedError, match=re.escape(field)) as error:
        auth_config(changed(auth_policy(), path, value), "authorino")
    assert KEY not in str(error.value)


def test_a_long_name_stays_a_name() -> None:
    names = {bounded("n" * 250 + end) for end in ("abcd", "abce")}
    assert len(names) == 2
    assert all(len(name) == 253 for name in names)
    assert bounded("short") == "short"


# Limits


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        ('auth.identity.tier == "free"', ("Exact", TIER_HEADER, "free", False)),
        ("auth.identity.tier!='free'", ("Exact", TIER_HEADER, "free", True)),
        ('auth.identity.userid == "ann"', ("Exact", USER_HEADER, "ann", False)),
        ('requestBodyJSON("/model") == "Qwen/Qwen3-0.6B"', ("Exact", MODEL_HEADER, "Qwen/Qwen3-0.6B", False)),
        ("requestBodyJSON('/model') != 'gpt-4'", ("Exact", MODEL_HEADER, "gpt-4", True)),
        ('request.path == "/v1/models"', ("Exact", PATH_HEADER, "/v1/models", False)),
        ('request.method == "POST"', ("Exact", ":method", "POST", False)),
    ],
)
def test_predicates_of_equality(predicate: str, expected: tuple[str, str, str, bool]) -> None:
    match = header_match(predicate, "when")
    assert (match["type"], match["name"], match["value"], match["invert"]) == expected


@pytest.mark.parametrize(
    ("predicate", "negated", "hits", "misses"),
    [
        (
            '!request.path.endsWith("/v1/models")',
            True,
            ["/v1/models", "/external/openai/v1/models"],
            ["/v1/models/gpt-4", "/v1/models?a=b", "/v1/modelsx"],
        ),
        (
            'request.url_path.endsWith("/v1/models")',
            False,
            ["/v1/models", "/llm/v1/models?a=b/c"],
            ["/v1/modelsx", "/x?/v1/models"],
        ),
        (
            'request.path.startsWith("/maas-api.d")',
            False,
            ["/maas-api.d", "/maas-api.d/v1?x"],
            ["/maas-apixd", "/v1/maas-api.d"],
        ),
        ("request.url_path.contains('(v1)')", False, ["/a(v1)b"], ["/v1", "/a?b=(v1)"]),
        ('! request.path.contains("+")', True, ["/a+b", "/a?+"], ["/ab"]),
        (
            '!request.url_path.matches("^(/[a-z.]+|/x){0,2}/v1/models/?$")',
            True,
            ["/v1/models", "/v1/models/", "/a.b/x/v1/models?a=b"],
            ["/a/b/c/v1/models", "/v1/modelsx", "/x?/v1/models", "/v1/chat?x=/v1/models"],
        ),
    ],
)
def test_predicates_of_the_path(predicate: str, negated: bool, hits: list[str], misses: list[str]) -> None:
    match = header_match(predicate, "when")
    assert (match["type"], match["name"], match["invert"]) == ("RegularExpression", PATH_HEADER, negated)
    # Envoy matches the whole of the text.
    assert [text for text in hits + misses if re.fullmatch(match["value"], text)] == hits


@pytest.mark.parametrize(
    "predicate",
    [
        'auth.identity.group == "x"',
        'requestBodyJSON("/user") == "x"',
        'request.headers["a"] == "x"',
        "auth.identity.tier == auth.identity.userid",
        r'auth.identity.tier == "a\"b"',
        'request.path.matches("^a$")',
        'request.url_path.matches("a")',
        'request.url_path.matches("^a")',
        'request.url_path.matches("^.*$")',
        'request.url_path.matches("^[^/]$")',
        'request.url_path.matches("^[a?]$")',
        '(auth.identity.tier == "free")',
        "true",
        "",
    ],
)
def test_other_predicates_are_refused(predicate: str) -> None:
    with pytest.raises(UnsupportedError, match=r"^when\[3\]"):
        header_match(predicate, "when[3]")


def test_a_token_limit_becomes_a_rule() -> None:
    (rule,) = limit_rules(TOKENS)
    assert rule["limit"] == {"requests": 100, "unit": "Minute"}
    assert rule["shared"] is True
    ((headers,),) = ([selector["headers"] for selector in rule["clientSelectors"]],)
    assert [(header["name"], header["type"]) for header in headers] == [
        (USER_HEADER, "Distinct"),
        (TIER_HEADER, "Exact"),
        (PATH_HEADER, "RegularExpression"),
    ]
    assert rule["cost"] == {
        "request": {"from": "Number", "number": 0},
        "response": {"from": "Metadata", "metadata": {"namespace": METADATA_NAMESPACE, "key": METADATA_KEY}},
    }


def test_a_request_limit_costs_one() -> None:
    (rule,) = limit_rules(REQUESTS)
    assert "cost" not in rule
    assert rule["clientSelectors"][0]["headers"][-1] == {
        "name": MODEL_HEADER,
        "type": "Exact",
        "value": "gpt-4",
        "invert": False,
    }


def test_conjunctions_and_common_predicates() -> None:
    limit = free(7, "1h", '!request.path.endsWith("a && b") && auth.identity.userid != "x||y"')
    policy = limit_policy("RateLimitPolicy", "requests", {"one": limit})
    policy["spec"]["when"] = [{"predicate": 'request.method == "POST"'}]
    (rule,) = limit_rules(policy)
    headers = rule["clientSelectors"][0]["headers"]
    assert [header["name"] for header in headers] == [USER_HEADER, ":method", TIER_HEADER, PATH_HEADER, USER_HEADER]
    assert headers[-1] == {"name": USER_HEADER, "type": "Exact", "value": "x||y", "invert": True}


def test_a_limit_without_counters_and_predicates_counts_all() -> None:
    policy = limit_policy(
        "RateLimitPolicy", "all", {"all": {"rates": [{"limit": 1, "window": "1s"}, {"limit": 9, "window": "24h"}]}}
    )
    assert limit_rules(policy) == [
        {"limit": {"requests": 1, "unit": "Second"}, "shared": True},
        {"limit": {"requests": 9, "unit": "Day"}, "shared": True},
    ]


@pytest.mark.parametrize(
    ("window", "seconds"),
    [("1m", 60), ("60s", 60), ("1h", 3600), ("60m", 3600), ("24h", 86400), ("1000ms", 1), ("1h30m", 5400)],
)
def test_windows(window: str, seconds: int) -> None:
    assert seconds_of(window) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("limit", "field"),
    [
        (free(1, "30s"), "limits.l.rates[0].window"),
        (free(1, "2m"), "limits.l.rates[0].window"),
        (free(0), "limits.l.rates[0].limit"),
        (free(2**32), "limits.l.rates[0].limit"),
        ({"counters": []}, "limits.l.rates"),
        ({**free(), "counters": [{"expression": "source.address"}]}, "limits.l.counters[0].expression"),
        (free(1, "1m", 'request.path == "a" || request.path == "b"'), "limits.l.when[1].predicate"),
    ],
)
def test_what_a_limit_may_not_ask_is_named(limit: Object, field: str) -> None:
    with pytest.raises(UnsupportedError, match=re.escape(field)):
        limit_rules(limit_policy("RateLimitPolicy", "requests", {"l": limit}))


def test_the_body_is_read_only_for_limits_of_a_model() -> None:
    for policy, read, count in ((TOKENS, "false", "true"), (REQUESTS, "true", "false")):
        extension, traffic = limits("ns", "maas", limit_rules(policy))
        assert f"READ_MODEL, COUNT_TOKENS = {read}, {count}\n" in extension["spec"]["lua"][0]["inline"]
        assert extension["spec"]["targetRefs"] == traffic["spec"]["targetRefs"] == [reference("Gateway", "maas")]
        assert traffic["spec"]["rateLimit"]["global"]["rules"] == limit_rules(policy)


# The program, on the interpreter that Envoy has


class Handle:
    """What Envoy gives the program of one request or answer.

    What it gave dies while the program waits for a body. Texts are bytes, as in Envoy.
    """

    def __init__(self, lua: t.Any, headers: dict[str, str], chunks: list[bytes]) -> None:
        self.lua, self.values = lua, headers
        self.chunks = [chunk.decode("latin-1") for chunk in chunks]
        self.metadata: dict[tuple[str, str], t.Any] = {}
        self.waits = 0
        self.read = False

    def _alive(self, **methods: t.Callable[..., t.Any]) -> t.Any:
        got = self.waits

        def guarded(method: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
            def call(_table: t.Any, *given: t.Any) -> t.Any:
                assert got == self.waits, "object used outside of proper scope"
                return method(*given)

            return call

        return self.lua.table_from({name: guarded(method) for name, method in methods.items()})

    def headers(self, _self: t.Any) -> t.Any:
        return self._alive(
            get=self.values.get, replace=self.values.__setitem__, remove=lambda name: self.values.pop(name, None)
        )

    def _buffer(self, content: str) -> t.Any:
        return self._alive(length=lambda: len(content), getBytes=lambda start, length: content[start : start + length])

    def body(self, _self: t.Any, _always: bool) -> t.Any:
        self.waits += 1
        self.read = True
        return self._buffer("".join(self.chunks))

    def body_chunks(self, _self: t.Any) -> t.Any:
        left = iter(self.chunks)

        def following(*_given: t.Any) -> t.Any:
            self.waits += 1
            chunk = next(left, None)
            return None if chunk is None else self._buffer(chunk)

        return following

    def stream_info(self, _self: t.Any) -> t.Any:
        def put(namespace: str, name: str, value: t.Any) -> None:
            self.metadata[(namespace, name)] = value

        return self._alive(dynamicMetadata=lambda: self._alive(set=put))

    def as_table(self) -> t.Any:
        return self.lua.table_from(
            {"headers": self.headers, "body": self.body, "bodyChunks": self.body_chunks, "streamInfo": self.stream_info}
        )

    @property
    def tokens(self) -> t.Any:
        return self.metadata[(METADATA_NAMESPACE, METADATA_KEY)]


def run(
    function: str, headers: dict[str, str], *chunks: bytes, read_model: bool = True, count_tokens: bool = True
) -> Handle:
    # An encoding of one byte to a character: the chunks of an answer may end within a longer one.
    lua = luajit21.LuaRuntime(encoding="latin-1")
    lua.execute(program(read_model=read_model, count_tokens=count_tokens))
    handle = Handle(lua, dict(headers), list(chunks))
    lua.globals()[function](handle.as_table())
    return handle


def asked(body: str, method: str = "POST", **flags: bool) -> Handle:
    headers = {
        ":method": method,
        ":path": "/v1/x?y",
        MODEL_HEADER: "forged",
        PATH_HEADER: "forged",
        "accept-encoding": "gzip",
    }
    return run("envoy_on_request", headers, body.encode(), **flags)


@pytest.mark.parametrize(
    ("body", "model"),
    [
        ('{"model": "gpt-4", "messages": []}', "gpt-4"),
        ('{"messages": [{"model": "other", "content": "\\"model\\": \\"x\\""}], "model" :\n"gpt-4"}', "gpt-4"),
        ('{"tools": {"model": "other"}}', None),
        ('{"text": "model", "a": "b"}', None),
        ('{"text": ["model", "gpt-4"]}', None),
        ('{"model": "gpt-3", "model": "gpt-4"}', "gpt-4"),
        ('{"model": "gpt-3", "model": 4}', None),
        ('{"m\\u006fdel": "gpt\\u002d4"}', "gpt-4"),
        ('{"model": "a\\\\u0041\\/b\\"c"}', 'a\\u0041/b"c'),
        ('{"model": "caf\\u00e9\\u20ac"}', "café€".encode().decode("latin-1")),
        ('{"model": "a\\r\\nb\\u0000"}', "ab"),
        ('{"model": "cut', None),
        ("[]", None),
        ("", None),
    ],
)
def test_the_model_of_a_body(body: str, model: str | None) -> None:
    handle = asked(body)
    assert handle.values.get(MODEL_HEADER) == model
    try:
        told = json.loads(body)["model"]
    except (ValueError, TypeError, KeyError):
        return
    # As other readers understand it, but for what no header may hold.
    expected = re.sub(r"[\x00-\x1f]", "", told).encode().decode("latin-1") if isinstance(told, str) else None
    assert expected == model


def test_bodies_are_left_alone_where_nothing_asks_for_the_model() -> None:
    for handle in (asked('{"model": "gpt-4"}', read_model=False), asked("", "GET")):
        assert handle.read is False
        assert MODEL_HEADER not in handle.values
        assert handle.values[PATH_HEADER] == "/v1/x?y"


def test_answers_whose_tokens_count_are_not_compressed() -> None:
    assert "accept-encoding" not in asked("{}").values
    assert asked("{}", count_tokens=False).values["accept-encoding"] == "gzip"


def answered(*chunks: bytes) -> t.Any:
    return run("envoy_on_response", {":status": "200"}, *chunks).tokens


ANSWER = b'{"choices": [{"message": {"content": "\\"total_tokens\\": 999"}}], "usage": {"prompt_tokens": 5, "total_tokens" : 1234, "completion_tokens": 7}}'


def test_the_tokens_of_an_answer() -> None:
    assert answered(ANSWER) == 1234


@pytest.mark.parametrize("size", [1, 2, 7, 30, 64, 65])
def test_the_tokens_of_an_answer_in_any_chunks(size: int) -> None:
    assert answered(*[ANSWER[start : start + size] for start in range(0, len(ANSWER), size)]) == 1234


def test_the_tokens_of_a_stream() -> None:
    events = [
        b'data: {"choices": [{"delta": {"content": "\xc3"}}], "usage": null}\n\n',
        b'data: {"usage": {"total_tokens": 3}}\n\n',
    ]
    last = b'data: {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 8, "total_tokens": 12}}\n\n'
    assert answered(*events, b"", last, b"data: [DONE]\n\n" + b" " * 100) == 12


def test_an_answer_without_usage_costs_nothing() -> None:
    assert answered(b"data: [DONE]\n\n") == 0
    assert answered() == 0


def test_answers_are_left_alone_where_nothing_counts_tokens() -> None:
    assert run("envoy_on_response", {":status": "200"}, ANSWER, count_tokens=False).metadata == {}


# The plan for a cluster


def outcome(items: dict[str, list[Object]], name: str, settings: Settings | None = None) -> tuple[str, str]:
    """Condition and reason of why a policy does not hold; both empty if nothing is said against it."""
    refusals = {key[2]: refusal for key, refusal in plan(items, settings or Settings()).refused.items()}
    return (refusals[name].condition, refusals[name].reason) if name in refusals else ("", "")


def test_a_gateway_and_a_route_with_policies_of_their_own() -> None:
    own = auth_policy("route-auth", "models", reference("HTTPRoute", "openai"))
    items = cluster(gateway(), route("openai"), route("other"), auth_policy(), own)
    found = plan(items, Settings())
    assert found.refused == {}
    assert [key[:2] for key in found.wanted] == [
        ("AuthConfig", "authorino"),
        ("AuthConfig", "authorino"),
        ("Backend", "models"),
        ("Backend", "openshift-ingress"),
        ("SecurityPolicy", "models"),
        ("SecurityPolicy", "openshift-ingress"),
    ]
    policy = found.wanted[("SecurityPolicy", "models", "kuadrant-auth-route-auth")]["spec"]
    assert policy["targetRefs"] == [reference("HTTPRoute", "openai")]
    assert policy["extAuth"]["failOpen"] is False
    (extension,) = policy["extAuth"]["contextExtensions"]
    assert [extension["value"]] == found.wanted[("AuthConfig", "authorino", "models.route-auth")]["spec"]["hosts"]
    backend = found.wanted[("Backend", "models", "kuadrant-authorino")]["spec"]
    assert backend == {"endpoints": [{"fqdn": {"hostname": "authorino.authorino.svc.cluster.local", "port": 50051}}]}


def test_the_oldest_policy_of_a_target_wins() -> None:
    older = auth_policy("older", created="2025-01-01T00:00:00Z")
    items = cluster(gateway(), route("openai"), auth_policy("a"), older)
    assert (outcome(items, "older"), outcome(items, "a")) == (("", ""), ("Enforced", "Overridden"))
    assert [key[2] for key in plan(items, Settings()).wanted if key[0] == "AuthConfig"] == ["openshift-ingress.older"]


def test_a_policy_without_its_target_is_not_accepted() -> None:
    items = cluster(gateway(), auth_policy("lost", target=reference("HTTPRoute", "nowhere")))
    assert outcome(items, "lost") == ("Accepted", "TargetNotFound")
    assert plan(items, Settings()).wanted == {}


def test_a_policy_without_routes_is_made_but_not_enforced() -> None:
    items = cluster(
        gateway(), route("other", own_gateway=("x", "y")), route("new", accepted=False), auth_policy(), TOKENS
    )
    found = plan(items, Settings())
    assert outcome(items, "gateway-auth") == outcome(items, "tokens") == ("Enforced", "Unknown")
    assert {key[0] for key in found.wanted} == set(MADE)


def test_a_gateway_whose_routes_all_have_their_own() -> None:
    own = auth_policy("route-auth", "models", reference("HTTPRoute", "openai"))
    items = cluster(gateway(), route("openai"), auth_policy(), own)
    assert (outcome(items, "gateway-auth"), outcome(items, "route-auth")) == (("Enforced", "Overridden"), ("", ""))


def test_overrides_of_a_gateway() -> None:
    own = auth_policy("route-auth", "models", reference("HTTPRoute", "openai"))
    items = cluster(gateway(), route("openai"), auth_policy(form="overrides"), own)
    assert (outcome(items, "gateway-auth"), outcome(items, "route-auth")) == (("", ""), ("Enforced", "Overridden"))
    assert ("SecurityPolicy", "models", "kuadrant-auth-route-auth") not in plan(items, Settings()).wanted


@pytest.mark.parametrize(
    "target", [{**reference("Gateway", GATEWAY[0]), "sectionName": "http"}, reference("GRPCRoute", "grpc")]
)
def test_targets_that_are_not_supported(target: Object) -> None:
    assert outcome(cluster(gateway(), route("openai"), auth_policy(target=target)), "gateway-auth") == (
        "Enforced",
        "Unsupported",
    )


def test_an_unsupported_change_leaves_the_old_rules() -> None:
    policy = auth_policy()
    items = cluster(gateway(), route("openai"), policy)
    made = list(plan(items, Settings()).wanted.values())
    worse = changed(policy, "spec/when", [{"predicate": 'requestBodyJSON("/model") == "a"'}])
    items = cluster(gateway(), route("openai"), worse, *made)
    found = plan(items, Settings())
    assert outcome(items, "gateway-auth") == ("Enforced", "Unsupported")
    assert found.wanted == {}
    assert leftovers(items, found) == []
    assert leftovers(cluster(gateway(), *made), plan(cluster(gateway()), Settings())) == [
        key_of(item) for item in reversed(made)
    ]


def test_all_limits_of_a_gateway_are_one_policy() -> None:
    later = limit_policy("RateLimitPolicy", "second", {"x": free()}, created="2026-01-02T00:00:00Z")
    on_route = limit_policy("RateLimitPolicy", "route", {"x": free()}, reference("HTTPRoute", "local"))
    bad = limit_policy("TokenRateLimitPolicy", "bad", {"x": free(1, "30s")}, created="2027-01-01T00:00:00Z")
    items = cluster(gateway(), route("openai"), route("local", GATEWAY[1]), TOKENS, REQUESTS, later, on_route, bad)
    found = plan(items, Settings())
    rules_made = found.wanted[("BackendTrafficPolicy", "openshift-ingress", "kuadrant-limits-maas")]["spec"][
        "rateLimit"
    ]["global"]["rules"]
    assert rules_made == limit_rules(REQUESTS) + limit_rules(TOKENS)
    reasons = {key[2]: refusal.reason for key, refusal in found.refused.items()}
    assert reasons == {"second": "Overridden", "route": "Unsupported", "bad": "Overridden"}
    for policy in (TOKENS, REQUESTS):
        assert [key[0] for key in found.needs[key_of(policy)]] == ["EnvoyExtensionPolicy", "BackendTrafficPolicy"]


def test_an_unsupported_limit_leaves_the_other_policy() -> None:
    bad = limit_policy("TokenRateLimitPolicy", "bad", {"x": free(1, "30s")})
    items = cluster(gateway(), route("openai"), REQUESTS, bad)
    assert (outcome(items, "bad"), outcome(items, "requests")) == (("Enforced", "Unsupported"), ("", ""))


def test_a_provider_is_a_class_that_somebody_accepted() -> None:
    assert provider_installed(cluster(gateway_class()))
    assert not provider_installed(cluster(gateway_class("Unknown")))
    assert not provider_installed(cluster(named("GatewayClass", "new", "")))
    assert not provider_installed(cluster())


@pytest.mark.parametrize("condition", ["Enforced", "Accepted"])
def test_without_a_provider_all_stays_as_it_is(condition: str) -> None:
    made = plan(cluster(gateway(), auth_policy()), Settings()).wanted
    items = cluster(gateway(), TOKENS, *made.values())
    found = idle_plan(items, Settings(missing_condition=condition), missing_provider=True)
    assert (found.wanted, leftovers(items, found)) == ({}, [])
    last = conditions_of(TOKENS, found, {}, {})[-1]
    assert (last["type"], last["status"], last["reason"], last["message"]) == (
        condition,
        "False",
        "MissingDependency",
        MISSING_PROVIDER,
    )


def test_without_an_object_kuadrant() -> None:
    found = idle_plan(cluster(TOKENS), Settings(), missing_provider=False)
    assert found.refused[key_of(TOKENS)].reason == "MissingResource"


# Statuses


def in_force(item: Object, generation: int = 1, status: str = "True", message: str = "") -> Object:
    """What Authorino or Envoy Gateway says of an object."""
    condition = {"status": status, "reason": "Told", "message": message}
    told: Object = {"conditions": [{"type": "Ready", **condition}]}
    if item["kind"] != "AuthConfig":
        told = {"ancestors": [{"conditions": [{"type": "Accepted", "observedGeneration": generation, **condition}]}]}
    return {**item, "metadata": {**item["metadata"], "generation": 1}, "status": told}


def enforced(policy: Object, change: str = "", faults: dict[t.Any, str] | None = None, **told: t.Any) -> Object:
    """The last condition of a policy whose objects are all in force but for those of kind ``change``."""
    found = plan(cluster(gateway(), route("openai"), policy), Settings())
    there = {key: in_force(item, **(told if key[0] == change else {})) for key, item in found.wanted.items()}
    if change and not told:
        there = {key: item for key, item in there.items() if key[0] != change}
    first, last = conditions_of(policy, found, there, faults or {})
    assert (first["type"], first["status"], first["observedGeneration"]) == ("Accepted", "True", 1)
    return last


@pytest.mark.parametrize("policy", [auth_policy(), TOKENS, REQUESTS])
def test_a_policy_is_enforced_when_all_that_it_needs_is_in_force(policy: Object) -> None:
    last = enforced(policy)
    assert (last["type"], last["status"], last["reason"], last["observedGeneration"]) == (
        "Enforced",
        "True",
        "Enforced",
        1,
    )


@pytest.mark.parametrize(
    ("policy", "kind", "told", "message"),
    [
        (auth_policy(), "AuthConfig", {}, "is being made"),
        (auth_policy(), "AuthConfig", {"status": "False", "message": KEY}, "is not ready: Told"),
        (
            auth_policy(),
            "SecurityPolicy",
            {"status": "False", "message": "no such Backend"},
            "is not accepted: Told: no such Backend",
        ),
        (auth_policy(), "SecurityPolicy", {"generation": 0}, "has not looked at its current generation"),
        (TOKENS, "BackendTrafficPolicy", {"status": "False"}, "is not accepted"),
        (TOKENS, "EnvoyExtensionPolicy", {"status": "False"}, "is not accepted"),
    ],
)
def test_a_policy_is_not_enforced_before(policy: Object, kind: str, told: Object, message: str) -> None:
    last = enforced(policy, kind, **told)
    assert (last["status"], last["reason"]) == ("False", "Unknown")
    assert f"{kind} " in last["message"]
    assert message in last["message"]
    assert KEY not in last["message"]


def test_what_was_written_just_now_is_not_in_force() -> None:
    last = enforced(
        auth_policy(), faults={("AuthConfig", "authorino", "openshift-ingress.gateway-auth"): "it was written just now"}
    )
    assert (last["status"], last["message"]) == ("False", "it was written just now")


def test_a_status_is_written_when_it_changes() -> None:
    kuadrant = named("Kuadrant", "kuadrant", "kuadrant-system")
    before = kuadrant_conditions(kuadrant, missing_provider=True)
    status = new_status(kuadrant, before, NOW)
    assert status == {
        "conditions": [
            {
                "type": "Ready",
                "status": "False",
                "reason": "MissingDependency",
                "message": MISSING_PROVIDER,
                "observedGeneration": 1,
                "lastTransitionTime": "2026-01-02T03:04:05Z",
            }
        ],
        "observedGeneration": 1,
    }
    told = {**kuadrant, "status": status}
    later = NOW + datetime.timedelta(hours=1)
    assert new_status(told, before, later) is None
    # Another message is no transition.
    assert (
        new_status(told, [{**before[0], "message": "other"}], later)["conditions"][0]["lastTransitionTime"]
        == "2026-01-02T03:04:05Z"
    )  # type: ignore[index]
    after = new_status(told, kuadrant_conditions(kuadrant, missing_provider=False), later)
    assert after is not None
    assert (after["conditions"][0]["status"], after["conditions"][0]["lastTransitionTime"]) == (
        "True",
        "2026-01-02T04:04:05Z",
    )


# Passes over an API server


class Server:
    """An API server that keeps what it is sent, counts generations, and refuses what it is told to."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.writes: list[tuple[str, str]] = []
        self.refuse: dict[str, tuple[int, Object]] = {}
        self.unknown: set[str] = set()
        self.authorization = ""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.authorization = self.headers.get("authorization", "")
                status, told = outer.handle(self.command, self.path, json.loads(body) if body else {})
                content = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, *_arguments: t.Any) -> None:
                """Quiet."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def put(self, *items: Object) -> None:
        for item in items:
            self.objects[key_of(item)] = copy.deepcopy(item)

    def handle(self, method: str, path: str, body: Object) -> tuple[int, Object]:
        address = urllib.parse.urlsplit(path)
        steps = address.path.removeprefix("/apis/").split("/")
        namespace = steps[3] if steps[2] == "namespaces" else ""
        rest = steps[4:] if namespace else steps[2:]
        (kind,) = [item for item in KINDS.values() if (item.api_version, item.plural) == ("/".join(steps[:2]), rest[0])]
        if kind.name in self.unknown:
            return 404, {}
        if method == "GET":
            found = [item for key, item in self.objects.items() if key[0] == kind.name and namespace in ("", key[1])]
            selector = urllib.parse.parse_qs(address.query).get("labelSelector", [""])[0]
            if selector:
                name, value = selector.split("=")
                found = [item for item in found if item["metadata"].get("labels", {}).get(name) == value]
            return 200, {
                "items": [
                    {name: value for name, value in item.items() if name not in ("kind", "apiVersion")}
                    for item in found
                ]
            }
        key = (kind.name, namespace, rest[1])
        if kind.name in self.refuse:
            return self.refuse[kind.name]
        self.writes.append((method, "/".join((kind.name, *rest[1:]))))
        if method == "DELETE":
            return (200, {}) if self.objects.pop(key, None) else (404, {})
        if rest[-1] == "status":
            self.objects[key].update(body)
            return 200, self.objects[key]
        before = self.objects.get(key)
        generation = before["metadata"]["generation"] + (before["spec"] != body["spec"]) if before else 1
        self.objects[key] = {
            "status": {},
            **(before or {}),
            **body,
            "metadata": {**body["metadata"], "generation": generation},
        }
        return 200, self.objects[key]

    def settle(self) -> None:
        """Authorino and Envoy Gateway say yes to all that is there."""
        for key, item in self.objects.items():
            if key[0] in MADE and key[0] != "Backend":
                item["status"] = in_force(item, item["metadata"]["generation"])["status"]

    def condition(self, kind: str, name: str, condition: str = "Enforced") -> tuple[str, str]:
        (item,) = [item for key, item in self.objects.items() if (key[0], key[2]) == (kind, name)]
        (found,) = [found for found in item["status"]["conditions"] if found["type"] == condition]
        return found["status"], found["reason"]


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    kuadrant = named("Kuadrant", "kuadrant", "kuadrant-system")
    running.put(gateway_class(), gateway(), route("openai"), kuadrant, auth_policy(), TOKENS)
    yield running
    running.http.shutdown()
    running.http.server_close()


def operator_for(server: Server) -> kuadrant_operator.Operator:
    return kuadrant_operator.Operator(kuadrant_api.Api(server.url, None), Settings())


def test_policies_become_enforced(server: Server) -> None:
    operator = operator_for(server)
    assert not operator.healthy()
    operator.run_pass()
    assert server.condition("Kuadrant", "kuadrant", "Ready") == ("True", "Ready")
    assert server.condition("AuthPolicy", "gateway-auth") == ("False", "Unknown")
    assert [kind for kind in MADE if any(key[0] == kind for key in server.objects)] == list(MADE)
    server.settle()
    operator.run_pass()
    assert (
        server.condition("AuthPolicy", "gateway-auth")
        == server.condition("TokenRateLimitPolicy", "tokens")
        == ("True", "Enforced")
    )
    assert operator.healthy()
    server.writes.clear()
    operator.run_pass()
    assert server.writes == []


def test_a_changed_policy_is_not_enforced_until_its_new_rules_are(server: Server) -> None:
    operator = operator_for(server)
    for _time in range(2):
        operator.run_pass()
        server.settle()
    policy = server.objects[key_of(auth_policy())]
    policy["spec"]["rules"]["authorization"] = {}
    policy["metadata"]["generation"] = 2
    operator.run_pass()
    # Authorino said ready, but of the rules before.
    assert server.condition("AuthPolicy", "gateway-auth") == ("False", "Unknown")
    assert policy["status"]["observedGeneration"] == 2
    operator.run_pass()
    assert server.condition("AuthPolicy", "gateway-auth") == ("True", "Enforced")


def test_what_others_change_is_put_right(server: Server) -> None:
    operator = operator_for(server)
    operator.run_pass()
    key = ("SecurityPolicy", "openshift-ingress", "kuadrant-auth-gateway-auth")
    wanted = copy.deepcopy(server.objects[key]["spec"])
    server.objects[key]["spec"]["extAuth"]["failOpen"] = True
    server.objects[key]["metadata"]["generation"] += 1
    operator.run_pass()
    assert server.objects[key]["spec"] == wanted
    del server.objects[key]
    operator.run_pass()
    assert server.objects[key]["spec"] == wanted


def test_a_new_operator_changes_nothing_that_stands(server: Server) -> None:
    operator_for(server).run_pass()
    server.settle()
    other = operator_for(server)
    other.run_pass()
    assert server.condition("AuthPolicy", "gateway-auth") == ("True", "Enforced")
    assert all(item["metadata"]["generation"] == 1 for item in server.objects.values())


def test_what_a_policy_leaves_goes_and_nothing_else(server: Server) -> None:
    operator = operator_for(server)
    operator.run_pass()
    others = named("SecurityPolicy", "others", "openshift-ingress", spec={})
    server.put(others)
    for policy in (auth_policy(), TOKENS):
        del server.objects[key_of(policy)]
    server.writes.clear()
    operator.run_pass()
    assert [key for key in server.objects if key[0] in MADE] == [key_of(others)]
    assert [path.split("/")[0] for _method, path in server.writes] == list(reversed(MADE))


def test_a_provider_that_comes_later_needs_a_restart(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.objects[key_of(gateway_class())]["status"] = {}
    operator = operator_for(server)
    operator.run_pass()
    server.put(gateway_class())
    operator.run_pass()
    assert server.condition("Kuadrant", "kuadrant", "Ready") == ("False", "MissingDependency")
    assert server.condition("AuthPolicy", "gateway-auth", "Accepted") == ("True", "Accepted")
    assert server.condition("AuthPolicy", "gateway-auth") == ("False", "MissingDependency")
    assert not [key for key in server.objects if key[0] in MADE]
    restarted = operator_for(server)
    for _time in range(2):
        restarted.run_pass()
        server.settle()
    restarted.run_pass()
    assert server.condition("Kuadrant", "kuadrant", "Ready") == ("True", "Ready")
    assert server.condition("AuthPolicy", "gateway-auth") == ("True", "Enforced")
    assert "no gateway provider is installed" in capsys.readouterr().out


def test_an_api_server_that_is_away_decides_nothing(server: Server) -> None:
    operator = kuadrant_operator.Operator(kuadrant_api.Api("http://127.0.0.1:9", None, timeout=1), Settings())
    with pytest.raises(OSError, match="GET"):
        operator.run_pass()
    assert operator.missing_provider is None
    operator.api = kuadrant_api.Api(server.url, None)
    operator.run_pass()
    assert operator.missing_provider is False


def test_a_lost_connection_is_made_anew(server: Server) -> None:
    operator = operator_for(server)
    operator.run_pass()
    connection = operator.api._connection
    assert connection is not None
    connection.sock.close()
    with pytest.raises(OSError, match="GET"):
        operator.run_pass()
    operator.run_pass()


@pytest.mark.parametrize("status", [409, 422, 403])
def test_an_object_that_is_refused_holds_up_no_other(
    server: Server, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    cause = {"field": "spec.response", "message": f'Invalid value: "{KEY}"'}
    server.refuse["AuthConfig"] = (
        status,
        {"reason": "Invalid", "message": f"no: {KEY}", "details": {"causes": [cause]}},
    )
    operator = operator_for(server)
    for _time in range(3):
        operator.run_pass()
        server.settle()
    assert server.condition("TokenRateLimitPolicy", "tokens") == ("True", "Enforced")
    policy = server.objects[key_of(auth_policy())]
    message = policy["status"]["conditions"][-1]["message"]
    assert f"could not be written: {status} Invalid spec.response" in message
    # Asked before anybody answers: closed.
    assert any(key[0] == "SecurityPolicy" for key in server.objects)
    told = capsys.readouterr().out
    # Once, not in every pass.
    assert len(re.findall(r"AuthConfig \S+: could not be written", told)) == 1
    assert KEY not in told + json.dumps(policy["status"])


def test_a_status_that_is_refused_is_tried_again(server: Server) -> None:
    operator = operator_for(server)
    server.refuse["AuthPolicy"] = (409, {})
    operator.run_pass()
    server.settle()
    server.refuse.clear()
    operator.run_pass()
    assert server.condition("AuthPolicy", "gateway-auth") == ("True", "Enforced")


def test_kinds_that_the_cluster_does_not_know(server: Server) -> None:
    server.unknown |= {"TokenRateLimitPolicy", "RateLimitPolicy"}
    operator_for(server).run_pass()
    assert server.condition("AuthPolicy", "gateway-auth") == ("False", "Unknown")


def test_what_is_being_deleted_counts_as_gone(server: Server) -> None:
    operator = operator_for(server)
    operator.run_pass()
    server.objects[key_of(TOKENS)]["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    operator.run_pass()
    assert not [key for key in server.objects if key[0] == "BackendTrafficPolicy"]


def test_the_token_is_read_for_each_request(server: Server, tmp_path: Path) -> None:
    api = kuadrant_api.Api(server.url, tmp_path)
    for token in ("first", "second"):
        (tmp_path / "token").write_text(token + "\n")
        api.objects("Gateway")
        assert server.authorization == f"Bearer {token}"


def test_no_key_is_logged(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    operator = operator_for(server)
    for _time in range(2):
        operator.run_pass()
        server.settle()
    statuses = json.dumps([item.get("status") for key, item in server.objects.items() if key[0] in POLICIES])
    assert KEY not in capsys.readouterr().out + statuses


def test_it_ends_at_once() -> None:
    with pytest.raises(SystemExit) as ended:
        kuadrant_operator.stop(15, None)
    assert ended.value.code == 0


def test_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    given = kuadrant_operator.arguments(["--missing-condition=Accepted"])
    assert (given.server, given.missing_condition, given.authorino_namespace) == (
        "https://[fd00::1]:6443",
        "Accepted",
        "authorino",
    )
