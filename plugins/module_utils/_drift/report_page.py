# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a report of drift, a Jinja2 template."""

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
<title>Drift of {{ report.cluster }}: {{ report.summary }}</title>
<style>
"""  # noqa: S608 - a page, no query
    + STYLE
    + """\
.none, .create { --status: var(--passed); }
.update { --status: var(--skipped); }
.delete { --status: var(--failed); }
.foreign { --status: light-dark(#6a3fb5, #c3a6ff); }
.sentence {
  margin: 0 0 1.5rem; padding: .9rem 1.1rem; font-size: 1.2rem; font-weight: 600; background: var(--card);
  border: 1px solid var(--line); border-left: .35rem solid var(--status); border-radius: .6rem;
}
.sentence p { margin: .3rem 0 0; font-size: .95rem; font-weight: 400; color: var(--soft); }
.sentence code, .reason code { font: .9em ui-monospace, monospace; }
.count.some { border-color: color-mix(in srgb, var(--status) 45%, var(--line)); }
.count small { display: block; font-size: .78rem; line-height: 1.35; }
h2 { overflow-wrap: anywhere; }
h2 small { font-weight: 400; color: var(--soft); font-size: .9rem; }
.object {
  margin: 0 0 .75rem; padding: .8rem 1rem; background: var(--card); border: 1px solid var(--line);
  border-left: .3rem solid var(--status); border-radius: .6rem; overflow-wrap: anywhere;
}
.object b { margin-left: .35rem; }
.object .reason { margin: .4rem 0 0; color: var(--soft); }
.object table { margin-top: .6rem; font-size: .92rem; }
.object th, .object td { padding: .35rem .9rem .35rem 0; min-width: 5rem; }
.object td.path { width: 32%; }
.object td.value { width: 24%; }
.object td code { font: .9em ui-monospace, monospace; white-space: pre-wrap; }
.wanted { color: var(--passed); }
.found { color: var(--failed); }
td.who { color: var(--soft); }
td.who small { display: block; }
details { margin: 0 0 .75rem; }
summary { cursor: pointer; padding: .3rem 0; }
ul.names { margin: .4rem 0; padding-left: 1.2rem; columns: 2 22rem; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
"""
    + NARROW
    + """\
</style>
</head>
<body>
<main>
<h1>Drift of {{ report.cluster }}</h1>
<p class="about">{{ report.finished }} · {{ report.objects }} objects of the catalogue compared with the cluster
in {{ "%.1f" | format(report.seconds) }} s · nothing was changed</p>
{% set worst = "none" if not report.differences else "delete" %}
<div class="sentence {{ worst }}">{{ report.summary }}.
{% if report.differences %}
<p>The catalogue is what playbook <code>egress.ai_gateway.site</code> would apply now. A run of it makes the cluster
as the catalogue again. It leaves foreign objects as they are, and takes fields that others have written only with
<code>ai_gateway_force_conflicts: true</code>.</p>
{% endif %}
</div>
{% for warning in report.warnings %}
<div class="object foreign"><span class="badge">warning</span> {{ warning }}</div>
{% endfor %}
{% if report.differences %}
<div class="counts">
{% for action, count in report.counts.items() %}
<div class="count {{ action }}{{ " some" if count }}"><b>{{ count }}</b>{{ words[action] }}
<small>{{ meanings[action] }}</small></div>
{% endfor %}
</div>
{% endif %}
{% for item, differences in groups %}
<h2>Set {{ item.name }} <small>{{ differences | length }} of {{ item.objects }} objects
{{ "differs" if differences | length == 1 else "differ" }}
{%- if not item.exists %}; the cluster does not have this set{% endif %}</small></h2>
{% set created = differences | selectattr("action", "equalto", "create") | list %}
{% for difference in differences if difference.action != "create" or created | length <= 5 %}
<div class="object {{ difference.action }}">
<span class="badge">{{ words[difference.action] }}</span> <b>{{ title_of(difference) }}</b>
{% if difference.fields %}
<table>
<thead><tr><th>Field</th><th>In the catalogue</th><th>On the cluster</th><th>Written by</th></tr></thead>
<tbody>
{% for field in difference.fields %}
{% set values = values_of(field) %}
<tr>
<td class="path"><code>{{ field.path }}</code></td>
<td class="value" data-label="In the catalogue"><code class="wanted">{{ values[0] }}</code></td>
<td class="value" data-label="On the cluster"><code class="found">{{ values[1] }}</code></td>
<td class="who" data-label="Written by">{{ cause_of(field) }}
{%- if field.time %}<small>{{ field.time }}</small>{% endif %}</td>
</tr>
{% endfor %}
</tbody>
</table>
{% endif %}
{% if difference.reason %}<p class="reason">{{ difference.reason }}</p>{% endif %}
</div>
{% endfor %}
{% if created | length > 5 %}
<details class="object create">
<summary><span class="badge">to create</span> <b>{{ created | length }} objects</b></summary>
<ul class="names">{% for difference in created %}<li>{{ title_of(difference) }}</li>{% endfor %}</ul>
</details>
{% endif %}
{% endfor %}
<h2>What was compared</h2>
<div class="table">
<table>
<thead><tr><th>Set</th><th class="number">Objects</th><th class="number">Differ</th><th>On the cluster</th></tr></thead>
<tbody>
{% for item in report.sets %}
<tr>
<td>{{ item.name }}</td>
<td class="number" data-label="Objects">{{ item.objects }}</td>
<td class="number" data-label="Differ">{{ item.differences }}</td>
<td data-label="On the cluster">{{ "yes" if item.exists else "no" }}</td>
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
