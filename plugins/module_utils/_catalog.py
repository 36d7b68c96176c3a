# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalogue of an AI gateway: its providers, models and tiers, checked as a whole.

``build`` turns the inventory's variables into a ``Catalog`` or raises ``CatalogError`` with every fault it found.
Nothing here reads files, calls an API or keeps a credential's value.
"""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

PREFIX = "ai_gateway_"
PLATFORMS = ("embedded", "kind", "openshift", "kubernetes")
STACKS = ("envoy_ai_gateway", "wg_ai_gateway")
POLICY_ENGINES = ("authorino", "kuadrant")
SCHEMAS = ("openai", "anthropic")
TLS_MODES = ("none", "simple", "mutual")
BACKEND_KINDS = ("Service", "InferencePool", "LLMInferenceService")
# What the roles of this version have templates for; the rest is refused before anything is written.
RENDERED_STACKS = ("envoy_ai_gateway",)
RENDERED_POLICY_ENGINES = ("authorino",)
RENDERED_BACKEND_KINDS: tuple[str, ...] = ()
# A rate limit service counts in whole units; Gateway API writes a day as 24h.
WINDOWS = {"1s": "Second", "1m": "Minute", "1h": "Hour", "24h": "Day"}

INPUTS = (
    "platform",
    "stack",
    "policy_engine",
    "namespace",
    "instance",
    "simulators_namespace",
    "envoy_gateway_namespace",
    "authorino_namespace",
    "providers",
    "models",
    "tiers",
    "allow_empty",
)
# Variables of the role that are not part of the catalogue, and the fact it sets.
OTHER_VARIABLES = (
    "kubeconfig",
    "context",
    "helm_binary",
    "upstream_directory",
    "controller_name",
    "catalog",
)

SIMULATOR_PORT = 8000
SIMULATOR_SUFFIX = "-simulator"
CREDENTIAL_SUFFIX = "-credential"
CREDENTIAL_KEY = "apiKey"
LABEL_LIMIT = 63
# Envoy numbers priorities from 0 and the rate limit service counts in 32 bits.
PRIORITY_LIMIT = 127
WEIGHT_LIMIT = 1_000_000
TOKENS_LIMIT = 2**32 - 1

# What Envoy AI Gateway's BackendSecurityPolicy can inject: APIKey, AnthropicAPIKey and AzureAPIKey.
ENVOY_CREDENTIAL_FORMS = (("authorization", "bearer"), ("x-api-key", ""), ("api-key", ""))
RESERVED_HEADERS = ("host", "connection", "content-length", "content-type", "transfer-encoding", "x-maas-user", "x-maas-tier", "x-ai-eg-model")


@dataclass(frozen=True)
class Fault:
    """One thing wrong in the inventory: where it stands, what is wrong and what to write instead."""

    path: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.remedy}"


class CatalogError(ValueError):
    """The inventory has faults; ``faults`` holds all of them and the message lists one a line."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: _natural(fault.path)))
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n".join([f"The catalogue of the AI gateway has {count}:", *(f"  - {fault}" for fault in self.faults)]))


def _natural(path: str) -> list[str | int]:
    """A key that sorts the third item before the tenth; texts and numbers take turns in it."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", path)]


@dataclass(frozen=True)
class Tls:
    """How the gateway speaks to an endpoint; ``ca_bundle`` and ``client_certificate`` are names of Secrets, empty for none."""

    mode: str
    sni: str = ""
    ca_bundle: str = ""
    client_certificate: str = ""


@dataclass(frozen=True)
class Endpoint:
    hostname: str
    port: int
    tls: Tls


@dataclass(frozen=True)
class Credential:
    """Where a provider's key is kept and how it is sent. ``managed``: the Secret is rendered from the inventory's value."""

    header: str
    scheme: str
    secret: str
    key: str
    managed: bool


@dataclass(frozen=True)
class ProviderModel:
    name: str
    upstream_name: str
    weight: int | None = None
    priority: int | None = None


@dataclass(frozen=True)
class Provider:
    name: str
    schema: str
    simulated: bool
    endpoint: Endpoint
    credential: Credential
    models: tuple[ProviderModel, ...]


@dataclass(frozen=True)
class BackendRef:
    """The object that serves an on-premises model; ``port`` is of a Service, else None."""

    kind: str
    name: str
    namespace: str
    port: int | None


@dataclass(frozen=True)
class ModelBackend:
    """One end that serves a model: a provider's name, or the reference of an on-premises object."""

    provider: str | None
    backend_ref: BackendRef | None
    upstream_name: str
    weight: int = 1
    priority: int = 0


