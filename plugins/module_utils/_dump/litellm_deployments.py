# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an entry of LiteLLM's ``model_list`` or ``mcp_servers`` to an endpoint, a credential and a model. Pure."""

from __future__ import annotations

import re
import typing as t
import urllib.parse
from dataclasses import dataclass, field

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import quote
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.refused_endpoints import address, danger
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.schemas import (
    ACCESS_KEY,
    CLIENT_SECRET,
    SERVICE_ACCOUNT_KEY,
    WORKLOAD_IDENTITY,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import (
    API_VERSION,
    CLOUD_ID,
    HOSTNAME,
    LABEL,
    MCP_PATH,
    MCP_SERVER,
    PATH_PREFIX,
    PROJECT,
    PROVIDER_MODEL,
    REGION,
    Rule,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.document import Expression, Note
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.headers import read_header
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.litellm_source import ENVIRONMENT, Source
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.litellm_table import APIS, BARE, Api
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.references import (
    VARIABLE,
    environment_name,
    free_name,
    of_environment,
)

#: A Service inside of the cluster.
_SERVICE = re.compile(r"([a-z]([-a-z0-9]*[a-z0-9])?)\.([a-z0-9]([-a-z0-9]*[a-z0-9])?)\.svc(\.cluster\.local)?")
_PROVIDERS = "ai_gateway_providers"
_SERVERS = "ai_gateway_mcp_servers"
Environment = t.Callable[[str], "str | None"]
#: From the name of the variable of the environment for a key, which is named after the provider, to its expression.
_Keyed = t.Callable[[str], str]


class NoCounterpartError(Exception):
    """An entry cannot be served; the message says why, a clause whose subject is the entry."""


@dataclass(frozen=True)
class Endpoint:
    """Where something answers."""

    hostname: str
    port: int | None
    #: Its path, without a slash at the end; empty for none.
    path: str
    #: Whether it is reached by plain HTTP.
    plain: bool
    #: Why the catalogue has to allow it; empty where it has not.
    allow: str


@dataclass(frozen=True)
class _Secret:
    """A key: the variable of the environment that has it, or the place in the configuration where it is in plain."""

    #: Empty where it is in plain, so that the variable is named after the provider.
    variable: str
    path: str


@dataclass(eq=False)
class Deployment:
    """What serves a model."""

    #: Where the configuration has it.
    path: str
    #: Where the configuration has its address.
    base_path: str
    #: The first part of its ``model``.
    api: str
    schema: str
    #: Name that the provider has for the model.
    model: str
    hostname: str
    allow: str = ""
    #: What a provider's entry has besides name, credential and models.
    entry: dict[str, t.Any] = field(default_factory=dict)
    #: What the credential is besides its keys, and the keys in their order.
    credential: dict[str, t.Any] = field(default_factory=dict)
    secrets: tuple[_Secret, ...] = ()
    #: The object on the premises that it is, where it is one without a key.
    backend_ref: dict[str, t.Any] | None = None
    order: float | None = None
    #: ``weight``, ``rpm`` and ``tpm``.
    measures: dict[str, float | None] = field(default_factory=dict)
    #: ``input`` and ``output``, what one token costs.
    costs: dict[str, float | None] = field(default_factory=dict)

    def same_provider(self, other: Deployment) -> bool:
        """Whether one entry of a provider can be both."""
        own, others = (
            (one.api, one.entry, one.credential, [secret.variable or secret.path for secret in one.secrets])
            for one in (self, other)
        )
        # Keys in plain are not compared, so that each has a variable of its own.
        return own == others

    def provider(self, name: str, notes: list[Note], read: set[str]) -> dict[str, t.Any]:
        """The entry of the provider, without models.

        :param notes: gets the keys in plain.
        :param read: the variables of the environment that others read; gets those for keys in plain.
        """
        credential = dict(self.credential)
        if self.secrets:
            form = str(credential.get("form", "api_key"))
            own = environment_name(_PROVIDERS, name, form)
            variables = []
            for number, secret in enumerate(self.secrets):
                name_of_key = own if len(self.secrets) == 1 else f"{own}_{number + 1}"
                variable = secret.variable or free_name(name_of_key, read | _of_other_hosts(self.hostname))
                read.add(variable)
                variables.append(variable)
                if not secret.variable:
                    reason = f"is a key in plain and was not copied; set {variable} in the environment to it"
                    notes.append(Note(secret.path, reason))
            credential["value"] = _value(form, variables, [secret.path for secret in self.secrets])
        return {"name": name, "schema": self.schema, **self.entry, "credential": credential, "models": []}


def _of_other_hosts(hostname: str) -> set[str]:
    """The variables with keys that LiteLLM sends to hosts of its own choice, which this is none of."""
    hosts: dict[str, set[str | None]] = {}
    for api in APIS.values():
        if api.variable and api.base:
            hosts.setdefault(api.variable, set()).add(urllib.parse.urlsplit(api.base).hostname)
    return {variable for variable, of_variable in hosts.items() if hostname not in of_variable}


def _value(form: str, variables: list[str], paths: list[str]) -> Expression:
    comment = f"LiteLLM: {paths[0]}"
    if form != ACCESS_KEY:
        return of_environment(variables[0], comment)
    identity, secret = (f"lookup('ansible.builtin.env', '{name}')" for name in variables[:2])
    lines = f"'[default]\\naws_access_key_id = ' ~ {identity} ~ '\\naws_secret_access_key = ' ~ {secret} ~ '\\n'"
    return Expression("{{ " + lines + " }}", comment)


def read_deployment(
    path: str, params: Source, info: Source, credential: Source | None, environment: Environment
) -> Deployment:
    """What an entry of ``model_list`` serves with.

    :param path: where it is.
    :param params: its ``litellm_params``.
    :param info: its ``model_info``.
    :param credential: what ``litellm_credential_name`` names.
    :raises NoCounterpartError: where a catalogue has none for it.
    """
    api, model = _api_and_model(params)
    known = APIS[api]
    found = _Reader(params, credential, environment)
    schema = known.schema
    deployment = Deployment(path, params.at("api_base"), api, schema, model, "")
    if schema == "azure_openai":
        _azure(found, deployment)
    elif schema == "aws_bedrock":
        _bedrock(found, deployment)
    elif schema == "gcp_vertex_ai":
        _vertex(found, deployment)
    else:
        _with_key(found, deployment, known)
    _headers(found, deployment)
    if not PROVIDER_MODEL.accepts(deployment.model):
        raise NoCounterpartError(f"the name of its model at the provider cannot be written; {PROVIDER_MODEL.remedy}")
    deployment.order = params.number("order")
    deployment.measures = {name: params.number(name) for name in ("weight", "rpm", "tpm")}
    for name in ("rpm", "tpm"):
        if deployment.measures[name] is not None:
            reason = "is the share of the requests among several providers of a model, and no limit of this one"
            params.notes.append(Note(params.at(name), reason))
    deployment.costs = {kind: _cost(f"{kind}_cost_per_token", params, info) for kind in ("input", "output")}
    return deployment


def _cost(name: str, *sources: Source) -> float | None:
    """What one token costs; the first that says so counts, and all are read."""
    return next((cost for cost in [source.number(name) for source in sources] if cost is not None), None)


def _api_and_model(params: Source) -> tuple[str, str]:
    """The first part of ``model``, a key of APIS, and the rest."""
    written = params.string("model", required=True)
    given = params.string("custom_llm_provider")
    if not written:
        raise NoCounterpartError("it has no model")
    first, slash, rest = written.partition("/")
    if given and not (slash and first == given):
        first, rest = given, written
    elif not slash or first not in APIS:
        bare = next((api for beginning, api in BARE if written.startswith(beginning)), "")
        if bare and not slash:
            first, rest = bare, written
        elif not slash:
            raise NoCounterpartError(f"model {quote(written)} does not say its provider; write it first, as in openai/")
    if "*" in written:
        raise NoCounterpartError("its model is a pattern, and a catalogue names each model")
    if first not in APIS:
        raise NoCounterpartError(f"no schema of a catalogue is the API of {quote(first)}")
    if first == "fireworks_ai" and "/" not in rest:
        rest = f"accounts/fireworks/models/{rest}"
    if first == "bedrock":
        # How LiteLLM calls it, and the region, may come first.
        rest = re.sub(r"^(converse|converse_like|invoke|cohere)/", "", rest)
    return first, rest


class _Reader:
    """Parameters of a deployment, with those of the credential that it names beneath."""

    def __init__(self, params: Source, credential: Source | None, environment: Environment) -> None:
        self.params = params
        self._credential = credential
        self._environment = environment

    def _holder(self, *names: str) -> tuple[Source, str]:
        for source in filter(None, (self.params, self._credential)):
            for name in names:
                if source.has(name):
                    return source, name
        return self.params, names[0]

    def has(self, *names: str) -> bool:
        source, name = self._holder(*names)
        return source.has(name)

    def plain(self, *names: str) -> str:
        """A value that is no key, from the environment too; empty where it is missing."""
        source, name = self._holder(*names)
        value = source.string(name)
        if not value.startswith(ENVIRONMENT):
            return value
        variable = value.removeprefix(ENVIRONMENT)
        resolved = self._environment(variable) if VARIABLE.fullmatch(variable) else None
        if not resolved:
            raise NoCounterpartError(
                f"{source.at(name)} is a variable of the environment that is not set; set it, and run again"
            )
        return resolved

    def checked(self, rule: Rule, *names: str) -> str:
        """The same, where it fits the rule; its value is not shown, as it may be a key in a wrong place."""
        value = self.plain(*names)
        if value and not rule.accepts(value):
            source, name = self._holder(*names)
            raise NoCounterpartError(f"{source.at(name)} is not {rule.kind}; write {rule.remedy}")
        return value

    def identifier(self, name: str) -> str:
        """One that only the provider reads; a lookup where it is in the environment, as it may be a key there."""
        source, _name = self._holder(name)
        value = source.string(name)
        variable = value.removeprefix(ENVIRONMENT)
        if variable == value:
            return self.checked(CLOUD_ID, name)
        if not VARIABLE.fullmatch(variable):
            raise NoCounterpartError(
                f"{source.at(name)} does not name a variable of the environment after {ENVIRONMENT}"
            )
        return of_environment(variable, f"LiteLLM: {source.at(name)}")

    def secret(self, name: str, variable: str = "") -> _Secret | None:
        """A key.

        :param variable: what LiteLLM reads where the configuration has none; empty for nothing.
        """
        source, _name = self._holder(name)
        value = source.string(name)
        if not value:
            return _Secret(variable, f"{source.at(name)}, which is not set") if variable else None
        named = value.removeprefix(ENVIRONMENT) if value.startswith(ENVIRONMENT) else ""
        if named and not VARIABLE.fullmatch(named):
            raise NoCounterpartError(
                f"{source.at(name)} does not name a variable of the environment after {ENVIRONMENT}"
            )
        return _Secret(named, source.at(name))

    def path(self, name: str) -> str:
        source, _name = self._holder(name)
        return source.at(name)


def read_url(url: str, place: str) -> Endpoint:
    """Where a URL leads.

    :param place: where the configuration has it; the URL is not shown, as it may hold a key.
    """
    try:
        parts = urllib.parse.urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise NoCounterpartError(f"{place} is no URL") from None
    hostname = (parts.hostname or "").rstrip(".")
    if parts.scheme not in ("http", "https") or not hostname:
        raise NoCounterpartError(f"{place} is no URL that begins with https:// or http://")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise NoCounterpartError(f"{place} has a user, a password or a query, which cannot be written")
    is_address = address(hostname) is not None
    if not is_address and not HOSTNAME.accepts(hostname):
        raise NoCounterpartError(f"{place} has no host name that can be written; {HOSTNAME.remedy}")
    plain = parts.scheme == "http"
    if is_address and not plain:
        raise NoCounterpartError(f"{place} is an address, which is no name to verify over HTTPS; write its host name")
    problem = danger(hostname, (), (), ())
    if any(word in problem for word in ("metadata", "loopback", "link-local", "proxy itself")):
        raise NoCounterpartError(f"{place} {problem}, or the machine of LiteLLM; no provider is reached so")
    if "." not in hostname and not is_address:
        raise NoCounterpartError(f"{place} has a host name without a dot, which the cluster looks up among its own")
    return Endpoint(hostname, port, re.sub("/+", "/", parts.path).rstrip("/"), plain, problem)


def _endpoint(deployment: Deployment, found: Endpoint) -> dict[str, t.Any]:
    deployment.hostname, deployment.allow = found.hostname, found.allow
    default = 80 if found.plain else 443
    return {
        "hostname": found.hostname,
        **({"port": found.port} if found.port not in (None, default) else {}),
        **({"tls": {"mode": "none"}} if found.plain else {}),
    }


def _with_key(found: _Reader, deployment: Deployment, known: Api) -> None:
    base = found.plain("api_base", "base_url") or known.base
    if not base:
        raise NoCounterpartError(f"it has no api_base, and {deployment.api} has no address of its own")
    place = deployment.base_path if found.has("api_base", "base_url") else f"the address of {deployment.api}"
    endpoint = read_url(base, place)
    path = endpoint.path
    for ending in ("/chat/completions", "/messages", "/completions"):
        path = path.removesuffix(ending)
    if known.suffix and not path.endswith(known.suffix):
        path += known.suffix
    path = path or "/"
    secret = found.secret("api_key", known.variable)
    deployment.entry["endpoint"] = _endpoint(deployment, endpoint)
    service = _SERVICE.fullmatch(endpoint.hostname)
    if deployment.schema == "openai" and service and endpoint.plain and path == "/v1" and not found.has("api_key"):
        name, namespace = service[1], service[3]
        if namespace != "external" and LABEL.accepts(name):
            deployment.backend_ref = {"name": name, "namespace": namespace, "port": endpoint.port or 80}
    if deployment.schema != "cohere" and path != "/v1":
        if not PATH_PREFIX.accepts(path):
            raise NoCounterpartError(f"{place} has a path that cannot be written; write {PATH_PREFIX.remedy}")
        deployment.entry["endpoint"]["prefix"] = path
    if secret is None:
        secret = _Secret("", found.path("api_key"))
        if deployment.backend_ref is None:
            reason = "is not set, and the gateway sends every provider a key; one that reads none ignores any"
            found.params.notes.append(Note(secret.path, reason))
    deployment.secrets = (secret,)
    if deployment.schema == "anthropic":
        reason = (
            f"{quote(deployment.model)} is served to clients of Anthropic's API, at /v1/messages; for those of "
            "OpenAI's write schema openai, which Anthropic serves too"
        )
        found.params.notes.append(Note(found.params.at("model"), reason))


def _azure(found: _Reader, deployment: Deployment) -> None:
    base = found.plain("api_base", "base_url")
    if not base:
        raise NoCounterpartError("it has no api_base, the address of the resource in Azure")
    endpoint = read_url(base, deployment.base_path)
    if endpoint.path and not re.match(r"/openai(/|$)", endpoint.path):
        raise NoCounterpartError(f"{deployment.base_path} has a path, and that of schema azure_openai is Azure's own")
    version = found.checked(API_VERSION, "api_version")
    if not version:
        raise NoCounterpartError("it has no api_version, which schema azure_openai needs")
    deployment.entry = {"api_version": version, "endpoint": _endpoint(deployment, endpoint)}
    if found.has("client_secret"):
        secret = found.secret("client_secret")
        identity = {name: found.identifier(name) for name in ("client_id", "tenant_id")}
        if not all(identity.values()):
            raise NoCounterpartError("it has a client_secret without client_id and tenant_id")
        deployment.credential = {"form": CLIENT_SECRET, **identity}
    else:
        secret = found.secret("api_key", APIS["azure"].variable)
    deployment.secrets = (secret,) if secret else ()


def _bedrock(found: _Reader, deployment: Deployment) -> None:
    region = found.checked(REGION, "aws_region_name", "aws_region")
    first, slash, rest = deployment.model.partition("/")
    if slash and REGION.accepts(first) and re.search(r"-[0-9]+$", first):
        region, deployment.model = region or first, rest
    if not region:
        raise NoCounterpartError("it has no aws_region_name, which schema aws_bedrock needs")
    if found.has("aws_bedrock_runtime_endpoint", "api_base"):
        raise NoCounterpartError("it has an endpoint of its own, and requests are signed for that of the region alone")
    if found.has("aws_role_name", "aws_web_identity_token", "aws_profile_name", "aws_session_token"):
        raise NoCounterpartError(
            "it assumes a role, or has short-lived keys; write a credential of form federation or workload_identity"
        )
    hostname = f"bedrock-runtime.{region}.amazonaws.com"
    deployment.hostname = hostname
    deployment.entry = {"region": region, "endpoint": {"hostname": hostname}}
    identity, secret = found.secret("aws_access_key_id"), found.secret("aws_secret_access_key")
    if identity and secret:
        deployment.credential, deployment.secrets = {"form": ACCESS_KEY}, (identity, secret)
    elif identity or secret:
        raise NoCounterpartError("it has one of aws_access_key_id and aws_secret_access_key, and not the other")
    else:
        deployment.credential = {"form": WORKLOAD_IDENTITY}
        reason = "is not set: the gateway uses the role of its proxies' ServiceAccount, which needs the rights"
        found.params.notes.append(Note(found.path("aws_access_key_id"), reason))


def _vertex(found: _Reader, deployment: Deployment) -> None:
    project = found.checked(PROJECT, "vertex_project", "vertex_ai_project")
    region = found.checked(REGION, "vertex_location", "vertex_ai_location")
    if not project or not region:
        raise NoCounterpartError("it has no vertex_project or no vertex_location, which Google Cloud needs")
    if found.has("api_base"):
        raise NoCounterpartError("it has an api_base, and Google Cloud is reached by that of the region")
    if deployment.model.startswith("claude"):
        deployment.schema = "gcp_anthropic"
    elif not deployment.model.startswith("gemini") and "embedding" not in deployment.model:
        raise NoCounterpartError(f"no schema of a catalogue serves model {quote(deployment.model)} of Vertex AI")
    hostname = "aiplatform.googleapis.com" if region == "global" else f"{region}-aiplatform.googleapis.com"
    deployment.hostname = hostname
    deployment.entry = {"project": project, "region": region, "endpoint": {"hostname": hostname}}
    source, name = found._holder("vertex_credentials", "vertex_ai_credentials")
    if not source.has(name):
        deployment.credential = {"form": WORKLOAD_IDENTITY}
        reason = "is not set: the gateway uses the proxies' own identity, in a cluster of Google Cloud"
        found.params.notes.append(Note(source.at(name), reason))
        return
    value = source.string(name)
    deployment.credential = {"form": SERVICE_ACCOUNT_KEY}
    named = value.removeprefix(ENVIRONMENT) if value.startswith(ENVIRONMENT) else ""
    if named and not VARIABLE.fullmatch(named):
        raise NoCounterpartError(f"{source.at(name)} does not name a variable of the environment after {ENVIRONMENT}")
    deployment.secrets = (_Secret(named, source.at(name)),)
    if named:
        reason = f"may be a path for LiteLLM; the variable {named} has to hold the JSON file itself"
        found.params.notes.append(Note(source.at(name), reason))


def _headers(found: _Reader, deployment: Deployment) -> None:
    """Further headers, and the organization, of every request."""
    headers: dict[str, t.Any] = {}
    for name in ("headers", "extra_headers"):
        given = found.params.source(name) if found.params.has(name) else None
        for header, value in given.value.items() if given else ():
            read, problem = read_header(header, value)
            if not problem and str(value).startswith(ENVIRONMENT):
                problem = "is a variable of the environment"
            if problem:
                found.params.notes.append(Note(given.at(header) if given else name, f"was not copied: it {problem}"))
            else:
                headers.update(read)
    if found.has("organization"):
        headers["openai-organization"] = found.identifier("organization")
    if headers and deployment.backend_ref is None:
        deployment.entry["headers"] = headers
    elif headers:
        # On the premises there is no place for them.
        deployment.backend_ref = None
        deployment.entry["headers"] = headers


def read_mcp_server(name: str, entry: Source, environment: Environment, read: set[str]) -> tuple[dict[str, t.Any], str]:
    """A server of tools, and why its endpoint has to be allowed, empty where it has not.

    :param read: the variables of the environment that others read; gets that for a key in plain.
    """
    server = name.replace("_", "-")
    if not MCP_SERVER.accepts(server):
        raise NoCounterpartError(f"its name is not {MCP_SERVER.kind}; write {MCP_SERVER.remedy}")
    transport = entry.string("transport") or "http"
    if transport not in ("http", "streamable_http"):
        raise NoCounterpartError("its transport is not streamable HTTP, which alone the gateway speaks")
    found = _Reader(entry, None, environment)
    url = found.plain("url")
    if not url:
        raise NoCounterpartError("it has no url")
    endpoint = read_url(url, entry.at("url"))
    path = endpoint.path or "/"
    if not MCP_PATH.accepts(path):
        raise NoCounterpartError(f"{entry.at('url')} has a path that cannot be written; write {MCP_PATH.remedy}")
    made: dict[str, t.Any] = {
        "name": server,
        "endpoint": {
            "hostname": endpoint.hostname,
            **({"port": endpoint.port} if endpoint.port else {}),
            **({"path": path} if path != "/mcp" else {}),
            **({"tls": {"mode": "none"}} if endpoint.plain else {}),
        },
    }
    kind = entry.string("auth_type") or "none"
    headers = {"none": None, "bearer_token": {}, "api_key": {"header": "x-api-key"}}
    if kind not in headers:
        raise NoCounterpartError(f"its auth_type {quote(kind)} has no counterpart, unlike api_key and bearer_token")
    credential = headers[kind]
    if credential is not None:
        name_of_key = "auth_value" if entry.has("auth_value") else "authentication_token"
        secret = found.secret(name_of_key)
        variable = secret.variable if secret else ""
        if not variable:
            variable = free_name(environment_name(_SERVERS, server), read)
            read.add(variable)
            reason = f"was not copied, as it is a key; set {variable} in the environment to it"
            entry.notes.append(Note(entry.at(name_of_key), reason))
        made["credential"] = {**credential, "value": of_environment(variable, f"LiteLLM: {entry.at(name_of_key)}")}
    return made, endpoint.allow
