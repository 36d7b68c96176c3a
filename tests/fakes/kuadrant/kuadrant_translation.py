# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one policy becomes: objects that Authorino and Envoy Gateway enforce. Nothing here asks the cluster."""

from __future__ import annotations

import re
import typing as t

from kuadrant_objects import ENVOY_GATEWAY, GATEWAY_API, Object, made
from kuadrant_program import METADATA_KEY, METADATA_NAMESPACE, MODEL_HEADER, PATH_HEADER, program

USER_HEADER = "x-kuadrant-user"
TIER_HEADER = "x-kuadrant-tier"
#: The headers by which Envoy counts, and the properties of the identity that they hold.
IDENTITY_HEADERS = {"userid": USER_HEADER, "tier": TIER_HEADER}
#: What such a header says where the policy names no such property, so that nobody can send it. Envoy may drop an empty
#: one.
NOBODY = "-"
AUTHORINO_BACKEND = "kuadrant-authorino"
MOST_RULES = 256
MOST_REQUESTS = 2**32 - 1
UNITS = {1: "Second", 60: "Minute", 3600: "Hour", 86400: "Day"}

_RULES = ("authentication", "metadata", "authorization", "response", "callbacks")
_BODY_FUNCTIONS = re.compile(r"\b(requestBodyJSON|responseBodyJSON)\s*\(")
_STRING = r"""(?:"(?P<double>[^"\\]*)"|'(?P<single>[^'\\]*)')"""
_EQUALS = re.compile(
    rf"(?P<what>auth\.identity\.\w+|request\.\w+|requestBodyJSON\(\s*[\"']/model[\"']\s*\))\s*(?P<operator>==|!=)\s*{_STRING}"
)
_PATH = re.compile(
    rf"(?P<negated>!?)\s*request\.(?P<field>path|url_path)\.(?P<method>startsWith|endsWith|contains|matches)\(\s*{_STRING}\s*\)"
)
_CLASS = re.compile(r"\[[^\]]*\]")
_PARTS = re.compile(r"""("[^"]*"|'[^']*'|&&|\|\||[^"'&|]+|.)""", re.DOTALL)


class UnsupportedError(Exception):
    """A policy asks for something that this stand-in does not do; the message names the field and never its value,
    which may be a secret.
    """


def body_of(spec: Object) -> Object:
    """The part of a policy's spec that holds its rules or limits: defaults, overrides, or the spec itself."""
    for part in ("defaults", "overrides"):
        if spec.get(part):
            if spec[part].get("strategy", "atomic") != "atomic":
                raise UnsupportedError(f"spec.{part}.strategy: only atomic is supported")
            return t.cast("Object", spec[part])
    return spec


