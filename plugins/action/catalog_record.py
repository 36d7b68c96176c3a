# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Record what the inventory says of a gateway, on the controller, where its variables and their defaults are."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import plain
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.record import (
    ROLES,
    manifests,
    recorded_names,
    without_keys,
)

_ROLES = Path(__file__).parents[2] / "roles"


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset(["catalog"])

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        catalog = self._task.args["catalog"]
        record = without_keys(self._set_variables(task_vars or {}), catalog)
        result.update(
            changed=False,
            manifests=manifests(record, catalog["namespace"], catalog["name"]),
            variables=sorted(record.variables),
            unrecorded=list(record.unrecorded),
        )
        return result

    def _set_variables(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """The variables that differ from their defaults, with their values."""
        defaults = self._defaults()
        found = {}
        for name in recorded_names(defaults):
            given = task_vars.get(name, defaults[name])
            # A template that is the default's has its value, which need not be found.
            if given != defaults[name]:
                value = plain(self._templar.template(given))
                if value != self._default(defaults[name]):
                    found[name] = value
        return found

    def _default(self, default: t.Any) -> t.Any:
        """The value of a default; none is that of one with variables of a role that the play does not have."""
        try:
            return plain(self._templar.template(default))
        except AnsibleError:
            return None

    def _defaults(self) -> dict[str, t.Any]:
        """The defaults of the recorded roles as their files have them."""
        found: dict[str, t.Any] = {}
        for role in ROLES:
            found |= self._loader.load_from_file(str(_ROLES / role / "defaults/main.yml"), trusted_as_template=True)
        return found
