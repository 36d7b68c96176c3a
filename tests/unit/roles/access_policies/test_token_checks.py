# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which check a credential passes, and who calls, in a real Envoy with the programs and the patches of the role."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
import typing as t
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.identity import digest
from envoys import Envoy, certificates, envoy_program
from proxies import KEY, VARIABLES, identity_key
from rendering import documents, rendered
from token_issuers import Key, KeyServer, claims, encoded, unsigned

CLUSTER = "https://kubernetes.default.svc.cluster.local"
COMPANY = "https://provider.example/realms/company"
PARTNER = "https://provider.example/realms/partner"
AUDIENCE = "ai-gateway-sa"
TYPES = "type.googleapis.com/envoy.extensions.filters.http."
HTTP_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


class Authorino(ThreadingHTTPServer):
    """Accepts one token, as Authorino does after a review, and sets the headers of the caller."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked = 0
        super().__init__(("127.0.0.1", 0), _AuthorinoHandler)
        self.port = self.server_address[1]


class _AuthorinoHandler(BaseHTTPRequestHandler):
    server: Authorino
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.asked += 1
        accepted = self.headers.get("Authorization") == "Bearer reviewed"
        self.send_response(200 if accepted else 401)
        if accepted:
            self.send_header("x-maas-user", "alice")
            self.send_header("x-maas-tier", "free")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002 (the name is the base class's)
        pass


class Provider(ThreadingHTTPServer):
    """Remembers the headers of its requests."""

    daemon_threads = True

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), _ProviderHandler)
        self.port = self.server_address[1]


class _ProviderHandler(BaseHTTPRequestHandler):
    server: Provider
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append({name.lower(): value for name, value in self.headers.items()})
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        content = json.dumps({"object": "chat.completion", "choices": [], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002 (the name is the base class's)
        pass


def variables(bundle: str, check: str) -> dict[str, t.Any]:
    uri = "https://provider.example/openid/v1/jwks"
    accounts: dict[str, t.Any] = {"kind": "service_account", "check": check}
    if check == "signature":
        accounts |= {"issuer": CLUSTER, "maximum_lifetime": 900, "jwks_uri": uri, "ca_bundle": bundle}
    issuer = {"kind": "oidc", "audiences": ["models", "chat"], "ca_bundle": bundle}
    free, narrow = VARIABLES["ai_gateway_tiers"]
    return {
        **VARIABLES,
        "ai_gateway_callers": [
            accounts,
            {**issuer, "name": "company", "issuer": COMPANY, "jwks_uri": "https://provider.example/company"},
            {
                **issuer,
                "name": "partner",
                "issuer": PARTNER,
                "jwks_uri": "https://provider.example/partner",
                "claims": {"user": "email", "groups": "realm_access.roles"},
            },
        ],
        "ai_gateway_tiers": [{**free, "groups": ["all", "system:masters"]}, narrow],
        "access_policies_keys_refresh_seconds": 1,
    }


def patched(listener: dict[str, t.Any], clusters: list[t.Any], patches: list[t.Any]) -> None:
    """What Envoy Gateway makes of the patches."""
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    filters = manager["http_filters"]
    for patch in patches:
        operation = patch["operation"]
        if patch["type"].endswith(".Cluster"):
            clusters.append(operation["value"])
            continue
        path, at = operation["jsonPath"], operation.get("path", "")
        named = re.search(r"http_filters\[\?\(@\.name=='([^']+)'\)\](.*)", path)
        if named:
            (index,) = (place for place, found in enumerate(filters) if found["name"] == named[1])
            if named[2]:
                filters[index][named[2].strip(".")][at.strip("/")] = operation["value"]
            else:
                filters.insert(index, operation["value"])
        elif path == "$..http_filters":
            filters.insert(int(at.strip("/")), operation["value"])
        else:
            manager[at.strip("/")] = operation["value"]


class Site:
    """What the role renders for each way of checking ServiceAccounts, and the certificate of who has the keys."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.context, bundle, _certificate, _key = certificates(directory)
        self.bundle = bundle.decode()
        self._rendered: dict[str, tuple[str, list[t.Any]]] = {}

    def rendered(self, check: str) -> tuple[str, list[t.Any]]:
        if check not in self._rendered:
            given, found = variables(self.bundle, check), []
            for template in ("authorino.yaml.j2", "caller_patches.yaml.j2"):
                directory = self.directory / f"{check}-{template}"
                directory.mkdir()
                found.append(rendered(directory, "access_policies", template, given))
            text = found[0].replace("/run/ai-gateway/key", str(identity_key(self.directory)))
            self._rendered[check] = text, yaml.load(found[1], yaml.CSafeLoader)
        return self._rendered[check]


