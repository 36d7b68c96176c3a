# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from catalog_inventory import changed, faults


@pytest.mark.parametrize("name", ["claude-sonnet-4@20250514", "c4ai/command-r+08", "ft:gpt-4o:org::id"])
def test_names_of_models(name: str) -> None:
    model = build(changed("providers.0.models.0", {"name": name})).models[0]
    assert (model.name, model.backends[0].provider_model) == (name, name)


@pytest.mark.parametrize(
    "name",
    [
        "@cf/meta/llama-3.1-8b-instruct",
        "claude-sonnet-4@20250514",
        "/mnt/models",
        "~vendor/latest",
        "gpt-4?api-version=1",
        "My Model",
        "x",
    ],
)
def test_names_of_models_at_their_providers(name: str) -> None:
    assert build(changed("providers.0.models.0.provider_model", name)).models[0].backends[0].provider_model == name


@pytest.mark.parametrize("prefix", ["/", "/v1", "/openai/v1", "/v1beta/projects/p:1/@me/a+b"])
def test_prefixes(prefix: str) -> None:
    assert build(changed("providers.1.endpoint.prefix", prefix)).providers[1].endpoint.prefix == prefix


def test_a_prefix_with_a_slash_too_many_gets_a_suggestion() -> None:
    (fault,) = faults(changed("providers.1.endpoint.prefix", "v1/"))
    assert fault.remedy.endswith('or / alone, without a slash at its end, for example "/v1"')


def test_a_name_of_a_provider_for_a_public_one_gets_a_suggestion() -> None:
    (fault,) = faults(changed("providers.0.models.0.name", "@cf/meta/llama"))
    assert fault.remedy.endswith('for example "cf/meta/llama"')


@pytest.mark.parametrize(
    ("hostname", "example"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        # As one letter, and as u with dots above it.
        ("https://Bu\u0308cher.Example/v1", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
    ],
)
def test_a_host_name_that_is_not_in_ascii_gets_a_suggestion(hostname: str, example: str) -> None:
    (fault,) = faults(changed("providers.1.endpoint.hostname", hostname))
    assert fault.remedy.endswith(f'and in ASCII (xn--...), for example "{example}"')


@pytest.mark.parametrize(
    "group", ["Domain Users", "Équipe IA", "cn=ai,ou=Gruppen, dc=example", "研究", "🚀 Team", "a\\b", "'\"", "- x: #y"]
)
def test_groups(group: str) -> None:
    assert build(changed("tiers.0.groups", [group])).tiers[0].groups == (group,)


def test_a_fault_shows_letters_as_they_are_and_what_cannot_be_seen_as_an_escape() -> None:
    (fault,) = faults(changed("tiers.0.groups", ["Équipe\tIA"]))
    assert str(fault) == (
        'ai_gateway_tiers[0].groups[0]: "Équipe\\tIA" is not a name of a group; '
        "write names of groups on one line and without a space at either end, for example system:authenticated or "
        "Domain Users"
    )
