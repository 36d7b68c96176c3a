# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.egress.ai_gateway.plugins.filter.provider_keys import FilterModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.keys import (
    ProviderKeyError,
    provider_keys,
    replaced_keys,
    stored_keys,
)

KEY, OLD, OLDER = "sk-a-key-that-must-not-show", "sk-old", "sk-older"
INVENTORY: list[dict[str, t.Any]] = [
    {"name": "openai", "credential": {"value": KEY}},
    {"name": "vllm", "credential": {"secret": "vllm-key"}},
    {"name": "none"},
]
PROVIDERS = [
    {"name": "openai", "credential": {"secret": "openai-credential", "key": "apiKey", "managed": True}},
    {"name": "vllm", "credential": {"secret": "vllm-key", "key": "apiKey", "managed": False}},
]


def secret(name: str, **data: str | None) -> dict[str, t.Any]:
    return {
        "metadata": {"name": name},
        "data": {key: encoded(value) for key, value in data.items() if value is not None},
    }


def encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def test_the_keys_of_an_inventory() -> None:
    assert provider_keys(INVENTORY) == {"openai": KEY}
    assert provider_keys([]) == {}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("openai", "ai_gateway_providers[1].name: is missing or no string; write the name of the provider"),
        ({"credential": {"value": KEY}}, "ai_gateway_providers[1].name: is missing"),
        ({"name": "b", "credential": KEY}, "ai_gateway_providers[1].credential: is no mapping; write one with value"),
        ({"name": "b", "credential": {"value": ""}}, "ai_gateway_providers[1].credential.value: is empty or no string"),
        ({"name": "b", "credential": {"value": [KEY]}}, "write the key of provider b in quotes, or name the Secret"),
        ({"name": "b", "credential": {"value": 12345}}, "ai_gateway_providers[1].credential.value: is empty or no str"),
    ],
)
def test_a_fault_is_named_with_its_field_and_without_a_key(entry: t.Any, said: str) -> None:
    providers = [INVENTORY[0], entry]
    with pytest.raises(ProviderKeyError) as caught:
        provider_keys(providers)
    assert said in str(caught.value)
    assert KEY not in str(caught.value)
    assert "12345" not in str(caught.value)
    with pytest.raises(AnsibleFilterError) as reported:
        FilterModule().filters()["provider_keys"](providers)
    assert str(caught.value) in str(reported.value)


def test_the_keys_in_secrets() -> None:
    secrets = [secret("other"), secret("vllm-key", apiKey=f"{OLD}\n"), secret("openai-credential", apiKey=KEY)]
    assert stored_keys(PROVIDERS, secrets) == {"openai": KEY, "vllm": OLD}
    # Neither without its Secret nor without its key in it.
    for found in (
        [],
        [secret("vllm-key", other="x")],
        [secret("vllm-key", apiKey=" ")],
        [{"metadata": {"name": "vllm-key"}}],
    ):
        assert stored_keys(PROVIDERS[1:], found) == {}


@pytest.mark.parametrize(
    ("present", "record", "expected"),
    [
        # There is no key, or the existing one stays.
        (None, None, {}),
        (KEY, None, {}),
        (KEY, {}, {}),
        (OLD, None, {"openai": [OLD]}),
        # What an interrupted run recorded comes first, and each key once.
        (OLD, {"openai": [OLDER, OLD]}, {"openai": [OLDER, OLD]}),
        (KEY, {"openai": [OLDER, KEY]}, {"openai": [OLDER]}),
        # A provider that is gone, or whose key is in a Secret by now.
        (KEY, {"gone": [OLD], "vllm": [OLD]}, {}),
    ],
)
def test_the_keys_that_are_replaced(
    present: str | None, record: dict[str, list[str]] | None, expected: dict[str, list[str]]
) -> None:
    secrets = [secret("vllm-key", apiKey=OLD), secret("openai-credential", apiKey=present)]
    if record is not None:
        secrets.append(secret("key-rotation", replaced=json.dumps(record)))
    assert replaced_keys(PROVIDERS, {"openai": KEY}, secrets, "key-rotation") == expected
