# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import CatalogError
from catalog_inventory import ANTHROPIC, KEY, changed


def test_an_external_secret() -> None:
    inventory = changed("providers.1.credential", {"external_secret": {"store": "vault", "key": "team/anthropic"}})
    credential = build(inventory).as_dict()["providers"][1]["credential"]
    assert credential["external_secret"] == {
        "store": "vault",
        "kind": "SecretStore",
        "key": "team/anthropic",
        "property": "",
    }
    assert (credential["secret"], credential["managed"]) == (ANTHROPIC.replace(".", "-credential."), False)


def test_names_inside_of_a_secret_store_may_have_spaces() -> None:
    inventory = changed(
        "providers.1.credential", {"external_secret": {"store": "vault", "key": "Clé OpenAI", "property": "api key"}}
    )
    external = build(inventory).providers[1].credential.external_secret
    assert external is not None
    assert (external.key, external.property) == ("Clé OpenAI", "api key")


def test_headers() -> None:
    assert build(changed("providers.1.headers", {"OpenAI-Organization": "org-1"})).providers[1].headers == {
        "openai-organization": "org-1"
    }


@pytest.mark.parametrize(
    "credential",
    [
        KEY,
        [KEY],
        {"value": KEY + "\n"},
        {"value": KEY, "secret": "both"},
        {"value": {"key": KEY}},
        {"header": f"Bearer {KEY}", "value": KEY},
        {"scheme": f"Bearer {KEY}", "value": KEY},
        {"secret": KEY.upper()},
        {"valeu": KEY},
    ],
)
def test_a_fault_of_a_credential_shows_no_key(credential: t.Any) -> None:
    with pytest.raises(CatalogError) as caught:
        build(changed("providers.0.credential", credential))
    assert KEY.lower() not in str(caught.value).lower()
