# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""API keys for a gateway: their format, the Secrets that the cluster keeps of them, and which of them are selected.

A key is ``<prefix>_<id><end><secret><checksum>`` in base 62. The id distinguishes keys in lists, the end is the time
after which the key is refused, and the checksum is the CRC-32 of what is between the prefix and itself. api_keys.lua of
role access_policies reads this format. A Secret holds the SHA-256 of the key and nothing from which the key follows.

Authorino reads a Secret again only where the digest is another. So no Secret is changed but by a rotation.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import re
import secrets
import string
import typing as t
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.api_keys import (
    DEFAULT_LIFETIME,
    DEFAULT_PREFIX,
    LIFETIME,
    PREFIX,
    lifetime_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.request_headers import API_KEY_DIGESTS
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import LABEL, Rule
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._tokens import (
    rfc3339,
    service_account_name,
    tier_namespace,
)

if t.TYPE_CHECKING:
    from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api

DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
#: The characters of the parts of a key. A digit has 5.95 bits, so the secret has 178.
ID_LENGTH, END_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 8, 6, 30, 6

_DOMAIN = "egress.ai-gateway/"
GATEWAY_LABEL = f"{_DOMAIN}api-key-of"
NAME_LABEL = f"{_DOMAIN}api-key"
#: Which evaluator of Authorino has the key.
PART_LABEL = f"{_DOMAIN}api-key-part"
TIER_LABEL = f"{_DOMAIN}tier"
#: The owner as far as a label can hold it; the annotation of the same name has all of it.
OWNER = f"{_DOMAIN}owner"
ID_ANNOTATION = f"{_DOMAIN}id"
CREATED_ANNOTATION = f"{_DOMAIN}created"
EXPIRES_ANNOTATION = f"{_DOMAIN}expires"
DESCRIPTION_ANNOTATION = f"{_DOMAIN}description"
#: Without it Authorino does not watch a Secret.
WATCHED = {"authorino.kuadrant.io/managed-by": "authorino"}
#: The key of a Secret that Authorino reads.
SECRET_KEY = "api_key"  # noqa: S105 (the name of a field)
SECRETS = ResourceType("v1", "Secret", "secrets", True, frozenset())

_OWNER = Rule(
    "a name of an owner",
    r"(?=.*[A-Za-z0-9])[A-Za-z0-9._@+-]+",
    'letters, digits and ". _ @ + -", such as jane@example.com',
    limit=128,
)
_DESCRIPTION = Rule("a description", r".*", "one line", limit=256, printable=True)
_RULES = {
    "gateway": LABEL,
    "name": LABEL,
    "tier": LABEL,
    "owner": _OWNER,
    "prefix": PREFIX,
    "description": _DESCRIPTION,
}

#: The options of modules that say which keys are meant.
SELECTION_ARGUMENT_SPEC: dict[str, t.Any] = {
    "gateway": {"type": "str", "default": "ai-gateway"},
    "namespace": {"type": "str", "default": "ai-gateway-authorino"},
    "name": {"type": "str"},
    "owner": {"type": "str"},
    "tier": {"type": "str"},
    "expired": {"type": "bool"},
}
#: The options of the module that issues keys beside these.
ISSUE_ARGUMENT_SPEC: dict[str, t.Any] = {
    "description": {"type": "str", "default": ""},
    "expires": {"type": "str", "default": "90d"},
    "maximum_lifetime": {"type": "str", "default": DEFAULT_LIFETIME},
    "prefix": {"type": "str", "default": DEFAULT_PREFIX},
    "rotate": {"type": "bool", "default": False},
}


class ApiKeyError(ValueError):
    """Keys cannot be issued or revoked as they were described; the message names the option and the remedy."""


def base62(number: int, length: int) -> str:
    """A number in so many digits."""
    digits = ""
    for _place in range(length):
        number, digit = divmod(number, len(DIGITS))
        digits = DIGITS[digit] + digits
    return digits


def new_key(prefix: str, expires: int) -> str:
    """A key that nobody had before and that ends at ``expires``, in seconds since the epoch."""
    random = "".join(secrets.choice(DIGITS) for _digit in range(ID_LENGTH + SECRET_LENGTH))
    body = random[:ID_LENGTH] + base62(expires, END_LENGTH) + random[ID_LENGTH:]
    return f"{prefix}_{body}{base62(zlib.crc32(body.encode()), CHECKSUM_LENGTH)}"


def id_of(key: str) -> str:
    """The characters that distinguish a key in lists."""
    return key.partition("_")[2][:ID_LENGTH]


def digest_of(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def pattern(prefix: str) -> str:
    """The regular expression by which a scanner finds keys."""
    return rf"\b{prefix}_[0-9A-Za-z]{{{ID_LENGTH + END_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH}}}\b"


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key. Its times are seconds since the epoch; 0 where somebody has removed them."""

    name: str
    owner: str
    tier: str
    id: str
    created: int
    expires: int
    description: str = ""

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, t.Any]) -> ApiKey:
        """The key of a Secret, by the Secret's metadata."""
        labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
        return cls(
            name=labels.get(NAME_LABEL, ""),
            owner=annotations.get(OWNER, ""),
            tier=labels.get(TIER_LABEL, ""),
            id=annotations.get(ID_ANNOTATION, ""),
            created=_seconds(annotations.get(CREATED_ANNOTATION, "")) or 0,
            expires=_seconds(annotations.get(EXPIRES_ANNOTATION, "")) or 0,
            description=annotations.get(DESCRIPTION_ANNOTATION, ""),
        )

    def as_dict(self, now: float) -> dict[str, t.Any]:
        """What modules return of it."""
        return {
            "name": self.name,
            "owner": self.owner,
            "tier": self.tier,
            "id": self.id,
            "created": rfc3339(self.created),
            "expires": rfc3339(self.expires),
            "expired": self.expires <= now,
            "description": self.description,
        }


@dataclass(frozen=True)
class Selection:
    """Which keys of a gateway are meant: those that are all that is said here."""

    name: str | None = None
    owner: str | None = None
    tier: str | None = None
    expired: bool | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, t.Any]) -> Selection:
        """The selection of SELECTION_ARGUMENT_SPEC.

        :raises ApiKeyError: where an option cannot be one of a key.
        """
        check_options(params)
        return cls(params["name"], params["owner"], params["tier"], params["expired"])

    @property
    def is_everything(self) -> bool:
        return self == Selection()

    def labels(self, gateway: str) -> str:
        """The label selector of what may be selected."""
        labels = {
            GATEWAY_LABEL: gateway,
            NAME_LABEL: self.name,
            TIER_LABEL: self.tier,
            OWNER: None if self.owner is None else service_account_name(self.owner),
        }
        return ",".join(f"{label}={value}" for label, value in labels.items() if value is not None)

    def accepts(self, key: ApiKey, now: float) -> bool:
        """Whether a key that has the labels is selected."""
        return self.owner in (None, key.owner) and self.expired in (None, key.expires <= now)


