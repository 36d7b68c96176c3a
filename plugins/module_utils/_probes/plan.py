# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a validation: from a catalogue and the variables of role validation to whatever the role sends.

``Plan`` answers which users and tokens a run needs, which probes it sends, where it spends a limit, and what of it is
skipped for which reason. What the role finds on the way, such as tokens, is ``Seen``: a plan made before knows less and
promises less. The catalogue is the dictionary that module catalog returns. Nothing here sends, reads or waits.
"""

from __future__ import annotations

import base64
import hashlib
import typing as t
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.identity import digest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.keys import provider_keys
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.paths import serves
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.mcp import planned
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.semantic_router import (
    answers,
    planned_router,
)

Catalog = Mapping[str, t.Any]
Model = Mapping[str, t.Any]
Backend = Mapping[str, t.Any]
Tier = Mapping[str, t.Any]
#: What a task registered. Empty where the task has not run.
Result = Mapping[str, t.Any]
#: Parameters of one of the modules inference_probe (an entry of ``probes``), rate_limit_probe and gateway_token.
Params = dict[str, t.Any]

#: Which measure of a limit can be spent with certainty: all tokens.
SPENDABLE = "total_tokens"
#: Seconds of the shortest window in which a limit can be spent, and of the longest whose end is waited for.
SHORTEST_WINDOW = 60
LONGEST_WAIT = 60
#: Calls beyond those that a limit takes by reckoning.
SPARE_CALLS = 4
NO_MODEL: Model = {"name": "none", "backends": []}
#: What a quick validation asks besides the models that cost nothing: whether the gateway is there and closed.
QUICK_PROBES = ("no-token:chat", "no-token:models", "bad-token", "tampered-token", "forbidden:")
OTHER_AUDIENCE = "https://other.example.com"
NOT_ITS_KEY = "not-its-key"


@dataclass(frozen=True)
class Settings:
    """The variables of the role, named without their prefix.

    ``keys`` are those of the providers that the inventory knows, by provider.
    """

    tier: str = ""
    rate_limit_tier: str = ""
    models: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    max_tokens: int = 16
    paid_requests: int = 50
    recovery: bool = True
    #: Whether a pod tries to reach what NetworkPolicies keep from it.
    network_policies: bool = False
    #: Neither paid requests nor waiting for a window: what a run that changed nothing validates.
    quick: bool = False
    wait_timeout: int = 60
    expired_token: str = field(default="", repr=False)
    #: Where the gateway is called, and where plain HTTP is redirected; empty where it is not.
    gateway_url: str = ""
    http_url: str = ""
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Those of MCP servers.
    mcp_keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, values: Mapping[str, t.Any]) -> Settings:
        """From the variables as they are given, where numbers and switches may be strings.

        ``providers`` and ``mcp_servers`` are those of the inventory, with their credentials.
        """
        given = {name: value for name, value in values.items() if name not in ("providers", "mcp_servers")}
        for name in ("max_tokens", "paid_requests", "wait_timeout"):
            if name in given:
                given[name] = int(given[name])
        for name in ("recovery", "network_policies", "quick"):
            if name in given:
                given[name] = boolean(given[name])
        for name in ("models", "audiences"):
            given[name] = tuple(given.get(name, ()))
        return cls(
            **given,
            keys=provider_keys(values.get("providers", ())),
            mcp_keys=provider_keys(values.get("mcp_servers", ()), "ai_gateway_mcp_servers"),
        )


@dataclass(frozen=True)
class Seen:
    """What the role has found so far, as its tasks registered it.

    ``run`` is the random name of the run, and ``seconds`` says how long its parts took.
    """

    check_mode: bool = False
    run: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    gateway: Result = field(default_factory=dict)
    proxies: Result = field(default_factory=dict)
    identity: Result = field(default_factory=dict, repr=False)
    issued: Result = field(default_factory=dict, repr=False)
    listing: Result = field(default_factory=dict)
    probes: Result = field(default_factory=dict, repr=False)
    proxy_log: Result = field(default_factory=dict)
    listeners: Result = field(default_factory=dict)
    wrong_key: Result = field(default_factory=dict)
    connections: Result = field(default_factory=dict)
    limits: Result = field(default_factory=dict)
    removed: Result = field(default_factory=dict)
    mcp: Result = field(default_factory=dict, repr=False)

    @cached_property
    def _issued(self) -> dict[str, Result]:
        return {result["item"]["id"]: result for result in self.issued.get("results", ())}

    def token(self, purpose: str) -> str:
        """The token that was issued for a purpose, or an empty string."""
        return str(self._issued.get(purpose, {}).get("token", ""))

    def issue(self, purpose: str) -> Result:
        """What issuing the token for a purpose returned; empty where none was issued."""
        return self._issued.get(purpose, {})

    def no_token(self, purpose: str) -> str:
        """Why there is no token for a purpose although one was asked for; an empty string where there is one."""
        result = self._issued.get(purpose)
        if result is None or "token" in result:
            return ""
        return f"no token: {result.get('msg', 'none was issued')}"


def setting_faults(catalog: Catalog, settings: Settings) -> list[str]:
    """Which tiers and models the variables name that the catalogue does not have, one message each."""
    tiers = [tier["name"] for tier in catalog["tiers"]]
    models = [model["name"] for model in catalog["models"]]
    named = dict.fromkeys(filter(None, (settings.tier, settings.rate_limit_tier)))
    return [
        *(
            f"validation_tier or validation_rate_limit_tier: no tier is named {name}; see ai_gateway_tiers"
            for name in named
            if name not in tiers
        ),
        *(
            f"validation_models: no model is named {name}; see ai_gateway_providers"
            for name in dict.fromkeys(settings.models)
            if name not in models
        ),
    ]


def is_paid(probe: Mapping[str, t.Any], models: Collection[str]) -> bool:
    """Whether a probe reaches one of the models: it is sent, with a token, and is to be answered."""
    statuses = (probe.get("expect") or {}).get("status") or [200]
    return not probe.get("skip") and bool(probe.get("token")) and probe.get("model") in models and 200 in statuses


def bounded(probes: Sequence[Params], models: Collection[str], limit: int) -> list[Params]:
    """The probes, those that would be paid beyond the limit skipped for that reason.

    The first of each model goes before the others.
    """
    paid = [index for index, probe in enumerate(probes) if is_paid(probe, models)]
    first = {probes[index]["model"]: index for index in reversed(paid)}
    kept = set(sorted(paid, key=lambda index: (first[probes[index]["model"]] != index, index))[: max(limit, 0)])
    reason = f"validation_paid_requests lets no more than {max(limit, 0)} of these requests reach providers outside"
    return [
        {**probe, "skip": reason} if index in paid and index not in kept else dict(probe)
        for index, probe in enumerate(probes)
    ]


def path_of(backend: Backend) -> str:
    """The path before that of the API under which one backend alone answers."""
    if "provider" in backend:
        return f"/external/{backend['provider']}"
    return f"/{backend['backend_ref']['namespace']}/{backend['backend_ref']['name']}"


def providers_of(model: Model) -> list[str]:
    return [backend["provider"] for backend in model["backends"] if "provider" in backend]


class Plan:
    """What a run of role validation sends.

    The catalogue has a tier at least, and ``setting_faults`` finds nothing in the settings.
    """

    def __init__(self, catalog: Catalog, settings: Settings, seen: Seen) -> None:
        self.catalog = catalog
        self.settings = settings
        self.seen = seen
        #: With Kuadrant a bridge leads to each provider: rules do not read the model, and no path is for all.
        self.bridged = catalog["policy_engine"] == "kuadrant"
        self.with_maas_api = bool(catalog["maas_api"]["enabled"])
        #: Whether anybody lists the models: the clients' gateway, each tier its own, or maas-api, all that it knows.
        self.lists_models = not self.bridged or self.with_maas_api

    # Whom and what the run asks

    def _tier_named(self, name: str) -> Tier:
        return next(tier for tier in self.catalog["tiers"] if tier["name"] == name)

    @cached_property
    def _tiers(self) -> list[Tier]:
        """The tiers that limit all tokens, the strictest first; without one, all of them."""
        # The limit of all tokens comes first, where a tier has one.
        limiting = [tier for tier in self.catalog["tiers"] if tier["limits"][0]["measure"] == SPENDABLE]
        return sorted(limiting, key=lambda tier: tier["limits"][0]["amount"]) or list(self.catalog["tiers"])

    @cached_property
    def tier(self) -> Tier:
        """The tier whose user asks the models."""
        return self._tier_named(self.settings.tier or self._tiers[-1]["name"])

    @cached_property
    def limit_tier(self) -> Tier:
        """The tier whose limit is spent."""
        return self._tier_named(self.settings.rate_limit_tier or self._tiers[0]["name"])

    @cached_property
    def models(self) -> list[Model]:
        """The models that the run is about."""
        wanted = self.settings.models
        # What leads to the semantic router answers as other models, and has probes of its own.
        chosen = (self.catalog.get("semantic_router") or {}).get("model")
        return [
            model
            for model in self.catalog["models"]
            if model["name"] != chosen
            and (not wanted or model["name"] in wanted)
            # What generates nothing has no answer that could be checked.
            and any(self._serves(model, path) for path in ("/v1/chat/completions", "/v1/messages"))
        ]

    @cached_property
    def usable_models(self) -> list[Model]:
        """Those that the tier may use."""
        return [model for model in self.models if model["name"] in self.tier["models"]]

    @cached_property
    def simulators(self) -> set[str]:
        """The names of backends that are simulators."""
        of_providers = {provider["name"] for provider in self.catalog["providers"] if provider["simulated"]}
        backends = [backend for model in self.catalog["models"] for backend in model["backends"]]
        return of_providers | {
            backend["name"] for backend in backends if backend.get("backend_ref", {}).get("simulator")
        }

    @cached_property
    def paid_models(self) -> list[str]:
        """The models of providers outside: what they answer may cost money."""
        firsts = [(model["name"], model["backends"][0]) for model in self.models]
        return [name for name, first in firsts if "backend_ref" not in first and first["name"] not in self.simulators]

    @cached_property
    def _paid_names(self) -> list[str]:
        """These, and the model for which the semantic router may choose one of them."""
        router = self.catalog.get("semantic_router") or {"models": []}
        paid = any(model["name"] in self.paid_models for model in router["models"])
        return [*self.paid_models, *([router["model"]] if paid else [])]

    @cached_property
    def _own_models(self) -> list[str]:
        """The models on the premises that are no simulators."""
        firsts = [(model["name"], model["backends"][0]) for model in self.models]
        return [name for name, first in firsts if "backend_ref" in first and first["name"] not in self.simulators]

    def _serves(self, model: Model, path: str) -> bool:
        """Whether a model is served under a path, by its first backend."""
        schemas = {provider["name"]: provider["schema"] for provider in self.catalog["providers"]}
        first = model["backends"][0] if model["backends"] else {}
        return serves(path, schemas.get(first.get("provider"), "openai"))

    def _is_anthropic(self, model: Model) -> bool:
        """Whether a model is asked in Anthropic's API, as its provider has no other."""
        return not self._serves(model, "/v1/chat/completions")

    def operation(self, model: Model) -> str:
        """The API that a model is asked in: that of its provider."""
        return "messages" if self._is_anthropic(model) else "chat_completions"

    # Users and tokens

    @cached_property
    def _all_users(self) -> dict[str, Params]:
        run, tier, limit_tier = f"validation-{self.seen.run}", self.tier["name"], self.limit_tier["name"]
        if self.settings.quick:
            return {"caller": {"user": run, "tier": tier}}
        # Each place where a limit is spent has its own user, as a limit is each user's.
        return {
            "caller": {"user": run, "tier": tier},
            "limited": {"user": f"{run}-limit", "tier": limit_tier},
            "outside": {"user": f"{run}-outside", "tier": limit_tier},
            "outside-anthropic": {"user": f"{run}-outside-anthropic", "tier": limit_tier},
            "on-premises": {"user": f"{run}-on-premises", "tier": limit_tier},
            "outsider": {"user": run, "namespace": self.catalog["namespace"]},
            **({"minted": {"user": f"{run}-minted", "tier": tier, "source": "maas_api"}} if self.with_maas_api else {}),
        }

    @property
    def users(self) -> list[Params]:
        """The users of this run alone.

        Each becomes a ServiceAccount, or tokens of maas-api, to be removed at the end.
        """
        return list(self._all_users.values())

    @property
    def token_requests(self) -> list[Params]:
        """The tokens to issue, each with the ``id`` of its purpose."""
        users, audiences = dict(self._all_users), list(self.settings.audiences)
        minted = users.pop("minted", None)
        requests = [{"id": purpose, **user, "audiences": audiences} for purpose, user in users.items()]
        if not self.settings.quick:
            requests.append({"id": "other_audience", **users["caller"], "audiences": [OTHER_AUDIENCE]})
        if minted:
            # maas-api gives its tokens the audience that it was configured with.
            requests.append({"id": "minted", **minted})
        return requests

    @property
    def tokens(self) -> dict[str, str]:
        """The token of each purpose, an empty string where there is none."""
        return {purpose: self.seen.token(purpose) for purpose in self._all_users}

    # Where to look

    @cached_property
    def policies_hint(self) -> str:
        policies = "AuthPolicies" if self.bridged else f"SecurityPolicy {self.catalog['name']}"
        return f"See the {policies} in namespace {self.catalog['gateway_namespace']}, and the logs of Authorino."

    @cached_property
    def routes_hint(self) -> str:
        routes = "HTTPRoutes" if self.bridged else "AIGatewayRoutes and backends"
        namespace = self.catalog["namespace"]
        return (
            f"See the status of the {routes} in namespace {namespace}, and the logs of the proxies and of the provider."
        )

    @cached_property
    def keys_hint(self) -> str:
        policy = "AuthPolicy of the bridge to" if self.bridged else "BackendSecurityPolicy of"
        end = "." if self.bridged else " and the Secret it names."
        return f"See the {policy} the provider in namespace {self.catalog['namespace']}{end}"

    @cached_property
    def registry_hint(self) -> str:
        namespace = self.catalog["maas_api"]["namespace"]
        return f"See the ConfigMap external-model-registry in namespace {namespace}, and the logs of maas-api."

    def _limit_hint(self, end: str) -> str:
        policies = "TokenRateLimitPolicies" if self.bridged else f"BackendTrafficPolicy {self.catalog['name']}"
        return f"See the {policies} in namespace {self.catalog['gateway_namespace']}, and {end}."

    # The list of models

    @cached_property
    def _listed_by_maas_api(self) -> dict[str, str]:
        """Queries of maas-api's list and what they find. Models of providers are registered, and maas-api itself finds
        those of KServe.
        """
        names = []
        for model in self.catalog["models"]:
            first = model["backends"][0]
            reference = first.get("backend_ref", {})
            if "provider" in first or (reference["kind"] == "LLMInferenceService" and not reference["simulator"]):
                names.append(model["name"])
        return {f"data[?id=='{name}'].id | [0]": name for name in names}

    @property
    def listing(self) -> Params:
        """The probe that waits for the list of models. It comes before all others."""
        catalog = self.catalog
        unlisted = "with engine kuadrant maas-api lists the models, and ai_gateway_maas_api is false"
        # maas-api lists more where it knows more.
        expect = {"query": self._listed_by_maas_api} if self.bridged else {"models": self.tier["models"]}
        extension = f"See the EnvoyExtensionPolicy {catalog['name']} in namespace {catalog['namespace']}."
        return {
            "id": "models",
            "name": "The models of the tier are listed",
            "hint": self.registry_hint if self.bridged else extension,
            "token": self.seen.token("caller"),
            "operation": "models",
            "skip": self.seen.no_token("caller") or ("" if self.lists_models else unlisted),
            "wait_timeout": self.settings.wait_timeout,
            "expect": expect,
        }

    # The probes

    @cached_property
    def probes(self) -> list[Params]:
        """The probes in the order of the report, no more of them paid than the settings allow."""
        found = self._all_probes
        if self.settings.quick:
            free = {f"chat:{model['name']}" for model in self.usable_models} - {
                f"chat:{name}" for name in self.paid_models
            }
            return [probe for probe in found if probe["id"].startswith(QUICK_PROBES) or probe["id"] in free]
        return bounded(found, self._paid_names, self.settings.paid_requests - self._paid_for_limits)

    @cached_property
    def _all_probes(self) -> list[Params]:
        found = [*self._refusals(), *(self._maas_api() if self.with_maas_api else ())]
        for model in self.models:
            if model["name"] not in self.tier["models"]:
                found += self._withheld(model)
        for model in self.usable_models:
            found += self._answers(model)
        common = {"token": self.seen.token("caller"), "skip": self.seen.no_token("caller")}
        found += planned_router(self.catalog, self.tier, common, self._wait, self.policies_hint)
        return found

    @property
    def left_out(self) -> int:
        """How many probes and limits a quick validation leaves out."""
        if not self.settings.quick:
            return 0
        return len(self._all_probes) - len(self.probes) + 1 + len(self._limits_elsewhere)

    @property
    def paid_requests(self) -> int:
        """How many requests reach providers outside at most."""
        return sum(is_paid(probe, self._paid_names) for probe in self.probes) + self._paid_for_limits

    @cached_property
    def _any_model(self) -> Model:
        return self.usable_models[0] if self.usable_models else NO_MODEL

    @cached_property
    def _no_model(self) -> str:
        return "" if self.usable_models else f"tier {self.tier['name']} may use no model of the catalogue"

    @cached_property
    def _wait(self) -> int:
        """Seconds to wait for an answer. Who waited for the list in vain waits for nothing more."""
        listed = self.seen.listing.get("checks") or [{}]
        return 0 if listed[0].get("status") == "failed" else self.settings.wait_timeout

    @cached_property
    def _keys(self) -> list[str]:
        return list(self.settings.keys.values())

    def _asks(self, model: Model) -> Params:
        """The model of a probe and, with bridges, the path of its first backend."""
        path = {"base_path": path_of(model["backends"][0])} if self.bridged and model["backends"] else {}
        return {"model": model["name"], **path}

    def _not_simulated(self, model: Model) -> str:
        """Why what only a simulator reports cannot be seen of a model; an empty string where it can."""
        real = [backend for backend in model["backends"] if backend["name"] not in self.simulators]
        if not real:
            return ""
        who = f"provider {real[0]['provider']}" if "provider" in real[0] else "the model on the premises"
        return f"its headers cannot be seen: {who} is no simulator"

    def _key_unknown(self, model: Model) -> str:
        unknown = [name for name in providers_of(model) if name not in self.settings.keys]
        return f"the key of provider {unknown[0]} is known to the cluster alone" if unknown else ""

    def _refusals(self) -> Iterator[Params]:
        """Probes without a good token, or with one for what does not exist."""
        seen, tier, any_model, no_model = self.seen, self.tier, self._any_model, self._no_model
        asks, token, no_token = self._asks(any_model), seen.token("caller"), seen.no_token("caller")
        refused, policies = {"status": [401]}, {"hint": self.policies_hint}
        without = {**policies, "token": ""}
        yield {
            "id": "no-token:chat",
            "name": "A chat without a token is refused",
            **without,
            **asks,
            "skip": no_model,
            "expect": {**refused, "api_error": True},
        }
        if not self.bridged:
            yield {
                "id": "no-token:messages",
                "name": "A message without a token is refused in Anthropic's API",
                **without,
                **asks,
                "operation": "messages",
                "skip": no_model,
                "expect": {**refused, "api_error": True, "query": {"error.type": "authentication_error"}},
            }
        for provider in self.catalog["providers"]:
            yield {
                "id": f"no-token:{provider['name']}",
                "name": f"The path of {provider['name']} without a token is refused",
                **without,
                "operation": "models",
                "base_path": f"/external/{provider['name']}",
                "expect": refused,
            }
        if self.lists_models:
            yield {
                "id": "no-token:models",
                "name": "The list of models without a token is refused",
                **without,
                "operation": "models",
                "expect": refused,
            }
        expired = self.settings.expired_token
        expired_skip = no_model if expired else "there is no validation_expired_token"
        for id_, name, bad_token, skip, expect in (
            ("bad-token", "A token that is none is refused", f"not-a-token-{seen.run}", no_model, refused),
            (
                "tampered-token",
                "A token with a changed signature is refused",
                token[:-40] + "A" * 40,
                no_model or no_token,
                refused,
            ),
            ("expired-token", "An expired token is refused", expired, expired_skip, refused),
            (
                "other-audience",
                "A token for another audience is refused",
                seen.token("other_audience"),
                no_model or seen.no_token("other_audience"),
                refused,
            ),
            (
                "outsider",
                "A token from outside all tiers is refused",
                seen.token("outsider"),
                no_model or seen.no_token("outsider"),
                {"status": [401, 403]},
            ),
        ):
            yield {"id": id_, "name": name, **policies, "token": bad_token, **asks, "skip": skip, "expect": expect}
        status = 403 if tier["restricted"] and not self.bridged else 404
        yield {
            "id": "unknown-model",
            "name": f"An unknown model is a clear {status}",
            "hint": self.routes_hint,
            "token": token,
            **self._asks({**any_model, "name": f"no-such-model-{seen.run}"}),
            # Behind a bridge it is the provider that answers.
            "skip": no_token or (self._not_simulated(any_model) if self.bridged else ""),
            "expect": {"status": [status], "matches": "(?i)model", "api_error": True},
        }
        yield {
            "id": "unknown-path",
            "name": f"The path of an unknown provider is {'refused' if self.bridged else 'a clear 404'}",
            **policies,
            "token": token,
            "model": any_model["name"],
            "base_path": f"/external/no-such-provider-{seen.run}",
            "skip": no_model or no_token,
            # What is beneath /external and of no bridge has no backend, which gateways report as 500.
            "expect": {"status": [404, 500] if self.bridged else [404], "api_error": not self.bridged},
        }
        listing = {"operation": "models", "skip": no_token, "expect": {"models": tier["models"]}}
        yield {
            "id": "api-key-header",
            "name": "A token is taken as x-api-key too",
            **policies,
            "token": token,
            "token_header": "x-api-key",
            **({**asks, "skip": no_model or no_token} if self.bridged else listing),
        }

    def _maas_api(self) -> Iterator[Params]:
        minted, no_minted = self.seen.token("minted"), self.seen.no_token("minted")
        models = {"operation": "models", "base_path": "/maas-api"}
        yield {
            "id": "maas-api-models",
            "name": "maas-api lists the registered models",
            "hint": self.registry_hint,
            "token": minted,
            **models,
            "wait_timeout": self._wait,
            "skip": no_minted,
            "expect": {"query": self._listed_by_maas_api},
        }
        yield {
            "id": "maas-api-chat",
            "name": "A token of maas-api opens the gateway",
            "hint": self.policies_hint,
            "token": minted,
            **self._asks(self._any_model),
            "skip": self._no_model or no_minted,
            "expect": {"usage": True},
        }
        yield {
            "id": "maas-api-no-token",
            "name": "maas-api without a token is refused",
            "hint": self.policies_hint,
            "token": "",
            **models,
            "expect": {"status": [401]},
        }

    def _withheld(self, model: Model) -> Iterator[Params]:
        """Probes of a model that the tier may not use."""
        name, tier = model["name"], self.tier["name"]
        common = {
            "hint": self.policies_hint,
            "token": self.seen.token("caller"),
            "skip": self.seen.no_token("caller"),
        }
        yield {
            "id": f"forbidden:{name}",
            "name": f"Tier {tier} may not use {name}",
            **common,
            **self._asks(model),
            "expect": {"status": [403], "api_error": True},
        }
        if not self.bridged:
            yield {
                "id": f"hidden:{name}",
                "name": f"Tier {tier} does not see {name}",
                **common,
                "operation": "models",
                "path": f"/v1/models/{quote(name)}",
                "expect": {"status": [404], "api_error": True},
            }

    def _answers(self, model: Model) -> Iterator[Params]:
        """Probes of a model that the tier may use."""
        name, operation, no_token = model["name"], self.operation(model), self.seen.no_token("caller")
        answered_as = [name, *(backend.get("provider_model", name) for backend in model["backends"])]
        common = {
            "hint": self.routes_hint,
            "token": self.seen.token("caller"),
            "operation": operation,
            **self._asks(model),
            "wait_timeout": self._wait,
            "skip": no_token,
        }
        secretive = {"usage": True, "excludes": self._keys}
        yield {
            "id": f"chat:{name}",
            "name": f"{name} answers",
            **common,
            "expect": {"model": list(dict.fromkeys(answered_as)), **secretive},
        }
        if operation != "messages" and self._serves(model, "/v1/messages") and not self.bridged:
            yield {
                "id": f"messages:{name}",
                "name": f"{name} answers clients of the Anthropic API",
                **common,
                "operation": "messages",
                "stream": True,
                "expect": {"usage": True, "minimum_chunks": 3},
            }
        for backend in model["backends"]:
            yield {
                "id": f"path:{backend['name']}:{name}",
                "name": f"{name} answers under the path of {backend['name']}",
                **common,
                "base_path": path_of(backend),
                "expect": secretive,
            }
        yield {
            "id": f"stream:{name}",
            "name": f"{name} streams",
            **common,
            "stream": True,
            "expect": {**secretive, "minimum_chunks": 3},
        }
        yield self._key_probe(model, common)
        yield self._forged_probe(model, common, list(dict.fromkeys(answered_as)))
        if self._pool(model) is not None:
            yield self._pool_probe(model, common)

    def _key_probe(self, model: Model, common: Params) -> Params:
        """Whether the provider gets its own key, and nobody the caller's token."""
        unseen = self._not_simulated(model) or self._key_unknown(model)
        outside = "provider" in model["backends"][0]
        keys = [] if unseen else [self.settings.keys[name] for name in providers_of(model)]
        received: Params = {"received_credentials": [hashlib.sha256(key.encode()).hexdigest() for key in keys]}
        if not outside:
            received["received_headers"] = {"authorization": None, "x-api-key": None, "api-key": None}
        return {
            **common,
            "id": f"key:{model['name']}",
            "name": f"{model['name']} gets {'its own key and no token' if outside else 'neither key nor token'}",
            "hint": self.keys_hint,
            "echo": True,
            "skip": common["skip"] or unseen,
            "expect": {**received, "excludes": self._keys},
        }

    @cached_property
    def _identity_key(self) -> str:
        """The key that makes what stands for a caller at the providers; an empty string where it was not read."""
        found = (self.seen.identity.get("resources") or [{}])[0].get("data") or {}
        return base64.b64decode(found.get(self.catalog["identity_key"]["key"]) or "").decode()

    def _forged_probe(self, model: Model, common: Params, answered_as: list[str]) -> Params:
        """Whether headers that the caller forges reach neither the gateway's rules nor the provider."""
        name, tier = model["name"], self.tier["name"]
        received: dict[str, str | None] = {"x-maas-user": None, "x-maas-tier": None}
        stands_in = not self.bridged and bool(self._identity_key)
        if stands_in:
            user = str(self.seen.issue("caller").get("service_account", ""))
            received["x-ai-gateway-user"] = digest(self._identity_key, tier, user)
            received["x-ai-gateway-tier"] = digest(self._identity_key, tier)
            received["x-ai-eg-model"] = name
        other_tiers = [other["name"] for other in self.catalog["tiers"] if other["name"] != tier]
        other_models = [other["name"] for other in self.usable_models if other["name"] != name]
        learns = "gets what stands for the true caller, and no name"
        return {
            **common,
            "id": f"forged:{name}",
            "name": f"{name} {learns if stands_in else 'learns no name of a caller, a forged one neither'}",
            "hint": self.policies_hint,
            "echo": True,
            "skip": common["skip"] or self._not_simulated(model),
            "extra_headers": {
                "x-maas-user": "forged",
                "x-ai-gateway-user": "forged",
                "x-ai-gateway-tier": "forged",
                "x-ai-gateway-provider": "forged",
                "x-maas-tier": [*other_tiers, "forged"][0],
                "x-ai-eg-model": [*other_models, "forged"][0],
            },
            "expect": {"model": answered_as, "received_headers": received},
        }

    def _pool(self, model: Model) -> Params | None:
        """The InferencePool that serves a model; None where something else does."""
        pools = self.catalog.get("inference_pools") or []
        return next((pool for pool in pools if model["name"] in pool["models"]), None)

    def _objective(self, model: Model, pool: Params) -> str | None:
        """The name of the InferenceObjective that a request of the tier has; None for none."""
        name = model.get("objective") or self.tier.get("objective")
        if not name or not pool["managed"]:
            return name
        known = [objective["name"] for objective in pool["objectives"]]
        return f"{pool['name']}.{name}" if name in known else None

    def _pool_probe(self, model: Model, common: Params) -> Params:
        """Whether a pod of an InferencePool learns nothing of the caller, and its picker obeys the gateway alone.

        Envoy AI Gateway, which removes headers at other backends, changes no request to a pool.
        """
        headers = self.catalog["headers"]
        # A client may leave these out or send them; the token is in one of them already, and others make a request bad.
        sent = {*headers["removed_after_authorization"], *headers["removed_at_listener"]} - {
            "authorization",
            *headers["tokens"],
            "origin",
        }
        families = {f"x-{family}-validation" for family in headers["families"]}
        # What the gateway itself says of the request is there, and the pod that the picker chose.
        own = ("x-ai-", "x-gateway-destination-")
        names = (name for name in (*sent, *families, *headers["tokens"]) if not name.startswith(own))
        received: dict[str, str | None] = dict.fromkeys(sorted(names))
        received |= {
            "x-forwarded-for": None,
            # What routes match stays, as nobody removes it.
            "x-ai-gateway-provider": "*",
            "x-ai-gateway-api": "openai",
            "x-gateway-inference-objective": self._objective(model, self._pool(model) or {}),
        }
        return {
            **common,
            "id": f"pool:{model['name']}",
            "name": f"The pod that answers for {model['name']} learns nothing of the caller",
            "hint": self.policies_hint,
            "echo": True,
            "skip": common["skip"] or self._not_simulated(model),
            "extra_headers": dict.fromkeys(sorted(sent | families), "forged"),
            "expect": {"model": [model["name"]], "received_headers": received},
        }

    # The limit

    @cached_property
    def limits(self) -> list[Params]:
        """Where the limit of a tier is spent: at a simulator first, then at one model of each kind that costs
        something.

        ``user`` names the token.
        """
        if self.settings.quick:
            return []
        return [self._limit_at_simulator(), *(params for params, _paid in self._limits_elsewhere)]

    @property
    def _limit(self) -> Mapping[str, t.Any]:
        limit: Mapping[str, t.Any] = self.limit_tier["limits"][0]
        return limit

    @property
    def _window(self) -> int:
        return int(self._limit["seconds"])

    def _limit_skip(self, user: str, no_model: str) -> str:
        """Why the limit is not spent for a user; ``no_model`` says why no model is fit, if that is so."""
        tier = self.limit_tier["name"]
        no_limit = "" if self._limit["measure"] == SPENDABLE else f"tier {tier} has no limit of all tokens"
        short = f"a window of {self._limit['window']} ends before it is spent" if self._window < SHORTEST_WINDOW else ""
        # At a simulator it comes first that the tier has no limit, elsewhere that no model is fit.
        reasons = (no_limit, no_model) if user == "limited" else (no_model, no_limit)
        return next(filter(None, (self.seen.no_token(user), *reasons, short)), "")

    def _limit_params(self, user: str, model: Model | None) -> Params:
        path = {"base_path": path_of(model["backends"][0]) if model else ""} if self.bridged else {}
        return {
            "user": user,
            "model": model["name"] if model else NO_MODEL["name"],
            "operation": self.operation(model) if model else "chat_completions",
            **path,
            "limit": self._limit["amount"],
            "window": self._window,
        }

    def _limit_at_simulator(self) -> Params:
        """A simulator's tokens cost nothing, and it uses as many as the request says."""
        tier = self.limit_tier["name"]
        allowed = [model for model in self.models if model["name"] in self.limit_tier["models"]]
        simulated = [model for model in allowed if model["backends"][0]["name"] in self.simulators]
        model = simulated[0] if simulated else None
        unfit = f"no simulator serves a model of tier {tier}, and spending at a provider costs money"
        # The limit is the user's for all models and paths: it must hold under the path of the provider, and for another
        # model too. Behind a bridge there is no other path.
        elsewhere: list[Params] = []
        if model and not self.bridged:
            elsewhere.append({"base_path": path_of(model["backends"][0])})
        others = [other for other in allowed if other is not model and not self._is_anthropic(other)]
        elsewhere += [{**self._asks(other), "operation": "chat_completions"} for other in others[:1]]
        # And for what the router chooses, which is one budget with the models' own.
        router = self.catalog.get("semantic_router")
        if model and router and answers(router, self.limit_tier):
            elsewhere.append({"model": router["model"], "operation": "chat_completions"})
        return {
            **self._limit_params("limited", model),
            "id": "rate-limit",
            "name": f"The token limit of tier {tier}",
            "hint": self._limit_hint("the logs of the rate limit service"),
            "skip": self._limit_skip("limited", "" if model else unfit),
            "elsewhere": elsewhere,
            # Three calls are not enough for the limit and four are, but for the smallest limits.
            "simulated_tokens": max(1, self._limit["amount"] * 3 // 10),
            # Nobody waits for the end of an hour.
            "wait_for_recovery": self.settings.recovery and self._window <= LONGEST_WAIT,
        }

    @cached_property
    def _limits_elsewhere(self) -> list[tuple[Params, bool]]:
        """Where the limit is spent besides, and whether that may cost money: what simulators report of their tokens
        proves nothing of what others report.

        A model on the premises costs no money, but as many of its requests are too many.
        """
        tier, settings = self.limit_tier, self.settings
        # With its question a call uses half of the tokens that an answer may have, at the least.
        calls = SPARE_CALLS + self._limit["amount"] // max(1, settings.max_tokens // 2)
        models = {model["name"]: model for model in self.models}
        anthropic = [name for name in self.paid_models if self._is_anthropic(models[name])]
        other = [name for name in self.paid_models if name not in anthropic]
        left = settings.paid_requests
        found: list[tuple[Params, bool]] = []
        for user, at, names, paid in (
            ("outside", "a provider outside", other, True),
            ("outside-anthropic", "a provider outside of Anthropic's API", anthropic, True),
            ("on-premises", "a model on the premises", self._own_models, False),
        ):
            if not names:
                continue
            model = next((models[name] for name in names if name in tier["models"]), None)
            most = left if paid else settings.paid_requests
            skip = self._limit_skip(user, "" if model else f"tier {tier['name']} may use none of these models")
            if not skip and calls > most:
                skip = f"it takes about {calls} requests, and validation_paid_requests leaves {most}"
            if paid and not skip:
                left -= calls
            params = {
                **self._limit_params(user, model),
                "id": f"rate-limit-{user}",
                "name": f"The token limit of tier {tier['name']} at {at}",
                "hint": self._limit_hint("what the proxies log of the tokens"),
                "skip": skip,
                "max_tokens": settings.max_tokens,
                "max_requests": calls,
                "wait_for_recovery": False,
            }
            found.append((params, paid))
        return found

    @property
    def _paid_for_limits(self) -> int:
        """How many requests spending the limit may send to providers outside."""
        if self.settings.quick:
            return 0
        return sum(params["max_requests"] for params, paid in self._limits_elsewhere if paid and not params["skip"])

    # A wrong key

    @cached_property
    def wrong_key_provider(self) -> Mapping[str, t.Any] | None:
        """A provider that is called with a key of nobody: a simulator that serves plain HTTP, as its pod calls it
        without verifying a certificate.
        """
        for provider in self.catalog["providers"]:
            if provider["simulated"] and provider["endpoint"]["tls"]["mode"] == "none":
                found: Mapping[str, t.Any] = provider
                return found
        return None

    @property
    def wrong_key(self) -> Params:
        """Which provider is asked, the arguments of files/wrong_key.py, and why nobody is."""
        provider = self.wrong_key_provider
        if self.seen.check_mode:
            return {"skip": "check mode asks nothing"}
        if self.settings.quick:
            return {"skip": "a quick validation asks no provider"}
        if provider is None:
            return {
                "skip": "no provider is a simulator that serves plain HTTP, and wrong keys are not sent to real ones"
            }
        credential = provider["credential"]
        path = "/v1/messages" if provider["schema"] == "anthropic" else "/v1/chat/completions"
        key = f"{credential['scheme']} {NOT_ITS_KEY}" if credential["scheme"] else NOT_ITS_KEY
        arguments = [path, credential["header"], key, provider["models"][0]["provider_model"]]
        return {"skip": "", "provider": provider["name"], "arguments": arguments}

    # The network

    @property
    def connections(self) -> Params:
        """What the pod of a simulator tries to reach, and why nothing is tried."""
        controllers, asked = self.catalog["controller_namespaces"], self.wrong_key
        if not self.settings.network_policies or self.bridged:
            return {"skip": "validation_network_policies is false, or the gateway is another's"}
        if asked["skip"]:
            return {"skip": "no simulator's pod can try it"}
        places = [f"redis.{controllers['envoy_gateway']}.svc:6379", f"authorino.{controllers['authorino']}.svc:50051"]
        return {"skip": "", "arguments": places}

    # MCP servers

    @property
    def mcp_probes(self) -> list[Params]:
        """The sessions with MCP servers, none where there is none."""
        seen = self.seen
        return planned(
            self.catalog,
            self.tier,
            seen.token("caller"),
            seen.no_token("caller"),
            seen.run,
            self.settings.mcp_keys,
            self._wait,
        )
