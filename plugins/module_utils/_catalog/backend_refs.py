# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of the objects on the premises that serve models."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import listing, quote, type_name
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inference_pools import Pools, unsupported
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import KUADRANT, PREFIX
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import BackendRef, Tls, plain
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import (
    KSERVE_PORT,
    KSERVE_SUFFIX,
    SIMULATOR_PORT,
    SIMULATOR_SUFFIX,
    service_hostname,
    slug,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.providers import FORMER_PROVIDER_MODEL
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.settings import Settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import (
    LABEL,
    OBJECT,
    PROVIDER,
    SERVICE_NAME,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.tls import TLS_KEYS, read_tls

BACKEND_KINDS = ("Service", "InferencePool", "LLMInferenceService")
_ROUTE_OF_KSERVE = f"with engine {KUADRANT} the way to a model on the premises is the route that KServe makes"


def read_backend_ref(model: Entry, name: str, settings: Settings, pools: Pools) -> BackendRef:
    """What serves a model: the object that is named, or the simulator in its place.

    :param model: the entry of the model.
    :param name: public name of the model.
    :param pools: the InferencePools that the inventory describes.
    """
    simulated = model.flag("simulated", False)
    if simulated and settings.policy_engine == KUADRANT:
        remedy = "leave it out, and write the LLMInferenceService as `backend_ref`"
        model.fault("simulated", _ROUTE_OF_KSERVE, remedy)
    if not model.has("backend_ref"):
        if not simulated:
            remedy = "kind, name, namespace and, for a Service, port of what serves the model, or `simulated: true`"
            model.missing("backend_ref", remedy, unless="simulated")
            return BackendRef("", "", "")
        reference = BackendRef("Service", slug(name) + SIMULATOR_SUFFIX, settings.simulators_namespace)
        return _simulated(reference, model, name, settings.simulators_namespace)
    entry = model.entry("backend_ref", ("kind", "name", "namespace", "port", "tls", "spec"))
    reference = _object(entry, settings)
    if reference.kind == "InferencePool":
        _check_namespace(entry, reference, pools)
        return _with_pool(model, reference, pools, simulated)
    if simulated and reference.name:
        return _simulated(reference, entry, reference.name, settings.simulators_namespace)
    return reference


def backend_name(reference: BackendRef) -> str:
    """The name of the backend that an object is. No provider can have it, as theirs have no dot."""
    parts = [reference.kind.lower(), reference.namespace, reference.name, str(reference.port or "")]
    return ".".join(filter(None, parts))


def served_name(reference: BackendRef) -> str:
    """The name under which KServe serves the model of an LLMInferenceService; empty where there is no spec.

    It is that of the model in the spec, or that of the object.
    """
    if reference.spec is None:
        return ""
    model = reference.spec.get("model")
    name = model.get("name") if isinstance(model, Mapping) else None
    return name if name and isinstance(name, str) else reference.name


def _object(entry: Entry, settings: Settings) -> BackendRef:
    """The object that a ``backend_ref`` describes."""
    kind = entry.choice("kind", BACKEND_KINDS, "Service")
    if kind == "InferencePool" and unsupported(settings):
        entry.fault("kind", unsupported(settings), f"write another, or take the model out of {PREFIX}models")
    by_kserve = settings.policy_engine == KUADRANT
    if kind == "Service" and by_kserve:
        entry.fault("kind", _ROUTE_OF_KSERVE, "write kind LLMInferenceService")
    name_rule = SERVICE_NAME if kind == "LLMInferenceService" else OBJECT
    name = entry.string("name", name_rule)
    reference = BackendRef(kind, name, entry.string("namespace", LABEL, settings.namespace))
    if kind != "Service" and entry.has("port"):
        entry.fault("port", f"is not taken from here: {kind or 'the object'} knows its own", "leave it out")
    for key, kinds in (("tls", ("Service", "LLMInferenceService")), ("spec", ("LLMInferenceService",))):
        if kind and kind not in kinds and entry.has(key):
            entry.fault(key, f"has no meaning with kind {kind}", "leave it out")
    if kind == "Service":
        return _with_service(entry, reference, name, entry.integer("port", 1, 65535))
    if kind != "LLMInferenceService":
        return reference
    if not by_kserve:
        reference = _with_service(entry, reference, name + KSERVE_SUFFIX, KSERVE_PORT)
    elif entry.has("tls"):
        problem = f"is not used with engine {KUADRANT}: the MaaS gateway calls the model as KServe says"
        entry.fault("tls", problem, "leave it out")
    return replace(reference, spec=_spec(entry))


def _check_namespace(entry: Entry, reference: BackendRef, pools: Pools) -> None:
    """A pool that is described in another namespace is hardly that of the cluster in the namespace that is left out."""
    if entry.has("namespace") or entry.faulty("namespace"):
        return
    elsewhere = [namespace for namespace, name in pools if name == reference.name]
    if elsewhere and reference.namespace not in elsewhere:
        entry.fault(
            "namespace",
            f"is missing, and {PREFIX}inference_pools describes {reference.name} in {listing(elsewhere)}",
            f"write {listing(elsewhere, 'or')}, or {reference.namespace} for a pool that the cluster has there",
        )


def _with_pool(model: Entry, reference: BackendRef, pools: Pools, simulated: bool) -> BackendRef:
    """The reference with the simulator of its pool, and the faults of what no pool can do."""
    if simulated:
        model.fault(
            "simulated",
            "is not said of a model but of its InferencePool",
            f"write it at the pool in {PREFIX}inference_pools",
        )
    key = FORMER_PROVIDER_MODEL if model.has(FORMER_PROVIDER_MODEL) else "provider_model"
    if model.has(key) and model.value[key] != model.value.get("name"):
        model.fault(
            key,
            "is another name than the public one, and Envoy AI Gateway changes no request to an InferencePool",
            "leave it out, and let the pods serve the public name too (vLLM: --served-model-name takes several)",
        )
    pool = pools.get((reference.namespace, reference.name))
    return replace(reference, simulator=pool.simulator.name) if pool and pool.simulator else reference


def _simulated(reference: BackendRef, entry: Entry, name: str, simulators_namespace: str) -> BackendRef:
    """The reference with the endpoint of a simulator, which is named after ``name``.

    The rest of what is said of the object is kept for later.
    """
    simulator = slug(name) + SIMULATOR_SUFFIX
    if name and not PROVIDER.accepts(slug(name)):
        problem = f"the simulator cannot be named {quote(simulator)} after it: that is no name of a Service"
        remedy = f"write a `backend_ref` with a name of up to {PROVIDER.limit} characters that starts with a letter"
        entry.fault("name", problem, remedy)
    hostname = service_hostname(simulator, simulators_namespace)
    return replace(reference, hostname=hostname, port=SIMULATOR_PORT, tls=Tls("none"), simulator=simulator)


def _with_service(entry: Entry, reference: BackendRef, service: str, port: int | None) -> BackendRef:
    """The reference with the endpoint of its Service.

    Services speak plain HTTP unless ``tls`` says otherwise, and those of KServe speak HTTPS.
    """
    reference = replace(reference, hostname=service_hostname(service, reference.namespace), port=port)
    kserve = reference.kind == "LLMInferenceService"
    why = "KServe's certificates come from an authority that the system does not know"
    remedy = (
        "the name of a Secret, or certificates, or write `tls: {mode: none}` where KServe serves plain HTTP "
        "(its enableLLMInferenceServiceTLS is false)"
    )
    if not entry.has("tls"):
        if kserve and not entry.faulty("tls"):
            entry.fault("tls", f"is missing, and {why}", f"write `ca_bundle` in it, {remedy}")
        return reference
    entry = entry.entry("tls", TLS_KEYS)
    default = "simple" if kserve else "none"
    tls = read_tls(entry, backend_name(reference), reference.hostname, default=default)
    if (
        kserve
        and entry.readable
        and tls.mode in ("simple", "mutual")
        and not entry.has("ca_bundle")
        and not entry.faulty("ca_bundle")
    ):
        entry.fault("ca_bundle", f"is missing, and {why}", f"write {remedy}")
    return replace(reference, tls=tls)


def _spec(entry: Entry) -> Mapping[str, t.Any] | None:
    spec = entry.value.get("spec")
    if spec is None or isinstance(spec, Mapping):
        return t.cast("Mapping[str, t.Any] | None", plain(spec))
    entry.fault(
        "spec",
        f"is {type_name(spec)}",
        "write the fields of an LLMInferenceService's spec, or leave it out for one that exists",
    )
    return None
