# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Harm one component of a gateway while requests run: kill it, restart it, slow it down, cut it off.

What a good request comes to meanwhile is counted, and how long it takes until all are answered again. Requests that
must be refused run all the while, and not one of them may be let in.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import signal
import subprocess
import threading
import time
import typing as t

import gateway_requests
import provider_kinds
import yaml
from objects import kubectl
from runs import playbook
from sites import SAME_CLUSTER, gateway_url

ENVOY, AUTHORINO = "ai-gateway-envoy-gateway", "ai-gateway-authorino"
MODEL, PATH = "gpt-4", "/v1/chat/completions"
#: Tokens of a request, and how many a user of tier spent has in a day.
COST, BUDGET = 10, 30
#: Requests after which such a user has to be refused again, whatever was forgotten.
AGAIN = BUDGET // COST + 3
#: Seconds of requests before a fault, and of a fault that does not end by itself.
MARGIN, LENGTH = 2.0, 5.0
#: Seconds between two requests of one thread, which bounds their count.
PACE = 0.1
#: So many good answers in a row are a gateway that works again, and seconds within which it must.
ROW, PATIENCE = 10, 150
#: Of a program that is slowed down, seconds that it stands and runs in turn.
STANDS, RUNS = 0.4, 0.02


@dataclasses.dataclass(frozen=True)
class Component:
    """A container, and the labels of the pods that have one."""

    name: str
    namespace: str
    labels: str
    container: str
    #: Whether it has a network of its own that it can be cut off from, and a pod that may be deleted.
    cut_off: bool = True
    restarted: bool = True

    def pods(self) -> list[dict[str, t.Any]]:
        listed = kubectl("get", "pods", f"--namespace={self.namespace}", f"--selector={self.labels}", "--output=json")
        return [pod for pod in json.loads(listed)["items"] if "deletionTimestamp" not in pod["metadata"]]

    def statuses(self) -> list[dict[str, t.Any]]:
        """The statuses of its containers."""
        return [
            status
            for pod in self.pods()
            for field in ("initContainerStatuses", "containerStatuses")
            for status in pod["status"].get(field, [])
            if status["name"] == self.container
        ]

    def is_ready(self) -> bool:
        statuses = self.statuses()
        return bool(statuses) and all(status["ready"] and status["state"].get("running") for status in statuses)

    def processes(self) -> list[int]:
        """The ids of its processes, which are in control groups that are named after containers."""
        ids = [status["containerID"].split("//")[1] for status in self.statuses() if status.get("containerID")]
        found = []
        for directory in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                group = (directory / "cgroup").read_text(encoding="utf-8")
                if any(f"/{name}" in group for name in ids):
                    found.append(int(directory.name))
        assert found, f"{self.name} has no process"
        return found


COMPONENTS = (
    Component("envoy", ENVOY, "gateway.envoyproxy.io/owning-gateway-name=ai-gateway", "envoy"),
    Component(
        "processor", ENVOY, "gateway.envoyproxy.io/owning-gateway-name=ai-gateway", "ai-gateway-extproc", False, False
    ),
    Component(
        "ai-gateway-controller",
        "ai-gateway-envoy-ai-gateway",
        "app.kubernetes.io/name=ai-gateway-helm",
        "ai-gateway-helm",
    ),
    Component("envoy-gateway", ENVOY, "control-plane=envoy-gateway", "envoy-gateway"),
    Component("authorino", AUTHORINO, "app.kubernetes.io/name=authorino", "authorino"),
    Component("ratelimit", ENVOY, "app.kubernetes.io/component=ratelimit", "envoy-ratelimit"),
    Component("redis", ENVOY, "app.kubernetes.io/name=redis", "redis"),
    Component("provider", "external-models", "app.kubernetes.io/instance=openai-simulator", "simulator"),
    Component("coredns", "kube-system", "k8s-app=kube-dns", "coredns"),
    Component("api-server", "kube-system", "component=kube-apiserver", "kube-apiserver", False, False),
)


# --- the faults ---


