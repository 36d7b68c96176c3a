# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable, Mapping

import yaml

DOCUMENTATION = r"""
name: manifests_as_json
short_description: Manifests in YAML as one line of JSON each
version_added: 1.0.0
description:
  - Accepts a string of manifests in YAML and returns the same ones in JSON, each on a line.
  - They are then read many times faster.
options:
  _input:
    description: The manifests.
    type: str
    required: true
  annotations:
    description: Annotations to add to each.
    type: dict
    default: {}
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Keep a rendered chart
  ansible.builtin.copy:
    content: "{{ rendered.stdout | egress.ai_gateway.manifests_as_json }}"
    dest: /var/cache/chart.json
    mode: "0600"
"""

RETURN = r"""
_value:
  description: The lines.
  type: str
"""

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML without libyaml.
    from yaml import SafeLoader as Loader  # type: ignore[assignment]


def manifests_as_json(text: str, annotations: Mapping[str, str] | None = None) -> str:
    documents = [document for document in yaml.load_all(text, Loader=Loader) if document]
    if annotations:
        for document in documents:
            metadata = document["metadata"]
            metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
    return "".join(f"{json.dumps(document)}\n" for document in documents)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"manifests_as_json": manifests_as_json}
