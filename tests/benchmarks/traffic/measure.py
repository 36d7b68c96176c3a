# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure one subject for one round."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import subprocess
import typing as t

from traffic import figures, processes, subjects
from traffic.subjects import CHAT, TOKEN, Subject, SubjectError, Target

#: Of a fixed rate.
CONNECTIONS_OF_RATES = 64
#: For which the CPU seconds of processes are read, and the requests to Anthropic's API sent.
CONNECTIONS_OF_CPU = 16
#: The share of requests of a fixed rate that may fail.
MAY_FAIL = 0.001

#: What the client says of an order; see program/send.go.
Sent = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long and how much; times are in seconds, limits of p99 in milliseconds."""

    seconds: float
    warm_up: float
    connections: t.Sequence[int]
    rate: float
    limits: t.Sequence[float]
    streams: int


class Client:
    """The program that sends."""

    def __init__(self, program: pathlib.Path, target: Target, groups: t.Callable[[], processes.Groups]) -> None:
        self._program, self._target, self._groups = program, target, groups

    def send(self, path: str, seconds: float, connections: int, rate: float = 0, stream: bool = False) -> Sent:
        """Send for a while; what came of it, CPU seconds by process for a thousand requests among it."""
        order = {
            "url": self._target.url + path,
            "headers": self._target.all_headers(path),
            "body": subjects.body(path, stream),
            "ca_file": self._target.ca_file,
            "connections": connections,
            "seconds": seconds,
            "rate": rate,
            "token": TOKEN if stream else "",
        }
        with processes.Meter(self._groups) as meter:
            done = subprocess.run(
                [str(self._program), "send"],
                input=json.dumps(order),
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds + 120,
            )
        if done.returncode:
            raise SubjectError(f"the client failed: {done.stderr[-500:]}")
        found: Sent = json.loads(done.stdout)
        found["cpu"] = cpu_of_thousand(meter, found["cpu"], found["requests"])
        found["stolen"] = meter.stolen / found["seconds"]
        found["rate"] = found["requests"] / found["seconds"]
        return found


def cpu_of_thousand(meter: processes.Meter, client: float, requests: int) -> dict[str, float]:
    """Return CPU seconds for a thousand requests by process: those of the meter, the client, and all others of the
    machine.
    """
    if not requests:
        return {}
    known = {**meter.cpu, "client": client}
    # The kernel counts in ticks, so that the rest of a few may be below nothing.
    known["others"] = max(0.0, meter.machine - sum(known.values()))
    return {name: seconds / requests * 1000 for name, seconds in known.items()}


def p99(sent: Sent) -> float:
    """Return p99 of a fixed rate, without an end where too many requests failed."""
    failed = sum(sent["failures"].values())
    everything = sent["requests"] + failed + sent["unsent"]
    if not sent["requests"] or failed > MAY_FAIL * everything:
        return math.inf
    return float(sent["latency"]["p99"])


def one(subject: Subject, plan: Plan, program: pathlib.Path, upstream: int) -> dict[str, t.Any]:
    """Return the figures of a subject.

    :param upstream: the id of the upstream's process.
    """
    with subject.started() as target:
        subject.verify(target)

        def groups() -> processes.Groups:
            return {**target.processes(), "upstream": processes.family(upstream)}

        client = Client(program, target, groups)
        client.send(CHAT, plan.warm_up, CONNECTIONS_OF_CPU)
        found: dict[str, t.Any] = {"subject": subject.name, "memory at rest": processes.resident(target.processes())}
        found["closed"] = {
            path: {
                str(connections): client.send(path, plan.seconds, connections)
                for connections in (plan.connections if path == CHAT else (CONNECTIONS_OF_CPU,))
            }
            for path in subject.paths
        }
        found["memory"] = processes.resident(target.processes())
        found["fixed"] = client.send(CHAT, plan.seconds, CONNECTIONS_OF_RATES, plan.rate)
        top = max(sent["rate"] for sent in found["closed"][CHAT].values()) * 1.1
        tried: list[tuple[float, float]] = []

        def p99_at(rate: float) -> float:
            tried.append((rate, p99(client.send(CHAT, plan.seconds, CONNECTIONS_OF_RATES, rate))))
            return tried[-1][1]

        held = figures.held(p99_at, plan.limits, top) if top else dict.fromkeys(plan.limits, 0.0)
        found["held"] = {f"{limit:g}": rate for limit, rate in held.items()}
        # JSON has no infinity.
        found["tried"] = [(rate, value if math.isfinite(value) else None) for rate, value in tried]
        found["streams"] = client.send(CHAT, plan.seconds, plan.streams, stream=True)
        return found


def order(count: int, number: int) -> list[int]:
    """Return the order of a round: each begins with another subject, and every other one goes backwards."""
    return [(number - index if number % 2 else number + index) % count for index in range(count)]
