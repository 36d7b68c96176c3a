# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens of a tier's users, named as Models-as-a-Service names them, and the sources they come from.

A source is a class with a NAME, the OPTIONS it needs beyond the common ones, and ``prepare``, ``issue`` and ``revoke``.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import re
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_api import ApiError

if t.TYPE_CHECKING:
    from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_api import Api

#: Seconds; the API server issues no token for less.
SHORTEST_EXPIRATION = 600
LABEL_LIMIT = 63
INSTANCE_LABEL = "maas.opendatahub.io/instance"
TIER_LABEL = "maas.opendatahub.io/tier"
UNITS = {"h": 3600, "m": 60, "s": 1}


class TokenError(Exception):
    """A token could not be issued or revoked; the message names the cause and the remedy."""


@dataclass(frozen=True)
class Identity:
    """Whom a token is for: a ServiceAccount in a namespace. ``tier`` is empty where the namespace was named instead."""

    instance: str
    tier: str
    namespace: str
    service_account: str

    @property
    def labels(self) -> dict[str, str]:
        return {INSTANCE_LABEL: self.instance, **({TIER_LABEL: self.tier} if self.tier else {})}


@dataclass(frozen=True)
class Token:
    """A token; its times are seconds since the epoch, ``jti`` is empty where the issuer sets none."""

    token: str
    issued_at: int
    expires_at: int
    jti: str
    audiences: tuple[str, ...]

    @classmethod
    def from_jwt(cls, token: str) -> Token:
        claims = claims_of(token)
        audience = claims.get("aud", [])
        return cls(
            token=token,
            issued_at=int(claims["iat"]),
            expires_at=int(claims["exp"]),
            jti=str(claims.get("jti", "")),
            audiences=(audience,) if isinstance(audience, str) else tuple(audience),
        )


def service_account_name(user: str) -> str:
    """The ServiceAccount of a user: the name with what a DNS label cannot hold as dashes, and 8 digits of its SHA-1.

    Raises ValueError where nothing of the name can be used.
    """
    name = re.sub("[^a-z0-9]+", "-", user.lower()).strip("-")
    if not name:
        raise ValueError(f"user: {user!r} holds no letter or digit; give a name such as jane@example.com")
    # As MaaS does: the digits tell apart users whose names look the same, they protect nothing.
    digits = hashlib.sha1(user.encode(), usedforsecurity=False).hexdigest()[:8]
    return f"{name[: LABEL_LIMIT - 1 - len(digits)].strip('-')}-{digits}"


def tier_namespace(instance: str, tier: str) -> str:
    return f"{instance}-tier-{tier}"


def parse_expiration(text: str, shortest: int | None = SHORTEST_EXPIRATION) -> int:
    """Seconds of a duration such as ``10m``, ``4h``, ``1h30m`` or ``3600``, with a minus sign for one in the past.

    Raises ValueError for another form and for less than ``shortest`` (None for no limit).
    """
    parts = re.fullmatch(r"(-?)(?:(\d+)|((?:\d+[hms])+))", str(text).strip())
    if not parts:
        raise ValueError(f"expiration: {text!r} is not a duration; write one such as 10m, 4h, 1h30m or a number of seconds")
    sign, seconds, units = parts.groups()
    value = int(seconds) if seconds else sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([hms])", units))
    value = -value if sign else value
    if shortest is not None and value < shortest:
        raise ValueError(f"expiration: {text!r} is too short; the API server issues tokens for {shortest // 60}m and longer")
    return value


def claims_of(token: str) -> dict[str, t.Any]:
    """The claims of a JWT, unverified. Raises TokenError where it is none."""
    try:
        _header, payload, _signature = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        if not isinstance(claims, dict):
            raise ValueError
    except ValueError:
        raise TokenError("the answer holds no JSON Web Token") from None
    return claims


