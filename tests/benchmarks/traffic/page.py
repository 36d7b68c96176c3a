# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables and the picture of docs/performance.md, from the figures of all rounds."""

from __future__ import annotations

import html
import math
import pathlib
import statistics
import typing as t

from traffic.figures import beside, number, spread
from traffic.measure import CONNECTIONS_OF_CPU
from traffic.subjects import CHAT, MESSAGES

BEGIN, END = "<!-- Written by make bench-traffic, from here: -->", "<!-- Written by make bench-traffic, to here. -->"
#: What is not the gateway's own.
NOT_OWN = ("client", "upstream", "others")

Result = t.Mapping[str, t.Any]
Measure = t.Callable[[Result], float | None]


class Report:
    """All that was measured; see __main__.py for the form of ``content``."""

    def __init__(self, content: t.Mapping[str, t.Any]) -> None:
        self.content = content
        self.subjects: dict[str, list[Result]] = {}
        for result in content["results"]:
            self.subjects.setdefault(result["subject"], []).append(result)
        # In the order of the first round's list, whichever turn each had.
        self.subjects = {name: self.subjects[name] for name in content["notes"] if name in self.subjects}
        self.connections = [str(count) for count in content["plan"]["connections"]]
        self.limits = [f"{limit:g}" for limit in content["plan"]["limits"]]
        self.ours = next((name for name in self.subjects if name.startswith("ours")), "")

    def values(self, name: str, measure: Measure) -> list[float]:
        return [value for result in self.subjects[name] if (value := measure(result)) is not None]

    def value(self, name: str, measure: Measure) -> str:
        values = self.values(name, measure)
        return spread(values) if values else "-"

    def middle(self, name: str, measure: Measure) -> float:
        values = self.values(name, measure)
        return statistics.median(values) if values else math.nan


# --- measures ---


def closed(path: str, connections: str, *keys: str) -> Measure:
    def measure(result: Result) -> float | None:
        sent = result["closed"].get(path, {}).get(connections)
        return value_at(sent, keys)

    return measure


def of(part: str, *keys: str) -> Measure:
    return lambda result: value_at(result.get(part), keys)


def value_at(found: t.Any, keys: t.Iterable[str]) -> float | None:
    """Return what lies under ``keys``; nothing for what was not measured, or of no request."""
    if not found or ("requests" in found and not found["requests"]):
        return None
    for key in keys:
        found = found.get(key) if found else None
    return found if found is None else float(found)


def own_cpu(path: str, connections: str) -> Measure:
    """Of the gateway's own processes, CPU seconds for a thousand requests."""

    def measure(result: Result) -> float | None:
        sent = result["closed"].get(path, {}).get(connections)
        own = [seconds for name, seconds in (sent or {}).get("cpu", {}).items() if name not in NOT_OWN]
        return sum(own) if own else None

    return measure


def own_memory(result: Result) -> float | None:
    return sum(result["memory"].values()) or None


# --- tables ---


