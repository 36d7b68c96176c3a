# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stand-in for maas-api, in front of an API server on the loopback interface."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
import threading
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils import _tokens as tokens
from maas_api_cluster import CREATED_SECONDS, GATEWAY_API, KSERVE, Cluster, ask

FAKE = Path(__file__).resolve().parents[2] / "fakes/maas_api"
# The program's modules import each other by their names, as in their pod.
sys.path.insert(0, str(FAKE))
maas_api, maas_kubernetes, maas_models, maas_tokens, maas_yaml = map(
    importlib.import_module, ("maas_api", "maas_kubernetes", "maas_models", "maas_tokens", "maas_yaml")
)

INSTANCE = "maas-default-gateway"
TIERS = """\
- name: free
  displayName: Free Tier
  level: 0
  groups:
    - tier-free-users
    - system:authenticated
- name: premium
  level: 1
  groups: [tier-premium-users]
- name: enterprise
  displayName: Enterprise Tier
  level: 2
  groups: [tier-enterprise-users]
"""
REGISTRY = """\
- id: gpt-4
  provider: openai
  backend: openai-backend
- id: "Qwen/Qwen3-0.6B"
  provider: 'vllm'
"""
ACCOUNTS = f"/api/v1/namespaces/{INSTANCE}-tier-free/serviceaccounts"
JANE = "jane@example.com"
USER = {"X-MaaS-Username": JANE, "X-MaaS-Group": '["system:authenticated"]', "Authorization": "Bearer anything"}


class Running:
    """The program's server in this process."""

    def __init__(self, cluster: Cluster, external: bool = False) -> None:
        api = maas_kubernetes.Api(cluster.url, None)
        gateway = maas_models.Gateway("openshift-ingress", INSTANCE)
        self.service = maas_api.Service.of(api, INSTANCE, "opendatahub", gateway, external)
        self.server = maas_api.Server(("127.0.0.1", 0), self.service)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def ask(self, method: str, path: str, body: t.Any = None, **headers: str) -> tuple[int, t.Any]:
        return ask(
            self.server.server_port,
            method,
            path,
            body,
            {**USER, **{name.replace("_", "-"): value for name, value in headers.items()}},
        )

    def models(self) -> list[dict[str, t.Any]]:
        status, answer = self.ask("GET", "/v1/models")
        assert (status, answer["object"]) == (200, "list")
        return t.cast("list[dict[str, t.Any]]", answer["data"])

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    running = Cluster()
    running.config_map("tier-to-group-mapping", tiers=TIERS)
    yield running
    running.stop()


@pytest.fixture
def maas(cluster: Cluster) -> Iterator[Running]:
    running = Running(cluster)
    yield running
    running.close()


@pytest.fixture
def patched(cluster: Cluster) -> Iterator[Running]:
    """With the registry of external models."""
    running = Running(cluster, external=True)
    yield running
    running.close()


# Tokens


def test_a_token_is_one_of_the_api_servers(maas: Running, cluster: Cluster) -> None:
    status, answer = maas.ask("POST", "/v1/tokens", {"expiration": "10m"})
    assert status == 201
    assert sorted(answer) == ["expiration", "expiresAt", "issuedAt", "jti", "token"]
    claims = tokens.claims_of(answer["token"])
    account = tokens.service_account_name(JANE)
    assert claims["sub"] == f"system:serviceaccount:{INSTANCE}-tier-free:{account}"
    assert claims["aud"] == [f"{INSTANCE}-sa"]
    assert (answer["expiration"], answer["expiresAt"], answer["issuedAt"], answer["jti"]) == (
        "10m0s",
        claims["exp"],
        claims["iat"],
        claims["jti"],
    )
    assert answer["expiresAt"] - answer["issuedAt"] == 600
    namespace = cluster.objects[f"/api/v1/namespaces/{INSTANCE}-tier-free"]
    labels = {"maas.opendatahub.io/instance": INSTANCE, "maas.opendatahub.io/tier": "free"}
    assert namespace["metadata"]["labels"] == {**labels, "maas.opendatahub.io/tier-namespace": "true"}
    assert cluster.objects[f"{ACCOUNTS}/{account}"]["metadata"]["labels"] == labels


