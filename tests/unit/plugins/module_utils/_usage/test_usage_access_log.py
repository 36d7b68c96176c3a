# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access logs: what they have, and how far back they go."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.access_log import entry_of, read_access_log
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.model import Amount, Key, Reading
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.period import HOUR, MINUTE, SECOND, Period, shown

NOON = 1_795_608_000_000
LINE = {
    "start_time": "2026-11-25T11:30:00.500Z",
    "duration": 1500,
    "user": "jane",
    "tier": "free",
    "model": "gpt-4",
    "provider": "openai",
    "input_tokens": 60,
    "output_tokens": 40,
    "total_tokens": 100,
    "cost": 7.0,
    "response_code": 200,
}
KEY = Key("jane", "free", "gpt-4", "openai")


def line(**changes: t.Any) -> str:
    return json.dumps({**LINE, **changes})


def test_a_line_is_a_request_at_its_end() -> None:
    entry = entry_of(line(cached_tokens=10))
    assert entry
    assert shown(entry.ended) == "2026-11-25T11:30:02Z"
    assert entry.key == KEY
    assert entry.amounts == {"requests": 1, "input": 60, "output": 40, "cached_input": 10, "recorded_cost": 7}


@pytest.mark.parametrize(
    ("changes", "amounts"),
    [
        # The total is what limits count: tokens that the total alone has are output, as the metrics have it.
        ({"total_tokens": 130}, {"requests": 1, "input": 60, "output": 70, "recorded_cost": 7}),
        # A fixed number for what cannot be counted is in all three.
        (
            {"input_tokens": 500, "output_tokens": 500, "total_tokens": 500},
            {"requests": 1, "input": 500, "recorded_cost": 7},
        ),
        ({"response_code": 0}, {"requests": 1, "input": 60, "output": 40, "recorded_cost": 7}),
        (
            {"response_code": 429, "input_tokens": None, "output_tokens": None, "total_tokens": None, "cost": "-"},
            {"refused": 1},
        ),
    ],
)
def test_amounts(changes: dict[str, t.Any], amounts: dict[str, int]) -> None:
    entry = entry_of(line(**changes))
    assert entry
    assert entry.amounts == amounts


def test_lines_that_are_no_requests() -> None:
    assert entry_of("[2026-11-25 11:30:00.123][1][warning] something") is None
    for wrong in ("{}", '{"start_time": "soon"}', line(total_tokens=-1), line(total_tokens="many"), "{", '{"start'):
        with pytest.raises((ValueError, KeyError)):
            entry_of(wrong)


