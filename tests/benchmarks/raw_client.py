# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends the requests of apply_set again with nothing around them, to learn what the API server alone needs for them.

`record` runs apply_set through its life in one namespace and writes what it requests into a file. `send` sends the
requests of one phase to another namespace, over as many connections as apply_set has, and prints the seconds from the
first connection to the last answer. What apply_set sends only once everything before is answered is sent so here too.
Of the answers nothing is read but the status, and where a list goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import pathlib
import re
import ssl
import sys
import threading
import time
import typing as t
from urllib.parse import urlencode

COLLECTIONS = pathlib.Path(__file__).resolve().parents[2] / ".collections"
PHASES = ("first apply", "nothing to change", "removal")
PARALLEL = 8
#: Where a list goes on, in front of its items.
CONTINUE = re.compile(rb'"continue":"([^"]+)"')


class Request(t.NamedTuple):
    """Requests with the same `step` are sent side by side."""

    step: int
    method: str
    path: str
    headers: dict[str, str]
    body: str | None


class Recorder:
    """Notes what an Api is asked to send."""

    def __init__(self, api: t.Any) -> None:
        self.requests: list[Request] = []
        self._step = 0
        self._side_by_side = False
        self._request, self._each, self._stream = api.request, api.each, api.stream
        api.request, api.each, api.stream = self.request, self.each, self.stream

    def request(
        self,
        method: str,
        path: str,
        query: t.Mapping[str, t.Any] | None = None,
        body: t.Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        **options: t.Any,
    ) -> t.Any:
        if not self._side_by_side:
            self._step += 1
        # Further pages are asked for where an answer says that there are any.
        if "continue" not in (query or {}):
            url = f"{path}?{urlencode(query)}" if query else path
            headers = {"Accept": accept, "Content-Type": content_type}
            text = None if body is None else json.dumps(body, separators=(",", ":"))
            self.requests.append(Request(self._step, method, url, headers, text))
        return self._request(method, path, query, body, content_type, accept, **options)

    def each(self, function: t.Callable[[t.Any], t.Any], items: t.Sequence[t.Any]) -> list[t.Any]:
        with self._together():
            return self._each(function, items)

    def stream(self, function: t.Callable[[t.Any], t.Any], items: t.Sequence[t.Any]) -> t.Iterator[t.Any]:
        with self._together():
            yield from self._stream(function, items)

    @contextlib.contextmanager
    def _together(self) -> t.Iterator[None]:
        self._step += 1
        self._side_by_side = True
        yield
        self._side_by_side = False


def record(kubeconfig: str, namespace: str, manifests: str, file: pathlib.Path) -> None:
    """Run apply_set in `namespace` with `manifests`, a string of YAML, and write its requests by phase into `file`."""
    sys.path.insert(0, str(COLLECTIONS))
    # Only here, as the sender is to be small.
    from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import SetIdentity
    from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.run import Options, Run
    from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import connect

    recorded: dict[str, list[Request]] = {}
    for phase in PHASES:
        api = connect({"kubeconfig": kubeconfig}, PARALLEL)
        recorder = Recorder(api)
        run = Run(api, SetIdentity("benchmark", namespace), Options(wait=phase == "removal"), lambda line: None)
        if phase == "removal":
            run.absent()
        else:
            run.present([manifests])
        recorded[phase] = recorder.requests
    file.write_text(json.dumps({"namespace": namespace, "phases": recorded}), encoding="utf-8")


class Connection:
    """One connection that is kept."""

    def __init__(self, address: str, context: ssl.SSLContext, headers: dict[str, str]) -> None:
        self._connection = http.client.HTTPSConnection(address, context=context)
        self._headers = headers

    def send_all(self, requests: t.Iterator[Request]) -> None:
        """Send what is left of `requests`, one after the other, and read the answers."""
        for request in requests:
            path = request.path
            while path:
                body = request.body and request.body.encode()
                self._connection.request(request.method, path, body, {**self._headers, **request.headers})
                answer = self._connection.getresponse()
                content = answer.read()
                if answer.status >= 400 and (request.method, answer.status) != ("GET", 404):
                    os.write(2, f"{request.method} {path}: {answer.status} {content[:500]!r}\n".encode())
                    os._exit(1)
                found = CONTINUE.search(content, 0, 2000) if "limit=" in path else None
                path = f"{request.path}&continue={found[1].decode()}" if found else ""


def send(kubeconfig: str, namespace: str, file: pathlib.Path, phase: str) -> float:
    """Send the requests of a phase to `namespace` and return the seconds."""
    from kubernetes.client import Configuration
    from kubernetes.config import load_kube_config

    configuration = Configuration()
    load_kube_config(kubeconfig, client_configuration=configuration)
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if not configuration.verify_ssl:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    headers = {setting["key"]: setting["value"] for setting in configuration.auth_settings().values()}
    recorded = json.loads(file.read_text(encoding="utf-8"))
    text = json.dumps(recorded["phases"][phase]).replace(recorded["namespace"], namespace)
    requests = [Request(*fields) for fields in json.loads(text)]
    steps = [list(found) for _step, found in itertools.groupby(requests, lambda request: request.step)]
    connections = [
        Connection(configuration.host.removeprefix("https://"), context, headers) for _number in range(PARALLEL)
    ]
    started = time.monotonic()
    for step in steps:
        # One iterator for all: each connection takes the next request when it is free.
        waiting = iter(step)
        threads = [threading.Thread(target=one.send_all, args=(waiting,)) for one in connections[: len(step)]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description="Record the requests of apply_set, or send them again.")
    parser.add_argument("kubeconfig")
    parser.add_argument("namespace")
    parser.add_argument("file", type=pathlib.Path, help="holds the requests")
    parser.add_argument("--record", type=pathlib.Path, metavar="FILE", help="the manifests to record the requests of")
    parser.add_argument("--send", choices=PHASES, help="the phase whose requests to send")
    arguments = parser.parse_args()
    if arguments.record:
        manifests = arguments.record.read_text(encoding="utf-8")
        record(arguments.kubeconfig, arguments.namespace, manifests, arguments.file)
    else:
        print(send(arguments.kubeconfig, arguments.namespace, arguments.file, arguments.send))


if __name__ == "__main__":
    main()
