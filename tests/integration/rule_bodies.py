# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a real Authorino what it makes of the rules of each engine: the AuthConfig of `authorino`, and the AuthPolicies
of `kuadrant` as AuthConfigs.

Kuadrant's operator makes an AuthConfig of the rules of an AuthPolicy, so this does the same, and the same Authorino
runs all of them, each under a host of its own. It is asked by raw HTTP, /check on port 5001, through a port of this
machine. Its Host header chooses the AuthConfig, and its headers are the request's; its path is always /check, so
refusals come in the form of OpenAI's API, and rules that go by paths are not run.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.client
import json
import pathlib
import re
import ssl
import subprocess
import sys
import time
import typing as t

import yaml
from objects import KUBECTL, kubectl
from runs import ROOT

sys.path.insert(0, str(ROOT / "tests/unit/roles"))
from rendering import manifests, rendered

AUTHORINO = "ai-gateway-authorino"
INSTANCE = "rule-bodies"
#: A namespace that is no tier's.
OUTSIDE = f"{INSTANCE}-outside"
#: Who asks: an account of one name in each namespace.
USER = "alice"
TIERS = ("free", "premium")
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_stack": "wg_ai_gateway",
    "ai_gateway_name": INSTANCE,
    "ai_gateway_providers": [
        {
            "name": "openai",
            "schema": "openai",
            "simulated": True,
            "credential": {"value": "unused"},
            "models": [{"name": "gpt-4"}],
        }
    ],
    "ai_gateway_tiers": [
        {"name": tier, "level": level, "groups": ["all"], "token_limit": {"tokens": 100, "window": "1m"}}
        for level, tier in enumerate(TIERS)
    ],
}

Body = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Case:
    """A request by its headers, and what every body of rules must say to it."""

    name: str
    headers: dict[str, str]
    status: int
    #: Of whom a request that is let in is said to be.
    tier: str = ""


@dataclasses.dataclass(frozen=True)
class Said:
    """Authorino's response to a request:

    all that a client of a gateway gets of a refusal, and who the caller is otherwise.
    """

    status: int
    headers: dict[str, str]
    body: str
    identity: dict[str, str]


def bodies(directory: pathlib.Path) -> dict[str, Body]:
    """The spec of an AuthConfig for each body of rules, by a name that becomes that of its host."""
    for name in ("authorino", "kuadrant", "bridges"):
        (directory / name).mkdir()
    kuadrant = {**VARIABLES, "ai_gateway_policy_engine": "kuadrant"}
    of_authorino = manifests(
        directory / "authorino",
        "access_policies",
        "authorino.yaml.j2",
        {**VARIABLES, "ai_gateway_policy_engine": "authorino"},
    )
    of_kuadrant = manifests(directory / "kuadrant", "access_policies", "kuadrant.yaml.j2", kuadrant)
    of_bridges = yaml.safe_load(rendered(directory / "bridges", "access_policies", "bridge_rules.yaml.j2", kuadrant))
    return {
        "authorino": {
            name: item for name, item in of_authorino["AuthConfig", INSTANCE]["spec"].items() if name != "hosts"
        },
        "kuadrant": _shown(of_kuadrant["AuthPolicy", "gateway-auth-policy"]["spec"]["rules"]),
        "bridge": _shown(of_bridges["openai"]),
    }


def _shown(rules: Body) -> Body:
    """The rules with the metadata for Kuadrant's limits as headers of the same names, as raw HTTP carries nothing
    else.
    """
    response = {**rules["response"], "success": {"headers": rules["response"]["success"]["filters"]}}
    # It is always asked for the path /check, which no catalogue describes.
    authorization = {name: rule for name, rule in rules["authorization"].items() if name != "described"}
    return {**rules, "authorization": authorization, "response": response}


def compare(directory: pathlib.Path) -> int:
    """Ask each body of rules all cases, and return how many there were; the first difference fails.

    :param directory: a new one, for the rendered manifests.
    """
    specs = bodies(directory)
    cases = 0
    with _applied(specs), _forwarded(5001) as port:
        for case in _cases():
            found = {name: _ask(port, _host(name), case.headers) for name in specs}
            for name, said in found.items():
                assert said.status == case.status, (
                    f"{case.name}: {name} says {said.status}, not {case.status}: {said.body}"
                )
                assert said == found["authorino"], f"{case.name}: {name} says {said}, authorino {found['authorino']}"
                assert said.identity == ({"userid": USER, "tier": case.tier} if case.tier else {}), (
                    f"{case.name}: {name} knows the caller as {said.identity}"
                )
                assert bool(said.body) == (case.status != 200), f"{case.name}: {name} says {said.body!r}"
            cases += 1
            print(f"{case.name}: {case.status} from {', '.join(found)}", flush=True)
    return cases