class Gateway:
    """The proxies with what is around them."""

    def __init__(
        self, directory: Path, program: Path, site: Site, check: str, patches: bool = True, keys: bool = True
    ) -> None:
        self.context = site.context
        self.keys = KeyServer(self.context)
        self.key = Key("first")
        self.keys.keys = [self.key]
        if not keys:
            self.keys.stop()
        self.authorino, self.upstream = Authorino(), Provider()
        for server in (self.authorino, self.upstream):
            _start(server)
        text, added = site.rendered(check)
        bootstrap, self.port = self._bootstrap(text, added if patches else [])
        self.envoy = Envoy(program, directory, bootstrap, self.port)
        for _attempt in range(200):
            if self.envoy.ask("/ready")[0]:
                self.authorino.asked = 0
                return
            assert self.envoy.process.poll() is None, self.envoy.log
            time.sleep(0.05)
        raise AssertionError(self.envoy.log)

    def _bootstrap(self, text: str, added: list[t.Any]) -> tuple[dict[str, t.Any], int]:
        objects = {found["kind"]: found["spec"] for found in documents(text) if "spec" in found}
        extension = objects["EnvoyExtensionPolicy"]["lua"][0]["inline"]
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        reviewer = {
            "http_service": {
                "server_uri": {"uri": "http://authorino", "cluster": "authorino", "timeout": "5s"},
                "authorization_response": {"allowed_upstream_headers": {"patterns": [{"prefix": "x-maas-"}]}},
            },
            "failure_mode_allow": False,
        }
        filters = [
            ("envoy.filters.http.ext_authz/securitypolicy/ai-gateway/ai-gateway", "ext_authz.v3.ExtAuthz", reviewer),
            ("envoy.filters.http.lua/body", "lua.v3.Lua", {"default_source_code": {"inline_string": extension}}),
            ("envoy.filters.http.router", "router.v3.Router", {}),
        ]
        manager = {
            "@type": HTTP_MANAGER,
            "stat_prefix": "gateway",
            # As the ClientTrafficPolicy of role gateway has it.
            "early_header_mutation_extensions": [
                {
                    "name": "early",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.http.early_header_mutation"
                        ".header_mutation.v3.HeaderMutation",
                        "mutations": [
                            {"remove": name} for name in ("x-maas-user", "x-maas-tier", "x-ai-gateway-token")
                        ],
                    },
                }
            ],
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
                    }
                ]
            },
            "http_filters": [
                {"name": name, "typed_config": {"@type": TYPES + kind, **config}} for name, kind, config in filters
            ],
        }
        network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        listener = {
            "name": "tcp-80",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [network]}],
        }
        clusters: list[t.Any] = [_cluster("authorino", self.authorino.port), _cluster("upstream", self.upstream.port)]
        patched(listener, clusters, [*objects["EnvoyPatchPolicy"]["jsonPatches"], *added])
        for cluster in clusters:
            if cluster["name"].startswith("egress.ai_gateway.keys."):
                # The name is verified, wherever it leads.
                cluster["load_assignment"] = _cluster(cluster["name"], self.keys.port)["load_assignment"]
        return {"static_resources": {"listeners": [listener], "clusters": clusters}}, port

    def ask(self, token: str | None = None, **headers: str) -> tuple[int, t.Any]:
        """Status, and the error or the headers that the provider got."""
        sent = {"Host": "clients.example", "Content-Type": "application/json"}
        sent |= {"Authorization": f"Bearer {token}"} if token is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("POST", "/v1/chat/completions", json.dumps({"model": "gpt-4", "messages": []}), sent)
        response = connection.getresponse()
        content = response.read().decode()
        connection.close()
        if response.status == 200:
            return 200, self.upstream.requests[-1]
        assert response.getheader("content-type") == "application/json", content
        return response.status, json.loads(content)["error"] if content else content

    def account(self, name: str = "alice", tier: str = "free", **more: t.Any) -> str:
        subject = f"system:serviceaccount:ai-gateway-tier-{tier}:{name}"
        return self.key.sign(claims(CLUSTER, subject, more.pop("audience", AUDIENCE), **more))

    def user(self, name: str = "alice", groups: t.Any = ("all",), **more: t.Any) -> str:
        return self.key.sign(claims(COMPANY, name, more.pop("audience", "models"), groups=groups, **more))

    def stop(self) -> None:
        self.envoy.stop()
        for server in (self.authorino, self.upstream):
            server.shutdown()
            server.server_close()
        self.keys.stop()


def _start(server: ThreadingHTTPServer) -> None:
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()