def _signal(processes: t.Iterable[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


@contextlib.contextmanager
def killed(component: Component) -> t.Iterator[None]:
    _signal(component.processes(), signal.SIGKILL)
    yield


@contextlib.contextmanager
def restarted(component: Component) -> t.Iterator[None]:
    names = [pod["metadata"]["name"] for pod in component.pods()]
    kubectl("delete", "pods", *names, f"--namespace={component.namespace}", "--wait=false")
    yield


@contextlib.contextmanager
def stopped(component: Component) -> t.Iterator[None]:
    """For a block, a program that does nothing and keeps its connections."""
    processes = component.processes()
    try:
        _signal(processes, signal.SIGSTOP)
        yield
    finally:
        _signal(processes, signal.SIGCONT)


@contextlib.contextmanager
def slowed(component: Component, stands: float = STANDS, runs: float = RUNS) -> t.Iterator[None]:
    """For a block, a program that stands and runs in turn for so many seconds, by default a twentieth of the time."""
    processes, enough = component.processes(), threading.Event()

    def take_turns() -> None:
        while not enough.is_set():
            _signal(processes, signal.SIGSTOP)
            enough.wait(stands)
            _signal(processes, signal.SIGCONT)
            time.sleep(runs)

    thread = threading.Thread(target=take_turns, daemon=True)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()
        _signal(processes, signal.SIGCONT)


#: Drops all packets, so that connections stay open and nothing comes: as when a node is lost.
_CUT = """
table inet component_fault {
  chain input { type filter hook input priority -300; iifname != "lo" drop; }
  chain output { type filter hook output priority -300; oifname != "lo" drop; }
}
"""


@contextlib.contextmanager
def cut_off(component: Component) -> t.Iterator[None]:
    """For a block, pods that neither get nor send a packet."""
    with contextlib.ExitStack() as stack:
        # A file keeps a network namespace, whatever becomes of the process.
        files = [
            stack.enter_context(pathlib.Path(f"/proc/{process}/ns/net").open("rb")) for process in component.processes()
        ]
        networks = {os.fstat(file.fileno()).st_ino: file.fileno() for file in files}
        assert os.stat("/proc/self/ns/net").st_ino not in networks, f"{component.name} has the network of this machine"

        def filters(*arguments: str, rules: str = "") -> None:
            for number in networks.values():
                subprocess.run(
                    ["nsenter", f"--net=/proc/self/fd/{number}", "nft", *arguments],
                    input=rules,
                    text=True,
                    pass_fds=[number],
                    check=True,
                    timeout=30,
                )

        try:
            filters("--file", "-", rules=_CUT)
            yield
        finally:
            # Added first, so that it may be missing.
            filters("--file", "-", rules="add table inet component_fault; delete table inet component_fault")


Harm = t.Callable[[Component], contextlib.AbstractContextManager[None]]


@dataclasses.dataclass(frozen=True)
class Fault:
    component: Component
    how: str
    harm: Harm
    #: Seconds that it lasts; 0 for one that is over at once.
    length: float

    @property
    def name(self) -> str:
        return f"{self.component.name}-{self.how}"


def faults_of(component: Component) -> list[Fault]:
    found = [Fault(component, "killed", killed, 0), Fault(component, "slowed", slowed, LENGTH)]
    if component.cut_off:
        found.append(Fault(component, "cut-off", cut_off, LENGTH))
    if component.name in ("api-server", "redis", "processor"):
        found.append(Fault(component, "stopped", stopped, LENGTH))
    if component.restarted:
        found.append(Fault(component, "restarted", restarted, 0))
    return found


FAULTS = [fault for component in COMPONENTS for fault in faults_of(component)]


def selected(names: str) -> list[Fault]:
    """The faults whose names have one of these in them, with commas between; all for none."""
    return [fault for fault in FAULTS if any(name in fault.name for name in names.split(","))]


# --- the requests ---


def tiers() -> list[dict[str, t.Any]]:
    """The tiers: one without limits that matter, one without the model, and one whose limit is soon reached."""

    def tier(level: int, name: str, tokens: int, window: str, *models: str) -> dict[str, t.Any]:
        limit = {"tokens": tokens, "window": window}
        return {"name": name, "level": level, "groups": [f"{name}-users"], "token_limit": limit, "models": [*models]}

    return [
        tier(0, "spent", BUDGET, "24h", "*"),
        tier(1, "narrow", 1_000_000, "1m", "claude-3-sonnet"),
        tier(2, "enterprise", 2_000_000_000, "1m", "*"),
    ]


def provision(directory: pathlib.Path) -> None:
    """Give the site these tiers."""
    path = directory / "tiers.yml"
    path.write_text(yaml.safe_dump({"ai_gateway_tiers": tiers(), "providers_prune_delay": 0}), encoding="utf-8")
    tags = "--tags=access_policies,providers"
    playbook("egress.ai_gateway.site", SAME_CLUSTER, tags, "--extra-vars", f"@{path}")


@dataclasses.dataclass(frozen=True)
class Answer:
    began: float
    ended: float
    status: int
    #: What is wrong with an error of the gateway.
    problems: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        return str(self.status or "no answer")


class Users:
    """Tokens of the tiers, and what is sent with them."""

    def __init__(self) -> None:
        self.good = provider_kinds.token_of("enterprise")[1]
        self.narrow = provider_kinds.token_of("narrow")[1]
        self.spent = provider_kinds.token_of("spent")[1]
        self._chance = random.Random(0)  # noqa: S311 - spreads, and keeps no secret

    def bad(self) -> str:
        """A token that nobody has seen before: half of them look like one of the tier, with another signature."""
        if self._chance.random() < 0.5:
            return f"sk-{self._chance.randbytes(20).hex()}"
        head, body, signature = self.good.split(".")
        index = self._chance.randrange(len(signature) - 2)
        other = "A" if signature[index] != "A" else "B"
        return f"{head}.{body}.{signature[:index]}{other}{signature[index + 1 :]}"


def ask(token: str, timeout: float = 10) -> Answer:
    """Send a chat request."""
    headers = {"x-simulator-prompt-tokens": str(COST // 2), "x-simulator-completion-tokens": str(COST - COST // 2)}
    began = time.monotonic()
    body = gateway_requests.body_of(PATH, MODEL)
    reply = gateway_requests.send(gateway_url(), token, gateway_requests.Ask(PATH, body, headers), timeout)
    if not reply.whole:
        return Answer(began, time.monotonic(), 0)
    return Answer(began, time.monotonic(), reply.status, tuple(reply.problems if reply.status >= 400 else ()))


class Traffic:
    """Requests of each sort at a steady pace, one after the other, all sorts beside each other."""

    #: The sorts that must be refused.
    REFUSED = ("no token", "bad token", "tier without the model")

    def __init__(self, users: Users) -> None:
        self._tokens: dict[str, t.Callable[[], str]] = {
            "good": lambda: users.good,
            "no token": str,
            "bad token": users.bad,
            "tier without the model": lambda: users.narrow,
            "over its limit": lambda: users.spent,
        }
        self.answers: dict[str, list[Answer]] = {name: [] for name in self._tokens}
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(name,), daemon=True) for name in self._tokens]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str) -> None:
        pace = PACE if name == "good" else 3 * PACE
        while not self._enough.wait(pace):
            self.answers[name].append(ask(self._tokens[name]()))

    def counts(self, name: str, since: float) -> dict[str, int]:
        """What requests of a sort that ended after `since` came to."""
        return dict(collections.Counter(answer.shown for answer in self.answers[name] if answer.ended >= since))

    def problems(self) -> list[str]:
        """What is wrong with errors, each once."""
        found = {
            f"{answer.status} to {name}: {problem}"
            for name, answers in self.answers.items()
            for answer in answers
            for problem in answer.problems
        }
        return sorted(found)

    def recovered(self, since: float) -> float | None:
        """When the first of ROW good answers in a row began, of those that were asked after `since`."""
        row: list[Answer] = []
        for answer in list(self.answers["good"]):
            if answer.began >= since:
                row = [*row, answer] if answer.status == 200 else []
                if len(row) == ROW:
                    return row[0].began
        return None


# --- one fault ---


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What requests came to from the beginning of a fault until the gateway worked again."""

    fault: str
    #: Counts of the answers to good requests, and to those of users over their limit.
    answers: dict[str, int]
    over_limit: dict[str, int]
    #: Counts of the answers to requests that must be refused, by their sort.
    refused: dict[str, dict[str, int]]
    #: Seconds until the first of several good answers in a row: from the kill, or from the end of what lasts.
    recovery: float
    #: Seconds until the component was ready again.
    ready: float
    #: Afterwards, with which request a user over its limit was refused.
    refused_again: int
    #: What is wrong with errors: each is to be one of the client's API, and to say who refused.
    problems: list[str] = dataclasses.field(default_factory=list)

    def wrong(self) -> list[str]:
        """What must not be."""
        let_in = [
            f"{self.fault}: {count} requests of {sort} were answered {status}"
            for sort, counts in self.refused.items()
            for status, count in counts.items()
            if status.startswith("2")
        ]
        unasked = [f"no request of {sort} ended" for sort, counts in self.refused.items() if not counts]
        limits = [] if self.refused_again else [f"a user over its limit is answered after {AGAIN} requests"]
        return let_in + [f"{self.fault}: {what}" for what in (*unasked, *limits, *self.problems)]


def until(holds: t.Callable[[], t.Any], what: str, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, f"{what} after {patience:.0f} s"
        time.sleep(0.2)


def _is_ready(component: Component) -> bool:
    try:
        return component.is_ready()
    except (subprocess.SubprocessError, ValueError):
        return False


def spend(token: str) -> int:
    """Ask until a user is refused for its limit; return with which request, 0 where none was."""
    for number in range(1, AGAIN + 1):
        if ask(token).status == 429:
            return number
        # The rate limit service learns an answer's tokens after it.
        time.sleep(0.3)
    return 0


def endure(fault: Fault, users: Users) -> Outcome:
    """Put in a fault under load, and wait until the gateway works again."""
    until(lambda: _is_ready(fault.component), f"{fault.component.name} is not ready")
    until(lambda: all(ask(users.good).status == 200 for _number in range(3)), "the gateway does not answer")
    assert spend(users.spent), "the limit of tier spent does not hold"
    with Traffic(users) as traffic:
        time.sleep(MARGIN)
        began = time.monotonic()
        with fault.harm(fault.component):
            time.sleep(fault.length)
        over = time.monotonic() if fault.length else began
        until(lambda: traffic.recovered(over) is not None, f"{fault.name}: the gateway does not answer again")
        recovered = traffic.recovered(over) or over
        until(lambda: _is_ready(fault.component), f"{fault.component.name} is not ready again")
        ready = time.monotonic()
        # What comes back may disturb again.
        until(lambda: traffic.recovered(ready) is not None, f"{fault.name}: the gateway does not answer afterwards")
    return Outcome(
        fault.name,
        traffic.counts("good", began),
        traffic.counts("over its limit", began),
        {sort: traffic.counts(sort, began) for sort in Traffic.REFUSED},
        round(recovered - over, 1),
        round(ready - over, 1),
        spend(users.spent),
        traffic.problems(),
    )


def shown(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} × {status}" for status, count in sorted(counts.items())) or "none"  # noqa: RUF001


def line(outcome: Outcome) -> str:
    """An outcome as a line of a table."""
    refused: collections.Counter[str] = collections.Counter()
    for counts in outcome.refused.values():
        refused.update(counts)
    return (
        f"{outcome.fault:32} {outcome.recovery:6.1f} s  ready {outcome.ready:6.1f} s  good: {shown(outcome.answers)}; "
        f"to be refused: {shown(dict(refused))}; over its limit: {shown(outcome.over_limit)}, "
        f"again at {outcome.refused_again}"
    )
