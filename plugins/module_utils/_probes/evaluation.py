# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks of a validation that role validation evaluates itself, from what it has seen of the cluster and of its own
tasks; those of the modules stand between them. ``checks`` has the order of the report.
"""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import FAILED, PASSED, SKIPPED, Check
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.plan import Plan, Result

ASKS_NOTHING = "check mode asks nothing"
ISSUES_NONE = "check mode issues none"
#: A line of Envoy's access log for a connection that failed; the reason of a refused certificate in it has _ for
#: spaces.
FAILED_CONNECTION = re.compile(r'\{.*"upstream_transport_failure_reason":"')
REFUSED_CERTIFICATE = re.compile(r"^TLS_error:.*:CERTIFICATE_VERIFY_FAILED:(.*):TLS_error_end$")


def checks(plan: Plan) -> list[dict[str, t.Any]]:
    """All checks of the run so far, those of the modules included, as module validation_report accepts them."""
    seen = plan.seen
    own = [_gateway(plan), _tokens(plan)]
    if plan.with_maas_api:
        own.append(_maas_api(plan))
    if plan.catalog["stack"] == "wg_ai_gateway":
        own.append(_foreign_proxies(plan))
    is_full = "checks" in seen.probes and not plan.settings.quick
    behind = [*_certificates(plan), _wrong_key(plan), *_network(plan)] if is_full else []
    limits = [check for result in seen.limits.get("results", ()) for check in result.get("checks", ())]
    return [
        *_described(own),
        *seen.listing.get("checks", ()),
        *seen.probes.get("checks", ()),
        *seen.mcp.get("checks", ()),
        *(check for result in seen.listeners.get("results", ()) for check in result.get("checks", ())),
        *_described(behind),
        *limits,
        *_described([_cleanup(plan), *_quick(plan)]),
    ]


def unexplained_models(plan: Plan) -> list[str]:
    """The models that did not answer over TLS under the path of a provider and whose failed connections are not in the
    log of the proxy, where they come some seconds late.
    """
    behind_tls = {model["name"] for provider in _providers_with_tls(plan) for model in provider["models"]}
    failed = [check["id"] for check in plan.seen.probes.get("checks", ()) if check["status"] == FAILED]
    unanswered = dict.fromkeys(id_.split(":", 2)[2] for id_ in failed if id_.startswith("path:"))
    logged = {failure.get("model") for failure in _transport_failures(plan)}
    return [name for name in unanswered if name in behind_tls and name not in logged]


def _described(own: Sequence[Check]) -> list[dict[str, t.Any]]:
    return [check.as_dict() for check in own]


def _status(plan: Plan, passed: bool) -> str:
    return SKIPPED if plan.seen.check_mode else PASSED if passed else FAILED


def _seconds(plan: Plan, part: str) -> float:
    return plan.seen.seconds.get(part, 0.0)


def _resources(result: Result) -> list[Mapping[str, t.Any]]:
    return list(result.get("resources") or ())


def _gateway(plan: Plan) -> Check:
    catalog, seen = plan.catalog, plan.seen
    namespace, name = catalog["gateway_namespace"], catalog["name"]
    found = _resources(seen.gateway)
    conditions = [condition for body in found for condition in (body.get("status") or {}).get("conditions") or ()]
    wanted = [condition for condition in conditions if condition["type"] in ("Accepted", "Programmed")]
    programmed = len([condition for condition in wanted if condition["status"] == "True"]) == 2
    if seen.check_mode:
        observed = ASKS_NOTHING
    elif not found:
        observed = seen.gateway.get("msg", f"no Gateway {namespace}/{name}")
    else:
        observed = (
            ", ".join(f"{condition['type']}={condition['status']}" for condition in conditions) or "no conditions"
        )
    return Check(
        id="gateway",
        name="The Gateway is programmed",
        status=_status(plan, programmed),
        expected="Accepted=True, Programmed=True",
        observed=observed,
        seconds=_seconds(plan, "gateway"),
        hint=f"See kubectl describe gateway {name} --namespace {namespace}, and the logs of its controller.",
    )


def _tokens(plan: Plan) -> Check:
    tiers = ", ".join(dict.fromkeys([plan.tier["name"], plan.limit_tier["name"]]))
    faults = "; ".join(dict.fromkeys(filter(None, (plan.seen.no_token("caller"), plan.seen.no_token("limited")))))
    return Check(
        id="tokens",
        name="Tokens are issued",
        status=_status(plan, not faults),
        expected=f"tokens of tiers {tiers}",
        observed=ISSUES_NONE if plan.seen.check_mode else faults or f"tokens of {tiers}",
        seconds=_seconds(plan, "tokens"),
        hint="See the namespaces of the tiers, and the rights to create ServiceAccounts and their tokens there.",
    )


def _maas_api(plan: Plan) -> Check:
    catalog, fault = plan.catalog, plan.seen.no_token("minted")
    valid = f"a token that is valid for {plan.seen.issue('minted').get('expiration', '?')} s"
    namespace = catalog["maas_api"]["namespace"]
    return Check(
        id="maas-api-token",
        name="maas-api mints a token",
        status=_status(plan, not fault),
        expected=f"a token of tier {plan.tier['name']} for the audience {catalog['audience']}",
        observed=ISSUES_NONE if plan.seen.check_mode else fault or valid,
        seconds=_seconds(plan, "tokens"),
        hint=f"See the HTTPRoute maas-api-route and its policy in namespace {namespace}, and the logs of maas-api.",
    )


def _foreign_proxies(plan: Plan) -> Check:
    egress = plan.catalog["egress_gateway"]
    mine = f"{egress['namespace']}/{egress['service']}"
    metadata = [body["metadata"] for body in _resources(plan.seen.proxies)]
    found = [f"{entry['namespace']}/{entry['name']}" for entry in metadata]
    foreign = ", ".join(name for name in found if name != mine)
    observed = plan.seen.proxies.get("msg", f"Deployments {', '.join(found) or 'none'}")
    return Check(
        id="foreign-proxies",
        name="The egress gateway alone has proxies of wg-ai-gateway",
        status=_status(plan, found == [mine]),
        expected=f"Deployment {mine} and no other",
        observed=ASKS_NOTHING if plan.seen.check_mode else observed,
        seconds=0.0,
        hint="The controller takes routes of other Gateways for its own and deploys proxies for those where it may "
        "write. "
        f"Narrow the rights of its ServiceAccount to namespace {egress['namespace']}, and delete {foreign}.",
    )


def _providers_with_tls(plan: Plan) -> list[Mapping[str, t.Any]]:
    return [provider for provider in plan.catalog["providers"] if provider["endpoint"]["tls"]["mode"] != "none"]


def _transport_failures(plan: Plan) -> list[dict[str, t.Any]]:
    """What the proxy logged of connections that failed."""
    return [json.loads(line) for line in plan.seen.proxy_log.get("log_lines") or () if FAILED_CONNECTION.match(line)]


def _certificates(plan: Plan) -> list[Check]:
    """Whether the certificate of each provider that has one was verified."""
    if plan.seen.check_mode:
        return []
    outcomes = {check["id"]: check["status"] for check in plan.seen.probes["checks"]}
    asked = {model["name"] for model in plan.models}
    failures = _transport_failures(plan)
    found = []
    for provider in _providers_with_tls(plan):
        names = [model["name"] for model in provider["models"] if model["name"] in asked]
        if not names:
            continue
        reasons = dict.fromkeys(
            failure["upstream_transport_failure_reason"] for failure in failures if failure.get("model") in names
        )
        answered = any(outcomes.get(f"path:{provider['name']}:{name}") == PASSED for name in names)
        if answered:
            status, observed = PASSED, "an answer over a verified connection"
        elif reasons:
            status, observed = FAILED, "; ".join(_reason(reason) for reason in reasons)
        else:
            status, observed = SKIPPED, "no connection was tried, or its end is not in the log of the proxy"
        endpoint, tls = provider["endpoint"], provider["endpoint"]["tls"]
        authorities = tls["ca_bundle"] or "one of the system's roots"
        found.append(
            Check(
                id=f"tls:{provider['name']}",
                name=f"The certificate of {provider['name']} is verified",
                status=status,
                expected=f"a certificate of {tls['sni']} that {authorities} vouches for",
                observed=observed,
                seconds=0.0,
                hint=f"Compare endpoint.tls of provider {provider['name']} with: openssl s_client "
                f"-connect {endpoint['hostname']}:{endpoint['port']} -servername {tls['sni']} -showcerts",
            )
        )
    return found


def _reason(logged: str) -> str:
    """Envoy writes TLS_error:|<number>:SSL_routines:…:CERTIFICATE_VERIFY_FAILED:<why>:TLS_error_end."""
    return REFUSED_CERTIFICATE.sub(r"\1", logged).replace("_", " ")


def _wrong_key(plan: Plan) -> Check:
    asked, result = plan.wrong_key, plan.seen.wrong_key
    status = str(result.get("stdout", "")).strip()
    provider = "A provider" if asked["skip"] else f"Provider {asked['provider']}"
    answered = f"status {status}" if status else result.get("msg", "no pod of its simulator runs")
    namespace = plan.catalog["simulators_namespace"]
    return Check(
        id="wrong-key",
        name=f"{provider} refuses a key that is not its own",
        status=SKIPPED if asked["skip"] else PASSED if status == "401" else FAILED,
        expected="status 401",
        observed=asked["skip"] or answered,
        seconds=0.0,
        hint=f"See the logs of the simulator in namespace {namespace}, and the Secret with its key.",
    )


def _network(plan: Plan) -> list[Check]:
    """Whether the cluster enforces NetworkPolicies, where that is asked."""
    if plan.connections["skip"] and (not plan.settings.network_policies or plan.bridged):
        return []
    result = plan.seen.connections
    tried = "stdout" in result
    reached = str(result.get("stdout", "")).split()
    return [
        Check(
            id="network-policies",
            name="NetworkPolicies are enforced",
            status=SKIPPED if plan.connections["skip"] else PASSED if tried and not reached else FAILED,
            expected="a pod of another namespace reaches neither Redis nor Authorino",
            observed=plan.connections["skip"]
            or (f"reached {', '.join(reached)}" if reached else "reached none" if tried else result.get("msg", "")),
            seconds=0.0,
            hint="The cluster's network plugin ignores NetworkPolicies, so any pod can call what is for the proxies "
            "alone. Install one that enforces them, or set validation_network_policies to false where you accept that.",
        )
    ]


def _quick(plan: Plan) -> list[Check]:
    if not plan.settings.quick:
        return []
    return [
        Check(
            id="full-validation",
            name="All other checks",
            status=SKIPPED,
            expected="the checks of a full validation",
            observed=f"{plan.left_out} left out, as this run changed nothing: no paid request, no wait for a window",
            seconds=0.0,
            hint="Run playbook egress.ai_gateway.validate, or set validation_mode to full.",
        )
    ]


def _cleanup(plan: Plan) -> Check:
    left = [result["msg"] for result in plan.seen.removed.get("results", ()) if "msg" in result]
    return Check(
        id="cleanup",
        name="The users of this run are removed",
        status=_status(plan, not left),
        expected="no ServiceAccount of this run is left",
        observed="check mode makes none" if plan.seen.check_mode else "; ".join(left) or "none is left",
        seconds=_seconds(plan, "cleanup"),
        hint=f"Delete the ServiceAccounts validation-{plan.seen.run}-* in the namespaces of the tiers and in "
        f"{plan.catalog['namespace']}.",
    )
