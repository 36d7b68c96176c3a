# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of the public models, and what must hold among those that share a name, an object or a simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.backend_refs import (
    backend_name,
    read_backend_ref,
    served_name,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import Fault, listing, quote, unique
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inference_pools import Pools
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import ENVOY_AI_GATEWAY
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import (
    BackendRef,
    Model,
    ModelBackend,
    ProviderModel,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import SIMULATOR_SUFFIX
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.providers import (
    FORMER_PROVIDER_MODEL,
    ReadProvider,
    read_provider_model,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.routes import pack_routes
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.schemas import SCHEMAS
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.settings import Settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import LABEL, MODEL

_MODEL_KEYS = ("name", "provider_model", FORMER_PROVIDER_MODEL, "simulated", "backend_ref", "objective")


@dataclass(frozen=True)
class _Served:
    """A model at one of its providers."""

    #: Where the inventory has it.
    path: str
    provider: ReadProvider
    model: ProviderModel

    @property
    def backend(self) -> ModelBackend:
        name, model = self.provider.provider.name, self.model
        return ModelBackend(name, name, None, model.provider_model, model.weight or 1, model.priority or 0)


def read_models(root: Entry, providers: Sequence[ReadProvider], settings: Settings, pools: Pools) -> tuple[Model, ...]:
    """All public models in the order of the catalogue: the providers' first, then those on the premises.

    :param root: all variables, by their names without the prefix.
    :param pools: the InferencePools that the inventory describes.
    """
    served = _by_name(providers)
    # With the other stack, a model that several providers serve is a fault already.
    if settings.stack == ENVOY_AI_GATEWAY:
        for name, places in served.items():
            _check_sharing(name, places, root.faults)
    backends = {name: tuple(place.backend for place in places) for name, places in served.items()}
    objectives: dict[str, str] = {}
    for name, (backend, objective) in _on_premises(root, providers, served, settings, pools).items():
        backends[name], objectives[name] = (backend,), objective
    objects = {read.provider.name: read.provider.backend for read in providers}
    return tuple(
        Model(
            name,
            found,
            () if pool_of(found) else pack_routes(name, found, objects),
            objectives.get(name, ""),
        )
        for name, found in backends.items()
    )


def pool_of(backends: Sequence[ModelBackend]) -> BackendRef | None:
    """The InferencePool that serves a model; None where something else does."""
    reference = backends[0].backend_ref if backends else None
    return reference if reference is not None and reference.kind == "InferencePool" else None


def _by_name(providers: Sequence[ReadProvider]) -> dict[str, list[_Served]]:
    """The providers of each model in their order; what a provider lists twice counts once."""
    served: dict[str, list[_Served]] = {}
    for read in providers:
        listed = set()
        for entry, model in read.models:
            if model.name and model.name not in listed:
                listed.add(model.name)
                served.setdefault(model.name, []).append(_Served(entry.path, read, model))
    return served


def _check_sharing(name: str, places: Sequence[_Served], faults: list[Fault]) -> None:
    """A model of several providers: they speak one API, have names, and rules choose among them."""
    schemas = {place.provider.provider.schema for place in places} - {""}
    if len({SCHEMAS[schema].api or schema for schema in schemas}) > 1:
        problem = f"the providers of {quote(name)} speak {listing(sorted(schemas))}"
        faults.append(
            Fault(
                places[0].path,
                f"{problem}, and a request of one cannot be sent to the other",
                "give the model another public name at one of them",
            )
        )
        return
    if len(places) == 1:
        return
    by_address = [place.path for place in places if place.provider.provider.endpoint.address]
    if by_address:
        # Envoy AI Gateway cannot distinguish such backends of a model: one would get the key of another, or the
        # caller's token.
        faults.append(
            Fault(
                by_address[0],
                f"{quote(name)} has several providers, and this one is reached by an address",
                "write the host name of its endpoint",
            )
        )
        return
    _check_rules(name, places, faults)


def _check_rules(name: str, places: Sequence[_Served], faults: list[Fault]) -> None:
    """Each of several providers has a weight or a priority, and priorities count from 0 without a gap."""
    paths = [place.path for place in places]
    without = [place.path for place in places if place.model.weight is None and place.model.priority is None]
    if without:
        others = listing([path for path in paths if path != without[0]])
        faults.append(
            Fault(
                without[0],
                f"{quote(name)} is served by {others} too and nothing says which one to use",
                "write `weight` or `priority` in each of them",
            )
        )
        return
    priorities = sorted({place.backend.priority for place in places})
    if priorities != list(range(len(priorities))):
        shown = listing([str(priority) for priority in priorities])
        faults.append(
            Fault(
                f"{paths[0]}.priority",
                f"the providers of {quote(name)} ({listing(paths)}) have the priorities {shown}",
                "count them from 0 (used first) without a gap",
            )
        )


def _on_premises(
    root: Entry, providers: Sequence[ReadProvider], served: dict[str, list[_Served]], settings: Settings, pools: Pools
) -> dict[str, tuple[ModelBackend, str]]:
    """The object that serves each model on the premises, and the model's objective."""
    found: dict[str, tuple[ModelBackend, str]] = {}
    names: list[tuple[str, str]] = []
    objects = _Objects(providers)
    for entry in root.entries("models", _MODEL_KEYS):
        name = entry.string("name", MODEL)
        names.append((entry.at("name"), name))
        reference = read_backend_ref(entry, name, settings, pools)
        provider_model = read_provider_model(entry, served_name(reference) or name)
        if name in served:
            entry.fault(
                "name",
                f"{quote(name)} is also the model {served[name][0].path} of a provider",
                "give one of them another public name",
            )
            continue
        objective = entry.string("objective", LABEL, "")
        if objective and reference.kind and reference.kind != "InferencePool":
            entry.fault("objective", f"has no meaning with kind {reference.kind}", "leave it out")
        if reference.kind == "InferencePool":
            provider_model = name
        found.setdefault(name, (ModelBackend(backend_name(reference), None, reference, provider_model), objective))
        if reference.name:
            objects.check(entry, reference)
    unique(names, "name", "give each model its own", root.faults)
    return found


class _Objects:
    """The objects and simulators that models name, each of which has one description and one path."""

    def __init__(self, providers: Sequence[ReadProvider]) -> None:
        #: By the name of a backend, where it is described first and how.
        self._described: dict[str, tuple[str, BackendRef]] = {}
        #: By namespace and name, the backend that the path /<namespace>/<name> leads to.
        self._paths: dict[tuple[str, str], str] = {}
        #: By the name of a simulator, where it is named first and what it stands for.
        self._simulators = {
            read.provider.name + SIMULATOR_SUFFIX: (read.entry.path, "")
            for read in providers
            if read.provider.simulated
        }

    def check(self, entry: Entry, reference: BackendRef) -> None:
        """Note the faults of an object beside those that were checked before.

        :param entry: the entry of the model.
        """
        name = backend_name(reference)
        if reference.namespace == "external":
            entry.fault(
                "backend_ref",
                "its path begins with /external/, as those of providers do",
                "write an object of another namespace",
            )
        elif self._paths.setdefault((reference.namespace, reference.name), name) != name:
            path = f"/{reference.namespace}/{reference.name}"
            entry.fault(
                "backend_ref", f"the path {path} leads to another object already", "write an object of another name"
            )
        path, first = self._described.setdefault(name, (entry.path, reference))
        if first != reference:
            problem = f"{reference.kind} {reference.namespace}/{reference.name} is described in another way by {path}"
            entry.fault("backend_ref", problem, "write the same `simulated` and `backend_ref` in both")
        elif reference.simulator and reference.kind != "InferencePool":
            # Models share a simulator where they name the object that it simulates.
            stands_for = name if entry.has("backend_ref") else entry.path
            path, other = self._simulators.setdefault(reference.simulator, (entry.path, stands_for))
            if other != stands_for:
                remedy = "write a `backend_ref` with another name: the simulator is named after it"
                entry.fault("", f"its simulator {reference.simulator} is also that of {path}", remedy)
