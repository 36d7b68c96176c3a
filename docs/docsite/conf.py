# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's configuration of the documentation as HTML, which scripts/docsite builds."""

from __future__ import annotations

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

project = "egress.ai_gateway"
project_copyright = "Contributors to the egress.ai_gateway project"
author = project_copyright

extensions = ["myst_parser", "sphinx_antsibull_ext"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
myst_heading_anchors = 4
# Blocks of code may have comments where their language has none, as in excerpts of JSON.
suppress_warnings = ["misc.highlighting_failure"]
# The README's page is for Galaxy and for the repository; pages link to it.
html_theme = "sphinx_ansible_theme"
html_title = "egress.ai_gateway"
html_short_title = "egress.ai_gateway"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"documentation_home_url": "", "vcs_pageview_mode": "edit"}
default_role = "any"


def without_link(
    app: Sphinx, environment: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.TextElement | None:
    """Show a reference to the documentation of Ansible or of another collection as its words.

    A link would need the inventories of their sites, and a build makes no requests. A reference to what should be here
    stays an error.
    """
    target = str(node.get("reftarget", ""))
    is_ours = target.startswith("ansible_collections.egress.ai_gateway.")
    return content if node.get("refdomain") == "std" and not is_ours else None


def setup(app: Sphinx) -> None:
    """Add the handler of references."""
    app.connect("missing-reference", without_link)
