# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a set has on the cluster, without a change to it."""

from __future__ import annotations

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import (
    Contents,
    SetIdentity,
    read_parent,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.reading import (
    CONFIG_MAP,
    Body,
    Reader,
    Seen,
    seen,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import Reference


def members_of(api: Api, identity: SetIdentity) -> list[Reference]:
    """The members of a set, by namespace, kind and name; none where there is no set.

    :raises ForeignParentError: where the parent object is another's.
    :raises ApplySetError: where the members cannot be listed.
    :raises ApiError: where the parent object cannot be read.
    """
    parent = api.get(CONFIG_MAP.path(identity.namespace, identity.name))
    found = Reader(api, identity, _kept).recorded_members(read_parent(identity, parent) if parent else Contents())
    return sorted(
        (member.reference for member in found), key=lambda member: (member.namespace, member.kind, member.name)
    )


def _kept(resource_type: ResourceType, body: Body) -> Seen:
    return seen(resource_type, body, applied=None, digest="", body=None)
