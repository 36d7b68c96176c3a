# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages of all reports look like: one file without anything from outside, for light and dark screens."""

from __future__ import annotations

import re
import typing as t

#: The style that pages begin with.
STYLE = """\
:root {
  color-scheme: light dark;
  --page: light-dark(#f6f7f9, #14171c);
  --card: light-dark(#ffffff, #1d2129);
  --line: light-dark(#e1e4ea, #303642);
  --text: light-dark(#1b1f27, #e6e9ef);
  --soft: light-dark(#5c6575, #9aa4b5);
  --passed: light-dark(#137a3e, #5fd08f);
  --failed: light-dark(#b3261e, #ff8a80);
  --skipped: light-dark(#8a5a00, #e5b567);
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2rem 1rem 4rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif;
}
main { max-width: 72rem; margin: 0 auto; }
h1 { margin: 0; font-size: 1.5rem; }
.about { margin: .25rem 0 1.5rem; color: var(--soft); overflow-wrap: anywhere; }
.counts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(7rem, 1fr)); gap: .75rem;
  margin-bottom: 1.5rem;
}
.count {
  padding: .75rem 1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; color: var(--soft);
}
.count b {
  display: block; font-size: 1.75rem; line-height: 1.2; color: var(--text);
  font-variant-numeric: tabular-nums;
}
.count.some b { color: var(--status); }
.table { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; overflow-x: auto; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .65rem 1rem; text-align: left; vertical-align: top; }
th { color: var(--soft); font-size: .8rem; font-weight: 600; white-space: nowrap; }
tbody tr { border-top: 1px solid var(--line); }
td { min-width: 6rem; overflow-wrap: anywhere; }
.badge {
  padding: .1rem .6rem; border-radius: 1rem; font-size: .8rem; font-weight: 600;
  white-space: nowrap; color: var(--status);
}
.badge {
  border: 1px solid color-mix(in srgb, var(--status) 45%, transparent);
  background: color-mix(in srgb, var(--status) 12%, transparent);
}
.id { display: block; color: var(--soft); font: .8rem ui-monospace, monospace; }
.hint { margin: .4rem 0 0; color: var(--soft); }
h2 { margin: 2rem 0 .75rem; font-size: 1.2rem; }
"""
#: For narrow screens; what pages end their style with.
NARROW = """\
@media (max-width: 48rem) {
  body { padding-top: 1.25rem; }
  thead { display: none; }
  tr { display: block; padding: .75rem 1rem; }
  td, td.seconds { display: block; padding: .15rem 0; text-align: left; }
  td[data-label]:not(:empty)::before { content: attr(data-label) " "; color: var(--soft); font-size: .8rem; }
}
"""


def printable(text: str) -> str:
    """The string without control characters, which XML forbids and which would move a terminal's cursor."""
    return re.sub(r"[^\n\t\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]", "?", text)


def rendered(template: str, **values: t.Any) -> str:
    """The page that a Jinja2 template renders to.

    :raises ImportError: without the library Jinja2.
    """
    from jinja2 import Environment

    # Everything that came from outside is escaped.
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.from_string(template).render(**values)
