#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: usage_report
short_description: Report usage and cost of an AI gateway by user, tier, model and provider
version_added: 1.0.0
description:
  - Counts requests, tokens and their cost over a period, and writes them into a directory as C(usage.csv),
    C(usage.json) and C(usage.html), a page with charts. They are shown as a table on the terminal.
  - With O(source=prometheus) the counters of the gateway's proxies are read from Prometheus. The samples themselves are
    counted and not extrapolated, so that the sums are exact to the token.
  - With O(source=log) the access logs of the proxies that run now are read through the Kubernetes API. The report says
    which part of the period they cover.
  - What the numbers leave out is a caution in each form of the report. The cost of a model without a price is not
    known, and never 0.
  - Either all three files are written or none. Writes nothing to the cluster.
options:
  source:
    description: Where usage is counted from.
    type: str
    choices: [prometheus, log]
    default: prometheus
  from:
    description: >-
      When the period begins: ISO 8601 with a zone, such as V(2026-11-01T00:00:00Z), or how long before now, such as
      V(7d), with C(s), C(m), C(h), C(d) or C(w).
    type: str
    default: 7d
  to:
    description: When it ends, in the same forms, or V(now). A time in the future is now.
    type: str
    default: now
  cluster:
    description: Name of the cluster, for the report.
    type: str
    required: true
  gateway:
    description: Name of the Gateway.
    type: str
    required: true
  gateway_namespace:
    description: Namespace of the Gateway. Needed with O(source=log).
    type: str
    default: ""
  proxy_namespace:
    description: Namespace of the proxies' pods, for O(source=log). If empty, all namespaces are searched.
    type: str
    default: ""
  providers:
    description: >-
      The provider of each model that has one alone, by the public name of the model, for lines of a log without one.
    type: dict
    default: {}
  prices:
    description: >-
      What a million tokens cost, by the public name of the model: C(input), C(output), and C(cached_input) for input
      that the provider had in its cache, which costs as C(input) where it is not written.
    type: dict
    default: {}
  currency:
    description: The currency of the prices, such as V(EUR), for the report.
    type: str
    default: ""
  directory:
    description: >-
      Directory of the files. A relative path begins at the working directory of C(ansible-playbook). The directory is
      created if it does not exist.
    type: path
    required: true
  show:
    description: Whether the table is shown on the terminal.
    type: bool
    default: true
  prometheus_url:
    description: >-
      URL of Prometheus, or of what speaks its API, without C(/api/v1). Needed with O(source=prometheus). A redirect to
      another host is an error, so that credentials go nowhere else.
    type: str
    default: ""
  prometheus_matchers:
    description: >-
      Labels and their values that the series must have beside C(gateway), where one Prometheus has several clusters.
      A value that begins with C(=~) is a regular expression. Series that differ by a label that is neither of the
      counters nor of the targets are an error that names it, unless it is written here.
    type: dict
    default: {}
  prometheus_token_file:
    description: "File with a token that is sent as C(Authorization: Bearer)."
    type: path
  prometheus_username:
    description: User name for basic authentication.
    type: str
    default: ""
  prometheus_password:
    description: Password for basic authentication.
    type: str
    default: ""
  prometheus_ca_path:
    description: File with the certification authorities to trust, in PEM. By default those of the system.
    type: path
  prometheus_client_cert:
    description: File with a client certificate in PEM, with its key if O(prometheus_client_key) is not written.
    type: path
  prometheus_client_key:
    description: File with the key of the client certificate, in PEM.
    type: path
  prometheus_validate_certs:
    description: Whether the certificate of Prometheus must be valid.
    type: bool
    default: true
  prometheus_timeout:
    description: How long one query may take, in seconds.
    type: int
    default: 60
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    details:
      - Shows the table and writes nothing in check mode.
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - A report is a record and not a state, so the module reports no change.
requirements:
  - Jinja2
  - kubernetes >= 24.2.0, for O(source=log)
notes:
  - O(source=log) needs the rights C(list) on C(pods) and C(get) on C(pods/log).
seealso:
  - module: egress.ai_gateway.validation_report
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Report the usage of October
  egress.ai_gateway.usage_report:
    from: 2026-10-01T00:00:00+02:00
    to: 2026-11-01T00:00:00+01:00
    cluster: production
    gateway: ai-gateway
    prometheus_url: https://prometheus.example.com
    prometheus_token_file: /run/secrets/prometheus-token
    prices:
      gpt-4: {input: 2.5, cached_input: 1.25, output: 10}
    currency: USD
    directory: reports/production

- name: Report the last hour where no Prometheus is
  egress.ai_gateway.usage_report:
    source: log
    from: 1h
    cluster: production
    gateway: ai-gateway
    gateway_namespace: ai-gateway
    directory: reports/production
"""

RETURN = r"""
files:
  description: The paths of the files. They do not exist in check mode.
  returned: success
  type: dict
  sample:
    csv: /home/jane/gateways/reports/production/usage.csv
    json: /home/jane/gateways/reports/production/usage.json
    html: /home/jane/gateways/reports/production/usage.html
usage:
  description: >-
    What was used: C(cluster), C(gateway), C(from), C(to), C(created), C(source), C(currency), the part of the period
    that the logs cover as C(covered), C(totals), and by name C(users), C(tiers), C(models) and C(providers).
  returned: success
  type: dict
  contains:
    totals:
      description: The sums of all. Those of users, tiers, models and providers have the same fields.
      type: dict
      contains:
        requests:
          description: Requests that were answered, or given up by their clients.
          type: int
        refused:
          description: Requests with a status from 400.
          type: int
        input_tokens:
          description: Tokens of requests.
          type: int
        cached_input_tokens:
          description: The part of these that providers had in their caches.
          type: int
        output_tokens:
          description: Tokens of answers.
          type: int
        total_tokens:
          description: Tokens of requests and answers.
          type: int
        cost:
          description: Cost of the tokens whose models have a price, in the currency of the prices. Null if none has.
          type: float
        unpriced_tokens:
          description: Tokens of models without a price, which are not in C(cost).
          type: int
    cautions:
      description: What the numbers leave out, each with C(code) and C(message).
      type: list
      elements: dict