@pytest.mark.parametrize(
    ("body", "seconds", "expiration"),
    [
        (None, 14400, "4h0m0s"),
        ("  ", 14400, "4h0m0s"),
        ({}, 14400, "4h0m0s"),
        ({"expiration": None, "name": "for tests"}, 14400, "4h0m0s"),
        ({"expiration": 3600}, 3600, "1h0m0s"),
        ({"expiration": 1234.5}, 1234, "20m34.5s"),
        ({"expiration": "1h30m"}, 5400, "1h30m0s"),
        ({"expiration": "1.5h"}, 5400, "1h30m0s"),
        ({"expiration": "600s"}, 600, "10m0s"),
        ({"expiration": "30d"}, 2592000, "720h0m0s"),
    ],
)
def test_how_long_a_token_lives(maas: Running, cluster: Cluster, body: t.Any, seconds: int, expiration: str) -> None:
    status, answer = maas.ask("POST", "/v1/tokens", body)
    assert (status, answer["expiration"]) == (201, expiration)
    assert cluster.token_requests[0]["spec"]["expirationSeconds"] == seconds


@pytest.mark.parametrize(
    ("expiration", "provided"),
    [("5m", "5m0s"), (599.5, "9m59.5s"), ("9m59s", "9m59s"), ("1500ms", "1.5s"), ("1ms", "1ms"), (1, "1s")],
)
def test_no_token_for_less_than_ten_minutes(maas: Running, cluster: Cluster, expiration: t.Any, provided: str) -> None:
    status, answer = maas.ask("POST", "/v1/tokens", {"expiration": expiration})
    assert (status, answer["provided_expiration"]) == (400, provided)
    assert "at least 10 minutes" in answer["error"]
    assert cluster.requests == []


@pytest.mark.parametrize(
    "body",
    [{"expiration": text} for text in ("soon", "10", "10 m", True, [], 0, "", "-10m", -600)] + ["[1]", "{", '"10m"'],
)
def test_no_token_for_what_is_no_duration(maas: Running, cluster: Cluster, body: t.Any) -> None:
    status, answer = maas.ask("POST", "/v1/tokens", body)
    assert (status, list(answer)) == (400, ["error"])
    assert cluster.requests == []


def test_a_token_of_the_highest_tier(maas: Running, cluster: Cluster) -> None:
    maas.ask("POST", "/v1/tokens", X_MaaS_Group='["system:authenticated", " tier-enterprise-users "]')
    assert cluster.names("namespaces") == [f"/api/v1/namespaces/{INSTANCE}-tier-enterprise"]


