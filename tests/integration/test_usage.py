# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests of playbook usage, from a real Prometheus and from the access log, on the embedded cluster.

They run alone too: make integration ARGS="-k usage".
"""

from __future__ import annotations

import collections
import csv
import datetime
import json
import pathlib
import time
import typing as t

import gateway_requests
import observability
import pytest
import yaml
from gateway_requests import Ask, body_of
from provider_kinds import token_of
from runs import playbook
from sites import SAME_CLUSTER, Sites, gateway_url
from test_observability import CHAT, PRICES, PROVIDERS, SITE, TOKENS, variables

#: Requests of each kind.
TIMES = 10
#: Seconds after which Envoy has written its log.
FLUSH = 11


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    observability.prometheus_programs.build()
    return tmp_path_factory.mktemp("usage")


@pytest.fixture(scope="module")
def given(place: pathlib.Path) -> pathlib.Path:
    """The file of the extra variables."""
    path = place / "site.yml"
    path.write_text(yaml.safe_dump({**variables(place), "ai_gateway_currency": "EUR"}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def server(sites: Sites, place: pathlib.Path, given: pathlib.Path) -> t.Iterator[t.Any]:
    """A Prometheus that has read the proxies of the observed site."""
    sites.ensure_any()
    run = ("egress.ai_gateway.site", "--extra-vars", f"@{given}", SAME_CLUSTER)
    sites.ensure(SITE, lambda: playbook(*run, "--skip-tags=validation"))
    # The files of another run are elsewhere.
    playbook(*run, "--tags=observability")
    (place / "prometheus").mkdir()
    found = observability.prometheus(place / "prometheus", place / "scrape.yml", place / "rules.yml")
    try:
        # What was counted before is known, once each target was read twice.
        read = 'sum_over_time(up{job=~"ai-gateway-.*"}[5m])'
        found.wait_for(read, lambda ups: len(ups) == 6 and all(value >= 2 for _, value in ups))
        yield found
    finally:
        found.stop()


class Used(t.NamedTuple):
    """What was sent from a time on, in ISO 8601: the tokens of the simulators, and the statuses by user."""

    since: str
    tokens: dict[tuple[str, str], int]
    statuses: dict[str, collections.Counter[int]]


@pytest.fixture(scope="module")
def used(server: t.Any) -> Used:
    """Whole answers, streams and refusals of two users, and of somebody without a token."""
    users = dict(token_of(tier) for tier in ("premium", "enterprise"))
    before = observability.simulated(PROVIDERS.values())
    counted = server.value(f"sum({TOKENS})")
    since = datetime.datetime.now(datetime.UTC).isoformat()
    time.sleep(1)
    statuses = {}
    for name, token in {**users, "": "no-token"}.items():
        asks = [
            Ask(CHAT, body_of(CHAT, model, stream=stream))
            for model in PROVIDERS
            for stream in (False, True)
            for _time in range(TIMES if name else 1)
        ]
        asks.append(Ask(CHAT, b"{"))
        replies = gateway_requests.send_all(gateway_url(), token, asks)
        statuses[name] = collections.Counter(reply.status for reply in replies)
    assert all(statuses[name] == {200: 4 * TIMES, 400: 1} for name in users)
    assert statuses[""] == {401: 5}
    after = observability.simulated(PROVIDERS.values())
    tokens = {key: after[key] - before[key] for key in after}
    assert all(amount > 0 for amount in tokens.values())
    server.wait_for(f"sum({TOKENS})", lambda found: bool(found) and found[0][1] - counted >= sum(tokens.values()))
    # The counters of refused requests, and the lines of the log.
    time.sleep(FLUSH)
    return Used(since, tokens, statuses)


def report(place: pathlib.Path, given: pathlib.Path, since: str, name: str, **others: str) -> dict[str, t.Any]:
    wanted = {"usage_from": since, "usage_report_directory": str(place / name), **others}
    arguments = ("--extra-vars", f"@{given}", "--extra-vars", json.dumps(wanted))
    assert playbook("egress.ai_gateway.usage", *arguments) == 0
    found: dict[str, t.Any] = json.loads((place / name / "usage.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("source", ["prometheus", "log"])
def test_usage_is_that_of_the_simulators_to_the_token(
    source: str, server: t.Any, used: Used, place: pathlib.Path, given: pathlib.Path
) -> None:
    url = {"usage_prometheus_url": f"http://127.0.0.1:{server.port}"} if source == "prometheus" else {}
    found = report(place, given, used.since, source, usage_source=source, **url)
    by_provider = {
        (entry["name"], kind): entry[f"{kind}_tokens"]
        for entry in found["providers"]
        for kind in ("input", "output")
        if entry["total_tokens"]
    }
    print(f"simulators {used.tokens}, usage {by_provider}, {[caution['code'] for caution in found['cautions']]}")
    assert by_provider == used.tokens
    # Each caller has the requests that it made.
    users = {entry["name"]: (entry["requests"], entry["refused"]) for entry in found["users"]}
    assert users == {
        name: (statuses[200], sum(statuses.values()) - statuses[200]) for name, statuses in used.statuses.items()
    }
    # And the cost is that of the prices, for each model and in all.
    expected = {
        model: sum(used.tokens[provider, kind] * PRICES[model][kind] for kind in ("input", "output")) / 1_000_000
        for model, provider in PROVIDERS.items()
    }
    models = {entry["name"]: entry["cost"] for entry in found["models"] if entry["total_tokens"]}
    assert models == pytest.approx(expected, abs=1e-12)
    assert found["totals"]["cost"] == pytest.approx(sum(expected.values()), abs=1e-12)
    assert found["currency"] == "EUR"
    wrong = {"no_series", "began_late", "no_price", "other_prices", "restarts", "uncounted_requests", "unread_lines"}
    assert not wrong & {caution["code"] for caution in found["cautions"]}
    with (place / source / "usage.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert sum(int(row["total_tokens"]) for row in rows) == sum(used.tokens.values())
    assert "<svg" in (place / source / "usage.html").read_text(encoding="utf-8")
