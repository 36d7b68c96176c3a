# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Usage from the access logs of a gateway's proxies, as far back as the cluster keeps them."""

from __future__ import annotations

import datetime
import json
import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.metrics import measure_of_code
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.model import Key, Reading
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.period import SECOND, Period, shown

CONTAINER = "envoy"
_OWNER = "gateway.envoyproxy.io/owning-gateway-"
#: Envoy keeps lines for so long before it writes them.
_DELAY = 10 * SECOND
#: No answer has more tokens.
_MOST = 10**12

Body = dict[str, t.Any]


@dataclass(frozen=True)
class Entry:
    """A request in the log."""

    #: When it ended, in milliseconds since 1970.
    ended: int
    key: Key
    #: What it adds to the fields of an Amount.
    amounts: dict[str, int]


@dataclass
class Log:
    """The log of a container, as far as it goes back."""

    pod: str
    #: When the container began, and when its first line was written, in milliseconds; None without a line.
    started: int
    first: int | None
    #: Lines of JSON that are no requests of this format.
    unread: int = 0

    def complete_since(self, start: int) -> int | None:
        """From when on all lines are there for certain; None where the log has no line.

        Lines before the first one were removed by the kubelet, or never were; nothing says which.
        """
        return None if self.first is None else max(start, self.first)


def entry_of(line: str) -> Entry | None:
    """The request of a line; None for a line that is none.

    :raises ValueError: for a line of JSON that has not the fields of a request; also KeyError, TypeError, OverflowError
        and RecursionError.
    """
    if not line.startswith("{"):
        return None
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise ValueError("no object")
    began = _time(str(fields["start_time"]))
    ended = began + round(float(fields.get("duration") or 0))
    names = (_name(fields.get(name)) for name in Key._fields)
    code = str(fields.get("response_code") or 0)
    # The metrics have the total in these two parts as well, whatever a provider says of each.
    total = _count(fields.get("total_tokens"))
    input_tokens = min(_count(fields.get("input_tokens")), total)
    amounts = {
        measure_of_code(code): 1,
        "input": input_tokens,
        "cached_input": _count(fields.get("cached_tokens")),
        "output": total - input_tokens,
        "recorded_cost": _count(fields.get("cost")),
    }
    return Entry(ended, Key(*names), {measure: amount for measure, amount in amounts.items() if amount})


def _time(written: str) -> int:
    return round(datetime.datetime.fromisoformat(written).timestamp() * SECOND)


def _name(value: t.Any) -> str:
    """A name in the log; ``-`` and null are none."""
    # Half of a character, as JSON may have, cannot be written to a file.
    return "" if value in (None, "-") else str(value).encode(errors="replace").decode()


def _count(value: t.Any) -> int:
    if value in (None, "", "-"):
        return 0
    number = float(value)
    if not 0 <= number <= _MOST:
        raise ValueError(f"{value} is no count")
    return round(number)


def read_access_log(
    api: Api,
    period: Period,
    namespace: str,
    gateway: tuple[str, str],
    providers: t.Mapping[str, str],
    now: int,
    say: t.Callable[[str], None] = lambda line: None,
) -> Reading:
    """What was used in the period, by the logs of the pods that are there now.

    :param namespace: that of the pods; empty for all.
    :param gateway: namespace and name of the Gateway.
    :param providers: by model the only provider that it has, for lines without one.
    :raises ApiError: where pods or logs may not be read.
    """
    reading = Reading(period, "access log")
    logs: list[Log] = []
    (pods,) = [kind for kind in api.types("v1") if kind.kind == "Pod"]
    labels = f"{_OWNER}namespace={gateway[0]},{_OWNER}name={gateway[1]}"
    for _version, bodies in api.pages(pods, namespace, {"labelSelector": labels}):
        for pod in bodies:
            say(f"reading the log of pod {pod['metadata']['name']}")
            log = _read_pod(api, pod, reading, providers)
            logs += [log] if log else []
    _judge(reading, logs, now)
    return reading