def _cases() -> t.Iterator[Case]:
    audience = f"{INSTANCE}-sa"
    yield Case("no token", {}, 401)
    yield Case("a token that is none", {"authorization": "Bearer garbage"}, 401)
    yield Case("a key that is none", {"x-api-key": "sk-garbage"}, 401)
    for tier in TIERS:
        token = _token(f"{INSTANCE}-tier-{tier}", audience)
        yield Case(f"a token of tier {tier}", {"authorization": f"Bearer {token}"}, 200, tier)
        # By now its review is kept.
        yield Case(f"the same token of tier {tier}", {"authorization": f"Bearer {token}"}, 200, tier)
        yield Case(f"the same token of tier {tier} in other letters", {"authorization": f"Bearer {token.lower()}"}, 401)
        yield Case(f"a token of tier {tier} as a key", {"x-api-key": token}, 200, tier)
        yield Case(f"a token of tier {tier} as no bearer's", {"authorization": token}, 401)
    first, second = (_token(f"{INSTANCE}-tier-{tier}", audience) for tier in TIERS)
    for token, key in ((first, second), (second, first)):
        # Again and again, as it was left to chance which of them counted.
        yield from [
            Case("two tokens of different tiers", {"authorization": f"Bearer {token}", "x-api-key": key}, 403)
        ] * 5
    yield Case("the same token twice", {"authorization": f"Bearer {first}", "x-api-key": first}, 200, TIERS[0])
    yield Case("a token of another namespace", {"authorization": f"Bearer {_token(OUTSIDE, audience)}"}, 403)
    yield Case("a key of another namespace", {"x-api-key": _token(OUTSIDE, audience)}, 403)
    yield Case(
        "a token of another audience", {"authorization": f"Bearer {_token(f'{INSTANCE}-tier-free', 'another')}"}, 401
    )
    yield Case("a token of the API server", {"authorization": f"Bearer {_token(f'{INSTANCE}-tier-free', '')}"}, 401)


def _token(namespace: str, audience: str) -> str:
    audiences = [f"--audience={audience}"] if audience else []
    token = kubectl("create", "token", USER, f"--namespace={namespace}", "--duration=10m", *audiences).strip()
    assert base64.urlsafe_b64decode(token.split(".")[1] + "==")
    return token


def _host(name: str) -> str:
    return f"{name}.{INSTANCE}"


@contextlib.contextmanager
def _applied(specs: dict[str, Body]) -> t.Iterator[None]:
    """AuthConfigs, namespaces and accounts, gone afterwards."""
    spaces = [f"{INSTANCE}-tier-{tier}" for tier in TIERS] + [OUTSIDE]
    configs = [
        {
            "apiVersion": "authorino.kuadrant.io/v1beta3",
            "kind": "AuthConfig",
            "metadata": {"name": f"{INSTANCE}-{name}", "namespace": AUTHORINO},
            "spec": {"hosts": [_host(name)], **spec},
        }
        for name, spec in specs.items()
    ]
    items: list[Body] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}} for space in spaces]
    items += [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": USER, "namespace": space}}
        for space in spaces
    ]
    names = [f"authconfig/{config['metadata']['name']}" for config in configs]
    try:
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": items + configs})
        subprocess.run([*KUBECTL, "apply", "--filename=-"], input=manifest, text=True, check=True, timeout=120)
        kubectl("wait", "--for=condition=Ready", "--timeout=60s", f"--namespace={AUTHORINO}", *names)
        yield
    finally:
        kubectl("delete", "--ignore-not-found", f"--namespace={AUTHORINO}", *names)
        kubectl("delete", "--ignore-not-found", "namespace", *spaces)


@contextlib.contextmanager
def _forwarded(port: int) -> t.Iterator[int]:
    """A port of this machine that leads to one of Authorino's."""
    command = [*KUBECTL, "port-forward", f"--namespace={AUTHORINO}", "deployment/authorino", f":{port}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        match = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert match, "kubectl port-forward names no port"
        yield int(match[1])
    finally:
        process.terminate()
        process.wait()


def _ask(port: int, host: str, headers: dict[str, str], patience: float = 10) -> Said:
    """Authorino's response; it may read a Ready AuthConfig a moment later."""
    deadline = time.monotonic() + patience
    while True:
        # Who signed its certificate, this test does not ask.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
        try:
            connection.request(
                "POST", "/check", body="{}", headers={**headers, "Host": host, "Content-Type": "application/json"}
            )
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        if response.status != 404 or time.monotonic() > deadline:
            return _said(response, body)
        time.sleep(0.2)


def _said(response: http.client.HTTPResponse, body: str) -> Said:
    headers: dict[str, str] = {}
    for name, value in sorted(response.getheaders()):
        headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
    identity = json.loads(headers.pop("identity", "{}"))
    if "x-maas-user" in headers:
        identity = {"userid": headers.pop("x-maas-user"), "tier": headers.pop("x-maas-tier")}
    return Said(
        response.status,
        {name: value for name, value in headers.items() if name not in ("date", "content-length")},
        body,
        identity,
    )