@pytest.mark.parametrize(
    "tiers",
    [
        None,
        "- [",
        "- name: free",
        "name: free",
        "- level: 1\n  groups: [system:authenticated]",
        "- free",
        TIERS + TIERS,
    ],
)
def test_no_token_without_a_tier(
    maas: Running, cluster: Cluster, tiers: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if tiers is None:
        cluster.objects.clear()
    else:
        cluster.config_map("tier-to-group-mapping", tiers=tiers)
    assert maas.ask("POST", "/v1/tokens") == (500, {"error": "Failed to generate token"})
    assert maas.ask("DELETE", "/v1/tokens") == (500, {"error": "Failed to revoke tokens"})
    assert cluster.names("namespaces") == []
    assert "tier" in capsys.readouterr().err


def test_no_token_for_a_name_without_letters(maas: Running, cluster: Cluster) -> None:
    assert maas.ask("POST", "/v1/tokens", X_MaaS_Username="@@")[0] == 500
    assert cluster.names("serviceaccounts") == []


@pytest.mark.parametrize("method", ["POST"])
@pytest.mark.parametrize(
    "path", ["/api/v1/namespaces", ACCOUNTS, f"{ACCOUNTS}/{tokens.service_account_name(JANE)}/token"]
)
def test_what_the_api_server_refuses(
    maas: Running, cluster: Cluster, method: str, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.refusals[method, path] = 403
    assert maas.ask("POST", "/v1/tokens") == (500, {"error": "Failed to generate token"})
    assert "refused with 403" in capsys.readouterr().err


def test_who_makes_the_same_at_the_same_time_does_no_harm(maas: Running, cluster: Cluster) -> None:
    cluster.refusals["POST", "/api/v1/namespaces/"] = 409
    cluster.put(f"/api/v1/namespaces/{INSTANCE}-tier-free")
    account = tokens.service_account_name(JANE)
    maas.service.tokens._ensure_account(maas_tokens.Tier("free", "free", 0, frozenset()), account)
    assert f"POST {ACCOUNTS}" in cluster.requests


def test_tokens_are_revoked_by_a_new_account(maas: Running, cluster: Cluster) -> None:
    path = f"{ACCOUNTS}/{tokens.service_account_name(JANE)}"
    before = tokens.claims_of(maas.ask("POST", "/v1/tokens")[1]["token"])["uid"]
    assert maas.ask("DELETE", "/v1/tokens") == (204, "")
    assert cluster.objects[path]["metadata"]["uid"] != before
    assert f"DELETE {path}" in cluster.requests


def test_nothing_to_revoke(maas: Running, cluster: Cluster) -> None:
    assert maas.ask("DELETE", "/v1/tokens") == (204, "")
    assert cluster.names("serviceaccounts") == []


@pytest.mark.parametrize(
    "user", [JANE, "kube:admin", "system:serviceaccount:llm:x", "Ünï@Z", "a" * 100, "a" * 53 + "-----b"]
)
def test_accounts_are_named_as_the_collection_names_them(user: str) -> None:
    assert maas_tokens.service_account_name(user) == tokens.service_account_name(user)


# Who the caller is


@pytest.mark.parametrize(
    ("headers", "reference"),
    [
        ({"X_MaaS_Username": " "}, "001"),
        ({"X_MaaS_Username": "", "X_MaaS_Group": ""}, "001"),
        ({"X_MaaS_Group": ""}, "002"),
        ({"X_MaaS_Group": "[system:authenticated other]"}, "003"),
        ({"X_MaaS_Group": "[]"}, "003"),
        ({"X_MaaS_Group": '"system:authenticated"'}, "003"),
        ({"X_MaaS_Group": "[1]"}, "003"),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/tokens"), ("DELETE", "/v1/tokens"), ("GET", "/v1/models")])
def test_the_gateway_must_say_who_the_caller_is(
    maas: Running, method: str, path: str, headers: dict[str, str], reference: str
) -> None:
    body = {"error": "Exception thrown while generating token", "exceptionCode": "AUTH_FAILURE", "refId": reference}
    assert maas.ask(method, path, **headers) == (500, body)


# Tiers


@pytest.mark.parametrize(
    ("groups", "tier", "name"),
    [
        (["system:authenticated"], "free", "Free Tier"),
        (["tier-premium-users", "system:authenticated"], "premium", "premium"),
        ([f"system:serviceaccounts:{INSTANCE}-tier-enterprise"], "enterprise", "Enterprise Tier"),
    ],
)
def test_the_tier_of_groups(maas: Running, groups: list[str], tier: str, name: str) -> None:
    assert maas.ask("POST", "/v1/tiers/lookup", {"groups": groups}, X_MaaS_Username="") == (
        200,
        {"tier": tier, "displayName": name},
    )


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"groups": ["strangers"]}, 404, "not_found"),
        *(({"groups": groups}, 400, "bad_request") for groups in ([], "x", [1])),
        ("", 400, "bad_request"),
    ],
)
def test_no_tier_of_groups(maas: Running, body: t.Any, status: int, error: str) -> None:
    answered, answer = maas.ask("POST", "/v1/tiers/lookup", body)
    assert (answered, answer["error"], sorted(answer)) == (status, error, ["error", "message"])


def test_a_changed_mapping_counts_at_once(maas: Running, cluster: Cluster) -> None:
    cluster.config_map(
        "tier-to-group-mapping", tiers=json.dumps([{"name": "gold", "level": 9, "groups": ["system:authenticated"]}])
    )
    assert maas.ask("POST", "/v1/tiers/lookup", {"groups": ["system:authenticated"]})[1]["tier"] == "gold"
    cluster.config_map("tier-to-group-mapping", other="")
    status, answer = maas.ask("POST", "/v1/tiers/lookup", {"groups": ["system:authenticated"]})
    assert (status, sorted(answer)) == (500, ["error", "message"])


# Models


def serve(cluster: Cluster, name: str, router: t.Any, **status: t.Any) -> None:
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"observedGeneration": 1, "url": f"http://maas.example.com/llm/{name}", "conditions": conditions, **status}
    spec = {"model": {"name": f"facebook/{name}"}, **({"router": router} if router is not None else {})}
    cluster.put(f"{KSERVE}/namespaces/llm/llminferenceservices/{name}", spec=spec, status=status)


