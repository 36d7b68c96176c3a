# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove one of several pods that judge and count requests while requests run, and check the outcome of the requests.

On the embedded cluster with ai_gateway_controller_replicas=2. By hand: lost_replicas.py URL TOKEN MODEL
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable

from killed_processes import processes
from load import Load, Request
from objects import kubectl


@dataclasses.dataclass(frozen=True)
class Victim:
    """The program that is taken, the namespace and the labels of its pods, and the Service by whose name the proxies
    find them, if they do.
    """

    program: str
    namespace: str
    labels: str
    service: str = ""


VICTIMS = (
    Victim("authorino", "ai-gateway-authorino", "app.kubernetes.io/name=authorino", "authorino-pods"),
    Victim("ratelimit", "ai-gateway-envoy-gateway", "app.kubernetes.io/name=envoy-ratelimit", "envoy-ratelimit-pods"),
)
#: What else a drained node takes.
OTHERS = (
    Victim("proxies", "ai-gateway-envoy-gateway", "gateway.envoyproxy.io/owning-gateway-name=ai-gateway"),
    Victim("envoy-gateway", "ai-gateway-envoy-gateway", "control-plane=envoy-gateway"),
    Victim("ai-gateway-controller", "ai-gateway-envoy-ai-gateway", "app.kubernetes.io/name=ai-gateway-helm"),
)
#: Requests before each loss and after each recovery.
MARGIN = 200


@dataclasses.dataclass(frozen=True)
class Loss:
    """Seconds until as many were ready as before, counts of all answers, and the first that were not 200."""

    seconds: float
    answers: dict[str, int]
    refusals: list[str]


def ready_pods(victim: Victim) -> set[str]:
    """Return the names of the pods that are ready and not on their way out."""
    items = json.loads(
        kubectl("get", "pods", f"--namespace={victim.namespace}", f"--selector={victim.labels}", "--output=json")
    )["items"]
    return {
        item["metadata"]["name"]
        for item in items
        if "deletionTimestamp" not in item["metadata"]
        and any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in item["status"].get("conditions", [])
        )
    }


def addresses(victim: Victim) -> int:
    """Return how many addresses the name of the Service has."""
    selector = f"--selector=kubernetes.io/service-name={victim.service}"
    slices = json.loads(kubectl("get", "endpointslices", f"--namespace={victim.namespace}", selector, "--output=json"))[
        "items"
    ]
    return sum(bool(endpoint["conditions"].get("ready")) for part in slices for endpoint in part.get("endpoints") or [])


def delete(victim: Victim) -> Callable[[], bool]:
    """Delete a pod without waiting for it to end; return a function that says whether another is ready in its place."""
    before = ready_pods(victim)
    pod = min(before)
    kubectl("delete", "pod", pod, f"--namespace={victim.namespace}", "--grace-period=0", "--force", "--wait=false")
    return lambda: len(ready_pods(victim) - {pod}) >= len(before)


def evict(victim: Victim) -> Callable[[], bool]:
    """Evict a pod as a drain does, which its PodDisruptionBudget allows; return a function that says whether another is
    ready in its place.
    """
    before = ready_pods(victim)
    pod = min(before)
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": victim.namespace},
    }
    path = f"/api/v1/namespaces/{victim.namespace}/pods/{pod}/eviction"
    kubectl("create", "--raw", path, "--filename=-", document=json.dumps(eviction))
    return lambda: len(ready_pods(victim) - {pod}) >= len(before)


def crash(victim: Victim) -> Callable[[], bool]:
    """Kill the program of a pod, which keeps its address; return a function that says whether it runs again."""
    before, pods = processes(victim.program), len(ready_pods(victim))
    assert len(before) == pods, f"{len(before)} processes {victim.program} in {pods} pods"
    process = min(before)
    os.kill(process, signal.SIGKILL)
    return lambda: len(processes(victim.program) - {process}) >= len(before) and len(ready_pods(victim)) >= pods


def lose(
    victim: Victim,
    how: Callable[[Victim], Callable[[], bool]],
    url: str,
    token: str,
    requests: list[Request],
    patience: float = 120,
) -> Loss:
    """Take one of `victim` under load by `how`; fail where there is one only, or not as many again
    after `patience` seconds.
    """
    pods = len(ready_pods(victim))
    assert pods > 1, f"{victim.program} has {pods} pods that are ready; this needs ai_gateway_controller_replicas=2"
    if victim.service:
        assert addresses(victim) == pods, f"Service {victim.service} names {addresses(victim)} of {pods} pods"
    with Load(url, token, requests) as load:
        load.wait(MARGIN)
        began = time.monotonic()
        recovered = how(victim)
        while not recovered():
            assert time.monotonic() - began < patience, (
                f"{victim.program} is not back after {patience} s; answers: {dict(load.outcomes)}"
            )
            time.sleep(0.5)
        seconds = time.monotonic() - began
        load.wait(sum(load.outcomes.values()) + MARGIN)
    return Loss(round(seconds, 1), dict(load.outcomes), load.refusals)


def lose_each(url: str, token: str, requests: list[Request]) -> dict[str, Loss]:
    """Remove each of VICTIMS in each way, one after the other; by program and way, as in "authorino delete"."""
    ways = [(victim, how) for victim in VICTIMS for how in (delete, crash, evict)]
    ways += [(victim, evict) for victim in OTHERS]
    return {f"{victim.program} {how.__name__}": lose(victim, how, url, token, requests) for victim, how in ways}


if __name__ == "__main__":
    address, secret, model = sys.argv[1:]
    for name, loss in lose_each(address, secret, [Request("/v1/chat/completions", model)]).items():
        print(name, json.dumps(dataclasses.asdict(loss), indent=2))
