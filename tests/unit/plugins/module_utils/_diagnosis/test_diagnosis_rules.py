# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each message is found first in a site with its fault, and not in one without."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.diagnose import RULES, diagnose
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.messages import MESSAGES
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.proxies import (
    EXT_PROC_CLUSTER,
    EXT_PROC_FILTER,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.snapshot import Snapshot

sys.path.insert(0, str(Path(__file__).parent))
from seeds import (
    AI_NAMESPACE,
    AUTHORINO_NAMESPACE,
    ENVOY_NAMESPACE,
    MARK,
    OPENAI,
    ROUTER_NAMESPACE,
    Body,
    certificate,
    find,
    made,
    pod,
    secret,
    seed_004,
    site,
)

Fault = t.Callable[[Body], None]
#: By code, what is done to a site that works so that the message is found.
FAULTS: dict[str, list[Fault]] = {}
#: Just before the captured site was read.
NOW = "2026-11-28T18:45:30Z"


def fault(code: str) -> t.Callable[[Fault], Fault]:
    def register(function: Fault) -> Fault:
        FAULTS.setdefault(code, []).append(function)
        return function

    return register


def proxy_of(data: Body) -> Body:
    return t.cast(Body, data["proxies"][0])


def configuration(data: Body) -> Body:
    return t.cast(Body, proxy_of(data)["configuration"])


def chains(data: Body) -> list[Body]:
    return [chain for listener in configuration(data)["listeners"] for chain in listener["chains"] if chain["filters"]]


def own_routes(data: Body) -> list[Body]:
    return [route for found in configuration(data)["route_configs"] for route in found["routes"]]


def settings(data: Body) -> Body:
    return t.cast(Body, find(data, "ConfigMap", ENVOY_NAMESPACE, "envoy-gateway-config")["envoy_gateway"])


def gateway(data: Body) -> Body:
    return find(data, "Gateway", "ai-gateway", "ai-gateway")


def proxy_pod(data: Body) -> Body:
    return find(data, "Pod", ENVOY_NAMESPACE, "envoy-ai-gateway-ai-gateway")


def take_away(data: Body, kind: str, namespace: str, name: str) -> None:
    data["objects"].remove(find(data, kind, namespace, name))


def condition_of(
    conditions: list[Body], kind: str, status: str, reason: str = "Broken", message: str = "it is"
) -> None:
    conditions[:] = [entry for entry in conditions if entry["type"] != kind]
    conditions.append({"type": kind, "status": status, "reason": reason, "message": message})


def log(data: Body, found: Body, line: str) -> None:
    name = found["metadata"]
    data["logs"].append({"namespace": name["namespace"], "pod": name["name"], "container": "main", "lines": [line]})


def scale_down(data: Body, namespace: str, name: str) -> None:
    deployment = find(data, "Deployment", namespace, name)
    deployment["status"]["availableReplicas"] = 0
    labels = deployment["spec"]["selector"]["matchLabels"]
    data["objects"] = [
        body
        for body in data["objects"]
        if body["kind"] != "Pod" or not labels.items() <= body["metadata"]["labels"].items()
    ]


def version(data: Body, namespace: str, name: str, tag: str) -> None:
    container = find(data, "Deployment", namespace, name)["containers"][0]
    container["image"] = f"{container['image'].rpartition(':')[0]}:{tag}"


def answer(data: Body, **fields: t.Any) -> None:
    proxy_of(data)["answers"] = {
        "backends": {
            OPENAI: {
                "start_time": NOW,
                "response_code": 503,
                "response_code_details": "via_upstream",
                "upstream_cluster": OPENAI,
                **fields,
            }
        },
        "own": {},
        "reached": "",
    }


@fault("AIG0001")
def _(data: Body) -> None:
    version(data, AI_NAMESPACE, "ai-gateway-controller", "v0.4.0")
    version(data, ENVOY_NAMESPACE, "envoy-gateway", "v1.5.4")
    gateway(data)["spec"]["listeners"].append({"name": "bare", "protocol": "HTTPS", "port": 443})
    for route in own_routes(data):
        route["filters"].remove(EXT_PROC_FILTER)


@fault("AIG0002")
def _(data: Body) -> None:
    version(data, ENVOY_NAMESPACE, "envoy-gateway", "v1.9.0")


@fault("AIG0002")
def _(data: Body) -> None:
    version(data, ENVOY_NAMESPACE, "envoy-gateway", "v1.7.2")


@fault("AIG0003")
def _(data: Body) -> None:
    scale_down(data, ENVOY_NAMESPACE, "envoy-gateway")


@fault("AIG0003")
def _(data: Body) -> None:
    scale_down(data, AI_NAMESPACE, "ai-gateway-controller")


def crash(found: Body) -> None:
    status = found["status"]["containerStatuses"][0]
    status |= {
        "restartCount": 4,
        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": NOW}},
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    }


@fault("AIG0004")
def _(data: Body) -> None:
    crash(find(data, "Pod", ENVOY_NAMESPACE, "envoy-gateway"))


@fault("AIG0005")
def _(data: Body) -> None:
    data["objects"] += [
        made(
            "Deployment",
            "other",
            "envoy-gateway",
            "apps/v1",
            spec={"replicas": 1},
            status={"availableReplicas": 1},
            containers=[{"name": "a", "image": "docker.io/envoyproxy/gateway:v1.8.3", "arguments": []}],
        ),
        made("ConfigMap", "other", "envoy-gateway-config", envoy_gateway=dict(settings(data))),
    ]


@fault("AIG0006")
def _(data: Body) -> None:
    route = find(data, "HTTPRoute", "ai-gateway", "gpt-4")
    other = {"controllerName": "istio.io/gateway-controller", "parentRef": {"name": "ai-gateway"}, "conditions": []}
    route["status"]["parents"].append(other)


@fault("AIG0007")
def _(data: Body) -> None:
    gateway(data)["metadata"] |= {"managers": ["egress.ai_gateway", "kubectl-edit"], "labels": MARK}


@fault("AIG0008")
def _(data: Body) -> None:
    containers = [{"name": "a", "image": "docker.io/envoyproxy/ai-gateway-controller:v1.0.0", "arguments": []}]
    status: Body = {"spec": {"replicas": 1}, "status": {"availableReplicas": 1}}
    data["objects"].append(made("Deployment", "other", "ai-gateway", "apps/v1", containers=containers, **status))


@fault("AIG0101")
def _(data: Body) -> None:
    settings(data)["extension"] = ""
    for route in own_routes(data):
        route["filters"].remove(EXT_PROC_FILTER)
    for chain in chains(data):
        chain["filters"] = [name for name in chain["filters"] if name != EXT_PROC_FILTER]


@fault("AIG0101")
def _(data: Body) -> None:
    settings(data)["translation"] = False


@fault("AIG0101")
def _(data: Body) -> None:
    found = configuration(data)
    found["sockets"] = []
    found["clusters"] = [cluster for cluster in found["clusters"] if cluster["name"] != EXT_PROC_CLUSTER]


@fault("AIG0102")
def _(data: Body) -> None:
    (cluster,) = [found for found in configuration(data)["clusters"] if found["name"] == OPENAI]
    cluster["filters"].remove(EXT_PROC_FILTER)


@fault("AIG0103")
def _(data: Body) -> None:
    own_routes(data)[0]["filters"].remove(EXT_PROC_FILTER)


@fault("AIG0103")
def _(data: Body) -> None:
    own_routes(data)[0]["off"].append(EXT_PROC_FILTER)


@fault("AIG0104")
def _(data: Body) -> None:
    for chain in chains(data):
        chain["filters"] = [name for name in chain["filters"] if name != EXT_PROC_FILTER]


@fault("AIG0105")
def _(data: Body) -> None:
    name = f"cluster.{OPENAI}.cluster.{OPENAI}ext_proc"
    for counter in [name for name in proxy_of(data)["statistics"] if OPENAI in name and "ext_proc" in name]:
        del proxy_of(data)["statistics"][counter]
    proxy_of(data)["statistics"] |= {f"{name}.streams_started": 3, f"{name}.streams_failed": 3}


@fault("AIG0106")
def _(data: Body) -> None:
    found = proxy_pod(data)
    found["spec"].pop("initContainers")
    found["status"].pop("initContainerStatuses")


@fault("AIG0107")
def _(data: Body) -> None:
    status = proxy_pod(data)["status"]["initContainerStatuses"][0]
    status |= {"ready": False, "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    condition_of(proxy_pod(data)["status"]["conditions"], "Ready", "False")


@fault("AIG0108")
def _(data: Body) -> None:
    log(data, proxy_pod(data), "connect: No such file or directory /etc/ai-gateway-extproc-uds/run.sock")


@fault("AIG0109")
def _(data: Body) -> None:
    proxy_of(data)["statistics"][f"cluster.{EXT_PROC_CLUSTER}.upstream_rq_pending_overflow"] = 12


def webhooks(data: Body) -> Body:
    return next(body for body in data["objects"] if body["kind"] == "MutatingWebhookConfiguration")


@fault("AIG0110")
def _(data: Body) -> None:
    webhooks(data)["trust"][0]["ai-gateway-webhook-certificate"] = False
    found = proxy_pod(data)
    found["spec"].pop("initContainers")
    found["status"].pop("initContainerStatuses")


@fault("AIG0110")
def _(data: Body) -> None:
    webhooks(data)["bundles"] = [[]]


@fault("AIG0110")
def _(data: Body) -> None:
    served = find(data, "Secret", AI_NAMESPACE, "ai-gateway-webhook-certificate")["certificates"]["tls.crt"][0]
    served["names"] = ["ai-gateway-controller.elsewhere.svc"]


@fault("AIG0111")
def _(data: Body) -> None:
    data["objects"].remove(proxy_pod(data))
    deployment = find(data, "Deployment", ENVOY_NAMESPACE, "envoy-ai-gateway-ai-gateway")["metadata"]["name"]
    data["objects"].append(
        made(
            "Event",
            ENVOY_NAMESPACE,
            "event",
            reason="FailedCreate",
            message='failed calling webhook "ai-gateway-controller": connection refused',
            lastTimestamp=NOW,
            involvedObject={"kind": "ReplicaSet", "namespace": ENVOY_NAMESPACE, "name": f"{deployment}-1"},
        )
    )


@fault("AIG0112")
def _(data: Body) -> None:
    data["objects"].remove(webhooks(data))


@fault("AIG0112")
def _(data: Body) -> None:
    webhooks(data)["webhooks"][0]["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": "other"}}


@fault("AIG0113")
def _(data: Body) -> None:
    found = find(data, "Pod", ENVOY_NAMESPACE, "envoy-gateway")
    log(data, found, "error rpc error: code = ResourceExhausted desc = trying to send message larger than max")


@fault("AIG0114")
def _(data: Body) -> None:
    settings(data)["maxMessageSize"] = "1Mi"


@fault("AIG0115")
def _(data: Body) -> None:
    find(data, "Secret", ENVOY_NAMESPACE, "ai-gateway-ai-gateway")["keys"]["filter-config.yaml"] = 900_000


@fault("AIG0116")
def _(data: Body) -> None:
    find(data, "Secret", ENVOY_NAMESPACE, "ai-gateway-ai-gateway")["keys"]["filter-config.yaml"] = 1_000_000
    found = find(data, "Pod", AI_NAMESPACE, "ai-gateway-controller")
    log(data, found, "ERROR Secret is invalid: data: Too long: may not be more than 1048576 bytes")


@fault("AIG0200")
def _(data: Body) -> None:
    data["objects"].remove(gateway(data))


@fault("AIG0201")
def _(data: Body) -> None:
    condition_of(gateway(data)["status"]["conditions"], "Programmed", "False", "AddressNotAssigned")


@fault("AIG0202")
def _(data: Body) -> None:
    take_away(data, "GatewayClass", "", "ai-gateway")


@fault("AIG0202")
def _(data: Body) -> None:
    find(data, "GatewayClass", "", "ai-gateway")["spec"]["controllerName"] = "gateway.envoyproxy.io/nobody"


@fault("AIG0203")
def _(data: Body) -> None:
    condition_of(gateway(data)["status"]["listeners"][0]["conditions"], "Conflicted", "True", "HostnameConflict")
    condition_of(gateway(data)["status"]["conditions"], "Programmed", "False", "ListenersNotValid")


@fault("AIG0204")
def _(data: Body) -> None:
    condition_of(gateway(data)["status"]["listeners"][0]["conditions"], "ResolvedRefs", "False", "RefNotPermitted")


@fault("AIG0205")
def _(data: Body) -> None:
    configuration(data)["listeners"][0]["error"] = "script load error: unexpected symbol"


@fault("AIG0206")
def _(data: Body) -> None:
    condition_of(proxy_pod(data)["status"]["conditions"], "Ready", "False")
    condition_of(gateway(data)["status"]["conditions"], "Programmed", "False", "NoResources")


@fault("AIG0207")
def _(data: Body) -> None:
    other = pod(ENVOY_NAMESPACE, "envoy-2", proxy_pod(data)["metadata"]["labels"], ready=False)
    other["spec"]["initContainers"] = [{"name": "ai-gateway-extproc", "image": "a"}]
    data["objects"].append(other)
    find(data, "Deployment", ENVOY_NAMESPACE, "envoy-ai-gateway-ai-gateway")["spec"]["replicas"] = 2


def served(data: Body) -> Body:
    return t.cast(Body, find(data, "Secret", "ai-gateway", "listener")["certificates"]["tls.crt"][0])


@fault("AIG0208")
def _(data: Body) -> None:
    served(data)["not_after"] = "2026-11-01T00:00:00Z"
    # As Envoy Gateway refuses such a certificate.
    conditions: list[Body] = []
    condition_of(conditions, "ResolvedRefs", "False", "InvalidCertificateRef")
    gateway(data)["status"]["listeners"].append({"name": "https", "conditions": conditions})


@fault("AIG0208")
def _(data: Body) -> None:
    found = find(data, "Secret", AUTHORINO_NAMESPACE, "ai-gateway-authorino-certificate")
    found["certificates"]["tls.crt"] = [certificate("a", not_after="2026-11-01T00:00:00Z")]


@fault("AIG0209")
def _(data: Body) -> None:
    served(data)["not_after"] = "2026-12-03T00:00:00Z"


@fault("AIG0210")
def _(data: Body) -> None:
    served(data)["names"] = ["www.example.com"]


@fault("AIG0210")
def _(data: Body) -> None:
    find(data, "Secret", "ai-gateway", "listener")["fits"] = False


@fault("AIG0211")
def _(data: Body) -> None:
    take_away(data, "Secret", "ai-gateway", "listener")
    condition_of(
        gateway(data)["status"]["listeners"][0]["conditions"], "ResolvedRefs", "False", "InvalidCertificateRef"
    )


@fault("AIG0211")
def _(data: Body) -> None:
    del find(data, "Secret", "ai-gateway", "listener")["keys"]["tls.key"]


@fault("AIG0301")
def _(data: Body) -> None:
    parents = find(data, "HTTPRoute", "ai-gateway", "gpt-4")["status"]["parents"]
    condition_of(parents[0]["conditions"], "Accepted", "False", "NoMatchingListenerHostname")


@fault("AIG0302")
def _(data: Body) -> None:
    parents = find(data, "HTTPRoute", "ai-gateway", "gpt-4")["status"]["parents"]
    condition_of(parents[0]["conditions"], "ResolvedRefs", "False", "BackendNotFound")


@fault("AIG0302")
def _(data: Body) -> None:
    name = find(data, "AIServiceBackend", "ai-gateway", "openai")["spec"]["backendRef"]["name"]
    take_away(data, "Backend", "ai-gateway", name)


@fault("AIG0302")
def _(data: Body) -> None:
    take_away(data, "AIServiceBackend", "ai-gateway", "openai")


@fault("AIG0303")
def _(data: Body) -> None:
    conditions = find(data, "AIGatewayRoute", "ai-gateway", "gpt-4")["status"]["conditions"]
    conditions[:] = [{"type": "NotAccepted", "status": "True", "message": "failed to get AIServiceBackend"}]


@fault("AIG0304")
def _(data: Body) -> None:
    for route in own_routes(data):
        route["filters"] = [name for name in route["filters"] if "ext_authz" not in name]


@fault("AIG0304")
def _(data: Body) -> None:
    for chain in chains(data):
        chain["filters"] = [name for name in chain["filters"] if name != "egress.ai_gateway.request_filter"]


@fault("AIG0304")
def _(data: Body) -> None:
    for route in own_routes(data):
        route["limits"] = False


@fault("AIG0305")
def _(data: Body) -> None:
    ancestors = find(data, "SecurityPolicy", "ai-gateway", "ai-gateway")["status"]["ancestors"]
    condition_of(ancestors[0]["conditions"], "Accepted", "False", "Invalid")


@fault("AIG0306")
def _(data: Body) -> None:
    ancestors = find(data, "SecurityPolicy", "ai-gateway", "ai-gateway")["status"]["ancestors"]
    condition_of(ancestors[0]["conditions"], "Overridden", "True", "Overridden", "by SecurityPolicies: [a/b]")


def rule(data: Body) -> Body:
    found = find(data, "BackendTrafficPolicy", "ai-gateway", "ai-gateway")["spec"]["rateLimit"]["global"]["rules"][0]
    return t.cast(Body, found)


@fault("AIG0307")
def _(data: Body) -> None:
    rule(data)["cost"]["response"]["metadata"] = {"namespace": "io.envoy.ai_gateway", "key": "llm_total_token"}


@fault("AIG0307")
def _(data: Body) -> None:
    rule(data)["cost"] = {"request": {"from": "Number", "number": 0}}


@fault("AIG0308")
def _(data: Body) -> None:
    scale_down(data, ENVOY_NAMESPACE, "envoy-ratelimit")


@fault("AIG0308")
def _(data: Body) -> None:
    take_away(data, "Deployment", ENVOY_NAMESPACE, "envoy-ratelimit")


@fault("AIG0309")
def _(data: Body) -> None:
    scale_down(data, ENVOY_NAMESPACE, "redis")
    scale_down(data, ENVOY_NAMESPACE, "envoy-ratelimit")


@fault("AIG0310")
def _(data: Body) -> None:
    own = {"rate_limiter_error": {"start_time": NOW, "response_code": 500}}
    proxy_of(data)["answers"] = {"backends": {}, "own": own, "reached": "2026-11-28T18:45:00Z"}


@fault("AIG0311")
def _(data: Body) -> None:
    settings(data)["sections"].remove("rateLimit")


def quota(data: Body, target: str, model: str = "gpt-4") -> None:
    specification: Body = {"targetRefs": [{"name": target}], "perModelQuotas": [{"modelName": model}]}
    version = "aigateway.envoyproxy.io/v1alpha1"
    data["objects"].append(made("QuotaPolicy", "ai-gateway", "quota", version, spec=specification))


@fault("AIG0312")
def _(data: Body) -> None:
    quota(data, "nobody")


@fault("AIG0312")
def _(data: Body) -> None:
    # Its rate limit service does not exist.
    quota(data, find(data, "AIServiceBackend", "ai-gateway", "openai")["metadata"]["name"])


@fault("AIG0313")
def _(data: Body) -> None:
    gateway(data)["metadata"]["labels"] = MARK
    parents = [{"name": "ai-gateway", "namespace": "ai-gateway"}]
    rules = [{"backendRefs": [{"name": "collector"}]}]
    spec = {"parentRefs": parents, "rules": rules}
    data["objects"] += [
        made("HTTPRoute", "vllm", "mine", "gateway.networking.k8s.io/v1", spec=spec),
        made("HTTPRoute", "vllm", "ours", "gateway.networking.k8s.io/v1", spec=spec, labels=MARK),
    ]


@fault("AIG0313")
def _(data: Body) -> None:
    gateway(data)["metadata"]["labels"] = MARK
    parents = [{"name": "ai-gateway", "namespace": "ai-gateway"}]
    spec = {"parentRefs": parents, "llmRequestCosts": [{"metadataKey": "llm_total_tokens"}], "rules": []}
    status = {"conditions": [{"type": "Accepted", "status": "True"}]}
    data["objects"].append(
        made("AIGatewayRoute", "vllm", "mine", "aigateway.envoyproxy.io/v1beta1", spec=spec, status=status)
    )


@fault("AIG0401")
def _(data: Body) -> None:
    scale_down(data, AUTHORINO_NAMESPACE, "authorino")


@fault("AIG0402")
def _(data: Body) -> None:
    crash(find(data, "Pod", AUTHORINO_NAMESPACE, "authorino"))


@fault("AIG0403")
def _(data: Body) -> None:
    find(data, "Deployment", AUTHORINO_NAMESPACE, "authorino")["containers"][0]["arguments"] = []


@fault("AIG0404")
def _(data: Body) -> None:
    condition_of(find(data, "AuthConfig", AUTHORINO_NAMESPACE, "ai-gateway")["status"]["conditions"], "Ready", "False")


@fault("AIG0405")
def _(data: Body) -> None:
    own = {"ext_authz_error": {"start_time": NOW, "response_code": 503}}
    proxy_of(data)["answers"] = {"backends": {}, "own": own, "reached": "2026-11-28T18:45:00Z"}


@fault("AIG0501")
def _(data: Body) -> None:
    policy = find(data, "BackendSecurityPolicy", "ai-gateway", "openai")
    take_away(data, "Secret", "ai-gateway", policy["spec"]["apiKey"]["secretRef"]["name"])
    answer(data, response_code=401)


@fault("AIG0502")
def _(data: Body) -> None:
    answer(data, response_flags="UF", upstream_transport_failure_reason="delayed connect error: Connection refused")


@fault("AIG0503")
def _(data: Body) -> None:
    reason = "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end"
    answer(data, response_flags="UF,URX", upstream_transport_failure_reason=reason)


@fault("AIG0504")
def _(data: Body) -> None:
    policy = find(data, "BackendSecurityPolicy", "ai-gateway", "openai")
    found = find(data, "Secret", "ai-gateway", policy["spec"]["apiKey"]["secretRef"]["name"])
    found["keys"] = {"api-key": 20}
    answer(data, response_code=401)


@fault("AIG0505")
def _(data: Body) -> None:
    answer(data, response_code=401)


@fault("AIG0506")
def _(data: Body) -> None:
    answer(data, response_code=429)


@fault("AIG0507")
def _(data: Body) -> None:
    proxy_of(data)["clusters"][OPENAI]["hosts"] = 0
    answer(data, response_flags="UH", response_code_details="no_healthy_upstream")


@fault("AIG0508")
def _(data: Body) -> None:
    settings(data)["enableBackend"] = "false"


@fault("AIG0601")
def _(data: Body) -> None:
    condition_of(find(data, "Pod", "ai-gateway", "gemma2-epp-0")["status"]["conditions"], "Ready", "False")


@fault("AIG0601")
def _(data: Body) -> None:
    take_away(data, "Service", "ai-gateway", "gemma2-epp")


@fault("AIG0602")
def _(data: Body) -> None:
    find(data, "Service", "ai-gateway", "gemma2-epp")["spec"]["selector"] = {"app": "gemma2-ep"}


@fault("AIG0603")
def _(data: Body) -> None:
    find(data, "InferencePool", "ai-gateway", "gemma2")["spec"]["selector"]["matchLabels"] = {"model": "gemma"}


@fault("AIG0603")
def _(data: Body) -> None:
    condition_of(find(data, "Pod", "ai-gateway", "gemma2-0")["status"]["conditions"], "Ready", "False")


@fault("AIG0604")
def _(data: Body) -> None:
    conditions = [{"type": "ResolvedRefs", "status": "False", "reason": "InvalidExtensionRef", "message": "no picker"}]
    find(data, "InferencePool", "ai-gateway", "gemma2")["status"] = {"parents": [{"conditions": conditions}]}


@fault("AIG0605")
def _(data: Body) -> None:
    settings(data)["resources"] = []


@fault("AIG0606")
def _(data: Body) -> None:
    cluster = "httproute/ai-gateway/gemma2/rule/0"
    configuration(data)["clusters"].append({"name": cluster, "type": "ORIGINAL_DST", "error": "", "filters": []})
    answer(data)
    entry = {"start_time": NOW, "response_code": 503, "response_flags": "UH", "upstream_cluster": cluster}
    proxy_of(data)["answers"]["backends"] = {cluster: entry}


@fault("AIG0608")
def _(data: Body) -> None:
    last = {"reason": "Error", "exitCode": 2, "finishedAt": NOW}
    (status,) = find(data, "Pod", "ai-gateway", "gemma2-epp-0")["status"]["containerStatuses"]
    status |= {"restartCount": 1, "lastState": {"terminated": last}}


def router_of(data: Body) -> Body:
    return t.cast(Body, find(data, "ConfigMap", ROUTER_NAMESPACE, "semantic-router")["semantic_router"])


@fault("AIG0701")
def router_is_away(data: Body) -> None:
    find(data, "Deployment", ROUTER_NAMESPACE, "semantic-router")["status"] = {"availableReplicas": 0}


@fault("AIG0701")
def router_is_gone(data: Body) -> None:
    data["objects"].remove(find(data, "Deployment", ROUTER_NAMESPACE, "semantic-router"))


@fault("AIG0702")
def router_refuses_its_configuration(data: Body) -> None:
    router_is_away(data)
    running = find(data, "Pod", ROUTER_NAMESPACE, "semantic-router")
    running["status"]["containerStatuses"][0]["ready"] = False
    data["logs"].append(
        {
            "namespace": ROUTER_NAMESPACE,
            "pod": running["metadata"]["name"],
            "container": "semantic-router",
            "lines": ["FATAL failed to load config: decision math references unknown signal"],
        }
    )


@fault("AIG0703")
def decision_without_model(data: Body) -> None:
    router_of(data)["decisions"].append(["law", "model-z"])


@fault("AIG0703")
def default_without_model(data: Body) -> None:
    router_of(data)["default"] = "model-z"


@fault("AIG0704")
def chosen_model_without_route(data: Body) -> None:
    router_of(data)["models"]["model-c"] = "127.0.0.1:9"


@fault("AIG0704")
def chosen_model_without_service(data: Body) -> None:
    data["objects"].remove(find(data, "Service", "llm", "model-b"))


@fault("AIG0704")
def chosen_model_without_pods(data: Body) -> None:
    find(data, "EndpointSlice", "llm", "model-b")["endpoints"][0]["conditions"]["ready"] = False


@fault("AIG0901")
def _(data: Body) -> None:
    data["unread"].append({"kind": "Event", "what": "events", "reason": "forbidden"})


CASES = [(code, number) for code, faults in FAULTS.items() for number in range(len(faults))]


@pytest.mark.parametrize(("code", "number"), CASES)
def test_the_root_cause_comes_first(code: str, number: int) -> None:
    data = site()
    FAULTS[code][number](data)
    roots = diagnose(Snapshot(data))
    assert roots
    assert roots[0].code == code, [(root.code, root.sentence) for root in roots]
    # Each fault has one cause.
    assert len(roots) == 1, [(root.code, root.sentence) for root in roots]
    shown = roots[0].as_dict()
    command = shown["command"].replace(r"'{.data.tls\.crt}'", "")
    assert "{" not in shown["message"] + command + shown["cure"]
    assert set(roots[0].message.arguments) <= set(roots[0].arguments)


def test_a_site_that_works_has_no_finding() -> None:
    assert [root.sentence for root in diagnose(Snapshot(site()))] == []


def redirected(data: Body, **rule: t.Any) -> None:
    """Add a listener of plain HTTP whose one route, with this rule, overrides the policies of the Gateway."""
    name = "ai-gateway.ai-gateway.http-redirect"
    data["objects"].append(
        made("HTTPRoute", ENVOY_NAMESPACE, name, "gateway.networking.k8s.io/v1", spec={"rules": [rule]})
    )
    for kind in ("SecurityPolicy", "BackendTrafficPolicy", "EnvoyExtensionPolicy"):
        ancestors = find(data, kind, "ai-gateway", "ai-gateway")["status"]["ancestors"]
        said = f"This policy is being overridden by others for these routes: [{ENVOY_NAMESPACE}/{name}]"
        condition_of(ancestors[0]["conditions"], "Overridden", "True", "Overridden", said)
    listeners, configurations = configuration(data)["listeners"], configuration(data)["route_configs"]
    chain = {**chains(data)[0], "name": "http-80", "route_config": "http-80", "filters": ["envoy.filters.http.router"]}
    listeners.append({**listeners[0], "name": "tcp-80", "port": 10080, "chains": [chain]})
    route = {**configurations[0]["routes"][0], "generated": False, "clusters": [], "limits": False, "filters": []}
    configurations.append({"name": "http-80", "error": "", "routes": [{**route, "redirect": not rule}]})


def test_what_only_redirects_needs_no_policy() -> None:
    data = site()
    redirected(data)
    assert [root.sentence for root in diagnose(Snapshot(data))] == []
    data = site()
    redirected(data, backendRefs=[{"name": "somebody"}])
    assert {root.code for root in diagnose(Snapshot(data))} >= {"AIG0306"}


def test_the_listener_between_the_processor_and_mcp_servers_needs_no_policy() -> None:
    data = site()
    chain = {**chains(data)[0], "name": "", "route_config": "mcp", "filters": ["envoy.filters.http.router"]}
    listeners, configurations = configuration(data)["listeners"], configuration(data)["route_configs"]
    listeners.append({**listeners[0], "name": "aigateway-mcp-backend-listener", "port": 10088, "chains": [chain]})
    route = {**configurations[0]["routes"][0], "generated": False}
    configurations.append({**configurations[0], "name": "mcp", "routes": [route]})
    assert [root.sentence for root in diagnose(Snapshot(data))] == []
    listeners[-1]["name"] = "another"
    assert {root.code for root in diagnose(Snapshot(data))} >= {"AIG0304"}


def test_a_gateway_of_another_controller_is_not_looked_for_at_envoy_gateways() -> None:
    data = site()
    find(data, "GatewayClass", "", "ai-gateway")["spec"]["controllerName"] = "openshift.io/gateway-controller/v1"
    data["objects"] = [
        body
        for body in data["objects"]
        if body["kind"] in ("Gateway", "GatewayClass", "ConfigMap") and "semantic_router" not in body
    ]
    data["proxies"] = []
    # It has a listener with a Secret.
    assert [root.code for root in diagnose(Snapshot(data))] == ["AIG0211"]


def test_every_message_has_a_fault() -> None:
    assert sorted(FAULTS) == sorted(message.code for message in MESSAGES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.__module__.rpartition('.')[2]}.{rule.__name__}")
def test_every_rule_bears_a_snapshot_with_nothing_in_it(rule: t.Callable[[Snapshot], t.Iterator[t.Any]]) -> None:
    empty = {"format": 1, "taken": NOW, "gateways": [], "objects": [], "proxies": [], "logs": [], "unread": []}
    assert list(rule(Snapshot(empty))) == []


def test_the_installation_that_never_worked() -> None:
    """Its author saw streams that fail, and looked for the fault in the pool."""
    (root,) = diagnose(Snapshot(seed_004()))
    assert root.code == "AIG0001"
    assert "v0.4.0" in root.sentence
    assert "https-wildcard, https-bare on port 443" in root.sentence
    assert "v0.5.0" in root.cure
    assert {finding.code for finding in root.consequences} == {"AIG0103", "AIG0105"}
    (streams,) = [finding for finding in root.consequences if finding.code == "AIG0105"]
    assert streams.evidence == (
        "streams_started 7, streams_failed 7, stream_msgs_received 0",
        "ai-gateway-extproc-uds: upstream_rq_200 7, upstream_rq_tx_reset 7",
    )


def test_the_same_installation_with_a_newer_controller_has_another_fault() -> None:
    data = seed_004()
    version(data, "envoy-ai-gateway-system", "ai-gateway-controller", "v1.0.0")
    roots = diagnose(Snapshot(data))
    assert [root.code for root in roots][:1] == ["AIG0002"]


def test_a_fault_of_one_provider_does_not_explain_that_of_another() -> None:
    data = site()
    policy = find(data, "BackendSecurityPolicy", "ai-gateway", "anthropic")
    take_away(data, "Secret", "ai-gateway", policy["spec"]["apiKey"]["secretRef"]["name"])
    answer(data, response_code=401)
    assert sorted(root.code for root in diagnose(Snapshot(data))) == ["AIG0501", "AIG0505"]


WEATHER = "httproute/ai-gateway/ai-eg-mcp-br-mcp-servers-weather/rule/0"
MCP_PROXY = "httproute/ai-gateway/ai-eg-mcp-main-mcp-servers/rule/0"


def with_mcp_servers(**fields: t.Any) -> Body:
    """A site with MCP servers, and the routes that Envoy AI Gateway makes of theirs.

    :param fields: of the reference to the server weather.
    """
    data = site()
    key = {"apiKey": {"secretRef": {"name": "mcp-weather", "namespace": "is-not-read"}}}
    servers = [{"name": "weather", "securityPolicy": key, **fields}, {"name": "try"}]
    parents = [{"name": "ai-gateway"}]
    owned = {"owners": [{"kind": "MCPRoute", "name": "mcp-servers"}]}
    data["objects"] += [
        made(
            "MCPRoute",
            "ai-gateway",
            "mcp-servers",
            "aigateway.envoyproxy.io/v1beta1",
            spec={"parentRefs": parents, "backendRefs": servers},
            status={"conditions": [{"type": "Accepted", "status": "True"}]},
        ),
        secret("ai-gateway", "mcp-weather", "apiKey"),
        *(
            made(
                "HTTPRoute",
                "ai-gateway",
                cluster.split("/")[2],
                "gateway.networking.k8s.io/v1",
                metadata=owned,
                spec={"parentRefs": parents, "rules": [{"backendRefs": [{"kind": "Backend", "name": name}]}]},
            )
            for cluster, name in ((WEATHER, "weather"), (MCP_PROXY, "ai-eg-mcp-mcp-servers-proxy"))
        ),
    ]
    for cluster in (WEATHER, MCP_PROXY):
        configuration(data)["clusters"].append({"name": cluster, "type": "STRICT_DNS", "error": "", "filters": []})
    return data


def answered(data: Body, cluster: str, **fields: t.Any) -> None:
    answer(data)
    entry = {"start_time": NOW, "response_code_details": "via_upstream", "upstream_cluster": cluster, **fields}
    proxy_of(data)["answers"]["backends"] = {cluster: entry}


def test_mcp_servers_that_work_have_no_finding() -> None:
    assert [root.sentence for root in diagnose(Snapshot(with_mcp_servers()))] == []


@pytest.mark.parametrize(("keys", "code"), [(None, "AIG0501"), ({"api-key": 20}, "AIG0504")])
def test_the_key_of_an_mcp_server_is_the_cause_of_its_refusals(keys: Body | None, code: str) -> None:
    data = with_mcp_servers()
    if keys is None:
        take_away(data, "Secret", "ai-gateway", "mcp-weather")
    else:
        find(data, "Secret", "ai-gateway", "mcp-weather")["keys"] = keys
    condition_of(find(data, "MCPRoute", "ai-gateway", "mcp-servers")["status"]["conditions"], "Accepted", "False")
    answered(data, WEATHER, response_code=401)
    (root,) = diagnose(Snapshot(data))
    assert root.code == code
    assert "Secret ai-gateway/mcp-weather" in root.sentence
    assert "MCPRoute ai-gateway/mcp-servers" in root.sentence
    assert {finding.code for finding in root.consequences} == {"AIG0303", "AIG0505"}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"response_code": 401}, "AIG0505"),
        ({"response_code": 403}, "AIG0505"),
        ({"response_code": 429}, "AIG0506"),
        ({"response_flags": "UF", "upstream_transport_failure_reason": "refused"}, "AIG0502"),
        ({"response_flags": "UF", "upstream_transport_failure_reason": "TLS_error: expired"}, "AIG0503"),
    ],
)
def test_answers_of_an_mcp_server_are_judged_as_those_of_a_provider(fields: Body, code: str) -> None:
    data = with_mcp_servers()
    answered(data, WEATHER, **fields)
    (root,) = diagnose(Snapshot(data))
    assert root.code == code
    assert f"MCP server of cluster {WEATHER}" in root.sentence