def _refuse_body_functions(value: t.Any, where: str) -> None:
    """Authorino knows the functions of CEL, but not those by which Kuadrant's filter reads a body."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name in ("predicate", "expression") and isinstance(item, str) and _BODY_FUNCTIONS.search(item):
                raise UnsupportedError(f"{where}.{name}: an AuthPolicy cannot read bodies here")
            _refuse_body_functions(item, f"{where}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_body_functions(item, f"{where}[{index}]")


def _identity_headers(success: Object) -> Object:
    """The headers of the response by which Envoy counts, from the properties of filter `identity`."""
    identity = success.get("filters", {}).get("identity", {})
    if identity.get("when"):
        raise UnsupportedError(
            "rules.response.success.filters.identity.when: the identity must be told for every request"
        )
    properties = identity.get("json", {}).get("properties", {})
    headers = dict(success.get("headers", {}))
    taken = {(item.get("key") or name).lower() for name, item in headers.items()}
    for property_name, header in IDENTITY_HEADERS.items():
        if header in taken:
            raise UnsupportedError(f"rules.response.success.headers: {header} is the header by which limits count here")
        headers[header] = {
            "plain": properties.get(property_name) or {"value": NOBODY},
            "priority": identity.get("priority", 0),
        }
    return headers


def authorization_host(namespace: str, name: str) -> str:
    """The host under which Authorino finds the rules of an AuthPolicy. No client calls it."""
    return f"{namespace}.{name}.authpolicy.kuadrant"


def auth_config(policy: Object, authorino_namespace: str) -> Object:
    """The AuthConfig of an AuthPolicy.

    :raises UnsupportedError: if the policy asks for more.
    """
    namespace, name = policy["metadata"]["namespace"], policy["metadata"]["name"]
    body = body_of(policy["spec"])
    given = body.get("rules") or {}
    _refuse_body_functions(given, "rules")
    _refuse_body_functions(body.get("when", []), "when")
    rules = {part: given[part] for part in _RULES if given.get(part)}
    response = dict(rules.get("response", {}))
    success = response.get("success", {})
    response["success"] = {"headers": _identity_headers(success)}
    if success.get("filters"):
        response["success"]["dynamicMetadata"] = success["filters"]
    spec: Object = {"hosts": [authorization_host(namespace, name)], **rules, "response": response}
    if body.get("when"):
        spec["when"] = body["when"]
    if body.get("patterns"):
        spec["patterns"] = {pattern: item.get("allOf", []) for pattern, item in body["patterns"].items()}
    return made("AuthConfig", authorino_namespace, f"{namespace}.{name}", spec)


def authorino_backend(namespace: str, hostname: str, port: int) -> Object:
    """Authorino by name and not as a Service:

    of a Service without ready endpoints Envoy Gateway would take the authorization filter out.
    """
    return made(
        "Backend", namespace, AUTHORINO_BACKEND, {"endpoints": [{"fqdn": {"hostname": hostname, "port": port}}]}
    )


def security_policy(policy: Object) -> Object:
    """What makes Envoy ask Authorino before it lets a request in; it lets nothing in while it gets no answer."""
    namespace, name = policy["metadata"]["namespace"], policy["metadata"]["name"]
    target = policy["spec"]["targetRef"]
    extension = {
        "grpc": {"backendRefs": [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": AUTHORINO_BACKEND}]},
        "contextExtensions": [{"name": "host", "type": "Value", "value": authorization_host(namespace, name)}],
        "failOpen": False,
        "statusOnError": 503,
        "timeout": "5s",
    }
    reference = {"group": GATEWAY_API, "kind": target["kind"], "name": target["name"]}
    return made("SecurityPolicy", namespace, f"kuadrant-auth-{name}", {"targetRefs": [reference], "extAuth": extension})


def seconds_of(window: str) -> float:
    """The seconds of a duration such as 1m or 1h30m."""
    lengths = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return sum(int(count) * lengths[unit] for count, unit in re.findall(r"(\d+)(ms|h|m|s)", window))


def _conjuncts(predicate: str, where: str) -> list[str]:
    """The predicates that are joined by && outside of strings."""
    found = [""]
    for part in _PARTS.findall(predicate):
        if part == "||":
            raise UnsupportedError(f"{where}: || is not supported")
        if part == "&&":
            found.append("")
        else:
            found[-1] += part
    return [item.strip() for item in found]


def _literal(match: re.Match[str]) -> str:
    double = match["double"]
    return t.cast("str", double if double is not None else match["single"])


def _quoted(text: str) -> str:
    """The text as a regular expression in the words that RE2 shares with others."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)


def _whole(pattern: str) -> str | None:
    """What a regular expression has between ^ and $; None for one that is not for a whole text, or that may reach into
    a query.
    """
    inner = pattern[1:-1]
    outside = _CLASS.sub("", inner)
    if (
        pattern[:1] != "^"
        or pattern[-1:] != "$"
        or re.search(r"[.^$]", outside)
        or any(found[1] == "^" or "?" in found for found in _CLASS.findall(inner))
    ):
        return None
    return inner


def header_match(predicate: str, where: str) -> Object:
    """How Envoy's rate limit asks a simple predicate: by the value of a header.

    :raises UnsupportedError: if the predicate is of no form that it can ask.
    """
    equals = _EQUALS.fullmatch(predicate)
    if equals:
        names = {f"auth.identity.{name}": header for name, header in IDENTITY_HEADERS.items()} | {
            "request.path": PATH_HEADER,
            "request.method": ":method",
        }
        what = equals["what"]
        header = MODEL_HEADER if what.startswith("requestBodyJSON") else names.get(what)
        if header:
            return {"name": header, "type": "Exact", "value": _literal(equals), "invert": equals["operator"] == "!="}
    path = _PATH.fullmatch(predicate)
    if path:
        # Without its query, a path is whatever stands before the first question mark.
        any_text, rest = (".*", "") if path["field"] == "path" else ("[^?]*", r"(\?.*)?")
        text = _quoted(_literal(path))
        if path["method"] == "matches":
            inner = _whole(_literal(path)) if path["field"] == "url_path" else None
            if inner is None:
                raise UnsupportedError(
                    f"{where}: matches is supported for request.url_path with a regular expression from ^ to $, without . and [^ for any character"
                )
            return {
                "name": PATH_HEADER,
                "type": "RegularExpression",
                "value": f"(?:{inner}){rest}",
                "invert": bool(path["negated"]),
            }
        forms = {"startsWith": f"{text}.*", "endsWith": f"{any_text}{text}{rest}", "contains": f"{any_text}{text}.*"}
        return {
            "name": PATH_HEADER,
            "type": "RegularExpression",
            "value": forms[path["method"]],
            "invert": bool(path["negated"]),
        }
    raise UnsupportedError(
        f'{where}: the supported forms are auth.identity.userid, auth.identity.tier, request.path, request.method or requestBodyJSON("/model") '
        "with == or != and a text, request.path or request.url_path with startsWith, endsWith, contains or matches, negated by !, and several of these with &&"
    )


