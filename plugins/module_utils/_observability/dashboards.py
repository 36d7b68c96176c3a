# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Dashboards of Grafana, from a description of their panels."""

from __future__ import annotations

import hashlib
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._observability.metrics import (
    CACHED_TOKENS,
    CONTROLLERS,
    COST,
    DURATION,
    FIRST_TOKEN,
    PROXIES,
    REQUESTS,
    TOKENS,
    job,
    quantile,
    rate,
    selector,
    summed,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._observability.rules import PRICE

#: What Grafana puts a sensible window of time for.
_WINDOW = "$__rate_interval"
_RANGE = "$__range"
#: What a panel shows side by side, by its labels.
_SIDES = ("tier", "user", "model", "provider")
#: Which clusters a dashboard is of, where several share a Prometheus. All of them are those without the label as well.
_CLUSTER = "cluster"
_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3
#: The version of Grafana's schema, which newer ones convert.
_SCHEMA = 39
#: Characters that Grafana allows in a uid.
_LONGEST_UID = 40


@dataclass(frozen=True)
class Query:
    """A query of a panel, and how its series are called."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A panel; ``unit`` is one of Grafana's."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"


@dataclass(frozen=True)
class Dashboard:
    """A dashboard with rows of panels, by their titles."""

    name: str
    title: str
    rows: Mapping[str, tuple[Panel, ...]]
    #: Its variables, which are labels.
    variables: tuple[str, ...]


def dashboards(catalog: Mapping[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """The dashboards of a gateway as Grafana imports them, by their names.

    :param catalog: the catalogue, as the role ``catalog`` keeps it.
    """
    gateway = str(catalog["name"])
    by_user = bool(catalog["observability"]["users"])
    priced = any(model.get("price") for model in catalog["models"])
    return {
        described.name: _rendered(described, gateway)
        for described in (usage(gateway, by_user, priced), health(gateway))
    }


def usage(gateway: str, by_user: bool, priced: bool) -> Dashboard:
    """Who uses what, at which cost and how fast."""
    labels = [name for name in _SIDES if by_user or name != "user"]
    variables = (_CLUSTER, *labels)
    chosen = {name: f"=~${name}" for name in variables}
    of_choice = selector(gateway=gateway, **chosen)
    # Histograms have no users.
    timed = selector(gateway=gateway, **{name: value for name, value in chosen.items() if name != "user"})

    def counted(name: str, label: str, more: str = "") -> Query:
        return Query(summed(rate(name, of_choice, _WINDOW), (label,)) + more, f"{{{{{label}}}}}")

    def total(name: str, matchers: str, more: str = "") -> str:
        return f"sum(increase({name}{matchers}[{_RANGE}])){more}"

    rows: dict[str, tuple[Panel, ...]] = {
        "In the chosen time": (
            Panel("Requests", "short", (Query(total(REQUESTS, of_choice), ""),), "stat"),
            Panel("Tokens", "short", (Query(total(TOKENS, of_choice), ""),), "stat"),
            *((Panel("Cost", "short", (Query(total(COST, of_choice, " / 1e6"), ""),), "stat"),) if priced else ()),
        ),
        "Tokens": (
            *tuple(Panel(f"Tokens by {label}", "short", (counted(TOKENS, label),)) for label in labels),
            Panel("Tokens by type", "short", (counted(TOKENS, "type"),)),
            Panel("Input that providers had in their cache", "short", (counted(CACHED_TOKENS, "provider"),)),
        ),
        "Requests": (
            *tuple(Panel(f"Requests by {label}", "reqps", (counted(REQUESTS, label),)) for label in labels),
            Panel("Requests by status", "reqps", (counted(REQUESTS, "code"),)),
        ),
        "Refusals": tuple(
            Panel(f"Refused requests by {label}", "reqps", (_refused(gateway, chosen, label),))
            for label in ("reason", *labels, "refused_by")
        ),
        "Times": tuple(
            Panel(
                f"{title} by {label}",
                "s",
                tuple(
                    Query(quantile(share, name, timed, (label,), _WINDOW), f"{{{{{label}}}}} {round(share * 100)} %")
                    for share in (0.5, 0.99)
                ),
            )
            for title, name in (("Time of requests", DURATION), ("Time to the first token", FIRST_TOKEN))
            for label in ("tier", "model", "provider")
        ),
    }
    if priced:
        rows["Cost"] = (
            *tuple(
                Panel(f"Cost an hour by {label}", "short", (counted(COST, label, " * 3600 / 1e6"),)) for label in labels
            ),
            Panel(
                "Price of a million tokens",
                "short",
                (
                    Query(
                        PRICE + selector(gateway=gateway, model="=~$model", provider="=~$provider") + " * 1e6",
                        "{{model}} {{provider}} {{type}}",
                    ),
                ),
                "table",
            ),
        )
    return Dashboard(f"{gateway}-usage", f"AI gateway {gateway}: usage", rows, variables)


def _refused(gateway: str, chosen: Mapping[str, str], label: str) -> Query:
    matchers = selector(gateway=gateway, **chosen, code="=~[45]..")
    return Query(summed(rate(REQUESTS, matchers, _WINDOW), (label,)), f"{{{{{label}}}}}")


def health(gateway: str) -> Dashboard:
    """Whether the parts of the gateway work."""
    of_clusters = f"=~${_CLUSTER}"
    proxies = selector(job=job(gateway, PROXIES), cluster=of_clusters)
    parts = selector(job=job(gateway, PROXIES, *CONTROLLERS), cluster=of_clusters)

    def each(name: str, how: str = "sum") -> Query:
        return Query(f"{how} by (cluster, instance) ({name}{proxies})", "{{cluster}} {{instance}}")

    return Dashboard(
        f"{gateway}-health",
        f"AI gateway {gateway}: health",
        {
            "Parts": (
                Panel("Parts that answer", "short", (Query(f"sum by (job) (up{parts})", "{{job}}"),)),
                Panel(
                    "Share of failed requests",
                    "percentunit",
                    (
                        Query(
                            f"ai_gateway:error_ratio:rate5m{selector(gateway=gateway, cluster=of_clusters)}",
                            "{{cluster}} {{gateway}}",
                        ),
                    ),
                ),
                Panel(
                    "Proxies connected to Envoy Gateway",
                    "short",
                    (Query(f"sum(envoy_control_plane_connected_state{proxies})", "proxies"),),
                ),
            ),
            "Proxies": (
                Panel("Memory", "bytes", (each("envoy_server_memory_allocated"),)),
                Panel("Open connections of clients", "short", (each("envoy_server_total_connections"),)),
                Panel(
                    "Days until the first certificate expires",
                    "short",
                    (each("envoy_server_days_until_first_cert_expiring", "min"),),
                ),
            ),
        },
        (_CLUSTER,),
    )


def _rendered(dashboard: Dashboard, gateway: str) -> dict[str, t.Any]:
    panels: list[dict[str, t.Any]] = []
    top = 0
    for title, row in dashboard.rows.items():
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"h": 1, "w": _WIDTH * _COLUMNS, "x": 0, "y": top},
            }
        )
        top += 1
        for index, panel in enumerate(row):
            place = {
                "h": _HEIGHT,
                "w": _WIDTH,
                "x": _WIDTH * (index % _COLUMNS),
                "y": top + _HEIGHT * (index // _COLUMNS),
            }
            panels.append(_panel(panel, len(panels) + 1, place))
        top += _HEIGHT * -(-len(row) // _COLUMNS)
    return {
        "uid": _uid(dashboard.name),
        "title": dashboard.title,
        "tags": ["ai-gateway"],
        "schemaVersion": _SCHEMA,
        "editable": True,
        "timezone": "browser",
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [_source(), *(_variable(gateway, name) for name in dashboard.variables)]},
        "panels": panels,
    }


def _uid(name: str) -> str:
    """The same for the same dashboard, so that links last. A name that is too long ends with a digest of it."""
    if len(name) <= _LONGEST_UID:
        return name
    return f"{name[: _LONGEST_UID - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _source() -> dict[str, t.Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _variable(gateway: str, name: str) -> dict[str, t.Any]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": f"label_values({REQUESTS}{selector(gateway=gateway)}, {name})",
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "sort": 1,
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, t.Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    once = panel.kind != "timeseries"
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {}
        if once
        else {
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": source,
                "expr": query.expression,
                "legendFormat": query.legend,
                "instant": once,
                "range": not once,
                **({"format": "table"} if panel.kind == "table" else {}),
            }
            for index, query in enumerate(panel.queries)
        ],
    }
