# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build the catalogue on the controller; nothing is sent to a host, so no key leaves the process."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ansible.plugins.action import ActionBase
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import INPUTS, build
from ansible_collections.egress.ai_gateway.plugins.module_utils._inventory import CatalogError


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset(INPUTS)

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        result["changed"] = False
        try:
            catalog = build(_plain(self._task.args), defined=task_vars or ())
        except CatalogError as error:
            result.update(failed=True, msg=str(error), faults=[asdict(fault) for fault in error.faults])
        else:
            result["catalog"] = catalog.as_dict()
        return result


def _plain(value: t.Any) -> t.Any:
    """The value with texts that do not know where they come from, as Ansible's do: whatever copies the variables later would copy that too."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_plain(item) for item in value]
    return value
