#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_load
short_description: Send a bounded load of requests to an AI gateway and judge its error rate and latency
version_added: 1.0.0
description:
  - Sends requests for a model at a fixed rate, until O(seconds) are over or the file O(until) exists, and returns how
    many were refused, the latencies, and what passed a bound.
  - One of ten requests has a token that nobody issued. A gateway that answers it is open, whatever the bounds.
  - With O(pod) the requests go to one proxy by port forwarding of the API server, past the Service of the gateway.
  - The model's provider is asked for one token with each request. A provider outside has its price for them.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
  - egress.ai_gateway.gateway_options
attributes:
  check_mode:
    support: full
    details:
      - Sends nothing in check mode.
options:
  model:
    description: Model to ask.
    type: str
    required: true
  operation:
    description: Operation to call.
    type: str
    choices: [chat_completions, messages]
    default: chat_completions
  rate:
    description: Requests a second.
    type: float
    default: 5
  parallel:
    description: Requests under way at a time, at most. Later ones wait for these.
    type: int
    default: 8
  seconds:
    description: Longest duration of the load, in seconds.
    type: int
    default: 30
  until:
    description: File whose existence ends the load.
    type: path
  interval:
    description: Seconds of a check, which is what the bounds hold for.
    type: float
    default: 5
  maximum_error_rate:
    description: Fraction of the requests of a check that may be refused.
    type: float
    default: 0.01
  maximum_p99:
    description: Seconds that 99 percent of the answers of a check may take. V(0) for no bound.
    type: float
    default: 0
  failed_checks:
    description: Number of checks beyond a bound with which the load has failed. It ends then.
    type: int
    default: 2
  what:
    description: What the load is called in progress lines.
    type: str
    default: load
  kubeconfig:
    description:
      - Path of the kubeconfig, or its content, for O(pod). Other ways to reach the API server are the variables
        C(K8S_AUTH_*) of the environment, as for the modules of kubernetes.core.
    type: raw
  context:
    description: Context in the kubeconfig, for O(pod).
    type: str
  pod:
    description: The proxy to ask.
    type: dict
    suboptions:
      namespace:
        description: Namespace of the pod.
        type: str
        required: true
      name:
        description: Name of the pod.
        type: str
        required: true
      port:
        description: Port of its container.
        type: int
        required: true
requirements:
  - kubernetes and websocket-client, for O(pod)
"""

EXAMPLES = r"""
- name: Ask for half a minute
  egress.ai_gateway.gateway_load:
    url: "{{ gateway_url }}"
    token: "{{ token }}"
    model: gpt-4
    seconds: 30
    maximum_p99: 0.5
  register: load

- name: Fail where a bound was passed
  ansible.builtin.assert:
    that: load.faults | length == 0
    fail_msg: "{{ load.faults | join('. ') }}"
"""

RETURN = r"""
figures:
  description: The figures of all requests with a good token. Latencies are in seconds.
  returned: success
  type: dict
  sample: {requests: 135, refused: 0, open: 0, error_rate: 0.0, p50: 0.021, p99: 0.048, outcomes: {'200': 135}}
checks:
  description: The figures of each check, in order.
  returned: success
  type: list
  elements: dict
faults:
  description: What passed a bound, in sentences. Empty where nothing did.
  returned: success
  type: list
  elements: str
seconds:
  description: Duration of the load, in seconds.
  returned: success
  type: float
