# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a report, a Jinja2 template of ``report`` and its ``checks``, failed ones first."""

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
