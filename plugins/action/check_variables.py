# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check the variables of all roles on the controller, before Ansible or a role reads them.

A template that fails within a large variable fails wherever that is read, and Ansible then shows lines of the inventory
around it, in which keys may be. Here it is named by its path, and nothing of it is shown.
"""

from __future__ import annotations

import functools
import re
import typing as t
from dataclasses import asdict
from pathlib import Path

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.content import DEPTH, too_deep
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import Fault, key_of_path, listed
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import INPUTS, PREFIX
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.variables import (
    Options,
    misspelt,
    variable_faults,
)

#: How the messages begin that end with those of filters, and where secrets are.
_QUOTING = "Error rendering template: "
_SECRET = re.compile("credential|key|secret|certificate|password|token|redis|headers", re.IGNORECASE)
ROLES = Path(__file__).parents[2] / "roles"


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset()

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        result["changed"] = False
        given, (options, defaults) = task_vars or {}, _documented()
        # Those that begin with ai_gateway_ are the catalogue's, which knows more of them.
        faults = list(misspelt(given, options, (path.name for path in ROLES.iterdir())))
        for name, option in options.items():
            # The default may need what a role finds out first.
            if name in given and given[name] != defaults.get(name):
                faults += self._faults(name, given[name], option)
        if faults:
            result.update(
                failed=True, msg=listed("The variables have", faults), faults=[asdict(fault) for fault in faults]
            )
        return result

    def _faults(self, name: str, value: t.Any, option: t.Mapping[str, t.Any]) -> list[Fault]:
        if too_deep(value):
            problem = f"is nested more than {DEPTH} levels deep, or holds itself"
            return [Fault(name, problem, "write it without an anchor within itself")]
        # Others may need what a role finds out first, and are rendered where they are read.
        if not name.startswith(PREFIX) and self._templar.is_template(value):
            return []
        try:
            rendered = self._templar.template(value)
        except (AnsibleError, RecursionError, TypeError, ValueError) as error:
            return self._unrendered(name, value, error)
        # Those of the catalogue are checked there, all at once.
        return [] if name.removeprefix(PREFIX) in INPUTS else variable_faults(name, rendered, option)

    def _unrendered(self, path: str, value: t.Any, error: Exception) -> list[Fault]:
        """Which parts of a value cannot be rendered; if it is none by itself, the value."""
        if isinstance(value, dict):
            parts = [(f"{path}.{key_of_path(str(key))}", item) for key, item in value.items()]
        elif isinstance(value, (list, tuple)):
            parts = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
        else:
            parts = []
        found: list[Fault] = []
        for place, item in parts:
            try:
                self._templar.template(item)
            except (AnsibleError, RecursionError, TypeError, ValueError) as inner:
                found += self._unrendered(place, item, inner)
        return found or [
            Fault(path, f"cannot be rendered: {_reason(path, error)}", "correct the template, or what it needs")
        ]


def _reason(path: str, error: Exception) -> str:
    """Why a template fails, in one line. A filter may quote what it was given, which is not shown of a secret."""
    if not isinstance(error, AnsibleError):
        return "it refers to itself" if isinstance(error, RecursionError) else type(error).__name__
    reason = " ".join(str(error.message).split()).rstrip(".")[:300]
    quotes = reason.startswith(_QUOTING) and _SECRET.search(path)
    return _QUOTING.removesuffix(": ") if quotes else reason


@functools.cache
def _documented() -> tuple[Options, dict[str, t.Any]]:
    """What roles document of their variables, and the defaults, by their names."""
    options: dict[str, t.Any] = {}
    defaults: dict[str, t.Any] = {}
    for role in sorted(ROLES.iterdir()):
        for entry in _read(role / "meta/argument_specs.yml").get("argument_specs", {}).values():
            options.update(entry.get("options", {}))
        defaults.update(_read(role / "defaults/main.yml"))
    return options, defaults


def _read(path: Path) -> dict[str, t.Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if not path.exists():
        return {}
    # The loader is a safe one.
    return yaml.load(path.read_bytes(), loader) or {}  # noqa: S506