def rfc3339(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moved(claims: Mapping[str, t.Any], expiration: int) -> dict[str, t.Any]:
    """The claims of a token, changed to expire ``expiration`` seconds after its issue; its beginning moves with an end that is earlier."""
    issued, expires = int(claims["iat"]), int(claims["exp"])
    end = issued + expiration
    beginning = min(issued, end - (expires - issued))
    return {**claims, "iat": beginning, "nbf": beginning, "exp": end}


def sign(claims: Mapping[str, t.Any], key_pem: bytes) -> str:
    """A JWT of the claims as the API server signs them with the same key: RS256, or ES256 on the curve P-256.

    Raises TokenError for any other key, ImportError without the library cryptography.
    """
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError):
        raise TokenError("signing_key: the file holds no unencrypted private key in PEM") from None
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    # The API server looks its public key up by this digest.
    header = {"alg": "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256", "kid": _base64url(hashlib.sha256(public).digest())}
    content = f"{_base64url(json.dumps(header).encode())}.{_base64url(json.dumps(claims).encode())}"
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(content.encode(), padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        r, s = decode_dss_signature(key.sign(content.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    else:
        raise TokenError("signing_key: the key is neither RSA nor of the curve P-256")
    return f"{content}.{_base64url(signature)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class ServiceAccountSource:
    """Tokens of a ServiceAccount in the tier's namespace, from the API server's TokenRequest."""

    NAME = "service_account"
    OPTIONS: tuple[str, ...] = ()

    def __init__(self, api: Api, identity: Identity, params: Mapping[str, t.Any]) -> None:
        self.api = api
        self.identity = identity
        self.params = params
        self._namespace = f"/api/v1/namespaces/{identity.namespace}"
        self._accounts = f"{self._namespace}/serviceaccounts"
        self._account = f"{self._accounts}/{identity.service_account}"

    @classmethod
    def expiration(cls, params: Mapping[str, t.Any]) -> int:
        """The lifetime in seconds that the options ask for; raises ValueError where it cannot be had."""
        return parse_expiration(params["expiration"])

    def namespace_exists(self) -> bool:
        return self.api.get(self._namespace) is not None

    def service_account_exists(self) -> bool:
        return self.api.get(self._account) is not None

    def create_service_account(self) -> bool:
        """Create the ServiceAccount; False where another created it meanwhile."""
        identity = self.identity
        metadata = {"name": identity.service_account, "namespace": identity.namespace, "labels": identity.labels}
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False}
        return self._unless(409, "POST", self._accounts, body)

    def issue(self, audiences: Sequence[str]) -> Token:
        spec = {"audiences": list(audiences), "expirationSeconds": self.expiration(self.params)}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        return Token.from_jwt(self.api.request("POST", f"{self._account}/token", body=body).body["status"]["token"])

    def revoke(self) -> bool:
        """Delete the ServiceAccount, and with it the validity of all its tokens; False where it was gone already."""
        return self._unless(404, "DELETE", self._account)

    def _unless(self, status: int, method: str, path: str, body: t.Any = None) -> bool:
        """Send a request; False where the answer has the status that says there is nothing to do."""
        try:
            self.api.request(method, path, body=body)
        except ApiError as error:
            if error.status == status:
                return False
            raise
        return True


class SigningKeySource(ServiceAccountSource):
    """Tokens of a ServiceAccount that are signed here with the cluster's own key, to live as long or short as a test wants."""

    NAME = "signing_key"
    OPTIONS = ("signing_key",)

    @classmethod
    def expiration(cls, params: Mapping[str, t.Any]) -> int:
        return parse_expiration(params["expiration"], shortest=None)

    def issue(self, audiences: Sequence[str]) -> Token:
        try:
            with open(self.params["signing_key"], "rb") as stream:
                key = stream.read()
        except OSError as error:
            raise TokenError(f"signing_key: cannot read {self.params['signing_key']}: {error.strerror}") from error
        # A genuine token of the API server gives issuer, subject and the rest; only its times are moved.
        genuine = ServiceAccountSource(self.api, self.identity, {"expiration": str(SHORTEST_EXPIRATION)}).issue(audiences)
        return Token.from_jwt(sign(moved(claims_of(genuine.token), self.expiration(self.params)), key))


SOURCES: dict[str, type[ServiceAccountSource]] = {source.NAME: source for source in (ServiceAccountSource, SigningKeySource)}