"""

import http.client
import json
import os
import ssl
import tempfile
import typing as t
from collections.abc import Callable
from urllib.parse import urlsplit

from ansible.module_utils.basic import missing_required_lib
from ansible.module_utils.urls import make_context
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import (
    hidden_values as hidden_by_authentication,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.module import run_module
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.port_forward import (
    ForwardError,
    PortForward,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.http_client import (
    GATEWAY_ARGUMENT_SPEC,
    Gateway,
    GatewayError,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.inference import OPERATIONS, Probe
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.load import (
    Bounds,
    Figures,
    Load,
    Sample,
    Send,
    checks_of,
    failed_checks,
    faults_of,
    line_of,
    wall,
)
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

__all__ = ["arguments", "hidden_values", "perform"]

CLUSTER_OPTIONS = ("kubeconfig", "context")
#: A token that nobody issued, in the form of none that anybody issues.
UNTRUSTED = "egress.ai_gateway.nobody"
#: Seconds between two lines of progress.
PROGRESS_INTERVAL = 10.0


class Request(t.NamedTuple):
    """What is sent, but for its token."""

    path: str
    body: dict[str, t.Any]
    headers: dict[str, str]


def request_of(params: t.Mapping[str, t.Any]) -> Request:
    operation = OPERATIONS[params["operation"]]
    body = operation.body(Probe(operation=operation, model=params["model"], max_tokens=1)) or {}
    return Request(operation.path, body, dict(operation.dialect.headers))


def by_url(gateway: Gateway, request: Request, token: str) -> Send:
    """Sends to the gateway, each request over a connection of its own, as new clients do."""

    def send(trusted: bool) -> str:
        try:
            answer = gateway.send(
                "POST", request.path, token=token if trusted else UNTRUSTED, headers=request.headers, body=request.body
            )
        except GatewayError as error:
            return str(error)
        return outcome_of(answer.status, answer.body)

    return send


def outcome_of(status: int, body: bytes) -> str:
    """The status, and for an error the code that the gateway or the provider gives it."""
    if status == 200:
        return "200"
    try:
        error = json.loads(body)["error"]
        code = error.get("code") or error.get("type") or ""
    except (ValueError, TypeError, KeyError, AttributeError):
        code = ""
    return f"{status} {code}"[:80].rstrip()


class ByPod:
    """Sends to one proxy over a connection that is kept."""

    def __init__(self, forward: PortForward, params: t.Mapping[str, t.Any], request: Request) -> None:
        self._forward = forward
        self._pod = params["pod"]
        self._request = request
        self._token = params["token"] or ""
        self._timeout = params["timeout"]
        address = urlsplit(params["url"])
        self._host = address.netloc
        self._context: ssl.SSLContext | None = None
        self._server = str(address.hostname)
        if address.scheme == "https":
            self._context = make_context(cafile=params["ca_path"], validate_certs=params["validate_certs"])
        self._connection: http.client.HTTPConnection | None = None
        self._close: Callable[[], None] = lambda: None

    def __call__(self, trusted: bool) -> str:
        headers = {
            **self._request.headers,
            "Host": self._host,
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self._token if trusted else UNTRUSTED}",
        }
        try:
            if self._connection is None:
                self._connection = self._open()
            self._connection.request("POST", self._request.path, json.dumps(self._request.body), headers)
            answer = self._connection.getresponse()
            body = answer.read()
            if answer.will_close:
                self.close()
            return outcome_of(answer.status, body)
        except ForwardError as error:
            self.close()
            return f"no connection to pod {self._pod['name']}: {error}"
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return f"no answer of pod {self._pod['name']}: {type(error).__name__}"

    def _open(self) -> http.client.HTTPConnection:
        plain, self._close = self._forward.open(self._pod["namespace"], self._pod["name"], self._pod["port"])
        plain.settimeout(self._timeout)
        connection = http.client.HTTPConnection(self._server, timeout=self._timeout)
        connection.sock = plain
        if self._context:
            connection.sock = self._context.wrap_socket(plain, server_hostname=self._server)
        return connection

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None
        self._close()


def arguments() -> dict[str, t.Any]:
    pod = {
        "namespace": {"type": "str", "required": True},
        "name": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
    }
    spec = {
        **GATEWAY_ARGUMENT_SPEC,
        # Of the options for the cluster, these alone: others have the names of those for the gateway.
        **{name: AUTH_ARG_SPEC[name] for name in CLUSTER_OPTIONS},
        "model": {"type": "str", "required": True},
        "operation": {"type": "str", "choices": ["chat_completions", "messages"], "default": "chat_completions"},
        "rate": {"type": "float", "default": 5},
        "parallel": {"type": "int", "default": 8},
        "seconds": {"type": "int", "default": 30},
        "until": {"type": "path"},
        "interval": {"type": "float", "default": 5},
        "maximum_error_rate": {"type": "float", "default": 0.01},
        "maximum_p99": {"type": "float", "default": 0},
        "failed_checks": {"type": "int", "default": 2},
        "what": {"type": "str", "default": "load"},
        "pod": {"type": "dict", "options": pod},
    }
    return {"argument_spec": spec}


def hidden_values(params: dict[str, t.Any]) -> set[str]:
    """What the result must not show."""
    return {*hidden_by_authentication(params), *([params["token"]] if params["token"] else [])}


def faults_of_options(params: t.Mapping[str, t.Any]) -> list[str]:
    """What is wrong with the options."""
    faults = []
    for name, least, most in (
        ("rate", 0.1, 100),
        ("parallel", 1, 64),
        ("seconds", 1, 7200),
        ("interval", 1, 3600),
        ("maximum_error_rate", 0, 1),
        ("maximum_p99", 0, 3600),
        ("failed_checks", 1, 10_000),
    ):
        if not least <= params[name] <= most:
            faults.append(f"{name}: {params[name]} is not from {least} to {most}")
    return faults


def perform(
    params: dict[str, t.Any], check_mode: bool, _diff_mode: bool, say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure."""
    if faults := faults_of_options(params):
        return {"changed": False, "failed": True, "msg": "\n".join(faults)}
    if check_mode:
        return {"changed": False, "figures": Figures.of([]).as_dict(), "checks": [], "faults": [], "seconds": 0.0}
    with tempfile.TemporaryDirectory(prefix="ai-gateway-") as directory:
        try:
            request = request_of(params)
            sends: list[Send] = []
            if params["pod"]:
                forward = PortForward({name: params[name] for name in CLUSTER_OPTIONS}, directory)
                sends = [ByPod(forward, params, request) for _number in range(params["parallel"])]
            else:
                gateway = Gateway.from_params(params)
                sends = [by_url(gateway, request, params["token"] or "")] * params["parallel"]
            return run(params, sends, say)
        except ImportError as error:
            return {"changed": False, "failed": True, "msg": f"{missing_required_lib('kubernetes')} ({error})"}
        except ValueError as error:
            return {"changed": False, "failed": True, "msg": str(error)}


