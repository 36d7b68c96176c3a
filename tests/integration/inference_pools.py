# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two InferencePools of simulators: where their endpoint pickers send requests, what the pods receive, and what becomes
of requests while a picker is away.

The pods count what they answered, each for itself, so that nothing here is believed of a picker.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import re
import subprocess
import time
import typing as t
import uuid

import several_listeners
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.findings import Finding
from diagnoses import findings
from gateway_requests import Ask, Reply, body_of, log, send, tokens
from objects import KUBECTL, kubectl
from simulators import PROGRAM

NAMESPACE = "ai-gateway"
CHAT = "/v1/chat/completions"
#: Of the pool that refuses requests while its picker is away: two names of one model, and one of low priority.
CLOSED, ALIAS, BATCH = "gemma2", "google/gemma-2-2b-it", "gemma2-batch"
#: Of the pool that does not.
OPEN = "open-gemma"
DIRECT = f"direct.{several_listeners.DOMAIN}"
REPLICAS, SLOTS, QUEUE_DEPTH = 2, 2, 1
#: A picker reads the metrics of its pods twenty times a second.
SETTLED = 1.0
#: Seconds until a picker that was started has read its pool, and the proxies have found it.
PATIENCE = 90
#: Asks the pod that it runs in for so many answers of so many seconds at once, and waits for them.
HOLD = """
import sys, threading, urllib.request
count, seconds = int(sys.argv[1]), sys.argv[2]
body = b'{"model": "%s", "messages": [{"role": "user", "content": "held"}]}' % sys.argv[3].encode()
headers = {"content-type": "application/json", "x-simulator-delay": seconds}
def ask():
    request = urllib.request.Request("http://127.0.0.1:8000/v1/chat/completions", body, headers)
    urllib.request.urlopen(request, timeout=600).read()
threads = [threading.Thread(target=ask) for _ in range(count)]
for thread in threads:
    thread.start()
print("asked", flush=True)
for thread in threads:
    thread.join()
"""
METRICS = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:8000/metrics", timeout=10).read().decode())
"""


def pools() -> dict[str, t.Any]:
    """The variables of the two pools and their models."""

    def model(name: str, pool: str, **more: str) -> dict[str, t.Any]:
        return {"name": name, "backend_ref": {"kind": "InferencePool", "name": pool}, **more}

    common = {
        "simulated": True,
        "simulator": {"replicas": REPLICAS, "slots": SLOTS, "cache_blocks": 1024},
    }
    saturation = {"queue_depth": QUEUE_DEPTH}
    return {
        "ai_gateway_inference_pools": [
            {
                **common,
                "name": "gemma2",
                "selector": {"model": "gemma2"},
                "endpoint_picker": {"failure_mode": "FailClose", "saturation": saturation},
                "objectives": [{"name": "batch", "priority": -1}],
                "direct_route": {"hostname": DIRECT},
            },
            {
                **common,
                "name": "open-gemma",
                "selector": {"model": "open-gemma"},
                "endpoint_picker": {"failure_mode": "FailOpen", "saturation": saturation},
            },
        ],
        "ai_gateway_models": [
            model(CLOSED, "gemma2"),
            model(ALIAS, "gemma2"),
            model(BATCH, "gemma2", objective="batch"),
            model(OPEN, "open-gemma"),
        ],
    }


def pods(pool: str = "gemma2") -> list[str]:
    """The names of the pool's pods that are ready."""
    selector = f"app.kubernetes.io/instance={pool}-simulator"
    text = kubectl("get", "pods", f"--namespace={NAMESPACE}", f"--selector={selector}", "--output=json")
    found = [
        item["metadata"]["name"]
        for item in json.loads(text)["items"]
        if "deletionTimestamp" not in item["metadata"]
        and all(status["ready"] for status in item["status"].get("containerStatuses", [{"ready": False}]))
    ]
    assert len(found) == REPLICAS, found
    return sorted(found)


def inside(pod: str, program: str, *arguments: str) -> str:
    return kubectl("exec", f"--namespace={NAMESPACE}", pod, "--", "python3", "-c", program, *arguments)


def reset(*names: str) -> None:
    for pod in names:
        inside(pod, PROGRAM, "POST", "/reset", "")


def answered(pod: str) -> int:
    """How many requests the pod answered with success since it was reset."""
    counters = json.loads(inside(pod, PROGRAM, "GET", "/counters", ""))
    return sum(count["requests"] for count in counters["counts"] if count["status"] == 200)


