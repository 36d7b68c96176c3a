# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules that read a cluster have in common, from their options to their result."""

from __future__ import annotations

import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import (
    Api,
    ApiError,
    ConnectionSettingsError,
    connect,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._progress import Progress

Body = dict[str, t.Any]
Result = dict[str, t.Any]
_SELECTORS: dict[str, t.Any] = {"type": "list", "elements": "str", "default": []}
#: The options that say which objects are meant.
OBJECTS_ARGUMENT_SPEC: dict[str, t.Any] = {
    "api_version": {"type": "str", "required": True},
    "kind": {"type": "str", "required": True},
    "namespace": {"type": "str", "default": ""},
    "name": {"type": "str", "default": ""},
    "label_selectors": _SELECTORS,
    "field_selectors": _SELECTORS,
}
#: From parameters, check mode, diff mode and what shows progress lines to the result.
Perform = t.Callable[[dict[str, t.Any], bool, bool, t.Callable[[str], None]], Result]


def with_api(params: t.Mapping[str, t.Any], parallel: int, doing: str, use: t.Callable[[Api], Result]) -> Result:
    """The result of ``use``, which does not change anything, or of the failure to reach the cluster.

    :param doing: in words, for errors.
    """
    with tempfile.TemporaryDirectory(prefix="ai-gateway-") as directory:
        try:
            return {"changed": False, **use(connect(params, parallel, directory))}
        except ImportError as error:
            return _failure(f"{missing_required_lib('kubernetes')} ({error})")
        except ConnectionSettingsError as error:
            return _failure(str(error))
        except ApiError as error:
            remedy = "; check the rights of the credentials in use" if error.status in (401, 403) else ""
            return _failure(f"{doing}: {error.request}: {error.message}{remedy}")


def _failure(message: str) -> Result:
    return {"changed": False, "failed": True, "msg": message}


def run_module(
    arguments: dict[str, t.Any],
    perform: Perform,
    hidden: t.Callable[[dict[str, t.Any]], t.Collection[str]] = hidden_values,
) -> None:
    """Run ``perform`` as a module of its own."""
    module = AnsibleModule(**arguments, supports_check_mode=True)
    params = dict(module.params)
    # Ansible would hide each string of an inline kubeconfig wherever it occurs, names of objects among them.
    module.no_log_values = set(hidden(params))
    if isinstance(params["kubeconfig"], dict):
        module.params["kubeconfig"] = "not shown"
    result = perform(params, module.check_mode, module._diff, Progress().say)
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


def read_objects(api: Api, params: t.Mapping[str, t.Any]) -> list[Body]:
    """The objects that OBJECTS_ARGUMENT_SPEC describes; none while their kind is not served."""
    kinds = [served for served in api.types(params["api_version"]) if served.kind == params["kind"]]
    if not kinds:
        return []
    if params["name"]:
        body = api.get(kinds[0].path(params["namespace"], params["name"]))
        return [body] if body else []
    query = {
        name: ",".join(params[option])
        for name, option in (("labelSelector", "label_selectors"), ("fieldSelector", "field_selectors"))
        if params[option]
    }
    return [body for _version, items in api.pages(kinds[0], params["namespace"], query) for body in items]
