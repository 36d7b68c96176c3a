# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark of many providers asks of the embedded cluster:

its gateway, its objects, and its processes on this machine.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import ssl
import subprocess
import time
import typing as t
import urllib.parse

from apply import KUBECTL_COMMAND

#: What is looked at: containers by their names, but for the one that its chart names after itself.
COMPONENTS = (
    "envoy",
    "ai-gateway-extproc",
    "envoy-gateway",
    "ai-gateway-controller",
    "authorino",
    "kube-apiserver",
    "etcd",
)
NAMED_BY_CHART = {"ai-gateway-helm": "ai-gateway-controller"}
#: Those that have to do something about a provider once it is written, until it is served.
GATEWAY_COMPONENTS = COMPONENTS[:4]

#: Events come and go by themselves and name deleted objects; Endpoints repeat what EndpointSlices say.
VOLATILE = {"events", "events.events.k8s.io", "componentstatuses", "endpoints"}
ROW = '{range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{"\\n"}{end}'

#: The gateway's certification authority on the embedded cluster.
AUTHORITY = "/var/lib/egress-ai-gateway/gateway-ca.crt"

KUBECTL_LIMIT = 300
REQUEST_LIMIT = 15


class ClusterError(Exception):
    """The cluster did not answer, or not what it must."""


def kubectl(*arguments: str) -> str:
    """Return what kubectl prints."""
    ended = subprocess.run(
        [*KUBECTL_COMMAND, *arguments], stdout=subprocess.PIPE, text=True, check=False, timeout=KUBECTL_LIMIT
    )
    if ended.returncode:
        raise ClusterError(f"kubectl {' '.join(arguments)}: exit status {ended.returncode}")
    return ended.stdout


def objects() -> list[str]:
    """Return "kind namespace/name" of every object of every kind that can be listed."""
    kinds = set(kubectl("api-resources", "--cached=false", "--verbs=list", "--output=name").split()) - VOLATILE
    return kubectl(
        "get", ",".join(sorted(kinds)), "--all-namespaces", "--ignore-not-found", f"--output=jsonpath={ROW}"
    ).splitlines()


def gateway_url(namespace: str, instance: str) -> str:
    """Return where the embedded cluster's Gateway answers: on a port of the node."""
    address = kubectl(
        "get",
        "gateways.gateway.networking.k8s.io",
        instance,
        "--namespace",
        namespace,
        "--output=jsonpath={.status.addresses[0].value}",
    )
    owner = "gateway.envoyproxy.io/owning-gateway"
    labels = f"{owner}-name={instance},{owner}-namespace={namespace}"
    ports = kubectl(
        "get",
        "services",
        "--all-namespaces",
        "--selector",
        labels,
        "--output=jsonpath={range .items[*].spec.ports[*]}{.port} {.nodePort} {end}",
    ).split()
    of_nodes = dict(zip(ports[::2], ports[1::2], strict=True))
    if not address or not of_nodes:
        raise ClusterError(f"Gateway {namespace}/{instance} has no address or no node port")
    # Beside HTTPS, plain HTTP is redirected at the most.
    return f"https://{address}:{of_nodes['443']}" if "443" in of_nodes else f"http://{address}:{of_nodes['80']}"


# --- the gateway ---


