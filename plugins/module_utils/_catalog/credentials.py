# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of a provider's key and headers."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import listing, type_name
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import AUTHORINO
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import (
    Credential,
    ExternalSecret,
    Federation,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import CREDENTIAL_KEY
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.request_headers import RESERVED
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.schemas import (
    ACCESS_KEY,
    API_KEY,
    AWS,
    AZURE,
    CLIENT_SECRET,
    FEDERATION,
    GCP,
    SCHEMAS,
    SECRET_KEYS,
    SERVICE_ACCOUNT_KEY,
    WORKLOAD_IDENTITY,
    Schema,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import (
    ACCESS_KEY_FILE,
    CLOUD_ID,
    HEADER,
    HEADER_VALUE,
    KEY,
    LABEL,
    OBJECT,
    PROJECT_NUMBER,
    REMOTE_KEY,
    ROLE_ARN,
    SCHEME,
    SCOPE,
    SECRET,
    SERVICE_ACCOUNT_FILE,
    TOKEN_ISSUER,
)

_SOURCES = ("secret", "value", "external_secret")
_CREDENTIAL_KEYS = ("form", "header", "scheme", *_SOURCES, "client_id", "tenant_id", "federation")
#: What the value of each form looks like.
_VALUES = {
    API_KEY: KEY,
    CLIENT_SECRET: KEY,
    ACCESS_KEY: ACCESS_KEY_FILE,
    SERVICE_ACCOUNT_KEY: SERVICE_ACCOUNT_FILE,
    WORKLOAD_IDENTITY: KEY,
    FEDERATION: KEY,
}
# The keys of a credential that not every form has.
_MEANINGS: dict[str, t.Callable[[str, Schema | None], bool]] = {
    "header": lambda form, _schema: form == API_KEY,
    "scheme": lambda form, _schema: form == API_KEY,
    **dict.fromkeys(_SOURCES, lambda form, _schema: form != WORKLOAD_IDENTITY),
    **dict.fromkeys(
        ("client_id", "tenant_id"),
        lambda form, schema: form in (CLIENT_SECRET, FEDERATION) and (schema is None or schema.cloud == AZURE),
    ),
    "federation": lambda form, _schema: form == FEDERATION,
}
# What a federation has besides, by the cloud.
_FEDERATIONS = {AWS: ("role_arn",), GCP: ("pool", "pool_provider", "project_number", "service_account")}
_EXTERNAL_SECRET_STORES = ("SecretStore", "ClusterSecretStore")
# What Envoy AI Gateway's BackendSecurityPolicy can inject: APIKey, AnthropicAPIKey and AzureAPIKey.
_ENVOY_CREDENTIAL_FORMS = (("authorization", "bearer"), ("x-api-key", ""), ("api-key", ""))
# Headers that carry a key have their place in `credential`, where they stay out of manifests.
_KEY_HEADERS = (
    r"authori[sz]ation|authentication|(^|-)auth(-|$)|signature|cookie|api-?key|token|secret|password|credential|-key$"
)


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
    :param schema: a key of ``SCHEMAS``; empty where that is a fault.
    """
    missing = Credential("", "", "", CREDENTIAL_KEY, False)
    spoken = SCHEMAS.get(schema)
    sources = "`secret` (the name of a Secret that exists), `value` (a lookup) or `external_secret`"
    if not provider.has("credential"):
        provider.missing("credential", f"{sources} in it")
        return missing
    entry = provider.entry("credential", _CREDENTIAL_KEYS)
    if not entry.readable:
        return missing
    forms = spoken.forms if spoken else tuple(_VALUES)
    form = entry.choice("form", forms, forms[0], f" with schema {schema}")
    header, scheme = _header(entry, schema, engine) if form == API_KEY else ("", "")
    for key, meaning in _MEANINGS.items():
        if form and entry.has(key) and not meaning(form, spoken):
            entry.fault(key, f"has no meaning with form {form}", "leave it out")
    secret = entry.string("secret", SECRET, "")
    entry.string("value", _VALUES.get(form, KEY), "")
    external_secret = _external_secret(entry) if entry.has("external_secret") else None
    given = [key for key in _SOURCES if entry.has(key)]
    if form == WORKLOAD_IDENTITY:
        return replace(missing, key="", form=form)
    if len(given) > 1:
        entry.fault(
            "", f"has {listing([f'`{key}`' for key in given])}", "keep one of them: the place that the key comes from"
        )
    elif simulated and "value" not in given:
        entry.missing("value", "the key that the simulator shall accept (a simulated provider needs it, not a Secret)")
    elif not given and not entry.faulty("secret", "value", "external_secret"):
        entry.fault("", "does not say where the key comes from", f"write {sources}")
    of_azure = spoken is not None and spoken.cloud == AZURE and form in (CLIENT_SECRET, FEDERATION)
    return Credential(
        header,
        scheme,
        secret or own_secret,
        SECRET_KEYS.get(form, CREDENTIAL_KEY),
        "value" in given,
        external_secret,
        form,
        client_id=entry.string("client_id", CLOUD_ID) if of_azure else "",
        tenant_id=entry.string("tenant_id", CLOUD_ID) if of_azure else "",
        federation=_federation(entry, spoken.cloud) if spoken and form == FEDERATION else None,
    )


def _federation(credential: Entry, cloud: str) -> Federation | None:
    """How an identity provider's token becomes one of a cloud."""
    if not credential.has("federation"):
        credential.missing("federation", "issuer and client_id in it")
        return None
    entry = credential.entry("federation", ("issuer", "client_id", "scopes", *_FEDERATIONS.get(cloud, ())))
    found = Federation(
        entry.string("issuer", TOKEN_ISSUER),
        entry.string("client_id", CLOUD_ID),
        tuple(scope for _path, scope in entry.strings("scopes", SCOPE)) if entry.has("scopes") else (),
    )
    if cloud == AWS:
        return replace(found, role_arn=entry.string("role_arn", ROLE_ARN))
    if cloud == GCP:
        return replace(
            found,
            pool=entry.string("pool", LABEL),
            pool_provider=entry.string("pool_provider", LABEL),
            project_number=entry.string("project_number", PROJECT_NUMBER),
            service_account=entry.string("service_account", LABEL, ""),
        )
    return found


def _header(entry: Entry, schema: str, engine: str) -> tuple[str, str]:
    """Header and scheme of a key, which the policy engine must be able to send."""
    # Where the schema is a fault itself, an entry is read like the most common ones.
    spoken = SCHEMAS.get(schema, SCHEMAS["openai"])
    if spoken.fixed_header:
        for key, word in zip(("header", "scheme"), spoken.key_header, strict=True):
            if entry.has(key) and str(entry.value[key]).lower() != word.lower():
                entry.fault(key, f"is not what schema {schema} reads its key from", "leave it out")
        return spoken.key_header
    header = entry.string("header", HEADER, spoken.key_header[0])
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