@dataclass(frozen=True)
class Model:
    name: str
    backends: tuple[ModelBackend, ...]


@dataclass(frozen=True)
class TokenLimit:
    tokens: int
    window: str
    unit: str


@dataclass(frozen=True)
class Tier:
    name: str
    level: int
    groups: tuple[str, ...]
    namespace: str
    token_limit: TokenLimit
    models: tuple[str, ...]


@dataclass(frozen=True)
class Catalog:
    """Everything the roles render from."""

    platform: str
    stack: str
    policy_engine: str
    namespace: str
    instance: str
    audience: str
    simulators_namespace: str
    providers: tuple[Provider, ...]
    models: tuple[Model, ...]
    tiers: tuple[Tier, ...]

    def as_dict(self) -> dict[str, t.Any]:
        """The catalogue in plain lists and dictionaries, without any credential's value."""
        result = t.cast("dict[str, t.Any]", _plain(asdict(self)))
        for provider in result["providers"]:
            if provider["endpoint"]["tls"]["mode"] == "none":
                provider["endpoint"]["tls"] = {"mode": "none"}
            # The rule of a model stands with the model, once.
            provider["models"] = [{"name": model["name"], "upstream_name": model["upstream_name"]} for model in provider["models"]]
        for model in result["models"]:
            for backend in model["backends"]:
                del backend["backend_ref" if backend["provider"] is not None else "provider"]
        return result


