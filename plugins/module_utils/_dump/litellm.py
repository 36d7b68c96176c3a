# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the configuration of a LiteLLM proxy to the variables of a catalogue. Pure.

No key that the configuration has in plain gets into the variables or into a message.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import CatalogError, quote
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import INPUTS, PREFIX
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import slug
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.refused_endpoints import address
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.schemas import SCHEMAS
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import MODEL, PROVIDER
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.document import Expression, Note
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.litellm_deployments import (
    Deployment,
    NoCounterpartError,
    read_deployment,
    read_mcp_server,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.litellm_source import ENVIRONMENT, Source, Wrong
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.litellm_table import SERVED_MODES

#: In place of keys while the catalogue is checked.
_CHECKED = {
    "access_key": "[default]\naws_access_key_id = x\naws_secret_access_key = x\n",
    "service_account_key": '{"type": "service_account", "private_key": "x"}',
}
#: The largest weight of a catalogue, and by what weights below 1 are multiplied.
_WEIGHT_LIMIT = 1_000_000
_PER_MILLE = 1000
_TO_MILLION = 1_000_000
_PRICE_LIMIT = 100_000


class LiteLlmError(ValueError):
    """A configuration cannot become a catalogue; a line for each fault, with its path and the remedy."""

    def __init__(self, faults: Sequence[Wrong]) -> None:
        self.faults = tuple(faults)
        lines = "".join(f"\n  - {fault}" for fault in self.faults)
        super().__init__(f"The configuration of LiteLLM has {len(self.faults)} faults:{lines}")


@dataclass(frozen=True)
class Translation:
    """What a configuration comes to."""

    variables: dict[str, t.Any]
    #: What it says that the variables do not, in its order.
    notes: tuple[Note, ...]
    #: The variables of the environment that the variables read.
    environment: tuple[str, ...]


@dataclass
class _Served:
    """A deployment that serves a public model."""

    name: str
    deployment: Deployment
    weight: int | None = None
    priority: int | None = None


@dataclass
class _Group:
    """The deployments of one public name, in their order."""

    name: str
    path: str
    deployments: list[Deployment] = field(default_factory=list)


def translate(config: Mapping[str, t.Any], environment: t.Callable[[str], str | None]) -> Translation:
    """The variables of a catalogue that serves the models of a configuration.

    :param config: the configuration, as ``read_yaml`` returns it.
    :param environment: the value of a variable of the environment that holds no key, such as an address; None where it
        is not set.
    :raises LiteLlmError: where the configuration is none, or no model of it has a counterpart.
    """
    notes: list[Note] = []
    wrong: list[Wrong] = []
    root = Source(config, "", notes, wrong)
    groups = _groups(root, environment)
    settings, router = root.source("litellm_settings"), root.source("router_settings")
    _aliases(router, groups)
    fallbacks = [*_fallbacks(settings), *_fallbacks(router)]
    served = _served(groups, fallbacks, notes)
    variables: dict[str, t.Any] = {}
    read = {*_read(config), *(secret.variable for entry in served for secret in entry.deployment.secrets)}
    providers, models, allowed = _placed(served, notes, read)
    if providers:
        variables["ai_gateway_providers"] = providers
    if models:
        variables["ai_gateway_models"] = models
    servers = _servers(root, environment, allowed, read)
    if servers:
        variables["ai_gateway_mcp_servers"] = servers
    if allowed:
        variables["ai_gateway_allowed_endpoints"] = allowed
    prices = _prices(groups, {entry.name for entry in served}, notes)
    if prices:
        variables["ai_gateway_prices"] = prices
    timeout = settings.number("request_timeout")
    if timeout is not None and timeout >= 1:
        variables["providers_request_timeout"] = f"{round(timeout)}s"
    for section in (settings, router, root.source("general_settings"), root.source("environment_variables")):
        section.name_the_rest()
    root.name_the_rest()
    if not providers and not models and not wrong:
        wrong.append(Wrong("model_list", "has no model that a catalogue can serve", "see the notes for each"))
    if wrong:
        raise LiteLlmError([*wrong, *(Wrong(note.path, note.reason) for note in notes if not providers and not models)])
    _check(variables)
    return Translation(variables, tuple(dict.fromkeys(notes)), tuple(dict.fromkeys(_names(variables))))


def _read(value: t.Any) -> t.Iterator[str]:
    """The variables of the environment that a configuration names, wherever it does."""
    if isinstance(value, str) and value.startswith(ENVIRONMENT):
        yield value.removeprefix(ENVIRONMENT)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _read(item)
    elif isinstance(value, list):
        for item in value:
            yield from _read(item)


def _groups(root: Source, environment: t.Callable[[str], str | None]) -> dict[str, _Group]:
    credentials: dict[str, Source] = {}
    for entry in root.sources("credential_list"):
        name = entry.string("credential_name")
        if name:
            credentials[name] = entry.source("credential_values")
        entry.ignore("credential_info")
        entry.name_the_rest()
    groups: dict[str, _Group] = {}
    entries = root.sources("model_list")
    if not entries and not root.wrong:
        root.wrong.append(Wrong("model_list", "is missing or empty", "name the config.yaml of a LiteLLM proxy"))
    for entry in entries:
        name = entry.string("model_name", required=True)
        params, info = entry.source("litellm_params", required=True), entry.source("model_info")
        if not name or not params.value:
            continue
        mode = info.string("mode")
        try:
            if not MODEL.accepts(name):
                fault = MODEL.fault("model_name", name)
                raise NoCounterpartError(f"its model_name {fault.problem.removeprefix('is ')}; {fault.remedy}")
            if mode and mode not in SERVED_MODES:
                raise NoCounterpartError(f"has mode {quote(mode)}, which the gateway does not serve")
            named = params.string("litellm_credential_name")
            if named and named not in credentials:
                raise NoCounterpartError(f"names the credential {quote(named)}, which credential_list does not have")
            deployment = read_deployment(
                entry.path, params, info, credentials.get(named) if named else None, environment
            )
        except NoCounterpartError as error:
            entry.notes.append(Note(entry.path, f"is not served: {error}"))
            entry.ignore(*entry.value)
            continue
        groups.setdefault(name, _Group(name, entry.path)).deployments.append(deployment)
        for source in (params, info, entry):
            source.name_the_rest()
    for credential in credentials.values():
        credential.name_the_rest()
    return groups


def _aliases(router: Source, groups: dict[str, _Group]) -> None:
    """Other public names of models."""
    aliases = router.source("model_group_alias")
    for alias, value in aliases.value.items():
        target = value.get("model") if isinstance(value, Mapping) else value
        path = aliases.at(alias)
        aliases.ignore(alias)
        if not isinstance(target, str) or target not in groups:
            router.notes.append(Note(path, "names no model of model_list that is served"))
        elif alias in groups or not MODEL.accepts(alias):
            router.notes.append(Note(path, "is the name of a model, or no name that clients can write"))
        else:
            groups[alias] = _Group(alias, path, list(groups[target].deployments))
            if isinstance(value, Mapping) and value.get("hidden"):
                router.notes.append(Note(f"{path}.hidden", "is listed; a tier that names its models hides it"))


def _fallbacks(section: Source) -> list[tuple[str, str, list[str]]]:
    """Each as path, public name and names of other models."""
    found = []
    for entry in section.sources("fallbacks"):
        for name, others in entry.value.items():
            path = entry.at(name)
            entry.ignore(name)
            if not isinstance(others, list) or not all(isinstance(other, str) for other in others):
                section.notes.append(Note(path, "is no list of names of models, and has no counterpart"))
            else:
                found.append((path, name, others))
    return found


def _served(
    groups: Mapping[str, _Group], fallbacks: Iterable[tuple[str, str, list[str]]], notes: list[Note]
) -> list[_Served]:
    """What serves each public name, with weights and priorities where there are several."""
    further: dict[str, list[tuple[str, Deployment]]] = {}
    for path, name, others in fallbacks:
        if name not in groups:
            notes.append(Note(path, "is for a model that model_list does not have, or that is not served"))
            continue
        for other in others:
            if other not in groups:
                notes.append(Note(path, f"{quote(other)} is not in model_list, or is not served"))
            else:
                further.setdefault(name, []).extend((path, deployment) for deployment in groups[other].deployments)
    found: list[_Served] = []
    for group in groups.values():
        ranked = _ranked(group, notes)
        last = max((rank for _deployment, _weight, rank in ranked), default=0)
        for number, (path, deployment) in enumerate(further.get(group.name, ())):
            if not any(deployment is other for other, _weight, _rank in ranked):
                ranked.append((deployment, None, last + 1 + number))
                notes.append(
                    Note(path, f"{quote(group.name)} is then priced and limited as itself, regardless of who answers")
                )
        kept = _of_one_api(group, ranked, notes)
        ranks = sorted({rank for _deployment, _weight, rank in kept})
        for deployment, weight, rank in kept:
            several = len(kept) > 1
            found.append(
                _Served(
                    group.name,
                    deployment,
                    (weight or 1) if several else None,
                    ranks.index(rank) if several and len(ranks) > 1 else None,
                )
            )
    return found


def _ranked(group: _Group, notes: list[Note]) -> list[tuple[Deployment, int | None, int]]:
    """The deployments of a name, each with its weight and its rank, as LiteLLM's simple-shuffle has them."""
    deployments = group.deployments
    orders = sorted({deployment.order for deployment in deployments if deployment.order is not None})
    ranks = {order: number for number, order in enumerate(orders)}
    found: list[tuple[Deployment, int | None, int]] = []
    for rank in range(len(orders) + 1):
        members = [one for one in deployments if ranks.get(one.order, len(orders)) == rank]  # type: ignore[arg-type]
        if not members:
            continue
        # It looks at the first deployment alone for what it weighs by.
        measure = next((name for name in ("weight", "rpm", "tpm") if members[0].measures.get(name) is not None), "")
        numbers = [member.measures.get(measure) or 0 for member in members] if measure else [1] * len(members)
        for member, weight in zip(members, _weights(numbers)):
            if weight:
                found.append((member, weight, rank))
            else:
                notes.append(
                    Note(member.path, f"is not served under {quote(group.name)}: its {measure} is 0 or missing")
                )
    return found


def _weights(numbers: Sequence[float]) -> list[int]:
    """Whole numbers in about the same proportions; 0 stays 0."""
    factor = 1 if all(float(number).is_integer() for number in numbers) else _PER_MILLE
    largest = max(numbers, default=0) * factor
    scale = factor * (_WEIGHT_LIMIT / largest if largest > _WEIGHT_LIMIT else 1)
    return [max(1, round(number * scale)) if number > 0 else 0 for number in numbers]


def _of_one_api(
    group: _Group, ranked: Sequence[tuple[Deployment, int | None, int]], notes: list[Note]
) -> list[tuple[Deployment, int | None, int]]:
    """Those that speak the API of the first, as a request of one API cannot be sent to another."""
    if not ranked:
        return []
    first = ranked[0][0]
    api = SCHEMAS[first.schema].api or first.schema
    kept = []
    for deployment, weight, rank in ranked:
        if (SCHEMAS[deployment.schema].api or deployment.schema) != api:
            reason = (
                f"is not served under {quote(group.name)}: its API is {deployment.schema}, and that of {first.path} is "
                f"{first.schema}; a request of one cannot be sent to the other. Give it another model_name"
            )
            notes.append(Note(deployment.path, reason))
        elif len(ranked) > 1 and address(deployment.hostname) is not None:
            reason = (
                f"is not served under {quote(group.name)}: it is reached by an address, and Envoy AI Gateway cannot "
                "distinguish those of several providers of a model. Write its host name"
            )
            notes.append(Note(deployment.path, reason))
        else:
            kept.append((deployment, weight, rank))
    return kept


def _placed(
    served: Sequence[_Served], notes: list[Note], read: set[str]
) -> tuple[list[dict[str, t.Any]], list[dict[str, t.Any]], list[str]]:
    """Providers, models on the premises, and endpoints that have to be allowed."""
    alone = {entry.name for entry in served if entry.weight is None}
    models: list[dict[str, t.Any]] = []
    made: list[tuple[Deployment, dict[str, t.Any]]] = []
    names: set[str] = set()
    allowed: list[str] = []
    for entry in served:
        deployment = entry.deployment
        if entry.name in alone and deployment.backend_ref:
            models.append(_model(entry))
            continue
        provider = next(
            (
                provider
                for other, provider in made
                if other.same_provider(deployment) and entry.name not in (model["name"] for model in provider["models"])
            ),
            None,
        )
        if provider is None:
            name = _name(deployment, names)
            names.add(name)
            provider = deployment.provider(name, notes, read)
            made.append((deployment, provider))
            if deployment.allow and deployment.hostname not in allowed:
                allowed.append(deployment.hostname)
                reason = (
                    f"leads to {deployment.hostname}, which is in ai_gateway_allowed_endpoints now: {deployment.allow}"
                )
                notes.append(Note(deployment.base_path, reason))
        provider["models"].append(
            {
                "name": entry.name,
                **({"provider_model": deployment.model} if deployment.model != entry.name else {}),
                **({"weight": entry.weight} if entry.weight is not None else {}),
                **({"priority": entry.priority} if entry.priority is not None else {}),
            }
        )
    return [provider for _deployment, provider in made], models, allowed


def _model(entry: _Served) -> dict[str, t.Any]:
    renamed = {"provider_model": entry.deployment.model} if entry.deployment.model != entry.name else {}
    return {"name": entry.name, **renamed, "backend_ref": dict(entry.deployment.backend_ref or {})}


def _name(deployment: Deployment, taken: set[str]) -> str:
    """A name for a provider that no other has: that of its API, with its host or a number where that is taken."""
    own = slug(deployment.api)
    host = slug(deployment.hostname.split(".")[0])
    candidates = [own, f"{own}-{host}", *(f"{own}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in candidates if name not in taken and PROVIDER.accepts(name))


def _servers(
    root: Source, environment: t.Callable[[str], str | None], allowed: list[str], read: set[str]
) -> list[dict[str, t.Any]]:
    servers = root.source("mcp_servers")
    found = []
    for name in list(servers.value):
        entry = servers.source(name)
        try:
            server, allow = read_mcp_server(name, entry, environment, read)
        except NoCounterpartError as error:
            root.notes.append(Note(servers.at(name), f"is not served: {error}"))
            continue
        entry.name_the_rest()
        found.append(server)
        hostname = server["endpoint"]["hostname"]
        if allow and hostname not in allowed:
            allowed.append(hostname)
            root.notes.append(Note(entry.at("url"), f"is in ai_gateway_allowed_endpoints now, as it {allow}"))
    if found:
        reason = "may be called by no tier yet; write mcp_tools and a request_limit into ai_gateway_tiers"
        root.notes.append(Note("mcp_servers", reason))
    return found


def _prices(groups: Mapping[str, _Group], served: set[str], notes: list[Note]) -> dict[str, t.Any]:
    """What a million tokens cost, by public name."""
    prices: dict[str, t.Any] = {}
    for group in groups.values():
        if group.name not in served:
            continue
        for deployment in group.deployments:
            given = {name: cost for name, cost in deployment.costs.items() if cost is not None}
            if not given:
                continue
            million = {name: _plain(round(cost * _TO_MILLION, 6)) for name, cost in given.items()}
            if len(million) < 2 or not all(0 <= price <= _PRICE_LIMIT for price in million.values()):
                reason = "has no price of its own: write input and output of it into ai_gateway_prices"
                notes.append(Note(deployment.path, reason))
            elif prices.setdefault(group.name, million) != million:
                reason = f"costs something else than the first deployment of {quote(group.name)}, whose price counts"
                notes.append(Note(deployment.path, reason))
    return prices


def _plain(number: float) -> float:
    return int(number) if number.is_integer() else number


def _check(variables: Mapping[str, t.Any]) -> None:
    """The catalogue of the variables has no fault; one that is left is reported by the path of the catalogue."""
    inputs = {name.removeprefix(PREFIX): value for name, value in variables.items()}
    known = {name: _with_keys(value) for name, value in inputs.items() if name in INPUTS}
    try:
        build(known)
    except CatalogError as error:
        raise LiteLlmError([Wrong(fault.path, fault.problem, fault.remedy) for fault in error.faults]) from None


def _with_keys(value: t.Any) -> t.Any:
    if isinstance(value, list):
        return [_with_keys(item) for item in value]
    if isinstance(value, Mapping):
        form = str(value.get("form", ""))
        return {
            name: _CHECKED.get(form, "x") if isinstance(item, Expression) else _with_keys(item)
            for name, item in value.items()
        }
    return value


def _names(value: t.Any) -> t.Iterator[str]:
    """The variables of the environment in the expressions of a value."""
    if isinstance(value, Expression):
        parts = value.split("lookup('ansible.builtin.env', '")[1:]
        yield from (part.split("'")[0] for part in parts)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _names(item)
    elif isinstance(value, list):
        for item in value:
            yield from _names(item)
