# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recording rules and alerts of a gateway, as Prometheus reads them."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._observability.metrics import (
    CONTROLLERS,
    COST,
    DURATION,
    FIRST_TOKEN,
    LABELS,
    PROXIES,
    REQUESTS,
    TIME_LABELS,
    TOKENS,
    job,
    quantile,
    rate,
    selector,
    summed,
)

Rule = dict[str, t.Any]
#: Tokens of a price.
_PRICED = 1_000_000
REQUEST_RATE = "ai_gateway:requests:rate5m"
TOKEN_RATE = "ai_gateway:tokens:rate5m"  # noqa: S105 (the name of a rule)
COST_RATE = "ai_gateway:cost:rate5m"
ERROR_RATIO = "ai_gateway:error_ratio:rate5m"
PRICE = "ai_gateway:price_per_token"
DURATION_RULE = "ai_gateway:request_duration_seconds"
FIRST_TOKEN_RULE = "ai_gateway:time_to_first_token_seconds"  # noqa: S105 (the name of a rule)
#: The quantiles that are recorded, by the ends of their names.
QUANTILES = {"p50_5m": 0.5, "p99_5m": 0.99}
#: Requests a second of which a share says little: 30 in the window of the rate.
_FEW = 0.1
#: What an Envoy counts where a configuration was rejected, by its services.
_REJECTED = ("listener_manager_lds", "cluster_manager_cds", "http_rds")
_GATEWAY = ("cluster", "gateway")
#: For how long refusals of the gateway's own must go on before an alert fires. The window of their rate is shorter, so
#: that a single one has left it before, and has two samples where there is one a minute.
_REFUSED_FOR, _REFUSED_WINDOW = "3m", "2m"


@dataclass(frozen=True)
class Thresholds:
    """From where on an alert fires."""

    #: Share of requests that end with a status of 500 or above, from 0 to 1.
    error_ratio: float = 0.05
    #: Share of a tier's requests that limits refuse, from 0 to 1.
    refusal_ratio: float = 0.5
    #: Seconds that the slowest hundredth of a model's requests takes.
    duration_seconds: float = 60
    #: Seconds until the first token of the slowest hundredth of a model's streams.
    first_token_seconds: float = 10
    #: Days until the first certificate expires.
    certificate_days: float = 14


@dataclass(frozen=True)
class Alert:
    """An alert, whose section in docs/operations.md has its name."""

    name: str
    expression: str
    #: How long the expression must hold.
    lasts: str
    severity: str
    summary: str
    description: str


def rule_groups(
    catalog: Mapping[str, t.Any], thresholds: Mapping[str, t.Any], runbook_url: str
) -> dict[str, list[dict[str, t.Any]]]:
    """The content of a file of rules.

    :param catalog: the catalogue, as the role ``catalog`` keeps it.
    :param thresholds: values of some fields of ``Thresholds``.
    :param runbook_url: the page with a section for each alert.
    """
    gateway = str(catalog["name"])
    limits = Thresholds(**{name: float(value) for name, value in thresholds.items()})
    prices = price_rules(catalog)
    groups = [{"name": f"{gateway}-recording", "rules": recording_rules(gateway)}]
    if prices:
        groups.append({"name": f"{gateway}-prices", "rules": prices})
    found = [_rendered(alert, gateway, runbook_url) for alert in alerts(gateway, limits)]
    groups.append({"name": f"{gateway}-alerts", "rules": found})
    return {"groups": groups}


def recording_rules(gateway: str) -> list[Rule]:
    """What dashboards and alerts are made from."""
    of_gateway = selector(gateway=gateway)
    errors = summed(REQUEST_RATE + selector(gateway=gateway, code="=~5.."), _GATEWAY)
    all_requests = summed(REQUEST_RATE + of_gateway, _GATEWAY)
    rules = [
        _record(REQUEST_RATE, summed(rate(REQUESTS, of_gateway), (*LABELS, "code", "refused_by", "reason"))),
        _record(TOKEN_RATE, summed(rate(TOKENS, of_gateway), (*LABELS, "type"))),
        _record(COST_RATE, f"{summed(rate(COST, of_gateway), LABELS)} / {_PRICED}"),
        _record(ERROR_RATIO, f"({errors} or 0 * {all_requests}) / ({all_requests} > 0)"),
    ]
    # Without a model a request was refused before its model was known.
    of_models = selector(gateway=gateway, model="!=")
    for end, share in QUANTILES.items():
        rules.append(_record(f"{DURATION_RULE}:{end}", quantile(share, DURATION, of_models, TIME_LABELS)))
        rules.append(_record(f"{FIRST_TOKEN_RULE}:{end}", quantile(share, FIRST_TOKEN, of_models, TIME_LABELS)))
    return rules