@dataclass(frozen=True)
class Kept:
    """A key, and the Secret that is kept of it."""

    key: ApiKey
    secret: str
    uid: str
    resource_version: str


class ApiKeys:
    """The keys of one gateway in a cluster."""

    def __init__(self, api: Api, gateway: str, namespace: str) -> None:
        """:param namespace: that of Authorino."""
        self.api = api
        self.gateway = gateway
        self.namespace = namespace

    def find(self, selection: Selection, now: float) -> Iterator[Kept]:
        """The selected keys, read page by page and without their digests."""
        query = {"labelSelector": selection.labels(self.gateway)}
        for _version, page in self.api.pages(SECRETS, self.namespace, query, names_only=True):
            for body in page:
                metadata = body["metadata"]
                key = ApiKey.of_metadata(metadata)
                if selection.accepts(key, now):
                    yield Kept(key, metadata["name"], metadata["uid"], metadata["resourceVersion"])

    def has_tier(self, tier: str) -> bool:
        """Whether the gateway of the cluster has a tier."""
        return self.api.get(f"/api/v1/namespaces/{tier_namespace(self.gateway, tier)}") is not None

    def store(self, key: ApiKey, digest: str, replaced: Kept | None = None) -> bool:
        """Keep a key; False where another run has made one of the name meanwhile.

        :param replaced: what it takes the place of, in one step.
        """
        metadata: dict[str, t.Any] = {
            "name": replaced.secret if replaced else f"{self.gateway}-api-key-{key.name}",
            "namespace": self.namespace,
            "labels": {
                **WATCHED,
                GATEWAY_LABEL: self.gateway,
                NAME_LABEL: key.name,
                PART_LABEL: str(int(digest[0], 16) % len(API_KEY_DIGESTS)),
                TIER_LABEL: key.tier,
                OWNER: service_account_name(key.owner),
            },
            "annotations": {
                OWNER: key.owner,
                ID_ANNOTATION: key.id,
                CREATED_ANNOTATION: rfc3339(key.created),
                EXPIRES_ANNOTATION: rfc3339(key.expires),
                **({DESCRIPTION_ANNOTATION: key.description} if key.description else {}),
            },
        }
        if replaced:
            metadata["resourceVersion"] = replaced.resource_version
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "Opaque",
            "data": {SECRET_KEY: base64.b64encode(digest.encode()).decode()},
        }
        try:
            if replaced:
                self.api.request("PUT", SECRETS.path(self.namespace, replaced.secret), body=body)
            else:
                self.api.request("POST", SECRETS.path(self.namespace), body=body)
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return True

    def revoke(self, kept: Kept) -> bool:
        """Delete a key; False where it was gone already.

        :raises ApiKeyError: where it is another key by now.
        """
        try:
            self.api.request(
                "DELETE",
                SECRETS.path(self.namespace, kept.secret),
                body={"preconditions": {"uid": kept.uid, "resourceVersion": kept.resource_version}},
            )
        except ApiError as error:
            if error.status == 404:
                return False
            if error.status == 409:
                raise ApiKeyError(f"name: another run has replaced key {kept.key.name} meanwhile; run again") from error
            raise
        return True


