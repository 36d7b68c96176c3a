# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks that role validation evaluates from what it has seen."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.evaluation import checks, unexplained_models
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.plan import Plan, Seen, Settings

SIMULATED = {
    "name": "openai",
    "schema": "openai",
    "simulated": True,
    "credential": {"value": "sk-1"},
    "models": [{"name": "gpt-4"}],
}
REAL = {
    "name": "more",
    "schema": "openai",
    "endpoint": {"hostname": "api.example.com"},
    "credential": {"secret": "more-key"},
    "models": [{"name": "org/more:1"}, {"name": "second"}],
}
OTHER = {**REAL, "name": "other", "endpoint": {"hostname": "other.example.com"}, "models": [{"name": "other"}]}
FREE = {"name": "free", "level": 0, "groups": ["a"], "token_limit": {"tokens": 100, "window": "1m"}}
PAID = {"name": "paid", "level": 1, "groups": ["b"], "token_limit": {"tokens": 5000, "window": "1m"}}
TWO_GATEWAYS = {"stack": "wg_ai_gateway", "policy_engine": "kuadrant"}
TOKENS = {
    "results": [{"item": {"id": name}, "token": "t", "expiration": 600} for name in ("caller", "limited", "minted")]
}


def outcome(**statuses: str) -> dict[str, t.Any]:
    """What module inference_probe returns; ids are given with _ for colons."""
    return {"checks": [{"id": id_.replace("_", ":"), "status": status} for id_, status in statuses.items()]}


def paths(**statuses: str) -> dict[str, t.Any]:
    """The outcome of asking the models of REAL and OTHER under their paths."""
    names = {"more": "path:more:org/more:1", "second": "path:more:second", "other": "path:other:other"}
    return {"checks": [{"id": names[name], "status": status} for name, status in statuses.items()]}


def logged(model: str, reason: str) -> str:
    return json.dumps({"model": model, "upstream_transport_failure_reason": reason}, separators=(",", ":"))


def plan(inputs: dict[str, t.Any] | None = None, settings: dict[str, t.Any] | None = None, **seen: t.Any) -> Plan:
    catalog = build({"providers": [SIMULATED], "tiers": [FREE, PAID], **(inputs or {})}).as_dict()
    return Plan(catalog, Settings.of(settings or {}), Seen(**{"run": "r1", "issued": TOKENS, **seen}))


def check(made: Plan, id_: str) -> dict[str, t.Any]:
    (found,) = (entry for entry in checks(made) if entry["id"] == id_)
    return found


def outcome_of(made: Plan, id_: str) -> tuple[str, str]:
    found = check(made, id_)
    return found["status"], found["observed"]


def test_checks_have_the_order_of_the_run() -> None:
    made = plan(
        {**TWO_GATEWAYS, "providers": [SIMULATED, {**REAL, "models": [{"name": "more"}]}]},
        listing=outcome(models="passed"),
        probes=outcome(chat_a="passed", chat_b="failed"),
        limits={"results": [{"checks": [{"id": "rate-limit"}, {"id": "rate-limit-recovery"}]}, {"skipped": True}]},
    )
    before = ["gateway", "tokens", "maas-api-token", "foreign-proxies", "models", "chat:a", "chat:b"]
    after = ["tls:more", "wrong-key", "rate-limit", "rate-limit-recovery", "cleanup"]
    assert [entry["id"] for entry in checks(made)] == [*before, *after]
    # With a tag, one part of them runs.
    assert [entry["id"] for entry in checks(plan(limits={"results": []}))] == ["gateway", "tokens", "cleanup"]


def test_check_mode_skips_all() -> None:
    made = plan(
        {**TWO_GATEWAYS, "providers": [SIMULATED, {**REAL, "models": [{"name": "more"}]}]},
        check_mode=True,
        probes={"checks": []},
    )
    assert {entry["id"]: (entry["status"], entry["observed"]) for entry in checks(made)} == {
        "gateway": ("skipped", "check mode asks nothing"),
        "tokens": ("skipped", "check mode issues none"),
        "maas-api-token": ("skipped", "check mode issues none"),
        "foreign-proxies": ("skipped", "check mode asks nothing"),
        "wrong-key": ("skipped", "check mode asks nothing"),
        "cleanup": ("skipped", "check mode makes none"),
    }
    assert check(made, "wrong-key")["name"] == "A provider refuses a key that is not its own"


