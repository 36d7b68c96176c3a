# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a gateway: what the inventory said of it when it was applied, in ConfigMaps beside its objects. Pure.

A record has the variables that differ from their defaults. In place of a key it names the Secret that holds it.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import quote
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import plain
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import LABEL as _NAMESPACE
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import OBJECT

Body = dict[str, t.Any]

#: The roles whose variables describe a gateway. Those of the others describe a machine, or what is done once.
ROLES = (
    "catalog",
    "crds",
    "controllers",
    "gateway",
    "simulators",
    "inference_pool",
    "semantic_router",
    "access_policies",
    "providers",
    "observability",
    "maas_bridge",
    "maas_api",
)
#: Variables of these roles that say from where and how a run is done, and nothing of the gateway.
OF_A_RUN = frozenset(
    [
        "ai_gateway_kubeconfig",
        "ai_gateway_context",
        "ai_gateway_helm_binary",
        "ai_gateway_offline_directory",
        "ai_gateway_cache_directory",
        "ai_gateway_adopt",
        "ai_gateway_force_conflicts",
        "ai_gateway_force_removal",
        "crds_cache_directory",
        "gateway_ca_file",
        "semantic_router_validator",
        "semantic_router_offline",
        "providers_prune_delay",
        "providers_system_roots",
        "access_policies_keep_existing",
        "observability_rules_file",
        "observability_scrape_file",
        "observability_dashboards_directory",
        "maas_api_settle_seconds",
    ]
)
_OF_A_RUN_SUFFIXES = ("_state", "_wait_timeout")
#: Variables that hold keys in places of their own, with what becomes of them.
UNRECORDED = {
    "simulators_additional_keys": "holds keys of simulators; write it again where the simulators shall accept them",
    "simulators_certificates": "holds private keys of simulators; write it again, or name Secrets that exist in it",
}

#: Where variables have keys: the variable, and in its entries the mapping and the last name.
_KEYS = (
    ("ai_gateway_providers", "credential", "value"),
    ("ai_gateway_mcp_servers", "credential", "value"),
    ("gateway_listeners", "tls", "private_key"),
    ("gateway_tls_private_key", "", ""),
)

LABEL = "egress.ai-gateway/record"
KIND = "catalogue"
#: What follows the Gateway's name in that of a record. No object of a provider is named so.
SUFFIX = ".catalogue"
#: Characters of one ConfigMap, which holds at most a mebibyte, of up to four bytes each.
_PART = 200_000
_SECRET_KEY = re.compile(r"[A-Za-z0-9._-]+")
_REMEDY = "run playbook egress.ai_gateway.site with the gateway's inventory, or set dump_source to objects"


class RecordError(ValueError):
    """A record cannot be read; the message says what is wrong and what helps."""


@dataclass(frozen=True)
class Key:
    """Where the cluster keeps a key, in place of the key."""

    namespace: str
    secret: str
    key: str


@dataclass(frozen=True)
class Record:
    """What was applied."""

    #: By name, the variables that differed from their defaults, with a ``Key`` in place of each key.
    variables: dict[str, t.Any]
    #: Names of UNRECORDED that differed from their defaults too.
    unrecorded: tuple[str, ...]


def recorded_names(defaults: Iterable[str]) -> list[str]:
    """The variables that a record has.

    :param defaults: the variables of ROLES.
    """
    return [name for name in defaults if name not in OF_A_RUN and not name.endswith(_OF_A_RUN_SUFFIXES)]


def without_keys(variables: Mapping[str, t.Any], catalog: Mapping[str, t.Any]) -> Record:
    """The record of an inventory.

    :param variables: those of ``recorded_names`` that differ from their defaults, with their values.
    :param catalog: the catalogue that was built of them, as ``Catalog.as_dict`` gives it.
    """
    name, namespace = catalog["name"], catalog["namespace"]
    secrets: dict[tuple[str, ...], t.Any] = {
        (variable, entry["name"]): entry["credential"]
        for variable, described in (("ai_gateway_providers", "providers"), ("ai_gateway_mcp_servers", "mcp_servers"))
        for entry in catalog[described]
        if entry.get("credential")
    }

    def key(place: tuple[str, ...], value: t.Any) -> t.Any:
        if not value:
            return value
        if place[0] in ("ai_gateway_providers", "ai_gateway_mcp_servers"):
            credential = secrets[place]
            return Key(namespace, credential["secret"], credential["key"])
        # As role gateway names the Secrets of its listeners.
        secret = f"{name}.{place[1]}.tls" if place[1:] else f"{name}-tls"
        return Key(namespace, secret, "tls.key")

    given = {variable: plain(value) for variable, value in variables.items() if variable not in UNRECORDED}
    return Record(at_keys(given, key), tuple(sorted(variable for variable in variables if variable in UNRECORDED)))