REFERENCE = {"name": INSTANCE, "namespace": "openshift-ingress"}
ROUTER = {"gateway": {"refs": [REFERENCE]}}


def test_a_model_of_the_cluster(maas: Running, cluster: Cluster) -> None:
    serve(cluster, "opt-125m", ROUTER)
    url = "http://maas.example.com/llm/opt-125m"
    listed = {
        "id": "facebook/opt-125m",
        "created": CREATED_SECONDS,
        "object": "model",
        "owned_by": "vllm",
        "url": url,
        "ready": True,
    }
    assert maas.models() == [listed]


@pytest.mark.parametrize(
    ("router", "is_listed"),
    [
        (None, False),
        ({}, False),
        ({"gateway": {"refs": [{"name": INSTANCE}]}}, False),
        ({"gateway": {"refs": [{"name": "other", "namespace": "openshift-ingress"}]}}, False),
        ({"route": {"http": {"spec": {"parentRefs": [REFERENCE]}}}}, True),
        ({"route": {"http": {"spec": {"parentRefs": []}}}}, False),
        ({"route": {"http": {"refs": [{"name": "missing"}, {"name": "here"}]}}}, True),
        ({"route": {"http": {"refs": [{"name": "elsewhere"}]}}}, False),
        ({"route": {"http": {}}}, True),
        ({"route": {}}, False),
    ],
)
def test_models_of_the_gateway_alone(maas: Running, cluster: Cluster, router: t.Any, is_listed: bool) -> None:
    routes = f"{GATEWAY_API}/namespaces/llm/httproutes"
    cluster.put(f"{routes}/here", spec={"parentRefs": [REFERENCE]})
    cluster.put(f"{routes}/elsewhere", spec={"parentRefs": [{"name": INSTANCE}]})
    labels = {**maas_models.MANAGED_ROUTE, "app.kubernetes.io/name": "model"}
    cluster.put(f"{routes}/managed", metadata={"labels": labels}, spec={"parentRefs": [REFERENCE]})
    serve(cluster, "model", router)
    assert [model["id"] for model in maas.models()] == (["facebook/model"] if is_listed else [])


@pytest.mark.parametrize(
    "status",
    [
        {"observedGeneration": 0},
        {"conditions": []},
        {"conditions": [{"type": "Ready", "status": "True"}, {"type": "RouterReady", "status": "Unknown"}]},
    ],
)
def test_a_model_that_is_not_ready(maas: Running, cluster: Cluster, status: t.Any) -> None:
    serve(cluster, "model", ROUTER, **status)
    assert [model["ready"] for model in maas.models()] == [False]


def test_where_a_model_is_reached(maas: Running, cluster: Cluster) -> None:
    serve(cluster, "one", ROUTER, url=None, addresses=[{}, {"url": "http://one"}])
    serve(cluster, "two", ROUTER, url=None)
    assert [(model["id"], model["url"]) for model in maas.models()] == [("facebook/one", "http://one")]


def test_external_models_follow(patched: Running, cluster: Cluster) -> None:
    serve(cluster, "opt-125m", ROUTER)
    cluster.config_map("external-model-registry", models=REGISTRY)
    before = int(time.time())
    local, *external = patched.models()
    assert local["id"] == "facebook/opt-125m"
    assert all(before <= model.pop("created") <= time.time() for model in external)
    assert external == [
        {"id": "gpt-4", "object": "model", "owned_by": "openai", "ready": True},
        {"id": "Qwen/Qwen3-0.6B", "object": "model", "owned_by": "vllm", "ready": True},
    ]


def test_external_models_are_for_the_patched_image(maas: Running, cluster: Cluster) -> None:
    cluster.config_map("external-model-registry", models=REGISTRY)
    assert maas.models() == []


@pytest.mark.parametrize(
    "text", [None, "", "[]", "- [", "gpt-4", "- gpt-4", "- provider: openai", "id: gpt-4", "- id: &x gpt-4", "{}", "5"]
)
def test_a_registry_that_is_none(patched: Running, cluster: Cluster, text: str | None) -> None:
    if text is not None:
        cluster.config_map("external-model-registry", models=text)
    assert patched.models() == []


