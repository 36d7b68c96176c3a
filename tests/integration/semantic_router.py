# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A semantic router with two models on the premises, in either mode: which model answers whom, what the proxies count,
and what becomes of requests while the router is away.

No registry has the router, so the fake of tests/fakes answers in its place, from the configuration that the role
renders. The two models are simulators.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import statistics
import time
import typing as t

import catalogs
import external_provider
import objects
import yaml
from gateway_requests import PROXIES, SELECTOR, Ask, Reply, body_of, log, send, tokens
from runs import ROOT, playbook, run

NAMESPACE = "vllm-semantic-router-system"
SINGLE, DUAL = "single_gateway", "dual_gateway"
CHAT = "/v1/chat/completions"
AUTO, EASY, HARD, NEW = "auto", "Model-A", "Model-B", "Model-C"
#: Of a provider outside, and its name there.
OUTSIDE, UPSTREAM = "outside", "odd-good"
#: What a million tokens cost. A request has 7, so that one for the second model costs 70 millionths.
PRICES = {EASY: 1, HARD: 10, NEW: 1}
BUDGET: dict[str, t.Any] = {
    "name": "budget",
    "level": 3,
    "groups": ["tier-budget-users"],
    "cost_limit": {"cost": 0.0005, "window": "1m"},
    # Those of the inventory's providers have no price.
    "models": [EASY, HARD, AUTO],
}
#: A prompt that leads to the second model, and one that leads to the default.
HARD_PROMPT, EASY_PROMPT = "Please solve this integral.", "Hello"
OUTSIDE_PROMPT = "Write a sonnet."
EXECUTED = "x-maas-model-executed"
IMAGE = "localhost/egress-ai-gateway/semantic-router:fake"
#: The metrics of Envoy AI Gateway's processor, by the namespace and the name of its pod.
METRICS = "/api/v1/namespaces/{}/pods/{}:1064/proxy/metrics"
#: Seconds until a router that was started has been found ready, and the proxies know.
PATIENCE = 120
#: What a client may try to say of the model, of itself, and of where the request goes.
FORGED = {
    "x-selected-model": HARD,
    "x-vsr-destination-endpoint": "192.0.2.1:80",
    "x-vsr-skip-processing": "true",
    "x-authz-user-id": "forged",
    "x-authz-user-groups": "enterprise",
    "x-ai-gateway-ask-router": "0",
    "x-ai-eg-model": HARD,
    EXECUTED: "forged",
}


def variables(path: pathlib.Path, mode: str, archive: pathlib.Path, *more_models: str) -> pathlib.Path:
    """Write the extra variables of a site with the router.

    :param archive: what ``two_gateways.images`` has written.
    """
    limit = {"tokens": 100000, "window": "1m"}
    names = [EASY, HARD, *more_models]
    written = {
        **json.loads(archive.read_text(encoding="utf-8")),
        "semantic_router_image": IMAGE,
        "ai_gateway_models": [{"name": name, "simulated": True} for name in names],
        "ai_gateway_tiers": [
            # In one mode it is refused what it may not use, and gets another model in the other.
            {
                "name": "free",
                "level": 0,
                "groups": ["tier-free-users"],
                "token_limit": {**limit, "tokens": 100},
                "models": [EASY, AUTO],
            },
            {"name": "premium", "level": 1, "groups": ["tier-premium-users"], "token_limit": limit, "models": [EASY]},
            {"name": "enterprise", "level": 2, "groups": ["tier-enterprise-users"], "token_limit": limit},
            *([BUDGET] if mode == SINGLE else []),
        ],
        "ai_gateway_prices": {name: dict.fromkeys(("input", "output"), PRICES[name]) for name in names},
        "ai_gateway_semantic_router": {
            "mode": mode,
            "default_model": EASY,
            "fallback": "deny" if mode == SINGLE else EASY,
            "signals": {"keywords": [{"name": "math", "keywords": ["integral", "derivative"]}]},
            "decisions": [
                {
                    "name": "math",
                    "description": "Mathematics",
                    "priority": 100,
                    "rules": {"operator": "AND", "conditions": [{"type": "keyword", "name": "math"}]},
                    "model": HARD,
                },
                *(
                    {
                        "name": name.lower(),
                        "priority": 10 + index,
                        "rules": {"operator": "AND", "conditions": [{"type": "authz", "name": "enterprise"}]},
                        "model": name,
                    }
                    for index, name in enumerate(more_models)
                ),
            ],
        },
    }
    path.write_text(yaml.safe_dump(written), encoding="utf-8")
    return path


