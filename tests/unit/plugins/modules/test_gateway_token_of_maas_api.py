# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Source maas_api of the module against one server on the loopback interface that plays maas-api behind its gateway,
and the Kubernetes API.
"""

from __future__ import annotations

import base64
import json
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._tokens import service_account_name
from loopback import Loopback, Reply, Request

RunModule = Callable[..., dict[str, t.Any]]
TOKENS = "/maas-api/v1/tokens"
NAMESPACE = "maas-default-gateway-tier-free"
NAMESPACE_PATH = f"/api/v1/namespaces/{NAMESPACE}"
ACCOUNTS = f"{NAMESPACE_PATH}/serviceaccounts"
NAME = "jane-8a8deed4"
CALLER = "sha256~a-token-that-must-not-show"


def jwt(subject: str, audience: str, lifetime: int) -> str:
    claims = {
        "iat": 1_000_000,
        "exp": 1_000_000 + lifetime,
        "aud": [audience],
        "jti": "an-id",
        "sub": f"system:serviceaccount:{subject}",
    }
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}.c2ln"


def minted(user: str, seconds: int, namespace: str = NAMESPACE) -> str:
    return jwt(f"{namespace}:{service_account_name(user)}", "maas-default-gateway-sa", seconds)


OWN_USER = f"system:serviceaccount:{NAMESPACE}:{NAME}"
OWN_TOKEN = jwt(f"{NAMESPACE}:{NAME}", "https://kubernetes.default.svc", 600)


def given(options: dict[str, t.Any]) -> dict[str, t.Any]:
    """Those that are not None, as if the others were omitted."""
    return {name: value for name, value in options.items() if value is not None}


class Cluster:
    """``users`` by the tokens that maas-api knows; ``accounts`` of the tier's namespace; ``reply`` replaces the answer
    of maas-api.
    """

    def __init__(self, loopback: Loopback) -> None:
        self.loopback = loopback
        self.users = {CALLER: "kube:admin", OWN_TOKEN: OWN_USER}
        self.accounts: set[str] = set()
        self.namespace = NAMESPACE
        self.reply: Reply | None = None
        loopback.answer = self.answer

    def answer(self, request: Request) -> Reply:
        path = request.path.partition("?")[0]
        return self.maas_api(request) if path.endswith("/v1/tokens") else self.kubernetes(request, path)

    def maas_api(self, request: Request) -> Reply:
        user = self.users.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if self.reply:
            return self.reply
        if user is None:
            return Reply(401, b"", {"X-Ext-Auth-Reason": "Not authenticated"})
        name = service_account_name(user)
        self.accounts.add(name)
        if request.method == "DELETE":
            return Reply(204, b"")
        seconds = int(request.body["expiration"].removesuffix("s"))
        token = minted(user, seconds, self.namespace)
        return Reply(
            201,
            {
                "token": token,
                "expiration": f"{seconds // 60}m0s",
                "issuedAt": 1_000_000,
                "expiresAt": 1_000_000 + seconds,
                "jti": "an-id",
            },
        )

    def kubernetes(self, request: Request, path: str) -> Reply:
        if path == NAMESPACE_PATH:
            return Reply(200, {"kind": "Namespace"})
        if path == ACCOUNTS and request.method == "POST":
            self.accounts.add(request.body["metadata"]["name"])
            return Reply(201, request.body)
        name = path.removeprefix(f"{ACCOUNTS}/").removesuffix("/token")
        if name not in self.accounts:
            return Reply(404, {"kind": "Status", "reason": "NotFound", "message": "not found"})
        if path.endswith("/token"):
            spec = request.body["spec"]
            return Reply(
                201, {"status": {"token": jwt(f"{NAMESPACE}:{name}", spec["audiences"][0], spec["expirationSeconds"])}}
            )
        if request.method == "DELETE":
            self.accounts.remove(name)
        return Reply(200, {"kind": "ServiceAccount"})

    @property
    def sent(self) -> list[str]:
        """What was asked for or written; reading is left out."""
        return [f"{request.method} {request.path}" for request in self.loopback.requests if request.method != "GET"]


@pytest.fixture
def cluster(loopback: Loopback) -> Cluster:
    return Cluster(loopback)


@pytest.fixture
def run(cluster: Cluster, run_module: RunModule) -> RunModule:
    """By the token of a person; no API server can be reached."""

    def run(check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        common = {
            "source": "maas_api",
            "maas_api_url": cluster.loopback.url,
            "maas_api_token": CALLER,
            "host": "http://127.0.0.1:1",
            "api_key": "a-key",
        }
        result = run_module("gateway_token", given({**common, **options}), check_mode=check_mode)
        assert CALLER not in json.dumps(result)
        return result

    return run


@pytest.fixture
def run_user(cluster: Cluster, run_module: RunModule) -> RunModule:
    """By the ServiceAccount of a user."""
    pytest.importorskip("kubernetes")

    def run(check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        url = cluster.loopback.url
        user = {"gateway": "maas-default-gateway", "user": "jane", "tier": "free"}
        common = {"source": "maas_api", "maas_api_url": url, "host": url, "api_key": "a-key", **user}
        result = run_module("gateway_token", given({**common, **options}), check_mode=check_mode)
        assert OWN_TOKEN not in json.dumps(result)
        return result

    return run


def test_present(cluster: Cluster, run: RunModule) -> None:
    result = run(expiration="1h30m")
    assert not result["changed"]
    assert result["token"] == minted("kube:admin", 5400)
    assert (result["namespace"], result["service_account"]) == (NAMESPACE, "kube-admin-81378af5")
    assert (result["expiration"], result["issued_at"], result["expires_at"]) == (
        5400,
        "1970-01-12T13:46:40Z",
        "1970-01-12T15:16:40Z",
    )
    assert (result["audiences"], result["jti"]) == (["maas-default-gateway-sa"], "an-id")
    (request,) = cluster.loopback.requests
    assert (request.method, request.path, request.body) == ("POST", TOKENS, {"expiration": "5400s"})
    assert request.headers["authorization"] == f"Bearer {CALLER}"


def test_absent(cluster: Cluster, run: RunModule) -> None:
    assert run(state="absent")["changed"]
    (request,) = cluster.loopback.requests
    assert (request.method, request.path, request.body) == ("DELETE", TOKENS, None)
    assert request.headers["authorization"] == f"Bearer {CALLER}"


def test_check_mode_sends_nothing(cluster: Cluster, run: RunModule) -> None:
    present = run(check_mode=True)
    assert not present["changed"]
    assert "token" not in present
    assert run(check_mode=True, state="absent")["changed"]
    assert cluster.loopback.requests == []


@pytest.mark.parametrize(
    ("suffix", "path"),
    [("", TOKENS), ("/", TOKENS), ("/inner", f"/inner{TOKENS}"), ("/v1/tokens", "/v1/tokens"), (f"{TOKENS}/", TOKENS)],
)
def test_addresses(cluster: Cluster, run: RunModule, suffix: str, path: str) -> None:
    assert "token" in run(maas_api_url=cluster.loopback.url + suffix)
    assert cluster.loopback.requests[0].path == path


def test_a_token_from_a_file_ends_in_a_line_break(cluster: Cluster, run: RunModule) -> None:
    assert "token" in run(maas_api_token=f"{CALLER}\n")


def test_a_capped_lifetime_is_said(cluster: Cluster, run: RunModule) -> None:
    cluster.reply = Reply(201, {"token": minted("kube:admin", 3600)})
    result = run(expiration="4h")
    assert result["expiration"] == 3600
    assert "for 3600 s instead of 14400 s" in json.dumps(result["warnings"])


NO_IDENTITY = {"error": "Exception thrown while generating token", "exceptionCode": "AUTH_FAILURE"}
HTML = {"Content-Type": "text/html"}


@pytest.mark.parametrize(
    ("reply", "messages"),
    [
        (
            Reply(400, {"error": "token expiration must be at least 10 minutes", "provided_expiration": "9m0s"}),
            ["status 400: maas-api takes 9m0s for too short; give a longer expiration", "at least 10 minutes"],
        ),
        (
            Reply(400, {"error": "invalid duration"}),
            ["status 400: maas-api does not understand the request", "invalid duration"],
        ),
        (
            Reply(401, b"", {"X-Ext-Auth-Reason": "Not authenticated"}),
            [
                "status 401: the gateway does not accept the caller's token",
                "maas_api_token",
                "maas_api_audience",
                "empty; the policy says: Not authenticated",
            ],
        ),
        (
            Reply(403, {}),
            [
                "status 403: the gateway's policy does not let the caller mint tokens; see the AuthPolicy "
                "maas-api-auth-policy"
            ],
        ),
        (
            Reply(404, b"404 page not found"),
            [
                "status 404: nothing mints tokens at http://127.0.0.1:",
                TOKENS,
                "API keys instead of tokens",
                "maas-api-route",
            ],
        ),
        (Reply(429, b""), ["status 429: too many requests"]),
        (Reply(418, b""), ["status 418: check that maas_api_url is the address of a MaaS gateway. The answer: empty"]),
        (
            Reply(500, {**NO_IDENTITY, "refId": "001"}),
            [
                "status 500: ",
                "without the user's name (X-MaaS-Username)",
                "AuthPolicy of maas-api-route is not enforced",
            ],
        ),
        (
            Reply(500, {**NO_IDENTITY, "refId": "002"}),
            ["without the user's groups (X-MaaS-Group)", "wait for its condition Enforced"],
        ),
        (
            Reply(500, {**NO_IDENTITY, "refId": "003"}),
            ["without groups it can read (X-MaaS-Group)", "restart Kuadrant's operator"],
        ),
        (Reply(500, {**NO_IDENTITY, "refId": "004"}), ["without the identity of the user"]),
        (
            Reply(500, {"error": "Failed to generate token"}),
            ["maas-api cannot mint a token; no tier matches the groups of the user", "tier-to-group-mapping"],
        ),
        (Reply(500, ["odd"]), ["status 500: see the logs of Deployment maas-api and of the gateway's proxy"]),
        (
            Reply(503, b"no healthy upstream"),
            [
                "status 503: see the logs of Deployment maas-api and of the gateway's proxy. The answer: no healthy "
                "upstream"
            ],
        ),
        (Reply(502, b"<html>Bad gateway</html>", HTML), ["status 502: see the logs", "<html>Bad gateway</html>"]),
        (
            Reply(200, b"<html>Log in</html>", HTML),
            ["status 200: the answer, of text/html, is not maas-api's; check that http://127.0.0.1:"],
        ),
        (Reply(200, {"token": "another"}), ["status 200: the answer, of application/json, is not maas-api's"]),
        (Reply(201, {"key": "sk-a-key"}), ["status 201: the answer, of application/json, is not maas-api's"]),
        (
            Reply(302, b"", {"Location": "https://user:word@login.example.com/start?state=secret#part"}),
            [
                "status 302: ",
                "redirects to https://login.example.com/start, and the token is not taken there; give the gateway's "
                "own address with maas_api_url",
            ],
        ),
        (Reply(307, b""), ["redirects to nowhere"]),
        (Reply(201, {"token": "sk-oai-a-key"}), ["the answer holds no JSON Web Token"]),
        (Reply(201, {"token": "e30.e30.c2ln"}), ["the answer holds a token without the claims iat and exp"]),
    ],
)
def test_answers_that_mint_nothing(cluster: Cluster, run: RunModule, reply: Reply, messages: list[str]) -> None:
    cluster.reply = reply
    result = run()
    assert result["failed"]
    assert "token" not in result
    for message in messages:
        assert message in result["msg"]
    assert not any(secret in result["msg"] for secret in ("sk-", "state=secret", "word@", "Log in", "another"))
    assert result.get("status", reply.status) == reply.status


@pytest.mark.parametrize(
    "reply",
    [Reply(200, b"<html>", HTML), Reply(404, b""), Reply(500, {"error": "Failed to revoke tokens"}), Reply(401, b"")],
)
def test_answers_that_revoke_nothing(cluster: Cluster, run: RunModule, reply: Reply) -> None:
    cluster.reply = reply
    result = run(state="absent")
    assert result["failed"]
    assert f"status {reply.status}: " in result["msg"]
    assert result["status"] == reply.status


def test_what_echoes_the_token_does_not_show_it(cluster: Cluster, run: RunModule) -> None:
    cluster.reply = Reply(403, f"token {CALLER} refused".encode(), {"X-Ext-Auth-Reason": f"{CALLER} is unknown"})
    # The fixture looks for the token itself. Ansible would put stars in its place; here it never came so far.
    message = run()["msg"]
    assert "token (the token) refused; the policy says: (the token) is unknown" in message


def test_no_gateway(run: RunModule, loopback: Loopback) -> None:
    loopback.close()
    result = run()
    assert "refused; check that the gateway is programmed" in result["msg"]
    assert "status" not in result


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maas_api_url": None}, "source is maas_api but all of the following are missing: maas_api_url"),
        ({"maas_api_url": ""}, "maas_api_url: '' is not an absolute URL"),
        ({"maas_api_url": "maas.example.com"}, "maas_api_url: 'maas.example.com' is not an absolute URL"),
        (
            {"maas_api_url": "https://a:b@maas.example.com"},
            "it may hold no credentials, query or fragment; give the token with option maas_api_token",
        ),
        ({"maas_api_ca_path": "/nowhere/timeout.pem"}, "maas_api_ca_path: there is no file /nowhere/timeout.pem"),
        ({"maas_api_timeout": 0}, "maas_api_timeout: give at least 1 second"),
        ({"maas_api_token": ""}, "maas_api_token: it is empty; give a token, or leave the option out"),
        ({"maas_api_token": "two\nlines"}, "the token holds line breaks"),
        ({"expiration": "9m"}, "expiration: '9m' is too short"),
        ({"audiences": ["other"]}, "audiences: maas-api itself says whom its tokens are for; leave the option out"),
        ({"user": "jane"}, "parameters are mutually exclusive: maas_api_token|user"),
        ({"tier": "free"}, "missing parameter(s) required by 'tier': user"),
        (
            {"maas_api_token": None, "user": "jane"},
            "user: give tier or namespace too, which says where the user's ServiceAccount is",
        ),
    ],
)
def test_wrong_options(cluster: Cluster, run: RunModule, options: dict[str, t.Any], message: str) -> None:
    result = run(**options)
    assert result["failed"]
    assert message in result["msg"]
    assert cluster.loopback.requests == []


def test_the_token_of_the_credentials_in_use(cluster: Cluster, run: RunModule, tmp_path: Path) -> None:
    pytest.importorskip("kubernetes")
    cluster.users["a-key"] = "someone"
    assert run(maas_api_token=None)["token"] == minted("someone", 14400)
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e30", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "e30", "user": {"token": CALLER}}],
        "contexts": [{"name": "e30", "context": {"cluster": "e30", "user": "e30"}}],
        "current-context": "e30",
    }
    # Inline, its strings must not be hidden within the token, which begins with one of them. As a file, it holds
    # the same.
    assert run(maas_api_token=None, host=None, api_key=None, kubeconfig=kubeconfig)["token"] == minted(
        "kube:admin", 14400
    )
    (tmp_path / "config").write_text(json.dumps(kubeconfig))
    assert run(maas_api_token=None, host=None, api_key=None, kubeconfig=str(tmp_path / "config"))["token"] == minted(
        "kube:admin", 14400
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"api_key": None, "username": "jane", "password": "a-password"},
            "the credentials in use for the cluster hold no token, but a certificate or a password",
        ),
        ({"impersonate_user": "jane"}, "maas-api knows no impersonation; give the caller's token with maas_api_token"),
        (
            {"host": None, "api_key": None, "kubeconfig": "/nowhere/config"},
            "cannot read the credentials for the cluster",
        ),
    ],
)
def test_no_token_in_use(cluster: Cluster, run: RunModule, options: dict[str, t.Any], message: str) -> None:
    pytest.importorskip("kubernetes")
    # Reported in check mode already.
    result = run(check_mode=True, maas_api_token=None, **options)
    assert result["failed"]
    assert message in result["msg"]
    assert "`oc whoami -t`" in result["msg"]
    assert cluster.loopback.requests == []


def test_user(cluster: Cluster, run_user: RunModule) -> None:
    first = run_user(expiration="1h")
    assert first["changed"]
    assert first["token"] == minted(OWN_USER, 3600)
    assert (first["namespace"], first["service_account"]) == (NAMESPACE, service_account_name(OWN_USER))
    assert first["audiences"] == ["maas-default-gateway-sa"]
    assert cluster.sent == [f"POST {ACCOUNTS}", f"POST {ACCOUNTS}/{NAME}/token", f"POST {TOKENS}"]
    request = next(request for request in cluster.loopback.requests if request.path.endswith("/token"))
    assert request.body["spec"] == {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 600}
    assert not run_user()["changed"]


def test_user_with_another_audience(cluster: Cluster, run_user: RunModule) -> None:
    audience = "https://oidc.example.com/id"
    result = run_user(maas_api_audience=audience)
    assert "status 401" in result["msg"]
    cluster.users[jwt(f"{NAMESPACE}:{NAME}", audience, 600)] = OWN_USER
    assert "token" in run_user(maas_api_audience=audience)


def test_user_in_check_mode(cluster: Cluster, run_user: RunModule) -> None:
    result = run_user(check_mode=True)
    assert result["changed"]
    assert not {"token", "audiences", "namespace", "service_account"} & result.keys()
    assert not run_user(check_mode=True, state="absent")["changed"]
    cluster.accounts.add(NAME)
    assert not run_user(check_mode=True)["changed"]
    assert run_user(check_mode=True, state="absent")["changed"]
    assert cluster.sent == []


def test_user_of_a_tier_without_a_namespace(cluster: Cluster, run_user: RunModule) -> None:
    assert "tier 'gold' has no namespace maas-default-gateway-tier-gold" in run_user(tier="gold")["msg"]
    assert cluster.sent == []


def test_user_whom_maas_api_counts_to_another_tier(cluster: Cluster, run_user: RunModule) -> None:
    cluster.namespace = "maas-default-gateway-tier-premium"
    result = run_user()
    assert "minted a token of namespace maas-default-gateway-tier-premium for ServiceAccount" in result["msg"]
    assert "other than 'free'; see the groups and levels in ConfigMap tier-to-group-mapping" in result["msg"]
    assert "token" not in result
    # Of a namespace that is no tier's, any will do.
    assert run_user(tier=None, namespace=NAMESPACE)["namespace"] == "maas-default-gateway-tier-premium"


def test_user_is_revoked(cluster: Cluster, run_user: RunModule) -> None:
    run_user()
    cluster.loopback.requests.clear()
    assert run_user(state="absent")["changed"]
    other = service_account_name(OWN_USER)
    assert cluster.sent == [
        f"POST {ACCOUNTS}/{NAME}/token",
        f"DELETE {TOKENS}",
        f"DELETE {ACCOUNTS}/{other}",
        f"DELETE {ACCOUNTS}/{NAME}",
    ]
    assert cluster.accounts == set()
    assert not run_user(state="absent")["changed"]


def test_tokens_are_revoked_of_a_user_whose_service_account_is_gone(cluster: Cluster, run_user: RunModule) -> None:
    run_user()
    cluster.accounts.remove(NAME)
    cluster.loopback.requests.clear()
    assert run_user(state="absent")["changed"]
    assert f"DELETE {TOKENS}" in cluster.sent
    assert cluster.accounts == set()


def test_nothing_is_removed_where_maas_api_revokes_nothing(cluster: Cluster, run_user: RunModule) -> None:
    run_user()
    before = set(cluster.accounts)
    cluster.reply = Reply(503, b"")
    assert run_user(state="absent")["failed"]
    assert cluster.accounts == before
