# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Catalogues of any number of providers, for all of which one simulator stands."""

from __future__ import annotations

import math
import pathlib
import re
import typing as t

import yaml

#: The provider that the simulator is made for; it comes before those that are counted.
SIMULATED = "scale"
#: The tier that the benchmark's own user is in, whom no limit stops.
TIER = "scale"
UPSTREAM_MODEL = "scale-model"
SIMULATOR_PORT = 8000
#: How many rules a route holds, one for each model.
RULES = 15

COUNTED = re.compile(r"\bscale-(\d{4,})\b")
ROUTE = re.compile(r"/models-(\d+)$")
#: The simulated provider and its simulator, the others, and the tier's namespace with all that is in it.
OWN = re.compile(rf"(/{SIMULATED}|-tier-{TIER})(-|/|$)")


def provider_name(number: int) -> str:
    return f"scale-{number:04}"


def model_name(number: int) -> str:
    """Return the public name of the model that provider ``number`` serves; 0 is the simulated provider."""
    return f"{UPSTREAM_MODEL}-{number:04}" if number else UPSTREAM_MODEL


def catalogue(
    count: int, key: str, tiers: t.Sequence[t.Mapping[str, t.Any]], simulators_namespace: str
) -> dict[str, t.Any]:
    """Return the variables of an inventory that has ``count`` providers beside the simulated one.

    :param key: what the simulator accepts, from every provider.
    :param tiers: the inventory's; they are kept without their entries of missing models, so that no namespace is
        deleted.
    """
    hostname = f"{SIMULATED}-simulator.{simulators_namespace}.svc.cluster.local"
    simulated = {
        "name": SIMULATED,
        "schema": "openai",
        "simulated": True,
        "credential": {"value": key},
        "models": [{"name": model_name(0)}],
    }
    others = [
        {
            "name": provider_name(number),
            "schema": "openai",
            "endpoint": {"hostname": hostname, "port": SIMULATOR_PORT, "tls": {"mode": "none"}},
            "credential": {"value": key},
            "models": [{"name": model_name(number), "provider_model": UPSTREAM_MODEL}],
        }
        for number in range(1, count + 1)
    ]
    kept = [
        {name: value for name, value in tier.items() if name != "model_limits"} | {"models": ["*"]} for tier in tiers
    ]
    own = {
        "name": TIER,
        "level": max((tier["level"] for tier in tiers), default=0) + 1,
        "groups": [TIER],
        "token_limit": {"tokens": 2**32 - 1, "window": "1m"},
        "models": ["*"],
    }
    return {
        "ai_gateway_providers": [simulated, *others],
        "ai_gateway_models": [],
        "ai_gateway_tiers": [*kept, own],
        "ai_gateway_allowed_endpoints": [hostname],
        # The catalogue would refuse the inventory's settings of missing simulators.
        "simulators_additional_keys": {},
        "simulators_certificates": {},
        "simulators_client_ca": {},
        # The benchmark measures how long it takes, and has a limit of its own.
        "access_policies_wait_timeout": 3600,
        "providers_wait_timeout": 3600,
    }


def write_inventory(directory: pathlib.Path, host: str, variables: t.Mapping[str, t.Any]) -> pathlib.Path:
    """Write ``variables`` as an inventory in ``directory``, to be named after the one that it changes."""
    group = directory / "group_vars/all"
    group.mkdir(parents=True)
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {host: None}}}), encoding="utf-8")
    # Block style, as people write it: Ansible reads JSON faster.
    (group / "scale.yml").write_text(
        yaml.safe_dump(dict(variables), default_flow_style=False, sort_keys=False), encoding="utf-8"
    )
    return directory


def surplus(objects: t.Iterable[str], count: int) -> list[str]:
    """Return those of ``objects`` (kind namespace/name) that a catalogue of ``count`` providers does not make:

    of other providers, and routes too many.
    """
    routes = math.ceil((count + 1) / RULES)
    found = []
    for item in objects:
        numbers = [int(number) for number in COUNTED.findall(item)]
        route = ROUTE.search(item)
        if any(number > count for number in numbers) or (route and int(route[1]) >= routes):
            found.append(item)
    return sorted(found)


def of_the_benchmark(objects: t.Iterable[str]) -> list[str]:
    """Return those of ``objects`` (kind namespace/name) that only the benchmark's catalogues make."""
    return sorted(item for item in objects if OWN.search(item))