def with_outside(path: pathlib.Path) -> None:
    """Deploy a provider outside, behind TLS, and add it and its model to the extra variables of a site."""
    authority = catalogs.Authority("Outside")
    external_provider.deploy(authority.issue(external_provider.HOSTNAME))
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    provider = external_provider.provider(OUTSIDE, models=[UPSTREAM], public=OUTSIDE, ca_bundle=authority.certificate)
    written |= external_provider.variables(provider)
    written["ai_gateway_prices"][OUTSIDE] = {"input": 2, "output": 3}
    router = written["ai_gateway_semantic_router"]
    router["signals"]["keywords"].append({"name": "verse", "keywords": ["sonnet"]})
    router["decisions"].append(
        {
            "name": "verse",
            "priority": 200,
            "rules": {"operator": "AND", "conditions": [{"type": "keyword", "name": "verse"}]},
            "model": OUTSIDE,
        }
    )
    path.write_text(yaml.safe_dump(written), encoding="utf-8")


def outside_faults(url: str, token: str) -> list[str]:
    """What is wrong with requests for which the model of the provider outside is chosen, whole and in streams: who
    answers, what the provider learns, and what is counted.
    """
    replies = [chat(url, token, OUTSIDE_PROMPT, stream=stream) for stream in (False, True)]
    faults = [f"{executed(reply)} {reply}" for reply in replies if executed(reply) != (200, OUTSIDE)]
    for request in external_provider.requests(UPSTREAM):
        headers = {str(name).lower() for name, *_value in request["headers"]}
        shown = {name for name in headers if name.startswith(("x-vsr-", "x-authz-", "x-selected"))}
        if shown or not request["tls"]:
            faults.append(f"the provider received {sorted(shown)}, in TLS: {request['tls']}")
    lines = log(reply.ask.agent for reply in replies)
    for reply in replies:
        line = lines[reply.ask.agent]
        # 60 tokens of the prompt and 40 of the answer.
        expected = {"model_requested": AUTO, "model_executed": OUTSIDE, "cost": 60 * 2 + 40 * 3}
        faults += [
            f"{reply.ask}: {name} is {line.get(name)}" for name, value in expected.items() if line.get(name) != value
        ]
        if tokens(line) != 100:
            faults.append(f"{reply.ask}: {tokens(line)} tokens are counted")
    return faults


def spent(url: str, token: str) -> dict[str, int]:
    """How many requests that the router gives to the second model a budget takes, and what is answered after that."""
    # The limit counts by the clock's minute.
    time.sleep(max(0.0, 60.5 - time.time() % 60) if time.time() % 60 > 40 else 0.0)
    passed = 0
    while (reply := chat(url, token, HARD_PROMPT)).status == 200:
        passed += 1
        assert passed <= 50, "the budget does not end"
        # It is counted after the answer.
        time.sleep(0.2)
    return {
        "passed": passed,
        "auto": reply.status,
        "another model by auto": chat(url, token).status,
        "the model by its name": chat(url, token, model=HARD).status,
        "another model by its name": chat(url, token, model=EASY).status,
    }


def token_of(tier: str, path: pathlib.Path, extra: pathlib.Path) -> str:
    playbook(
        "egress.ai_gateway.token",
        "--extra-vars",
        f"@{extra}",
        "--extra-vars",
        f"tokens_file={path} tokens_tier={tier} tokens_user=router-{tier}",
    )
    return path.read_text(encoding="utf-8").strip()


