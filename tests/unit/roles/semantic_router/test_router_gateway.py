# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Envoy beside the router, with the fake of the router and two models behind it."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import socket
import sys
import time
import typing as t
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from rendering import manifests, rendered

sys.path += [str(Path(__file__).parents[3] / name) for name in ("unit/fakes", "fakes", "unit/plugins", "integration")]

from contracts import eventually
from envoys import Envoy, envoy_program
from routers import EASY, HARD, Fake, ModelServer, Reply, chat, send

KEY = "k" * 64
#: How often a user may ask in a second.
OFTEN = 5
#: Fewer than by default, for which this test would need as many connections.
AT_ONCE = 8
USERS = itertools.count()
LIMIT = {"token_limit": {"tokens": 100, "window": "1m"}}
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_platform": "kubernetes",
    "ai_gateway_stack": "wg_ai_gateway",
    "ai_gateway_policy_engine": "kuadrant",
    "ai_gateway_models": [
        {"name": name, "backend_ref": {"kind": "LLMInferenceService", "name": name.lower(), "namespace": "llm"}}
        for name in (EASY, HARD)
    ],
    "ai_gateway_tiers": [
        {"name": "free", "level": 0, "groups": ["all"], **LIMIT, "models": [EASY, "auto"]},
        {"name": "paid", "level": 1, "groups": ["payers"], **LIMIT},
    ],
    "ai_gateway_semantic_router": {
        "default_model": EASY,
        "signals": {"keywords": [{"name": "math", "keywords": ["integral"]}]},
        "decisions": [
            {
                "name": "math",
                "priority": 100,
                "rules": {"operator": "AND", "conditions": [{"type": "keyword", "name": "math"}]},
                "model": HARD,
            }
        ],
    },
    "semantic_router_image": "registry.example.com/router:v1",
    "semantic_router_gateway_image": "registry.example.com/envoy:v1",
    "__semantic_router_key": KEY,
}


def free_port() -> int:
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        return t.cast("int", server.getsockname()[1])


def held(gateway: Gateway, user: str) -> socket.socket:
    """A connection with a request that its model does not answer."""
    body = chat("Hello")
    lines = {
        "host": "gateway",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-ai-gateway-router-key": KEY,
        "x-authz-user-id": user,
        "x-authz-user-groups": "paid",
        "x-do": "wait",
    }
    connection = socket.create_connection(("127.0.0.1", gateway.models), timeout=10)
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    connection.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{text}\r\n".encode() + body)
    return connection


def asked(gateway: Gateway) -> int:
    """How often the router has chosen."""
    text = send(gateway.router.ports["metrics"], b"", "/metrics", "GET").body.decode()
    found = re.findall(r"^llm_decision_evaluation_total(?:\{.*\})? (\S+)$", text, re.M)
    return sum(int(float(value)) for value in found)


class Gateway(t.NamedTuple):
    """Ports of the listeners, and the parts behind them."""

    models: int
    probes: int
    router: Fake
    servers: list[ModelServer]
    envoy: Envoy
    bootstrap: dict[str, t.Any]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("gateway")
    program = envoy_program(directory)
    (directory / "programs").mkdir()
    text = rendered(directory / "programs", "access_policies", "chat_filter.yaml.j2", VARIABLES)
    variables = {**VARIABLES, "access_policies_chat_filter": yaml.safe_load(text)}
    objects = manifests(directory, "semantic_router", "semantic_router.yaml.j2", variables)
    (directory / "key").write_text(KEY)
    assert "key" in objects["Secret", "semantic-router-key"]["data"]
    servers = [ModelServer().start(), ModelServer().start()]
    router = Fake(directory, objects["ConfigMap", "semantic-router"]["data"]["config.yaml"])
    ports = {18801: free_port(), 18802: free_port(), 18803: free_port(), 50051: router.ports["ext_proc"]}
    text = objects["ConfigMap", "semantic-router-gateway"]["data"]["envoy.json"]
    for given, used in ports.items():
        text = text.replace(str(given), str(used))
    bootstrap = json.loads(text.replace("/etc/semantic-router/key", str(directory / "key")))
    # Patience of five minutes is more than this test has.
    manager = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["stream_idle_timeout"] == "300s"
    manager["stream_idle_timeout"] = "3s"
    for cluster in bootstrap["static_resources"]["clusters"]:
        if cluster["name"] == "router":
            (threshold,) = cluster["circuit_breakers"]["thresholds"]
            assert (threshold["max_requests"], threshold["max_pending_requests"]) == (512, 512)
            threshold |= {"max_requests": AT_ONCE, "max_pending_requests": AT_ONCE}
        address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        for name, server in zip((EASY, HARD), servers):
            if cluster.get("alt_stat_name") == name:
                cluster["type"] = "STATIC"
                address.update(address="127.0.0.1", port_value=server.server_address[1])
    envoy = Envoy(program, directory, bootstrap, ports[18801])
    try:
        eventually(lambda: ready(ports[18802]) == 200)
        yield Gateway(ports[18801], ports[18802], router, servers, envoy, bootstrap)
    finally:
        envoy.stop()
        router.process.kill()
        router.process.wait()
        for server in servers:
            server.shutdown()
            server.server_close()