def _plain(value: t.Any) -> t.Any:
    """``value`` with lists for tuples and Python's own text for any subclass, so that no marks of the inventory travel on."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return "".join(value) if isinstance(value, str) else value


# --- what a text may be ---


@dataclass(frozen=True)
class _Rule:
    """What a text must look like. ``secret``: a wrong text is not quoted, as it may be a key that landed in the wrong place."""

    kind: str
    pattern: str
    remedy: str
    limit: int = LABEL_LIMIT
    secret: bool = False
    suggest: t.Callable[[str], str] = lambda text: ""

    def accepts(self, text: str) -> bool:
        return len(text) <= self.limit and re.fullmatch(self.pattern, text) is not None

    def fault(self, path: str, text: str) -> Fault:
        if not text.strip():
            return Fault(path, "is empty", f"write {self.remedy}")
        shown = "the text" if self.secret else _quote(text)
        if len(text) > self.limit:
            return Fault(path, f"{shown} has {len(text)} characters", f"write at most {self.limit}")
        suggestion = self.suggest(text)
        example = f", for example {_quote(suggestion)}" if suggestion and self.accepts(suggestion) else ""
        return Fault(path, f"{shown} is not {self.kind}", f"write {self.remedy}{example}")


def _quote(text: str) -> str:
    return '"' + (text if len(text) <= 80 else text[:77] + "...").encode("unicode_escape").decode() + '"'


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _host_of(text: str) -> str:
    return re.sub(r"^[a-z]+://", "", text.strip().lower()).split("/")[0].split(":")[0].rstrip(".")


_LABEL_PATTERN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_PATTERN = rf"{_LABEL_PATTERN}(\.{_LABEL_PATTERN})*"
_LETTERS = 'lower-case letters, digits and "-", with a letter or digit at both ends'

_LABEL = _Rule("a DNS-1123 label", _LABEL_PATTERN, _LETTERS, suggest=_slug)
_PROVIDER = _Rule(
    "a provider's name (a DNS-1123 label that starts with a letter, as objects are named after it)",
    r"[a-z]([-a-z0-9]*[a-z0-9])?",
    _LETTERS.replace("a letter or digit at both ends", "a letter first and a letter or digit last"),
    limit=LABEL_LIMIT - max(len(SIMULATOR_SUFFIX), len(CREDENTIAL_SUFFIX)),
    suggest=_slug,
)
_OBJECT = _Rule("a name of an object (a DNS-1123 subdomain)", _SUBDOMAIN_PATTERN, _LETTERS + ', in parts joined by "."', limit=253)
_SECRET = _Rule("a name of a Secret (a DNS-1123 subdomain)", _SUBDOMAIN_PATTERN, _LETTERS + "; a key itself belongs in `value`", limit=253, secret=True)
_HOSTNAME = _Rule(
    "a host name",
    # The last label is not a number, so an address is not a name.
    rf"(?!.*(^|\.)[0-9]+$){_SUBDOMAIN_PATTERN}",
    "the name alone: lower case, no scheme, port, path, address or final dot",
    limit=253,
    suggest=_host_of,
)
_MODEL = _Rule(
    "a model's name",
    r"[A-Za-z0-9]([A-Za-z0-9._:/-]*[A-Za-z0-9])?",
    "letters, digits and . _ : / - with a letter or digit at both ends",
    limit=253,
    suggest=lambda text: re.sub(r"[^A-Za-z0-9._:/-]+", "-", text).strip("-._:/"),
)
_UPSTREAM = _Rule("a model's name at its provider", r"[A-Za-z0-9][!-~]*", "the name as the provider lists it, without spaces", limit=253)
_GROUP = _Rule("a name of a group", r"[!-~]+", "names of groups without spaces, for example system:authenticated", limit=253)
_HEADER = _Rule("a name of an HTTP header", r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "a name such as Authorization or x-api-key", secret=True)
_SCHEME = _Rule("an authentication scheme", r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "one word such as Bearer, or leave it out", secret=True)
_KEY = _Rule(
    "a key that fits into a header",
    r"[!-~]+",
    "the key without spaces and line breaks (a lookup gives nothing for a variable that is not set, and a line break at the end of a file: add `| trim`)",
    limit=8192,
    secret=True,
)


# --- reading with a path ---


class _Entry:
    """A mapping of the inventory and its path. Reading a wrong value notes a fault and gives None or the default."""

    def __init__(self, value: t.Any, path: str, legal: Sequence[str], faults: list[Fault], prefix: str = "") -> None:
        self.path = path
        self.faults = faults
        self._prefix = prefix or path + "."
        self.value: Mapping[str, t.Any] = value if isinstance(value, Mapping) else {}
        self.readable = isinstance(value, Mapping)
        self._faulty: set[str] = set()
        if not self.readable:
            self.fault("", f"is {_type_name(value)}", f"write a mapping of {_listing(legal)}")
            return
        for key in self.value:
            if key not in legal:
                near = difflib.get_close_matches(str(key).lower(), legal, n=1)
                meant = f"did you mean `{near[0]}`?" if near else f"it takes {_listing(legal)}"
                self._faulty.update(near)
                self.fault(str(key), "is not a known key", meant)

    def at(self, key: str) -> str:
        return f"{self._prefix}{key}" if key else self.path

    def fault(self, key: str, problem: str, remedy: str) -> None:
        self._faulty.add(key)
        self.faults.append(Fault(self.at(key), problem, remedy))

    def has(self, key: str) -> bool:
        return self.value.get(key) is not None

    def faulty(self, *keys: str) -> bool:
        """Whether one of the keys is wrong or misspelt, so that what follows from it is no fault of its own."""
        return not self._faulty.isdisjoint(keys)

    def missing(self, key: str, remedy: str, unless: str = "") -> None:
        """Note that ``key`` is missing, if it is: an unreadable mapping, a misspelt ``key`` or a faulty ``unless`` is a fault already."""
        if self.readable and not self.has(key) and not self.faulty(key, unless):
            self.fault(key, "is missing", f"write {remedy}")

    def text(self, key: str, rule: _Rule, default: str | None = None) -> str:
        """The text of ``key``; without one the default, and without a default a fault."""
        value = self.value.get(key)
        if value is None:
            if default is None:
                self.missing(key, rule.remedy)
            return default or ""
        text = self._checked(self.at(key), value, rule)
        if text is None:
            self._faulty.add(key)
        return text or ""

    def _checked(self, path: str, value: t.Any, rule: _Rule) -> str | None:
        if not isinstance(value, str):
            self.faults.append(Fault(path, f"is {_type_name(value)}", "write a text (in quotes if it looks like a number or a truth value)"))
        elif not rule.accepts(value):
            self.faults.append(rule.fault(path, value))
        else:
            return value
        return None

    def choice(self, key: str, choices: Iterable[str], default: str | None = None, why: str = "") -> str:
        value = self.value.get(key)
        remedy = _listing(tuple(choices), "or") + why
        if value is None:
            if default is None:
                self.missing(key, remedy)
            return default or ""
        if not isinstance(value, str) or value not in choices:
            shown = _quote(value) if isinstance(value, str) else _type_name(value)
            self.fault(key, f"is {shown}", f"write {remedy}")
            return ""
        return value

    def integer(self, key: str, low: int, high: int, default: int | None = None, required: bool = True) -> int | None:
        value = self.value.get(key)
        remedy = f"a whole number from {low} to {high}"
        if value is None:
            if required and default is None:
                self.missing(key, remedy)
            return default
        # A number that a template or an environment variable gave may be its text.
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            shown = str(value) if isinstance(value, int) else _quote(value) if isinstance(value, str) else _type_name(value)
            self.fault(key, f"is {shown}", f"write {remedy}")
            return None
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.value.get(key, default)
        if not isinstance(value, bool):
            self.fault(key, f"is {_type_name(value)}", "write true or false")
            return default
        return value

    def entry(self, key: str, legal: Sequence[str]) -> _Entry:
        return _Entry(self.value[key], self.at(key), legal, self.faults)

    def _elements(self, key: str) -> list[tuple[str, t.Any]]:
        value = self.value.get(key)
        if value is None:
            return []
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
            self.fault(key, f"is {_type_name(value)}", 'write a list (each item on a line of its own that starts with "-")')
            return []
        return [(f"{self.at(key)}[{index}]", item) for index, item in enumerate(value)]

    def entries(self, key: str, legal: Sequence[str]) -> Iterator[_Entry]:
        for path, item in self._elements(key):
            yield _Entry(item, path, legal, self.faults)

    def texts(self, key: str, rule: _Rule) -> list[tuple[str, str]]:
        """The texts of a list that must not be empty, each with its path; repeated ones are a fault."""
        self.missing(key, f"a list of {rule.remedy}")
        if self.value.get(key) == []:
            self.fault(key, "is empty", f"write a list of {rule.remedy}")
        found = [(path, self._checked(path, item, rule) or "") for path, item in self._elements(key)]
        _unique(found, "value", "leave one of them out", self.faults)
        return [(path, text) for path, text in found if text]


def _type_name(value: t.Any) -> str:
    if value is None:
        return "empty"
    names = ((bool, "a truth value"), (int, "a number"), (float, "a number"), (str, "a text"), (Mapping, "a mapping"), (Sequence, "a list"))
    return next((name for kind, name in names if isinstance(value, kind)), f"of type {type(value).__name__}")


def _listing(words: Sequence[str], joint: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {joint} {words[-1]}"


def _unique(values: Iterable[tuple[str, t.Any]], what: str, remedy: str, faults: list[Fault]) -> None:
    """Note a fault for every value that stood at an earlier path already; empty texts were faulty before."""
    first: dict[t.Any, str] = {}
    for path, value in values:
        if value in ("", None):
            continue
        if value in first:
            shown = _quote(value) if isinstance(value, str) else value
            faults.append(Fault(path, f"{what} {shown} is taken by {first[value]}", remedy))
        else:
            first[value] = path


# --- the parts of the catalogue ---


def build(inputs: Mapping[str, t.Any], defined: Iterable[str] = ()) -> Catalog:
    """Check the inventory and build its catalogue.

    :param inputs: the values of ``INPUTS``, named without the prefix ``ai_gateway_``.
    :param defined: names of all variables in scope; one that nearly is a variable of the role is a fault.
    :raises CatalogError: with all faults.
    """
    faults: list[Fault] = []
    root = _Entry(inputs, "ai_gateway", INPUTS, faults, prefix=PREFIX)
    _misspelt_variables(defined, faults)

    platform = root.choice("platform", PLATFORMS, "kubernetes")
    stack = root.choice("stack", STACKS, "envoy_ai_gateway")
    engine = root.choice("policy_engine", POLICY_ENGINES, "kuadrant" if platform == "openshift" else "authorino")
    _check_cell(platform, stack, engine, root)
    namespace = root.text("namespace", _LABEL, "ai-gateway")
    instance = root.text("instance", _LABEL, "ai-gateway")
    simulators_namespace = root.text("simulators_namespace", _LABEL, "external-models")
    if namespace and namespace == simulators_namespace:
        root.fault("simulators_namespace", f"{_quote(namespace)} is the gateway's own namespace", "write another: it goes away with the simulators")
    controllers = [root.text("envoy_gateway_namespace", _LABEL, "envoy-gateway-system"), root.text("authorino_namespace", _LABEL, "authorino")]
    for key, name in (("namespace", namespace), ("simulators_namespace", simulators_namespace)):
        if name and name in controllers:
            root.fault(key, f"{_quote(name)} is a namespace of the controllers", "write another: each set of objects has its own")

    provider_entries: list[tuple[_Entry, Provider, list[tuple[_Entry, ProviderModel]]]] = []
    for entry in root.entries("providers", ("name", "schema", "simulated", "endpoint", "credential", "models")):
        served = list(_provider_models(entry))
        provider_entries.append((entry, _provider(entry, tuple(model for _entry, model in served), stack, simulators_namespace), served))
    _unique(((entry.at("name"), provider.name) for entry, provider, _served in provider_entries), "name", "give each provider its own", faults)
    models = _models(root, provider_entries, namespace)
    tiers = _tiers(root, instance, [model.name for model in models])
    for path, tier in tiers:
        if tier.namespace in (namespace, simulators_namespace, *controllers):
            faults.append(Fault(path, f"its namespace {tier.namespace} has another use already", "rename the tier or that namespace"))
    if not root.flag("allow_empty", True):
        if not faults and not models:
            root.fault("providers", "has no model to serve", "write at least one provider with a model")
        if not faults and not tiers:
            root.fault("tiers", "is empty, so that nobody could call", "write at least one tier")

    if faults:
        raise CatalogError(faults)
    return Catalog(
        platform=platform,
        stack=stack,
        policy_engine=engine,
        namespace=namespace,
        instance=instance,
        audience=f"{instance}-sa",
        simulators_namespace=simulators_namespace,
        providers=tuple(provider for _entry, provider, _served in provider_entries),
        models=models,
        tiers=tuple(tier for _path, tier in tiers),
    )


def _misspelt_variables(defined: Iterable[str], faults: list[Fault]) -> None:
    known = [PREFIX + name for name in (*INPUTS, *OTHER_VARIABLES)]
    for name in sorted(name for name in defined if name.startswith(PREFIX) and name not in known):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if near:
            faults.append(Fault(name, "is not a variable of this collection", f"did you mean `{near[0]}`?"))


def _check_cell(platform: str, stack: str, engine: str, root: _Entry) -> None:
    if stack in STACKS and stack not in RENDERED_STACKS:
        root.fault("stack", f"{stack} is not available in this version", f"write {_listing(RENDERED_STACKS, 'or')}")
    if platform == "embedded" and engine == "kuadrant":
        root.fault("policy_engine", "the embedded cluster has no Kuadrant: no package registry offers its operator", "write authorino")
    elif (platform, stack, engine) == ("openshift", "wg_ai_gateway", "authorino"):
        # The rules would be Envoy Gateway's kinds on a gateway of Istio: accepted by the API, enforced by nobody.
        root.fault("policy_engine", "authorino's rules cannot attach to OpenShift's MaaS gateway in front of wg_ai_gateway", "write kuadrant")
    elif engine in POLICY_ENGINES and engine not in RENDERED_POLICY_ENGINES:
        root.fault("policy_engine", f"{engine} is not available in this version", f"write {_listing(RENDERED_POLICY_ENGINES, 'or')}")


def _provider(entry: _Entry, models: tuple[ProviderModel, ...], stack: str, simulators_namespace: str) -> Provider:
    name = entry.text("name", _PROVIDER)
    schema = entry.choice("schema", SCHEMAS)
    simulated = entry.flag("simulated", False)
    endpoint: Endpoint | None = None
    if entry.has("endpoint"):
        endpoint = _endpoint(entry.entry("endpoint", ("hostname", "port", "tls")))
    elif not simulated:
        entry.missing("endpoint", "hostname, port and tls of the provider, or `simulated: true`", unless="simulated")
    if simulated:
        if schema == "anthropic":
            entry.fault("schema", "the simulator speaks openai only", "write openai, or `simulated: false`")
        endpoint = Endpoint(f"{name}{SIMULATOR_SUFFIX}.{simulators_namespace}.svc.cluster.local", SIMULATOR_PORT, Tls("none"))
    return Provider(name, schema, simulated, endpoint or Endpoint("", 0, Tls("none")), _credential(entry, name, schema, simulated, stack), models)


def _endpoint(entry: _Entry) -> Endpoint:
    hostname = entry.text("hostname", _HOSTNAME)
    tls = Tls("simple", sni=hostname)
    if entry.has("tls"):
        tls = _tls(entry.entry("tls", ("mode", "sni", "ca_bundle", "client_certificate")), hostname)
    port = entry.integer("port", 1, 65535, default=80 if tls.mode == "none" else 443)
    return Endpoint(hostname, port or 0, tls)


def _tls(entry: _Entry, hostname: str) -> Tls:
    mode = entry.choice("mode", TLS_MODES, "simple")
    sni = entry.text("sni", _HOSTNAME, hostname)
    ca_bundle = entry.text("ca_bundle", _OBJECT, "")
    client_certificate = entry.text("client_certificate", _OBJECT, "")
    if mode == "none":
        for key in ("sni", "ca_bundle", "client_certificate"):
            if entry.has(key):
                entry.fault(key, "has no meaning with mode none", "leave it out, or write mode simple")
        return Tls(mode)
    if mode == "mutual" and not entry.has("client_certificate"):
        entry.fault("client_certificate", "is missing", "write the name of the Secret of type kubernetes.io/tls that mode mutual presents")
    if mode == "simple" and entry.has("client_certificate"):
        entry.fault("client_certificate", "is only presented with mode mutual", "write mode mutual, or leave it out")
    return Tls(mode, sni, ca_bundle, client_certificate)


def _credential(provider: _Entry, name: str, schema: str, simulated: bool, stack: str) -> Credential:
    missing = Credential("", "", "", CREDENTIAL_KEY, False)
    if not provider.has("credential"):
        provider.missing("credential", "`secret` (the name of a Secret that exists) or `value` (a lookup) in it")
        return missing
    entry = provider.entry("credential", ("header", "scheme", "secret", "value"))
    if not entry.readable:
        return missing
    header = entry.text("header", _HEADER, "x-api-key" if schema == "anthropic" else "Authorization")
    scheme = "" if entry.value.get("scheme") == "" else entry.text("scheme", _SCHEME, "Bearer" if header.lower() == "authorization" else "")
    if header.lower() in RESERVED_HEADERS:
        entry.fault("header", f"{header} has another meaning on the way to the provider", "write the header that the provider reads its key from")
    elif stack == "envoy_ai_gateway" and not entry.faulty("header", "scheme") and (header.lower(), scheme.lower()) not in ENVOY_CREDENTIAL_FORMS:
        entry.fault(
            "header",
            "Envoy AI Gateway cannot send a key in this header and scheme",
            "write header Authorization with scheme Bearer, or header x-api-key or api-key without scheme",
        )

    has_secret, has_value = entry.has("secret"), entry.has("value")
    secret = entry.text("secret", _SECRET, "")
    entry.text("value", _KEY, "")
    if has_secret and has_value:
        entry.fault("", "has both `secret` and `value`", "keep one: `secret` for a Secret that exists, `value` for one that is made from it")
    elif simulated and not has_value:
        entry.missing("value", "the key that the simulator shall accept (a simulated provider needs it, not a Secret)")
    elif not has_secret and not has_value and not entry.faulty("secret", "value"):
        entry.fault("", "has neither `secret` nor `value`", "write `secret` (the name of a Secret that exists) or `value` (a lookup)")
    return Credential(header, scheme, name + CREDENTIAL_SUFFIX if has_value else secret, CREDENTIAL_KEY, has_value)


def _provider_models(provider: _Entry) -> Iterator[tuple[_Entry, ProviderModel]]:
    provider.missing("models", "a list of the models that the provider serves")
    if provider.value.get("models") == []:
        provider.fault("models", "is empty", "list at least one model that the provider serves")
    names: list[tuple[str, str]] = []
    for entry in provider.entries("models", ("name", "upstream_name", "weight", "priority")):
        name = entry.text("name", _MODEL)
        names.append((entry.at("name"), name))
        yield entry, ProviderModel(
            name,
            entry.text("upstream_name", _UPSTREAM, name),
            entry.integer("weight", 1, WEIGHT_LIMIT, required=False),
            entry.integer("priority", 0, PRIORITY_LIMIT, required=False),
        )
    _unique(names, "name", "list each model of a provider once", provider.faults)


def _models(root: _Entry, provider_entries: Sequence[tuple[_Entry, Provider, list[tuple[_Entry, ProviderModel]]]], namespace: str) -> tuple[Model, ...]:
    """All public models in the order of the catalogue: the providers' first, then the on-premises ones."""
    served: dict[str, list[tuple[str, ProviderModel, ModelBackend]]] = {}
    for _entry, provider, models in provider_entries:
        listed = set()
        for entry, model in models:
            if not model.name or model.name in listed:
                continue
            listed.add(model.name)
            backend = ModelBackend(provider.name, None, model.upstream_name, model.weight or 1, model.priority or 0)
            served.setdefault(model.name, []).append((entry.path, model, backend))
    for name, ends in served.items():
        _sharing(name, ends, root.faults)

    own: dict[str, tuple[str, ModelBackend]] = {}
    names: list[tuple[str, str]] = []
    for entry in root.entries("models", ("name", "upstream_name", "backend_ref")):
        name = entry.text("name", _MODEL)
        names.append((entry.at("name"), name))
        upstream_name = entry.text("upstream_name", _UPSTREAM, name)
        reference = _backend_ref(entry, namespace)
        if name in served:
            entry.fault("name", f"{_quote(name)} is also the model {served[name][0][0]} of a provider", "give one of them another public name")
        else:
            own.setdefault(name, (entry.path, ModelBackend(None, reference, upstream_name)))
    _unique(names, "name", "give each model its own", root.faults)

    return tuple(
        [Model(name, tuple(backend for _path, _model, backend in ends)) for name, ends in served.items()]
        + [Model(name, (backend,)) for name, (_path, backend) in own.items()]
    )


