# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The objects that carry a Gateway's Envoy, and the configuration that it starts with. Everything here is pure."""

from __future__ import annotations

import hashlib
import json

from wg_translation import CONTROLLER_NAME, Key, Object

MANAGED_LABEL = "aigateway.networking.k8s.io/managed"
MANAGED_VALUE = CONTROLLER_NAME.replace("/", "-")
#: Where the real one's proxies look for their configuration, whatever namespace the controller is in.
DISCOVERY_HOST = "ai-gateway-controller.ai-gateway-system.svc.cluster.local"
DISCOVERY_PORT = 15001
BOOTSTRAP_FILE = "envoy.yaml"


def resource_name(gateway: Key) -> str:
    namespace, name = gateway
    plain = name.replace("_", "-").lower()
    return f"envoy-{plain}" if namespace == "default" else f"envoy-{namespace}-{plain}"


def node_id(gateway: Key) -> str:
    return f"envoy-proxy-{hashlib.sha256('/'.join(gateway).encode()).hexdigest()[:12]}"


def bootstrap(gateway: Key, host: str = DISCOVERY_HOST, port: int = DISCOVERY_PORT, admin_port: int = 15000) -> Object:
    """What Envoy starts with.

    The real one's asks for the aggregated discovery service by gRPC in place of two by REST.
    """
    source = {
        "resource_api_version": "V3",
        "api_config_source": {
            "api_type": "REST",
            "transport_api_version": "V3",
            "cluster_names": ["xds_cluster"],
            "refresh_delay": "1s",
            "request_timeout": "5s",
        },
    }
    address = {"socket_address": {"address": host, "port_value": port}}
    cluster = {
        "name": "xds_cluster",
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_ONLY",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "xds_cluster",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    return {
        "node": {"id": node_id(gateway), "cluster": "/".join(gateway)},
        "dynamic_resources": {"cds_config": source, "lds_config": source},
        "static_resources": {"clusters": [cluster]},
        "admin": {"address": {"socket_address": {"address": "0.0.0.0", "port_value": admin_port}}},
    }


def service_ports(gateway: Object) -> list[Object]:
    """One for each port; of listeners that share one, the first names it."""
    ports: dict[int, Object] = {}
    for listener in gateway["spec"].get("listeners") or ():
        name = listener["name"].replace(".", "-")[:63]
        entry = {"name": name, "port": listener["port"], "protocol": "TCP", "appProtocol": listener["protocol"].lower()}
        ports.setdefault(listener["port"], entry)
    return list(ports.values())


def manifests(gateway: Object, image: str) -> list[Object]:
    """What is applied for a Gateway, in this order."""
    key = gateway["metadata"]["namespace"], gateway["metadata"]["name"]
    name = resource_name(key)
    owner = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "name": key[1],
        "uid": gateway["metadata"]["uid"],
    }
    metadata = {"name": name, "namespace": key[0], "labels": {MANAGED_LABEL: MANAGED_VALUE}, "ownerReferences": [owner]}
    container = {
        "name": "envoy",
        "image": image,
        # At this level an Envoy writes headers, and so keys, to its log.
        "command": ["envoy", "-c", f"/etc/envoy/{BOOTSTRAP_FILE}", "--log-level", "trace"],
        "resources": {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
        "volumeMounts": [{"name": "envoy-bootstrap", "mountPath": "/etc/envoy", "readOnly": True}],
    }
    volume = {
        "name": "envoy-bootstrap",
        "configMap": {"name": name, "items": [{"key": BOOTSTRAP_FILE, "path": BOOTSTRAP_FILE}]},
    }
    pod = {"serviceAccountName": name, "containers": [container], "volumes": [volume]}
    return [
        # JSON is YAML too.
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {BOOTSTRAP_FILE: json.dumps(bootstrap(key), indent=2) + "\n"},
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"type": "LoadBalancer", "selector": {"app": name}, "ports": service_ports(gateway)},
        },
    ]