def _matches(when: list[Object], where: str) -> list[Object]:
    found: list[Object] = []
    for index, item in enumerate(when):
        place = f"{where}[{index}].predicate"
        found.extend(header_match(predicate, place) for predicate in _conjuncts(item["predicate"], place))
    return found


def _counters(counters: list[Object], where: str) -> list[Object]:
    known = {f"auth.identity.{name}": header for name, header in IDENTITY_HEADERS.items()}
    found = []
    for index, item in enumerate(counters):
        header = known.get(item["expression"].strip())
        if not header:
            raise UnsupportedError(f"{where}[{index}].expression: the supported counters are {' and '.join(known)}")
        found.append({"name": header, "type": "Distinct"})
    return found


def limit_rules(policy: Object) -> list[Object]:
    """The rules of a BackendTrafficPolicy for a RateLimitPolicy or a TokenRateLimitPolicy.

    :raises UnsupportedError: if the policy asks for more.
    """
    body = body_of(policy["spec"])
    tokens = policy["kind"] == "TokenRateLimitPolicy"
    common = _matches(body.get("when", []), "when")
    rules = []
    for name, limit in sorted((body.get("limits") or {}).items()):
        where = f"limits.{name}"
        headers = (
            _counters(limit.get("counters", []), f"{where}.counters")
            + common
            + _matches(limit.get("when", []), f"{where}.when")
        )
        rates = limit.get("rates", [])
        if not rates:
            raise UnsupportedError(f"{where}.rates: a limit needs a rate")
        for index, rate in enumerate(rates):
            unit = UNITS.get(t.cast("int", seconds_of(rate["window"])))
            if not unit:
                raise UnsupportedError(
                    f"{where}.rates[{index}].window: the windows are one second, minute, hour or day, as Envoy's rate limit service counts"
                )
            if not 1 <= rate["limit"] <= MOST_REQUESTS:
                raise UnsupportedError(f"{where}.rates[{index}].limit: from 1 to {MOST_REQUESTS}")
            # One count for all routes of the Gateway.
            rule: Object = {"limit": {"requests": rate["limit"], "unit": unit}, "shared": True}
            if headers:
                rule["clientSelectors"] = [{"headers": headers}]
            if tokens:
                used = {"from": "Metadata", "metadata": {"namespace": METADATA_NAMESPACE, "key": METADATA_KEY}}
                rule["cost"] = {"request": {"from": "Number", "number": 0}, "response": used}
            rules.append(rule)
    return rules


def limits(namespace: str, gateway: str, rules: list[Object]) -> list[Object]:
    """What counts on a Gateway:

    one BackendTrafficPolicy with the rules of its policies, as Envoy Gateway obeys one, and the program that they need.
    """
    target = {"group": GATEWAY_API, "kind": "Gateway", "name": gateway}
    read_model = any(
        header["name"] == MODEL_HEADER
        for rule in rules
        for selector in rule.get("clientSelectors", [])
        for header in selector["headers"]
    )
    text = program(read_model=read_model, count_tokens=any("cost" in rule for rule in rules))
    name = f"kuadrant-limits-{gateway}"
    return [
        made(
            "EnvoyExtensionPolicy",
            namespace,
            name,
            {"targetRefs": [target], "lua": [{"type": "Inline", "inline": text}]},
        ),
        made(
            "BackendTrafficPolicy",
            namespace,
            name,
            {"targetRefs": [target], "rateLimit": {"type": "Global", "global": {"rules": rules}}},
        ),
    ]
