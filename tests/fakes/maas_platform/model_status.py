# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in for the one thing of KServe that maas-api looks at: the status of LLMInferenceServices, their url and
whether they are ready.

Everything else that KServe makes of one, such as its Deployment, Service and HTTPRoute, platform.yaml.j2 makes instead.
"""

from __future__ import annotations

import signal
import sys
import time
import typing as t

from maas_kubernetes import Api, ApiError, Body

PAUSE = 2.0
KSERVE = "/apis/serving.kserve.io/v1alpha1"
GATEWAYS = "/apis/gateway.networking.k8s.io/v1"
USUAL_PORTS = {"HTTP": 80, "HTTPS": 443}


def url_of(gateway: Body, path: str) -> str:
    """Where clients reach ``path`` on a Gateway; empty while it has no address."""
    for listener in gateway["spec"].get("listeners") or []:
        if listener["protocol"] in USUAL_PORTS:
            addresses = (gateway.get("status") or {}).get("addresses") or [{}]
            host = listener.get("hostname") or addresses[0].get("value", "")
            port = "" if listener["port"] == USUAL_PORTS[listener["protocol"]] else f":{listener['port']}"
            return f"{listener['protocol'].lower()}://{host}{port}{path}" if host else ""
    return ""


def status_of(service: Body, gateway: Body | None, deployment: Body | None) -> Body:
    """The status that a service should have, without the times of its conditions."""
    metadata = service["metadata"]
    url = url_of(gateway, f"/{metadata['namespace']}/{metadata['name']}") if gateway else ""
    is_available = ((deployment or {}).get("status") or {}).get("availableReplicas", 0) > 0
    conditions = [
        {"type": "RouterReady", "status": "True" if url else "False", "reason": "Ready" if url else "NoAddress"},
        {
            "type": "WorkloadsReady",
            "status": "True" if is_available else "False",
            "reason": "Ready" if is_available else "Unavailable",
        },
        {
            "type": "Ready",
            "status": "True" if url and is_available else "False",
            "reason": "Ready" if url and is_available else "NotReady",
        },
    ]
    return {"observedGeneration": metadata["generation"], "url": url or None, "conditions": conditions}


def difference(wanted: Body, status: Body) -> bool:
    conditions = [
        {name: condition.get(name) for name in ("type", "status", "reason")}
        for condition in status.get("conditions") or []
    ]
    return {**wanted, "conditions": conditions} != wanted or any(
        status.get(name) != wanted[name] for name in ("observedGeneration", "url")
    )


def reconcile(api: Api, namespace: str) -> None:
    for service in api.get(f"{KSERVE}/namespaces/{namespace}/llminferenceservices").get("items") or []:
        name = service["metadata"]["name"]
        references = ((service["spec"].get("router") or {}).get("gateway") or {}).get("refs") or []
        gateway = None
        if references:
            gateway = api.find(
                f"{GATEWAYS}/namespaces/{references[0].get('namespace') or namespace}/gateways/{references[0]['name']}"
            )
        deployment = api.find(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}-kserve")
        wanted = status_of(service, gateway, deployment)
        if not difference(wanted, service.get("status") or {}):
            continue
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        dated = [{**condition, "lastTransitionTime": now} for condition in wanted["conditions"]]
        path = f"{KSERVE}/namespaces/{namespace}/llminferenceservices/{name}/status"
        api.request("PATCH", path, {"status": {**wanted, "conditions": dated}}, "application/merge-patch+json")
        sys.stderr.write(f"{name}: {wanted['url'] or 'no address'}, {dated[-1]['reason']}\n")


def main(arguments: t.Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_arguments: sys.exit(0))
    if len(arguments) != 1:
        raise SystemExit("give one argument, the namespace of the LLMInferenceServices")
    api = Api.of_pod()
    while True:
        try:
            reconcile(api, arguments[0])
        except ApiError as error:
            sys.stderr.write(f"{error}\n")
        time.sleep(PAUSE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