def chat(
    url: str, token: str, content: str = EASY_PROMPT, model: str = AUTO, stream: bool = False, **headers: str
) -> Reply:
    body = body_of(CHAT, model, stream=stream) | {"messages": [{"role": "user", "content": content}]}
    cheap = {"x-simulator-prompt-tokens": "3", "x-simulator-completion-tokens": "4"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if model == AUTO:
        # Less often than a user may ask the router.
        time.sleep(0.21)
    return send(url, token, Ask(CHAT, body, {**cheap, **given}))


def soon(url: str, token: str, model: str, content: str = EASY_PROMPT) -> Reply:
    """The first answer of a model to requests for any, or the last one of others: the processors of the proxies read a
    new model when their Secret arrives, up to two minutes after the router knows it.
    """
    started = time.monotonic()
    while executed(reply := chat(url, token, content)) != (200, model) and time.monotonic() < started + PATIENCE:
        time.sleep(0.5)
    print(f"{model} answers after {time.monotonic() - started:.1f} s: {executed(reply)}")
    return reply


def executed(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.header(EXECUTED)


def choices(url: str, token: str) -> list[str]:
    """What is wrong with the models that answer, whole and in streams."""
    faults = []
    for content, expected in ((EASY_PROMPT, EASY), (HARD_PROMPT, HARD)):
        for stream in (False, True):
            reply = chat(url, token, content, stream=stream)
            if executed(reply) != (200, expected):
                faults.append(f"{content} (stream: {stream}): {executed(reply)} {reply}")
            # The model says it itself too.
            elif not stream and json.loads(reply.body)["model"] != expected:
                faults.append(f"{content}: the model says {json.loads(reply.body)['model']}")
    return faults


def metered(model: str) -> int:
    """The tokens that the processors' metrics have of a model that answered."""
    selector = ("--namespace", PROXIES, "--selector", SELECTOR)
    pods = objects.kubectl("get", "pods", *selector, "--output=jsonpath={.items[*].metadata.name}").split()
    lines = [
        line
        for pod in pods
        for line in objects.kubectl("get", "--raw", METRICS.format(PROXIES, pod)).splitlines()
        if line.startswith("gen_ai_client_token_usage_sum{") and f'gen_ai_response_model="{model}"' in line
    ]
    return round(sum(float(line.rpartition(" ")[2]) for line in lines))


def counted(url: str, token: str, mode: str) -> list[str]:
    """What is wrong with the lines of the log: which model was asked for, which was executed, and its tokens; and with
    the metrics.
    """
    before = metered(HARD)
    replies = [chat(url, token, HARD_PROMPT, stream=stream) for stream in (False, True)]
    replies.append(chat(url, token, model=HARD))
    lines = log(reply.ask.agent for reply in replies)
    faults = [str(reply) for reply in replies if reply.status != 200]
    for reply in replies:
        line = lines[reply.ask.agent]
        asked = json.loads(json.dumps(reply.ask.body))["model"]
        expected: dict[str, t.Any] = {"model_executed": HARD}
        if asked == AUTO:
            expected["model_requested"] = AUTO
        if mode == SINGLE:
            expected["model"] = HARD
        faults += [
            f"{reply.ask}: {name} is {line.get(name)}" for name, value in expected.items() if line.get(name) != value
        ]
        if tokens(line) != 7:
            faults.append(f"{reply.ask}: {tokens(line)} tokens are counted")
        # Behind the gateway nobody knows what the model costs that was asked for.
        if line.get("cost") != (None if mode == DUAL and asked == AUTO else 7 * PRICES[HARD]):
            faults.append(f"{reply.ask}: the cost is {line.get('cost')}")
    metrics = metered(HARD) - before
    if metrics != 7 * len(replies):
        faults.append(f"the metrics have {metrics} tokens more of {HARD}")
    return faults


def refused_or_replaced(url: str, token: str, mode: str, **headers: str) -> list[str]:
    """What is wrong with the answers to a tier that may use the first model alone."""
    faults = []
    for stream in (False, True):
        reply = chat(url, token, HARD_PROMPT, stream=stream, **headers)
        expected = (403, "") if mode == SINGLE else (200, EASY)
        if executed(reply) != expected:
            faults.append(f"(stream: {stream}): {executed(reply)} {reply}")
        faults += reply.problems if reply.status >= 400 else []
    return faults


@contextlib.contextmanager
def without_router() -> t.Iterator[None]:
    """For a block, the router has no pod."""

    def scale(replicas: int) -> None:
        objects.kubectl("scale", "deployment/semantic-router", f"--namespace={NAMESPACE}", f"--replicas={replicas}")

    scale(0)
    try:
        objects.kubectl(
            "delete", "pods", f"--namespace={NAMESPACE}", "--selector=app.kubernetes.io/name=semantic-router",
            "--grace-period=1", "--wait=true",
        )  # fmt: skip
        time.sleep(1)
        yield
    finally:
        scale(1)
        objects.kubectl(
            "rollout", "status", "deployment/semantic-router", f"--namespace={NAMESPACE}", f"--timeout={PATIENCE}s"
        )


def without_policy(url: str, token: str) -> list[tuple[int, str]]:
    """Delete the AuthPolicy of the route to the router. Return the status and the error's code of requests that forge
    the caller, until one is not answered by a model or half a minute has passed.
    """
    objects.kubectl("delete", "authpolicies.kuadrant.io", "semantic-router", "--namespace=vllm-semantic-router-system")
    started = time.monotonic()
    found: list[tuple[int, str]] = []
    while (not found or found[-1][0] == 200) and time.monotonic() < started + 30:
        reply = chat(url, token, x_authz_user_id="root", x_authz_user_groups="enterprise")
        found.append((reply.status, "" if reply.status == 200 else json.loads(reply.body)["error"]["code"]))
        time.sleep(0.2)
    return found


def recovered(url: str, token: str) -> float:
    """The seconds until five requests in a row are answered by way of the router."""
    started = time.monotonic()
    row = 0
    while row < 5:
        row = row + 1 if chat(url, token).status == 200 else 0
        assert time.monotonic() - started < PATIENCE, "the router does not come back"
        time.sleep(0.2)
    return time.monotonic() - started


def away(url: str, token: str) -> dict[str, t.Any]:
    """What is answered while the router is away, and the seconds until it chooses again once its pod is ready."""
    with without_router():
        refused = [chat(url, token) for _number in range(10)]
        explicit = [chat(url, token, model=EASY) for _number in range(10)]
    recovery = recovered(url, token)
    found = {
        "auto": sorted({reply.status for reply in refused}),
        "explicit": sorted({reply.status for reply in explicit}),
        "problems": [problem for reply in refused for problem in reply.problems],
        "slowest_refusal": max(reply.seconds for reply in refused),
        "recovery": recovery,
    }
    print(f"without the router: {found}")
    return found


def configured() -> list[str]:
    """The models that the router knows."""
    text = objects.kubectl(
        "get", "configmap/semantic-router", f"--namespace={NAMESPACE}", "--output=jsonpath={.data.config\\.yaml}"
    )
    return [model["name"] for model in json.loads(text)["providers"]["models"]]


def policies_in_conflict() -> list[str]:
    """Each policy of the gateway that is not accepted, or in conflict with another."""
    kinds = (
        "backendtrafficpolicies,clienttrafficpolicies,envoyextensionpolicies,envoypatchpolicies,securitypolicies"
        ".gateway.envoyproxy.io"
    )
    found = []
    for body in json.loads(objects.kubectl("get", kinds, "--all-namespaces", "--output=json"))["items"]:
        for ancestor in (body.get("status") or {}).get("ancestors") or [{"conditions": []}]:
            conditions = {condition["type"]: condition["status"] for condition in ancestor["conditions"]}
            if conditions.get("Accepted") != "True" or conditions.get("Conflicted", "False") != "False":
                found.append(f"{body['kind']} {body['metadata']['name']}: {conditions}")
            if body["kind"] == "EnvoyPatchPolicy" and conditions.get("Programmed") != "True":
                found.append(f"{body['kind']} {body['metadata']['name']}: {conditions}")
    return found


def latency(url: str, token: str, requests: int = 200) -> dict[str, dict[str, float]]:
    """Milliseconds of requests by way of the router and past it, in turns, at p50 and p99."""
    # A step before may have taken the router away.
    recovered(url, token)
    seconds: dict[str, list[float]] = {AUTO: [], EASY: []}
    for _number in range(requests):
        for model, found in seconds.items():
            reply = chat(url, token, model=model)
            assert reply.status == 200, reply
            found.append(reply.seconds)
    result = {}
    for model, found in seconds.items():
        cuts = statistics.quantiles(found, n=100)
        result[model] = {"p50": cuts[49] * 1000, "p99": cuts[98] * 1000}
    print(f"milliseconds with {AUTO} beside {EASY}: {result}")
    return result


def diagnosed(extra: pathlib.Path) -> str:
    """What a diagnosis prints."""
    command = ["ansible-playbook", "--inventory", str(ROOT / "inventories/embedded"), "--extra-vars", f"@{extra}"]
    return run(*command, "--extra-vars", "diagnosis_fail_on=never", "egress.ai_gateway.diagnose")
