#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mcp_probe
short_description: Call tools of MCP servers through an AI gateway and compare the answers with expectations
version_added: 1.0.0
description:
  - Holds one session of the Model Context Protocol for each of O(probes). It begins, lists the tools and, where a tool
    is named, calls it. Then it compares the last answer and the list with what is expected.
  - Returns the outcome of each probe as a check for M(egress.ai_gateway.validation_report).
  - An unreachable gateway counts as an answer that meets no expectation.
  - Tokens are never returned, shown or logged.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
  - egress.ai_gateway.gateway_options
attributes:
  check_mode:
    support: full
    details:
      - Sends nothing in check mode, and returns each probe as skipped.
options:
  probes:
    description: The sessions, which are held one after another.
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description: Identifier of the check.
        type: str
        required: true
      name:
        description: Description of the check. By default its id.
        type: str
      hint:
        description: Hint for the user when it fails.
        type: str
        default: ""
      skip:
        description: Reason for not sending it. Empty to send it.
        type: str
        default: ""
      token:
        description: Token to send instead of that of the module. Empty for none.
        type: str
      path:
        description: Path of the MCP servers at the gateway.
        type: str
        default: /mcp
      tool:
        description: Name of the tool to call, such as V(weather__forecast). By default none is called.
        type: str
      arguments:
        description: Arguments of the tool.
        type: dict
      wait_timeout:
        description: Longest time, in seconds, in which the session is repeated until it is as expected.
        type: int
        default: 0
      expect:
        description: Expectations of the last answer of the session, and of the list of tools.
        type: dict
        suboptions:
          status:
            description: HTTP status. With one from 400, the answer must be an error of JSON-RPC.
            type: int
            default: 200
          code:
            description: The code that the gateway writes into the data of an error, such as V(tool_not_allowed).
            type: str
          tools:
            description: >-
              Patterns of names such as V(weather__*). Each listed tool must match one, and each pattern a listed tool.
            type: list
            elements: str
          received:
            description: >-
              Whether the tool is C(received_requests) of a simulator, and none of the requests may hold the token or
              what the gateway knows of the caller.
            type: bool
            default: false
          credential:
            description: SHA-256 of the key that each of these requests must have.
            type: str
  fail_on_mismatch:
    description: Whether the module fails if an answer is not as expected.
    type: bool
    default: true
seealso:
  - module: egress.ai_gateway.inference_probe
  - module: egress.ai_gateway.validation_report
"""

EXAMPLES = r"""
- name: Assert that a tier sees its tools and may not call another one
  egress.ai_gateway.mcp_probe:
    url: "{{ gateway_url }}"
    token: "{{ jane.token }}"
    probes:
      - id: tools
        expect: {tools: ["weather__*"]}
      - id: forbidden
        tool: weather__delete_everything
        expect: {status: 403, code: tool_not_allowed}
"""

RETURN = r"""
probes:
  description: What was seen in each session that was held.
  returned: not in check mode
  type: list
  elements: dict
  contains:
    id:
      description: The probe's id.
      type: str
    status:
      description: HTTP status of the last answer. Null if there was no answer.
      type: int
    tools:
      description: Names of the listed tools.
      type: list
      elements: str
    said:
      description: Result of the tool, or message of the error.
      type: str
checks:
  description: The outcome of each probe, in the order given.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: The probe's id.
      type: str
    name:
      description: Description of the check.
      type: str
    status:
      description: The outcome, V(passed), V(failed) or V(skipped).
      type: str
    expected:
      description: The expectation.
      type: str
    observed:
      description: The observation. For a skipped probe, the reason.
      type: str
    seconds:
      description: Duration with all repetitions, in seconds.
      type: float
    hint:
      description: Hint for the user when it failed.
      type: str
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import FAILED, Check, failures
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.http_client import (
    GATEWAY_ARGUMENT_SPEC,
    Gateway,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.mcp import PATH, Probe, ask, describe, judge

#: Seconds between two sessions of a probe that waits.
INTERVAL = 1.0


def arguments() -> dict[str, t.Any]:
    expectations = {
        "status": {"type": "int", "default": 200},
        "code": {"type": "str"},
        "tools": {"type": "list", "elements": "str"},
        "received": {"type": "bool", "default": False},
        "credential": {"type": "str"},
    }
    probe = {
        "id": {"type": "str", "required": True},
        "name": {"type": "str"},
        "hint": {"type": "str", "default": ""},
        "skip": {"type": "str", "default": ""},
        "token": GATEWAY_ARGUMENT_SPEC["token"],
        "path": {"type": "str", "default": PATH},
        "tool": {"type": "str"},
        "arguments": {"type": "dict"},
        "wait_timeout": {"type": "int", "default": 0},
        "expect": {"type": "dict", "options": expectations},
    }
    return {
        "argument_spec": {
            **GATEWAY_ARGUMENT_SPEC,
            "probes": {"type": "list", "elements": "dict", "options": probe, "required": True},
            "fail_on_mismatch": {"type": "bool", "default": True},
        }
    }


def run(gateway: Gateway, entry: t.Mapping[str, t.Any], probe: Probe) -> tuple[Check, dict[str, t.Any]]:
    """Hold the session until it is as expected or its time is up; return the check and what was seen."""
    started = time.monotonic()
    while True:
        seen = ask(gateway, probe)
        findings = judge(probe, seen)
        elapsed = time.monotonic() - started
        if not failures(findings) or elapsed + INTERVAL > entry["wait_timeout"]:
            break
        time.sleep(INTERVAL)
    check = Check.of(entry["id"], entry["name"] or entry["id"], findings, elapsed, entry["hint"])
    return check, {"id": entry["id"], "status": seen.status, "tools": list(seen.tools), "said": seen.said}


def perform(params: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure."""
    checks: list[Check] = []
    seen: list[dict[str, t.Any]] = []
    try:
        gateway = Gateway.from_params(params)
        for entry in params["probes"]:
            token = params["token"] if entry["token"] is None else entry["token"]
            probe = Probe.from_params({**entry, "token": token})
            reason = entry["skip"] or ("check mode sends no requests" if check_mode else "")
            if reason:
                name = entry["name"] or entry["id"]
                checks.append(Check.skipped(entry["id"], name, describe(probe), reason, entry["hint"]))
                continue
            check, answer = run(gateway, entry, probe)
            checks.append(check)
            seen.append(answer)
    except ValueError as error:
        return {"failed": True, "msg": str(error)}
    result: dict[str, t.Any] = {"changed": False, "checks": [check.as_dict() for check in checks]}
    if not check_mode:
        result["probes"] = seen
    failed = [check for check in checks if check.status == FAILED]
    if failed and params["fail_on_mismatch"]:
        lines = [f"{check.name}: expected {check.expected}, but observed {check.observed}" for check in failed]
        result.update(failed=True, msg="\n".join(lines))
    return result


def main() -> None:
    module = AnsibleModule(**arguments(), supports_check_mode=True)
    result = perform(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
