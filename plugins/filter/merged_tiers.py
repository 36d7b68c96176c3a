# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

import yaml
from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: merged_tiers
short_description: Add tiers to those that maas-api knows
version_added: 1.0.0
description:
  - Accepts the value of key C(tiers) of maas-api's ConfigMap C(tier-to-group-mapping) and returns it with the given
    tiers added.
  - A tier that the value lacks is appended. An existing tier keeps its groups and all other fields, and the groups that
    it lacks are added.
  - If there is nothing to add, the value is returned unchanged, with its comments and spaces.
  - A tier whose existing level differs is an error, as the level decides which tier a user is in. So are two tiers of
    one level, and a value that is not a list of tiers in YAML.
options:
  _input:
    description: The value, a list in YAML. May be empty.
    type: str
    required: true
  tiers:
    description: The tiers, each with C(name), C(level) and C(groups); other keys are ignored.
    type: list
    elements: dict
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the tiers that maas-api would have
  ansible.builtin.debug:
    msg: "{{ config_map.data.tiers | egress.ai_gateway.merged_tiers(ai_gateway_catalog.tiers) }}"
"""

RETURN = r"""
_value:
  description: The value with the tiers added.
  type: str
"""

Tier = dict[str, t.Any]


def merged_tiers(existing: str, tiers: Sequence[Mapping[str, t.Any]]) -> str:
    found = _parsed(existing)
    changed = False
    for tier in tiers:
        name, level, groups = str(tier["name"]), int(tier["level"]), [str(group) for group in tier["groups"]]
        there = next((other for other in found if other["name"] == name), None)
        if there is None:
            there = {"name": name, "displayName": name.title(), "description": f"Tier {name} of the AI gateway"}
            found.append(there)
        elif there.get("level", 0) != level:
            raise AnsibleFilterError(
                f"tier {name} has level {there.get('level', 0)} at maas-api and {level} in ai_gateway_tiers; "
                "write the same, as levels decide who is in which tier"
            )
        known = there.get("groups") or []
        wanted = {**there, "level": level, "groups": [*known, *(group for group in groups if group not in known)]}
        if wanted != there:
            there.update(wanted)
            changed = True
    if not changed:
        return existing
    _refuse_shared_levels(found)
    # The output has no aliases and no folded lines.
    return str(yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=10**6))


def _parsed(existing: str) -> list[Tier]:
    try:
        found = yaml.safe_load(existing or "") or []
    except yaml.YAMLError as error:
        raise AnsibleFilterError(
            "the tiers of maas-api are no YAML; mend key tiers of its ConfigMap tier-to-group-mapping"
        ) from error
    if not isinstance(found, list) or not all(
        isinstance(tier, dict) and "name" in tier and isinstance(tier.get("groups") or [], list) for tier in found
    ):
        raise AnsibleFilterError(
            "the tiers of maas-api are no list of mappings with name, level and groups; "
            "mend key tiers of its ConfigMap tier-to-group-mapping"
        )
    return found


def _refuse_shared_levels(tiers: Sequence[Tier]) -> None:
    """The highest level of a user's groups names the tier: with two tiers of one level the name is undefined."""
    first: dict[int, str] = {}
    for tier in tiers:
        level = tier.get("level", 0)
        if first.setdefault(level, tier["name"]) != tier["name"]:
            raise AnsibleFilterError(
                f"tiers {first[level]} and {tier['name']} would both have level {level} at maas-api; "
                "give them different ones, in ai_gateway_tiers or in key tiers of its ConfigMap tier-to-group-mapping"
            )


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"merged_tiers": merged_tiers}