def conditions(**statuses: str) -> dict[str, t.Any]:
    found = [{"type": name, "status": status} for name, status in statuses.items()]
    return {"resources": [{"status": {"conditions": found}}]}


@pytest.mark.parametrize(
    ("gateway", "status", "observed"),
    [
        (conditions(Accepted="True", Programmed="True"), "passed", "Accepted=True, Programmed=True"),
        (
            conditions(Accepted="True", Programmed="False", Other="True"),
            "failed",
            "Accepted=True, Programmed=False, Other=True",
        ),
        (conditions(), "failed", "no conditions"),
        ({"resources": [{}]}, "failed", "no conditions"),
        ({"resources": []}, "failed", "no Gateway ai-gateway/ai-gateway"),
        ({"msg": "the API server does not answer"}, "failed", "the API server does not answer"),
    ],
)
def test_the_gateway(gateway: dict[str, t.Any], status: str, observed: str) -> None:
    made = plan(gateway=gateway, seconds={"gateway": 0.5})
    assert outcome_of(made, "gateway") == (status, observed)
    found = check(made, "gateway")
    assert (found["expected"], found["seconds"]) == ("Accepted=True, Programmed=True", 0.5)
    assert (
        found["hint"]
        == "See kubectl describe gateway ai-gateway --namespace ai-gateway, and the logs of its controller."
    )


@pytest.mark.parametrize(
    ("faults", "status", "observed"),
    [
        ({}, "passed", "tokens of paid, free"),
        ({"limited": "forbidden"}, "failed", "no token: forbidden"),
        ({"caller": "forbidden", "limited": "forbidden"}, "failed", "no token: forbidden"),
        ({"caller": "forbidden", "limited": "no such tier"}, "failed", "no token: forbidden; no token: no such tier"),
        ({"outsider": "forbidden"}, "passed", "tokens of paid, free"),
    ],
)
def test_tokens(faults: dict[str, str], status: str, observed: str) -> None:
    results: list[dict[str, t.Any]] = [
        {"item": {"id": name}, **({"msg": faults[name]} if name in faults else {"token": "t"})}
        for name in ("caller", "limited", "outsider")
    ]
    made = plan(issued={"results": results}, seconds={"tokens": 1.5})
    assert outcome_of(made, "tokens") == (status, observed)
    assert (check(made, "tokens")["expected"], check(made, "tokens")["seconds"]) == ("tokens of tiers paid, free", 1.5)


def test_the_token_of_maas_api() -> None:
    assert outcome_of(plan({"maas_api": True}), "maas-api-token") == ("passed", "a token that is valid for 600 s")
    unsaid = {"results": [{"item": {"id": "minted"}, "token": "t"}]}
    assert outcome_of(plan({"maas_api": True}, issued=unsaid), "maas-api-token") == (
        "passed",
        "a token that is valid for ? s",
    )
    refused = {"results": [{"item": {"id": "minted"}, "msg": "status 403"}]}
    made = plan({"maas_api": True}, issued=refused)
    assert outcome_of(made, "maas-api-token") == ("failed", "no token: status 403")
    assert check(made, "maas-api-token")["expected"] == "a token of tier paid for the audience ai-gateway-sa"


def test_foreign_proxies() -> None:
    made = plan(TWO_GATEWAYS)
    egress = made.catalog["egress_gateway"]
    mine = {"metadata": {"namespace": egress["namespace"], "name": egress["service"]}}
    name = f"{egress['namespace']}/{egress['service']}"
    foreign = {"metadata": {"namespace": "apps", "name": "px"}}
    for found, status, observed in (
        ({"resources": [mine]}, "passed", f"Deployments {name}"),
        ({"resources": [mine, foreign]}, "failed", f"Deployments {name}, apps/px"),
        ({"resources": []}, "failed", "Deployments none"),
        ({"msg": "forbidden"}, "failed", "forbidden"),
    ):
        assert outcome_of(plan(TWO_GATEWAYS, proxies=found), "foreign-proxies") == (status, observed)
    found = check(plan(TWO_GATEWAYS, proxies={"resources": [mine, foreign]}), "foreign-proxies")
    assert found["expected"] == f"Deployment {name} and no other"
    assert found["hint"].endswith(f"to namespace {egress['namespace']}, and delete apps/px.")


UNTRUSTED = (
    "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:self_signed_certificate:TLS_error_end"
)


