# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import prometheus_programs
import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._observability.metrics import selector
from ansible_collections.egress.ai_gateway.plugins.module_utils._observability.rules import rule_groups

ROOT = Path(__file__).parents[5]
#: Two providers of one model, one of which has a price to the millionth.
CATALOG: dict[str, t.Any] = {
    "name": "ai-gateway",
    "models": [
        {
            "name": "gpt-4",
            "price": {"input": 2.5, "output": 10},
            "backends": [{"name": "openai"}, {"name": "second"}],
        },
        {"name": 'odd "name"', "price": {"input": 0, "output": 0.000001}, "backends": [{"name": "third"}]},
        {"name": "free", "backends": [{"name": "llm"}]},
    ],
    "observability": {"users": 10},
}
RUNBOOK = "https://example.com/operations.md"
GATEWAY = 'gateway="ai-gateway"'


def rules(**thresholds: float) -> list[dict[str, t.Any]]:
    return [rule for group in rule_groups(CATALOG, thresholds, RUNBOOK)["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, t.Any]]:
    return [rule for rule in rules() if "alert" in rule]


def test_each_alert_says_what_is_wrong_and_which_section_cures_it() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    sections = {part.split("\n", 1)[0]: part for part in page.split("\n### ")[1:]}
    found = alerts()
    assert len(found) >= 15
    for alert in found:
        annotations = alert["annotations"]
        assert set(annotations) == {"summary", "description", "runbook_url"}
        assert all(annotations.values())
        assert alert["labels"]["severity"] in ("critical", "warning")
        # GitHub makes the fragment of a heading like this.
        assert annotations["runbook_url"] == f"{RUNBOOK}#{alert['alert'].lower()}"
        # It cures: there are steps.
        assert "\n1. " in sections[alert["alert"]]
    # And no section is of an alert that is gone.
    assert {name for name in sections if name.startswith("AIGateway")} == {alert["alert"] for alert in found}


def test_prices_are_those_of_one_token() -> None:
    found = {
        (rule["labels"]["model"], rule["labels"]["provider"], rule["labels"]["type"]): rule["expr"]
        for rule in rules()
        if rule.get("record") == "ai_gateway:price_per_token"
    }
    assert found == {
        ("gpt-4", "openai", "input"): "vector(2.5 / 1000000)",
        ("gpt-4", "openai", "output"): "vector(10 / 1000000)",
        ("gpt-4", "second", "input"): "vector(2.5 / 1000000)",
        ("gpt-4", "second", "output"): "vector(10 / 1000000)",
        ('odd "name"', "third", "input"): "vector(0 / 1000000)",
        ('odd "name"', "third", "output"): "vector(0.000001 / 1000000)",
    }


def test_rules_are_of_one_gateway() -> None:
    for rule in rules():
        assert (
            GATEWAY in rule["expr"]
            or 'job="ai-gateway-proxies"' in rule["expr"]
            or 'job=~"ai-gateway-' in rule["expr"]
            or rule["labels"]["gateway"] == "ai-gateway"
        )


def test_thresholds_are_in_the_alerts() -> None:
    (alert,) = (rule for rule in rules(error_ratio=0.2) if rule.get("alert") == "AIGatewayErrors")
    assert alert["expr"].endswith(" > 0.2")
    with pytest.raises(TypeError, match="error_rate"):
        rules(error_rate=1)


def test_values_of_selectors_are_quoted() -> None:
    assert selector(model='a"b\\c', code="=~5..", tier="!=") == '{model="a\\"b\\\\c", code=~"5..", tier!=""}'


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not prometheus_programs.plan().built:
        pytest.skip("promtool is not built on this machine; the end-to-end tests build it")
    path = tmp_path_factory.mktemp("rules") / "rules.yml"
    path.write_text(yaml.safe_dump(rule_groups(CATALOG, {}, RUNBOOK), allow_unicode=True), encoding="utf-8")
    return path


def test_promtool_accepts_the_rules(written: Path) -> None:
    done = prometheus_programs.promtool("check", "rules", "--lint=all", "--lint-fatal", str(written))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules())} rules found" in done.stdout


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    shown = ", ".join(f'{label}="{value}"' for label, value in {"gateway": "ai-gateway", **labels}.items())
    return {"series": f"envoy_ai_gateway_{name}{{{shown}}}", "values": values}


