# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of Argo CD's objects. Pure."""

from __future__ import annotations

import hashlib

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import LABEL_LIMIT, slug

#: So long is the name of an Application, without that of the directory that is added to it.
NAME_LIMIT = LABEL_LIMIT - len("-access-policies")
_DIGITS = 8


def application_name(host: str, gateway: str) -> str:
    """The name of the Applications of a cluster's gateway: that of the host and that of the gateway.

    With a digest where the host's name has to be changed or cut, as another host's could become the same.
    """
    readable = slug(host)
    name = f"{readable}-{gateway}".strip("-")
    if readable == host and len(name) <= NAME_LIMIT:
        return name
    digest = hashlib.sha256(f"{host}/{gateway}".encode()).hexdigest()[:_DIGITS]
    return f"{name[: NAME_LIMIT - _DIGITS - 1].rstrip('-')}-{digest}"