def price_rules(catalog: Mapping[str, t.Any]) -> list[Rule]:
    """What a token costs now, as series that do not change, for each provider of a model with a price."""
    rules = []
    for model in catalog["models"]:
        for backend in model["backends"] if model.get("price") else ():
            for kind in ("input", "output"):
                labels = {
                    "gateway": catalog["name"],
                    "model": model["name"],
                    "provider": backend["name"],
                    "type": kind,
                }
                price = f"{float(model['price'][kind]):.6f}".rstrip("0").rstrip(".")
                rules.append({**_record(PRICE, f"vector({price} / {_PRICED})"), "labels": labels})
    return rules


def alerts(gateway: str, limits: Thresholds) -> list[Alert]:
    """What somebody should look at, in the order of docs/operations.md."""

    def requests(**labels: str) -> str:
        return REQUEST_RATE + selector(gateway=gateway, **labels)

    def refused(reason: str, labels: tuple[str, ...]) -> str:
        of_reason = selector(gateway=gateway, refused_by="gateway", reason=reason)
        return f"{summed(rate(REQUESTS, of_reason, _REFUSED_WINDOW), labels)} > 0"

    def gone(part: str) -> str:
        """No target of a part, in a cluster that has other parts of the gateway or in none at all."""
        of_part = f"up{selector(job=job(gateway, part))}"
        any_part = f"up{selector(job=job(gateway, PROXIES, *CONTROLLERS))}"
        return f"(count by (cluster) ({any_part}) unless on (cluster) {of_part}) or on () absent({of_part})"

    tier, provider, model = ((*_GATEWAY, name) for name in ("tier", "provider", "model"))
    of_proxies = selector(job=job(gateway, PROXIES))
    proxies = f"up{of_proxies}"
    of_providers = summed(requests(provider="!="), provider)
    not_reached = summed(requests(provider="!=", reason="=~provider_unavailable|provider_timeout"), provider)
    of_errors = summed(requests(provider="!=", refused_by="provider", code="=~5..|429|401|403"), provider)
    rejected = " or ".join(
        f'label_replace(increase(envoy_{name}_update_rejected{of_proxies}[10m]) > 0, "service", "{name}", "", "")'
        for name in _REJECTED
    )
    answered = summed(f"increase({REQUESTS}{selector(gateway=gateway, code='200', model='!=')}[30m])", model)
    counted = summed(f"increase({TOKENS}{selector(gateway=gateway, model='!=')}[30m])", model)
    return [
        Alert(
            "AIGatewayDown",
            # A cluster that is down is seen beside others that are not.
            f"sum by (cluster) ({proxies}) == 0 or {gone(PROXIES)}",
            "2m",
            "critical",
            "No proxy of the gateway answers",
            "Prometheus reaches no proxy, so that probably no client does.",
        ),
        Alert(
            "AIGatewayProxyDown",
            f"{proxies} == 0",
            "5m",
            "warning",
            "A proxy does not answer",
            "Prometheus does not reach {{ $labels.instance }}; the other proxies carry its load.",
        ),
        Alert(
            "AIGatewayErrors",
            f"{ERROR_RATIO}{selector(gateway=gateway)} > {limits.error_ratio:g}",
            "5m",
            "critical",
            "Many requests fail",
            "{{ $value | humanizePercentage }} of the requests end with a status of 500 or above.",
        ),
        Alert(
            "AIGatewayFault",
            refused("=~gateway_fault|identity_unavailable", _GATEWAY),
            _REFUSED_FOR,
            "critical",
            "The gateway cannot judge requests",
            "A program of the proxies is missing or fails: {{ $value | humanize }} requests a second get 500 or 503.",
        ),
        Alert(
            "AIGatewayRefusals",
            f"{summed(requests(reason='rate_limit_exceeded', tier='!='), tier)} / "
            f"({summed(requests(tier='!='), tier)} > {_FEW}) > {limits.refusal_ratio:g}",
            "10m",
            "warning",
            "Limits refuse much of what a tier asks for",
            "{{ $value | humanizePercentage }} of the requests of tier {{ $labels.tier }} are refused by its limits.",
        ),
        Alert(
            "AIGatewayProviderUnreachable",
            f"{not_reached} / ({of_providers} > {_FEW}) > 0.2",
            "2m",
            "critical",
            "A provider cannot be reached",
            "{{ $value | humanizePercentage }} of the requests for {{ $labels.provider }} find no connection or no "
            "answer in time.",
        ),
        Alert(
            "AIGatewayProviderErrors",
            f"{of_errors} / ({of_providers} > 0) > 0.2",
            "5m",
            "warning",
            "A provider refuses or fails",
            "{{ $value | humanizePercentage }} of the requests for {{ $labels.provider }} get an error of the "
            "provider's own, such as a refused key or an exhausted quota.",
        ),
        Alert(
            "AIGatewaySlow",
            f"{DURATION_RULE}:p99_5m{selector(gateway=gateway)} > {limits.duration_seconds:g}",
            "10m",
            "warning",
            "A model answers slowly",
            "One request in a hundred for {{ $labels.model }} at {{ $labels.provider }} takes longer than "
            "{{ $value | humanizeDuration }}.",
        ),
        Alert(
            "AIGatewayFirstTokenSlow",
            f"{FIRST_TOKEN_RULE}:p99_5m{selector(gateway=gateway)} > {limits.first_token_seconds:g}",
            "10m",
            "warning",
            "Streams of a model begin slowly",
            "One stream in a hundred of {{ $labels.model }} at {{ $labels.provider }} begins later than after "
            "{{ $value | humanizeDuration }}.",
        ),
        Alert(
            "AIGatewayAuthenticationDown",
            refused("authorization_unavailable", _GATEWAY),
            _REFUSED_FOR,
            "critical",
            "Tokens cannot be checked",
            "Authorino or the keys of an issuer cannot be reached: {{ $value | humanize }} requests a second get 503.",
        ),
        Alert(
            "AIGatewayLimitsDown",
            refused("limits_unavailable", _GATEWAY),
            _REFUSED_FOR,
            "critical",
            "Limits cannot be checked",
            "The rate limit service or its Redis cannot be reached: {{ $value | humanize }} requests a second get 503.",
        ),
        Alert(
            "AIGatewayControllersDown",
            " or ".join(
                (
                    f"up{selector(job=job(gateway, *CONTROLLERS))} == 0",
                    *(f'label_replace({gone(part)}, "job", "{job(gateway, part)}", "", "")' for part in CONTROLLERS),
                )
            ),
            "5m",
            "warning",
            "A controller of the gateway does not answer",
            "{{ $labels.job }} {{ with $labels.instance }}at {{ . }} does not answer{{ else }}has no pod{{ end }}.",
        ),
        Alert(
            "AIGatewayDisconnected",
            f"min by (cluster, instance) (envoy_control_plane_connected_state{of_proxies}) == 0",
            "5m",
            "warning",
            "A proxy has no connection to Envoy Gateway",
            "{{ $labels.instance }} goes on with the configuration that it has, and gets no new one.",
        ),
        Alert(
            "AIGatewayConfigurationRejected",
            rejected,
            "1m",
            "critical",
            "A proxy has rejected its configuration",
            "{{ $labels.instance }} goes on with the last configuration that it accepted ({{ $labels.service }}).",
        ),
        Alert(
            "AIGatewayCertificateExpires",
            f"min by (cluster, instance) (envoy_server_days_until_first_cert_expiring{of_proxies}) "
            f"< {limits.certificate_days:g}",
            "1h",
            "warning",
            "A certificate of the gateway expires soon",
            "A certificate of {{ $labels.instance }} expires in {{ $value }} days.",
        ),
        Alert(
            "AIGatewayTokensNotCounted",
            f"({answered} > 10) unless on ({', '.join(model)}) ({counted} > 0)",
            "15m",
            "warning",
            "Answers of a model cost no tokens",
            "Requests for {{ $labels.model }} are answered, and no token of them was counted.",
        ),
    ]


def _record(name: str, expression: str) -> Rule:
    return {"record": name, "expr": expression}


def _rendered(alert: Alert, gateway: str, runbook_url: str) -> Rule:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.lasts,
        "labels": {"severity": alert.severity, "gateway": gateway},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{runbook_url}#{alert.name.lower()}",
        },
    }
