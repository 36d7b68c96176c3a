# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of providers: those of the inventory, those in Secrets of the cluster, and which of these are replaced.

Pure. No message holds a key.
"""

from __future__ import annotations

import base64
import json
import typing as t
from collections.abc import Iterable, Mapping

#: Under this key a Secret records the keys that are replaced and not refused yet.
RECORD_KEY = "replaced"

Body = Mapping[str, t.Any]


class ProviderKeyError(ValueError):
    """An inventory has a key in a form that is none; names the field and the remedy."""


def provider_keys(providers: Iterable[Body], variable: str = "ai_gateway_providers") -> dict[str, str]:
    """The keys that an inventory has, by the provider's name. Providers whose key is in a Secret are left out.

    :param providers: the value of ``variable``.
    :param variable: ``ai_gateway_providers``, or ``ai_gateway_mcp_servers``, whose entries are read in the same way.
    :raises ProviderKeyError: for the first entry that has no name or whose key is no string.
    """
    keys: dict[str, str] = {}
    for index, provider in enumerate(providers):
        where = f"{variable}[{index}]"
        if not isinstance(provider, Mapping) or not isinstance(provider.get("name"), str):
            raise ProviderKeyError(f"{where}.name: is missing or no string; write the name of the provider")
        credential = provider.get("credential") or {}
        if not isinstance(credential, Mapping):
            raise ProviderKeyError(f"{where}.credential: is no mapping; write one with value or secret")
        value = credential.get("value")
        if value is None:
            continue
        if not isinstance(value, str) or not value:
            raise ProviderKeyError(
                f"{where}.credential.value: is empty or no string; write the key of provider "
                f"{provider['name']} in quotes, "
                "or name the Secret that holds it in credential.secret"
            )
        keys[provider["name"]] = value
    return keys


def stored_keys(providers: Iterable[Body], secrets: Iterable[Body]) -> dict[str, str]:
    """The keys that Secrets of the cluster hold, by the provider's name. A provider without one is left out,
    and so is white space around a key.

    :param providers: those of the catalogue, with ``credential.secret`` and ``credential.key``.
    :param secrets: the Secrets of the gateway's namespace, as the API server returns them.
    """
    data = {secret["metadata"]["name"]: secret.get("data") or {} for secret in secrets}
    found = {
        provider["name"]: _decoded(data.get(provider["credential"]["secret"], {}).get(provider["credential"]["key"]))
        for provider in providers
    }
    return {name: key.strip() for name, key in found.items() if key.strip()}


def replaced_keys(
    providers: Iterable[Body], keys: Mapping[str, str], secrets: Iterable[Body], record: str
) -> dict[str, list[str]]:
    """The keys that the gateway has, or that an interrupted run recorded, where the inventory has another, by the
    provider's name: the recorded ones first, each once.

    :param providers: those of the catalogue. Keys that the inventory does not have are not replaced.
    :param keys: the keys of the inventory, as ``provider_keys`` returns them.
    :param secrets: the Secrets of the gateway's namespace, as the API server returns them.
    :param record: name of the Secret that records replaced keys.
    """
    found = list(secrets)
    managed = [provider for provider in providers if provider["credential"]["managed"]]
    recorded = next((secret.get("data") or {} for secret in found if secret["metadata"]["name"] == record), {})
    former: dict[str, list[str]] = json.loads(_decoded(recorded.get(RECORD_KEY)) or "{}")
    present = stored_keys(managed, found)
    replaced: dict[str, list[str]] = {}
    for provider in managed:
        name = provider["name"]
        others = [key for key in (*former.get(name, ()), present.get(name)) if key and key != keys[name]]
        if others:
            replaced[name] = list(dict.fromkeys(others))
    return replaced


def _decoded(value: t.Any) -> str:
    return base64.b64decode(value or "").decode("utf-8", "surrogateescape")
