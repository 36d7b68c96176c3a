# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fake of the controller of wg-ai-gateway: it drives a real Envoy from XBackendDestination, Gateway
and HTTPRoute.

It takes the real one's arguments and asks for the same rights. README.md says what of the real one it does, and what
not.

Needs Python 3.11, kubernetes_client.py and, beside this file, wg_discovery.py, wg_manifests.py and wg_translation.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import re
import signal
import sys
import threading
import time
import traceback
import typing as t

from kubernetes_client import Api, ApiError
from wg_discovery import Discovery
from wg_manifests import DISCOVERY_PORT, MANAGED_LABEL, manifests, node_id, resource_name
from wg_translation import (
    CLASS_NAME,
    CONTROLLER_NAME,
    Key,
    Object,
    Surroundings,
    Translation,
    TranslationError,
    class_conditions,
    gateway_conditions,
    key_of,
    merged_conditions,
    merged_parents,
    parents_of,
    translate,
)

GATEWAY_API = "/apis/gateway.networking.k8s.io/v1"
CLASSES = f"{GATEWAY_API}/gatewayclasses"
GATEWAYS = f"{GATEWAY_API}/gateways"
ROUTES = f"{GATEWAY_API}/httproutes"
DESTINATIONS = "/apis/ainetworking.prototype.x-k8s.io/v0alpha0/xbackenddestinations"
#: The real one lists and watches all of these, in all namespaces, before it does anything.
WATCHED = (CLASSES, GATEWAYS, ROUTES, DESTINATIONS, "/api/v1/namespaces", "/api/v1/services", "/api/v1/secrets")
COLLECTIONS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Service": "/api/v1/namespaces/{}/services",
}
POLL = 1.0
#: How long a Deployment is waited for, and how often it is looked at. That it did not come is nobody's concern.
AVAILABLE_WITHIN = 60.0
AVAILABLE_EVERY = 2.0
#: Between two attempts, doubled each time; the real one begins lower and ends at 1000.
RETRY_FIRST, RETRY_LAST = 0.5, 30.0


def log(message: str) -> None:
    sys.stderr.write(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%S.%fZ} {message}\n")


@dataclasses.dataclass
class Work:
    """A Gateway that is to be looked at."""

    due: float
    attempts: int = 0
    applied: bool = False
    waiting_since: float | None = None


