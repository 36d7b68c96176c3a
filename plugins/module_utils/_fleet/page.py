# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of all clusters, a Jinja2 template of ``report`` and its ``clusters``, failed ones first."""

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
<title>{{ report.verdict }}</title>
<style>
"""
    + STYLE
    + """\
.passed { --status: var(--passed); }
.failed { --status: var(--failed); }
.running { --status: var(--text); }
.not-run { --status: var(--skipped); }
tbody tr.failed { background: color-mix(in srgb, var(--failed) 7%, transparent); }
tbody tr.not-run { color: var(--soft); }
td.name { min-width: 14rem; }
td.seen { min-width: 22rem; }
td.versions { min-width: 11rem; }
td.seconds, th.seconds {
  text-align: right; min-width: 6rem; white-space: nowrap; font-variant-numeric: tabular-nums;
  color: var(--soft);
}
td p { margin: 0 0 .35rem; }
td p:last-child { margin: 0; }
.reason { color: var(--failed); font-weight: 600; }
.failures { margin: 0 0 .35rem; padding-left: 1.2rem; }
.stale, .versions { color: var(--soft); }
.versions { font-size: .9rem; }
.versions span { display: block; white-space: nowrap; }
a { color: inherit; }
"""
    + NARROW
    + """\
</style>
</head>
<body>
<main>
<h1>{{ report.verdict }}</h1>
<p class="about">Playbook &ldquo;{{ report.document.playbook }}&rdquo; · began {{ report.document.started }} ·
{{ "ended" if report.is_complete else "as of" }} {{ report.updated }}, after {{ duration(report.seconds) }}</p>
<div class="counts">
<div class="count"><b>{{ report.clusters | length }}</b>clusters</div>
{% for status, count in report.counts.items() %}
{% if count or status != "running" %}
<div class="count {{ status | replace(" ", "-") }}{{ " some" if count }}"><b>{{ count }}</b>{{ status }}</div>
{% endif %}
{% endfor %}
</div>
<div class="table">
<table>
<thead><tr><th>Status</th><th>Cluster</th><th>What was seen</th><th>Versions</th><th class="seconds">Took</th></tr>
</thead>
<tbody>
{% for cluster in clusters %}
{% set outcome = cluster.outcome %}
<tr class="{{ cluster.status | replace(" ", "-") }}">
<td><span class="badge">{{ cluster.status }}</span></td>
<td class="name"><b>{{ cluster.name }}</b>
{% if outcome.gateway_url %}<span class="id">{{ outcome.gateway_url }}</span>{% endif %}
{% if not cluster.before and outcome.reachable is sameas false %}
<span class="id">API server does not answer</span>
{%- elif not cluster.before and outcome.finished and outcome.reachable is none %}
<span class="id">API server was not asked</span>
{%- endif %}</td>
<td class="seen" data-label="Seen">
{% if cluster.status == "running" %}<p>At work.</p>{% endif %}
{% if cluster.reason %}
<p class="{{ "reason" if cluster.status == "failed" else "stale" }}">{{ cluster.headline }}</p>
{% endif %}
{% for file in cluster.reports %}
{% if file.is_stale %}
<p class="stale">No {{ file.title | lower }} in this run. The last one, <a href="{{ link(file.page) }}">of
{{ file.finished }}</a>, is stale: {{ file.summary }}.</p>
{% else %}
<p><a href="{{ link(file.page) }}">{{ file.title }}</a>: {{ file.summary }}</p>
{% if file.failed %}
<ul class="failures">
{% for id, name in file.failed[:shown] %}
<li><a href="{{ link(file.page) }}#{{ link(id) }}">{{ name }}</a></li>
{% endfor %}
{% if file.failed | length > shown %}
<li><a href="{{ link(file.page) }}">and {{ file.failed | length - shown }} more</a></li>
{% endif %}
</ul>
{% endif %}
{% endif %}
{% endfor %}
{% if cluster.before %}<p class="stale">{{ cluster.before }}</p>{% endif %}</td>
<td class="versions" data-label="Versions">
{%- if not cluster.before %}{% for product, version in (outcome.versions or {}).items() %}
<span>{{ product }} {{ version }}</span>
{%- endfor %}{% endif %}</td>
<td class="seconds" data-label="Took">
{%- if cluster.seconds is not none %}{{ "within " if cluster.status == "failed" }}{{ duration(cluster.seconds) }}
{%- endif %}</td>
</tr>
{% endfor %}
</tbody>
</table>
</div>
</main>
</body>
</html>
"""
)
