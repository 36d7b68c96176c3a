# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the collection relies on of vLLM Semantic Router, by its fake or the real one.

Of the external processor the tests hold for both. The Envoy in front of it is a real one, from the wheel that the
embedded cluster takes it from.
"""

from __future__ import annotations

import copy
import http.client
import json
import re
import shutil
import socket
import subprocess
import time
import typing as t
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import grpc
import http2_frames
import pytest
import yaml
from contracts import eventually
from envoys import Envoy, envoy_program
from hpack import Decoder
from routers import (
    CHAT,
    EASY,
    GROUPS,
    HARD,
    LARGEST_MESSAGE,
    ROUTER,
    USER,
    Body,
    Fake,
    ModelServer,
    Processor,
    backend,
    changes,
    chat,
    configuration,
    decision,
    of_body,
    request_headers,
    response_headers,
    selected,
    send,
    signal,
    when,
)

fake_only = pytest.mark.skipif(bool(ROUTER), reason="of the fake alone")
#: A long word has a token in four letters.
LONG = "word " * 1700
MALFORMED = [
    b"",
    b"not JSON",
    b'{"model": "auto"',
    b'\xff{"model": "auto"}',
    b'{"model": "auto", "n": NaN}',
    b"[" * 9999,
]


@pytest.fixture(scope="module")
def models() -> Iterator[dict[str, ModelServer]]:
    found = {name: ModelServer().start() for name in (EASY, HARD)}
    yield found
    for server in found.values():
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def fake(models: dict[str, ModelServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fake]:
    config = configuration(models[EASY].endpoint, models[HARD].endpoint)
    running = Fake(tmp_path_factory.mktemp("router"), config)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def processor(request: pytest.FixtureRequest) -> Iterator[Processor]:
    found = Processor(ROUTER or f"127.0.0.1:{request.getfixturevalue('fake').ports['ext_proc']}")
    yield found
    found.close()


# The external processor


def test_what_a_client_says_of_the_model_is_removed(processor: Processor) -> None:
    (answer,) = processor.process(request_headers(**{"x-selected-model": HARD}))
    assert "x-selected-model" in answer.request_headers.response.header_mutation.remove_headers
    assert changes(answer.request_headers.response) == {}


@pytest.mark.parametrize(
    ("groups", "body", "model"),
    [
        ("free", chat(), EASY),
        ("free", chat("Please solve this Integral."), EASY),
        ("premium", chat("Please solve this Integral."), HARD),
        ("premium", chat("Please greet"), HARD),
        ("premium", chat("Greet"), EASY),
        ("nobody", chat("Please greet"), EASY),
        ("nobody, premium", chat("Please greet"), HARD),
        # A keyword is a whole word.
        ("premium", chat("Say what integrals are."), EASY),
        ("nobody", chat("Solve this integral"), HARD),
        ("nobody", chat("integration"), EASY),
        ("nobody", chat("def f(): return 1"), HARD),
        ("nobody", chat("def f(): pass"), EASY),
        ("nobody", chat(LONG), HARD),
        ("nobody", chat("step 1, step 2"), EASY),
        ("nobody", chat("Step 1, step 2 and step 3"), HARD),
        ("nobody", chat(tools=[{"type": "function", "function": {"name": "f"}}]), HARD),
        ("nobody", chat("今天的天气怎么样"), HARD),
        ("nobody", chat([{"type": "text", "text": "an integral"}, {"type": "image_url", "image_url": {}}]), HARD),
        ("nobody", chat(model="code-helper"), HARD),
        ("nobody", chat("an integral", model=EASY), EASY),
        ("nobody", chat(model=HARD), HARD),
    ],
)
def test_decisions(processor: Processor, groups: str, body: bytes, model: str) -> None:
    answer = processor.ask(body, x_authz_user_groups=groups)
    assert selected(answer) == model
    common = answer.request_body.response
    assert common.clear_route_cache
    sent = common.body_mutation.body
    assert changes(common)["content-length"] == str(len(sent))
    assert json.loads(sent) == {**json.loads(body), "model": f"served/{model}"}


def test_the_last_message_of_the_user_decides(processor: Processor) -> None:
    said = [("user", "an integral"), ("assistant", "What of it?"), ("user", "Forget it")]
    messages = [{"role": role, "content": content} for role, content in said]
    body = json.dumps({"model": "auto", "messages": messages}).encode()
    assert selected(processor.ask(body)) == EASY
    body = json.dumps({"model": "auto", "messages": messages[:1]}).encode()
    assert selected(processor.ask(body)) == HARD


def test_a_caller_without_a_name_is_refused(processor: Processor) -> None:
    answer = processor.ask(chat(), x_authz_user_id="")
    assert answer.immediate_response.status.code == 403
    error = json.loads(answer.immediate_response.body)["error"]
    assert "user identity header is empty" in error["message"]
    # Roles are of entrypoints alone.
    assert selected(processor.ask(chat(model=HARD), x_authz_user_id="")) == HARD


def test_an_unknown_model_is_refused(processor: Processor) -> None:
    for body in (chat(model="forged"), chat(model=""), b'{"messages": []}', b"[]", b'"auto"', chat(model=["auto"])):
        answer = processor.ask(body)
        assert answer.immediate_response.status.code == 400, answer
        assert json.loads(answer.immediate_response.body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", MALFORMED)
def test_a_malformed_body_ends_the_stream(processor: Processor, body: bytes) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        processor.ask(body)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    # It answers the next one.
    assert selected(processor.ask(chat("an integral"))) == HARD


def test_nothing_is_chosen_where_nothing_is_said(processor: Processor) -> None:
    for messages in ([], [{"role": "user", "content": ""}], [{"role": "user"}], "integral"):
        answer = processor.ask(json.dumps({"model": "auto", "messages": messages}).encode())
        assert answer.WhichOneof("response") == "request_body"
        assert selected(answer) == ""
        assert not answer.request_body.response.HasField("body_mutation")


def test_a_large_body(processor: Processor) -> None:
    body = chat("integral " + "x" * 20_000_000)
    answer = processor.ask(body)
    assert selected(answer) == HARD
    assert len(answer.request_body.response.body_mutation.body) > 20_000_000


def test_a_body_above_the_size_of_a_message(processor: Processor) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        processor.ask(chat("integral " + "x" * LARGEST_MESSAGE * 2**20))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@fake_only
def test_the_size_of_a_message_by_default(tmp_path: Path) -> None:
    config = configuration()
    del config["global"]["integrations"]
    running = Fake(tmp_path, config)
    processor = Processor(f"127.0.0.1:{running.ports['ext_proc']}")
    try:
        assert selected(processor.ask(chat("integral " + "x" * 4_000_000))) == HARD
        with pytest.raises(grpc.RpcError) as caught:
            processor.ask(chat("integral " + "x" * 2**22))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    finally:
        processor.close()
        running.stop()


@fake_only
def test_all_models_of_a_body_are_rewritten_and_nothing_else(processor: Processor) -> None:
    """The real one reads the first too; what it sends differs by version, and the gateway refuses such a body."""
    body = (
        b'{ "model" : "auto", "seed": 12345678901234567890, "top_p": 1.50e0,\n'
        b'"messages":[{"role":"user","content":"integral \\u00e9"}],"model":"Model-A", "metadata": {"model": "kept"} }'
    )
    answer = processor.ask(body)
    assert selected(answer) == HARD
    expected = body.replace(b'"auto"', b'"served/Model-B"').replace(b'"Model-A"', b'"served/Model-B"')
    assert answer.request_body.response.body_mutation.body == expected


def test_headers_of_the_answer(processor: Processor) -> None:
    start = request_headers(**{USER: "somebody", GROUPS: "premium"})
    found = processor.process(start, of_body(chat("an integral")), response_headers(200))
    shown = changes(found[2].response_headers.response)
    wanted = {
        "x-vsr-schema-version": "2",
        "x-vsr-response-path": "upstream",
        "x-vsr-selected-recipe": "default",
        "x-vsr-selected-decision": "hard",
        "x-vsr-selected-model": HARD,
        "x-vsr-selected-algorithm": "static",
    }
    assert {name: shown.get(name) for name in wanted} == wanted
    assert re.fullmatch(r"[01]\.\d{4}", shown["x-vsr-selected-confidence"])
    # No prompt is kept, so none is named.
    assert "x-vsr-replay-id" not in shown
    assert "x-vsr-matched-keywords" not in shown


def test_an_error_of_the_model_names_no_decision(processor: Processor) -> None:
    start = request_headers(**{USER: "somebody", GROUPS: "premium"})
    found = processor.process(start, of_body(chat("an integral")), response_headers(429))
    shown = changes(found[2].response_headers.response)
    assert shown["x-vsr-response-path"] == "upstream"
    assert not [name for name in shown if name.startswith("x-vsr-selected")]


def test_signals_are_shown_where_a_client_asks(processor: Processor) -> None:
    start = request_headers(**{USER: "somebody", GROUPS: "premium", "x-vsr-debug": "true"})
    found = processor.process(start, of_body(chat("Please, an integral")), response_headers(200))
    shown = changes(found[2].response_headers.response)
    assert (shown["x-vsr-matched-keywords"], shown["x-vsr-matched-authz"]) == ("math", "premium")


def test_skipping_is_off(processor: Processor) -> None:
    assert selected(processor.ask(chat("an integral"), x_vsr_skip_processing="true")) == HARD


@fake_only
def test_the_marker_is_on_every_answer(fake: Fake, processor: Processor) -> None:
    start = request_headers(**{USER: "somebody", GROUPS: "premium"})
    found = processor.process(start, of_body(chat()), response_headers(200))
    assert changes(found[2].response_headers.response)["x-vsr-fake"] == "true"
    refused = processor.ask(chat(model="forged")).immediate_response
    assert "x-vsr-fake" in [item.header.key for item in refused.headers.set_headers]
    known = {"x_authz_user_id": "somebody"}
    for reply in (
        send(fake.ports["http"], chat(), **known),
        send(fake.ports["http"], chat(model="forged")),
        send(fake.ports["http"], b"not JSON"),
        send(fake.ports["http"], b"", "/v1/models", "GET"),
        send(fake.ports["http"], b"", "/elsewhere"),
        send(fake.ports["api"], b"", "/health", "GET"),
        send(fake.ports["api"], b"", "/ready", "GET"),
    ):
        assert reply.headers["x-vsr-fake"] == "true", reply


@fake_only
def test_streams_that_are_abandoned_take_nothing_from_others(fake: Fake, processor: Processor) -> None:
    others = [Processor(f"127.0.0.1:{fake.ports['ext_proc']}") for _number in range(20)]
    waiting = [other.start(_forever()) for other in others for _number in range(20)]
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda number: selected(processor.ask(chat(f"integral {number}"))), range(100)))
    assert (found, time.monotonic() - started < 15) == ({HARD}, True)
    for call in waiting:
        call.cancel()
    for other in others:
        other.close()
    assert selected(processor.ask(chat("an integral"))) == HARD


def _forever() -> Iterator[t.Any]:
    yield request_headers()
    time.sleep(60)


# HTTP, with which the fake has its own Envoy's part


@fake_only
def test_http_passes_the_answer_on(fake: Fake, models: dict[str, ModelServer]) -> None:
    forged = {"x_selected_model": EASY, "x_vsr_destination_endpoint": "192.0.2.1:80", "x_authz_user_id": "me"}
    reply = send(fake.ports["http"], chat("an integral"), f"{CHAT}?a=b", authorization="Bearer token", **forged)
    assert (reply.status, reply.document["model"]) == (200, "served/Model-B")
    assert reply.document["usage"]["total_tokens"] == 7
    assert reply.headers["x-vsr-selected-decision"] == "hard"
    assert reply.headers["x-vsr-selected-model"] == HARD, "the model's own word for it is believed"
    headers, body = models[HARD].requests[-1]
    assert (headers["authorization"], headers["x-selected-model"]) == ("Bearer token", HARD)
    assert headers["host"] == models[HARD].endpoint
    assert json.loads(body) == {**json.loads(chat("an integral")), "model": "served/Model-B"}


@fake_only
def test_http_passes_errors_on(fake: Fake) -> None:
    reply = send(fake.ports["http"], chat(), x_authz_user_id="me", x_do="429")
    assert (reply.status, reply.document["error"]["type"]) == (429, "rate_limit_error")
    assert reply.headers["x-vsr-response-path"] == "upstream"
    assert "x-vsr-selected-decision" not in reply.headers
    reply = send(fake.ports["http"], chat())
    assert (reply.status, reply.headers["x-vsr-response-path"]) == (403, "error")
    for body in MALFORMED:
        assert send(fake.ports["http"], body, x_authz_user_id="me").status == 500
    reply = send(fake.ports["http"], chat(model="forged"))
    assert (reply.status, reply.document["error"]["code"]) == (400, 400)


@fake_only
def test_http_streams_event_by_event(fake: Fake) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", fake.ports["http"], timeout=20)) as connection:
        connection.request("POST", CHAT, chat("an integral", stream=True), {USER: "me"})
        response = connection.getresponse()
        assert response.getheader("content-type") == "text/event-stream"
        assert response.getheader("x-vsr-selected-model") == HARD
        times, events = [], []
        while line := response.readline():
            if line.strip():
                events.append(line.decode().strip())
                times.append(time.monotonic())
    assert len(events) == 4
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[0].removeprefix("data: "))["model"] == "served/Model-B"
    assert times[2] - times[0] > 0.05, "the events came together"


@fake_only
def test_http_breaks_off_where_the_model_does(fake: Fake) -> None:
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        send(fake.ports["http"], chat(stream=True), x_authz_user_id="me", x_do="break")


@fake_only
def test_http_ends_the_stream_of_a_client_that_leaves(fake: Fake, models: dict[str, ModelServer]) -> None:
    models[HARD].left.clear()
    with closing(http.client.HTTPConnection("127.0.0.1", fake.ports["http"], timeout=20)) as connection:
        connection.request("POST", CHAT, chat("an integral", stream=True), {USER: "me", "x-do": "hold"})
        response = connection.getresponse()
        assert response.readline()
        response.close()
    assert models[HARD].left.wait(10)
    assert send(fake.ports["http"], chat(), x_authz_user_id="me").status == 200


@fake_only
def test_http_reads_chunks_and_refuses_a_huge_body(fake: Fake) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", fake.ports["http"], timeout=20)) as connection:
        connection.request("POST", CHAT, iter([chat()[:20], chat()[20:]]), {USER: "me"}, encode_chunked=True)
        response = connection.getresponse()
        assert json.loads(response.read())["model"] == "served/Model-A"
    with closing(socket.create_connection(("127.0.0.1", fake.ports["http"]), 20)) as connection:
        for size in (b"99999999999", b"-1", b"x"):
            with closing(socket.create_connection(("127.0.0.1", fake.ports["http"]), 20)) as connection:
                connection.sendall(
                    b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: " + size + b"\r\n\r\n"
                )
                assert re.match(rb"HTTP/1.1 4(00|13) ", connection.recv(1000)), size
    # A client that leaves in the middle of its body.
    with closing(socket.create_connection(("127.0.0.1", fake.ports["http"]), 20)) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{")
    assert send(fake.ports["http"], chat(), x_authz_user_id="me").status == 200


@fake_only
def test_http_says_that_a_model_is_away(tmp_path: Path) -> None:
    running = Fake(tmp_path, configuration())
    try:
        reply = send(running.ports["http"], chat(), x_authz_user_id="me")
        assert (reply.status, reply.headers["x-vsr-fake"]) == (503, "true")
    finally:
        running.stop()


@fake_only
def test_the_api_and_the_metrics(fake: Fake) -> None:
    assert send(fake.ports["api"], b"", "/health", "GET").document["status"] == "healthy"
    assert send(fake.ports["api"], b"", "/ready", "GET").document["ready"] is True
    assert send(fake.ports["api"], b"", "/elsewhere", "GET").status == 404
    for port in (fake.ports["api"], fake.ports["http"]):
        listed = send(port, b"", "/v1/models", "GET").document
        assert [item["id"] for item in listed["data"]] == ["auto", "code-helper"]

    def count(line: str) -> int:
        found = send(fake.ports["metrics"], b"", "/metrics", "GET").body.decode()
        match = re.search(rf"^{re.escape(line)} (\d+)$", found, re.M)
        return int(match[1]) if match else 0

    lines = {
        'llm_decision_match_total{decision_name="hard"}': 1,
        'llm_model_requests_total{model="Model-B"}': 2,
        'llm_model_routing_modifications_total{source_model="auto",target_model="Model-B"}': 1,
        'llm_signal_match_total{signal_type="keyword",signal_name="math"}': 1,
        'llm_entrypoint_requests_total{entrypoint="auto",recipe="default"}': 1,
        'llm_request_errors_total{model="unknown",reason="unknown_model"}': 1,
        "llm_decision_evaluation_total": 1,
    }
    before = {line: count(line) for line in lines}
    for body in (chat("an integral"), chat(model=HARD), chat(model="forged")):
        send(fake.ports["http"], body, x_authz_user_id="me")
    assert {line: count(line) - before[line] for line in lines} == lines
    assert "integral" not in fake.log


# The configuration

Change = t.Callable[[Body], t.Any]


@fake_only
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.update(version="v0.4"), "version: 'v0.4' is unsupported"),
        (lambda config: config.pop("version"), "version: None is unsupported"),
        (lambda config: config.update(vllm_endpoints=[]), "vllm_endpoints: is unknown"),
        (
            lambda config: config["routing"]["decisions"][0].update(modelRefs=[]),
            "routing.decisions[0].modelRefs: decision 'hard.free' names no model",
        ),
        (
            lambda config: config["routing"]["decisions"][1]["modelRefs"][0].update(model="Model-C"),
            "routing.decisions[1].modelRefs[0].model: 'Model-C' is no model",
        ),
        (
            lambda config: config["providers"]["models"][0].update(backend_refs=[]),
            "providers.models[0].backend_refs: model 'Model-A' has no backend",
        ),
        (
            lambda config: config["providers"]["models"][1].update(backend_refs=[backend("http://a")]),
            "backend_refs[0].endpoint: 'http://a' must be a host and a port",
        ),
        (lambda config: config["providers"]["models"].pop(1), "'Model-B' is no model"),
        (
            lambda config: config["providers"]["defaults"].update(model="Model-C"),
            "providers.defaults.model: 'Model-C' is no model",
        ),
        (
            lambda config: config["routing"]["signals"]["keywords"].pop(0),
            "there is no signal 'math' of type keyword",
        ),
        (
            lambda config: config["routing"]["signals"].pop("role_bindings"),
            "there is no signal 'free' of type authz",
        ),
        (
            lambda config: config["routing"]["decisions"][1].update(rules=when("OR", signal("keyword", "a"))),
            "routing.decisions[1].rules.conditions[0].name: there is no signal 'a' of type keyword",
        ),
        (
            lambda config: config["routing"]["decisions"][1].update(rules=when("XOR", signal("keyword", "math"))),
            "routing.decisions[1].rules.operator: 'XOR' is unsupported",
        ),
        (
            lambda config: config["routing"]["decisions"][1].update(rules=when("NOT")),
            "must be one condition of NOT, not 0",
        ),
        (
            lambda config: config["routing"]["decisions"][1].update(rules=signal("domain", "law")),
            "signals of type 'domain' are unsupported by the fake",
        ),
        (
            lambda config: config["routing"]["signals"].update(domains=[{"name": "law"}]),
            "routing.signals.domains: is unsupported by the fake",
        ),
        (
            lambda config: config["routing"]["signals"]["keywords"][0].update(method="bm25"),
            "keywords[0].method: 'bm25' is unsupported",
        ),
        (
            lambda config: config["routing"]["signals"]["keywords"][1].update(keywords=["("]),
            "'(' is an invalid regular expression",
        ),
        (
            lambda config: config["routing"]["signals"]["context"][0].update(max_tokens="1K"),
            "min_tokens must not be above max_tokens",
        ),
        (
            lambda config: config["routing"]["decisions"].append(decision("hard", 1, EASY, {})),
            "routing.decisions[3].name: 'hard' is here twice",
        ),
        (lambda config: config["entrypoints"][0].update(recipe="other"), "entrypoints[0].recipe: 'other' is no recipe"),
        (
            lambda config: config["global"]["router"].update(auto_model_names=[EASY]),
            "'Model-A' is a model of providers.models too",
        ),
        (
            lambda config: config["global"]["router"].update(config_source="kubernetes"),
            "global.router.config_source: 'kubernetes' is unsupported",
        ),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    config = copy.deepcopy(configuration())
    change(config)
    refusal = Fake(tmp_path, config).refusal()
    assert message in refusal
    # What diagnosis finds it by.
    assert re.search(r"failed to load config .*: invalid configuration: ", refusal)


@fake_only
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("", "version: None is unsupported"),
        ("[]", "must be a mapping, not list"),
        ("version: v0.3\nversion: v0.3", "key 'version' is here twice"),
        ("{", "expected the node content"),
        ("!!python/object:os.system {}", "could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, config: str, message: str) -> None:
    assert message in Fake(tmp_path, config).refusal()


@fake_only
def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    config = configuration()
    config["version"] = "v0.2"
    config["routing"]["decisions"][0]["modelRefs"] = []
    refusal = Fake(tmp_path, config).refusal()
    assert "version: " in refusal
    assert "decision 'hard.free' names no model" in refusal


@fake_only
def test_other_settings(tmp_path: Path) -> None:
    """Identity headers by other names, no roles for a caller without a name, a route that stays, and skipping."""
    config = configuration()
    config["global"]["services"]["authz"] = {
        "fail_open": True,
        "identity": {"user_id_header": "X-User", "user_groups_header": "X-Groups"},
    }
    config["global"]["services"]["router_replay"]["enabled"] = True
    config["global"]["router"] |= {"clear_route_cache": False, "skip_processing": {"enabled": True}}
    running = Fake(tmp_path, yaml.safe_dump(config))
    try:
        client = Processor(f"127.0.0.1:{running.ports['ext_proc']}")
        assert selected(client.ask(chat("Please greet"), **{"x-user": "me", "x-groups": "premium"})) == HARD
        answer = client.ask(chat("Please greet"))
        assert selected(answer) == EASY
        assert not answer.request_body.response.clear_route_cache
        start = request_headers(**{"x-user": "me"})
        shown = client.process(start, of_body(chat()), response_headers(200))[2].response_headers.response
        assert len(changes(shown)["x-vsr-replay-id"]) == 36
        skipped = {"x-vsr-skip-processing": "true", "x-selected-model": HARD}
        found = client.process(request_headers(**skipped), of_body(chat(model="anything")))
        assert not found[0].request_headers.response.header_mutation.remove_headers
        assert selected(found[1]) == ""
        client.close()
    finally:
        running.stop()


@fake_only
def test_the_environment_is_in_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRACT_WORD", "tensor")
    config = configuration()
    config["routing"]["signals"]["keywords"][0]["keywords"] = ["${CONTRACT_WORD}", "${CONTRACT_NONE:-spinor}", "$$x"]
    running = Fake(tmp_path, config)
    try:
        client = Processor(f"127.0.0.1:{running.ports['ext_proc']}")
        said = {word: selected(client.ask(chat(word), x_authz_user_groups="")) for word in ("tensor", "spinor", "word")}
        assert said == {"tensor": HARD, "spinor": HARD, "word": EASY}
        client.close()
    finally:
        running.stop()


def test_the_routers_own_program_accepts_the_configuration(tmp_path: Path) -> None:
    program = shutil.which("vllm-sr")
    if not program:
        pytest.skip("vllm-sr is not installed: pip install vllm-sr")
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(configuration()), encoding="utf-8")
    command = [program, "config", "validate", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


# Behind an Envoy


def bootstrap(router: int, models: dict[str, ModelServer], listen: int, strict: int) -> Body:
    """An Envoy that asks the router and routes by its choice.

    On port ``strict`` the router may change as little as the collection's own Envoys let it.
    """
    types = "type.googleapis.com/envoy."

    def cluster(name: str, endpoint: str, **more: t.Any) -> Body:
        host, port = endpoint.split(":")
        address = {"socket_address": {"address": host, "port_value": int(port)}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        return {"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}, **more}

    def chosen(name: str) -> Body:
        match = {"prefix": "/", "headers": [{"name": "x-selected-model", "string_match": {"exact": name}}]}
        return {"match": match, "route": {"cluster": name, "timeout": "0s"}}

    unrouted = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [*map(chosen, models), unrouted]}]
    mode = {"request_header_mode": "SEND", "request_body_mode": "BUFFERED", "response_body_mode": "NONE"}
    own = {"processing_mode": {**mode, "response_header_mode": "SEND"}}
    careful = {
        "processing_mode": {**mode, "response_header_mode": "SKIP"},
        "route_cache_action": "CLEAR",
        "disable_immediate_response": True,
        "status_on_error": {"code": "ServiceUnavailable"},
        "mutation_rules": {
            "disallow_all": True,
            "allow_expression": {"regex": "^(x-selected-model|x-vsr-[a-z0-9-]+|content-length)$"},
        },
    }

    def listener(port: int, processor: Body) -> Body:
        http = f"{types}extensions.filters.http."
        filters = [
            {
                "name": "envoy.filters.http.ext_proc",
                "typed_config": {
                    "@type": f"{http}ext_proc.v3.ExternalProcessor",
                    "grpc_service": {"envoy_grpc": {"cluster_name": "router"}},
                    "message_timeout": "5s",
                    "failure_mode_allow": False,
                    **processor,
                },
            },
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{http}router.v3.Router"}},
        ]
        manager = {
            "@type": f"{types}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "chats",
            "http_filters": filters,
            "route_config": {"virtual_hosts": hosts},
        }
        return {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "per_connection_buffer_limit_bytes": 2**23,
            "filter_chains": [
                {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
            ],
        }

    options = f"{types}extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {"@type": options, "explicit_http_config": {"http2_protocol_options": {}}}
    protocols = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2}
    router_cluster = cluster("router", f"127.0.0.1:{router}", typed_extension_protocol_options=protocols)
    return {
        "static_resources": {
            "listeners": [listener(listen, own), listener(strict, careful)],
            "clusters": [router_cluster, *(cluster(name, server.endpoint) for name, server in models.items())],
        }
    }


def free_ports() -> list[int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return [one.getsockname()[1], other.getsockname()[1]]


class Envoys(t.NamedTuple):
    """The ports of an Envoy in front of the router."""

    own: int
    strict: int


@pytest.fixture(scope="module")
def envoy(fake: Fake, models: dict[str, ModelServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoys]:
    directory = tmp_path_factory.mktemp("envoy")
    program = envoy_program(directory)
    own, strict = free_ports()
    running = Envoy(program, directory, bootstrap(fake.ports["ext_proc"], models, own, strict), own)
    try:
        eventually(lambda: send(strict, chat(), x_authz_user_id="me").status == 200)
        yield Envoys(own, strict)
    finally:
        running.stop()


@fake_only
def test_envoy_routes_by_the_choice(envoy: Envoys, models: dict[str, ModelServer]) -> None:
    for port in envoy:
        for content, model in (("an integral", HARD), ("Please greet", EASY)):
            forged = {"x_selected_model": HARD if model == EASY else EASY, "x_authz_user_id": "me"}
            reply = send(port, chat(content), **forged)
            assert (reply.status, reply.document["model"]) == (200, f"served/{model}")
            headers, body = models[model].requests[-1]
            assert headers["x-selected-model"] == model
            assert int(headers["content-length"]) == len(body)
    shown = send(envoy.own, chat("an integral"), x_authz_user_id="me").headers
    assert (shown["x-vsr-selected-model"], shown["x-vsr-selected-decision"]) == (HARD, "hard")
    assert (shown["x-vsr-response-path"], shown["x-vsr-fake"]) == ("upstream", "true")
    # The router does not see the answer there.
    assert "x-vsr-fake" not in send(envoy.strict, chat(), x_authz_user_id="me").headers


@fake_only
def test_envoy_over_http2(envoy: Envoys) -> None:
    pseudo = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", CHAT.encode()), (b":authority", b"gateway")]
    given = [(b"content-type", b"application/json"), (USER.encode(), b"me"), (b"x-selected-model", b"Model-A")]
    requests = b"".join(
        http2_frames.request([*pseudo, *given], chat(content), stream)
        for stream, content in ((1, "an integral"), (3, "Please greet"), (5, LONG * 3))
    )
    decoder, answers, ended = Decoder(), dict[int, list[t.Any]](), set[int]()
    with closing(socket.create_connection(("127.0.0.1", envoy.own), 20)) as connection:
        connection.sendall(http2_frames.opening() + requests)
        rest = b""
        while len(ended) < 3:
            piece = connection.recv(65_536)
            assert piece, answers
            found, rest = http2_frames.frames(rest + piece)
            for kind, flags, stream, payload in found:
                if kind == http2_frames.HEADERS:
                    answers[stream] = [dict(decoder.decode(payload)), b""]
                elif kind == http2_frames.DATA:
                    answers[stream][1] += payload
                if kind in (http2_frames.HEADERS, http2_frames.DATA) and flags & http2_frames.END_STREAM:
                    ended.add(stream)
    seen = {
        stream: (headers[":status"], headers["x-vsr-selected-model"], json.loads(body)["model"])
        for stream, (headers, body) in answers.items()
    }
    hard, easy = ("200", HARD, "served/Model-B"), ("200", EASY, "served/Model-A")
    assert seen == {1: hard, 3: easy, 5: hard}


@fake_only
def test_envoy_streams(envoy: Envoys, models: dict[str, ModelServer]) -> None:
    for port in envoy:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            connection.request("POST", CHAT, chat("an integral", stream=True), {USER: "me"})
            response = connection.getresponse()
            times = []
            while response.readline():
                times.append(time.monotonic())
        assert len(times) == 8
        assert times[-1] - times[0] > 0.05, "the events came together"
        models[HARD].left.clear()
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            connection.request("POST", CHAT, chat("an integral", stream=True), {USER: "me", "x-do": "hold"})
            assert connection.getresponse().readline()
            t.cast("socket.socket", connection.sock).shutdown(socket.SHUT_RDWR)
        assert models[HARD].left.wait(10), "the model streams to a client that left"


@fake_only
def test_envoy_passes_on_what_the_router_refuses(envoy: Envoys) -> None:
    """Where the router may not answer by itself, what it refuses is an error of the processor."""
    for body, status in ((chat(model="forged"), 400), (b"not JSON", 500), (b'\xff{"model":"auto"}', 500)):
        reply = send(envoy.own, body, x_authz_user_id="me")
        assert reply.status == status
        assert send(envoy.strict, body, x_authz_user_id="me").status == 503
    reply = send(envoy.own, chat())
    assert (reply.status, reply.headers["x-vsr-fake"]) == (403, "true")
    assert send(envoy.strict, chat()).status == 503
    # Nothing was chosen, so nothing is routed.
    for port in envoy:
        assert send(port, chat(""), x_authz_user_id="me").status == 404
        # A body that is none never comes to the router.
        assert send(port, b"", x_authz_user_id="me").status == 404
        assert send(port, chat("x" * 9_000_000), x_authz_user_id="me").status == 413
        assert send(port, chat("integral " + "x" * 5_000_000), x_authz_user_id="me").status == 200
    listed = send(envoy.own, b"", "/v1/models", "GET")
    assert [item["id"] for item in listed.document["data"]] == ["auto", "code-helper"]


@fake_only
def test_envoy_refuses_while_the_router_is_away(models: dict[str, ModelServer], tmp_path: Path) -> None:
    program = envoy_program(tmp_path)
    (port, _unused), (own, strict) = free_ports(), free_ports()
    running = Envoy(program, tmp_path, bootstrap(port, models, own, strict), own)
    try:
        eventually(lambda: send(strict, chat(), x_authz_user_id="me").status == 503)
        assert send(own, chat(), x_authz_user_id="me").status >= 500
        config = configuration(models[EASY].endpoint, models[HARD].endpoint)
        router = Fake(tmp_path, config, f"--port={port}")
        eventually(lambda: send(strict, chat(), x_authz_user_id="me").status == 200)
        router.stop()
        eventually(lambda: send(strict, chat(), x_authz_user_id="me").status == 503)
    finally:
        running.stop()