def _read_pod(api: Api, pod: Body, reading: Reading, providers: t.Mapping[str, str]) -> Log | None:
    """Adds what the logs of a pod have, of its container and of that before a restart, and returns the earlier one."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    status = next((status for status in statuses if status["name"] == CONTAINER), None)
    if status is None:
        return None
    states = [(status.get("lastState"), True)] if status.get("restartCount") else []
    found = [
        _read_log(api, pod, began, reading, providers, previous)
        for state, previous in [*states, (status.get("state"), False)]
        if (began := _began(state)) is not None
    ]
    logs = [log for log in found if log]
    for log in logs[1:]:
        logs[0].unread += log.unread
    return logs[0] if logs else None


def _began(state: Body | None) -> int | None:
    for kind in ("running", "terminated"):
        started = ((state or {}).get(kind) or {}).get("startedAt")
        if started:
            return _time(started)
    return None


def _read_log(
    api: Api, pod: Body, started: int, reading: Reading, providers: t.Mapping[str, str], previous: bool
) -> Log | None:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/log"
    query = {"container": CONTAINER, "timestamps": "true", **({"previous": "true"} if previous else {})}
    log = Log(f"{namespace}/{name}", started, None)
    bars = reading.period.bars()
    try:
        for line in api.lines(path, {**query, "limitBytes": 100}):
            try:
                log.first = _time(line.partition(" ")[0])
            except (ValueError, OverflowError):
                # The kubelet says with status 200 that it cannot read the log of a container that was removed.
                return None
            break
        for line in api.lines(path, {**query, "sinceTime": shown(reading.period.start)}):
            _read_line(line.partition(" ")[2], log, reading, bars, providers)
    except ApiError as error:
        # The log of a container before the last restart may be gone, and a pod may go while it is read.
        if error.status == 404 or (previous and error.status == 400):
            return None
        raise
    return log


def _read_line(line: str, log: Log, reading: Reading, bars: t.Sequence[Period], providers: t.Mapping[str, str]) -> None:
    try:
        entry = entry_of(line)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        log.unread += 1
        return
    if entry is None or not reading.period.start < entry.ended <= reading.period.end:
        return
    # Both edges are few, and the last parts are asked for most.
    index = next(index for index in range(len(bars) - 1, -1, -1) if entry.ended > bars[index].start)
    key = entry.key if entry.key.provider else entry.key._replace(provider=providers.get(entry.key.model, ""))
    for measure, amount in entry.amounts.items():
        reading.add(key, index, measure, amount)


def _judge(reading: Reading, logs: t.Sequence[Log], now: int) -> None:
    period = reading.period
    if not logs:
        reading.covered = None
        reading.caution("no_logs", "The gateway has no pod with a log, so that nothing can be said of this period.")
        return
    since = [log.complete_since(period.start) for log in logs]
    known = [time for time in since if time is not None]
    begins = max(known) if known else period.end
    reading.covered = Period(begins, period.end) if begins < period.end else None
    reading.caution(
        "covered",
        "The logs of the proxies that run now are complete "
        + (f"from {shown(begins)} to {shown(period.end)}." if reading.covered else "for no part of the period.")
        + " A proxy that was removed took its log with it, and the kubelet removes old lines."
        + (" What was used before is counted in part or not at all." if begins > period.start else ""),
    )
    for log in logs:
        if log.first is not None and log.first > period.start:
            reading.caution(
                "log_begins",
                f"The log of pod {log.pod} has no line from before {shown(log.first)}; its container began at "
                f"{shown(log.started)}.",
            )
        if log.unread:
            reading.caution("unread_lines", f"{log.unread} lines of pod {log.pod} are no requests of this format.")
    if now - period.end < _DELAY:
        reading.caution("log_delay", "Envoy writes its log every 10 seconds: the last requests may be missing.")
