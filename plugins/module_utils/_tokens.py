# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens of a tier's users, named as Models-as-a-Service names them, and the sources they come from.

A source is a class with a NAME, the OPTIONS it needs, ``issue`` and ``revoke``, and methods that say beforehand
whether these would change anything.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import re
import typing as t
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import ApiError, ConnectionSettingsError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import (
    configuration_of,
    impersonation_of,
    settings_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import shortened
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.http_client import (
    GATEWAY_ARGUMENT_SPEC,
    Answer,
    Gateway,
    GatewayError,
)

if t.TYPE_CHECKING:
    from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api

#: Seconds; the API server issues no token for less.
SHORTEST_EXPIRATION = 600
LABEL_LIMIT = 63
INSTANCE_LABEL = "maas.opendatahub.io/instance"
TIER_LABEL = "maas.opendatahub.io/tier"
UNITS = {"h": 3600, "m": 60, "s": 1}

#: Whom the tokens are for that a cluster's own API takes. maas-api takes them too.
CLUSTER_AUDIENCE = "https://kubernetes.default.svc"
_TOKENS = "/v1/tokens"
#: Before the names of the options that a gateway has, where the gateway is maas-api's.
_PREFIX = "maas_api_"
#: The options for requests to maas-api. The token may come from elsewhere, and other sources have no address.
MAAS_API_ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    f"{_PREFIX}{name}": {key: value for key, value in option.items() if key not in ("required", "aliases")}
    for name, option in GATEWAY_ARGUMENT_SPEC.items()
}
#: An option's name in a message of a gateway, but not in an address or in a path.
_GATEWAY_OPTION = re.compile(
    rf"(?<![\w./-])(?:{'|'.join(name for name in GATEWAY_ARGUMENT_SPEC if name != 'token')}|(?<=option )token)"
    r"(?![\w./-])"
)

_REMEDIES = {
    401: "the gateway does not accept the caller's token, which has expired or is not for the audience that the "
    "policy maas-api-auth-policy requires; give a new one with maas_api_token, or the cluster's own audience, which "
    "HyperShift and ROSA change, with maas_api_audience",
    403: "the gateway's policy does not let the caller mint tokens; see the AuthPolicy maas-api-auth-policy",
    404: "nothing mints tokens at {url}; this MaaS is of the later generation, which has API keys instead of tokens "
    "(from v0.1.0), the gateway has no route to maas-api (HTTPRoute maas-api-route), or maas_api_url is not its "
    "address",
    429: "too many requests; try again in a minute",
}
_IDENTITY_HEADERS = {
    "001": "the user's name (X-MaaS-Username)",
    "002": "the user's groups (X-MaaS-Group)",
    "003": "groups it can read (X-MaaS-Group)",
}


