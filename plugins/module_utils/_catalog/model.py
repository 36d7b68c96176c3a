# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The data of a catalogue, from which the roles render. It holds no value of a credential.

Strings are empty and tuples are without items where there is nothing to say, unless a field says otherwise.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.paths import (
    REFUSED,
    SERVED_PATHS,
    ServedPath,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.request_headers import HEADERS, Headers
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.schemas import API_KEY, Answers

#: A peer of a NetworkPolicy: ``ipBlock``, or ``namespaceSelector`` with or without ``podSelector``.
Peer = dict[str, t.Any]

#: In place of a name in ``Route.providers``: all paths that name nobody. No provider has this name.
ANY_PROVIDER = "*"


@dataclass(frozen=True)
class Destination:
    """What proxies may call, as one NetworkPolicy."""

    #: Last part of the policy's name, a DNS subdomain such as ``port-443`` or ``namespace.llm``.
    name: str
    #: TCP port, or None for all ports.
    port: int | None
    #: The peers of the policy, at least one.
    peers: tuple[Peer, ...]


@dataclass(frozen=True)
class Tls:
    """How the gateway speaks to an endpoint. All other fields are empty with mode none."""

    #: ``none`` for plain HTTP, ``simple`` to verify the endpoint, ``mutual`` to present a certificate besides.
    mode: str
    #: Host name to ask for and to verify.
    sni: str = ""
    #: Name of the Secret with the certificates to verify with, or of the ConfigMap that is made from
    #: ``ca_certificates``; empty for the certificates of the system.
    ca_bundle: str = ""
    #: Certificates in PEM as the inventory has them; empty where it names a Secret.
    ca_certificates: str = ""
    #: Name of the Secret with the certificate to present; empty without mode ``mutual``.
    client_certificate: str = ""


@dataclass(frozen=True)
class Endpoint:
    """Where a provider answers."""

    #: DNS name, or with ``address`` an IP address.
    hostname: str
    #: TCP port, from 1 to 65535.
    port: int
    tls: Tls
    #: Whether ``hostname`` is an IP address.
    address: bool = False
    #: What comes before every path, such as ``/v1``, or ``/`` alone.
    prefix: str = "/v1"


@dataclass(frozen=True)
class ExternalSecret:
    """Where the External Secrets operator finds a key."""

    #: Name of the store.
    store: str
    #: ``SecretStore`` or ``ClusterSecretStore``.
    kind: str
    #: Name of the entry in the store.
    key: str
    #: Property of that entry; empty where the entry is the key itself.
    property: str


@dataclass(frozen=True)
class Federation:
    """How the token of an identity provider becomes one of a cloud. A field without meaning in a cloud is empty."""

    #: The issuer of the identity provider.
    issuer: str
    #: The client that asks it for a token; its secret is in the credential's Secret.
    client_id: str
    scopes: tuple[str, ...] = ()
    #: AWS: the role that the token is for.
    role_arn: str = ""
    #: Google Cloud: the pool, the provider in it, and the number of their project.
    pool: str = ""
    pool_provider: str = ""
    project_number: str = ""
    #: Google Cloud: name of the service account to act as; empty for none.
    service_account: str = ""


@dataclass(frozen=True)
class Credential:
    """Where a provider's key is kept and how it is sent."""

    #: Name of the HTTP header, as the inventory writes it; empty where the form is not ``api_key``.
    header: str
    #: What comes before the key in the header, such as ``Bearer``; empty where the key stands alone.
    scheme: str
    #: Name of the Secret, in the namespace of the clients' gateway's objects; empty with form ``workload_identity``.
    secret: str
    #: Key of the Secret's data.
    key: str
    #: Whether the Secret is rendered from the inventory's value.
    managed: bool
    #: Where the operator that makes the Secret finds the key; None where there is none.
    external_secret: ExternalSecret | None = None
    #: What it is, see ``schemas``.
    form: str = API_KEY
    #: Azure: the application and its tenant.
    client_id: str = ""
    tenant_id: str = ""
    #: None where the form is another one.
    federation: Federation | None = None


@dataclass(frozen=True)
class ProviderModel:
    """A model that a provider serves."""

    #: Public name, which clients write into their requests.
    name: str
    #: Name at the provider.
    provider_model: str
    #: Share of the requests among providers of one priority; None where the inventory says nothing.
    weight: int | None = None
    #: Rank of the provider for this model, 0 first; None where the inventory says nothing.
    priority: int | None = None


@dataclass(frozen=True)
class Provider:
    """A provider outside of the cluster, or the simulator in its place."""

    #: DNS label of at most 52 characters that starts with a letter.
    name: str
    #: The API that it speaks, a key of ``SCHEMAS``.
    schema: str
    #: Whether a simulator answers in its place.
    simulated: bool
    #: Where it answers; a simulator's own endpoint where that is ``simulated``.
    endpoint: Endpoint
    credential: Credential
    #: Further headers of every request to it, names in lower case.
    headers: Mapping[str, str]
    #: The models that it serves, at least one.
    models: tuple[ProviderModel, ...]
    #: Name of the Backend that is made for it, see ``named_after``.
    backend: str = ""
    #: Its endpoint at the egress gateway, which the clients' gateway calls instead of ``endpoint``; None without an
    #: egress gateway.
    egress_endpoint: Endpoint | None = None
    #: Name of its API in an AIServiceBackend.
    schema_name: str = ""
    #: Where it is in its cloud, and the version of its API; empty where its schema has none.
    project: str = ""
    region: str = ""
    api_version: str = ""
    #: Of its schema: the cloud whose credentials it needs, empty for none; whether ``endpoint`` says what comes before
    #: the API's paths; and what the proxies must know of its answers.
    cloud: str = ""
    has_prefix: bool = False
    answers: Answers = field(default_factory=Answers)


@dataclass(frozen=True)
class McpServer:
    """A server of tools that speaks the Model Context Protocol, or the simulator in its place."""

    #: DNS label of at most 52 characters that starts with a letter. Names of its tools begin with it, and so is its
    #: Backend named.
    name: str
    #: Whether a simulator answers in its place.
    simulated: bool
    #: Where it answers; a simulator's own endpoint where that is ``simulated``. Its ``prefix`` has no meaning.
    endpoint: Endpoint
    #: Path at which it answers.
    path: str
    #: The key that the gateway presents; None where it presents none.
    credential: Credential | None
    #: Names of the tools that it has for clients; all where that is empty.
    include: tuple[str, ...] = ()
    #: Names of the tools that it has for nobody.
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class McpTools:
    """The tools of one MCP server that a tier may call."""

    #: Name of the server.
    server: str
    #: Whether these are all of its tools.
    every: bool = False
    #: Names that the server has for them.
    names: tuple[str, ...] = ()
    #: Beginnings of such names.
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BackendRef:
    """The object that serves a model on the premises, and the endpoint of its Service."""

    #: ``Service``, ``LLMInferenceService`` or ``InferencePool``.
    kind: str
    name: str
    namespace: str
    #: DNS name of the Service to call; empty for an InferencePool and where KServe makes the route.
    hostname: str = ""
    #: TCP port of the Service; None where ``hostname`` is empty.
    port: int | None = None
    tls: Tls = Tls("none")
    #: Spec of an LLMInferenceService to be made; None for an existing one and for other kinds.
    spec: Mapping[str, t.Any] | None = None
    #: Name of the simulator that answers in its place; empty where none does.
    simulator: str = ""


@dataclass(frozen=True)
class ModelBackend:
    """A provider or an object on the premises that serves a model."""

    #: ``provider``, or a name made of the object's kind, namespace, name and port.
    name: str
    #: Name of the provider; None on the premises.
    provider: str | None
    #: The object; None for a provider.
    backend_ref: BackendRef | None
    #: Name that the backend has for the model.
    provider_model: str
    #: Share of the requests among backends of one priority, from 1.
    weight: int = 1
    #: Rank among the backends of the model, 0 first, without a gap.
    priority: int = 0


@dataclass(frozen=True)
class RouteBackend:
    """A backend of a route."""

    #: Name of the Backend object.
    name: str
    #: Name that the backend has for the model.
    provider_model: str
    #: As in ``ModelBackend``.
    weight: int = 1
    #: As in ``ModelBackend``.
    priority: int = 0


@dataclass(frozen=True)
class Route:
    """An AIGatewayRoute of a model. Its backends never change: with others it has another name."""

    #: Name of the object, see ``route_name``.
    name: str
    #: The values of header x-ai-gateway-provider that it matches, which come from a request's path: names of the
    #: model's backends, and ANY_PROVIDER for all paths that name nobody. At least one.
    providers: tuple[str, ...]
    #: Where its requests go, at least one.
    backends: tuple[RouteBackend, ...]


@dataclass(frozen=True)
class EndpointPicker:
    """What chooses a pod of an InferencePool for each request."""

    #: Name of its Deployment and of all else that is made for it.
    name: str
    #: TCP port on which the proxies ask it.
    port: int
    #: Number of its pods; None where the inventory says nothing.
    replicas: int | None
    #: ``FailClose`` or ``FailOpen``: what becomes of requests while it does not answer.
    failure_mode: str
    #: Its EndpointPickerConfig.
    config: Mapping[str, t.Any]
    #: A pod has no capacity for requests of negative priority with more waiting requests than this.
    queue_depth: int = 5
    #: Or with more of its cache in use than this.
    kv_cache_percent: int = 80
    #: Or with metrics older than this.
    metrics_age_milliseconds: int = 1000
    #: Names of the metrics of the pods that it reads.
    queued_requests_metric: str = "vllm:num_requests_waiting"
    kv_cache_usage_metric: str = "vllm:kv_cache_usage_perc"
    lora_info_metric: str = "vllm:lora_requests_info"
    #: Types of plugins that the picker of role versions does not know, such as those of llm-d.
    foreign_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Objective:
    """An InferenceObjective of a pool: a name for the priority of requests."""

    name: str
    #: Requests of negative priority are refused while no pod has capacity.
    priority: int


@dataclass(frozen=True)
class PoolSimulator:
    """The pods that answer in place of those of an InferencePool."""

    #: Name of their Deployment.
    name: str
    replicas: int = 2
    #: Requests that one pod serves at a time; further ones wait.
    slots: int = 4
    #: Blocks of 16 tokens that the cache of one pod holds.
    cache_blocks: int = 1024


@dataclass(frozen=True)
class InferencePool:
    """Pods that serve models, chosen by an endpoint picker. What follows ``managed`` is empty where that is false."""

    name: str
    #: That of its pods and of its route.
    namespace: str
    #: The name of the backend that it is, see ``pool_backend_name``.
    backend: str
    #: Name of the one AIGatewayRoute to it. One rule has all its models: every further rule would put the picker into
    #: the proxies once more.
    route: str
    #: Whether the inventory describes it; otherwise the cluster has it, with its picker.
    managed: bool = False
    #: TCP port of its pods; None where the cluster has it.
    target_port: int | None = None
    #: Labels of its pods.
    selector: Mapping[str, str] = field(default_factory=dict)
    picker: EndpointPicker | None = None
    objectives: tuple[Objective, ...] = ()
    #: None where real pods answer.
    simulator: PoolSimulator | None = None
    #: Host under which its models are served without the picker; empty for none.
    direct_hostname: str = ""
    #: Public names of the models that it serves.
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Price:
    """What a million tokens of a model cost, in a currency that is the same for all."""

    input: float
    output: float
    #: Of the input that the provider had in its cache; that of the input where the inventory says nothing.
    cached_input: float


@dataclass(frozen=True)
class Model:
    """A public model."""

    #: Name that clients write into their requests.
    name: str
    #: What serves it, at least one: several providers, or one object on the premises.
    backends: tuple[ModelBackend, ...]
    #: How requests reach the backends; the first route is that of the paths that name nobody. None for a model of an
    #: InferencePool, which has one route for all its models.
    routes: tuple[Route, ...]
    #: Name of the InferenceObjective of its requests; empty for that of the tier.
    objective: str = ""
    #: None where the inventory has no price of it.
    price: Price | None = None


@dataclass(frozen=True)
class Limit:
    """What each user of a tier may use in a window."""

    #: What is counted: ``total_tokens``, ``input_tokens``, ``output_tokens``, ``cost`` or ``requests``.
    measure: str
    #: Tokens, requests or millionths of the currency, from 1.
    amount: int
    #: Length of the window as a Gateway API duration: ``1s``, ``1m``, ``1h`` or ``24h``.
    window: str
    #: The same in the rate limit service's words: ``Second``, ``Minute``, ``Hour`` or ``Day``.
    unit: str
    #: The same in seconds.
    seconds: int
    #: Public name of the model that it counts; empty for all models together.
    model: str = ""


@dataclass(frozen=True)
class Tier:
    """A tier of users."""

    #: DNS label.
    name: str
    #: Rank, from 0. The highest level among the tiers of a user's groups wins.
    level: int
    #: Groups whose members are in the tier, at least one.
    groups: tuple[str, ...]
    #: Namespace of the ServiceAccounts that stand for users of the tier.
    namespace: str
    #: All limits, at least one, those of all models first.
    limits: tuple[Limit, ...]
    #: Public names of the models that the tier may use.
    models: tuple[str, ...]
    #: Whether the inventory names the models, so that all others are refused.
    restricted: bool
    #: The tools of MCP servers that the tier may call, each server once; no others are allowed.
    mcp_tools: tuple[McpTools, ...] = ()
    #: Name of the InferenceObjective of its requests to InferencePools, unless the model has one; empty for none.
    objective: str = ""


@dataclass(frozen=True)
class SigningKeys:
    """Where the keys are found with which an issuer signs its tokens."""

    #: HTTPS URL of its JSON Web Key Set; empty where the issuer is asked for it.
    uri: str
    #: Certificates in PEM to verify that endpoint with; empty for those of the system, or of the cluster.
    ca_certificates: str = ""


@dataclass(frozen=True)
class ServiceAccountCallers:
    """How the ServiceAccounts of the tiers' namespaces are checked. What follows ``check`` is for ``signature``."""

    #: ``review``: Authorino asks the API server. ``signature``: the proxies verify tokens themselves.
    check: str = "review"
    #: What the cluster writes into its tokens as their issuer.
    issuer: str = ""
    #: The most seconds from a token's issue to its expiry.
    maximum_lifetime: int = 0
    signing_keys: SigningKeys = SigningKeys("")
    #: Whether the API server of this cluster has the keys.
    of_cluster: bool = False
    #: The file of the proxies with who signs the certificate of that; empty where it has not the keys.
    ca_file: str = ""


@dataclass(frozen=True)
class OidcCallers:
    """The users of an OpenID Connect issuer."""

    #: DNS label, which distinguishes its users from others of the same name.
    name: str
    #: As its tokens have it.
    issuer: str
    #: A token must have one of these, at least one.
    audiences: tuple[str, ...]
    signing_keys: SigningKeys
    #: The claims with the user and with the user's groups.
    user_claim: str = "sub"
    groups_claim: str = "groups"


@dataclass(frozen=True)
class TokenCheck:
    """How the proxies verify the tokens of an issuer themselves."""

    #: ``signature`` for ServiceAccounts, ``oidc:<name>`` for others.
    name: str
    issuer: str
    #: A token must have one of these; empty for those of ServiceAccounts, which role access_policies knows.
    audiences: tuple[str, ...]
    signing_keys: SigningKeys
    #: Host name and port of what has the keys.
    hostname: str
    port: int


@dataclass(frozen=True)
class ApiKeyCallers:
    """Callers with API keys, which module gateway_api_key issues."""

    #: What each key begins with, before an underscore.
    prefix: str
    #: The longest duration from the issue of a key to its end, such as ``365d``.
    maximum_lifetime: str


@dataclass(frozen=True)
class Callers:
    """Whose credentials the gateway accepts."""

    service_accounts: ServiceAccountCallers = ServiceAccountCallers()
    #: In the order of the inventory.
    oidc: tuple[OidcCallers, ...] = ()
    #: The checks that the proxies do; Authorino does the others.
    checks: tuple[TokenCheck, ...] = ()
    #: None where no caller may have an API key.
    api_keys: ApiKeyCallers | None = None


@dataclass(frozen=True)
class IdentityKey:
    """Where the key is kept that turns names of callers into values which providers may see."""

    #: Namespace of the Secret, which is that of the proxies.
    namespace: str
    #: Name of the Secret.
    secret: str
    #: Key of the Secret's data.
    key: str = "key"
    #: Path of the file that the proxies read.
    file: str = "/run/ai-gateway/key"


@dataclass(frozen=True)
class NeededSecret:
    """A Secret that has to exist on the cluster, as the inventory names it and no role makes it."""

    name: str
    namespace: str
    #: Keys that its data has to hold, at least one.
    keys: tuple[str, ...]
    #: What needs it, such as ``provider openai``, at least one.
    users: tuple[str, ...]


@dataclass(frozen=True)
class RoutedModel:
    """A model that the semantic router may choose."""

    #: Public name.
    name: str
    #: Name that the router writes into the request.
    provider_model: str
    #: DNS name of the Service that the router's own gateway calls; empty with one gateway.
    hostname: str
    #: TCP port of the Service; None with one gateway.
    port: int | None


@dataclass(frozen=True)
class RouterTier:
    """A tier that may ask the semantic router."""

    name: str
    #: Public names of the router's models that it may use.
    models: tuple[str, ...]


@dataclass(frozen=True)
class SemanticRouter:
    """What chooses a model for each request that asks for ``model``."""

    #: ``single_gateway``: the gateway asks it. ``dual_gateway``: it has a gateway of its own behind the clients'.
    mode: str
    #: Whether the path of a request, and not its model, leads to it; with engine ``kuadrant``.
    by_path: bool
    #: Public name that clients write into their requests.
    model: str
    namespace: str
    #: Name of its Service and of all else that is made for it.
    service: str
    #: DNS name of the Service.
    hostname: str
    #: TCP port of its own gateway.
    port: int
    #: The models that it may choose.
    models: tuple[RoutedModel, ...]
    #: Public name of the model of requests that no decision is about.
    default_model: str
    #: ``deny``, or the public name of the model in place of one that the caller's tier may not use.
    fallback: str
    #: Whether it loads models to classify with.
    classifiers: bool
    #: The largest body of a request that it is asked about, in bytes.
    body_limit: int
    #: About how many requests it is asked at once.
    requests_at_once: int
    #: The tiers that may ask it.
    tiers: tuple[RouterTier, ...] = ()
    #: Its configuration, in its own schema.
    config: Mapping[str, t.Any] = field(default_factory=dict)
    #: What its own gateway may call.
    egress: tuple[Destination, ...] = ()


@dataclass(frozen=True)
class EgressGateway:
    """The second gateway, between that of the clients and the providers."""

    #: Name of the Gateway.
    name: str
    namespace: str
    #: Name of its GatewayClass.
    class_name: str
    #: Name of the Service, and of all else that wg-ai-gateway makes for the Gateway.
    service: str
    #: DNS name of the Service.
    hostname: str
    #: TCP port of the Service.
    port: int
    #: What its proxies may call.
    egress: tuple[Destination, ...]


@dataclass(frozen=True)
class MaasApi:
    """The maas-api that runs in the cluster."""

    #: Whether models are registered with it.
    enabled: bool
    #: Its namespace, also where it is not ``enabled``.
    namespace: str


@dataclass(frozen=True)
class Traces:
    """Where the spans of requests go, over OTLP with gRPC."""

    hostname: str
    port: int
    #: Whether the connection is in TLS, with a certificate that the proxies verify with those of their system.
    tls: bool
    #: Percent of the requests that begin a trace; a request that comes with a sampled trace is always part of it.
    sampling: int
    #: Whether Envoy AI Gateway's processor exports prompts and answers too.
    content: bool


@dataclass(frozen=True)
class Observability:
    """What the gateway reports about its requests."""

    #: Whether the proxies count requests, tokens, cost and times with the labels of tiers, users, models and providers.
    enabled: bool = False
    #: Users that have a label of their own, in each worker of each proxy; 0 for none.
    users: int = 0
    #: Who may read the metrics, as peers of a NetworkPolicy.
    scrapers: tuple[Peer, ...] = ()
    #: None where no spans are exported.
    traces: Traces | None = None


@dataclass(frozen=True)
class ControllerNamespaces:
    """The namespaces of the controllers, whether a stack and an engine use them or not."""

    #: Of Envoy Gateway, of the proxies and the rate limit service that it runs, and of Redis.
    envoy_gateway: str
    #: Of the controller of Envoy AI Gateway.
    envoy_ai_gateway: str
    #: Of Authorino with engine ``authorino``.
    authorino: str
    #: Of Kuadrant's operator and its Authorino with engine ``kuadrant``.
    kuadrant: str
    #: Of the controller of wg-ai-gateway, whose program has this name built in.
    wg_ai_gateway: str = "ai-gateway-system"


@dataclass(frozen=True)
class Catalog:
    """Everything that the roles render from."""

    #: Where the cluster comes from: ``embedded``, ``kind``, ``openshift`` or ``kubernetes``.
    platform: str
    #: What carries traffic to the providers: ``envoy_ai_gateway`` or ``wg_ai_gateway``.
    stack: str
    #: What the rules of access are rendered for: ``authorino`` or ``kuadrant``.
    policy_engine: str
    #: Namespace of the routes, backends, policies and Secrets of the clients' gateway.
    namespace: str
    #: Name of the clients' Gateway.
    name: str
    #: Audience that the tokens of callers need.
    audience: str
    identity_key: IdentityKey
    #: Namespace of the clients' Gateway itself; ``namespace`` with engine ``authorino``.
    gateway_namespace: str
    #: None with stack ``envoy_ai_gateway``.
    egress_gateway: EgressGateway | None
    maas_api: MaasApi
    simulators_namespace: str
    controller_namespaces: ControllerNamespaces
    #: Of all prices; empty where the inventory does not say.
    currency: str
    #: Tokens that an answer costs of which no tokens can be counted; 0 to estimate them from its bytes.
    uncounted_tokens: int
    #: The largest body of a request, in bytes.
    request_body_limit: int
    #: In the order of the inventory.
    providers: tuple[Provider, ...]
    #: The models of providers, then those on the premises, each once.
    models: tuple[Model, ...]
    #: In the order of the inventory.
    tiers: tuple[Tier, ...]
    #: The Secrets that have to exist, in the order in which the inventory names them.
    secrets: tuple[NeededSecret, ...]
    #: What the proxies of the clients' gateway may call.
    egress: tuple[Destination, ...]
    #: In the order of the inventory.
    mcp_servers: tuple[McpServer, ...] = ()
    #: The conditions under which a tool may be called, as CEL expressions of a MCPRoute's rules.
    mcp_authorization: tuple[str, ...] = ()
    #: Those of the inventory in its order, then those that models name and the cluster has.
    inference_pools: tuple[InferencePool, ...] = ()
    #: None where the inventory has none.
    semantic_router: SemanticRouter | None = None
    callers: Callers = Callers()
    observability: Observability = Observability()
    headers: Headers = HEADERS
    #: The paths that are served, and by schema why the models of other providers are not.
    paths: tuple[ServedPath, ...] = SERVED_PATHS
    #: Beginnings of paths that are refused for every model, and why.
    refused_paths: Mapping[str, str] = field(default_factory=lambda: REFUSED)

    def as_dict(self) -> dict[str, t.Any]:
        """The catalogue in plain lists and dictionaries, without any credential's value.

        A field that is None is left out, except for ``egress_gateway`` and ports; ``tls`` with mode none has nothing
        but its mode; a provider's models have no weight and no priority; an empty ``objective`` is left out, and so is
        what the schema of a provider or the form of its credential has not.
        """
        result = t.cast("dict[str, t.Any]", plain(asdict(self)))
        for provider in result["providers"]:
            _without_empty_tls(provider["endpoint"])
            if provider["egress_endpoint"] is None:
                del provider["egress_endpoint"]
            else:
                _without_empty_tls(provider["egress_endpoint"])
            _without_empty_fields(provider["credential"])
            for key in ("project", "region", "api_version"):
                if not provider[key]:
                    del provider[key]
            # Weight and priority are in the backends of the model, once.
            provider["models"] = [
                {"name": model["name"], "provider_model": model["provider_model"]} for model in provider["models"]
            ]
        for server in result["mcp_servers"]:
            _without_empty_tls(server["endpoint"])
            if server["credential"] is None:
                del server["credential"]
            else:
                _without_empty_fields(server["credential"])
        for named in (*result["models"], *result["tiers"]):
            if not named["objective"]:
                del named["objective"]
        for model in result["models"]:
            if model["price"] is None:
                del model["price"]
            for backend in model["backends"]:
                del backend["backend_ref" if backend["provider"] is not None else "provider"]
                if "backend_ref" in backend:
                    _without_empty_tls(backend["backend_ref"])
                    if backend["backend_ref"]["spec"] is None:
                        del backend["backend_ref"]["spec"]
        return result


def _without_empty_fields(credential: dict[str, t.Any]) -> None:
    for key in ("external_secret", "client_id", "tenant_id", "federation"):
        if not credential[key]:
            del credential[key]


def _without_empty_tls(endpoint: dict[str, t.Any]) -> None:
    if endpoint["tls"]["mode"] == "none":
        endpoint["tls"] = {"mode": "none"}


def plain(value: t.Any) -> t.Any:
    """``value`` with lists for tuples and Python's own strings for any subclass.

    Ansible marks the strings of an inventory by subclasses, and whatever copies them later would copy the marks too.
    """
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return "".join(value) if isinstance(value, str) else value
