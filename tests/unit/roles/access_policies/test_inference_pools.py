# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the program after authorization does for models of InferencePools: objectives, and pickers that are away."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from proxies import REFUSED_BY, VARIABLES, Handle, Program, identity_key, programs
from rendering import ROLES, documents, rendered

#: What Envoy's own errors begin with.
UNREADABLE = yaml.safe_load((ROLES / "access_policies/vars/main.yml").read_text())["__access_policies_unreadable"]
PICKER = "envoy.clusters.endpointpicker_open_ai-gateway_ext_proc"
POOL = "inferencepool.ai-gateway"
POOLS = [
    {
        "name": "closed",
        "selector": {"model": "closed"},
        "objectives": [{"name": "batch", "priority": -1}, {"name": "urgent", "priority": 5}],
    },
    {
        "name": "open",
        "selector": {"model": "open"},
        "endpoint_picker": {"failure_mode": "FailOpen"},
        "direct_route": {"hostname": "direct.example.com"},
    },
]


def model(name: str, pool: str, **more: str) -> dict[str, t.Any]:
    return {"name": name, "backend_ref": {"kind": "InferencePool", "name": pool}, **more}


def policies(directory: Path, **more: t.Any) -> str:
    tiers = [
        {**VARIABLES["ai_gateway_tiers"][0], "objective": "batch"},
        {**VARIABLES["ai_gateway_tiers"][1], "models": ["closed", "theirs"]},
    ]
    variables = {
        **VARIABLES,
        "ai_gateway_tiers": tiers,
        "ai_gateway_inference_pools": POOLS,
        "ai_gateway_models": [
            model("closed", "closed"),
            model("closed/urgent", "closed", objective="urgent"),
            model("open", "open"),
            model("theirs", "theirs", objective="of-theirs"),
        ],
        **more,
    }
    return rendered(directory, "access_policies", "authorino.yaml.j2", variables)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("policies")
    found = programs(policies(directory))["body_filter"]
    return found.replace("/run/ai-gateway/key", str(identity_key(directory)))


@pytest.fixture
def program(text: str) -> Program:
    """One for each test, as it remembers which pickers answered."""
    return Program(text)


def sent(
    program: Program, name: str, tier: str = "free", clusters: dict[str, str] | None = None, **more: str
) -> Handle:
    headers = {
        ":method": "POST",
        ":path": more.get("path", "/v1/chat/completions"),
        ":authority": more.get("host", "gateway.example.com"),
        "x-maas-tier": tier,
        "x-maas-user": "alice",
        "authorization": "Bearer token",
        "x-api-key": "token",
        "x-forwarded-for": "10.0.0.1",
    }
    document = {"model": name, "prompt": "Hello", "messages": [{"role": "user", "content": "Hello"}], "input": "Hello"}
    return program.request(headers, json.dumps(document).encode(), {"begun": True}, clusters)


def asked(program: Program, name: str, tier: str = "free", clusters: dict[str, str] | None = None) -> Handle:
    handle = sent(program, name, tier, clusters)
    assert handle.sent is None
    return handle


LISTENERS = [
    {"name": "https-wildcard", "protocol": "HTTPS", "port": 443},
    {"name": "https-bare", "protocol": "HTTPS", "port": 443},
    {"name": "http-redirect", "protocol": "HTTP", "port": 80},
]