def _sharing(name: str, ends: Sequence[tuple[str, ProviderModel, ModelBackend]], faults: list[Fault]) -> None:
    """A model with several providers needs a rule at each of them, and priorities count from 0 without a gap."""
    if len(ends) == 1:
        return
    paths = [path for path, _model, _backend in ends]
    without = [path for path, model, _backend in ends if model.weight is None and model.priority is None]
    if without:
        others = _listing([path for path in paths if path != without[0]])
        faults.append(
            Fault(without[0], f"{_quote(name)} is served by {others} too and nothing says which one to use", "write `weight` or `priority` in each of them")
        )
        return
    priorities = sorted({backend.priority for _path, _model, backend in ends})
    if priorities != list(range(len(priorities))):
        shown = _listing([str(priority) for priority in priorities])
        faults.append(
            Fault(
                f"{paths[0]}.priority",
                f"the providers of {_quote(name)} ({_listing(paths)}) have the priorities {shown}",
                "count them from 0 (used first) without a gap",
            )
        )


def _backend_ref(model: _Entry, namespace: str) -> BackendRef:
    if not model.has("backend_ref"):
        model.missing("backend_ref", "kind, name, namespace and, for a Service, port of what serves the model")
        return BackendRef("", "", "", None)
    entry = model.entry("backend_ref", ("kind", "name", "namespace", "port"))
    kind = entry.choice("kind", BACKEND_KINDS, "Service")
    if kind and kind not in RENDERED_BACKEND_KINDS:
        entry.fault("", f"models behind an object of kind {kind} are not available in this version", f"take the model out of {PREFIX}models")
    if kind != "Service" and entry.has("port"):
        entry.fault("port", f"is not taken from here: {kind or 'the object'} knows its own", "leave it out")
    port = entry.integer("port", 1, 65535) if kind == "Service" else None
    return BackendRef(kind, entry.text("name", _OBJECT), entry.text("namespace", _LABEL, namespace), port)


