# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of the settings: platform, stack, policy engine, and the names that the others build on."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import quote
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import (
    DEFAULTS,
    ESTIMATED,
    KUADRANT,
    PLATFORMS,
    POLICY_ENGINES,
    PREFIX,
    STACKS,
    WG_AI_GATEWAY,
    default_engine,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import (
    ControllerNamespaces,
    EgressGateway,
    MaasApi,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import (
    EGRESS_CLASS,
    EGRESS_PORT,
    LABEL_LIMIT,
    egress_service,
    service_hostname,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.quantities import SIZE, bytes_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import CURRENCY, LABEL

# The most tokens that an answer may cost of which none can be counted.
_UNCOUNTED_LIMIT = 10_000_000


@dataclass(frozen=True)
class Settings:
    """What an inventory says of the gateway itself. Fields that ``Catalog`` has too are as there."""

    platform: str
    stack: str
    policy_engine: str
    namespace: str
    name: str
    gateway_namespace: str
    #: The egress gateway as the inventory names it, without what its proxies may call; also where the stack has none.
    egress_gateway: EgressGateway
    maas_api: MaasApi
    simulators_namespace: str
    controller_namespaces: ControllerNamespaces
    currency: str
    uncounted_tokens: int
    #: The largest body of a request, in bytes.
    request_body_limit: int

    @property
    def two_gateways(self) -> bool:
        return self.stack == WG_AI_GATEWAY

    @property
    def own_namespaces(self) -> tuple[str, ...]:
        """The namespaces that have a use of their own, whose Services no provider may be."""
        controllers = self.controller_namespaces
        return (
            self.namespace,
            self.egress_gateway.namespace,
            self.simulators_namespace,
            controllers.envoy_gateway,
            controllers.envoy_ai_gateway,
            controllers.authorino,
        )


def read_settings(root: Entry) -> Settings:
    """The settings of an inventory.

    :param root: all variables, by their names without the prefix.
    """
    platform = root.choice("platform", PLATFORMS, DEFAULTS["platform"])
    stack = root.choice("stack", STACKS, DEFAULTS["stack"])
    engine = root.choice("policy_engine", POLICY_ENGINES, default_engine(platform, stack))
    two_gateways = stack == WG_AI_GATEWAY
    namespace = _label(root, "namespace")
    maas_gateway_namespace = _label(root, "maas_gateway_namespace")
    settings = Settings(
        platform=platform,
        stack=stack,
        policy_engine=engine,
        namespace=namespace,
        name=root.string("name", LABEL, "maas-default-gateway" if two_gateways else "ai-gateway"),
        gateway_namespace=maas_gateway_namespace if engine == KUADRANT else namespace,
        egress_gateway=_egress_gateway(root, namespace),
        maas_api=MaasApi(root.flag("maas_api", two_gateways), _label(root, "maas_api_namespace")),
        simulators_namespace=_label(root, "simulators_namespace"),
        controller_namespaces=ControllerNamespaces(
            envoy_gateway=_label(root, "envoy_gateway_namespace"),
            envoy_ai_gateway=_label(root, "envoy_ai_gateway_namespace"),
            authorino=_label(root, "authorino_namespace"),
            kuadrant=_label(root, "kuadrant_namespace"),
        ),
        currency=root.string("currency", CURRENCY, DEFAULTS["currency"]),
        uncounted_tokens=_uncounted_tokens(root),
        request_body_limit=_request_body_limit(root),
    )
    _check_egress_gateway(root, settings)
    _check_namespaces(root, settings)
    return settings


def _label(root: Entry, key: str) -> str:
    return root.string(key, LABEL, DEFAULTS[key])


def _egress_gateway(root: Entry, namespace: str) -> EgressGateway:
    name = _label(root, "egress_gateway")
    own_namespace = root.string("egress_namespace", LABEL, f"{namespace}-egress")
    service = egress_service(own_namespace, name)
    hostname = service_hostname(service, own_namespace)
    return EgressGateway(name, own_namespace, EGRESS_CLASS, service, hostname, EGRESS_PORT, ())


def _uncounted_tokens(root: Entry) -> int:
    if root.value.get("uncounted_tokens") in (None, ESTIMATED):
        return 0
    return root.integer("uncounted_tokens", 1, _UNCOUNTED_LIMIT, why=f", or {ESTIMATED}") or 0


def _request_body_limit(root: Entry) -> int:
    default = DEFAULTS["request_body_limit"]
    return bytes_of(root.string("request_body_limit", SIZE, default) or default)


def _check_egress_gateway(root: Entry, settings: Settings) -> None:
    """The egress gateway has a namespace to itself, and a Service whose name is not too long."""
    if not settings.two_gateways:
        return
    egress = settings.egress_gateway
    if egress.namespace in (settings.namespace, settings.gateway_namespace):
        problem = (
            f"{quote(egress.namespace)} holds routes of the clients' gateway, "
            "and wg-ai-gateway claims all routes where it may write"
        )
        root.fault("egress_namespace", problem, "write another: it is the egress gateway's alone")
    if len(egress.service) > LABEL_LIMIT:
        root.fault(
            "egress_gateway",
            f"its Service {egress.service} has {len(egress.service)} characters",
            f"shorten it or {PREFIX}egress_namespace by {len(egress.service) - LABEL_LIMIT}",
        )
    if egress.namespace == settings.simulators_namespace:
        root.fault(
            "egress_namespace",
            f"{quote(egress.namespace)} is the simulators' namespace",
            "write another: that goes away with the simulators",
        )


def _check_namespaces(root: Entry, settings: Settings) -> None:
    """The gateway's objects, the simulators and the controllers have a namespace each."""
    if settings.namespace and settings.namespace == settings.simulators_namespace:
        root.fault(
            "simulators_namespace",
            f"{quote(settings.namespace)} is the gateway's own namespace",
            "write another: it goes away with the simulators",
        )
    controllers = settings.controller_namespaces
    for key, name in (
        ("namespace", settings.namespace),
        ("egress_namespace", settings.egress_gateway.namespace),
        ("simulators_namespace", settings.simulators_namespace),
    ):
        if name and name in (controllers.envoy_gateway, controllers.envoy_ai_gateway, controllers.authorino):
            root.fault(
                key,
                f"{quote(name)} is a namespace of the controllers",
                "write another: each set of objects has its own",
            )