class Controller:
    """Looks at the cluster once for each ``tick`` and does what follows from it."""

    def __init__(
        self,
        api: Api,
        discovery: Discovery,
        image: str,
        resync: float = 0.0,
        verbosity: int = 0,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self.api = api
        self.discovery = discovery
        self.image = image
        self.resync = resync
        self.verbosity = verbosity
        self.clock = clock
        self.gateways: dict[Key, Object] = {}
        self.routes: dict[Key, Object] = {}
        self.work: dict[Key, Work] = {}
        self._accepted: dict[str, str] = {}
        self._synced = False
        self._resync_at = clock() + resync

    def tick(self) -> None:
        """One look. Raises ApiError when the API server does not answer, which the next look makes up for."""
        if not self._synced:
            self._check_rights()
        for gateway_class in self.api.items(CLASSES):
            self._accept(gateway_class)
        gateways = {key_of(item): item for item in self.api.items(GATEWAYS)}
        routes = {key_of(item): item for item in self.api.items(ROUTES)}
        self._notice(gateways, routes)
        self.gateways, self.routes = gateways, routes
        if self.resync and self.clock() >= self._resync_at:
            self._resync_at = self.clock() + self.resync
            self._enqueue(key for key in gateways if self._is_ours(gateways[key]))
            self._enqueue(key for route in routes.values() for key in parents_of(route))
        for key in [key for key, work in self.work.items() if work.due <= self.clock()]:
            self._work_on(key, self.work[key])

    def _check_rights(self) -> None:
        """Nothing is done before everything can be listed and watched:

        so it is with the real one, and a right that is missing shows here too.
        """
        for path in WATCHED:
            self.api.request("GET", f"{path}?limit=1")
            *_prefix, group, version, resource = (
                ("", *path.split("/")[2:]) if path.startswith("/api/") else path.split("/")
            )
            attributes = {"verb": "watch", "group": group, "version": version, "resource": resource}
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            }
            if not self.api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)[
                "status"
            ].get("allowed"):
                raise ApiError(403, f"watch {path}: forbidden in all namespaces")
        self._synced = True
        log("everything can be listed and watched")

    ##### What changed

    def _is_ours(self, gateway: Object) -> bool:
        return bool(gateway["spec"]["gatewayClassName"] == CLASS_NAME)

    def _notice(self, gateways: dict[Key, Object], routes: dict[Key, Object]) -> None:
        """Changes of Gateways of the class, and of the routes of any Gateway whatsoever.

        Destinations and Secrets are not looked at.
        """
        for key, body in _changes(self.gateways, gateways):
            if self._is_ours(body):
                self._enqueue([key])
        for _key, body in _changes(self.routes, routes):
            self._enqueue(parents_of(body))

    def _enqueue(self, keys: t.Iterable[Key]) -> None:
        for key in keys:
            work = self.work.setdefault(key, Work(self.clock()))
            work.due, work.applied = self.clock(), False
            if self.verbosity >= 4:
                log(f"Gateway {'/'.join(key)}: to be looked at")

    ##### One Gateway

    def _work_on(self, key: Key, work: Work) -> None:
        name = "/".join(key)
        gateway = self.gateways.get(key)
        if gateway is None:
            # What belongs to it goes with its owner. Its configuration stays, as the real one keeps it.
            log(f"Gateway {name} is gone")
            del self.work[key]
            return
        try:
            if not work.applied:
                self._apply(gateway)
                work.applied = True
                work.waiting_since = self.clock() if work.waiting_since is None else work.waiting_since
            if not self._is_available(key) and self.clock() - (work.waiting_since or 0.0) < AVAILABLE_WITHIN:
                work.due = self.clock() + AVAILABLE_EVERY
                return
            self._configure(gateway)
        except (ApiError, TranslationError) as error:
            work.attempts += 1
            work.due = self.clock() + min(RETRY_FIRST * 2 ** min(work.attempts, 10), RETRY_LAST)
            work.applied, work.waiting_since = False, None
            log(f"Gateway {name}: {error}")
            return
        del self.work[key]

    def _apply(self, gateway: Object) -> None:
        for body in manifests(gateway, self.image):
            collection = COLLECTIONS[body["kind"]].format(body["metadata"]["namespace"])
            try:
                there: Object | None = self.api.request("GET", f"{collection}/{body['metadata']['name']}")
            except ApiError as error:
                # What may not be read is not known to be another's, and the write says what is wrong.
                if error.status not in (403, 404):
                    raise
                there = None
            if there is not None and MANAGED_LABEL not in there["metadata"].get("labels", {}):
                log(
                    f"{body['kind']} {body['metadata']['namespace']}/{body['metadata']['name']} is another's "
                    "and stays as it is"
                )
                continue
            self.api.apply(collection, body, CONTROLLER_NAME)

    def _is_available(self, key: Key) -> bool:
        try:
            deployment = self.api.request("GET", f"{COLLECTIONS['Deployment'].format(key[0])}/{resource_name(key)}")
        except ApiError as error:
            # The wait ends here, and nothing is said of it.
            return bool(error.status)
        conditions = deployment.get("status", {}).get("conditions") or ()
        return any(condition["type"] == "Available" and condition["status"] == "True" for condition in conditions)

    def _configure(self, gateway: Object) -> None:
        key = key_of(gateway)
        try:
            translation = self._translate(gateway)
        except TranslationError as error:
            self._write_conditions(key, gateway_conditions(str(error)))
            raise
        for remark in translation.remarks:
            log(f"Gateway {'/'.join(key)}: {remark}")
        if self.discovery.put(node_id(key), translation.listeners, translation.clusters):
            log(
                f"Gateway {'/'.join(key)}: {len(translation.listeners)} listeners and "
                f"{len(translation.clusters)} clusters for {node_id(key)}"
            )
        self._write_conditions(key, gateway_conditions())
        for route, parents in translation.parents.items():
            if parents is None:
                log(
                    f"HTTPRoute {'/'.join(route)}: no listener takes it; its status would be refused and stays as it is"
                )
            else:
                self._write_parents(route, parents)

    def _listed(self, path: str, name: str) -> Object | None:
        """One object of a collection, by a list:

        the real controller reads from what it listed, so this needs no other right.
        """
        found = self.api.items(path, fieldSelector=f"metadata.name={name}")
        return found[0] if found else None

    def _translate(self, gateway: Object) -> Translation:
        secrets: dict[Key, t.Mapping[str, str] | None] = {}

        def secret(key: Key) -> t.Mapping[str, str] | None:
            if key not in secrets:
                found = self._listed(f"/api/v1/namespaces/{key[0]}/secrets", key[1])
                secrets[key] = None if found is None else found.get("data") or {}
            return secrets[key]

        namespaces = {
            item["metadata"]["name"]: item["metadata"].get("labels", {})
            for item in self.api.items("/api/v1/namespaces")
        }
        destinations = {key_of(item): item for item in self.api.items(DESTINATIONS)}
        return translate(gateway, self.routes.values(), Surroundings(destinations, secret, namespaces))

    ##### Statuses

    def _accept(self, gateway_class: Object) -> None:
        name, version = gateway_class["metadata"]["name"], gateway_class["metadata"]["resourceVersion"]
        if gateway_class["spec"]["controllerName"] != CONTROLLER_NAME or self._accepted.get(name) == version:
            return
        status = gateway_class.get("status") or {}
        conditions = merged_conditions(status.get("conditions") or (), class_conditions(gateway_class), _now())
        try:
            if conditions != status.get("conditions"):
                self._put_status(f"{CLASSES}/{name}", {**gateway_class, "status": {**status, "conditions": conditions}})
            self._accepted[name] = version
        except ApiError as error:
            log(f"GatewayClass {name}: {error}")

    def _write_conditions(self, key: Key, wanted: list[Object]) -> None:
        self._update(
            GATEWAYS.replace("/gateways", f"/namespaces/{key[0]}/gateways"),
            key[1],
            lambda status: {**status, "conditions": merged_conditions(status.get("conditions") or (), wanted, _now())},
        )

    def _write_parents(self, key: Key, wanted: list[Object]) -> None:
        self._update(
            ROUTES.replace("/httproutes", f"/namespaces/{key[0]}/httproutes"),
            key[1],
            lambda status: {**status, "parents": merged_parents(status.get("parents") or (), wanted, _now())},
        )

    def _update(self, path: str, name: str, change: t.Callable[[Object], Object]) -> None:
        """Write a status where it changes. That it could not be written is logged: the proxies serve nevertheless."""
        for _attempt in range(3):
            try:
                body = self._listed(path, name)
                if body is None:
                    return
                status = change(body.get("status") or {})
                if status != body.get("status"):
                    self._put_status(f"{path}/{name}", {**body, "status": status})
                return
            except ApiError as error:
                if error.status == 409:
                    continue
                if error.status == 0:
                    raise
                log(str(error))
                return
        raise ApiError(409, f"{path}/{name}: its status was changed by another three times in a row")

    def _put_status(self, path: str, body: Object) -> None:
        self.api.request("PUT", f"{path}/status", {"apiVersion": "gateway.networking.k8s.io/v1", **body})


