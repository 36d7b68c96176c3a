# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fake of the one thing of KServe that maas-api looks at: the status of LLMInferenceServices, their url and whether
they are ready.

Everything else that KServe makes of one, such as its Deployment, Service and HTTPRoute, platform.yaml.j2 makes instead.
"""

from __future__ import annotations

import signal
import sys
import time
import typing as t

from kubernetes_client import Api, ApiError
from kubernetes_client import Object as Body

PAUSE = 2.0
KSERVE = "/apis/serving.kserve.io/v1alpha1"
GATEWAYS = "/apis/gateway.networking.k8s.io/v1"


def url_of(service: Body | None) -> str:
    """Where pods reach a model: its Service, at its first port."""
    if not service:
        return ""
    metadata, port = service["metadata"], service["spec"]["ports"][0]["port"]
    return f"http://{metadata['name']}.{metadata['namespace']}.svc.cluster.local:{port}"


def status_of(model: Body, service: Body | None, gateway: Body | None, deployment: Body | None) -> Body:
    """The status that a model should have, without the times of its conditions."""
    is_routed = bool(((gateway or {}).get("status") or {}).get("addresses"))
    is_available = bool(service) and ((deployment or {}).get("status") or {}).get("availableReplicas", 0) > 0
    conditions = [
        {"type": name, "status": "True" if is_true else "False", "reason": "Ready" if is_true else reason}
        for name, is_true, reason in (
            ("RouterReady", is_routed, "NoAddress"),
            ("WorkloadsReady", is_available, "Unavailable"),
            ("Ready", is_routed and is_available, "NotReady"),
        )
    ]
    return {
        "observedGeneration": model["metadata"]["generation"],
        "url": url_of(service) or None,
        "conditions": conditions,
    }


def is_written(wanted: Body, status: Body) -> bool:
    conditions = [
        {name: condition.get(name) for name in ("type", "status", "reason")}
        for condition in status.get("conditions") or []
    ]
    return wanted == {name: status.get(name) for name in wanted} | {"conditions": conditions}


def reconcile(api: Api, namespace: str) -> None:
    for model in api.items(f"{KSERVE}/namespaces/{namespace}/llminferenceservices"):
        name = model["metadata"]["name"]
        references = ((model["spec"].get("router") or {}).get("gateway") or {}).get("refs") or []
        gateway = None
        if references:
            gateway = api.find(
                f"{GATEWAYS}/namespaces/{references[0].get('namespace') or namespace}/gateways/{references[0]['name']}"
            )
        deployment = api.find(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}-kserve")
        service = api.find(f"/api/v1/namespaces/{namespace}/services/{name}-kserve-workload-svc")
        wanted = status_of(model, service, gateway, deployment)
        if is_written(wanted, model.get("status") or {}):
            continue
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        dated = [{**condition, "lastTransitionTime": now} for condition in wanted["conditions"]]
        path = f"{KSERVE}/namespaces/{namespace}/llminferenceservices/{name}"
        api.patch_status(path, {**wanted, "conditions": dated})
        sys.stderr.write(f"{name}: {wanted['url'] or 'no address'}, {dated[-1]['reason']}\n")


def main(arguments: t.Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_arguments: sys.exit(0))
    if len(arguments) != 1:
        raise SystemExit("give one argument, the namespace of the LLMInferenceServices")
    api = Api.of_pod(patience=10.0)
    while True:
        try:
            reconcile(api, arguments[0])
        except ApiError as error:
            sys.stderr.write(f"{error}\n")
        time.sleep(PAUSE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