def _cluster(name: str, port: int) -> dict[str, t.Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": name,
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return envoy_program(tmp_path_factory.mktemp("envoy"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def signature(tmp_path_factory: pytest.TempPathFactory, program: Path, site: Site) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("signature"), program, site, "signature")
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def review(tmp_path_factory: pytest.TempPathFactory, program: Path, site: Site) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("review"), program, site, "review")
    yield gateway
    gateway.stop()


def hidden(tier: str, user: str) -> tuple[str, str]:
    """What limits count by."""
    return digest(KEY, tier, user), digest(KEY, tier)


def caller(seen: dict[str, str]) -> tuple[str, str]:
    return seen["x-ai-gateway-user"], seen["x-ai-gateway-tier"]


def test_a_service_account_has_one_identity_in_both_modes(signature: Gateway, review: Gateway) -> None:
    status, seen = signature.ask(signature.account())
    assert (status, caller(seen)) == (200, hidden("free", "alice"))
    assert signature.authorino.asked == 0
    assert {"authorization", "x-ai-gateway-token", "x-maas-user"}.isdisjoint(seen)
    status, seen = review.ask("reviewed")
    assert (status, caller(seen), review.authorino.asked) == (200, hidden("free", "alice"), 1)


def test_a_user_of_an_issuer_is_nobody_else_of_that_name(review: Gateway) -> None:
    asked = review.authorino.asked
    status, seen = review.ask(review.user())
    assert (status, caller(seen)) == (200, hidden("free", "oidc:company:alice"))
    token = review.key.sign(claims(PARTNER, "x", "chat", email="alice", realm_access={"roles": ["all"]}))
    status, seen = review.ask(x_api_key=token)
    assert (status, caller(seen)) == (200, hidden("free", "oidc:partner:alice"))
    assert review.authorino.asked == asked


def test_the_highest_tier_of_the_groups_counts_and_no_reserved_one(review: Gateway) -> None:
    status, seen = review.ask(review.user(groups=["all", "few", "others"]))
    assert (status, caller(seen)) == (200, hidden("narrow", "oidc:company:alice"))
    for groups in (["others"], [], None, {"all": True}, ["system:masters"], 7):
        status, error = review.ask(review.user(groups=groups))
        assert (status, error["code"]) == (403, "no_tier"), groups
    assert review.ask(review.user(groups="all"))[0] == 200


@pytest.mark.parametrize("subject", ["", "a" * 254])
def test_a_token_has_to_name_its_user(review: Gateway, subject: str) -> None:
    status, error = review.ask(review.user(subject))
    assert (status, error["code"], "claim sub" in error["message"]) == (401, "invalid_api_key", True)


def test_tokens_that_are_not_valid_are_refused_with_their_reason(signature: Gateway) -> None:
    asked = signature.authorino.asked
    other = Key("first")
    good = claims(COMPANY, "alice", "models", groups=["all"])
    cases = {
        "expired": signature.user(offset=-700),
        "not valid yet": signature.user(offset=70),
        "another audience": signature.user(audience="elsewhere"),
        "signature": other.sign(good),
    }
    cases |= {
        f"signature {index}": token
        for index, token in enumerate(
            (
                Key("unknown").sign(good),
                unsigned(good),
                signature.key.confused(good),
                signature.key.sign(good, alg="none"),
                signature.key.sign(good)[:-8] + "AAAAAAAA",
                encoded({"alg": "RS256"}) + "." + encoded({**good, "sub": "bob"}) + "." + encoded(b"x" * 256),
            )
        )
    }
    for reason, token in cases.items():
        status, error = signature.ask(token)
        assert (status, error["code"]) == (401, "invalid_api_key"), (reason, error)
        assert (
            reason.split(" ")[0] in error["message"] if reason.startswith("signature") else reason in error["message"]
        )
    # A valid token of the one issuer is none of the other's.
    assert signature.ask(signature.account(audience="models"))[0] == 401
    assert signature.authorino.asked == asked


@pytest.mark.parametrize("offset", [-60, 60])
def test_a_clock_may_be_a_minute_off(signature: Gateway, offset: int) -> None:
    assert signature.ask(signature.account(offset=offset))[0] == 200
    assert signature.ask(signature.user(offset=offset))[0] == 200


def test_a_token_without_an_end_is_refused(signature: Gateway) -> None:
    claimed = claims(COMPANY, "alice", "models", groups=["all"])
    del claimed["exp"]
    assert signature.ask(signature.key.sign(claimed))[0] == 401


def test_a_service_account_token_is_not_valid_for_longer_than_the_maximum(signature: Gateway) -> None:
    assert signature.ask(signature.account(lifetime=900))[0] == 200
    status, error = signature.ask(signature.account(lifetime=901))
    assert (status, error["code"]) == (401, "token_lifetime")
    assert "901 seconds" in error["message"]
    assert "900 at most" in error["message"]
    # That of people is the issuer's to say.
    assert signature.ask(signature.user(lifetime=86400))[0] == 200


def test_a_service_account_of_no_tier_is_refused(signature: Gateway) -> None:
    status, error = signature.ask(signature.account(tier="other"))
    assert (status, error["code"]) == (403, "no_tier")
    token = signature.key.sign(claims(CLUSTER, "system:node:a", AUDIENCE))
    assert signature.ask(token)[1]["code"] == "no_tier"


def test_no_header_says_who_calls(signature: Gateway, review: Gateway) -> None:
    forged = {
        "x_maas_user": "root",
        "x_maas_tier": "narrow",
        "x_ai_gateway_user": "root",
        "x_ai_gateway_token": "signature " + unsigned(claims(CLUSTER, "x", AUDIENCE)),
    }
    assert caller(signature.ask(signature.account(), **forged)[1]) == hidden("free", "alice")
    assert caller(review.ask(review.user(), **forged)[1]) == hidden("free", "oidc:company:alice")
    assert signature.ask(**forged)[0] == 401
    # Not even a valid token, in the header that the check reads.
    assert review.ask(x_ai_gateway_token="oidc:company " + review.user())[0] == 401


def test_two_credentials_are_refused(signature: Gateway) -> None:
    status, error = signature.ask(signature.user(), x_api_key=signature.account())
    assert (status, error["code"]) == (400, "several_tokens")


@pytest.mark.parametrize("token", [None, "reviewed", "a.b.c", "sk-1234", "..", encoded({"iss": COMPANY})])
def test_without_review_what_no_check_accepts_is_refused_at_once(signature: Gateway, token: str | None) -> None:
    asked = signature.authorino.asked
    status, error = signature.ask(token)
    assert (status, error["code"]) == (401, "invalid_api_key")
    assert COMPANY in error["message"]
    assert PARTNER in error["message"]
    assert signature.authorino.asked == asked


def test_with_review_authorino_judges_the_others(review: Gateway) -> None:
    asked = review.authorino.asked
    assert review.ask("other")[0] == 401
    assert review.ask(review.account())[0] == 401
    assert review.authorino.asked == asked + 2


def test_rotated_keys_are_taken_up(signature: Gateway) -> None:
    first, second = signature.key, Key("second")
    try:
        signature.keys.keys = [first, second]
        time.sleep(2.5)
        # The new one is known before it is used.
        signature.key = second
        assert signature.ask(signature.account())[0] == 200
        signature.keys.keys = [second]
        time.sleep(2.5)
        signature.key = first
        assert signature.ask(signature.account())[1]["code"] == "invalid_api_key"
    finally:
        signature.key, signature.keys.keys = first, [first]
        time.sleep(2.5)


def test_keys_are_kept_while_their_server_is_down(signature: Gateway) -> None:
    port = signature.keys.port
    signature.keys.stop()
    try:
        time.sleep(3)
        assert signature.ask(signature.account())[0] == 200
        assert signature.ask(signature.user())[0] == 200
    finally:
        signature.keys = KeyServer(signature.context, port)
        signature.keys.keys = [signature.key]


def test_a_gateway_that_starts_without_keys_gets_them_later(tmp_path: Path, program: Path, site: Site) -> None:
    gateway = Gateway(tmp_path, program, site, "signature", keys=False)
    try:
        status, error = gateway.ask(gateway.account())
        assert (status, error["code"]) == (503, "authorization_unavailable")
        gateway.keys = KeyServer(gateway.context, gateway.keys.port)
        gateway.keys.keys = [gateway.key]
        deadline = time.monotonic() + 20
        while (status := gateway.ask(gateway.account())[0]) == 503:
            assert time.monotonic() < deadline, gateway.envoy.log
            time.sleep(0.2)
        assert status == 200
    finally:
        gateway.stop()


def test_without_the_patches_authorino_is_asked_or_the_request_refused(
    tmp_path: Path, program: Path, site: Site
) -> None:
    gateway = Gateway(tmp_path, program, site, "signature", patches=False)
    try:
        status, seen = gateway.ask("reviewed")
        assert (status, caller(seen)) == (200, hidden("free", "alice"))
        assert gateway.ask(gateway.account())[0] == 401
        status, error = gateway.ask(gateway.user())
        assert (status, error["code"]) == (503, "authorization_unavailable")
        assert gateway.authorino.asked == 2
    finally:
        gateway.stop()
