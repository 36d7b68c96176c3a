# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of faults under load, as JSON and as a page; a run of some of them keeps the others' lines."""

from __future__ import annotations

import dataclasses
import datetime
import html
import json
import pathlib
import typing as t

from component_faults import FAULTS, Outcome, shown
from runs import ROOT

REPORTS = ROOT / "reports"
#: Seconds of recovery whose bar is as long as the page allows.
LONGEST = 30

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --paper: #fff; --line: #d8dee6; --faint: #66727f; --bar: #4a7fd6;
  --good: #1b7f4b; --bad: #b3261e; --shade: #f3f6fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ef; --paper: #14191f; --line: #2e3945; --faint: #93a0ad;
  --bar: #6ea0f0; --good: #5fce96; --bad: #ff8a80; --shade: #1b222a; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } p { color: var(--faint); margin: .3rem 0 1.2rem; max-width: 60rem; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.2rem 0; }
.figures div { background: var(--shade); border-radius: .5rem; padding: .7rem 1.1rem; }
.figures b { display: block; font-size: 1.5rem; } .good { color: var(--good); } .bad { color: var(--bad); }
div.table { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 600; } td.number { white-space: nowrap; }
.bar { display: inline-block; height: .6rem; border-radius: .3rem; background: var(--bar); margin-right: .5rem;
  min-width: 2px; }
tr.first td { border-top: 2px solid var(--line); }
"""
_HOW = {
    "killed": "SIGKILL",
    "slowed": "runs a twentieth of the time, for 5 s",
    "cut-off": "all packets are dropped, for 5 s",
    "stopped": "SIGSTOP, for 5 s",
    "restarted": "its pod is deleted",
}


def write(outcomes: t.Sequence[Outcome], directory: pathlib.Path = REPORTS) -> pathlib.Path:
    """Write faults.json and faults.html; return the page."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "faults.json"
    known: dict[str, dict[str, t.Any]] = {}
    if path.exists():
        known = {row["fault"]: row for row in json.loads(path.read_text(encoding="utf-8"))["faults"]}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    known |= {
        outcome.fault: {**dataclasses.asdict(outcome), "wrong": outcome.wrong(), "at": now} for outcome in outcomes
    }
    order = [fault.name for fault in FAULTS]
    rows = sorted(known.values(), key=lambda row: order.index(row["fault"]) if row["fault"] in order else len(order))
    path.write_text(json.dumps({"faults": rows}, indent=2) + "\n", encoding="utf-8")
    page = directory / "faults.html"
    page.write_text(_page(rows), encoding="utf-8")
    return page


def _page(rows: t.Sequence[dict[str, t.Any]]) -> str:
    refused = sum(sum(counts.values()) for row in rows for counts in row["refused"].values())
    wrong = [problem for row in rows for problem in row["wrong"]]
    answers = sum(sum(row["answers"].values()) for row in rows)
    slowest = max(rows, key=lambda row: row["recovery"], default=None)
    figures = [
        (str(len(rows)), "faults", ""),
        (str(answers), "good requests meanwhile", ""),
        (f"{refused}", "requests that must be refused", ""),
        (str(len(wrong)), "wrong outcomes", "bad" if wrong else "good"),
    ]
    if slowest:
        figures.append((f"{slowest['recovery']} s", f"longest recovery: {slowest['fault']}", ""))
    cards = "".join(
        f'<div><b class="{kind}">{html.escape(value)}</b>{html.escape(what)}</div>' for value, what, kind in figures
    )
    lines, before = [], ""
    for row in rows:
        how = next((how for how in _HOW if row["fault"].endswith(f"-{how}")), "")
        component = row["fault"].removesuffix(f"-{how}")
        lines.append(_row(row, component if component != before else "", how))
        before = component
    problems = "".join(f'<li class="bad">{html.escape(problem)}</li>' for problem in wrong)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Faults under load</title><style>{_STYLE}</style></head><body>
<h1>Faults under load</h1>
<p>One component after the other is harmed while requests run. Requests without a token, with a bad one, and of a tier
without the model run all the while, and none may be let in. Recovery is the time until the first of ten good answers
in a row: from a kill, or from the end of what lasts.</p>
<div class="figures">{cards}</div>{f"<ul>{problems}</ul>" if problems else ""}
<div class="table"><table><thead><tr><th>component</th><th>fault</th><th>recovery</th><th>ready again</th>
<th>good requests</th><th>to be refused</th><th>over the limit</th></tr></thead>
<tbody>{"".join(lines)}</tbody></table></div></body></html>
"""


def _row(row: dict[str, t.Any], component: str, how: str) -> str:
    width = min(row["recovery"], LONGEST) / LONGEST * 8
    refused: dict[str, int] = {}
    for counts in row["refused"].values():
        for status, count in counts.items():
            refused[status] = refused.get(status, 0) + count
    cells = [
        f"<td><b>{html.escape(component)}</b></td>",
        f'<td title="{html.escape(_HOW.get(how, ""))}">{html.escape(how)}</td>',
        f'<td class="number"><span class="bar" style="width:{width:.1f}rem"></span>{row["recovery"]:.1f} s</td>',
        f'<td class="number">{row["ready"]:.1f} s</td>',
        *(f"<td>{html.escape(shown(counts))}</td>" for counts in (row["answers"], refused, row["over_limit"])),
    ]
    return f'<tr class="{"first" if component else ""}">' + "".join(cells) + "</tr>"