def ready(port: int) -> int:
    try:
        return send(port, b"", "/ready", "GET").status
    except OSError:
        return 0


def ask(gateway: Gateway, body: bytes, tier: str = "paid", key: str = KEY, **more: str) -> Reply:
    named = {"x_ai_gateway_router_key": key} if key else {}
    # A user may not ask as often as these tests do.
    caller = {"x_authz_user_id": f"user-{next(USERS)}", "x_authz_user_groups": tier}
    return send(gateway.models, body, **{**named, **caller, **more})


@pytest.mark.parametrize("key", ["", "guessed", KEY + "k", KEY[:-1], f"{KEY}, {KEY}"])
def test_who_calls_is_believed_of_the_policy_alone(gateway: Gateway, key: str) -> None:
    """A route is there before its AuthPolicy is in force, and after somebody has deleted that."""
    before = [len(server.requests) for server in gateway.servers]
    answer = ask(gateway, chat("An integral"), key=key)
    assert answer.status == 503
    assert answer.document["error"]["code"] == "gateway_fault"
    assert answer.headers["content-type"] == "application/json"
    assert [len(server.requests) for server in gateway.servers] == before


def test_the_chosen_model_answers_and_learns_nothing(gateway: Gateway) -> None:
    for content, name, server in (("Hello", EASY, gateway.servers[0]), ("An integral", HARD, gateway.servers[1])):
        answer = ask(gateway, chat(content), authorization="Bearer token")
        assert (answer.status, answer.headers["x-maas-model-executed"]) == (200, name), answer.body
        headers, _body = server.requests[-1]
        hidden = {"x-ai-gateway-router-key", "x-authz-user-id", "x-authz-user-groups", "authorization"}
        assert hidden.isdisjoint(headers)
        assert not [header for header in headers if header.startswith("x-vsr-")]


def test_refusals_are_the_clients_apis_and_true(gateway: Gateway) -> None:
    answer = ask(gateway, chat("An integral"), tier="nobody")
    assert (answer.status, answer.document["error"]["code"]) == (403, "model_not_allowed")
    assert answer.headers["x-maas-model-executed"] == "none"
    twice = b'{"model": "auto", "model": "Model-B", "messages": [{"role": "user", "content": "Hello"}]}'
    for body, status, code in (
        (b"{", 400, None),
        (twice, 400, None),
        (chat("Hello", model=HARD), 404, "model_not_found"),
        (b'{"model": "auto"}', 400, "invalid_messages"),
    ):
        answer = ask(gateway, body)
        assert answer.status == status, answer
        assert code in (None, answer.document["error"]["code"])
        assert answer.document["error"]["message"]


