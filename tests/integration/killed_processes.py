# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a process of the embedded cluster while requests run, and see what the requests came to and when it is back."""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import signal
import subprocess
import threading
import time

import gateway_requests
import openai
from objects import kubectl
from sites import gateway_url

#: Seconds of requests before the kill.
MARGIN = 3
#: Seconds within which a kubelet that was started has probed its pods.
PROBED = 6
#: Seconds between two requests, which bounds their count.
PACE = 0.1


class Traffic:
    """Chat requests at a steady pace, one after the other, each with when it ended and what it came to."""

    def __init__(self, client: openai.OpenAI) -> None:
        self._client = client
        self._outcomes: list[tuple[float, str]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PACE):
            try:
                self._client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "Hello"}])
                outcome = "200"
            except openai.APIStatusError as error:
                outcome = str(error.status_code)
            except openai.APIConnectionError as error:
                outcome = type(error).__name__
            self._outcomes.append((time.monotonic(), outcome))

    def counts(self, since: float = 0) -> dict[str, int]:
        """Return how many requests that ended after `since` came to what."""
        return dict(collections.Counter(outcome for when, outcome in self._outcomes if when >= since))


@dataclasses.dataclass(frozen=True)
class Recovery:
    """Seconds from the kill until the process was back and its part of the cluster answered; counts of the requests."""

    seconds: float
    requests: dict[str, int]
    requests_afterwards: dict[str, int]
    #: Seconds without a new connection: a kubelet that starts has no pod ready until it has probed it, and the gateway
    #: of the tests has one proxy.
    without_connections: float


def processes(name: str) -> set[int]:
    """Return the ids of the embedded cluster's processes whose program is `name`:

    those in another network namespace than ours.
    """
    ours = os.readlink("/proc/self/ns/net")
    found = set()
    for directory in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if os.path.basename(os.readlink(directory / "exe")) == name and os.readlink(directory / "ns/net") != ours:
                found.add(int(directory.name))
        except OSError:
            continue  # It has ended, or is the kernel's.
    return found


def silence() -> str:
    """Why the API server does not answer, or kubelet through it, empty where both do: a pod's log goes through both,
    and through containerd.
    """
    asked = time.monotonic()
    try:
        log = kubectl(
            "logs", "--namespace=kube-system", "--selector=k8s-app=kube-dns", "--tail=1", "--request-timeout=3s"
        )
    except subprocess.CalledProcessError as error:
        return f"after {time.monotonic() - asked:.1f} s: {error.stderr.strip()}"
    except subprocess.TimeoutExpired as error:
        return str(error)
    return "" if log else "the log of CoreDNS is empty"


def connects() -> bool:
    """Whether the gateway serves a new connection."""
    return gateway_requests.send(gateway_url(), "", gateway_requests.Ask("/v1/models", method="GET"), 3).status == 401


def seconds_without_connections(patience: float) -> float:
    """Wait until the gateway has served new connections for as long as a kubelet takes to find its pods; return for how
    long it did not.
    """
    started = last = time.monotonic()
    refused = 0.0
    while time.monotonic() - last < PROBED:
        assert time.monotonic() - started < patience, "the gateway accepts no new connections"
        asked = time.monotonic()
        served = connects()
        time.sleep(PACE)
        if not served:
            last = time.monotonic()
            refused += last - asked
    return refused


def kill_during_traffic(name: str, client: openai.OpenAI, patience: float) -> Recovery:
    """Kill the one process `name` of the cluster with SIGKILL during requests; fail when it is not back after
    `patience` seconds.
    """
    (victim,) = processes(name)
    with Traffic(client) as traffic:
        time.sleep(MARGIN)
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        while missing := silence() if processes(name) - {victim} else "there is no new process":
            assert time.monotonic() - killed < patience, (
                f"{name} is not back after {patience} s: {missing}; requests since: {traffic.counts(killed)}"
            )
            time.sleep(0.2)
        recovered = time.monotonic()
        without = seconds_without_connections(patience)
    return Recovery(round(recovered - killed, 1), traffic.counts(), traffic.counts(recovered), round(without, 1))