def _changes(before: dict[Key, Object], now: dict[Key, Object]) -> t.Iterator[tuple[Key, Object]]:
    """What is new, another version or gone."""
    for key in before.keys() | now.keys():
        old, new = before.get(key), now.get(key)
        if old is None or new is None or old["metadata"]["resourceVersion"] != new["metadata"]["resourceVersion"]:
            yield key, new if new is not None else t.cast(Object, old)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


##### The process


def seconds(text: str) -> float:
    """A duration as Go writes it."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if text == "0":
        return 0.0
    if not parts or "".join(map("".join, parts)) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 0, 30s or 1h30m")
    return sum(float(number) * units[unit] for number, unit in parts)


def parse(arguments: t.Sequence[str]) -> argparse.Namespace:
    """The real one's flags, with one hyphen or two as Go takes them. klog's others than -v are taken and do nothing."""
    parser = argparse.ArgumentParser(
        prog="wg-ai-gateway", description="A fake of the controller of wg-ai-gateway.", allow_abbrev=False
    )

    def flag(name: str, description: str, **more: t.Any) -> None:
        parser.add_argument(f"--{name}", f"-{name}", help=description, **more)

    flag("envoy-image", "image of the proxies (required)", default="")
    flag("kubeconfig", "not read: leave it empty", default="")
    flag("apiserver-url", "address of an API server that asks for no credentials, instead of the pod's own", default="")
    flag("discovery-port", "where proxies ask; the real one has no such flag", type=int, default=DISCOVERY_PORT)
    flag("resync-period", "look at everything anew after this time; 0 for never", type=seconds, default=0.0)
    flag("v", "from 4 on more is logged", type=int, default=0)
    for name in (
        "logtostderr",
        "alsologtostderr",
        "one_output",
        "add_dir_header",
        "skip_headers",
        "skip_log_headers",
        "stderrthreshold",
        "vmodule",
    ):
        flag(name, argparse.SUPPRESS, nargs="?")
    options = parser.parse_args(arguments)
    if not options.envoy_image:
        parser.error("--envoy-image cannot be empty")
    if options.kubeconfig:
        parser.error(
            "--kubeconfig: the fake reads no kubeconfig; run it in a pod, or give --apiserver-url of a kubectl proxy"
        )
    return options


def main() -> None:
    # Nothing needs to be put in order, and as the first process of a container it would not end by itself.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    options = parse(sys.argv[1:])
    api = Api.of_pod(options.apiserver_url)
    discovery = Discovery("0.0.0.0", options.discovery_port)
    threading.Thread(target=discovery.serve_forever, daemon=True).start()
    log(
        f"fake of {CONTROLLER_NAME} in namespace {os.environ.get('POD_NAMESPACE', '?')}: "
        f"proxies run {options.envoy_image}"
    )
    controller = Controller(api, discovery, options.envoy_image, options.resync_period, options.v)
    said = ""
    while True:
        try:
            controller.tick()
            said = ""
        except Exception as error:
            # Whatever it is, the next look may find it gone. The same is said once.
            if str(error) != said:
                said = str(error)
                log(said if isinstance(error, ApiError) else traceback.format_exc())
        time.sleep(POLL)


if __name__ == "__main__":
    main()