@pytest.mark.parametrize(
    ("listeners", "names"),
    [
        (LISTENERS, ["ai-gateway/ai-gateway/https-wildcard", "ai-gateway/ai-gateway/https-bare"]),
        ([{"name": "http", "protocol": "HTTP", "port": 8080}], ["http-8080"]),
    ],
)
def test_a_picker_gets_no_answers(tmp_path: Path, listeners: list[dict[str, t.Any]], names: list[str]) -> None:
    gateway = {"resources": [{"spec": {"listeners": listeners}}]}
    found = documents(policies(tmp_path, __access_policies_gateway=gateway))
    (policy,) = (body for body in found if body["kind"] == "EnvoyPatchPolicy")
    patches = [
        patch
        for patch in policy["spec"]["jsonPatches"]
        if patch["type"].endswith("envoy.config.route.v3.RouteConfiguration")
    ]
    assert [patch["name"] for patch in patches] == names
    for patch in patches:
        assert (patch["operation"]["op"], patch["operation"]["path"]) == ("add", "/typed_per_filter_config")
        filters = patch["operation"]["value"]
        # That of the pool that the cluster has besides, too.
        assert set(filters) == {
            f"envoy.filters.http.ext_proc/endpointpicker/{pool}_ai-gateway_ext_proc"
            for pool in ("closed", "open", "theirs")
        }
        for value in filters.values():
            mode = value["overrides"]["processing_mode"]
            assert {mode[f"response_{part}_mode"] for part in ("header", "body", "trailer")} == {"SKIP", "NONE"}
            assert mode["request_body_mode"] == "FULL_DUPLEX_STREAMED"


@pytest.mark.parametrize("name", ["closed", "open", "theirs"])
@pytest.mark.parametrize("path", ["/v1/embeddings", "/inferencepool.ai-gateway/{name}/v1/embeddings?a=b"])
def test_a_picker_gets_no_answer_that_ends_it(program: Program, name: str, path: str) -> None:
    tier = "narrow" if name == "theirs" else "free"
    if path.startswith("/inf"):
        path = path.replace("inferencepool.", "").format(name=name)
    handle = sent(program, name, tier, {PICKER: "12"}, path=path)
    status, document = handle.answer()
    assert (status, document["error"]["code"]) == (404, "unsupported_path")
    assert document["error"]["message"] == (
        f"The model {name} is not served under /v1/embeddings. Use /v1/chat/completions, /v1/completions or "
        "/v1/messages."
    )


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages"])
def test_what_a_picker_can_read_is_served(program: Program, path: str) -> None:
    assert sent(program, "closed", path=path).sent is None


def test_embeddings_are_served_where_no_picker_is(program: Program) -> None:
    assert sent(program, "gpt-4", path="/v1/embeddings").sent is None
    for host in ("direct.example.com", "DIRECT.example.com:443"):
        assert sent(program, "open", clusters={PICKER: "12"}, path="/v1/embeddings", host=host).sent is None
    # The host of another pool.
    assert sent(program, "closed", path="/v1/embeddings", host="direct.example.com").answer()[0] == 404


def test_a_tier_does_not_learn_of_the_models_of_others(program: Program) -> None:
    """The filter behind this program refuses them as models that do not exist."""
    assert sent(program, "open", "narrow", {PICKER: "12"}, path="/v1/embeddings").sent is None


@pytest.mark.parametrize(
    ("name", "tier", "objective"),
    [
        ("closed", "free", "closed.batch"),
        ("closed/urgent", "free", "closed.urgent"),
        # No objective of the tier, or none of this pool, or a model of a provider.
        ("closed", "narrow", None),
        ("open", "free", None),
        ("gpt-4", "free", None),
        # The names of a pool that the cluster has are its own.
        ("theirs", "narrow", "of-theirs"),
    ],
)
def test_objectives(program: Program, name: str, tier: str, objective: str | None) -> None:
    assert asked(program, name, tier, {PICKER: "12"}).values.get("x-gateway-inference-objective") == objective


def test_what_a_pod_of_a_pool_may_not_learn_is_removed_here(program: Program) -> None:
    """Envoy AI Gateway removes nothing of a request to a pool."""
    left = asked(program, "closed").values
    assert {
        ":method",
        ":path",
        ":authority",
        "x-ai-gateway-provider",
        "x-ai-gateway-api",
        "x-ai-gateway-user",
        "x-ai-gateway-tier",
        "x-gateway-inference-objective",
        "accept-encoding",
    } == set(left)
    assert not {"alice", "free", "token", "Bearer token", "10.0.0.1"} & set(left.values())


