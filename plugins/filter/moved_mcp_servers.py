# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import mcp_servers
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import plain

DOCUMENTATION = r"""
name: moved_mcp_servers
short_description: The MCP servers with a key that are to get another endpoint
version_added: 1.0.0
description:
  - Returns a sentence for each MCP server with a key whose Backend on the cluster leads to another endpoint than the
    catalogue has. It names the field and the remedy.
options:
  _input:
    description: The C(mcp_servers) of the catalogue.
    type: list
    elements: dict
    required: true
  backends:
    description: >-
      The Backend objects of the gateway's namespace, as module M(egress.ai_gateway.objects_info) returns them.
    type: list
    elements: dict
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show what stands in the way of a run
  ansible.builtin.debug:
    msg: "{{ ai_gateway_catalog.mcp_servers | egress.ai_gateway.moved_mcp_servers(found.resources) }}"
"""

RETURN = r"""
_value:
  description: The sentences, none where nothing is moved.
  type: list
  elements: str
"""


def moved_mcp_servers(servers: t.Any, backends: t.Any) -> list[str]:
    return mcp_servers.moved_servers(plain(servers), plain(backends))


class FilterModule:
    """Filters of MCP servers."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"moved_mcp_servers": moved_mcp_servers}
