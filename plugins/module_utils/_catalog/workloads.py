# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the pods of each component run and what they may use, as the inventory says."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import nearest, type_name

#: The components, and the name that stands for all of them.
COMPONENTS = (
    "envoy_gateway",
    "envoy_ai_gateway",
    "authorino",
    "ratelimit",
    "redis",
    "proxy",
    "processor",
    "wg_ai_gateway",
    "simulators",
    "endpoint_picker",
    "semantic_router",
    "semantic_router_gateway",
)
ALL = "all"

#: What may be set of a component's pods, by the names of Kubernetes, and its type.
FIELDS: Mapping[str, type] = {
    "resources": dict,
    "nodeSelector": dict,
    "affinity": dict,
    "tolerations": list,
    "topologySpreadConstraints": list,
    "imagePullSecrets": list,
    "priorityClassName": str,
}
#: Of these, what is the pod's own and not its container's.
_POD_FIELDS = tuple(field for field in FIELDS if field != "resources")
#: Where an upstream's chart or API has no place for a field.
UNSUPPORTED = {
    "envoy_ai_gateway": ("priorityClassName", "topologySpreadConstraints"),
    # A container of the proxies' pods.
    "processor": _POD_FIELDS,
}


def workload_faults(workloads: t.Any) -> list[str]:
    """What is wrong with the variable, one line each; empty where nothing is."""
    if not isinstance(workloads, Mapping):
        return [f"it is {type_name(workloads)}; write a mapping from components to fields of their pods"]
    faults = []
    for component, fields in workloads.items():
        if component not in (*COMPONENTS, ALL):
            faults.append(f"{component} is no component; {_near(component, (*COMPONENTS, ALL))}")
        elif not isinstance(fields, Mapping):
            faults.append(f"{component} is {type_name(fields)}; write a mapping of fields")
        else:
            faults += [f"{component}.{fault}" for field, value in fields.items() for fault in _faults_of(field, value)]
            faults += [
                f"{component}.{field} has no place in the upstream's chart or API; leave it out"
                for field in UNSUPPORTED.get(component, ())
                if field in fields
            ]
    return faults


def _faults_of(field: str, value: t.Any) -> t.Iterator[str]:
    expected = FIELDS.get(field)
    if expected is None:
        yield f"{field} is no field that can be set; {_near(field, tuple(FIELDS))}"
    elif not isinstance(value, expected):
        names: dict[type, str] = {dict: "mapping", list: "list", str: "string"}
        yield f"{field} is {type_name(value)}; write a {names[expected]}, as in a pod of Kubernetes"


def _near(name: t.Any, known: tuple[str, ...]) -> str:
    near = nearest(str(name), known)
    return f"did you mean `{near}`?" if near else f"write one of {', '.join(known)}"


def workload(workloads: Mapping[str, Mapping[str, t.Any]], component: str) -> dict[str, t.Any]:
    """The fields of a component: what is set for all, and over it what is set for itself."""
    return {
        field: value
        for field, value in {**workloads.get(ALL, {}), **workloads.get(component, {})}.items()
        if field not in UNSUPPORTED.get(component, ())
    }


def pod_fields(workloads: Mapping[str, Mapping[str, t.Any]], component: str) -> dict[str, t.Any]:
    """Of these, the pod's own."""
    return {field: value for field, value in workload(workloads, component).items() if field in _POD_FIELDS}