@pytest.mark.parametrize("status", ["", "0", "12"])
def test_a_picker_that_answers_is_asked_once_a_second(program: Program, status: str) -> None:
    # Any answer will do: that of a picker which does not know the service of health too.
    first = asked(program, "open", clusters={PICKER: status})
    assert (first.values["x-ai-gateway-provider"], first.calls) == ("*", [PICKER])
    calls = [asked(program, "open", clusters={PICKER: status}).calls for _ in range(20)]
    assert calls.count([PICKER]) <= 2


@pytest.mark.parametrize("clusters", [{PICKER: "14"}, {PICKER: "4"}, {}])
def test_without_its_picker_an_open_pool_is_called_directly(program: Program, clusters: dict[str, str]) -> None:
    handle = asked(program, "open", clusters=clusters)
    assert handle.values["x-ai-gateway-provider"] == f"{POOL}.open.direct"
    assert handle.warnings == [f"the endpoint picker of {POOL}.open does not answer: the request goes to any pod"]


def test_a_picker_that_is_away_is_asked_by_one_request_at_a_time(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other requests arrive while one waits for the picker, which Envoy ends by half a second."""
    waiting: list[Handle] = []

    def call(handle: Handle, _self: t.Any, cluster: str, *_arguments: t.Any) -> t.Any:
        handle.calls.append(cluster)
        if len(waiting) < 3:
            waiting.append(handle)
            waiting.append(asked(program, "open", clusters={PICKER: "14"}))
        handle.resumed += 1
        return handle.lua.table_from({":status": "200", "grpc-status": "14"}), ""

    monkeypatch.setattr(Handle, "httpCall", call)
    now = [1000]
    program.lua.globals().os.time = lambda: now[0]
    first = asked(program, "open")
    assert (first.calls, first.values["x-ai-gateway-provider"]) == ([PICKER], f"{POOL}.open.direct")
    assert [(handle.calls, handle.values["x-ai-gateway-provider"]) for handle in waiting[1:]] == [([], "*")]
    # A second later the previous answer holds meanwhile.
    waiting.clear()
    now[0] += 1
    assert asked(program, "open").calls == [PICKER]
    assert [(handle.calls, handle.values["x-ai-gateway-provider"]) for handle in waiting[1:]] == [
        ([], f"{POOL}.open.direct")
    ]


@pytest.mark.parametrize(
    ("said", "status", "code", "message"),
    [
        (
            "InferencePoolResourceExhausted - system saturated, sheddable request dropped",
            429,
            "pods_full",
            "All pods that serve this model are full. Try again in some seconds.",
        ),
        (
            "ServiceUnavailable - failed to find candidate pods for serving the request",
            503,
            "provider_unavailable",
            "The provider of this model has no address that answers.",
        ),
        (
            "BadRequest - prompt not found in request",
            400,
            "unsupported_request",
            "The endpoint picker of this model cannot read the request: prompt not found in request.",
        ),
        (
            "Internal - results must be greater than zero",
            503,
            "gateway_fault",
            "This gateway cannot pass the request on at the moment. Try again in some seconds.",
        ),
    ],
)
def test_what_a_picker_refuses(request_filter: Program, said: str, status: int, code: str, message: str) -> None:
    """As Envoy passes it on: in its own form of an error, and without details."""
    body = json.dumps({"error": {"message": f"{UNREADABLE} inference gateway: {said}", "type": "server_error"}})
    given = {":status": str({503: 500}.get(status, status)), "x-ai-gateway-refusal": f"{REFUSED_BY} "}
    handle = request_filter.response(given, [body.encode()], {"egress.ai-gateway": {"begun": True, "model": "closed"}})
    error = json.loads(handle.content)["error"]
    assert (handle.values[":status"], error["code"], error["message"]) == (str(status), code, message)


def test_a_pool_that_closes_asks_nobody(program: Program) -> None:
    handle = asked(program, "closed")
    assert (handle.values["x-ai-gateway-provider"], handle.calls) == ("*", [])
