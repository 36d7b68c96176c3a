# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes that show which key a provider is called with. Pure."""

from __future__ import annotations

import hashlib
import typing as t
from collections.abc import Mapping

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.paths import serves

#: What providers answer to a request of one token whose key they accept: a model of theirs may refuse the rest of it.
_ACCEPTED = [200, 400, 404, 429]


def key_probes(
    catalog: Mapping[str, t.Any], keys: Mapping[str, str], tier: str, rounds: int = 1
) -> list[dict[str, t.Any]]:
    """Probes of each provider whose key the inventory has and of which the tier may use a model, round by round.

    A simulator reports which key it received; of another provider, any answer but 401 shows that it accepted the key.

    :param catalog: the catalogue, with ``providers`` and ``tiers``.
    :param keys: the keys of the inventory by the provider's name. A probe holds no key but its SHA-256 alone.
    :param tier: name of the tier that asks.
    :returns: probes in the form of module ``inference_probe``.
    """
    allowed = next(entry["models"] for entry in catalog["tiers"] if entry["name"] == tier)
    asked = [
        (provider, next((model["name"] for model in provider["models"] if model["name"] in allowed), ""))
        for provider in catalog["providers"]
        if provider["credential"]["managed"]
        and any(serves(path, provider["schema"]) for path in ("/v1/chat/completions", "/v1/messages"))
    ]
    return [
        _probe(provider, model, keys[provider["name"]], number)
        for number in range(rounds)
        for provider, model in asked
        if model
    ]


def _probe(provider: Mapping[str, t.Any], model: str, key: str, number: int) -> dict[str, t.Any]:
    name = provider["name"]
    probe: dict[str, t.Any] = {
        "id": f"key:{name}:{number}",
        "name": f"Provider {name} is called with the new key",
        "operation": "chat_completions" if serves("/v1/chat/completions", provider["schema"]) else "messages",
        "base_path": f"/external/{name}",
        "model": model,
        "max_tokens": 1,
    }
    if not provider["simulated"]:
        return {**probe, "expect": {"status": list(_ACCEPTED)}}
    return {
        **probe,
        "echo": True,
        "extra_headers": {"x-simulator-prompt-tokens": 1, "x-simulator-completion-tokens": 1},
        "expect": {"received_credentials": [hashlib.sha256(key.encode()).hexdigest()]},
    }
