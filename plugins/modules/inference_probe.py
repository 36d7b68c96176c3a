#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inference_probe
short_description: Call models through an AI gateway and compare the answers with expectations
version_added: 1.0.0
description:
  - Sends one request to a gateway, or several at once with O(probes), and compares the status, model, body, headers,
    stream and time of each answer with O(expect).
  - Returns the answers, and the outcome of each probe as a check for M(egress.ai_gateway.validation_report).
  - An unreachable gateway counts as an answer that meets no expectation.
  - Tokens and excluded strings are never returned, shown or logged.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
  - egress.ai_gateway.gateway_options
attributes:
  check_mode:
    support: full
    details:
      - Sends nothing in check mode, as requests cost tokens, and returns each probe as skipped.
options:
  operation:
    description: &operation
      - Operation to call. By default V(chat_completions).
      - V(messages) is of Anthropic's API and sends C(anthropic-version). The others are of the OpenAI API. The stream,
        the usage and the errors of an answer are read in the form of the same API.
    type: str
    choices: &operations [chat_completions, completions, embeddings, messages, models]
  base_path:
    description: &base_path
      - Path between the gateway's address and the path of the operation, for example V(/external/openai) or
        V(/anthropic). Empty by default.
    type: str
  path:
    description: &path
      - Path of the request after the gateway's address and the base path. By default that of the operation in its API,
        such as V(/v1/chat/completions).
    type: str
  token_header:
    description: &token_header
      - Header for the token. By default V(authorization), in which it is sent as bearer token. V(x-api-key) holds only
        the token.
    type: str
    choices: &token_headers [authorization, x-api-key]
  model:
    description: &model Model to call. Required for every operation except V(models).
    type: str
  prompt:
    description: &prompt Content of the user's message, or input to embed. By default V(Hello).
    type: str
  messages:
    description: &messages Messages for V(chat_completions) and V(messages), instead of the prompt.
    type: list
    elements: dict
  max_tokens:
    description: &max_tokens
      - Greatest number of tokens in the answer. By default the provider's limit, and 1024 for V(messages), whose API
        requires a limit.
      - Not sent for V(embeddings) and V(models).
    type: int
  stream:
    description: &stream
      - Whether to request a streamed answer. By default V(false).
      - A streamed answer must be an event stream that reports no error and ends with C([DONE]), or with event
        C(message_stop) for V(messages).
    type: bool
  echo:
    description: &echo
      - Whether to request the headers that the model's server received. By default V(false).
      - Only the simulators of role P(egress.ai_gateway.simulators#role) return them. They show credentials as SHA-256.
      - The token of the request must not be among those headers.
    type: bool
  extra_headers:
    description: &extra_headers Headers to send in addition to those of the operation, or instead of them.
    type: dict
  extra_body:
    description: &extra_body >-
      Fields of the request's body to send in addition to those of the operation, or instead of them, such as
      V(temperature).
    type: dict
  wait_timeout:
    description: &wait_timeout
      - Longest time, in seconds, in which the request is repeated once a second until the answer is as expected. By
        default V(0), which sends one request.
      - Use it for routes that a gateway may not have programmed yet. Do not use it for an answer that must be as
        expected at all times.
    type: int
  expect:
    description: &expect Expectations of the answer.
    type: dict
    suboptions: &expectations
      status:
        description: The HTTP status is one of these.
        type: list
        elements: int
        default: [200]
      api_error:
        description:
          - Whether the answer must be an error in the form of the operation's API, which clients of that API can read.
          - With a stream, one of its events must be such an error, or the body if there is no stream. Such a stream
            need not end as usual.
        type: bool
        default: false
      model:
        description: The answer's model is one of these, or a dated snapshot of one, such as V(gpt-4-0613) for V(gpt-4).
        type: list
        elements: str
      models:
        description: Exactly these models are listed, in any order.
        type: list
        elements: str
      contains:
        description: The body contains each of these strings.
        type: list
        elements: str
      matches:
        description: The body matches this regular expression somewhere.
        type: str
      excludes:
        description: Neither the body nor a header contains any of these strings. They are secrets that must not leak.
        type: list
        elements: str
      query:
        description: >-
          JMESPath expressions on the body, each with the value that it must have. Requires the Python library jmespath.
        type: dict
      headers:
        description: >-
          Headers of the answer, each with a regular expression that its value matches somewhere, or V(null) if the
          header must be absent.
        type: dict
      usage:
        description: Whether the answer must report the tokens used. A stream must report them in its last chunk.
        type: bool
        default: false
      minimum_chunks:
        description: >-
          The stream has at least this number of chunks. Pings and the event that ends the stream are not counted.
        type: int
      maximum_seconds:
        description: The answer is complete within this number of seconds.
        type: float
      received_headers:
        description: >-
          Headers that the model's server received, each with its exact value, or V(null) if it must be absent. Requires
          O(echo=true).
        type: dict
      received_credentials:
        description: >-
          The model's server received a key with one of these SHA-256 digests, in hexadecimal, and no other key.
          Requires O(echo=true).
        type: list
        elements: str
  probes:
    description:
      - Requests to send instead of a single one. The options above are the defaults of each entry.
    type: list
    elements: dict
    suboptions:
      id:
        description: Identifies the check in reports. Unique in the list.
        type: str
        required: true
      name:
        description: Description of the check. By default O(probes[].id).
        type: str
      hint:
        description: Hint for the user when the check fails.
        type: str
        default: ""
      skip:
        description: Reason why this probe cannot be sent. The probe is then returned as skipped. Empty to send it.
        type: str
        default: ""
      token:
        description: Token for the token header. An empty string sends none.
        type: str
      operation:
        description: *operation
        type: str
        choices: *operations
      base_path:
        description: *base_path
        type: str
      path:
        description: *path
        type: str
      token_header:
        description: *token_header
        type: str
        choices: *token_headers
      model:
        description: *model
        type: str
      prompt:
        description: *prompt
        type: str
      messages:
        description: *messages
        type: list
        elements: dict
      max_tokens:
        description: *max_tokens
        type: int
      stream:
        description: *stream
        type: bool
      echo:
        description: *echo
        type: bool
      extra_headers:
        description: *extra_headers
        type: dict
      extra_body:
        description: *extra_body
        type: dict
      wait_timeout:
        description: *wait_timeout
        type: int
      expect:
        description: *expect
        type: dict
        suboptions: *expectations
  parallel:
    description: Number of O(probes) to send at a time. At least 1.
    type: int
    default: 8
  fail_on_mismatch:
    description: Whether the module fails if an answer is not as expected.
    type: bool
    default: true
seealso:
  - module: egress.ai_gateway.rate_limit_probe
  - module: egress.ai_gateway.validation_report
"""

EXAMPLES = r"""
- name: Call a model
  egress.ai_gateway.inference_probe:
    url: "{{ gateway_url }}"
    token: "{{ jane.token }}"
    model: gpt-4
    prompt: Say hello in one sentence.
    max_tokens: 20
    expect:
      model: [gpt-4]
      usage: true
  register: answer

- name: Show its answer
  ansible.builtin.debug:
    msg: "{{ answer.text }} ({{ answer.usage.total_tokens }} tokens in {{ answer.seconds }} s)"

- name: Send several probes at once and return all outcomes
  egress.ai_gateway.inference_probe:
    url: "{{ gateway_url }}"
    token: "{{ jane.token }}"
    model: gpt-4
    fail_on_mismatch: false
    probes:
      - id: streaming
        stream: true
        expect: {usage: true, minimum_chunks: 2}
      - id: no-token
        token: ""
        expect: {status: [401]}
      - id: models
        operation: models
        expect: {models: [gpt-4, claude-3-sonnet]}
  register: outcome

- name: Call each provider by its own path, as clients of either API do
  egress.ai_gateway.inference_probe:
    url: "{{ gateway_url }}"
    token: "{{ jane.token }}"
    parallel: 16
    probes:
      - id: chat
        base_path: /external/openai
        model: gpt-4
      - id: embedding
        operation: embeddings
        base_path: /external/openai
        model: text-embedding-3-small
        expect: {query: {"length(data[0].embedding)": 1536}, usage: true}
      - id: messages
        operation: messages
        base_path: /external/anthropic
        model: claude-3-sonnet
        stream: true
        expect: {usage: true}
      - id: messages-no-token
        operation: messages
        base_path: /external/anthropic
        model: claude-3-sonnet
        token: ""
        expect: {status: [401], api_error: true, query: {error.type: authentication_error}}
"""

RETURN = r"""
status:
  description: >-
    HTTP status of the answer. Null if there was no answer. This and the values down to RV(failures) are of a single
    request.
  returned: without O(probes), not in check mode
  type: int
  sample: 200
error:
  description: Reason for a missing answer, with a remedy. An empty string if there was an answer.
  returned: without O(probes), not in check mode
  type: str
api_error:
  description: >-
    The error that the answer or an event of its stream reports, in one form for all APIs. Null if it reports none.
  returned: without O(probes), not in check mode
  type: dict
  contains:
    dialects:
      description: >-
        The APIs whose errors have this form, V(openai) and V(anthropic). Errors of a gateway may have both forms.
      type: list
      elements: str
      sample: [openai]
    type:
      description: The type of the error. An empty string if it is not reported.
      type: str
      sample: invalid_request_error
    code:
      description: The code, which only the OpenAI API reports. Null if it is not reported.
      type: str
      sample: model_not_found
    message:
      description: The message of the error.
      type: str
headers:
  description: The headers of the answer, with names in lower case.
  returned: without O(probes), not in check mode
  type: dict
body:
  description: The body, parsed if it is JSON. Null for a stream.
  returned: without O(probes), not in check mode
  type: raw
text:
  description: Content of the model's answer. Empty for V(embeddings) and V(models), whose answer is in RV(body).
  returned: without O(probes), not in check mode
  type: str
model:
  description: The model that the answer names.
  returned: without O(probes), not in check mode
  type: str
usage:
  description: >-
    The tokens used, as the answer reports them, under the names of the OpenAI API. A number that is not reported is
    missing.
  returned: without O(probes), not in check mode
  type: dict
  sample: {prompt_tokens: 10, completion_tokens: 20, total_tokens: 30}
  contains:
    prompt_tokens:
      description: >-
        Tokens of the request. In Anthropic's API C(input_tokens) and the tokens that were written to a cache or read
        from it.
      type: int
    completion_tokens:
      description: Tokens of the answer. In Anthropic's API C(output_tokens).
      type: int
    total_tokens:
      description: The sum of both.
      type: int
seconds:
  description: Duration of the request to the end of the answer, in seconds.
  returned: without O(probes), not in check mode
  type: float
time_to_first_token:
  description: Time to the first content of a stream, in seconds. Null if nothing was streamed.
  returned: without O(probes), not in check mode
  type: float
chunks:
  description: Number of events in the stream, without pings and the event that ends it.
  returned: without O(probes), not in check mode
  type: int
received_headers:
  description: >-
    The headers that the model's server received, as a simulator reports them. Null if it did not report them.
  returned: without O(probes), not in check mode
  type: dict
attempts:
  description: Number of times that the request was sent.
  returned: without O(probes), not in check mode
  type: int
failures:
  description: The expectations that the answer did not meet.
  returned: without O(probes), not in check mode
  type: list
  elements: dict
  contains:
    expected:
      description: The expectation.
      type: str
      sample: status 401
    observed:
      description: The observation.
      type: str
      sample: status 200
probes:
  description: The same values for each of the O(probes) that was sent, with its RV(probes[].id).
  returned: with O(probes), not in check mode
  type: list
  elements: dict
  contains:
    id:
      description: The probe's id.
      type: str
checks:
  description: The outcome of each probe, in the order given.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: The probe's id. For a single request, the operation.
      type: str
      sample: no-token
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
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import FAILED, Check, failures
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.http_client import (
    GATEWAY_ARGUMENT_SPEC,
    Gateway,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.inference import (
    PROBE_ARGUMENT_SPEC,
    Probe,
    ask,
    describe,
    judge,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._progress import Progress

INHERITED = (*PROBE_ARGUMENT_SPEC, "token")
#: Seconds between two attempts of a probe that waits.
INTERVAL = 1.0


@dataclass(frozen=True)
class Task:
    """A probe and how it appears among the checks; ``skip`` is the reason for not sending it."""

    id: str
    name: str
    hint: str
    skip: str
    probe: Probe


def tasks_of(params: Mapping[str, t.Any]) -> list[Task]:
    """The probes of a module's parameters.

    Raises ValueError that names the entry and option where something is wrong.
    """
    if params["probes"] is None:
        probe = Probe.from_params(params)
        operation = params["operation"] or "chat_completions"
        return [Task(operation, operation, "", "", probe)]
    tasks: list[Task] = []
    ids: set[str] = set()
    for index, entry in enumerate(params["probes"]):
        merged = {name: params[name] if entry[name] is None else entry[name] for name in INHERITED}
        try:
            if entry["id"] in ids:
                raise ValueError(f"id: {entry['id']!r} is given twice; name each probe once")
            ids.add(entry["id"])
            tasks.append(
                Task(entry["id"], entry["name"] or entry["id"], entry["hint"], entry["skip"], Probe.from_params(merged))
            )
        except ValueError as error:
            raise ValueError(f"probes[{index}].{error}") from error
    return tasks


def run(gateway: Gateway, task: Task) -> tuple[Check, dict[str, t.Any]]:
    """Send the probe until its answer is as expected or its time is up; return the check and the last answer."""
    started = time.monotonic()
    attempts = 0
    while True:
        attempts += 1
        seen = ask(gateway, task.probe)
        findings = judge(task.probe, seen)
        elapsed = time.monotonic() - started
        unmet = failures(findings)
        if not unmet or elapsed + INTERVAL > task.probe.wait_timeout:
            break
        time.sleep(INTERVAL)
    check = Check.of(task.id, task.name, findings, elapsed, task.hint)
    return check, {"id": task.id, **seen.as_dict(), "attempts": attempts, "failures": unmet}


def run_all(
    gateway: Gateway, tasks: list[Task], parallel: int, say: t.Callable[[str], None]
) -> tuple[list[Check], list[dict[str, t.Any]]]:
    """The checks of all tasks and the answers of those that were sent, in their order.

    :param say: is called with a line of progress for each answer.
    """
    checks: dict[str, Check] = {}
    answers: dict[str, dict[str, t.Any]] = {}
    with ThreadPoolExecutor(max_workers=parallel) as pool:
        futures = {}
        for task in tasks:
            if task.skip:
                checks[task.id] = Check.skipped(task.id, task.name, describe(task.probe), task.skip, task.hint)
            else:
                futures[pool.submit(run, gateway, task)] = task.id
        for count, future in enumerate(as_completed(futures), start=1):
            check, answer = future.result()
            checks[check.id] = check
            answers[check.id] = answer
            say(f"{count} of {len(futures)} requests: {check.status} {check.name}")
    return [checks[task.id] for task in tasks], [answers[task.id] for task in tasks if task.id in answers]


def arguments() -> dict[str, t.Any]:
    probe_options = {
        "id": {"type": "str", "required": True},
        "name": {"type": "str"},
        "hint": {"type": "str", "default": ""},
        "skip": {"type": "str", "default": ""},
        "token": GATEWAY_ARGUMENT_SPEC["token"],
        **PROBE_ARGUMENT_SPEC,
    }
    spec = {
        **GATEWAY_ARGUMENT_SPEC,
        **PROBE_ARGUMENT_SPEC,
        "probes": {"type": "list", "elements": "dict", "options": probe_options},
        "parallel": {"type": "int", "default": 8},
        "fail_on_mismatch": {"type": "bool", "default": True},
    }
    return {"argument_spec": spec}


def perform(
    params: dict[str, t.Any], check_mode: bool, _diff_mode: bool, say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure."""
    try:
        tasks = tasks_of(params)
        if params["parallel"] < 1:
            raise ValueError("parallel: give at least 1")
        gateway = Gateway.from_params(params)
        if check_mode:
            reason = "check mode sends no requests"
            checks = [Check.skipped(task.id, task.name, describe(task.probe), reason, task.hint) for task in tasks]
            return {"changed": False, "checks": [check.as_dict() for check in checks]}
        checks, answers = run_all(gateway, tasks, params["parallel"], say)
    except ImportError:
        return {"failed": True, "msg": missing_required_lib("jmespath", reason="for expect.query")}
    except ValueError as error:
        return {"failed": True, "msg": str(error)}
    result: dict[str, t.Any] = {"changed": False, "checks": [check.as_dict() for check in checks]}
    if params["probes"] is None:
        result.update({name: value for name, value in answers[0].items() if name != "id"})
    else:
        result["probes"] = answers
    failed = [check for check in checks if check.status == FAILED]
    if failed and params["fail_on_mismatch"]:
        lines = [f"{check.name}: expected {check.expected}, but observed {check.observed}" for check in failed]
        result.update(failed=True, msg="\n".join(lines))
    return result


def main() -> None:
    module = AnsibleModule(**arguments(), supports_check_mode=True)
    result = perform(module.params, module.check_mode, module._diff, Progress().say)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