def up(job: str, values: str) -> dict[str, str]:
    return {"series": f'up{{job="ai-gateway-{job}", instance="a"}}', "values": values}


OK = {"tier": "free", "model": "gpt-4", "provider": "openai", "code": "200"}
ALIVE = up("proxies", "1x60")
#: Half a second for each request but the last hundredth, from where on an alert fires.
BUCKETS = (("100", "0+60x60"), ("120000", "0+63x60"), ("+Inf", "0+63x60"))
ENVOY = {"job": "ai-gateway-proxies", "instance": "a"}
CONTROLLERS = ("envoy-gateway", "controller", "authorino", "ratelimit")
Inputs = list[dict[str, str]]


def once(reason: str, code: str, **labels: str) -> Inputs:
    """One request that fails, of an existing series."""
    return [series("requests_total", "0x31 1x60", reason=reason, code=code, **labels)]


#: By alert, what makes it fire after 40 minutes, and after that what nearly does.
CASES: dict[str, tuple[Inputs, ...]] = {
    "AIGatewayDown": ([up("proxies", "0x60")], [ALIVE, up("controller", "0x60")]),
    "AIGatewayProxyDown": ([up("proxies", "0x60")], [up("proxies", "1x33 0 1x30")]),
    "AIGatewayErrors": (
        [series("requests_total", "0+90x60", **OK), series("requests_total", "0+10x60", **{**OK, "code": "503"})],
        [series("requests_total", "0+97x60", **OK), series("requests_total", "0+3x60", **{**OK, "code": "503"})],
        once("provider_unavailable", "503", provider="openai"),
    ),
    "AIGatewayFault": (
        [series("requests_total", "0+1x60", refused_by="gateway", reason="gateway_fault", code="503")],
        [series("requests_total", "0+9x60", refused_by="gateway", reason="model_not_found", code="404")],
        once("gateway_fault", "503", refused_by="gateway"),
    ),
    "AIGatewayRefusals": (
        [
            series("requests_total", "0+10x60", **OK),
            series("requests_total", "0+20x60", tier="free", reason="rate_limit_exceeded", code="429"),
        ],
        [
            series("requests_total", "0+20x60", **OK),
            series("requests_total", "0+10x60", tier="free", reason="rate_limit_exceeded", code="429"),
            # Nearly nobody calls.
            series("requests_total", "0+1x60", tier="rare", reason="rate_limit_exceeded", code="429"),
        ],
    ),
    "AIGatewayProviderUnreachable": (
        [
            series("requests_total", "0+70x60", **OK),
            series("requests_total", "0+30x60", provider="openai", reason="provider_unavailable", code="503"),
        ],
        [
            series("requests_total", "0+90x60", **OK),
            series("requests_total", "0+10x60", provider="openai", reason="provider_timeout", code="504"),
            # Its requests wait for the limits, not for the provider.
            series("requests_total", "0+99x60", provider="other", reason="limits_unavailable", code="503"),
        ],
        once("provider_unavailable", "503", provider="openai"),
    ),
    "AIGatewayProviderErrors": (
        [
            series("requests_total", "0+70x60", **OK),
            series("requests_total", "0+30x60", provider="openai", refused_by="provider", code="401"),
        ],
        [
            series("requests_total", "0+70x60", **OK),
            # The client's own fault.
            series("requests_total", "0+30x60", provider="openai", refused_by="provider", code="400"),
        ],
        once("provider_error", "500", provider="openai", refused_by="provider"),
    ),
    "AIGatewaySlow": (
        [
            series("request_duration_milliseconds_bucket", v, model="gpt-4", provider="openai", le=le)
            for le, v in BUCKETS
        ],
        [
            series("request_duration_milliseconds_bucket", v, model="gpt-4", provider="openai", le=le)
            for le, v in (("100", "0+100x60"), ("120000", "0+100x60"), ("+Inf", "0+100x60"))
        ],
    ),
    "AIGatewayFirstTokenSlow": (
        [
            series("time_to_first_token_milliseconds_bucket", v, model="gpt-4", provider="openai", le=le)
            for le, v in BUCKETS
        ],
        # Nobody streams.
        [
            series("request_duration_milliseconds_bucket", v, model="gpt-4", provider="openai", le=le)
            for le, v in BUCKETS
        ],
    ),
    "AIGatewayAuthenticationDown": (
        [series("requests_total", "0+1x60", refused_by="gateway", reason="authorization_unavailable", code="503")],
        [series("requests_total", "0+9x60", refused_by="gateway", reason="invalid_api_key", code="401")],
        once("authorization_unavailable", "503", refused_by="gateway"),
    ),
    "AIGatewayLimitsDown": (
        [series("requests_total", "0+1x60", refused_by="gateway", reason="limits_unavailable", code="503")],
        [series("requests_total", "0+9x60", refused_by="gateway", reason="rate_limit_exceeded", code="429")],
        once("limits_unavailable", "503", refused_by="gateway"),
    ),
    "AIGatewayControllersDown": (
        [*(up(part, "1x60") for part in CONTROLLERS[:3]), up("ratelimit", "0x60")],
        [*(up(part, "1x60") for part in CONTROLLERS), up("processors", "0x60")],
    ),
    "AIGatewayDisconnected": (
        [{"series": f"envoy_control_plane_connected_state{selector(**ENVOY)}", "values": "0x60"}],
        [{"series": f"envoy_control_plane_connected_state{selector(**ENVOY)}", "values": "1x60"}],
    ),
    "AIGatewayConfigurationRejected": (
        [{"series": f"envoy_cluster_manager_cds_update_rejected{selector(**ENVOY)}", "values": "0x34 1x30"}],
        # A rejection of long ago.
        [{"series": f"envoy_cluster_manager_cds_update_rejected{selector(**ENVOY)}", "values": "0x5 1x60"}],
    ),
    "AIGatewayCertificateExpires": (
        [{"series": f"envoy_server_days_until_first_cert_expiring{selector(**ENVOY)}", "values": "5x120"}],
        # No certificate at all.
        [{"series": f"envoy_server_days_until_first_cert_expiring{selector(**ENVOY)}", "values": "4294967295x120"}],
    ),
    "AIGatewayTokensNotCounted": (
        [series("requests_total", "0+10x120", **OK), series("tokens_total", "0x120", **{**OK, "type": "input"})],
        [series("requests_total", "0+10x120", **OK), series("tokens_total", "0+1x120", **{**OK, "type": "input"})],
    ),
}