def test_a_registry_that_may_not_be_read(patched: Running, cluster: Cluster) -> None:
    cluster.refusals["GET", "/api/v1/namespaces/opendatahub/configmaps/external"] = 403
    assert patched.models() == []


def test_models_are_for_callers_with_a_token(maas: Running) -> None:
    assert maas.ask("GET", "/v1/models", Authorization="")[0] == 401


def test_models_that_cannot_be_listed(maas: Running, cluster: Cluster) -> None:
    cluster.refusals["GET", f"{KSERVE}/llminferenceservices"] = 403
    status, answer = maas.ask("GET", "/v1/models")
    assert (status, answer["error"]["type"]) == (500, "server_error")


# YAML

ENTRIES: list[dict[str, t.Any]] = [
    {"id": "gpt-4", "provider": "openai", "backend": "openai-backend"},
    {"id": "Qwen/Qwen3-0.6B", "provider": 'it\'s: "quoted" # here', "backend": "yes, no"},
    {"id": "007", "provider": "", "backend": None, "level": -3, "share": 0.5, "on": True, "off": False},
    {
        "id": "ä\tb\nc\\",
        "groups": ["system:authenticated", "a b", "-x", "[y]", "true", "null", "1"],
        "empty": [],
        "none": {},
    },
    {
        "description": "word " * 60,
        "second": "word: with colon " * 20,
        "third": "one\n\ntwo\n" * 20,
        "nested": [[1, 2], [{"a": [{"b": "c"}]}]],
    },
]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"default_flow_style": False, "indent": 4},
        {"default_flow_style": True},
        {"default_flow_style": None},
        {"allow_unicode": True, "width": 1000},
        {"width": 20},
        {"explicit_start": True},
    ],
)
@pytest.mark.parametrize("entries", [ENTRIES[:1], *([entry] for entry in ENTRIES[1:]), ENTRIES])
def test_yaml_is_read_as_it_is_written(entries: t.Any, options: dict[str, t.Any]) -> None:
    text = yaml.safe_dump(entries, **options)
    assert maas_yaml.load(text) == entries == yaml.safe_load(text)


@pytest.mark.parametrize("style", ['"', "'", "|", ">"])
@pytest.mark.parametrize("width", [20, 80, 1000])
def test_yaml_in_any_style_of_scalars(style: str, width: int) -> None:
    entries = [{name: str(value) for name, value in entry.items()} for entry in ENTRIES]
    text = yaml.safe_dump(entries, default_style=t.cast("t.Any", style), width=width)
    assert maas_yaml.load(text) == entries == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    [
        TIERS,
        REGISTRY,
        "# first\n\n-   id: a # comment\n    provider: b#c\n\n# between\n-   id: d\n    'provider' : \"e\"   # end\n",
        "- id: a\n  text: |\n    one\n\n      two\n    three\n  next: >-\n    four\n    five\n\n    six\n- id: b\n",
        "- id: a\n  text: >+\n    one\n\n- |-\n  two\n",
        "-\n  id: a\n- - b\n  - c\n-\n- {d: e, 'f g': [h, {i: }], j:k: l}\n",
        "- [a, b,\n   c]\n- {d: 'e\n   f'}\n",
        "- plain over\n  two lines\n- id:\n  - a\n  provider:\n    b\n",
        '["a", "b"]',
        "",
        "- http://host:80/path\n- ~\n- system:authenticated\n",
    ],
)
def test_yaml_is_read_as_others_read_it(text: str) -> None:
    assert maas_yaml.load(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    [
        "- [a",
        "- {a: b",
        "- 'a",
        '- "a',
        "a: b\n  c: d",
        "- a\nb: c",
        "- *a",
        "- &a b",
        "- !b c",
        "- a\n---\n- b",
        "%YAML 1.2",
        "a: 1\na: 2",
        "- [a] b",
        "- 'a' b",
    ],
)
def test_yaml_that_is_not_understood(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the messages are for the log)
        maas_yaml.load(text)


# The program


def test_health_and_other_paths(maas: Running) -> None:
    assert maas.ask("GET", "/health") == (200, {"status": "healthy"})
    for method, path in (
        ("GET", "/v1/api-keys"),
        ("POST", "/v1/api-keys"),
        ("GET", "/v1/tokens"),
        ("PUT", "/v1/models"),
        ("GET", "/"),
    ):
        assert maas.ask(method, path) == (404, "404 page not found")


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Content_Length": "5000000"}, 413), ({"Content_Length": "-1"}, 400), ({"Transfer_Encoding": "chunked"}, 411)],
)
def test_a_body_that_is_not_read(maas: Running, headers: dict[str, str], status: int) -> None:
    assert maas.ask("POST", "/v1/tokens", **headers)[0] == status