class Gateway:
    """The gateway as a client with a token sees it."""

    def __init__(self, url: str, token: str) -> None:
        address = urllib.parse.urlsplit(url)
        self._netloc = address.netloc
        self._context = None
        if address.scheme == "https":
            # site has written it beside the kubeconfig.
            self._context = ssl.create_default_context(cafile=AUTHORITY if os.path.exists(AUTHORITY) else None)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def _request(self, method: str, path: str, body: t.Any = None) -> tuple[int, bytes]:
        """Return status and body; status 0 for no answer."""
        connection = (
            http.client.HTTPSConnection(self._netloc, timeout=REQUEST_LIMIT, context=self._context)
            if self._context
            else http.client.HTTPConnection(self._netloc, timeout=REQUEST_LIMIT)
        )
        with contextlib.closing(connection):
            try:
                connection.request(method, path, json.dumps(body) if body is not None else None, self._headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                return 0, b""

    def status(self, model: str) -> int:
        """Return the status of the answer of ``model`` to a short question; 0 for none."""
        question = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        return self._request("POST", "/v1/chat/completions", question)[0]

    def models(self) -> list[str]:
        """Return the names that the gateway lists; none when it does not answer well."""
        status, body = self._request("GET", "/v1/models")
        return [model["id"] for model in json.loads(body)["data"]] if status == 200 else []

    def refusals(self, models: t.Sequence[str]) -> list[str]:
        """Ask all ``models``, four at a time; return those that do not answer with 200."""
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return [model for model, status in zip(models, pool.map(self.status, models)) if status != 200]


def wait_until(check: t.Callable[[], bool], what: str, limit: float, pause: float = 0.1) -> None:
    """Return once ``check`` holds.

    :raises ClusterError: after ``limit`` seconds, naming ``what`` has not come.
    """
    deadline = time.monotonic() + limit
    while not check():
        if time.monotonic() >= deadline:
            raise ClusterError(f"after {limit:.0f} s still not: {what}")
        time.sleep(pause)


# --- processes ---


@dataclasses.dataclass(frozen=True)
class Usage:
    """Of all containers of one name:

    resident memory now and the largest so far in KiB, CPU seconds so far, and the number of restarts.
    """

    memory: int = 0
    peak: int = 0
    cpu: float = 0.0
    restarts: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.memory + other.memory, self.peak + other.peak, self.cpu + other.cpu, self.restarts + other.restarts
        )


def containers(
    pods: t.Iterable[t.Mapping[str, t.Any]], names: t.Container[str] = COMPONENTS
) -> dict[str, tuple[str, int]]:
    """Return name and count of restarts of each running container of these ``names``, by its id."""
    found = {}
    for pod in pods:
        status = pod.get("status", {})
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            identity = container.get("containerID", "").rpartition("/")[2]
            name = NAMED_BY_CHART.get(container["name"], container["name"])
            if name in names and identity and "running" in container.get("state", {}):
                found[identity] = (name, container["restartCount"])
    return found


def process_usage(directory: pathlib.Path) -> Usage:
    """Return what the process of a directory of /proc uses."""
    fields = dict(line.split(":", 1) for line in (directory / "status").read_text(encoding="utf-8").splitlines())
    # The second field, a name in parentheses, may hold anything; utime and stime are the 14th and 15th.
    times = (directory / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
    memory, peak = (int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    return Usage(memory, peak, sum(map(int, times)) / os.sysconf("SC_CLK_TCK"))


def usage(processes: pathlib.Path = pathlib.Path("/proc")) -> dict[str, Usage]:
    """Return what the containers of COMPONENTS use, by name. The embedded cluster's processes are this machine's."""
    known = containers(json.loads(kubectl("get", "pods", "--all-namespaces", "--output=json"))["items"])
    used = dict.fromkeys(COMPONENTS, Usage())
    for name, restarts in known.values():
        used[name] += Usage(restarts=restarts)
    for directory in processes.glob("[0-9]*"):
        try:
            groups = (directory / "cgroup").read_text(encoding="utf-8").replace("\n", "/").split("/")
            for identity in known.keys() & set(groups):
                used[known[identity][0]] += process_usage(directory)
        except (OSError, KeyError):
            continue  # It has ended, or is the kernel's.
    return used


def rest(limit: float, quiet: float = 2.0, share: float = 0.15) -> float:
    """Wait until the gateway's components together use less than ``share`` of a CPU for ``quiet`` seconds, so that one
    phase does not pay for another.

    Returns the seconds until then, or ``limit`` when they do not come to rest.
    """
    began = time.monotonic()
    before = usage()
    while (started := time.monotonic()) - began < limit:
        time.sleep(quiet)
        now = usage()
        spent = sum(now[name].cpu - before[name].cpu for name in GATEWAY_COMPONENTS)
        if spent / (time.monotonic() - started) < share:
            return started - began
        before = now
    return limit