POD_TYPE = {"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["get", "list", "patch", "delete", "create"]}


class Pods:
    """An API server that has pods and their logs, with what urllib3 would say of them."""

    def __init__(self) -> None:
        self.pods: list[dict[str, t.Any]] = []
        #: By pod and whether it is that before a restart, times and lines.
        self.logs: dict[tuple[str, bool], list[tuple[int, str]]] = {}
        self.queries: list[dict[str, str]] = []

    def add(self, name: str, started: int, *entries: tuple[int, str], restarted: int | None = None) -> None:
        status: dict[str, t.Any] = {
            "name": "envoy",
            "restartCount": 0,
            "state": {"running": {"startedAt": shown(started)}},
        }
        if restarted is not None:
            status |= {"restartCount": 1, "lastState": {"terminated": {"startedAt": shown(restarted)}}}
        self.pods.append(
            {
                "metadata": {"namespace": "proxies", "name": name},
                "status": {"containerStatuses": [{"name": "sidecar"}, status]},
            }
        )
        self.logs[name, False] = list(entries)

    def request(self, method: str, url: str, **_options: t.Any) -> t.Any:
        path, _mark, query = url.partition("?")
        given = dict(part.split("=") for part in query.split("&")) if query else {}
        self.queries.append({"path": path, **given})
        if path.endswith("/api/v1"):
            return Answer(json.dumps({"groupVersion": "v1", "resources": [POD_TYPE]}))
        if path.endswith("/pods"):
            return Answer(json.dumps({"items": self.pods}))
        name = path.split("/")[-2]
        previous = "previous" in given
        if (name, previous) not in self.logs:
            return Answer(json.dumps({"kind": "Status", "message": "previous terminated container not found"}), 400)
        entries = self.logs[name, previous]
        if "limitBytes" in given:
            entries = entries[:1]
        if "sinceTime" in given:
            since = entry_time(given["sinceTime"])
            entries = [entry for entry in entries if entry[0] >= since]
        return Answer("".join(f"{shown(time)[:-1]}.000000000Z {text}\n" for time, text in entries), kind="text/plain")


def entry_time(written: str) -> int:
    import datetime

    return round(datetime.datetime.fromisoformat(written.replace("%3A", ":")).timestamp() * SECOND)


class Answer:
    def __init__(self, content: str, status: int = 200, kind: str = "application/json") -> None:
        self.status, self.data, self.headers = status, content.encode(), {"Content-Type": kind}

    def stream(self, **_options: t.Any) -> t.Iterator[bytes]:
        # In odd pieces, as a log comes.
        for at in range(0, len(self.data), 37):
            yield self.data[at : at + 37]

    def read(self) -> bytes:
        return self.data

    def close(self) -> None:
        pass


def at(time: int, **changes: t.Any) -> tuple[int, str]:
    """A line that is written when its request ends."""
    return time, line(start_time=shown(time - 2 * SECOND), duration=2000, **changes)


def read(pods: Pods, period: Period | None = None, now: int = NOON + HOUR) -> Reading:
    api = Api(pods, "https://cluster", dict, 2)
    chosen = period or Period(NOON - HOUR, NOON)
    return read_access_log(api, chosen, "proxies", ("ai-gateway", "gw"), {"gpt-4": "openai"}, now)


def total(reading: Reading, key: Key = KEY) -> Amount:
    result = Amount()
    for amount in reading.usage.get(key, {}).values():
        result.add(amount)
    return result


def codes(reading: Reading) -> list[str]:
    return [caution.code for caution in reading.cautions]


def test_requests_of_the_period_are_counted_once() -> None:
    pods = Pods()
    pods.add(
        "a",
        NOON - 5 * HOUR,
        at(NOON - 2 * HOUR),
        at(NOON - HOUR),
        at(NOON - HOUR + SECOND),
        (NOON - MINUTE, "[warning] nothing"),
        at(NOON),
        at(NOON + SECOND),
    )
    pods.add("b", NOON - 5 * HOUR, at(NOON - 3 * HOUR), at(NOON - MINUTE, user="omar", provider=None))
    reading = read(pods)
    assert total(reading) == Amount(requests=2, input=120, output=80, recorded_cost=14)
    # The only provider of the model.
    assert total(reading, KEY._replace(user="omar")).requests == 1
    assert reading.covered == Period(NOON - HOUR, NOON)
    assert codes(reading) == ["covered"]
    assert "are complete from 2026-11-25T11:00:00Z to 2026-11-25T12:00:00Z." in reading.cautions[0].message
    selectors = [query["labelSelector"] for query in pods.queries if "labelSelector" in query]
    assert selectors == [
        "gateway.envoyproxy.io%2Fowning-gateway-namespace%3Dai-gateway%2Cgateway.envoyproxy.io%2Fowning-gateway-name%3Dgw"
    ]


def test_what_logs_do_not_have_is_said() -> None:
    pods = Pods()
    pods.add("a", NOON - 5 * HOUR, at(NOON - 20 * MINUTE), (NOON - MINUTE, "{no json"))
    pods.add("b", NOON - 5 * HOUR, at(NOON - 3 * HOUR))
    reading = read(pods, now=NOON)
    assert reading.covered == Period(NOON - 20 * MINUTE, NOON)
    assert codes(reading) == ["covered", "log_begins", "unread_lines", "log_delay"]
    said = " ".join(caution.message for caution in reading.cautions)
    assert "complete from 2026-11-25T11:40:00Z" in said
    assert "What was used before is counted in part or not at all." in said
    assert "pod proxies/a has no line from before 2026-11-25T11:40:00Z; its container began at" in said
    assert "1 lines of pod proxies/a are no requests" in said


def test_a_container_before_a_restart_is_read_where_its_log_is_kept() -> None:
    pods = Pods()
    pods.add("a", NOON - 30 * MINUTE, at(NOON - 10 * MINUTE), restarted=NOON - 5 * HOUR)
    lost = read(pods)
    assert total(lost).requests == 1
    pods.logs["a", True] = [at(NOON - 4 * HOUR), at(NOON - 40 * MINUTE)]
    assert total(read(pods)).requests == 2


@pytest.mark.parametrize("previous", [True, False])
def test_a_log_of_which_the_kubelet_says_that_it_is_gone_is_not_there(previous: bool) -> None:
    class Gone(Pods):
        def request(self, method: str, url: str, **options: t.Any) -> t.Any:
            if "/pods/a/log" in url and ("previous" in url) == previous:
                return Answer("unable to retrieve container logs for containerd://0123", kind="text/plain")
            return super().request(method, url, **options)

    pods = Gone()
    pods.add("a", NOON - 30 * MINUTE, at(NOON - 10 * MINUTE), restarted=NOON - 5 * HOUR)
    pods.logs["a", True] = [at(NOON - 40 * MINUTE), at(NOON - 35 * MINUTE)]
    reading = read(pods)
    assert total(reading).requests == (1 if previous else 2)
    assert "unread_lines" not in codes(reading)


@pytest.mark.parametrize(
    "text",
    [
        line().replace("1500", "1e999"),
        line().replace("1500", "NaN"),
        line(duration=10**400),
        line(start_time="0001-01-01T00:00:00"),
        "{" + '"a":{' * 100_000,
    ],
)
def test_a_line_that_cannot_be_read_is_counted_as_such(text: str) -> None:
    pods = Pods()
    pods.add("a", NOON - 5 * HOUR, at(NOON - HOUR), (NOON - 2 * MINUTE, text), at(NOON - MINUTE))
    reading = read(pods)
    assert total(reading).requests == 1
    assert codes(reading)[:1] == ["covered"]


def test_half_a_character_in_a_name_can_be_written() -> None:
    entry = entry_of(line(user="a\ud800"))
    assert entry
    assert entry.key.user == "a?"


def test_a_gateway_without_proxies_says_nothing() -> None:
    reading = read(Pods())
    assert codes(reading) == ["no_logs"]
    assert reading.covered is None


def test_a_log_that_may_not_be_read_is_an_error() -> None:
    class Forbidden(Pods):
        def request(self, method: str, url: str, **options: t.Any) -> t.Any:
            if "/log" in url:
                return Answer(json.dumps({"kind": "Status", "reason": "Forbidden", "message": "no"}), 403)
            return super().request(method, url, **options)

    pods = Forbidden()
    pods.add("a", NOON - 5 * HOUR)
    with pytest.raises(ApiError) as caught:
        read(pods)
    assert caught.value.status == 403
    assert caught.value.request == "GET /api/v1/namespaces/proxies/pods/a/log"
