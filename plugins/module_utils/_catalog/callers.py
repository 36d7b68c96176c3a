# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of the callers: whose credentials the gateway accepts, and where each kind is checked.

A kind is known by the form of its credential, before anything is checked, and each request passes one check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.allowed_endpoints import AllowedEndpoints
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.api_keys import KEYS as API_KEYS
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.api_keys import read_api_keys
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import Fault, quote, unique
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import (
    AUTHORINO,
    ENVOY_AI_GATEWAY,
    KUADRANT,
    PREFIX,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import (
    ApiKeyCallers,
    Callers,
    OidcCallers,
    ServiceAccountCallers,
    SigningKeys,
    Tier,
    TokenCheck,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.settings import Settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import (
    AUDIENCE,
    CERTIFICATES,
    CLAIM,
    HOSTNAME,
    ISSUER,
    LABEL,
    SIGNING_KEYS_URI,
)

REVIEW, SIGNATURE = "review", "signature"
#: The checks of a kind of caller, by which the programs of the proxies distinguish them.
OIDC_CHECK = "oidc:"
#: As a cluster names itself by default.
CLUSTER_ISSUER = "https://kubernetes.default.svc.cluster.local"
CLUSTER_KEYS = "https://kubernetes.default.svc.cluster.local/openid/v1/jwks"
#: Where the proxies have what Kubernetes puts into each namespace: who signs the certificate of its API server.
CLUSTER_CA_FILE = "/run/cluster-ca/ca.crt"
#: The group that everyone is in whose credential was accepted, as Kubernetes names it, and the names that no issuer
#: may give.
AUTHENTICATED = "system:authenticated"
RESERVED_GROUPS = "system:"
_LIFETIME = 3600
# Kubernetes issues no token for less than ten minutes.
_LIFETIMES = (600, 86400)
# A filter of Envoy Gateway holds so many; more would fit, but each is asked for its keys.
_ISSUERS = 16


def read_callers(root: Entry, settings: Settings, allowed: AllowedEndpoints) -> Callers:
    """The callers of an inventory.

    ServiceAccounts of the tiers' namespaces are among them in any case, as the checks of this collection call as such.

    :param root: all variables, by their names without the prefix.
    """
    accounts: list[tuple[str, ServiceAccountCallers]] = []
    oidc: list[tuple[Entry, OidcCallers]] = []
    api_keys: list[tuple[str, ApiKeyCallers]] = []
    for index, (kind, entry) in enumerate(_entries(root)):
        if kind == "service_account":
            accounts.append((f"{PREFIX}callers[{index}]", _service_accounts(entry, settings, allowed)))
        elif kind == "oidc":
            oidc.append((entry, _oidc(entry, settings, allowed)))
        elif kind == "api_key":
            api_keys.append((entry.path, read_api_keys(entry, settings.policy_engine)))
    for path, _found in accounts[1:]:
        root.faults.append(Fault(path, f"is of kind service_account as {accounts[0][0]} is", "keep one of them"))
    for path, _keys in api_keys[1:]:
        root.faults.append(Fault(path, f"is of kind api_key as {api_keys[0][0]} is", "keep one of them"))
    service_accounts = accounts[0][1] if accounts else ServiceAccountCallers()
    _check_issuers(root, service_accounts, accounts[0][0] if accounts else "", oidc)
    issuers = tuple(found for _entry, found in oidc)
    checks = () if settings.policy_engine == KUADRANT else _checks(service_accounts, issuers)
    return Callers(service_accounts, issuers, checks, api_keys[0][1] if api_keys else None)


def check_callers(root: Entry, callers: Callers, tiers: Sequence[tuple[str, Tier]]) -> None:
    """Whether the callers of an issuer can be in a tier.

    :param tiers: the tiers with their paths.
    """
    if not callers.oidc or not tiers:
        return
    groups = [group for _path, tier in tiers for group in tier.groups]
    if groups and not any(group == AUTHENTICATED or not group.startswith(RESERVED_GROUPS) for group in groups):
        problem = f"have no group that an issuer of {PREFIX}callers may give, so that its users are in no tier"
        root.fault("tiers", problem, f"write a group of the issuer's, or {AUTHENTICATED} for all its users")


def _entries(root: Entry) -> list[tuple[str, Entry]]:
    """The entries with their kind, which decides which keys they have."""
    found = []
    every = sorted({"kind", *(key for keys in KINDS.values() for key in keys)})
    for entry in root.entries("callers", every):
        kind = entry.choice("kind", tuple(KINDS))
        if kind:
            # Read again with the keys of its kind; a key that no kind has is a fault already.
            known = {key: value for key, value in entry.value.items() if key in every}
            entry = Entry(known, entry.path, ("kind", *KINDS[kind]), root.faults)
        found.append((kind, entry))
    return found


def _service_accounts(entry: Entry, settings: Settings, allowed: AllowedEndpoints) -> ServiceAccountCallers:
    check = entry.choice("check", (REVIEW, SIGNATURE), REVIEW)
    if check != SIGNATURE:
        for key in ("issuer", "maximum_lifetime", "jwks_uri", "ca_bundle"):
            if entry.has(key) and check:
                entry.fault(key, "has no meaning with check review", "leave it out, or write check: signature")
        return ServiceAccountCallers(check=check)
    if settings.policy_engine == KUADRANT:
        problem = f"is {SIGNATURE}, and with engine {KUADRANT} the filters of the proxies are another's"
        entry.fault("check", problem, f"write {REVIEW}")
    elif settings.stack != ENVOY_AI_GATEWAY:
        entry.fault("check", f"is {SIGNATURE}, {_only_with_routes(settings)}", f"write {REVIEW}")
    issuer = entry.string("issuer", ISSUER, CLUSTER_ISSUER)
    lifetime = entry.integer("maximum_lifetime", *_LIFETIMES, default=_LIFETIME, why=" seconds")
    keys = SigningKeys(CLUSTER_KEYS)
    if entry.has("jwks_uri") or entry.has("ca_bundle"):
        keys = _signing_keys(entry, "", allowed)
        if not entry.has("jwks_uri"):
            keys = SigningKeys(CLUSTER_KEYS, keys.ca_certificates)
    of_cluster = keys.uri == CLUSTER_KEYS
    ca_file = CLUSTER_CA_FILE if of_cluster else ""
    return ServiceAccountCallers(SIGNATURE, issuer, lifetime or _LIFETIME, keys, of_cluster, ca_file)


def _oidc(entry: Entry, settings: Settings, allowed: AllowedEndpoints) -> OidcCallers:
    name = entry.string("name", LABEL)
    issuer = entry.string("issuer", ISSUER)
    audiences = tuple(audience for _path, audience in entry.strings("audiences", AUDIENCE))
    claims = entry.entry("claims", ("user", "groups")) if entry.has("claims") else None
    user = claims.string("user", CLAIM, "sub") if claims else "sub"
    groups = claims.string("groups", CLAIM, "groups") if claims else "groups"
    if settings.policy_engine == KUADRANT:
        for key in ("jwks_uri", "ca_bundle"):
            if entry.has(key):
                problem = f"cannot be had with engine {KUADRANT}, whose Authorino finds keys by the issuer alone"
                entry.fault(key, problem, "leave it out, and let the issuer have a certificate that Authorino trusts")
        for key, claim in (("user", user), ("groups", groups)):
            if claims and "." in claim and "/" not in claim:
                problem = f"{quote(claim)} is inside of another claim, and engine {KUADRANT} reads whole claims"
                claims.fault(key, problem, "name a claim that the issuer writes into the token itself")
        return OidcCallers(name, issuer, audiences, SigningKeys(""), user, groups)
    if settings.stack != ENVOY_AI_GATEWAY:
        remedy = f"leave it out, or write stack {ENVOY_AI_GATEWAY}"
        entry.fault("kind", f"is oidc, {_only_with_routes(settings)}", remedy)
    return OidcCallers(name, issuer, audiences, _signing_keys(entry, issuer, allowed), user, groups)


def _only_with_routes(settings: Settings) -> str:
    return (
        f"and its filter comes with the routes of stack {ENVOY_AI_GATEWAY} and engine {AUTHORINO}, "
        f"not with those of stack {settings.stack}"
    )


def _signing_keys(entry: Entry, issuer: str, allowed: AllowedEndpoints) -> SigningKeys:
    """Where the proxies fetch the keys; by default the issuer says where, when it is asked."""
    uri = entry.string("jwks_uri", SIGNING_KEYS_URI, "")
    key = "jwks_uri" if uri or entry.faulty("jwks_uri") else "issuer"
    place = uri or ("" if entry.faulty("jwks_uri") else issuer)
    if place and not place.startswith("https://"):
        problem = f"{quote(place)} is no URL of HTTPS, at which its keys could be found"
        entry.fault(key, problem, "write the URL of the keys, with https, as `jwks_uri`")
    elif place:
        hostname = urlsplit(place).hostname or ""
        if not HOSTNAME.accepts(hostname):
            entry.fault(key, f"{quote(place)} has no host name that a certificate can have", f"write {HOSTNAME.remedy}")
        else:
            allowed.check(entry, hostname, key)
    certificates = entry.string("ca_bundle", CERTIFICATES, "")
    return SigningKeys(uri, certificates)


def _checks(accounts: ServiceAccountCallers, oidc: Sequence[OidcCallers]) -> tuple[TokenCheck, ...]:
    found = [_check(OIDC_CHECK + caller.name, caller.issuer, caller.audiences, caller.signing_keys) for caller in oidc]
    if accounts.check == SIGNATURE:
        found.insert(0, _check(SIGNATURE, accounts.issuer, (), accounts.signing_keys))
    return tuple(found)


def _check(name: str, issuer: str, audiences: tuple[str, ...], keys: SigningKeys) -> TokenCheck:
    return TokenCheck(name, issuer, audiences, keys, *_endpoint(keys.uri or issuer))


def outside_of_cluster(callers: Callers) -> list[tuple[str, int]]:
    """Host names and ports at which the proxies fetch keys, without the API server of the cluster."""
    checks = [check for check in callers.checks if check.signing_keys.uri != CLUSTER_KEYS]
    return [(check.hostname, check.port) for check in checks]


def _endpoint(url: str) -> tuple[str, int]:
    """Host name and port of a URL that was checked, or is a fault already."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or 443
    except ValueError:
        return "", 443


def _check_issuers(
    root: Entry,
    service_accounts: ServiceAccountCallers,
    path: str,
    oidc: Sequence[tuple[Entry, OidcCallers]],
) -> None:
    """A token is known by its issuer, so that each has one."""
    names = [(entry.at("name"), found.name) for entry, found in oidc]
    unique(names, "name", "give each issuer its own: users are counted by it", root.faults)
    issuers = [(entry.at("issuer"), found.issuer) for entry, found in oidc]
    if service_accounts.check == SIGNATURE:
        issuers.insert(0, (f"{path}.issuer", service_accounts.issuer))
    unique(issuers, "issuer", "write its audiences in one entry: a token is known by its issuer", root.faults)
    if len(oidc) > _ISSUERS:
        root.fault("callers", f"has {len(oidc)} entries of kind oidc", f"write at most {_ISSUERS}")


#: The kinds of callers, and the keys of each beside its kind.
KINDS: Mapping[str, tuple[str, ...]] = {
    "service_account": ("check", "issuer", "maximum_lifetime", "jwks_uri", "ca_bundle"),
    "oidc": ("name", "issuer", "audiences", "jwks_uri", "ca_bundle", "claims"),
    "api_key": API_KEYS,
}
