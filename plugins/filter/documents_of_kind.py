# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable

DOCUMENTATION = r"""
name: documents_of_kind
short_description: The documents of a YAML string that are of a kind
version_added: 1.0.0
description:
  - Accepts a string of manifests in YAML, such as a rendered chart, and returns those whose C(kind) is the given one,
    each as a string.
  - It looks at lines and parses nothing, which is much faster for long manifests. So C(kind) must be on a line of its
    own, without indentation.
options:
  _input:
    description: The manifests.
    type: str
    required: true
  kind:
    description: The kind.
    type: str
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show how many CRDs a chart has
  ansible.builtin.debug:
    msg: "{{ rendered.stdout | egress.ai_gateway.documents_of_kind('CustomResourceDefinition') | length }}"
"""

RETURN = r"""
_value:
  description: The documents.
  type: list
  elements: str
"""


def documents_of_kind(text: str, kind: str) -> list[str]:
    wanted = re.compile(rf"^kind: *[\"']?{re.escape(kind)}[\"']? *$", re.MULTILINE)
    return [document for document in re.split(r"^---[ \t]*$", text, flags=re.MULTILINE) if wanted.search(document)]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"documents_of_kind": documents_of_kind}