def test_a_body_that_is_too_large_is_not_read(gateway: Gateway) -> None:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nx-ai-gateway-router-key: {KEY}\r\n"
    with closing(socket.create_connection(("127.0.0.1", gateway.models), timeout=10)) as connection:
        connection.sendall(f"{head}content-length: {2**20 + 1}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (413, "body_too_large")


def test_a_stream_has_its_usage(gateway: Gateway) -> None:
    """The gateway in front counts it, whatever the client asked for."""
    answer = ask(gateway, chat("Hello", stream=True))
    assert (answer.status, answer.headers["x-maas-model-executed"]) == (200, EASY)
    _headers, body = gateway.servers[0].requests[-1]
    assert json.loads(body)["stream_options"] == {"include_usage": True}


def test_a_body_that_does_not_arrive_ends(gateway: Gateway) -> None:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nx-ai-gateway-router-key: {KEY}\r\n"
    with closing(socket.create_connection(("127.0.0.1", gateway.models), timeout=10)) as connection:
        connection.sendall(f"{head}content-length: 100\r\n\r\n{{".encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (408, "request_timeout")


def test_a_client_says_nothing_of_the_choice(gateway: Gateway) -> None:
    """Nor of a session, by which the router would choose."""
    forged = {"x_vsr_anything": "1", "x_vsr_destination_endpoint": "192.0.2.1:80", "x_session_id": "one"}
    answer = ask(gateway, chat("Hello"), x_selected_model=HARD, **forged)
    assert answer.headers["x-maas-model-executed"] == EASY
    headers, _body = gateway.servers[0].requests[-1]
    assert {"x-vsr-anything", "x-vsr-destination-endpoint", "x-session-id"}.isdisjoint(headers)


def test_a_user_has_so_many_models_chosen_in_a_second(gateway: Gateway) -> None:
    started = time.monotonic()
    answers = [ask(gateway, chat("Hello"), x_authz_user_id="often") for _request in range(OFTEN * 4)]
    allowed = sum(answer.status == 200 for answer in answers)
    assert OFTEN <= allowed <= OFTEN * (time.monotonic() - started + 1)
    refused = [answer for answer in answers if answer.status != 200]
    assert {(answer.status, answer.document["error"]["code"], answer.headers["retry-after"]) for answer in refused} == {
        (429, "rate_limit_exceeded", "1")
    }
    assert ask(gateway, chat("Hello"), x_authz_user_id="seldom").status == 200
    # What is refused for its form takes nothing.
    wrong = [ask(gateway, b"{", x_authz_user_id="wrong").status for _request in range(OFTEN * 2)]
    assert set(wrong) == {400}
    assert ask(gateway, chat("Hello"), x_authz_user_id="wrong").status == 200


def test_a_busy_router_says_so_and_stays_ready(gateway: Gateway) -> None:
    """One that takes as many requests as it may is not one that is away."""
    connections = [held(gateway, f"slow-{number}") for number in range(AT_ONCE)]
    try:
        assert eventually(lambda: sum(len(server.waiting) for server in gateway.servers) == AT_ONCE)
        answer = ask(gateway, chat("Hello"), x_authz_user_id="late")
        assert (answer.status, answer.document["error"]["code"]) == (503, "router_busy")
        assert (answer.headers["retry-after"], answer.headers["x-maas-model-executed"]) == ("1", "none")
        before = asked(gateway)
        eventually(lambda: asked(gateway) > before)
        time.sleep(0.5)
        assert ready(gateway.probes) == 200
    finally:
        for connection in connections:
            connection.close()
    assert eventually(lambda: ask(gateway, chat("Hello"), x_authz_user_id="later").status == 200)


def test_nobody_who_probes_has_the_router_asked(gateway: Gateway) -> None:
    """Anybody may probe, or hang up before there is an answer, and each question is a whole choice."""
    before = asked(gateway)
    started = time.monotonic()
    for _probe in range(100):
        with closing(socket.create_connection(("127.0.0.1", gateway.probes), timeout=10)) as connection:
            connection.sendall(b"GET /ready HTTP/1.1\r\nhost: gateway\r\n\r\n")
    assert {ready(gateway.probes) for _probe in range(100)} == {200}
    assert send(gateway.probes, b"", "/other", "GET").status == 404
    assert asked(gateway) - before <= (time.monotonic() - started) / 2 + 1


def test_without_memory_for_more_it_is_busy_and_ready(gateway: Gateway, tmp_path: Path) -> None:
    bootstrap = json.loads(json.dumps(gateway.bootstrap))
    (monitor,) = bootstrap["overload_manager"]["resource_monitors"]
    assert monitor["typed_config"]["max_heap_size_bytes"] == int(512 * 2**20 * 0.8)
    monitor["typed_config"]["max_heap_size_bytes"] = 1
    ports = {listener["name"]: free_port() for listener in bootstrap["static_resources"]["listeners"]}
    for listener in bootstrap["static_resources"]["listeners"]:
        listener["address"]["socket_address"]["port_value"] = ports[listener["name"]]
    (readiness,) = [one for one in bootstrap["static_resources"]["clusters"] if one["name"] == "readiness"]
    endpoint = readiness["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    endpoint["address"]["socket_address"]["port_value"] = ports["readiness"]
    envoy = Envoy(envoy_program(tmp_path), tmp_path, bootstrap, ports["models"])
    try:
        eventually(lambda: ready(ports["probes"]) == 200)
        answer = send(ports["models"], chat("Hello"), x_ai_gateway_router_key=KEY)
        assert (answer.status, answer.document["error"]["code"]) == (503, "router_busy")
        assert answer.headers["retry-after"] == "1"
        assert ready(ports["probes"]) == 200
    finally:
        envoy.stop()


def test_a_router_that_is_away_is_not_ready(gateway: Gateway) -> None:
    """Last, as it ends the router."""
    gateway.router.process.kill()
    eventually(lambda: ready(gateway.probes) == 503)
    answer = ask(gateway, chat("Hello"), x_authz_user_id="last")
    assert (answer.status, answer.document["error"]["code"]) == (503, "router_unavailable")


def test_the_configuration_is_readable(gateway: Gateway) -> None:
    """No warning of Envoy is about what was rendered."""
    assert not re.search(r"deprecated|unknown field", gateway.envoy.log, re.IGNORECASE), yaml.safe_dump(
        gateway.envoy.log
    )
