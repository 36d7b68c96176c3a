# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task of apply_set from its options to its result, wherever it runs: in the action plugin, or in the module."""

from __future__ import annotations

import tempfile
import typing as t
from pathlib import Path

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.collecting import collect_set
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import (
    ForeignParentError,
    SetIdentity,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.manifests import ManifestError
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.reading import ApplySetError
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.run import Options, Outcome, Run
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.staging import stage
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import (
    Api,
    ApiError,
    ConnectionSettingsError,
    connect,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.expectations import HAS_JMESPATH
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import Reference
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.unexpected import describe
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.wait import WaitError
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

Params = dict[str, t.Any]

_LISTS = ("created", "updated", "unchanged", "deleted", "kept", "released")


def argument_spec() -> dict[str, t.Any]:
    return {
        **AUTH_ARG_SPEC,
        "name": {"type": "str", "required": True},
        "namespace": {"type": "str", "required": True},
        # no_log keeps Secrets out of the system log and out of errors about arguments; see hidden_values.
        "manifests": {"type": "raw", "default": [], "no_log": True},
        "template": {"type": "list", "elements": "path", "default": []},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "prune": {"type": "bool", "default": True},
        "adopt": {"type": "bool", "default": False},
        "managers": {"type": "list", "elements": "str", "default": []},
        "wait": {"type": "bool", "default": True},
        "wait_timeout": {"type": "int", "default": 300},
        "prune_delay": {"type": "int", "default": 0},
        "wait_for": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "kind": {"type": "str", "required": True},
                "api_version": {"type": "str"},
                "namespace": {"type": "str"},
                "name": {"type": "str"},
                "query": {"type": "str", "required": True},
                "failed": {"type": "str"},
            },
        },
        "rehearse": {"type": "bool", "default": False},
        "render_to": {"type": "path"},
        "collect_in": {"type": "path"},
        "parallel": {"type": "int", "default": 8},
        "force_conflicts": {"type": "bool", "default": False},
        "force_removal": {"type": "bool", "default": False},
    }


def shown_params(params: Params) -> Params:
    """The options as they may be shown."""
    shown = {**params, "manifests": f"{len(_manifests(params))} manifests, not shown"}
    if isinstance(params["kubeconfig"], dict):
        shown["kubeconfig"] = "not shown"
    return shown


def _manifests(params: Params) -> list[t.Any]:
    return params["manifests"] if isinstance(params["manifests"], list) else [params["manifests"]]


def perform(params: Params, check_mode: bool, diff_mode: bool, say: t.Callable[[str], None]) -> dict[str, t.Any]:
    """Run the task and return what it returns; ``failed`` and ``msg`` report a failure, ``warnings`` are for the user.

    :param say: is called with each line of progress.
    """
    for option, least in (("wait_timeout", 1), ("parallel", 1), ("prune_delay", 0)):
        if params[option] < least:
            return _failure(f"{option} is {params[option]}; give a number of at least {least}")
    if params["template"]:
        return _failure(
            "template is rendered by the action plugin of this module, which "
            "did not run; name the module egress.ai_gateway.apply_set in the task"
        )
    if params["render_to"]:
        return _render(params, check_mode)
    if params["collect_in"]:
        return _collect(params)
    if params["wait_for"] and not HAS_JMESPATH:
        return _failure(missing_required_lib("jmespath"))
    with tempfile.TemporaryDirectory(prefix="ai-gateway-") as directory:
        try:
            api = connect(params, params["parallel"], directory)
        except ImportError as error:
            return _failure(f"{missing_required_lib('kubernetes')} ({error})")
        except ConnectionSettingsError as error:
            return _failure(str(error))
        return _run(api, params, check_mode, diff_mode, say)


def _run(api: Api, params: Params, check_mode: bool, diff_mode: bool, say: t.Callable[[str], None]) -> dict[str, t.Any]:
    identity = SetIdentity(params["name"], params["namespace"])
    options = Options(
        prune=params["prune"],
        wait=params["wait"],
        wait_timeout=params["wait_timeout"],
        prune_delay=params["prune_delay"],
        force_conflicts=params["force_conflicts"],
        force_removal=params["force_removal"],
        adopt=params["adopt"],
        managers=params["managers"],
        wait_for=params["wait_for"] if params["wait"] else (),
        check_mode=check_mode or params["rehearse"],
        rehearse=params["rehearse"],
        diff_mode=diff_mode,
    )
    run = Run(api, identity, options, lambda line: say(run.mask.masked(line)))
    api.say = run.say
    failure = ""
    try:
        if params["state"] == "present":
            run.present(_manifests(params))
        else:
            run.absent()
    except (ManifestError, ApplySetError, ForeignParentError, WaitError) as error:
        failure = f"set {identity}: {run.mask.masked(str(error))}"
    except ApiError as error:
        # Nobody has said yet what the request was for.
        request = f"{error.request}: " if error.request else ""
        failure = f"set {identity}: {run.mask.masked(request + error.message)}"
    except Exception as error:
        failure = f"set {identity}: {describe(error)}"
    run.outcome.warnings[:] = map(run.mask.masked, run.outcome.warnings)
    if params["rehearse"]:
        faults = [f"set {identity}: {run.mask.masked(fault)}" for fault in run.outcome.faults]
        return {**_result(Outcome(), False, ""), "faults": faults + ([failure] if failure else [])}
    return _result(run.outcome, diff_mode, failure)


def _render(params: Params, check_mode: bool) -> dict[str, t.Any]:
    """Write the set into a directory in place of a cluster."""

    def write(identity: SetIdentity) -> list[Reference]:
        if params["state"] == "absent":
            return []
        return stage(Path(params["render_to"]), identity, _manifests(params), check_mode)

    return _written(params, "render_to", write)


def _collect(params: Params) -> dict[str, t.Any]:
    """Write what the set would be into a directory in place of a cluster."""
    return _written(
        params, "collect_in", lambda _identity: collect_set(Path(params["collect_in"]), params, _manifests(params))
    )


def _written(params: Params, option: str, write: t.Callable[[SetIdentity], list[Reference]]) -> dict[str, t.Any]:
    outcome, identity = Outcome(), SetIdentity(params["name"], params["namespace"])
    try:
        outcome.created += write(identity)
    except ManifestError as error:
        return _failure(f"set {identity}: {error}")
    except OSError as error:
        return _failure(f"set {identity}: {error.filename}: {error.strerror}; {option} must be a directory")
    except Exception as error:
        return _failure(f"set {identity}: {describe(error)}")
    # What is written on the way to a tree or a comparison is no state.
    return {**_result(outcome, False, ""), "changed": False}


def _failure(message: str) -> dict[str, t.Any]:
    return _result(Outcome(), False, message)


def _result(outcome: Outcome, diff_mode: bool, failure: str) -> dict[str, t.Any]:
    result: dict[str, t.Any] = {
        "changed": outcome.changed,
        "warnings": outcome.warnings,
        **{name: [reference.as_dict() for reference in getattr(outcome, name)] for name in _LISTS},
    }
    if diff_mode:
        result["diff"] = outcome.diff
    if failure:
        result.update(failed=True, msg=failure)
    return result