def metric(pod: str, name: str) -> float:
    (found,) = re.findall(rf"^vllm:{name}\{{[^}}]*\}} (\S+)$", inside(pod, METRICS), re.MULTILINE)
    return float(found)


@contextlib.contextmanager
def held(pod: str, count: int, seconds: float, model: str = CLOSED) -> t.Iterator[None]:
    """For a block, the pod is busy with so many requests, which it gets from nobody but itself; ends with them."""
    command = ["exec", f"--namespace={NAMESPACE}", pod, "--", "python3", "-c", HOLD, str(count), str(seconds), model]
    with subprocess.Popen([*KUBECTL, *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "asked\n"
        deadline = time.monotonic() + 20
        while metric(pod, "num_requests_waiting") < count - SLOTS:
            assert time.monotonic() < deadline, f"{pod} does not get busy"
            time.sleep(0.2)
        time.sleep(SETTLED)
        yield
        assert process.wait(timeout=300) == 0


def chat(url: str, token: str, model: str, content: str = "", timeout: float = 60, **headers: str) -> Reply:
    """Ask with a prompt of its own, so that no cache knows it."""
    words = content or f"Question {uuid.uuid4().hex}"
    body = body_of(CHAT, model) | {"messages": [{"role": "user", "content": words}]}
    cheap = {"x-simulator-prompt-tokens": "1", "x-simulator-completion-tokens": "1"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return send(url, token, Ask(CHAT, body, {**cheap, **given}), timeout=timeout)


def idle_is_preferred(url: str, token: str, requests: int = 20) -> dict[str, int]:
    """How many of the requests each pod answers, for each of them busy in turn; the busy one is to get none."""
    found: dict[str, int] = {}
    for busy in pods():
        others = [pod for pod in pods() if pod != busy]
        with held(busy, SLOTS + 2, 20):
            reset(*others)
            before = answered(busy)
            started = time.monotonic()
            replies = [chat(url, token, CLOSED) for _number in range(requests)]
            assert time.monotonic() - started < 15, "the held requests may have ended"
            assert {reply.status for reply in replies} == {200}, replies
            counts = {busy: answered(busy) - before, **{pod: answered(pod) for pod in others}}
        print(f"{busy} is busy: {counts}")
        assert counts[busy] == 0, counts
        assert sum(counts.values()) == requests, counts
        found[busy] = counts[busy]
    return found


def prefixes_stay(url: str, token: str, prefixes: int = 6, requests: int = 6) -> list[dict[str, int]]:
    """How many requests of each prefix each pod answers: all of a prefix the same one, which has it in its cache."""
    found = []
    for _prefix in range(prefixes):
        prompt = " ".join(uuid.uuid4().hex for _word in range(100))
        reset(*pods())
        hits = {pod: metric(pod, "prefix_cache_hits_total") for pod in pods()}
        for _number in range(requests):
            reply = chat(url, token, ALIAS, f"{prompt} and then {uuid.uuid4().hex}")
            assert reply.status == 200, reply
            time.sleep(0.2)
        counts = {pod: answered(pod) for pod in pods()}
        print(f"a prefix: {counts}")
        assert sorted(counts.values()) == [*[0] * (REPLICAS - 1), requests], counts
        (chosen,) = [pod for pod, count in counts.items() if count]
        assert metric(chosen, "prefix_cache_hits_total") - hits[chosen] > 0
        found.append(counts)
    return found


def low_priority_is_shed(url: str, token: str) -> dict[str, list[int]]:
    """The statuses of requests of low priority while no pod is full, while all are, and after that; those of others
    while all are full are answered when their turn comes.
    """
    statuses = {"before": [chat(url, token, BATCH).status for _number in range(3)]}
    with contextlib.ExitStack() as busy:
        for pod in pods():
            busy.enter_context(held(pod, SLOTS + QUEUE_DEPTH + 1, 15))
        refused = [chat(url, token, BATCH) for _number in range(5)]
        statuses["full"] = [reply.status for reply in refused]
        assert statuses["full"] == [429] * 5, refused
        assert [problem for reply in refused for problem in reply.problems] == []
        # What the client says of its priority is nobody's business.
        forged = chat(url, token, BATCH, x_gateway_inference_objective="none")
        assert forged.status == 429, forged
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiting = [pool.submit(chat, url, token, CLOSED, timeout=200) for _number in range(3)]
            one_of_them = pool.submit(
                chat, url, token, CLOSED, timeout=200, x_gateway_inference_objective="gemma2.batch"
            )
            busy.close()
            statuses["others"] = [future.result().status for future in [*waiting, one_of_them]]
    time.sleep(SETTLED)
    statuses["after"] = [chat(url, token, BATCH).status for _number in range(3)]
    print(f"requests of low priority: {statuses}")
    assert statuses["before"] == statuses["after"] == [200] * 3
    assert statuses["others"] == [200] * 4
    return statuses


@contextlib.contextmanager
def without_picker(pool: str) -> t.Iterator[None]:
    """For a block, the pool has no endpoint picker."""
    name = f"{pool}-endpoint-picker"
    selector = f"--selector=app.kubernetes.io/instance={name}"
    before = kubectl("get", "deployment", name, f"--namespace={NAMESPACE}", "--output=jsonpath={.spec.replicas}")

    def scale(replicas: str) -> None:
        kubectl("scale", "deployment", name, f"--namespace={NAMESPACE}", f"--replicas={replicas}")

    scale("0")
    try:
        kubectl("delete", "pods", f"--namespace={NAMESPACE}", selector, "--grace-period=1", "--wait=true")
        time.sleep(SETTLED)
        yield
    finally:
        scale(before)
        kubectl("rollout", "status", f"deployment/{name}", f"--namespace={NAMESPACE}", "--timeout=110s")


def recovers(url: str, token: str, model: str) -> float:
    """Seconds until five requests in a row are answered."""
    started = time.monotonic()
    row = 0
    while row < 5:
        reply = chat(url, token, model)
        row = row + 1 if reply.status == 200 else 0
        assert time.monotonic() - started < PATIENCE, reply
        time.sleep(0.2)
    return time.monotonic() - started


def pickers_away(url: str, token: str) -> tuple[dict[str, list[int]], list[Finding]]:
    """The statuses of requests to each pool while both have no picker, those of the open one answered by its pods, and
    what the diagnosis says meanwhile.
    """
    found: dict[str, list[int]] = {}
    with without_picker("gemma2"), without_picker("open-gemma"):
        closed = [chat(url, token, CLOSED) for _number in range(10)]
        found[CLOSED] = [reply.status for reply in closed]
        assert min(found[CLOSED]) >= 500, found
        assert [problem for reply in closed for problem in reply.problems] == []
        reset(*pods("open-gemma"))
        time.sleep(2)
        replies = [chat(url, token, OPEN) for _number in range(20)]
        found[OPEN] = [reply.status for reply in replies]
        assert set(found[OPEN]) == {200}, replies
        assert sum(answered(pod) for pod in pods("open-gemma")) == 20
        # Beside the pool nothing changes.
        assert chat(url, token, "gpt-4").status == 200
        said = findings()
    print(f"without pickers: {found}; recovered in {recovers(url, token, CLOSED):.1f} s")
    recovers(url, token, OPEN)
    return found, said


def restarts() -> dict[str, int]:
    """How often the containers of each picker's pod have been restarted."""
    selector = "app.kubernetes.io/name=endpoint-picker"
    text = kubectl("get", "pods", f"--namespace={NAMESPACE}", f"--selector={selector}", "--output=json")
    found = {
        item["metadata"]["name"]: sum(status["restartCount"] for status in item["status"]["containerStatuses"])
        for item in json.loads(text)["items"]
    }
    assert found
    return found


def pickers_outlive(url: str, token: str) -> dict[str, int]:
    """The statuses of requests whose answers would end a picker, by what they are about; no picker ends."""
    before = restarts()
    # The picker takes it for a completion, and its answer has no completion_tokens.
    body = body_of("/v1/embeddings", CLOSED, prompt="Hello")
    embeddings = [
        send(url, token, Ask(path, body)) for path in ("/v1/embeddings", f"/{NAMESPACE}/gemma2/v1/embeddings")
    ]
    assert [reply.problems for reply in embeddings] == [[], []]
    assert all(json.loads(reply.body)["error"]["code"] == "unsupported_path" for reply in embeddings), embeddings
    message = send(url, token, Ask("/v1/messages", body_of("/v1/messages", CLOSED)))
    assert json.loads(message.body)["usage"]["output_tokens"] > 0, message
    direct = send(url.replace(f"//{several_listeners.DOMAIN}", f"//{DIRECT}"), token, Ask("/v1/embeddings", body))
    found = {
        "embeddings": embeddings[0].status,
        "embeddings of the pool": embeddings[1].status,
        "message": message.status,
        "embeddings of the direct route": direct.status,
    }
    time.sleep(SETTLED)
    assert restarts() == before
    print(f"pickers live: {found}")
    return found


def routes_of_others(namespace: str) -> dict[str, bool]:
    """Whether each user may put a route on the Gateway where only the routes of pools are wanted.

    No route is written.
    """
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "of-others", "namespace": namespace},
        "spec": {
            "parentRefs": [{"name": "ai-gateway", "namespace": NAMESPACE}],
            "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}]}],
        },
    }
    kubectl("create", "namespace", namespace)
    try:
        kubectl(
            "create",
            "role",
            "routes",
            f"--namespace={namespace}",
            "--verb=create,get,patch,update",
            "--resource=httproutes.gateway.networking.k8s.io",
        )
        kubectl("create", "rolebinding", "routes", f"--namespace={namespace}", "--role=routes", "--user=developer")
        found = {}
        for user, more in (("developer", ["--as=developer"]), ("administrator", [])):
            command = [*KUBECTL, "create", "--dry-run=server", "--filename=-", *more]
            ended = subprocess.run(command, input=json.dumps(route), capture_output=True, text=True, timeout=60)
            found[user] = ended.returncode == 0
            assert found[user] or "routes on Gateway ai-gateway/ai-gateway" in ended.stderr, ended.stderr
        return found
    finally:
        kubectl("delete", "namespace", namespace, "--wait=true")


def received(url: str, token: str, model: str, **headers: str) -> dict[str, t.Any]:
    """Every header that the pod received, by name."""
    reply = chat(url, token, model, x_simulator_echo="headers", **headers)
    assert reply.status == 200, reply
    found: dict[str, t.Any] = json.loads(reply.header("x-simulator-received-headers"))
    return found


def headers_of_a_pod(url: str, token: str, user: str, tier: str) -> list[str]:
    """The names of all headers that a pod received; none has the caller's token, name or tier, or what it forged."""
    forged = {
        "cookie": "forged",
        "api-key": "forged",
        "x-maas-user": "forged",
        "x-maas-tier": "forged",
        "x-user": "forged",
        "x-forwarded-user": "forged",
        "x-forwarded-for": "192.0.2.1",
        "openai-organization": "forged",
        "x-gateway-inference-objective": "forged",
        "x-gateway-inference-fairness-id": "forged",
        "x-gateway-model-name-rewrite": "forged",
        "x-gateway-destination-endpoint": "192.0.2.1:1",
    }
    found = received(url, token, BATCH, **{name.replace("-", "_"): value for name, value in forged.items()})
    print(f"headers of a pod: {json.dumps(found, indent=1, sort_keys=True)}")
    values = json.dumps(list(found.values()))
    for secret in (token, user, "forged", "192.0.2.1"):
        assert secret not in values, found
    assert tier not in found.values(), found
    for name in ("authorization", "x-api-key", "cookie", "x-maas-user", "x-maas-tier", "x-forwarded-for"):
        assert name not in found, found
    assert found["x-gateway-inference-objective"] == "gemma2.batch"
    return sorted(found)


def counted(url: str, token: str, times: int = 1) -> list[str]:
    """What is wrong with the tokens that the proxies counted for whole answers and streams of a pool's models, each
    asked so many times, or with the answers.
    """
    asks = [
        Ask(
            CHAT,
            body_of(CHAT, model, stream=stream),
            {"x-simulator-prompt-tokens": "7", "x-simulator-completion-tokens": "9"},
        )
        for model in (CLOSED, ALIAS)
        for stream in (False, True)
        for _time in range(times)
    ]
    replies = [send(url, token, ask) for ask in asks]
    lines = log(reply.ask.agent for reply in replies)
    faults = [str(reply) for reply in replies if reply.status != 200 or not reply.whole or not reply.body]
    faults += [
        f"{reply.ask} of {reply.ask.body['model']}: {tokens(lines[reply.ask.agent])} tokens are counted"
        for reply in replies
        if tokens(lines[reply.ask.agent]) != 16
    ]
    return faults