def test_an_mcp_server_whose_name_does_not_resolve() -> None:
    data = with_mcp_servers()
    proxy_of(data)["clusters"][WEATHER] = {"hosts": 0}
    (root,) = diagnose(Snapshot(data))
    assert (root.code, root.arguments["server"]) == ("AIG0507", "MCP server")


def test_an_mcp_server_that_gets_the_clients_token_may_refuse_it() -> None:
    data = with_mcp_servers(forwardHeaders=[{"name": "Authorization"}])
    answered(data, WEATHER, response_code=401)
    assert diagnose(Snapshot(data)) == []


def test_the_processor_may_refuse_what_a_tier_may_not_call() -> None:
    data = with_mcp_servers()
    answered(data, MCP_PROXY, response_code=403)
    assert diagnose(Snapshot(data)) == []


def test_a_server_that_is_no_provider_may_ask_for_a_token() -> None:
    data = site()
    answer(data, response_code=401)
    data["objects"].remove(find(data, "AIGatewayRoute", "ai-gateway", "gpt-4"))
    assert diagnose(Snapshot(data)) == []


def test_an_answer_of_a_cluster_that_is_no_more_is_passed_over() -> None:
    data = site()
    answer(data, response_code=401)
    found = configuration(data)
    found["clusters"] = [cluster for cluster in found["clusters"] if cluster["name"] != OPENAI]
    assert diagnose(Snapshot(data)) == []


def test_what_could_not_be_read_is_not_missing() -> None:
    data = site()
    data["objects"] = [body for body in data["objects"] if body["kind"] not in ("Secret", "Service")]
    data["unread"] = [{"kind": kind, "what": kind, "reason": "forbidden"} for kind in ("Secret", "Service")]
    roots = diagnose(Snapshot(data))
    assert [root.code for root in roots] == ["AIG0901"]
    assert roots[0].arguments["what"] == "Secret, Service"


@pytest.mark.parametrize(
    ("left", "right", "same"), [("*.example.com", "a.example.com", True), ("*.example.com", "a.b.example.com", False)]
)
def test_wildcards_cover_one_label(left: str, right: str, same: bool) -> None:
    from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.rules_gateways import covers

    assert covers(left, right) is same
    assert covers("*.example.com", "*.example.com")
    assert not covers("a.example.com", "*.example.com")


def test_a_secret_with_a_certificate_is_no_key() -> None:
    data = site()
    data["objects"].append(secret("ai-gateway", "other", "tls.crt", served=certificate("x")))
    assert diagnose(Snapshot(data)) == []