def at_keys(variables: Mapping[str, t.Any], change: t.Callable[[tuple[str, ...], t.Any], t.Any]) -> dict[str, t.Any]:
    """The variables with other values where they have a key.

    :param change: from the place, a variable and the name of its entry, and the value there to the other one.
    """
    changed = dict(variables)
    for variable, inner, last in _KEYS:
        if variable not in changed:
            continue
        if not inner:
            changed[variable] = change((variable,), changed[variable])
        elif isinstance(changed[variable], list):
            changed[variable] = [_at_key(entry, variable, inner, last, change) for entry in changed[variable]]
    return changed


def _at_key(
    entry: t.Any, variable: str, inner: str, last: str, change: t.Callable[[tuple[str, ...], t.Any], t.Any]
) -> t.Any:
    holder = entry.get(inner) if isinstance(entry, dict) else None
    if not isinstance(holder, dict) or holder.get(last) is None:
        return entry
    return {**entry, inner: {**holder, last: change((variable, str(entry.get("name"))), holder[last])}}


def record_name(gateway: str) -> str:
    """The name of the record's first ConfigMap."""
    return f"{gateway}{SUFFIX}"


def manifests(record: Record, namespace: str, gateway: str) -> list[Body]:
    """The ConfigMaps of a record, one or more.

    :param namespace: that of the Gateway's objects.
    :param gateway: name of the Gateway.
    """
    content = json.dumps(
        {"unrecorded": list(record.unrecorded), "variables": at_keys(record.variables, _written)},
        indent=1,
        ensure_ascii=False,
        # The order in which an inventory has its keys says nothing.
        sort_keys=True,
        default=str,
    )
    parts = [content[start : start + _PART] for start in range(0, len(content), _PART)]
    digest = _digest(content)
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": record_name(gateway) + (f".{number}" if number else ""),
                "namespace": namespace,
                "labels": {LABEL: KIND},
            },
            "data": {"part": f"{number + 1}/{len(parts)}", "digest": digest, "variables": part},
        }
        for number, part in enumerate(parts)
    ]


def read_record(
    config_maps: Iterable[Mapping[str, t.Any]], namespace: str, gateway: str, known: Container[str]
) -> Record | None:
    """The record of a Gateway; None where there is none.

    Anybody who may write ConfigMaps can write one, so that nothing but what describes a gateway is taken from it.

    :param config_maps: those of the namespace with LABEL, as the API server gives them.
    :param namespace: that namespace, where the keys are too.
    :param gateway: name of the Gateway.
    :param known: the names of ``recorded_names`` for the defaults of ROLES.
    :raises RecordError: for one that is not whole, or that has more.
    """
    name = record_name(gateway)
    parts = sorted(
        (_number(body), body.get("data") or {})
        for body in config_maps
        if body["metadata"]["name"] == name or body["metadata"]["name"].startswith(f"{name}.")
    )
    if not parts:
        return None
    content = "".join(str(data.get("variables", "")) for _number_of, data in parts)
    if {str(data.get("digest")) for _number_of, data in parts} != {_digest(content)}:
        raise RecordError(f"the record in ConfigMap {name} is not whole or was changed by hand; {_REMEDY}")
    try:
        read = json.loads(content)
        variables, unrecorded = read["variables"], tuple(map(str, read["unrecorded"]))
        found = Record(at_keys(variables, lambda _place, value: _read(value, namespace)), unrecorded)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RecordError(
            f"the record in ConfigMap {name} cannot be read ({type(error).__name__}); {_REMEDY}"
        ) from error
    more = [variable for variable in found.variables if variable in UNRECORDED or variable not in known]
    more += [variable for variable in unrecorded if variable not in UNRECORDED]
    if more:
        names = ", ".join(quote(variable) for variable in more)
        raise RecordError(f"the record in ConfigMap {name} has what no record of a gateway has, {names}; {_REMEDY}")
    return found


def _written(_place: tuple[str, ...], value: t.Any) -> t.Any:
    return {"namespace": value.namespace, "secret": value.secret, "key": value.key} if isinstance(value, Key) else value


def _read(value: t.Any, namespace: str) -> t.Any:
    if not isinstance(value, dict):
        return value
    key = Key(**value)
    # They become parts of a template.
    if not (_NAMESPACE.accepts(key.namespace) and OBJECT.accepts(key.secret) and _SECRET_KEY.fullmatch(key.key)):
        raise ValueError("no name of a Secret")
    if key.namespace != namespace:
        raise ValueError("a Secret of another namespace")
    return key


def _number(body: Mapping[str, t.Any]) -> int:
    number = str((body.get("data") or {}).get("part", "")).partition("/")[0]
    return int(number) if number.isdigit() else 0


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