def test_an_api_server_that_restarts(maas: Running, cluster: Cluster) -> None:
    cluster.stop()
    threading.Timer(1, cluster.start).start()
    assert maas.ask("POST", "/v1/tokens")[0] == 201


def test_an_api_server_that_stays_away(maas: Running, cluster: Cluster) -> None:
    maas.service.tokens.api.patience = 0
    cluster.stop()
    assert maas.ask("POST", "/v1/tokens") == (500, {"error": "Failed to generate token"})
    assert maas.ask("GET", "/health")[0] == 200
    cluster.start()


def test_settings_come_from_the_environment_and_arguments() -> None:
    options = maas_api.parse_arguments([], {})
    assert (options.name, options.gateway_namespace, options.listen) == (
        INSTANCE,
        "openshift-ingress",
        ("0.0.0.0", 8080),
    )
    options = maas_api.parse_arguments(
        [], {"GATEWAY_NAME": "gateway", "TLS_CERT": "c", "TLS_KEY": "k", "NAMESPACE": "here"}
    )
    assert (options.name, options.namespace, options.listen) == ("gateway", "here", ("0.0.0.0", 8443))
    options = maas_api.parse_arguments(
        ["--name=b", "--external-models"], {"INSTANCE_NAME": "a", "PORT": "9000", "TLS_CERT": "c", "TLS_KEY": "k"}
    )
    assert (options.name, options.tls_cert, options.external_models, options.listen) == (
        "b",
        None,
        True,
        ("0.0.0.0", 9000),
    )
    assert maas_api.parse_arguments(["--address=127.0.0.1:1"], {"ADDRESS": ":2"}).listen == ("127.0.0.1", 1)


@pytest.mark.parametrize(
    ("environment", "named"),
    [({"TLS_CERT": "c"}, "TLS_KEY"), ({"ADDRESS": "host"}, "ADDRESS"), ({"PORT": "70000"}, "PORT")],
)
def test_settings_that_are_wrong(environment: dict[str, str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        maas_api.parse_arguments([], environment)
    assert named in capsys.readouterr().err


def start(cluster: Cluster, directory: Path) -> tuple[subprocess.Popen[bytes], Path]:
    command = [
        sys.executable,
        "-u",
        "-B",
        str(FAKE / "maas_api.py"),
        "--address=127.0.0.1:0",
        f"--apiserver-url={cluster.url}",
        "--external-models",
    ]
    log = directory / "log"
    with log.open("wb") as stream:
        return subprocess.Popen(command, stderr=stream, stdout=stream), log


def wait_for(log: Path, text: str) -> str:
    deadline = time.monotonic() + 20
    while text not in log.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.02)
    return log.read_text(encoding="utf-8")


def test_it_listens_once_the_kinds_exist_and_ends_at_once(cluster: Cluster, tmp_path: Path) -> None:
    cluster.kinds -= {"llminferenceservices", "httproutes"}
    process, log = start(cluster, tmp_path)
    try:
        wait_for(log, "waiting for LLMInferenceService")
        cluster.kinds |= {"llminferenceservices"}
        wait_for(log, "waiting for HTTPRoute")
        assert "listens" not in log.read_text(encoding="utf-8")
        cluster.kinds |= {"httproutes"}
        text = wait_for(log, "listens")
        port = int(text.split("127.0.0.1:")[1].split()[0])
        assert ask(port, "GET", "/health")[0] == 200
        status, answer = ask(port, "POST", "/v1/tokens", None, USER)
        assert status == 500, "the namespace of this process is another"
        assert answer == {"error": "Failed to generate token"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=2) == 0
    finally:
        process.kill()
        process.wait()


def test_it_ends_while_it_waits(cluster: Cluster, tmp_path: Path) -> None:
    cluster.kinds -= {"httproutes"}
    process, log = start(cluster, tmp_path)
    try:
        wait_for(log, "waiting for HTTPRoute")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=2) == 0
    finally:
        process.kill()
        process.wait()