@pytest.mark.parametrize(
    ("statuses", "log", "status", "observed"),
    [
        (
            {"more": "passed", "second": "failed"},
            [logged("second", UNTRUSTED)],
            "passed",
            "an answer over a verified connection",
        ),
        ({"more": "failed", "second": "failed"}, [logged("second", UNTRUSTED)], "failed", "self signed certificate"),
        (
            {"more": "failed", "second": "failed"},
            [
                "[info] a line",
                logged("second", UNTRUSTED),
                logged("org/more:1", "refused_by_peer"),
                logged("second", UNTRUSTED),
            ],
            "failed",
            "self signed certificate; refused by peer",
        ),
        (
            {"more": "failed", "second": "failed"},
            [logged("other", UNTRUSTED), '{"model":"second"}'],
            "skipped",
            "no connection was tried, or its end is not in the log of the proxy",
        ),
        ({"more": "skipped"}, [], "skipped", "no connection was tried, or its end is not in the log of the proxy"),
    ],
)
def test_certificates(statuses: dict[str, str], log: list[str], status: str, observed: str) -> None:
    made = plan({"providers": [SIMULATED, REAL]}, probes=paths(**statuses), proxy_log={"log_lines": log})
    assert outcome_of(made, "tls:more") == (status, observed)
    found = check(made, "tls:more")
    assert found["expected"] == "a certificate of api.example.com that one of the system's roots vouches for"
    assert found["hint"].endswith(
        "openssl s_client -connect api.example.com:443 -servername api.example.com -showcerts"
    )


def test_certificates_of_providers_that_are_not_asked() -> None:
    providers = {"providers": [SIMULATED, REAL, OTHER]}
    one = plan(providers, {"models": ["other"]}, probes=paths(other="passed"))
    assert [entry["id"] for entry in checks(one) if entry["id"].startswith("tls:")] == ["tls:other"]
    # The tier may not use what REAL serves, which says nothing of the other's certificate.
    restricted = plan({**providers, "tiers": [{**FREE, "models": ["gpt-4", "other"]}]}, probes=paths(other="passed"))
    assert outcome_of(restricted, "tls:other") == ("passed", "an answer over a verified connection")
    assert outcome_of(restricted, "tls:more")[0] == "skipped"


def test_models_whose_failure_is_not_logged_yet() -> None:
    providers = {"providers": [SIMULATED, REAL, OTHER]}
    failed = {
        "checks": [
            *paths(more="failed", second="failed", other="passed")["checks"],
            {"id": "path:openai:gpt-4", "status": "failed"},
            {"id": "chat:other", "status": "failed"},
        ]
    }
    assert unexplained_models(plan(providers)) == []
    assert unexplained_models(plan(providers, probes=failed)) == ["org/more:1", "second"]
    log = {"log_lines": [logged("second", UNTRUSTED)]}
    assert unexplained_models(plan(providers, probes=failed, proxy_log=log)) == ["org/more:1"]


@pytest.mark.parametrize(
    ("result", "status", "observed"),
    [
        ({"stdout": "401\n"}, "passed", "status 401"),
        ({"stdout": "200\n"}, "failed", "status 200"),
        ({"msg": "container not found"}, "failed", "container not found"),
        ({"skipped": True}, "failed", "no pod of its simulator runs"),
        ({}, "failed", "no pod of its simulator runs"),
    ],
)
def test_a_wrong_key(result: dict[str, t.Any], status: str, observed: str) -> None:
    made = plan(probes={"checks": []}, wrong_key=result)
    assert outcome_of(made, "wrong-key") == (status, observed)
    assert check(made, "wrong-key")["name"] == "Provider openai refuses a key that is not its own"
    unasked = plan({"providers": [REAL]}, probes={"checks": []}, wrong_key=result)
    reason = "no provider is a simulator that serves plain HTTP, and wrong keys are not sent to real ones"
    assert outcome_of(unasked, "wrong-key") == ("skipped", reason)


def test_cleanup() -> None:
    made = plan(removed={"results": [{"changed": True}]}, seconds={"cleanup": 2.5})
    assert outcome_of(made, "cleanup") == ("passed", "none is left")
    assert check(made, "cleanup")["seconds"] == 2.5
    made = plan(removed={"results": [{"msg": "cannot remove a"}, {}, {"msg": "cannot remove b"}]})
    assert outcome_of(made, "cleanup") == ("failed", "cannot remove a; cannot remove b")
    hint = "Delete the ServiceAccounts validation-r1-* in the namespaces of the tiers and in ai-gateway."
    assert check(made, "cleanup")["hint"] == hint
