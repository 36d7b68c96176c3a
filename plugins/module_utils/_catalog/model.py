# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The data of a catalogue, which the roles render from. Nothing here keeps a credential's value."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.network_policy import Destination


@dataclass(frozen=True)
class Tls:
    """How the gateway speaks to an endpoint.

    ``ca_bundle`` is the name of a Secret, or with ``ca_certificates`` (PEM) that of the ConfigMap made from them;
    ``client_certificate`` is the name of a Secret. All are empty for none.
    """

    mode: str
    sni: str = ""
    ca_bundle: str = ""
    ca_certificates: str = ""
    client_certificate: str = ""


@dataclass(frozen=True)
class Endpoint:
    """Where a provider answers.

    ``hostname`` is a DNS name, or with ``address`` an IP address; ``prefix`` comes before every path.
    """

    hostname: str
    port: int
    tls: Tls
    address: bool = False
    prefix: str = "/v1"


@dataclass(frozen=True)
class ExternalSecret:
    """Where the External Secrets operator finds a key:

    the store, its kind, the key in it and, if not empty, the property of that.
    """

    store: str
    kind: str
    key: str
    property: str


@dataclass(frozen=True)
class Credential:
    """Where a provider's key is kept and how it is sent.

    ``managed``: the Secret is rendered from the inventory's value.
    """

    header: str
    scheme: str
    secret: str
    key: str
    managed: bool
    external_secret: ExternalSecret | None = None


@dataclass(frozen=True)
class ProviderModel:
    name: str
    provider_model: str
    weight: int | None = None
    priority: int | None = None


@dataclass(frozen=True)
class Provider:
    name: str
    schema: str
    simulated: bool
    endpoint: Endpoint
    credential: Credential
    headers: Mapping[str, str]
    models: tuple[ProviderModel, ...]
    #: The name of the backend made for it, see ``named_after``.
    backend: str = ""
    #: What the clients' gateway calls instead of the endpoint, None where it calls that.
    bridge: Endpoint | None = None


@dataclass(frozen=True)
class BackendRef:
    """The object that serves an on-premises model, and the end of the Service in front of it; that of an InferencePool
    is empty.

    ``spec`` is of an LLMInferenceService to be made, None of one that exists. ``simulator`` names the simulator that
    stands in, else it is empty.
    """

    kind: str
    name: str
    namespace: str
    hostname: str = ""
    port: int | None = None
    tls: Tls = Tls("none")
    spec: Mapping[str, t.Any] | None = None
    simulator: str = ""


@dataclass(frozen=True)
class ModelBackend:
    """One end that serves a model:

    a provider's name, or the reference of an on-premises object, whose backend has this ``name``.
    """

    name: str
    provider: str | None
    backend_ref: BackendRef | None
    provider_model: str
    weight: int = 1
    priority: int = 0


@dataclass(frozen=True)
class RouteBackend:
    """A backend of a route, by the name of the object."""

    name: str
    provider_model: str
    weight: int = 1
    priority: int = 0


@dataclass(frozen=True)
class Route:
    """An AIGatewayRoute of a model.

    ``ends`` are those that a path has to name, or ANY_END for all other paths; ``name`` see ``route_name``.
    """

    name: str
    ends: tuple[str, ...]
    backends: tuple[RouteBackend, ...]


@dataclass(frozen=True)
class Model:
    """A public model: the ends that serve it, and how requests come to them."""

    name: str
    backends: tuple[ModelBackend, ...]
    routes: tuple[Route, ...]


@dataclass(frozen=True)
class Limit:
    """What each user of a tier may spend in a window.

    ``measure`` is what counts; ``model`` is empty for all models together.
    """

    measure: str
    amount: int
    window: str
    unit: str
    model: str = ""


@dataclass(frozen=True)
class Tier:
    name: str
    level: int
    groups: tuple[str, ...]
    namespace: str
    limits: tuple[Limit, ...]
    models: tuple[str, ...]
    #: Whether the models are named, so that whatever is not among them is refused.
    restricted: bool


@dataclass(frozen=True)
class IdentityKey:
    """Where the key is that makes values of callers which providers may see:

    the Secret and its key, and the file that the proxies read.
    """

    namespace: str
    secret: str
    key: str = "key"
    file: str = "/run/ai-gateway/key"


@dataclass(frozen=True)
class NeededSecret:
    """A Secret that must be on the cluster, the ``keys`` that it must hold, and its ``users``, such as ``provider
    openai``.
    """

    name: str
    namespace: str
    keys: tuple[str, ...]
    users: tuple[str, ...]


@dataclass(frozen=True)
class EgressGateway:
    """The gateway between that of the clients and the providers; ``service``, ``hostname`` and ``port`` are those of
    its proxies, which may call ``egress``.
    """

    name: str
    namespace: str
    class_name: str
    service: str
    hostname: str
    port: int
    egress: tuple[Destination, ...]


@dataclass(frozen=True)
class MaasApi:
    """Whether models are registered with a maas-api that runs already, and in which namespace that is."""

    enabled: bool
    namespace: str


@dataclass(frozen=True)
class Catalog:
    """Everything the roles render from."""

    platform: str
    stack: str
    policy_engine: str
    namespace: str
    name: str
    audience: str
    identity_key: IdentityKey
    gateway_namespace: str
    egress_gateway: EgressGateway | None
    maas_api: MaasApi
    simulators_namespace: str
    #: Tokens that an answer costs of which none can be counted; 0 to reckon them from its bytes.
    uncounted_tokens: int
    providers: tuple[Provider, ...]
    models: tuple[Model, ...]
    tiers: tuple[Tier, ...]
    #: The Secrets that must be on the cluster, as they are named and nobody here makes them.
    secrets: tuple[NeededSecret, ...]
    egress: tuple[Destination, ...]

    def as_dict(self) -> dict[str, t.Any]:
        """The catalogue in plain lists and dictionaries, without any credential's value."""
        result = t.cast("dict[str, t.Any]", plain(asdict(self)))
        for provider in result["providers"]:
            _without_empty_tls(provider["endpoint"])
            if provider["bridge"] is None:
                del provider["bridge"]
            else:
                _without_empty_tls(provider["bridge"])
            if provider["credential"]["external_secret"] is None:
                del provider["credential"]["external_secret"]
            # The rule of a model stands with the model, once.
            provider["models"] = [
                {"name": model["name"], "provider_model": model["provider_model"]} for model in provider["models"]
            ]
        for model in result["models"]:
            for backend in model["backends"]:
                del backend["backend_ref" if backend["provider"] is not None else "provider"]
                if "backend_ref" in backend:
                    _without_empty_tls(backend["backend_ref"])
                    if backend["backend_ref"]["spec"] is None:
                        del backend["backend_ref"]["spec"]
        return result


def _without_empty_tls(end: dict[str, t.Any]) -> None:
    if end["tls"]["mode"] == "none":
        end["tls"] = {"mode": "none"}


def plain(value: t.Any) -> t.Any:
    """``value`` with lists for tuples and Python's own text for any subclass:

    whatever copies it later would copy the inventory's marks too.
    """
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return "".join(value) if isinstance(value, str) else value
