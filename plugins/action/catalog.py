# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build the catalogue on the controller; nothing is sent to a host, so no key leaves the process."""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from ansible.plugins.action import ActionBase
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import CatalogError
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import INPUTS


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
            catalog = build(self._task.args, defined=task_vars or ())
        except CatalogError as error:
            result.update(failed=True, msg=str(error), faults=[asdict(fault) for fault in error.faults])
        else:
            result["catalog"] = catalog.as_dict()
        return result
