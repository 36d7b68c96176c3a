# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import yaml
from ansible_collections.egress.ai_gateway.plugins.filter.documents_of_kind import documents_of_kind

TEXT = """---
# Source: one
kind: Widget
metadata: {name: a}
---
kind: WidgetBinding
metadata: {name: b}
spec:
  kind: Widget
---\t
apiVersion: v1
kind: "Widget"
metadata: {name: c}
data: {text: "a --- b"}
"""


def test_documents_are_chosen_by_their_own_kind() -> None:
    found = [yaml.safe_load(document)["metadata"]["name"] for document in documents_of_kind(TEXT, "Widget")]
    assert found == ["a", "c"]
    assert documents_of_kind(TEXT, "Gadget") == documents_of_kind("", "Widget") == []