def test_each_alert_fires_and_does_not(written: Path, tmp_path: Path) -> None:
    assert set(CASES) == {alert["alert"] for alert in alerts()}
    tests = []
    for name, inputs in CASES.items():
        at = "100m" if name in ("AIGatewayCertificateExpires", "AIGatewayTokensNotCounted") else "40m"
        for number, given in enumerate(inputs):
            firing = f'ALERTS{{alertname="{name}", alertstate="firing"}}'
            # What does not fire has not done so in the ten minutes before either.
            expression = f"count(count_over_time({firing}[10m]))" if number else f"count({firing})"
            tests.append(
                {
                    "name": f"{name} {'does not' if number else 'fires'}",
                    "interval": "1m",
                    "input_series": given,
                    "promql_expr_test": [
                        {
                            "expr": f"{expression} or vector(0)",
                            "eval_time": at,
                            "exp_samples": [{"labels": "{}", "value": 0 if number else 1}],
                        }
                    ],
                }
            )
    promtool_test(written, tmp_path, tests)


def in_cluster(cluster: str, inputs: Inputs) -> Inputs:
    """Series of a cluster that shares a Prometheus with others."""
    return [{**given, "series": given["series"].replace("{", f'{{cluster="{cluster}", ', 1)} for given in inputs]


PARTS = ("proxies", *CONTROLLERS)
EAST = in_cluster("east", [up(part, "1x60") for part in PARTS])


