# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The metrics of the gateway by their names, and how they are summed up over proxies."""

from __future__ import annotations

import json

#: Envoy puts its own name before those of roles/access_policies/templates/metrics.yaml.j2.
PREFIX = "envoy_ai_gateway_"
REQUESTS = PREFIX + "requests_total"
TOKENS = PREFIX + "tokens_total"
CACHED_TOKENS = PREFIX + "cached_tokens_total"
COST = PREFIX + "cost_millionths_total"
DURATION = PREFIX + "request_duration_milliseconds"
FIRST_TOKEN = PREFIX + "time_to_first_token_milliseconds"

#: The labels of counters; what a scrape adds is left out of sums, but for the cluster, which several may share a
#: Prometheus by. A label that is missing changes nothing.
LABELS = ("cluster", "gateway", "tier", "user", "model", "provider")
#: Those of histograms after summing.
TIME_LABELS = ("cluster", "gateway", "model", "provider")

#: The parts of the gateway, by the ends of the names of the jobs by which they are scraped.
PROXIES = "proxies"
#: Those without which the gateway goes on as it is, or not at all.
CONTROLLERS = ("envoy-gateway", "controller", "authorino", "ratelimit")


def job(gateway: str, *parts: str) -> str:
    """The job of a part of a gateway, or a matcher of those of several."""
    names = [f"{gateway}-{part}" for part in parts]
    return names[0] if len(names) == 1 else "=~" + "|".join(names)


def selector(**labels: str) -> str:
    """Matchers of a selector; a value that begins with an operator has that one.

    :param labels: values by label, such as ``code="=~5.."`` or ``gateway="ai-gateway"``.
    """
    return "{" + ", ".join(_matcher(name, value) for name, value in labels.items()) + "}"


def _matcher(name: str, value: str) -> str:
    for operator in ("=~", "!~", "!="):
        if value.startswith(operator):
            return name + operator + json.dumps(value[2:], ensure_ascii=False)
    return f"{name}={json.dumps(value, ensure_ascii=False)}"


def summed(expression: str, labels: tuple[str, ...]) -> str:
    """The sum of an expression over all but some labels."""
    return f"sum by ({', '.join(labels)}) ({expression})"


def rate(name: str, matchers: str, window: str = "5m") -> str:
    """What a counter grows by in a second."""
    return f"rate({name}{matchers}[{window}])"


def quantile(share: float, name: str, matchers: str, labels: tuple[str, ...], window: str = "5m") -> str:
    """A quantile of a histogram of milliseconds, in seconds."""
    buckets = summed(rate(name + "_bucket", matchers, window), (*labels, "le"))
    return f"histogram_quantile({share}, {buckets}) / 1000"
