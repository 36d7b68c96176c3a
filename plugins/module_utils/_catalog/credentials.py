# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of a provider's key and headers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import listing, type_name
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import AUTHORINO
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import Credential, ExternalSecret
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import CREDENTIAL_KEY
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.request_headers import RESERVED
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import (
    HEADER,
    HEADER_VALUE,
    KEY,
    OBJECT,
    REMOTE_KEY,
    SCHEME,
    SECRET,
)

_EXTERNAL_SECRET_STORES = ("SecretStore", "ClusterSecretStore")
# What Envoy AI Gateway's BackendSecurityPolicy can inject: APIKey, AnthropicAPIKey and AzureAPIKey.
_ENVOY_CREDENTIAL_FORMS = (("authorization", "bearer"), ("x-api-key", ""), ("api-key", ""))
# Headers that carry a key have their place in `credential`, where they stay out of manifests.
_KEY_HEADERS = r"authori[sz]ation|cookie|api-?key|token|secret|password|credential|-key$"


def read_headers(provider: Entry) -> dict[str, str]:
    """Headers that every request to the provider carries besides its key, names in lower case."""
    headers: dict[str, str] = {}
    value = provider.value.get("headers")
    if value is None:
        return headers
    if not isinstance(value, Mapping):
        provider.fault("headers", f"is {type_name(value)}", "write a mapping of names of headers and their values")
        return headers
    entry = Entry(value, provider.at("headers"), list(value), provider.faults)
    for name in value:
        if not isinstance(name, str) or not HEADER.accepts(name):
            entry.fault(str(name), "is no name of an HTTP header", f"write {HEADER.remedy}")
        elif re.search(_KEY_HEADERS, name.lower()):
            entry.fault(name, "carries a key", "write the key in `credential`, from where it goes into a Secret")
        elif name.lower() in RESERVED:
            entry.fault(name, "has another meaning on the way to the provider", "leave it out")
        else:
            headers[name.lower()] = entry.string(name, HEADER_VALUE)
    return headers


def read_credential(provider: Entry, own_secret: str, schema: str, simulated: bool, engine: str) -> Credential:
    """Where a provider's key comes from and how it is sent; the key itself is checked and not kept.

    :param own_secret: name of the Secret where the inventory names no existing one.
    """
    missing = Credential("", "", "", CREDENTIAL_KEY, False)
    sources = "`secret` (the name of a Secret that exists), `value` (a lookup) or `external_secret`"
    if not provider.has("credential"):
        provider.missing("credential", f"{sources} in it")
        return missing
    entry = provider.entry("credential", ("header", "scheme", "secret", "value", "external_secret"))
    if not entry.readable:
        return missing
    header, scheme = _form(entry, schema, engine)
    secret = entry.string("secret", SECRET, "")
    entry.string("value", KEY, "")
    external_secret = _external_secret(entry) if entry.has("external_secret") else None
    given = [key for key in ("secret", "value", "external_secret") if entry.has(key)]
    if len(given) > 1:
        entry.fault(
            "", f"has {listing([f'`{key}`' for key in given])}", "keep one of them: the place that the key comes from"
        )
    elif simulated and "value" not in given:
        entry.missing("value", "the key that the simulator shall accept (a simulated provider needs it, not a Secret)")
    elif not given and not entry.faulty("secret", "value", "external_secret"):
        entry.fault("", "does not say where the key comes from", f"write {sources}")
    return Credential(header, scheme, secret or own_secret, CREDENTIAL_KEY, "value" in given, external_secret)


def _form(entry: Entry, schema: str, engine: str) -> tuple[str, str]:
    """Header and scheme of a key, which the policy engine must be able to send."""
    header = entry.string("header", HEADER, "x-api-key" if schema == "anthropic" else "Authorization")
    scheme = (
        ""
        if entry.value.get("scheme") == ""
        else entry.string("scheme", SCHEME, "Bearer" if header.lower() == "authorization" else "")
    )
    if header.lower() in RESERVED:
        entry.fault(
            "header",
            f"{header} has another meaning on the way to the provider",
            "write the header that the provider reads its key from",
        )
    elif (
        engine == AUTHORINO
        and not entry.faulty("header", "scheme")
        and (header.lower(), scheme.lower()) not in _ENVOY_CREDENTIAL_FORMS
    ):
        entry.fault(
            "header",
            "Envoy AI Gateway cannot send a key in this header and scheme",
            "write header Authorization with scheme Bearer, or header x-api-key or api-key without scheme",
        )
    return header, scheme


def _external_secret(credential: Entry) -> ExternalSecret:
    entry = credential.entry("external_secret", ("store", "kind", "key", "property"))
    return ExternalSecret(
        entry.string("store", OBJECT),
        entry.choice("kind", _EXTERNAL_SECRET_STORES, "SecretStore"),
        entry.string("key", REMOTE_KEY),
        entry.string("property", REMOTE_KEY, ""),
    )
