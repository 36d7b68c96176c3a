# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a report, a Jinja2 template of ``report`` and what it makes of it."""

from __future__ import annotations

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Usage of {{ printable(report.cluster) }}: {{ report.summary }}</title>
<style>
:root {
  color-scheme: light dark;
  --page: light-dark(#f6f7f9, #14171c);
  --card: light-dark(#ffffff, #1d2129);
  --line: light-dark(#e1e4ea, #303642);
  --text: light-dark(#1b1f27, #e6e9ef);
  --soft: light-dark(#5c6575, #9aa4b5);
  --warn: light-dark(#8a5a00, #e5b567);
  --c0: light-dark(#2f6fde, #6ea3ff);
  --c1: light-dark(#d9822b, #f2a65a);
  --c2: light-dark(#1c9a6c, #5fd0a4);
  --c3: light-dark(#8c54d0, #b78cf0);
  --c4: light-dark(#c43d6b, #f07ba1);
  --c5: light-dark(#0c8da8, #58c4db);
  --c6: light-dark(#7d7a14, #c9c552);
  --c7: light-dark(#8b93a1, #78808e);
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2rem 1rem 4rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif;
}
main { max-width: 72rem; margin: 0 auto; }
h1 { margin: 0; font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { margin: 0 0 .75rem; font-size: 1.05rem; }
.about { margin: .25rem 0 1.5rem; color: var(--soft); overflow-wrap: anywhere; }
.counts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; margin-bottom: .75rem;
}
.count, .card, .cautions { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.count { padding: .75rem 1rem; color: var(--soft); }
.count b {
  display: block; font-size: 1.75rem; line-height: 1.25; color: var(--text); font-variant-numeric: tabular-nums;
}
.count .unknown { color: var(--warn); }
.card { padding: 1rem; margin-bottom: .75rem; overflow-x: auto; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr)); gap: .75rem; }
.pair .card { margin: 0; }
.pair { margin-bottom: .75rem; }
.cautions { padding: .75rem 1rem; margin-bottom: .75rem; border-left: .3rem solid var(--warn); }
.cautions ul { margin: .35rem 0 0; padding-left: 1.2rem; }
.cautions li { overflow-wrap: anywhere; }
.cautions b { color: var(--warn); }
svg.chart { display: block; width: 100%; height: auto; min-width: 36rem; }
.chart .label { fill: var(--soft); font: 12px system-ui, sans-serif; }
.chart line { stroke: var(--line); }
.f0 { fill: var(--c0); background: var(--c0); } .f1 { fill: var(--c1); background: var(--c1); }
.f2 { fill: var(--c2); background: var(--c2); } .f3 { fill: var(--c3); background: var(--c3); }
.f4 { fill: var(--c4); background: var(--c4); } .f5 { fill: var(--c5); background: var(--c5); }
.f6 { fill: var(--c6); background: var(--c6); } .f7 { fill: var(--c7); background: var(--c7); }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: .5rem 0 0; padding: 0; list-style: none; }
.legend i { display: inline-block; width: .75rem; height: .75rem; margin-right: .4rem; border-radius: .2rem; }
.legend li { overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th, td { padding: .4rem .45rem; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-size: .8rem; font-weight: 600; }
th.name, td.name { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
tbody tr { border-top: 1px solid var(--line); }
td.share { width: 24%; min-width: 6rem; color: var(--soft); }
svg.share { display: inline-block; width: calc(100% - 2.6rem); height: .7rem; }
svg.share rect { fill: var(--c0); }
.share span { display: inline-block; width: 2.4rem; }
.unknown { color: var(--warn); }
.soft { color: var(--soft); }
footer { color: var(--soft); margin-top: 1.5rem; }
</style>
</head>
<body>
{% macro cost(total) %}
{% if total.cost is none %}<span class="unknown">{{ unknown }}</span>
{%- else %}{{ money(total.cost) }}{% if total.unpriced_tokens %} <span class="unknown">+ ?</span>{% endif %}
{% endif %}
{% endmacro %}
{% set period = report.reading.period %}
{% set amount = report.total.amount %}
{% set priced = charts and charts[0][0] != "Tokens" %}
<main>
<h1>Usage of {{ printable(report.cluster) }}</h1>
<p class="about">{{ readable(period.start) }} to {{ readable(period.end) }} UTC
({{ duration(period.end - period.start) }}) ·
gateway {{ printable(report.gateway) }} · counted by {{ report.reading.source }}</p>
<div class="counts">
<div class="count">
{% if report.total.cost is none %}<b class="unknown">{{ unknown }}</b>cost
{% else %}<b>{{ money(report.total.cost) }}{% if report.total.unpriced_tokens %} <span class="unknown">+ ?</span>
{% endif %}</b>cost{% if report.unit %} in {{ report.unit }}{% endif %}
{% if report.total.unpriced_tokens %}, some not known{% endif %}
{% endif %}
</div>
<div class="count"><b title="{{ '{:,}'.format(amount.tokens) }}">{{ compact(amount.tokens) }}</b>tokens:
{{ compact(amount.input) }} in{% if amount.cached_input %} ({{ compact(amount.cached_input) }} cached){% endif %},
{{ compact(amount.output) }} out</div>
<div class="count"><b>{{ '{:,}'.format(amount.requests) }}</b>requests answered,
{{ '{:,}'.format(amount.refused) }} refused</div>
{% set users = dimensions.user | selectattr("total.amount.tokens") | list | length %}
{% set models = dimensions.model | selectattr("total.amount.tokens") | list | length %}
<div class="count"><b>{{ '{:,}'.format(users) }}</b>{{ "user" if users == 1 else "users" }}
of {{ models }} {{ "model" if models == 1 else "models" }}</div>
</div>
{% if report.cautions %}
<div class="cautions"><b>Before you use these numbers</b>
<ul>
{% for caution in report.cautions %}
<li>{{ printable(caution.message) }}</li>
{% endfor %}
</ul>
</div>
{% endif %}
{% for title, chart in charts %}
<div class="card">
<h2>{{ title }} over time, by model</h2>
<svg class="chart" viewBox="0 0 {{ chart.width }} {{ chart.height }}" role="img" aria-label="{{ title }} over time">
{% for label in chart.amounts %}
<line x1="{{ chart.left }}" x2="{{ chart.width }}" y1="{{ label.at }}" y2="{{ label.at }}"/>
<text class="label" x="{{ chart.left - 8 }}" y="{{ label.at + 4 }}" text-anchor="end">{{ label.words }}</text>
{% endfor %}
{% for label in chart.times %}
<text class="label" x="{{ label.at }}" y="{{ chart.height - 8 }}">{{ label.words }}</text>
{% endfor %}
{% for rectangle in chart.rectangles %}
<rect class="f{{ rectangle.colour }}" x="{{ rectangle.x }}" y="{{ rectangle.y }}" width="{{ rectangle.width }}"
 height="{{ rectangle.height }}"><title>{{ rectangle.title }}</title></rect>
{% endfor %}
</svg>
<ul class="legend">
{% for name, colour in chart.legend %}
<li><i class="f{{ colour }}"></i>{{ name }}</li>
{% endfor %}
</ul>
</div>
{% endfor %}
<div class="pair">
{% for dimension, groups in dimensions.items() if groups %}
<div class="card">
<h2>By {{ dimension }}, with the share of {{ "the cost" if priced else "tokens" }}</h2>
<table>
<thead><tr><th class="name">{{ titles[dimension] }}</th><th>Requests</th><th>Tokens</th><th>Cost</th>
<th>Share</th></tr></thead>
<tbody>
{% set most = [groups[0].total.known_cost if priced else groups | map(attribute="total.amount.tokens") | max, 1e-12]
              | map("float") | max %}
{% for group in groups[:10] %}
{% set used = group.total.amount %}
{% set part = (group.total.known_cost if priced else used.tokens) | float %}
{% set share = 100 * part / ((report.total.known_cost if priced else amount.tokens) | float or 1) %}
<tr><td class="name">{% if group.names[0] %}{{ group.name }}{% else %}
<span class="soft">{{ unknown }}</span>{% endif %}</td>
<td>{{ '{:,}'.format(used.requests) }}</td><td title="{{ '{:,}'.format(used.tokens) }}">{{ compact(used.tokens) }}</td>
<td>{{ cost(group.total) }}</td>
<td class="share"><svg class="share" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
<rect width="{{ (100 * part / most) | round(2) }}" height="8" rx="1"/></svg>
<span>{% if priced and group.total.cost is none %}?{% else %}
{{ "%.0f" | format(share) if share >= 1 or not part else "<1" }} %{% endif %}</span></td></tr>
{% endfor %}
</tbody>
</table>
{% if groups | length > 10 %}<p class="soft">{{ groups | length - 10 }} more are in the table below.</p>{% endif %}
</div>
{% endfor %}
</div>
{% if rows %}
<div class="card">
<h2>Each combination</h2>
<table>
<thead><tr>{% for title in titles.values() %}<th class="name">{{ title }}</th>{% endfor %}
<th>Requests</th><th>Refused</th><th>Tokens in</th><th>Cached</th><th>Tokens out</th>
<th>Cost{% if report.unit %} {{ report.unit }}{% endif %}</th></tr></thead>
<tbody>
{% for row in rows %}
{% set used = row.total.amount %}
<tr>{% for name in row.names %}
<td class="name">{% if name %}{{ printable(name) }}{% else %}<span class="soft">{{ unknown }}</span>{% endif %}</td>
{% endfor %}
<td>{{ '{:,}'.format(used.requests) }}</td><td>{{ '{:,}'.format(used.refused) }}</td>
<td>{{ '{:,}'.format(used.input) }}</td><td>{{ '{:,}'.format(used.cached_input) }}</td>
<td>{{ '{:,}'.format(used.output) }}</td><td>{{ cost(row.total) }}</td></tr>
{% endfor %}
</tbody>
</table>
{% if more_rows %}<p class="soft">{{ more_rows }} more are in usage.csv and usage.json.</p>{% endif %}
</div>
{% endif %}
<footer>
{% if report.prices %}
<details><summary>Prices of a million tokens{% if report.unit %} in {{ report.unit }}{% endif %}</summary>
<table>
<thead><tr><th class="name">Model</th><th>In</th><th>In, cached</th><th>Out</th></tr></thead>
<tbody>
{% for model, price in report.prices | dictsort %}
<tr><td class="name">{{ printable(model) }}</td><td>{{ price.input }}</td><td>{{ price.cached_input }}</td>
<td>{{ price.output }}</td></tr>
{% endfor %}
</tbody>
</table>
</details>
{% endif %}
<p>Requests count when they end. Cost is tokens times the prices of now. Written {{ readable(now) }} UTC.</p>
</footer>
</main>
</body>
</html>
"""
