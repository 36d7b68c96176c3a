# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a report, a Jinja2 template of ``report``, its ``checks`` in their order, and the ``slowest`` p99 of its
loads in seconds.
"""

from __future__ import annotations

from ansible_collections.egress.ai_gateway.plugins.module_utils._reports.page import NARROW, STYLE

PAGE = (
    """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ report.title }} of {{ report.cluster }}: {{ report.summary }}</title>
<style>
"""
    + STYLE
    + """\
.passed { --status: var(--passed); }
.failed { --status: var(--failed); }
.skipped { --status: var(--skipped); }
tbody tr.failed { background: color-mix(in srgb, var(--failed) 7%, transparent); }
td.name { min-width: 13rem; }
td.seen { min-width: 16rem; }
td.seconds, th.seconds {
  text-align: right; min-width: 5rem; white-space: nowrap; font-variant-numeric: tabular-nums;
  color: var(--soft);
}
.finding {
  margin: 0 0 .75rem; padding: .9rem 1rem; background: var(--card); border: 1px solid var(--line);
  border-left: .3rem solid var(--status); border-radius: .6rem; overflow-wrap: anywhere;
}
.finding.Error { --status: var(--failed); }
.finding.Warning { --status: var(--skipped); }
.finding.Info { --status: var(--soft); }
.finding p { margin: .35rem 0 0; }
.finding code { font: .9em ui-monospace, monospace; }
.finding ul { margin: .35rem 0 0; padding-left: 1.2rem; color: var(--soft); }
.loads td { min-width: 0; }
.loads td.name { min-width: 15rem; }
.loads .number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.loads .bars { width: 40%; min-width: 12rem; }
.bar { position: relative; height: .55rem; margin: .2rem 0; border-radius: .3rem; background: var(--line); }
.bar i { display: block; height: 100%; border-radius: .3rem; background: var(--status); }
.bar.median i { opacity: .45; }
"""
    + NARROW
    + """\
</style>
</head>
<body>
<main>
<h1>{{ report.title }} of {{ report.cluster }}</h1>
<p class="about">{% if report.gateway_url %}{{ report.gateway_url }} · {% endif %}{{ report.finished }} ·
{{ "%.1f" | format(report.seconds) }} s of checks</p>
<div class="counts">
<div class="count"><b>{{ report.checks | length }}</b>checks</div>
{% for status, count in report.counts.items() %}
<div class="count {{ status }}{{ " some" if count }}"><b>{{ count }}</b>{{ status }}</div>
{% endfor %}
</div>
<div class="table">
<table>
<thead><tr><th>Status</th><th>Check</th><th>Expected</th><th>Observed</th><th class="seconds">Seconds</th></tr></thead>
<tbody>
{% for check in checks %}
<tr class="{{ check.status }}" id="{{ check.id }}">
<td><span class="badge">{{ check.status }}</span></td>
<td class="name">{{ check.name }}<span class="id">{{ check.id }}</span></td>
<td class="seen" data-label="Expected">{{ check.expected }}</td>
<td class="seen" data-label="Observed">{{ check.observed }}
{%- if check.hint and check.status == "failed" %}<p class="hint">{{ check.hint }}</p>{% endif %}</td>
<td class="seconds" data-label="Seconds">
{%- if check.status != "skipped" %}{{ "%.2f" | format(check.seconds) }}{% endif %}</td>
</tr>
{% endfor %}
</tbody>
</table>
</div>
{% if report.loads %}
<h2>Requests meanwhile</h2>
<div class="table loads">
<table>
<thead><tr><th>Step</th><th class="number">Requests</th><th class="number">Refused</th>
<th class="number">Error rate</th><th class="number">p50</th><th class="number">p99</th>
<th>p50 and p99, of {{ "%.0f" | format(slowest * 1000) }} ms</th>
</tr></thead>
<tbody>
{% for load in report.loads %}
{% set figures = load.figures %}
<tr class="{{ "failed" if load.faults else "passed" }}">
<td class="name">{{ load.name }}</td>
<td class="number" data-label="Requests">{{ figures.requests }}</td>
<td class="number" data-label="Refused">{{ figures.refused }}</td>
<td class="number" data-label="Error rate">{{ "%.2f" | format(figures.error_rate * 100) }} %</td>
<td class="number" data-label="p50">{{ "%.0f" | format(figures.p50 * 1000) }} ms</td>
<td class="number" data-label="p99">{{ "%.0f" | format(figures.p99 * 1000) }} ms</td>
<td class="bars">
<div class="bar median"><i style="width: {{ "%.1f" | format(figures.p50 / slowest * 100) }}%"></i></div>
<div class="bar"><i style="width: {{ "%.1f" | format(figures.p99 / slowest * 100) }}%"></i></div></td>
</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endif %}
{% if report.findings %}
<h2>Diagnosis</h2>
{% for finding in report.findings %}
<div class="finding {{ finding.level }}">
<span class="badge">{{ finding.level }}</span> <b>{{ finding.code }}</b> {{ finding.message }}
{% if finding.evidence %}
<ul>{% for line in finding.evidence %}<li>{{ line }}</li>{% endfor %}</ul>
{% endif %}
<p>{{ finding.cause }}</p>
<p><b>Cure:</b> {{ finding.cure }}</p>
<p><b>Next:</b> <code>{{ finding.command }}</code></p>
{% if finding.consequences %}
<ul>{% for other in finding.consequences %}<li>{{ other.code }} {{ other.message }}</li>{% endfor %}</ul>
{% endif %}
</div>
{% endfor %}
{% endif %}
</main>
</body>
</html>
"""
)