def _tiers(root: _Entry, instance: str, models: Sequence[str]) -> list[tuple[str, Tier]]:
    tiers: list[tuple[str, Tier]] = []
    levels: list[tuple[str, int | None]] = []
    for entry in root.entries("tiers", ("name", "level", "groups", "token_limit", "models")):
        name = entry.text("name", _LABEL)
        namespace = f"{instance}-tier-{name}"
        if name and instance and len(namespace) > LABEL_LIMIT:
            excess = len(namespace) - LABEL_LIMIT
            entry.fault("name", f"its namespace {namespace} has {len(namespace)} characters", f"shorten it or {PREFIX}instance by {excess}")
        level = entry.integer("level", 0, 2**31 - 1)
        levels.append((entry.at("level"), level))
        groups = tuple(group for _path, group in entry.texts("groups", _GROUP))
        tiers.append((entry.path, Tier(name, level or 0, groups, namespace, _token_limit(entry), _tier_models(entry, models))))
    _unique(((f"{path}.name", tier.name) for path, tier in tiers), "name", "give each tier its own", root.faults)
    _unique(levels, "level", "give each tier its own: the highest level of a user's groups wins", root.faults)
    return tiers


def _token_limit(tier: _Entry) -> TokenLimit:
    if not tier.has("token_limit"):
        tier.missing("token_limit", "tokens and window, for example {tokens: 100, window: 1m}")
        return TokenLimit(0, "", "")
    entry = tier.entry("token_limit", ("tokens", "window"))
    tokens = entry.integer("tokens", 1, TOKENS_LIMIT)
    window = entry.choice("window", WINDOWS, why=": the rate limit service counts per second, minute, hour or day")
    return TokenLimit(tokens or 0, window, WINDOWS.get(window, ""))


def _tier_models(tier: _Entry, models: Sequence[str]) -> tuple[str, ...]:
    if not tier.has("models"):
        return tuple(models)
    names = tier.texts("models", _Rule("a model's name", rf"\*|{_MODEL.pattern}", 'names of models, or "*" for all', limit=_MODEL.limit))
    if any(name == "*" for _path, name in names):
        if len(names) > 1:
            tier.fault("models", 'names models beside "*"', 'write ["*"] for all, or the names alone')
        return tuple(models)
    for path, name in names:
        if name not in models:
            near = difflib.get_close_matches(name, models, n=1)
            known = f"it takes {_listing(models)}" if 0 < len(models) <= 10 else f"list it in {PREFIX}providers or {PREFIX}models first"
            tier.faults.append(Fault(path, f"{_quote(name)} is no model of the catalogue", f"did you mean `{near[0]}`?" if near else known))
    return tuple(name for _path, name in names)
