# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tiers, the namespaces and ServiceAccounts of their users, and tokens for these."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import re
import typing as t
import uuid
from dataclasses import dataclass

import yaml
from kubernetes_client import Api, ApiError

TIERS = "tier-to-group-mapping"
LABELS = "maas.opendatahub.io"
DEFAULT_EXPIRATION = 4 * 3600 * 10**9
SHORTEST_EXPIRATION = 600 * 10**9
LABEL_LIMIT = 63

UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"


class TierError(Exception):
    """There is no usable mapping of tiers."""


class NoTierError(TierError):
    """No tier has one of the groups."""


@dataclass(frozen=True)
class User:
    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Tier:
    name: str
    display_name: str
    level: int
    groups: frozenset[str]


def parse_duration(value: t.Any) -> int:
    """Nanoseconds of seconds as a number, or of a string such as ``10m``, ``1h30m``, ``1.5h`` or ``30d``.

    Raises ValueError.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(value * 10**9)
    if not isinstance(value, str):
        raise ValueError("invalid duration")
    if value in ("", "0"):
        return 0
    days = re.fullmatch(r"([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))d", value)
    if days:
        return int(float(days[1]) * 24 * UNITS["h"])
    match = re.fullmatch(rf"([-+]?)((?:{_PART})+)", value)
    if not match:
        raise ValueError(f'invalid duration "{value}"')
    total = sum(round(float(number) * UNITS[unit]) for number, unit in re.findall(_PART, match[2]))
    return -total if match[1] == "-" else total


def format_duration(nanoseconds: int) -> str:
    """The same as a string, as maas-api writes it: 10m is 10m0s."""
    if nanoseconds < 0:
        return "-" + format_duration(-nanoseconds)
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 10**9:
        unit = next(unit for unit in ("ms", "µs", "ns") if nanoseconds >= UNITS[unit])
        return f"{_decimal(nanoseconds, UNITS[unit])}{unit}"
    minutes, rest = divmod(nanoseconds, UNITS["m"])
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, UNITS['s'])}s"
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    return f"{whole}.{str(rest).rjust(len(str(unit)) - 1, '0').rstrip('0')}" if rest else str(whole)


def service_account_name(user: str) -> str:
    """The ServiceAccount of a user; raises ValueError for a name without any letter or digit."""
    name = re.sub("[^a-z0-9]+", "-", user.lower()).strip("-")
    if not name:
        raise ValueError(f"the name {user!r} holds no letter or digit")
    digits = hashlib.sha1(user.encode(), usedforsecurity=False).hexdigest()[:8]
    return f"{name[: LABEL_LIMIT - 1 - len(digits)].strip('-')}-{digits}"


def parse_tiers(text: str, instance: str) -> list[Tier]:
    """The tiers of the mapping, the highest first; raises TierError."""
    try:
        tiers = [_tier(item, instance) for item in yaml.safe_load(text) or []]
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        raise TierError(f"ConfigMap {TIERS}: key tiers is no list of tiers: {error}") from None
    names = [tier.name for tier in tiers]
    for name in names:
        if not name or names.count(name) > 1:
            raise TierError(f"ConfigMap {TIERS}: " + (f"tier {name} is there twice" if name else "a tier has no name"))
    return sorted(tiers, key=lambda tier: -tier.level)


def _tier(item: t.Any, instance: str) -> Tier:
    name = str(item.get("name") or "")
    groups = [str(group) for group in item.get("groups") or []]
    # Tokens that were minted here belong to the tier that they were minted for.
    own = f"system:serviceaccounts:{tier_namespace(instance, name)}"
    return Tier(name, str(item.get("displayName") or name), int(item.get("level") or 0), frozenset((*groups, own)))


def tier_namespace(instance: str, tier: str) -> str:
    return f"{instance}-tier-{tier}"


def claims_of(token: str) -> dict[str, t.Any]:
    payload = token.split(".")[1]
    claims: dict[str, t.Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


class Tokens:
    def __init__(self, api: Api, instance: str, namespace: str) -> None:
        self.api = api
        self.instance = instance
        self.namespace = namespace

    def tier_of(self, groups: t.Iterable[str]) -> Tier:
        """The highest tier with one of the groups, from the mapping as it is now."""
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{TIERS}"
        found = self.api.find(path)
        if found is None:
            raise TierError(f"there is no ConfigMap {TIERS} in namespace {self.namespace}")
        text = (found.get("data") or {}).get("tiers")
        if text is None:
            raise TierError(f"ConfigMap {TIERS} has no key tiers")
        wanted = set(groups)
        for tier in parse_tiers(text, self.instance):
            if wanted & tier.groups:
                return tier
        raise NoTierError(f"no tier has one of the groups {', '.join(sorted(wanted))}")

    def issue(self, user: User, expiration: int) -> dict[str, t.Any]:
        """A token of the user's tier, as it is answered; ``expiration`` in nanoseconds."""
        tier = self.tier_of(user.groups)
        name = service_account_name(user.name)
        self._ensure_namespace(tier)
        self._ensure_account(tier, name)
        spec = {"audiences": [f"{self.instance}-sa"], "expirationSeconds": expiration // 10**9}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        status = self.api.request("POST", f"{self._accounts(tier)}/{name}/token", body)["status"]
        claims = claims_of(status["token"])
        return {
            "token": status["token"],
            "expiration": format_duration(expiration),
            "expiresAt": int(
                datetime.datetime.fromisoformat(status["expirationTimestamp"].replace("Z", "+00:00")).timestamp()
            ),
            "issuedAt": int(claims["iat"]),
            # API servers before 1.29 set none.
            "jti": claims.get("jti") or uuid.uuid4().hex,
        }

    def revoke(self, user: User) -> None:
        """Make all tokens of the user's ServiceAccount invalid: a new one of the same name takes its place."""
        tier = self.tier_of(user.groups)
        name = service_account_name(user.name)
        if self.api.delete(f"{self._accounts(tier)}/{name}"):
            self._ensure_account(tier, name)

    def _accounts(self, tier: Tier) -> str:
        return f"/api/v1/namespaces/{tier_namespace(self.instance, tier.name)}/serviceaccounts"

    def _labels(self, tier: Tier) -> dict[str, str]:
        return {f"{LABELS}/instance": self.instance, f"{LABELS}/tier": tier.name}

    def _ensure_namespace(self, tier: Tier) -> None:
        name = tier_namespace(self.instance, tier.name)
        if self.api.find(f"/api/v1/namespaces/{name}") is None:
            labels = {**self._labels(tier), f"{LABELS}/tier-namespace": "true"}
            self._create(
                "/api/v1/namespaces",
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
            )

    def _ensure_account(self, tier: Tier, name: str) -> None:
        if self.api.find(f"{self._accounts(tier)}/{name}") is None:
            metadata = {
                "name": name,
                "namespace": tier_namespace(self.instance, tier.name),
                "labels": self._labels(tier),
            }
            self._create(self._accounts(tier), {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})

    def _create(self, path: str, body: dict[str, t.Any]) -> None:
        try:
            self.api.request("POST", path, body)
        except ApiError as error:
            if error.status != 409:
                raise