@pytest.mark.parametrize(
    ("given", "down", "controllers"),
    [
        # Nothing is scraped at all.
        ([], [{"job": "ai-gateway-proxies"}], [{"job": f"ai-gateway-{part}"} for part in CONTROLLERS]),
        ([up(part, "1x60") for part in PARTS], [], []),
        # A Deployment without a pod has no target.
        ([up(part, "1x60") for part in PARTS if part != "authorino"], [], [{"job": "ai-gateway-authorino"}]),
        ([up(part, "1x60") for part in CONTROLLERS], [{}], []),
        # Some pods answer.
        ([*(up(part, "1x60") for part in PARTS), {"series": 'up{job="ai-gateway-proxies"}', "values": "0x60"}], [], []),
        ([*EAST, *in_cluster("west", [up(part, "1x60") for part in PARTS])], [], []),
        # One cluster beside another that is well.
        (
            [*EAST, *in_cluster("west", [up("proxies", "0x60"), *(up(part, "1x60") for part in CONTROLLERS)])],
            [{"cluster": "west"}],
            [],
        ),
        (
            [*EAST, *in_cluster("west", [up(part, "1x60") for part in CONTROLLERS if part != "ratelimit"])],
            [{"cluster": "west"}],
            [{"cluster": "west", "job": "ai-gateway-ratelimit"}],
        ),
    ],
)
def test_what_is_gone_is_down_in_its_cluster(
    given: Inputs, down: list[dict[str, str]], controllers: list[dict[str, str]], written: Path, tmp_path: Path
) -> None:
    # Labels of these alerts are tested, and not their annotations.
    expected = [
        {"labels": selector(alertname=name, severity=severity, gateway="ai-gateway", **labels), "value": 1}
        for name, severity, found in (
            ("AIGatewayDown", "critical", down),
            ("AIGatewayControllersDown", "warning", controllers),
        )
        for labels in found
    ]
    names = "AIGatewayDown|AIGatewayControllersDown"
    expression = f'sum without (alertstate) (ALERTS{{alertname=~"{names}", alertstate="firing"}})'
    asked = [{"expr": expression, "eval_time": "40m", "exp_samples": expected}]
    promtool_test(written, tmp_path, [{"interval": "1m", "input_series": given, "promql_expr_test": asked}])


def promtool_test(written: Path, directory: Path, tests: list[dict[str, t.Any]]) -> None:
    path = directory / "tests.yml"
    path.write_text(
        yaml.safe_dump({"rule_files": [str(written)], "evaluation_interval": "1m", "tests": tests}), encoding="utf-8"
    )
    done = prometheus_programs.promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_recorded_is_right(written: Path, tmp_path: Path) -> None:
    per_token = {"gateway": "ai-gateway", "tier": "free", "user": "ada", "model": "gpt-4", "provider": "openai"}
    given = [
        # Two proxies, one of which is started anew, and labels of scrapes.
        series("tokens_total", "0+60x20", **{**per_token, "type": "input", "pod": "a", "cluster": "east"}),
        series("tokens_total", "0+60x8 0+60x11", **{**per_token, "type": "input", "pod": "b", "cluster": "east"}),
        series("cost_millionths_total", "0+60000000x20", **per_token),
        series("requests_total", "0+30x20", **per_token, code="200"),
        series("requests_total", "0+10x20", **per_token, code="500"),
    ]
    shown = selector(cluster="east", **per_token, type="input")
    expected = {
        f"ai_gateway:tokens:rate5m{shown}": 2.0,
        "sum(ai_gateway:cost:rate5m)": 1.0,
        "ai_gateway:error_ratio:rate5m": 0.25,
        'sum(ai_gateway:price_per_token{model="gpt-4", type="output"})': 0.00002,
    }
    tests = [
        {
            "interval": "1m",
            "input_series": given,
            "promql_expr_test": [
                {
                    "expr": f"round(sum({expression}), 0.000001)",
                    "eval_time": "20m",
                    "exp_samples": [{"labels": "{}", "value": value}],
                }
                for expression, value in expected.items()
            ],
        }
    ]
    promtool_test(written, tmp_path, tests)