class TokenError(Exception):
    """A token could not be issued or revoked; the message names the cause and the remedy, ``status`` is that of the
    answer, where there was one.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Identity:
    """Whom a token is for: a ServiceAccount in a namespace. ``tier`` is empty where the namespace was named instead."""

    gateway: str
    tier: str
    namespace: str
    service_account: str

    @property
    def labels(self) -> dict[str, str]:
        return {INSTANCE_LABEL: self.gateway, **({TIER_LABEL: self.tier} if self.tier else {})}


@dataclass(frozen=True)
class Token:
    """A token; its times are seconds since the epoch.

    ``jti``, ``namespace`` and ``service_account`` are empty where its claims name none.
    """

    token: str
    issued_at: int
    expires_at: int
    jti: str
    audiences: tuple[str, ...]
    namespace: str = ""
    service_account: str = ""

    @classmethod
    def from_jwt(cls, token: str) -> Token:
        """Raises TokenError where it is none, or lacks the times of its issue and end."""
        claims = claims_of(token)
        audience = claims.get("aud", [])
        subject = re.fullmatch(r"system:serviceaccount:([^:]+):([^:]+)", str(claims.get("sub", "")))
        try:
            issued_at, expires_at = int(claims["iat"]), int(claims["exp"])
        except (KeyError, TypeError, ValueError):
            raise TokenError("the answer holds a token without the claims iat and exp") from None
        return cls(
            token=token,
            issued_at=issued_at,
            expires_at=expires_at,
            jti=str(claims.get("jti", "")),
            audiences=(audience,) if isinstance(audience, str) else tuple(audience),
            namespace=subject[1] if subject else "",
            service_account=subject[2] if subject else "",
        )


def service_account_name(user: str) -> str:
    """The ServiceAccount of a user: the name with what a DNS label cannot hold as dashes, and 8 digits of its SHA-1.

    Raises ValueError where nothing of the name can be used.
    """
    name = re.sub("[^a-z0-9]+", "-", user.lower()).strip("-")
    if not name:
        raise ValueError(f"user: {user!r} holds no letter or digit; give a name such as jane@example.com")
    # As MaaS does: the digits distinguish users whose names look the same, they protect nothing.
    digits = hashlib.sha1(user.encode(), usedforsecurity=False).hexdigest()[:8]
    return f"{name[: LABEL_LIMIT - 1 - len(digits)].strip('-')}-{digits}"


def tier_namespace(gateway: str, tier: str) -> str:
    return f"{gateway}-tier-{tier}"


def parse_expiration(text: str) -> int:
    """Seconds of a duration such as ``10m``, ``4h``, ``1h30m`` or ``3600``.

    Raises ValueError for another form and for less than SHORTEST_EXPIRATION.
    """
    parts = re.fullmatch(r"(-?)(?:(\d+)|((?:\d+[hms])+))", str(text).strip())
    if not parts:
        raise ValueError(
            f"expiration: {text!r} is not a duration; write one such as 10m, 4h, 1h30m or a number of seconds"
        )
    sign, seconds, units = parts.groups()
    value = (
        int(seconds)
        if seconds
        else sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([hms])", units))
    )
    value = -value if sign else value
    if value < SHORTEST_EXPIRATION:
        raise ValueError(
            f"expiration: {text!r} is too short; "
            f"the API server issues tokens for {SHORTEST_EXPIRATION // 60}m and longer"
        )
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


class ServiceAccountSource:
    """Tokens of a ServiceAccount in the tier's namespace, from the API server's TokenRequest."""

    NAME = "service_account"
    OPTIONS: tuple[str, ...] = ("user",)

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

    def audiences(self) -> list[str]:
        """Whom the token will be for."""
        return list(self.params["audiences"] or [f"{self.identity.gateway}-sa"])

    def account(self) -> dict[str, str]:
        """The namespace and the name of the ServiceAccount that the token will be of."""
        return {"namespace": self.identity.namespace, "service_account": self.identity.service_account}

    def namespace_exists(self) -> bool:
        return self.api.get(self._namespace) is not None

    def service_account_exists(self) -> bool:
        return self.api.get(self._account) is not None

    def create_service_account(self) -> bool:
        """Create the ServiceAccount; False where another created it meanwhile."""
        identity = self.identity
        metadata = {"name": identity.service_account, "namespace": identity.namespace, "labels": identity.labels}
        body = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata,
            "automountServiceAccountToken": False,
        }
        return self._unless(409, "POST", self._accounts, body)

    def issue(self, audiences: Sequence[str]) -> Token:
        spec = {"audiences": list(audiences), "expirationSeconds": self.expiration(self.params)}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        return Token.from_jwt(self.api.request("POST", f"{self._account}/token", body=body).body["status"]["token"])

    def has_tokens(self) -> bool:
        """Whether there is anything to revoke."""
        return self.service_account_exists()

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


def token_in_use(params: Mapping[str, t.Any], environment: Mapping[str, str], directory: str | None = None) -> str:
    """The bearer token by which kubernetes.core's options reach the cluster.

    :param directory: as in ``configuration_of``.

    Raises TokenError where they use none, ConnectionSettingsError where they cannot be read, and ImportError without
    the kubernetes library.
    """
    remedy = (
        "give the caller's token with maas_api_token, such as `oc whoami -t` prints, or have a ServiceAccount "
        "call, with user and tier"
    )
    if impersonation_of(params, environment):
        raise TokenError(f"maas-api knows no impersonation; {remedy}")
    try:
        settings = configuration_of(settings_of(params, environment), directory).auth_settings().values()
    except ImportError:
        raise
    except Exception as error:
        # The client raises its own, yaml's, ssl's and OSError alike.
        raise ConnectionSettingsError(f"cannot read the credentials for the cluster: {error}; {remedy}") from error
    for setting in settings:
        scheme, _space, token = str(setting.get("value") or "").partition(" ")
        if setting.get("key") == "authorization" and scheme == "Bearer" and token:
            return token
    raise TokenError(f"the credentials in use for the cluster hold no token, but a certificate or a password; {remedy}")


def maas_api_address(url: str) -> tuple[str, str]:
    """The address of a gateway, and the path of maas-api's tokens there.

    The path is ``/maas-api/v1/tokens``, or ``/v1/tokens`` for a URL that ends with it.
    """
    base = url.strip().rstrip("/")
    return (base.removesuffix(_TOKENS), _TOKENS) if base.endswith(_TOKENS) else (base, f"/maas-api{_TOKENS}")


class MaasApi:
    """maas-api of the generation that mints tokens, v0.0.2. No message holds a token."""

    def __init__(self, params: Mapping[str, t.Any]) -> None:
        """Raises ValueError where an option is wrong."""
        address, self._path = maas_api_address(params[f"{_PREFIX}url"] or "")
        options = {name: params[f"{_PREFIX}{name}"] for name in GATEWAY_ARGUMENT_SPEC}
        try:
            self._gateway = Gateway.from_params({**options, "url": address})
        except ValueError as error:
            raise ValueError(_renamed(error)) from error
        self.url = self._gateway.url + self._path

    def mint(self, caller: str, seconds: int) -> Token:
        """A token for the user who has the token ``caller``."""
        answer = self._send("POST", caller, {"expiration": f"{seconds}s"})
        document = answer.json()
        token = document.get("token") if isinstance(document, dict) else None
        if answer.status != 201 or not isinstance(token, str):
            raise TokenError(refusal(answer, self.url, caller), answer.status)
        return Token.from_jwt(token)

    def revoke(self, caller: str) -> None:
        """Revoke all tokens that were minted for the user who has the token ``caller``."""
        answer = self._send("DELETE", caller)
        if answer.status != 204:
            raise TokenError(refusal(answer, self.url, caller), answer.status)

    def _send(self, method: str, caller: str, body: t.Any = None) -> Answer:
        try:
            return self._gateway.send(method, self._path, token=caller, body=body)
        except (GatewayError, ValueError) as error:
            raise TokenError(_renamed(error)) from error


def _renamed(error: Exception) -> str:
    """The message of a gateway with the names that its options have here."""
    return _GATEWAY_OPTION.sub(lambda name: f"{_PREFIX}{name[0]}", str(error))


def refusal(answer: Answer, url: str, caller: str) -> str:
    """What an answer of maas-api at ``url`` means that is not the one asked for, and what to do about it."""
    where = f"status {answer.status}"
    if answer.status < 300:
        # It may hold a token.
        kind = answer.headers.get("content-type", "no content type")
        return f"{where}: the answer, of {kind}, is not maas-api's; check that {url} is not a page for browsers"
    if answer.status < 400:
        target = urllib.parse.urlsplit(answer.headers.get("location", ""))
        shown = urllib.parse.urlunsplit((target.scheme, target.netloc.rpartition("@")[2], target.path, "", ""))
        return (
            f"{where}: {url} redirects to {shown or 'nowhere'}, and the token is not taken there; give the "
            "gateway's own address with maas_api_url"
        )
    text = shortened(answer.text.replace(caller, "(the token)")) or "empty"
    reason = shortened(answer.headers.get("x-ext-auth-reason", "").replace(caller, "(the token)"))
    return f"{where}: {_remedy(answer, url)}. The answer: {text}{f'; the policy says: {reason}' if reason else ''}"


def _remedy(answer: Answer, url: str) -> str:
    parsed = answer.json()
    document = parsed if isinstance(parsed, dict) else {}
    if answer.status == 400 and "provided_expiration" in document:
        return f"maas-api takes {document['provided_expiration']} for too short; give a longer expiration"
    if answer.status == 400:
        return "maas-api does not understand the request; check that it is of the generation that mints tokens, v0.0.2"
    if document.get("exceptionCode") == "AUTH_FAILURE":
        return _missing_identity(document)
    if answer.status == 500 and document.get("error") == "Failed to generate token":
        return (
            "maas-api cannot mint a token; no tier matches the groups of the user (ConfigMap tier-to-group-mapping), "
            "or its rights do not suffice for the tier's namespace and ServiceAccounts, which its log shows"
        )
    if answer.status >= 500:
        return "see the logs of Deployment maas-api and of the gateway's proxy"
    return _REMEDIES.get(answer.status, "check that maas_api_url is the address of a MaaS gateway").format(url=url)


def _missing_identity(document: Mapping[str, t.Any]) -> str:
    """What it means that maas-api says AUTH_FAILURE."""
    reference = str(document.get("refId", ""))
    return (
        f"the request reached maas-api without {_IDENTITY_HEADERS.get(reference, 'the identity of the user')}, so the "
        "AuthPolicy of maas-api-route is not "
        "enforced; wait for its condition Enforced, and restart Kuadrant's operator where it stays false"
    )


class MaasApiSource(ServiceAccountSource):
    """Tokens that maas-api mints for the ServiceAccount of a user, which it counts to the tier of its namespace."""

    NAME = "maas_api"
    OPTIONS = ("maas_api_url",)

    def __init__(self, api: Api, identity: Identity, params: Mapping[str, t.Any]) -> None:
        super().__init__(api, identity, params)
        self.maas_api = MaasApi(params)
        # maas-api names it like that of any other user.
        user = f"system:serviceaccount:{identity.namespace}:{identity.service_account}"
        self._minted_account = f"{self._accounts}/{service_account_name(user)}"

    def audiences(self) -> list[str]:
        return []

    def account(self) -> dict[str, str]:
        return {}

    def issue(self, _audiences: Sequence[str]) -> Token:
        identity = self.identity
        token = self.maas_api.mint(self._own_token(), self.expiration(self.params))
        if identity.tier and token.namespace != identity.namespace:
            raise TokenError(
                f"maas-api minted a token of {f'namespace {token.namespace}' if token.namespace else 'no namespace'} "
                f"for ServiceAccount {identity.namespace}/{identity.service_account}, so it counts it to a tier "
                f"other than {identity.tier!r}; see the groups and levels in ConfigMap tier-to-group-mapping"
            )
        return token

    def has_tokens(self) -> bool:
        return self.service_account_exists() or self.api.get(self._minted_account) is not None

    def revoke(self) -> bool:
        """Have maas-api revoke them, and remove the user's ServiceAccount and the one that maas-api keeps for it."""
        if not self.service_account_exists():
            self.create_service_account()
        self.maas_api.revoke(self._own_token())
        for account in (self._minted_account, self._account):
            self._unless(404, "DELETE", account)
        return True

    def _own_token(self) -> str:
        """A token by which the ServiceAccount can call maas-api, no longer valid than it must be."""
        return (
            ServiceAccountSource(self.api, self.identity, {"expiration": str(SHORTEST_EXPIRATION)})
            .issue([self.params["maas_api_audience"]])
            .token
        )


class CallerSource:
    """Tokens that maas-api mints for a user who has a token for it already."""

    def __init__(self, caller: str, params: Mapping[str, t.Any]) -> None:
        if not caller.strip():
            raise ValueError(
                "maas_api_token: it is empty; give a token, or leave the option out for that of the credentials in use"
            )
        self.caller = caller.strip()
        self.params = params
        self.maas_api = MaasApi(params)

    def issue(self) -> Token:
        return self.maas_api.mint(self.caller, MaasApiSource.expiration(self.params))

    def revoke(self) -> None:
        self.maas_api.revoke(self.caller)


SOURCES: dict[str, type[ServiceAccountSource]] = {
    source.NAME: source for source in (ServiceAccountSource, MaasApiSource)
}