def table(head: t.Sequence[str], rows: t.Iterable[t.Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def by_subject(report: Report, head: str, columns: t.Mapping[str, Measure]) -> str:
    rows = [[name, *(report.value(name, measure) for measure in columns.values())] for name in report.subjects]
    return table([head, *columns], rows)


def throughput(report: Report) -> str:
    cores = report.content["machine"]["cores"]

    def per_core(result: Result) -> float | None:
        rates = [sent["rate"] for sent in result["closed"][CHAT].values() if sent["requests"]]
        return max(rates) / cores if rates else None

    return by_subject(
        report,
        "requests/s",
        {
            **{
                f"{count} connection{'s' * (count != '1')}": closed(CHAT, count, "rate") for count in report.connections
            },
            "the best, per core": per_core,
            **{f"held at p99 of {limit} ms": of("held", limit) for limit in report.limits},
        },
    )


def latency(report: Report) -> str:
    rate = number(report.content["plan"]["rate"])
    columns = {}
    for share in ("p50", "p99"):
        columns |= {f"{share}, {count}": closed(CHAT, count, "latency", share) for count in report.connections}
        columns[f"{share}, {rate}/s"] = of("fixed", "latency", share)
    return by_subject(report, "ms by connections, or at a fixed rate", columns)


def streams(report: Report) -> str:
    columns = {
        f"{what}, {share}": of("streams", part, share)
        for part, what in (("first", "first token"), ("between", "between tokens"))
        for share in ("p50", "p99")
    }
    return by_subject(report, f"ms, {report.content['plan']['streams']} streams at a time", columns)


def by_process(report: Report, head: str, found: t.Callable[[Result], t.Mapping[str, float]]) -> str:
    names: dict[str, None] = {}
    for results in report.subjects.values():
        for result in results:
            names |= dict.fromkeys(found(result))
    # What is not the gateway's own comes last.
    ordered = [name for name in names if name not in NOT_OWN] + [name for name in NOT_OWN if name in names]

    def measure(process: str) -> Measure:
        return lambda result: found(result).get(process)

    def own(result: Result) -> float | None:
        return sum(value for name, value in found(result).items() if name not in NOT_OWN) or None

    return by_subject(report, head, {"all of its own": own, **{name: measure(name) for name in ordered}})


def cpu(report: Report, path: str = CHAT) -> str:
    connections = str(CONNECTIONS_OF_CPU)
    return by_process(
        report,
        "CPU seconds for 1,000 requests",
        lambda result: result["closed"].get(path, {}).get(connections, {}).get("cpu", {}),
    )


def memory(report: Report) -> str:
    return by_process(report, "MiB resident after the load", lambda result: result["memory"])


def messages(report: Report) -> str:
    count = str(CONNECTIONS_OF_CPU)
    return by_subject(
        report,
        f"/v1/messages, {count} connections",
        {
            "requests/s": closed(MESSAGES, count, "rate"),
            "p50, ms": closed(MESSAGES, count, "latency", "p50"),
            "p99, ms": closed(MESSAGES, count, "latency", "p99"),
            "its own CPU seconds for 1,000 requests": own_cpu(MESSAGES, count),
        },
    )


def comparison(report: Report) -> str:
    """How ours does beside each other subject, by the medians."""
    count = str(CONNECTIONS_OF_CPU)
    measures: dict[str, tuple[Measure, bool]] = {
        f"requests/s at {count} connections": (closed(CHAT, count, "rate"), True),
        **{f"held at p99 of {limit} ms": (of("held", limit), True) for limit in report.limits},
        f"p99 at {count} connections": (closed(CHAT, count, "latency", "p99"), False),
        f"p99 at {number(report.content['plan']['rate'])}/s": (of("fixed", "latency", "p99"), False),
        "first token, p50": (of("streams", "first", "p50"), False),
        "first token, p99": (of("streams", "first", "p99"), False),
        "own CPU for a request": (own_cpu(CHAT, count), False),
        "memory": (own_memory, False),
        "/v1/messages, requests/s": (closed(MESSAGES, count, "rate"), True),
    }
    ours = report.ours
    others = [name for name in report.subjects if name != ours]
    rows = [
        [
            what,
            *(beside(report.middle(ours, measure), report.middle(name, measure), higher) for name in others),
        ]
        for what, (measure, higher) in measures.items()
    ]
    return table([f"{ours}, as good as", *others], rows)


def failures(report: Report) -> str:
    """Say which requests failed, so that no figure hides them."""
    lines = []
    for name, results in report.subjects.items():
        counted: dict[str, int] = {}
        for result in results:
            sent = [entry for by_count in result["closed"].values() for entry in by_count.values()]
            for entry in (*sent, result["fixed"], result["streams"]):
                for what, count in entry["failures"].items():
                    counted[what] = counted.get(what, 0) + count
        lines += [f"- {name}: {count:,} times {what}" for what, count in counted.items()]
    return "\n".join(["Requests that failed, those of the search for rates aside:", "", *lines]) if lines else ""


def circumstances(report: Report) -> str:
    content = report.content
    machine, plan = content["machine"], content["plan"]
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    stolen = [
        sent["stolen"]
        for result in content["results"]
        for by_count in result["closed"].values()
        for sent in by_count.values()
    ]
    rounds = len({result["round"] for result in content["results"]})
    lines = [
        f"Measured on {content['date']} on {machine['cores']} cores ({machine['processor']}, {machine['kernel']}), "
        f"{rounds} round{'s' if rounds != 1 else ''}, {number(plan['seconds'])} s a measurement.",
        f"The machine's host took away {number(statistics.fmean(stolen))} of its cores on average, "
        f"{number(max(stolen))} at most.",
        f"Versions: {versions}.",
        "Each figure is the median of the rounds, with the least and the most in parentheses.",
    ]
    return "\n".join(lines)


def section(report: Report, picture: str) -> str:
    """Return what goes between the markers."""
    notes = "\n".join(f"- {name}: {report.content['notes'][name]}." for name in report.subjects)
    parts = [
        circumstances(report),
        notes,
        f"![Requests a second and CPU seconds by gateway, on logarithmic scales]({picture})",
        "### Requests a second",
        throughput(report),
        "### Latency",
        latency(report),
        "### Streams",
        streams(report),
        "### CPU",
        cpu(report),
        "### Memory",
        memory(report),
        "### Anthropic's API",
        messages(report),
    ]
    if report.ours and len(report.subjects) > 1:
        parts += ["### Beside the others", comparison(report)]
    if failed := failures(report):
        parts += ["### Failures", failed]
    return "\n\n".join(parts)


def put(page: str, content: str) -> str:
    """Return the page with the content between its markers.

    :raises ValueError: for a page without them.
    """
    before, begin, rest = page.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


# --- the picture ---

ROW, TOP, LEFT, WIDTH, GAP = 26, 58, 210, 360, 70
#: Of the marks, distinguishable without colours too: each has a form of its own.
COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#b8860b")


def decades(values: t.Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten that enclose the values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def mark(form: int, x: float, y: float) -> str:
    colour = COLOURS[form % len(COLOURS)]
    if form % len(COLOURS) == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'
    corners = {
        1: ((0, -5), (5, 4), (-5, 4)),
        2: ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        3: ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)),
    }[form % len(COLOURS)]
    points = " ".join(f"{x + right:.1f},{y + down:.1f}" for right, down in corners)
    return f'<polygon points="{points}" fill="{colour}"/>'


def panel(report: Report, left: float, title: str, measures: t.Mapping[str, Measure]) -> list[str]:
    """Return a panel of marks on a logarithmic scale, a line for each subject, with the spread of each mark."""
    found = {
        (name, what): [value for value in report.values(name, measure) if value > 0]
        for name in report.subjects
        for what, measure in measures.items()
    }
    every = [value for values in found.values() for value in values]
    if not every:
        return []
    low, high = decades(every)

    def x(value: float) -> float:
        return left + (math.log10(value) - low) / (high - low) * WIDTH

    bottom = TOP + ROW * len(report.subjects)
    lines = [f'<text x="{left}" y="18" class="title">{html.escape(title)}</text>']
    at = left
    for form, what in enumerate(measures):
        lines += [mark(form, at + 5, 32), f'<text x="{at + 14}" y="36">{html.escape(what)}</text>']
        at += 26 + 6.4 * len(what)
    for power in range(low, high + 1):
        lines.append(
            f'<line x1="{x(10**power):.1f}" y1="{TOP - 8}" x2="{x(10**power):.1f}" y2="{bottom}" class="grid"/>'
        )
        lines.append(f'<text x="{x(10**power):.1f}" y="{bottom + 16}" class="scale">{10.0**power:,.10g}</text>')
    for index, name in enumerate(report.subjects):
        y = TOP + ROW * (index + 0.5) - 4
        for form, what in enumerate(measures):
            if values := found[name, what]:
                ends = f'x1="{x(min(values)):.1f}" y1="{y:.1f}" x2="{x(max(values)):.1f}" y2="{y:.1f}"'
                lines.append(f'<line {ends} stroke="{COLOURS[form % len(COLOURS)]}" stroke-width="2"/>')
                hint = html.escape(f"{name}, {what}: {spread(values)}")
                lines.append(f"<g><title>{hint}</title>{mark(form, x(statistics.median(values)), y)}</g>")
    return lines


def picture(report: Report) -> str:
    """Return an SVG document: requests a second, and CPU seconds, of every subject."""
    count = str(CONNECTIONS_OF_CPU)
    rates: dict[str, Measure] = {f"{count} connections": closed(CHAT, count, "rate")}
    rates |= {f"p99 ≤ {limit} ms": of("held", limit) for limit in report.limits}
    lines = panel(report, LEFT, "Requests a second", rates)
    lines += panel(
        report,
        LEFT + WIDTH + GAP,
        "CPU seconds of its own for 1,000 requests",
        {"chat": own_cpu(CHAT, count), "/v1/messages": own_cpu(MESSAGES, count)},
    )
    for index, name in enumerate(report.subjects):
        kind = "name ours" if name.startswith("ours") else "name"
        y = TOP + ROW * (index + 0.5)
        lines.append(f'<text x="{LEFT - 12}" y="{y:.1f}" class="{kind}">{html.escape(name)}</text>')
    width, height = LEFT + 2 * WIDTH + GAP + 40, TOP + ROW * len(report.subjects) + 30
    style = (
        "text{font:12px sans-serif;fill:#222}.title{font-weight:bold;font-size:13px}.name{text-anchor:end}"
        ".ours{font-weight:bold}.scale{text-anchor:middle;fill:#555}.grid{stroke:#ddd}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    rights = (
        "<!-- Copyright: Contributors to the egress.ai_gateway project\nSPDX-License-Identifier: GPL-3.0-or-later -->"
    )
    background = f'<rect width="{width}" height="{height}" fill="white"/>'
    return "\n".join([head, rights, f"<style>{style}</style>", background, *lines, "</svg>", ""])


def write(content: t.Mapping[str, t.Any], page: pathlib.Path) -> None:
    """Write the tables into the page, and the picture beside it."""
    report = Report(content)
    drawing = page.with_suffix(".svg")
    page.write_text(put(page.read_text(encoding="utf-8"), section(report, drawing.name)), encoding="utf-8")
    drawing.write_text(picture(report), encoding="utf-8")