summary:
  description: The sums as a sentence.
  returned: success
  type: str
  sample: "1,200 tokens (800 in, 400 out) of 12 requests, 1 more refused; cost 0.60 USD"
"""

import time
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes import authentication
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.module import run_module, with_api
from ansible_collections.egress.ai_gateway.plugins.module_utils._reports.files import ReportError, save
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.access_log import read_access_log
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.cost import prices_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.http_source import PrometheusApi, Settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.metrics import GATEWAY_LABEL
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.model import Reading, SourceError
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.period import (
    SECOND,
    Period,
    PeriodError,
    period_of,
    shown,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.prometheus import read_prometheus
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.report import Report
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

#: Requests to the API server under way at a time.
PARALLEL = 4

Result = dict[str, t.Any]


def arguments() -> dict[str, t.Any]:
    spec = {
        **AUTH_ARG_SPEC,
        "source": {"type": "str", "choices": ["prometheus", "log"], "default": "prometheus"},
        "from": {"type": "str", "default": "7d"},
        "to": {"type": "str", "default": "now"},
        "cluster": {"type": "str", "required": True},
        "gateway": {"type": "str", "required": True},
        "gateway_namespace": {"type": "str", "default": ""},
        "proxy_namespace": {"type": "str", "default": ""},
        "providers": {"type": "dict", "default": {}},
        "prices": {"type": "dict", "default": {}},
        "currency": {"type": "str", "default": ""},
        "directory": {"type": "path", "required": True},
        "show": {"type": "bool", "default": True},
        "prometheus_url": {"type": "str", "default": ""},
        "prometheus_matchers": {"type": "dict", "default": {}},
        "prometheus_token_file": {"type": "path", "no_log": False},
        "prometheus_username": {"type": "str", "default": ""},
        "prometheus_password": {"type": "str", "default": "", "no_log": True},
        "prometheus_ca_path": {"type": "path"},
        "prometheus_client_cert": {"type": "path"},
        "prometheus_client_key": {"type": "path", "no_log": False},
        "prometheus_validate_certs": {"type": "bool", "default": True},
        "prometheus_timeout": {"type": "int", "default": 60},
    }
    required = [("source", "prometheus", ["prometheus_url"]), ("source", "log", ["gateway_namespace"])]
    return {"argument_spec": spec, "required_if": required}


def hidden_values(params: dict[str, t.Any]) -> set[str]:
    """What no output may show."""
    return {*authentication.hidden_values(params), *filter(None, [params["prometheus_password"]])}


def perform(params: dict[str, t.Any], check_mode: bool, _diff_mode: bool, say: t.Callable[[str], None]) -> Result:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure."""
    now = round(time.time() * SECOND)
    try:
        period, ends_later = period_of(params["from"], params["to"], now)
        prices = prices_of(params["prices"])
    except (PeriodError, SourceError) as error:
        return _failed(str(error))
    if params["prometheus_timeout"] < 1:
        return _failed(f"prometheus_timeout: is {params['prometheus_timeout']}; write a number of seconds from 1")

    def finish(reading: Reading) -> Result:
        if ends_later:
            reading.caution("ends_later", f"The period ends in the future. It is counted until {shown(now)}.")
        report = Report(params["cluster"], params["gateway"], reading, prices, params["currency"], now)
        return _written(report, params, check_mode)

    if params["source"] == "prometheus":
        try:
            return finish(_of_prometheus(params, period, say))
        except SourceError as error:
            return _failed(str(error))
    gateway = params["gateway_namespace"], params["gateway"]
    return with_api(
        params,
        PARALLEL,
        "reading access logs",
        lambda api: finish(
            read_access_log(api, period, params["proxy_namespace"], gateway, params["providers"], now, say)
        ),
    )


def _of_prometheus(params: dict[str, t.Any], period: Period, say: t.Callable[[str], None]) -> Reading:
    api = PrometheusApi(
        Settings(
            url=params["prometheus_url"],
            token_file=params["prometheus_token_file"] or "",
            username=params["prometheus_username"],
            password=params["prometheus_password"],
            ca_path=params["prometheus_ca_path"] or "",
            client_certificate=params["prometheus_client_cert"] or "",
            client_key=params["prometheus_client_key"] or "",
            validate_certs=params["prometheus_validate_certs"],
            timeout=params["prometheus_timeout"],
        )
    )
    matchers = {str(label): str(value) for label, value in params["prometheus_matchers"].items()}
    return read_prometheus(api, period, {**matchers, GATEWAY_LABEL: params["gateway"]}, say)


def _written(report: Report, params: dict[str, t.Any], check_mode: bool) -> Result:
    forms = {"csv": report.to_csv, "json": report.to_json, "html": report.to_html}
    try:
        # Who used what is for their owner and the owner's group.
        files = save(forms, params["directory"], "usage", 0o640, check_mode)
    except ReportError as error:
        return _failed(str(error))
    return {
        "changed": False,
        "files": files,
        "usage": report.as_dict(),
        "summary": report.summary,
        "table": report.to_table() if params["show"] else [],
    }


def _failed(message: str) -> Result:
    return {"changed": False, "failed": True, "msg": message}


def main() -> None:
    run_module(arguments(), perform, hidden_values)


if __name__ == "__main__":
    main()
