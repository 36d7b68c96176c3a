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
  - Takes the text of key C(tiers) of maas-api's ConfigMap C(tier-to-group-mapping) and returns it with the given tiers in it.
  - A tier that the text does not have is appended. One that it has gets, beside its own groups, the groups that it lacks, and all else of it stays.
  - A tier with another level than the text's is an error, as the level decides which tier a user is in.
  - Where there is nothing to add, the text is returned as it is, comments and spaces included.
options:
  _input:
    description: The text, a list in YAML. May be empty.
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
  description: The text with the tiers in it.
  type: str
"""

Tier = dict[str, t.Any]


def merged_tiers(text: str, tiers: Sequence[Mapping[str, t.Any]]) -> str:
    found = _parsed(text)
    changed = False
    for tier in tiers:
        name, level, groups = str(tier["name"]), int(tier["level"]), [str(group) for group in tier["groups"]]
        there = next((other for other in found if other["name"] == name), None)
        if there is None:
            there = {"name": name, "displayName": name.title(), "description": f"Tier {name} of the AI gateway"}
            found.append(there)
        elif there.get("level", 0) != level:
            raise AnsibleFilterError(
                f"tier {name} has level {there.get('level', 0)} at maas-api and {level} in ai_gateway_tiers; write the same, "
                "as levels decide who is in which tier"
            )
        known = there.get("groups") or []
        wanted = {**there, "level": level, "groups": [*known, *(group for group in groups if group not in known)]}
        if wanted != there:
            there.update(wanted)
            changed = True
    if not changed:
        return text
    _refuse_shared_levels(found)
    # No text and no list is named twice by an alias, and lines are not folded.
    return str(yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=10**6))


def _parsed(text: str) -> list[Tier]:
    try:
        found = yaml.safe_load(text or "") or []
    except yaml.YAMLError as error:
        raise AnsibleFilterError(
            "the tiers of maas-api are no YAML; mend key tiers of its ConfigMap tier-to-group-mapping"
        ) from error
    if not isinstance(found, list) or not all(
        isinstance(tier, dict) and "name" in tier and isinstance(tier.get("groups") or [], list) for tier in found
    ):
        raise AnsibleFilterError(
            "the tiers of maas-api are no list of mappings with name, level and groups; mend key tiers of its ConfigMap tier-to-group-mapping"
        )
    return found


def _refuse_shared_levels(tiers: Sequence[Tier]) -> None:
    """The highest level of a user's groups names the tier: with two of one level nobody knows which."""
    first: dict[int, str] = {}
    for tier in tiers:
        level = tier.get("level", 0)
        if first.setdefault(level, tier["name"]) != tier["name"]:
            raise AnsibleFilterError(
                f"tiers {first[level]} and {tier['name']} would both have level {level} at maas-api; give them different ones, in ai_gateway_tiers "
                "or in key tiers of its ConfigMap tier-to-group-mapping"
            )


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"merged_tiers": merged_tiers}
