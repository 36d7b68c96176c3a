# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a validation asks each listener of the Gateway, where there are several, and the redirect from plain HTTP."""

from __future__ import annotations

import typing as t
import urllib.parse
from collections.abc import Iterator, Mapping

from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.plan import Params, Plan

#: The listener that redirects plain HTTP, as role gateway names it.
REDIRECT = "http-redirect"
_PATH = "/v1/models"


def asked(plan: Plan) -> list[Params]:
    """The probes, each with the ``url`` that it is sent to, and the ``user`` whose token it carries; empty for none.

    A model that costs nothing answers under the host name of each listener, over a verified certificate; without such a
    model the list of models does. Plain HTTP gets no token.
    """
    if plan.seen.check_mode or plan.bridged:
        return []
    return [*_listeners(plan), *_redirect(plan)]


def _spec_listeners(plan: Plan) -> list[Mapping[str, t.Any]]:
    found = plan.seen.gateway.get("resources") or [{}]
    return list((found[0].get("spec") or {}).get("listeners") or ())


def _listeners(plan: Plan) -> Iterator[Params]:
    listeners = [listener for listener in _spec_listeners(plan) if listener["name"] != REDIRECT]
    address = urllib.parse.urlsplit(plan.settings.gateway_url)
    if len(listeners) < 2 or not address.hostname:
        return
    free = [model for model in plan.usable_models if model["name"] not in plan.paid_models]
    named = {listener.get("hostname") for listener in listeners}
    for listener in listeners:
        if not listener.get("hostname") and address.hostname in named:
            # The host name of the URL is another listener's, and no other is known that is this one's.
            continue
        host = _host(plan.catalog["name"], listener.get("hostname") or address.hostname)
        port = f":{address.port}" if address.port else ""
        probe: Params = {
            "id": f"listener:{listener['name']}",
            "name": f"Listener {listener['name']} answers under {host}",
            "hint": f"See the status of listener {listener['name']} of Gateway {plan.catalog['name']}, and the names "
            "in the certificate that it serves.",
            "skip": plan.seen.no_token("caller"),
            "wait_timeout": plan.settings.wait_timeout,
        }
        if free:
            probe |= {"operation": plan.operation(free[0]), "model": free[0]["name"], "expect": {"usage": True}}
        else:
            probe |= {"operation": "models", "expect": {"models": plan.tier["models"]}}
        yield {"url": f"{address.scheme}://{host}{port}", "user": "caller", "probe": probe}


def _redirect(plan: Plan) -> Iterator[Params]:
    redirects = any(listener["name"] == REDIRECT for listener in _spec_listeners(plan))
    if not redirects or not plan.settings.http_url:
        return
    address = urllib.parse.urlsplit(plan.settings.gateway_url)
    # A redirect names the port of the Gateway's Service also where it is the scheme's own.
    port = f":{address.port}" if address.port else "(:443)?"
    probe = {
        "id": "http-redirect",
        "name": "Plain HTTP is redirected to HTTPS",
        "hint": f"See the status of listener {REDIRECT} of Gateway {plan.catalog['name']} and of the HTTPRoute in "
        f"namespace {plan.catalog['controller_namespaces']['envoy_gateway']}.",
        "operation": "models",
        "wait_timeout": plan.settings.wait_timeout,
        "expect": {"status": [308], "headers": {"location": f"^https://[^/]+{port}{_PATH}$"}},
    }
    yield {"url": plan.settings.http_url, "user": "", "probe": probe}


def _host(name: str, hostname: str) -> str:
    """A host name that a listener answers to: under a wildcard, that of the Gateway's name."""
    host = f"{name}{hostname.removeprefix('*')}" if hostname.startswith("*") else hostname
    return f"[{host}]" if ":" in host else host
