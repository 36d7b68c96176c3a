#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wait_for_objects
short_description: Wait until the objects of a kind are as they should be
version_added: 1.0.0
description:
  - Reads the objects of a kind again and again until an expression over all of them is true, and shows meanwhile what
    it waits for.
  - It is for objects of others, such as those that a controller makes. M(egress.ai_gateway.apply_set) waits for its
    own.
  - It does not fail where the wait is in vain, as the caller knows best what to say. See RV(met).
options:
  api_version:
    description: API version of the objects.
    type: str
    required: true
  kind:
    description: Kind of the objects.
    type: str
    required: true
  namespace:
    description: Namespace of the objects. By default all namespaces.
    type: str
    default: ""
  name:
    description: Name of the object. By default all objects.
    type: str
    default: ""
  label_selectors:
    description: Label selectors of the objects.
    type: list
    elements: str
    default: []
  field_selectors:
    description: Field selectors of the objects.
    type: list
    elements: str
    default: []
  query:
    description:
      - JMESPath expression over the list of the objects. The wait ends once the result is true, that is neither null
        nor false nor empty.
    type: str
    required: true
  what:
    description: What is waited for, in words, for the progress lines.
    type: str
    required: true
  timeout:
    description: Longest wait, in seconds. At least 0.
    type: int
    required: true
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
  - kubernetes.core.k8s_auth_options
requirements:
  - kubernetes >= 24.2.0
  - jmespath
attributes:
  check_mode:
    support: full
    details:
      - Reads the objects once and does not wait.
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Wait until the egress gateway has proxies
  egress.ai_gateway.wait_for_objects:
    api_version: apps/v1
    kind: Deployment
    namespace: ai-gateway-egress
    name: wg-egress-gateway
    query: "[?status.availableReplicas > `0`]"
    what: the proxies of the egress gateway
    timeout: 180
  register: proxies

- name: Fail where it has none
  ansible.builtin.assert:
    that: proxies.met
"""

RETURN = r"""
met:
  description: Whether the result of O(query) became true in time.
  returned: success
  type: bool
resources:
  description: The objects as they were read last, without the data of Secrets.
  returned: success
  type: list
  elements: dict
warnings_of_objects:
  description: The newest warning events about the objects and what made them, where the wait was in vain.
  returned: success
  type: list
  elements: str
"""

import contextlib
import time
import typing as t

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.expectations import HAS_JMESPATH
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.module import (
    OBJECTS_ARGUMENT_SPEC,
    read_objects,
    run_module,
    with_api,
)
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

with contextlib.suppress(ImportError):
    # Without it, HAS_JMESPATH says so.
    import jmespath

__all__ = ["arguments", "hidden_values", "perform"]

Body = dict[str, t.Any]

#: Seconds between two looks, and between two progress lines.
_INTERVAL = 0.5
_PROGRESS_INTERVAL = 5.0
#: Warnings that are returned.
_MOST_WARNINGS = 5
_EVENTS = ResourceType("v1", "Event", "events", True, frozenset())


def arguments() -> dict[str, t.Any]:
    spec = {
        **AUTH_ARG_SPEC,
        **OBJECTS_ARGUMENT_SPEC,
        "query": {"type": "str", "required": True},
        "what": {"type": "str", "required": True},
        "timeout": {"type": "int", "required": True},
    }
    return {"argument_spec": spec}


def perform(
    params: dict[str, t.Any], check_mode: bool, _diff_mode: bool, say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure."""
    if not HAS_JMESPATH:
        return {"failed": True, "msg": missing_required_lib("jmespath")}
    if params["timeout"] < 0:
        return {"failed": True, "msg": f"timeout is {params['timeout']}; give a number of at least 0"}
    try:
        return with_api(params, 1, f"waiting for {params['what']}", lambda api: wait(api, params, check_mode, say))
    except jmespath.exceptions.JMESPathError as error:
        return {"failed": True, "msg": f"query {params['query']!r} is no JMESPath: {error}"}


def wait(api: Api, params: t.Mapping[str, t.Any], look_once: bool, say: t.Callable[[str], None]) -> dict[str, t.Any]:
    """What the module returns."""
    query = jmespath.compile(params["query"])
    started = time.monotonic()
    spoken = started
    while True:
        found = read_objects(api, params)
        met = bool(query.search(found))
        now = time.monotonic()
        if met or look_once or now - started >= params["timeout"]:
            break
        if now - spoken >= _PROGRESS_INTERVAL:
            say(f"waiting for {params['what']} ({now - started:.0f} s)")
            spoken = now
        time.sleep(_INTERVAL)
    in_vain = not met and not look_once
    return {
        "met": met,
        "resources": [{key: value for key, value in body.items() if key != "data"} for body in found],
        "warnings_of_objects": _warnings(api, params["namespace"]) if in_vain else [],
    }


def _warnings(api: Api, namespace: str) -> list[str]:
    """The newest warnings of a namespace. They name what should have made an object that does not exist."""
    try:
        events = [
            body
            for _version, items in api.pages(_EVENTS, namespace, {"fieldSelector": "type=Warning"}, patience=0)
            for body in items
        ]
    except ApiError:
        # They explain, and what cannot be read explains nothing.
        return []
    events.sort(key=lambda body: str(body.get("lastTimestamp") or body["metadata"].get("creationTimestamp")))
    lines = [
        f"{body['involvedObject'].get('kind')} {body['involvedObject'].get('name')}: {body.get('reason')}: "
        f"{body.get('message')}"
        for body in events
    ]
    return list(dict.fromkeys(reversed(lines)))[:_MOST_WARNINGS]


def main() -> None:
    run_module(arguments(), perform)


if __name__ == "__main__":
    main()
