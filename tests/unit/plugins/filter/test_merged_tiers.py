# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.egress.ai_gateway.plugins.filter.merged_tiers import FilterModule, merged_tiers

FREE = {
    "name": "free",
    "level": 0,
    "groups": ["tier-free-users", "system:authenticated"],
    "namespace": "x",
    "limits": [],
}
GOLD = {"name": "gold", "level": 5, "groups": ["gold-users"]}
#: As an administrator may have written it.
TEXT = """\
# The tiers of the company.
- name: free
  displayName: "Free Tier"
  description: For everybody — at no charge
  level: 0
  groups: [tier-free-users, system:authenticated, everybody]
-   name: premium
    level: 1
    groups:
    - tier-premium-users
"""


def merged(text: str, *tiers: dict[str, t.Any]) -> t.Any:
    return yaml.safe_load(merged_tiers(text, tiers))


@pytest.mark.parametrize("tiers", [[], [FREE]])
def test_with_nothing_to_add_the_value_stays(tiers: list[dict[str, t.Any]]) -> None:
    assert merged_tiers(TEXT, tiers) == TEXT


def test_a_missing_tier_is_appended() -> None:
    tiers = merged(TEXT, GOLD)
    assert tiers[:2] == yaml.safe_load(TEXT)
    assert tiers[2] == {
        "name": "gold",
        "displayName": "Gold",
        "description": "Tier gold of the AI gateway",
        "level": 5,
        "groups": ["gold-users"],
    }
    assert len(tiers) == 3


def test_a_tier_of_the_same_name_gets_the_groups_that_it_lacks() -> None:
    premium = merged(TEXT, {"name": "premium", "level": 1, "groups": ["paying", "tier-premium-users"]})[1]
    assert premium == {"name": "premium", "level": 1, "groups": ["tier-premium-users", "paying"]}


@pytest.mark.parametrize(
    "group",
    [
        "Domain Users",
        "Équipe IA",
        "cn=ai,ou=Gruppen, dc=example",
        "🚀 Team",
        "a\\b",
        "'\"",
        "- x: #y",
        "yes",
        "null",
        "12",
        "*",
    ],
)
def test_any_name_of_a_group_comes_back_as_it_is(group: str) -> None:
    once = merged_tiers(TEXT, [{**GOLD, "groups": [group]}])
    assert yaml.safe_load(once)[2]["groups"] == [group]
    assert merged_tiers(once, [{**GOLD, "groups": [group]}]) == once


def test_a_second_time_nothing_changes() -> None:
    once = merged_tiers(TEXT, [GOLD])
    assert merged_tiers(once, [GOLD]) == once
    assert "everybody — at no charge" in once


@pytest.mark.parametrize("text", ["", "[]", "# nothing yet\n"])
def test_an_empty_list_gets_all(text: str) -> None:
    assert [tier["name"] for tier in merged(text, FREE, GOLD)] == ["free", "gold"]


def test_no_aliases() -> None:
    groups = ["both"]
    assert "&" not in merged_tiers(
        "", [{"name": "a", "level": 1, "groups": groups}, {"name": "b", "level": 2, "groups": groups}]
    )


@pytest.mark.parametrize(
    ("text", "tier", "message"),
    [
        ("{", GOLD, "are no YAML; mend key tiers of its ConfigMap tier-to-group-mapping"),
        ("free: 0", GOLD, "are no list of mappings with name, level and groups"),
        ("- free", GOLD, "are no list of mappings"),
        ("- {name: free, groups: everybody}", GOLD, "are no list of mappings"),
        (
            TEXT,
            {"name": "premium", "level": 7, "groups": ["a"]},
            "tier premium has level 1 at maas-api and 7 in ai_gateway_tiers",
        ),
        (
            TEXT,
            {**GOLD, "level": 1},
            "tiers premium and gold would both have level 1 at maas-api; give them different ones, in "
            "ai_gateway_tiers or",
        ),
    ],
)
def test_errors(text: str, tier: dict[str, t.Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        merged_tiers(text, [tier])


def test_it_is_found_by_its_name() -> None:
    assert FilterModule().filters() == {"merged_tiers": merged_tiers}