def check_options(params: Mapping[str, t.Any]) -> None:
    """Check the strings among the options.

    :raises ApiKeyError: for the first that is wrong.
    """
    for option, rule in _RULES.items():
        value = params.get(option)
        if value is not None and not rule.accepts(value):
            raise ApiKeyError(str(rule.fault(option, value)))


def expiry(expires: str, maximum_lifetime: str, now: int) -> int:
    """The time at which a key ends, in seconds since the epoch.

    :param expires: a duration such as ``90d``, or a time of RFC 3339.
    :raises ApiKeyError: where it is neither, past, or later than allowed.
    """
    if not LIFETIME.accepts(maximum_lifetime):
        raise ApiKeyError(str(LIFETIME.fault("maximum_lifetime", maximum_lifetime)))
    if LIFETIME.accepts(expires):
        end: int | None = now + lifetime_of(expires)
    else:
        end = _seconds(expires)
    if end is None:
        raise ApiKeyError(
            f"expires: {expires!r} is neither a duration nor a time; write one such as 90d, 12h or 2027-01-31T00:00:00Z"
        )
    if end <= now:
        raise ApiKeyError(f"expires: {expires!r} is not in the future; write a later time, or a duration such as 90d")
    if end > now + lifetime_of(maximum_lifetime):
        raise ApiKeyError(
            f"expires: {expires!r} is later than maximum_lifetime allows; write at most {maximum_lifetime}, or raise "
            "maximum_lifetime of kind api_key in ai_gateway_callers"
        )
    return end


def _seconds(time: str) -> int | None:
    """A time of RFC 3339 in seconds since the epoch; None for any other string."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", time):
        return None
    try:
        return int(datetime.datetime.fromisoformat(time.upper()).timestamp())
    except ValueError:
        return None
