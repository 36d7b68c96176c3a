# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import (
    Contents,
    ForeignParentError,
    SetIdentity,
    parent_manifest,
    read_parent,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import GroupKind

IDENTITY = SetIdentity("live", "apply-live")
CONTENTS = Contents(
    frozenset((GroupKind("apps", "Deployment"), GroupKind("", "ConfigMap"))), frozenset(("b", "apply-live", "a"))
)


def test_the_id_is_the_one_kubectl_computes() -> None:
    # kubectl 1.34 accepted this id for `--applyset=configmaps/live -n apply-live`.
    assert IDENTITY.id == "applyset-Nt8qDiHxUm1TWVpelYmzDQ-ZLTnh5-0Ra2ZO5Htvo90-v1"
    assert IDENTITY.selector == f"applyset.kubernetes.io/part-of={IDENTITY.id}"
    assert str(IDENTITY) == "apply-live/live"


def test_the_parent_records_kinds_and_other_namespaces_in_order() -> None:
    metadata = parent_manifest(IDENTITY, CONTENTS)["metadata"]
    assert metadata["labels"] == {"applyset.kubernetes.io/id": IDENTITY.id}
    assert metadata["annotations"] == {
        "applyset.kubernetes.io/tooling": "egress.ai_gateway/v1",
        "applyset.kubernetes.io/contains-group-kinds": "ConfigMap,Deployment.apps",
        "applyset.kubernetes.io/additional-namespaces": "a,b",
    }


def test_what_is_recorded_is_read_back() -> None:
    assert read_parent(IDENTITY, parent_manifest(IDENTITY, CONTENTS)) == Contents(
        CONTENTS.group_kinds, frozenset(("a", "b"))
    )
    assert read_parent(IDENTITY, parent_manifest(IDENTITY, Contents())) == Contents()


def test_contents_add_up() -> None:
    more = Contents(frozenset((GroupKind("", "Secret"),)), frozenset(("c",)))
    assert CONTENTS | more == Contents(CONTENTS.group_kinds | more.group_kinds, CONTENTS.namespaces | more.namespaces)


def test_another_config_map_is_no_parent() -> None:
    with pytest.raises(
        ForeignParentError,
        match="ConfigMap apply-live/live exists and is no parent of a set; rename it, or choose another name",
    ):
        read_parent(IDENTITY, {"metadata": {"name": "live", "namespace": "apply-live"}})


def test_another_tools_set_is_left_alone() -> None:
    parent = parent_manifest(IDENTITY, CONTENTS)
    parent["metadata"]["annotations"]["applyset.kubernetes.io/tooling"] = "kubectl/v1.34.4"
    with pytest.raises(
        ForeignParentError, match=r"set apply-live/live is managed by kubectl, not by egress\.ai_gateway"
    ):
        read_parent(IDENTITY, parent)
