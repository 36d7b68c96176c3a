# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in for Kuadrant's operator, for tests: it turns Kuadrant's policies into objects that Authorino and Envoy
Gateway enforce.

README.md beside this file says what it does and what it does not do. Needs Python 3.11 and the other modules of this
directory.
"""

from __future__ import annotations

import argparse
import datetime
import http.server
import os
import signal
import sys
import threading
import time
import types
import typing as t
from pathlib import Path

from kuadrant_api import ACCOUNT, Api, ApiError
from kuadrant_objects import MADE, POLICIES, Key, Object, key_of
from kuadrant_plan import (
    Plan,
    Settings,
    conditions_of,
    idle_plan,
    kuadrant_conditions,
    leftovers,
    made_objects,
    new_status,
    plan,
    provider_installed,
)

#: A pass that is older than this does not count as one of a healthy operator.
STALE_SECONDS = 60.0


def log(message: str) -> None:
    print(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ} {message}", flush=True)


class Operator:
    def __init__(self, api: Api, settings: Settings) -> None:
        self.api = api
        self.settings = settings
        #: As the real operator, it looks for a gateway provider once, when it starts.
        self.missing_provider: bool | None = None
        #: What was written last, and the generation that it became.
        self._written: dict[Key, tuple[Object, int]] = {}
        self._said: dict[Key, str] = {}
        self.last_pass = 0.0

    def _say(self, key: Key, message: str) -> None:
        if self._said.get(key) != message:
            log(f"{key[0]} {key[1]}/{key[2]}: {message}")
        self._said[key] = message

    def read(self) -> dict[str, list[Object]]:
        cluster = {kind: self.api.objects(kind) for kind in ("Gateway", "HTTPRoute", "Kuadrant", *POLICIES)}
        for kind in MADE:
            # Authorino and this operator see one namespace of AuthConfigs.
            namespace = self.settings.authorino_namespace if kind == "AuthConfig" else ""
            cluster[kind] = self.api.objects(kind, namespace, made_only=True)
        return cluster

    def look_for_provider(self) -> bool:
        """Whether a gateway provider was missing when the operator started."""
        if self.missing_provider is None:
            self.missing_provider = not provider_installed({"GatewayClass": self.api.objects("GatewayClass")})
            log(
                "no gateway provider is installed; that is not looked at again"
                if self.missing_provider
                else "a gateway provider is installed"
            )
        return self.missing_provider

    def run_pass(self) -> None:
        """Make what is to be, delete what is not, and say how it stands."""
        missing_provider = self.look_for_provider()
        cluster = self.read()
        if missing_provider or not cluster["Kuadrant"]:
            wanted = idle_plan(cluster, self.settings, missing_provider=missing_provider)
        else:
            wanted = plan(cluster, self.settings)
        there = made_objects(cluster)
        faults = self._write(wanted, there)
        for key in leftovers(cluster, wanted):
            self._delete(key)
        now = datetime.datetime.now(datetime.UTC)
        for kuadrant in cluster["Kuadrant"]:
            self._tell(kuadrant, kuadrant_conditions(kuadrant, missing_provider=missing_provider), now)
        for policy in (item for kind in POLICIES for item in cluster[kind]):
            self._tell(policy, conditions_of(policy, wanted, there, faults), now)
        self.last_pass = time.monotonic()

    def _write(self, wanted: Plan, there: t.Mapping[Key, Object]) -> dict[Key, str]:
        """Write what is not there or not as it was written; what could not be, or was right now, is not in force."""
        faults = {}
        for key, item in wanted.wanted.items():
            existing = there.get(key)
            before = existing["metadata"].get("generation", 0) if existing else None
            if before is not None and self._written.get(key) == (item, before):
                continue
            named = f"{key[0]} {key[1]}/{key[2]}"
            try:
                after = self.api.apply(item)["metadata"].get("generation", 0)
            except ApiError as error:
                faults[key] = f"{named} could not be written: {error}"
                self._say(key, f"could not be written: {error}")
                continue
            self._written[key] = (item, after)
            if after != before:
                faults[key] = f"{named} was written just now"
                self._said.pop(key, None)
                self._say(key, "written")
        return faults

    def _delete(self, key: Key) -> None:
        self._written.pop(key, None)
        try:
            self.api.delete(key)
        except ApiError as error:
            self._say(key, f"could not be deleted: {error}")
        else:
            self._say(key, "deleted")

    def _tell(self, item: Object, conditions: list[Object], now: datetime.datetime) -> None:
        status = new_status(item, conditions, now)
        if status is None:
            return
        try:
            self.api.write_status(item, status)
        except ApiError as error:
            self._say(key_of(item), f"its status could not be written: {error}")
            return
        last = conditions[-1]
        self._say(key_of(item), f"{last['type']} is {last['status']}, {last['reason']}: {last['message']}")

    def healthy(self) -> bool:
        return self.last_pass > 0 and time.monotonic() - self.last_pass < STALE_SECONDS


def serve_health(operator: Operator, port: int) -> http.server.ThreadingHTTPServer:
    """/healthz says that the process runs, /readyz that it reached the API server not long ago."""

    class Handler(http.server.BaseHTTPRequestHandler):
        # The name is the base class's.
        def do_GET(self) -> None:
            well = self.path == "/healthz" or (self.path == "/readyz" and operator.healthy())
            self.send_response(200 if well else 503)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: t.Any) -> None:
            """Probes are not worth a line."""

    server = http.server.ThreadingHTTPServer(("", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    parser.add_argument(
        "--server", default=f"https://{f'[{host}]' if ':' in host else host}:{port}", help="URL of the API server"
    )
    parser.add_argument(
        "--account", type=Path, default=ACCOUNT, help="directory of the ServiceAccount's token and ca.crt"
    )
    parser.add_argument("--authorino-namespace", default="authorino", help="namespace that Authorino watches")
    parser.add_argument("--authorino-service", default="authorino", help="its Service")
    parser.add_argument("--authorino-port", type=int, default=50051)
    parser.add_argument(
        "--missing-condition",
        choices=["Enforced", "Accepted"],
        default="Enforced",
        help="condition of policies that tells of a missing gateway provider; versions of the real operator differ",
    )
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two passes")
    parser.add_argument("--health-port", type=int, default=8081)
    return parser.parse_args(given)


def stop(_signal: int, _frame: types.FrameType | None) -> t.NoReturn:
    sys.exit(0)


def main() -> None:
    given = arguments()
    signal.signal(signal.SIGTERM, stop)
    settings = Settings(
        given.authorino_namespace, given.authorino_service, given.authorino_port, given.missing_condition
    )
    operator = Operator(Api(given.server, given.account), settings)
    serve_health(operator, given.health_port)
    trouble = ""
    while True:
        try:
            operator.run_pass()
            trouble = ""
        # The API server may be away, restarting, or changing its mind; the next pass starts from what it says then.
        except (ApiError, OSError, ValueError) as error:
            if str(error) != trouble:
                log(f"the pass was given up: {error}")
            trouble = str(error)
        time.sleep(given.interval)


if __name__ == "__main__":
    main()