def run(params: t.Mapping[str, t.Any], sends: list[Send], say: t.Callable[[str], None]) -> dict[str, t.Any]:
    """Send the load and return what the module does."""
    bounds = Bounds(params["maximum_error_rate"], params["maximum_p99"], params["failed_checks"])
    interval = params["interval"]
    load = Load(sends, params["rate"], params["seconds"], wall)
    started = wall()
    spoken = [started]

    def enough(samples: list[Sample]) -> bool:
        if wall() - spoken[0] >= PROGRESS_INTERVAL:
            spoken[0] = wall()
            say(line_of(params["what"], samples))
        if params["until"] and os.path.exists(params["until"]):
            return True
        # A check that is not over yet says nothing.
        whole = [sample for sample in samples if (sample.at // interval + 1) * interval <= wall() - started]
        return len(failed_checks(checks_of(whole, interval), bounds)) >= bounds.failed_checks

    try:
        samples = load.run(enough)
    finally:
        for send in sends:
            if isinstance(send, ByPod):
                send.close()
    say(line_of(params["what"], samples))
    return {
        "changed": False,
        "figures": Figures.of(samples).as_dict(),
        "checks": [check.as_dict() for check in checks_of(samples, interval)],
        "faults": faults_of(samples, interval, bounds),
        "seconds": round(wall() - started, 2),
    }


def main() -> None:
    run_module(arguments(), perform, hidden_values)


if __name__ == "__main__":
    main()
