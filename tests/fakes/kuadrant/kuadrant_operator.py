# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fake of Kuadrant's operator: it makes of policies what Authorino and Envoy Gateway enforce, and marks them
Enforced.

README.md says what it does as the real one, and what not. Needs Python 3.11, kubernetes_client.py and
kuadrant_policies.py.
"""

from __future__ import annotations

import argparse
import http.server
import signal
import sys
import threading
import time
import typing as t

from kuadrant_policies import (
    KINDS,
    LABEL,
    MADE,
    MISSING_PROVIDER,
    POLICIES,
    Key,
    Refusal,
    UnsupportedError,
    condition_of,
    conditions_of,
    is_in_force,
    key_of,
    made_of,
    new_status,
    out_of_path,
    path_of,
)
from kubernetes_client import Api, ApiError, Object

#: A pass that is older than this does not count as one of a healthy operator.
STALE_SECONDS = 60.0


class Operator:
    def __init__(self, api: Api, authorino_namespace: str) -> None:
        self.api = api
        self.authorino_namespace = authorino_namespace
        #: As the real operator, it looks for a gateway provider once, when it starts.
        self.has_provider: bool | None = None
        #: What was written last, and the generation that it became.
        self._written: dict[Key, tuple[Object, int]] = {}
        self._said: dict[Key, str] = {}
        self.last_pass = 0.0

    def run_pass(self) -> None:
        """Make what is to be, delete what is not, and say how it stands."""
        if self.has_provider is None:
            classes = self._read("GatewayClass")
            self.has_provider = any(condition_of(item, "Accepted").get("status") == "True" for item in classes)
        policies = [item for kind in POLICIES for item in self._read(kind)]
        missing = None if self.has_provider else Refusal("MissingDependency", MISSING_PROVIDER)
        refused: dict[Key, Refusal | None] = {key_of(policy): missing for policy in policies}
        if self.has_provider:
            refused = self._enforce(policies)
        for kuadrant in self._read("Kuadrant"):
            ready: Object = {"type": "Ready", "status": "True", "reason": "Ready", "message": "Policies are enforced."}
            if missing:
                ready |= {"status": "False", "reason": missing.reason, "message": missing.message}
            self._report(kuadrant, [ready])
        for policy in policies:
            self._report(policy, conditions_of(policy, refused[key_of(policy)]))
        self.last_pass = time.monotonic()

    def _enforce(self, policies: t.Sequence[Object]) -> dict[Key, Refusal | None]:
        """Write and delete; the policies with what is said against each."""
        targets = [*self._read("Gateway"), *self._read("HTTPRoute")]
        selector = "=".join(*LABEL.items())
        existing = {key_of(item): item for kind in MADE for item in self._read(kind, labelSelector=selector)}
        refused: dict[Key, Refusal | None] = {}
        needs: dict[Key, list[Object]] = {}
        for policy in policies:
            key = key_of(policy)
            refused[key] = out_of_path(policy, policies, targets)
            try:
                # Made before there is a route, so that none is ever without.
                is_accepted = refused[key] is None or refused[key].condition == "Enforced"  # type: ignore[union-attr]
                needs[key] = made_of(policy, self.authorino_namespace) if is_accepted else []
            except UnsupportedError as error:
                refused[key], needs[key] = Refusal("Unsupported", str(error)), []
        wanted = {key_of(item): item for items in needs.values() for item in items}
        waits = {key: self._write(key, item, existing.get(key)) for key, item in self._ordered(wanted)}
        for key, _item in reversed(self._ordered(existing)):
            if key not in wanted:
                self._written.pop(key, None)
                self.api.delete(f"{path_of(*key[:2])}/{key[2]}")
        for policy_key, items in needs.items():
            waited = [wait for item in items if (wait := waits[key_of(item)])]
            if waited and not refused[policy_key]:
                refused[policy_key] = Refusal("Unknown", "; ".join(waited))
        return refused

    @staticmethod
    def _ordered(items: dict[Key, Object]) -> list[tuple[Key, Object]]:
        return sorted(items.items(), key=lambda item: (MADE.index(item[0][0]), item[0]))

    def _write(self, key: Key, item: Object, existing: Object | None) -> str:
        """Write an object where it is not as it was written. Why it is not in force yet, empty if it is."""
        before = existing["metadata"]["generation"] if existing else None
        if existing and self._written.get(key) == (item, before):
            return "" if is_in_force(existing) else f"{' '.join(key)} is not in force yet"
        try:
            after = self.api.apply(path_of(*key[:2]), item, "kuadrant-operator")["metadata"]["generation"]
        except ApiError as error:
            return f"{' '.join(key)} could not be written: {error}"
        self._written[key] = item, after
        # An AuthConfig does not say of which generation its status is.
        if existing and after == before and is_in_force(existing):
            return ""
        return f"{' '.join(key)} was written just now"

    def _read(self, kind: str, **query: str) -> list[Object]:
        """The objects of a kind that are not being deleted; none where the cluster does not know the kind."""
        try:
            # Authorino and this operator see one namespace of AuthConfigs.
            items = self.api.items(path_of(kind, self.authorino_namespace if kind == "AuthConfig" else ""), **query)
        except ApiError as error:
            if error.status != 404:
                raise
            items = []
        items = [{**item, "apiVersion": KINDS[kind][0], "kind": kind} for item in items]
        return [item for item in items if not item["metadata"].get("deletionTimestamp")]

    def _report(self, item: Object, conditions: list[Object]) -> None:
        status = new_status(item, conditions, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        if not status:
            return
        key, last = key_of(item), conditions[-1]
        said = f"{last['type']} is {last['status']}, {last['reason']}: {last['message']}"
        try:
            self.api.patch_status(f"{path_of(*key[:2])}/{key[2]}", status)
        except ApiError as error:
            # Gone, or changed meanwhile: the next pass sees it.
            said = f"its status could not be written: {error}"
        if self._said.get(key) != said:
            print(f"{' '.join(key)}: {said}", flush=True)
        self._said[key] = said


def serve_health(operator: Operator, port: int) -> None:
    """/healthz says that the process runs, /readyz that it reached the API server not long ago."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_ready = operator.last_pass > 0 and time.monotonic() - operator.last_pass < STALE_SECONDS
            self.send_response(200 if self.path == "/healthz" or is_ready else 503)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: t.Any) -> None:
            """Probes are not worth a line."""

    threading.Thread(target=http.server.ThreadingHTTPServer(("", port), Handler).serve_forever, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake of Kuadrant's operator, for tests.")
    parser.add_argument(
        "--apiserver-url", default="", help="an API server that asks for no token; by default the pod's own"
    )
    parser.add_argument("--authorino-namespace", default="authorino", help="namespace that Authorino watches")
    parser.add_argument("--health-port", type=int, default=8081)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_arguments: sys.exit(0))
    operator = Operator(Api.of_pod(given.apiserver_url), given.authorino_namespace)
    serve_health(operator, given.health_port)
    said = ""
    while True:
        try:
            operator.run_pass()
            said = ""
        except ApiError as error:
            # The API server may be away or restarting; the next pass starts from what it says then.
            if str(error) != said:
                print(f"the pass was given up: {error}", flush=True)
            said = str(error)
        time.sleep(1)


if __name__ == "__main__":
    main()
