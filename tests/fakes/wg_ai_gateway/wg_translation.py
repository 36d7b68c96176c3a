# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Envoy's configuration, and the statuses, out of a Gateway, its HTTPRoutes and what they refer to.

Everything here is pure. Where the real controller departs from the Gateway API, this does too, so that what is tested
with the fake holds there: README.md lists it.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import typing as t

CONTROLLER_NAME = "sigs.k8s.io/wg-ai-gateway-envoy-controller"
CLASS_NAME = "wg-ai-gateway"
LISTENER_TYPE = "type.googleapis.com/envoy.config.listener.v3.Listener"
CLUSTER_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
EXTENSIONS = "type.googleapis.com/envoy.extensions"

Object = dict[str, t.Any]
#: Namespace and name.
Key = tuple[str, str]


class TranslationError(Exception):
    """What keeps a whole Gateway from being translated; its proxies keep the configuration that they have."""


class UnresolvedError(Exception):
    """A rule whose backend cannot be used: its paths answer 500 and the route says why."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What routes refer to:

    destinations by key, how to get a Secret's data (None without the Secret), and the labels of namespaces.
    """

    destinations: t.Mapping[Key, Object] = dataclasses.field(default_factory=dict)
    secret: t.Callable[[Key], t.Mapping[str, str] | None] = lambda key: None
    namespaces: t.Mapping[str, t.Mapping[str, str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Translation:
    """The resources for Envoy, and for each route its ``status.parents``; None where the real controller's status is
    one that the API server refuses.
    """

    listeners: list[Object]
    clusters: list[Object]
    parents: dict[Key, list[Object] | None]
    #: What was asked for and is not done.
    remarks: list[str]


def key_of(body: Object) -> Key:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


def parents_of(route: Object) -> list[Key]:
    """The Gateways that a route names, of whatever class."""
    references = route["spec"].get("parentRefs") or ()
    return [_parent_key(route, reference) for reference in references if reference.get("kind", "Gateway") == "Gateway"]


def _parent_key(route: Object, reference: Object) -> Key:
    return reference.get("namespace") or route["metadata"]["namespace"], reference["name"]


def translate(gateway: Object, routes: t.Iterable[Object], surroundings: Surroundings) -> Translation:
    """Everything for one Gateway, out of all routes there are.

    :raises TranslationError: for a Secret that a destination needs and that is not there, or lacks its key.
    """
    return _Translator(gateway, surroundings).run(routes)


class _Translator:
    def __init__(self, gateway: Object, surroundings: Surroundings) -> None:
        self.gateway = gateway
        self.surroundings = surroundings
        self.clusters: dict[str, Object] = {}
        self.remarks: list[str] = []

    def run(self, routes: t.Iterable[Object]) -> Translation:
        #: By port of a listener and domain of a virtual host.
        hosts: dict[int, dict[str, list[Object]]] = {}
        listeners = [listener for listener in self.gateway["spec"].get("listeners") or () if self._is_usable(listener)]
        for listener in listeners:
            hosts.setdefault(listener["port"], {})
        parents: dict[Key, list[Object] | None] = {}
        for route in sorted(routes, key=key_of):
            references = [
                item
                for item in route["spec"].get("parentRefs") or ()
                if _parent_key(route, item) == key_of(self.gateway)
            ]
            if not references:
                continue
            accepted = [
                [listener for listener in listeners if self._accepts(listener, route, reference)]
                for reference in references
            ]
            envoy_routes, resolved = self._route(route) if any(accepted) else ([], None)
            for name, listener in {listener["name"]: listener for found in accepted for listener in found}.items():
                for domain in _domains(listener, route):
                    hosts[listener["port"]].setdefault(domain, []).extend(envoy_routes)
                if not envoy_routes:
                    self.remarks.append(f"HTTPRoute {'/'.join(key_of(route))} gives listener {name} nothing")
            # A reference that no listener takes leaves a condition without a status, and the API server refuses all of
            # it.
            parents[key_of(route)] = (
                [_parent_status(route, reference, resolved) for reference in references]
                if all(accepted) and resolved
                else None
            )
        return Translation(
            [self._listener(port, domains) for port, domains in sorted(hosts.items())],
            [self.clusters[name] for name in sorted(self.clusters)],
            parents,
            self.remarks,
        )

    def _is_usable(self, listener: Object) -> bool:
        kinds = (listener.get("allowedRoutes") or {}).get("kinds") or ()
        if listener["protocol"] != "HTTP":
            self.remarks.append(f"listener {listener['name']}: protocol {listener['protocol']} is not served")
            return False
        return all(kind["kind"] == "HTTPRoute" for kind in kinds)

    def _accepts(self, listener: Object, route: Object, reference: Object) -> bool:
        if reference.get("sectionName") not in (None, listener["name"]) or reference.get("port") not in (
            None,
            listener["port"],
        ):
            return False
        return self._takes_namespace(listener, route["metadata"]["namespace"]) and bool(_domains(listener, route))

    def _takes_namespace(self, listener: Object, namespace: str) -> bool:
        allowed = (listener.get("allowedRoutes") or {}).get("namespaces") or {}
        if allowed.get("from") == "All":
            return True
        if allowed.get("from") == "Selector":
            labels = self.surroundings.namespaces.get(namespace)
            return labels is not None and "selector" in allowed and selects(allowed["selector"], labels)
        return bool(namespace == self.gateway["metadata"]["namespace"])

    def _route(self, route: Object) -> tuple[list[Object], Object]:
        """Envoy's routes of one HTTPRoute, and its condition ResolvedRefs."""
        condition = {
            "type": "ResolvedRefs",
            "status": "True",
            "reason": "ResolvedRefs",
            "message": "Every backend was found",
        }
        found: list[Object] = []
        namespace, name = key_of(route)
        for number, rule in enumerate(route["spec"].get("rules") or ()):
            try:
                action = {"route": self._action(route, rule)}
            except UnresolvedError as error:
                condition |= {"status": "False", "reason": error.reason, "message": str(error)}
                action = {"direct_response": {"status": 500}}
            headers = self._header_changes(route, rule)
            for position, match in enumerate(rule.get("matches") or [{}]):
                rewritten, rewrite = _rewrite(_match(match), rule)
                merged = {"route": {**action["route"], **rewrite}} if "route" in action else action
                found.append(
                    {
                        "name": f"{namespace}-{name}-rule-{number}-match-{position}",
                        "match": rewritten,
                        **merged,
                        **headers,
                    }
                )
        return found, condition

    def _header_changes(self, route: Object, rule: Object) -> Object:
        changes: dict[str, list[t.Any]] = {}
        for item in rule.get("filters") or ():
            if item["type"] not in ("RequestHeaderModifier", "ResponseHeaderModifier"):
                if item["type"] != "URLRewrite":
                    self.remarks.append(f"HTTPRoute {'/'.join(key_of(route))}: filter {item['type']} is not done")
                continue
            side = "request" if item["type"] == "RequestHeaderModifier" else "response"
            change = item.get(f"{side}HeaderModifier") or {}
            for verb, action in (("set", "OVERWRITE_IF_EXISTS_OR_ADD"), ("add", "APPEND_IF_EXISTS_OR_ADD")):
                for header in change.get(verb) or ():
                    added = {"header": {"key": header["name"], "value": header["value"]}, "append_action": action}
                    changes.setdefault(f"{side}_headers_to_add", []).append(added)
            if change.get("remove"):
                changes.setdefault(f"{side}_headers_to_remove", []).extend(change["remove"])
        return dict(changes)

    def _action(self, route: Object, rule: Object) -> Object:
        weighted = []
        for reference in rule.get("backendRefs") or ():
            namespace = reference.get("namespace") or route["metadata"]["namespace"]
            destination = self._destination(reference, namespace)
            if reference.get("weight", 1) == 0:
                continue
            port = reference.get("port")
            if port not in [entry["number"] for entry in destination["ports"]]:
                said = "names no port" if port is None else f"has no port {port}"
                raise UnresolvedError("ResolvedRefs", f"the reference to {namespace}/{reference['name']} {said}")
            cluster = {"name": f"{namespace}-{reference['name']}-{port}", "weight": reference.get("weight", 1)}
            if destination["type"] == "Fqdn":
                cluster["host_rewrite_literal"] = destination["fqdn"]["hostname"]
            weighted.append(cluster)
            # The real controller makes one for each port, whether it is used or not.
            for entry in destination["ports"]:
                made = self._cluster(namespace, reference["name"], destination, entry)
                self.clusters[made["name"]] = made
        if not weighted:
            raise UnresolvedError("UnsupportedValue", "no backend has a weight above 0")
        return {"weighted_clusters": {"clusters": weighted}}

    def _destination(self, reference: Object, namespace: str) -> Object:
        kind = reference.get("kind", "Service")
        # The group is not looked at.
        if kind != "Backend":
            raise UnresolvedError("UnsupportedValue", f"backends of kind {kind} are not supported")
        destination = self.surroundings.destinations.get((namespace, reference["name"]))
        if destination is None:
            raise UnresolvedError("BackendNotFound", f"there is no XBackendDestination {namespace}/{reference['name']}")
        return t.cast(Object, destination["spec"]["destination"])

    def _cluster(self, namespace: str, name: str, destination: Object, port: Object) -> Object:
        cluster_name = f"{namespace}-{name}-{port['number']}"
        cluster: Object = {"@type": CLUSTER_TYPE, "name": cluster_name, "connect_timeout": "5s"}
        hostname = ""
        if destination["type"] == "Fqdn":
            hostname = destination["fqdn"]["hostname"]
            address = {"socket_address": {"address": hostname, "port_value": port["number"]}}
            endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
            cluster |= {"type": "LOGICAL_DNS", "dns_lookup_family": "V4_ONLY"}
        else:
            endpoints = []
            cluster |= {"type": "STATIC"}
            self.remarks.append(
                f"XBackendDestination {namespace}/{name}: destinations of type {destination['type']} get no endpoints"
            )
        cluster["load_assignment"] = {"cluster_name": cluster_name, "endpoints": endpoints}
        tls = port.get("tls") or {"mode": "None"}
        if tls["mode"] != "None":
            context = self._tls(tls, namespace, hostname, port["protocol"])
            cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
        return cluster

    def _tls(self, tls: Object, namespace: str, hostname: str, protocol: str) -> Object:
        common: Object = {}
        protocols = {"HTTP2": ["h2"], "HTTP": ["http/1.1"]}.get(protocol)
        if protocols:
            common["alpn_protocols"] = protocols
        validation: Object = {}
        if tls.get("insecureSkipVerify"):
            validation["trust_chain_verification"] = "ACCEPT_UNTRUSTED"
        if tls.get("caBundleRef"):
            bundle = b"".join(self._certificates(reference, namespace) for reference in tls["caBundleRef"])
            validation["trusted_ca"] = _inline(bundle)
        if tls.get("subjectAltNames"):
            validation["match_typed_subject_alt_names"] = [
                {"san_type": "DNS", "matcher": {"exact": name}} for name in tls["subjectAltNames"]
            ]
        if validation:
            common["validation_context"] = validation
        if tls["mode"] == "Mutual" and tls.get("clientCertificateRef"):
            data = self._secret(tls["clientCertificateRef"], namespace)
            pair = [_entry(data, key, tls["clientCertificateRef"]["name"]) for key in ("tls.crt", "tls.key")]
            common["tls_certificates"] = [{"certificate_chain": _inline(pair[0]), "private_key": _inline(pair[1])}]
        sni = tls.get("sni") or hostname
        return {
            "@type": f"{EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext",
            **({"sni": sni} if sni else {}),
            "common_tls_context": common,
        }

    def _certificates(self, reference: Object, namespace: str) -> bytes:
        # Whatever kind the reference says.
        data = self._secret(reference, namespace)
        return _entry(data, "ca.crt" if "ca.crt" in data else "tls.crt", reference["name"])

    def _secret(self, reference: Object, namespace: str) -> t.Mapping[str, str]:
        key = reference.get("namespace") or namespace, reference["name"]
        data = self.surroundings.secret(key)
        if data is None:
            raise TranslationError(f"there is no Secret {key[0]}/{key[1]}")
        return data

    def _listener(self, port: int, domains: t.Mapping[str, list[Object]]) -> Object:
        name = self.gateway["metadata"]["name"]
        hosts: list[Object] = []
        for domain, routes in sorted(domains.items()):
            hosts.append(
                {"name": f"{name}-{port}-{domain}", "domains": [domain], "routes": sorted(routes, key=_precedence)}
            )
        manager = {
            "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": f"gateway_{name}_{port}",
            "route_config": {"name": f"listener_{port}_routes", "virtual_hosts": hosts},
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"},
                }
            ],
            # The real controller's; what an HTTPRoute says of timeouts is ignored, so that Envoy's own 15 s bound each
            # answer.
            "request_timeout": "60s",
            "stream_idle_timeout": "15s",
            "drain_timeout": "15s",
            "access_log": [
                {
                    "name": "envoy.access_loggers.stdout",
                    "typed_config": {"@type": f"{EXTENSIONS}.access_loggers.stream.v3.StdoutAccessLog"},
                }
            ],
        }
        return {
            "@type": LISTENER_TYPE,
            "name": f"listener-{port}",
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
            "filter_chains": [
                {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
            ],
        }


def _entry(data: t.Mapping[str, str], key: str, name: str) -> bytes:
    try:
        return base64.b64decode(data[key], validate=True)
    except KeyError:
        raise TranslationError(f"Secret {name} lacks {key}") from None
    except ValueError:
        raise TranslationError(f"Secret {name}: {key} is not base64") from None


def _inline(content: bytes) -> Object:
    return {"inline_bytes": base64.b64encode(content).decode("ascii")}


def _match(match: Object) -> Object:
    """Envoy's matcher. Methods are not looked at, as the real controller does not."""
    path = match.get("path") or {}
    kind, value = path.get("type", "PathPrefix"), path.get("value", "/")
    if kind == "Exact":
        found: Object = {"path": value}
    elif kind == "RegularExpression":
        found = {"safe_regex": {"regex": value}}
    elif value == "/":
        found = {"prefix": "/"}
    else:
        found = {"path_separated_prefix": value.removesuffix("/")}
    for field, wanted in (("headers", "headers"), ("query_parameters", "queryParams")):
        items = [{"name": item["name"], "string_match": _text_match(item)} for item in match.get(wanted) or ()]
        if items:
            found[field] = items
    return found


def _text_match(item: Object) -> Object:
    return (
        {"safe_regex": {"regex": item["value"]}}
        if item.get("type") == "RegularExpression"
        else {"exact": item["value"]}
    )


def _rewrite(match: Object, rule: Object) -> tuple[Object, Object]:
    """The matcher and the part of the action that rewrites the path.

    A replaced prefix is matched with its slash and replaced with what the route says, to the letter: ``/a`` and ``/``
    make ``/v1`` of ``/a/v1``, but ``/a`` and ``/b`` make ``/bv1``, ``/a`` itself is no longer matched, and nothing is
    no replacement. Hostnames are not rewritten.
    """
    for item in rule.get("filters") or ():
        path = (item.get("urlRewrite") or {}).get("path") or {}
        if item["type"] != "URLRewrite" or not path:
            continue
        if path["type"] == "ReplaceFullPath":
            return match, {"regex_rewrite": {"pattern": {"regex": ".*"}, "substitution": path["replaceFullPath"]}}
        if path["replacePrefixMatch"]:
            separated = match.pop("path_separated_prefix", None)
            return match | ({"prefix": f"{separated}/"} if separated else {}), {
                "prefix_rewrite": path["replacePrefixMatch"]
            }
    return match, {}


def _precedence(route: Object) -> tuple[t.Any, ...]:
    match = route["match"]
    length = len(
        match.get("path")
        or match.get("prefix")
        or match.get("path_separated_prefix")
        or match.get("safe_regex", {}).get("regex", "")
    )
    headers, parameters = len(match.get("headers", ())), len(match.get("query_parameters", ()))
    return (
        match.get("prefix") == "/" and not headers and not parameters,
        "path" not in match,
        -length,
        -headers,
        -parameters,
    )


def _domains(listener: Object, route: Object) -> list[str]:
    """What a listener and a route have in common, the narrower of each pair; nothing when they exclude each other."""
    wanted, offered = route["spec"].get("hostnames") or [], listener.get("hostname") or ""
    if not offered:
        return wanted or ["*"]
    if not wanted:
        return [offered]
    return sorted({narrow for name in wanted if (narrow := _narrower(name, offered))})


def _narrower(one: str, other: str) -> str:
    if one == other:
        return one
    for wide, narrow in ((one, other), (other, one)):
        # "*.example.com" covers "*.a.example.com" and "a.example.com", not "example.com".
        if wide.startswith("*.") and narrow.removeprefix("*").endswith(wide[1:]):
            return narrow
    return ""


def selects(selector: Object, labels: t.Mapping[str, str]) -> bool:
    """Whether a label selector takes an object with these labels."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for expression in selector.get("matchExpressions") or ():
        value, operator = labels.get(expression["key"]), expression["operator"]
        wanted = {
            "In": value in (expression.get("values") or ()),
            "NotIn": value not in (expression.get("values") or ()),
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not wanted[operator]:
            return False
    return True


##### Statuses


def _parent_status(route: Object, reference: Object, resolved: Object) -> Object:
    accepted = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "A listener takes the route"}
    generation = {"observedGeneration": route["metadata"]["generation"]}
    return {
        "parentRef": reference,
        "controllerName": CONTROLLER_NAME,
        "conditions": [{**accepted, **generation}, {**resolved, **generation}],
    }


def class_conditions(gateway_class: Object) -> list[Object]:
    message = f"Accepted by {CONTROLLER_NAME}"
    generation = gateway_class["metadata"]["generation"]
    return [
        {
            "type": "Accepted",
            "status": "True",
            "reason": "Accepted",
            "message": message,
            "observedGeneration": generation,
        }
    ]


def gateway_conditions(error: str = "") -> list[Object]:
    """Accepted in any case, and both without observedGeneration, as the real controller writes them."""
    programmed = (
        {"status": "False", "reason": "TranslationError", "message": error}
        if error
        else {"status": "True", "reason": "Programmed", "message": "Sent"}
    )
    return [
        {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "The configuration is valid"},
        {"type": "Programmed", **programmed},
    ]


def merged_conditions(before: t.Sequence[Object], wanted: t.Sequence[Object], now: datetime.datetime) -> list[Object]:
    """The conditions of ``before`` with those of ``wanted`` in their places; one whose status stays keeps the time of
    its last transition.
    """
    merged = {condition["type"]: condition for condition in before}
    for condition in wanted:
        old = merged.get(condition["type"], {})
        since = (
            old["lastTransitionTime"]
            if old.get("status") == condition["status"]
            else now.strftime("%Y-%m-%dT%H:%M:%SZ")
        )
        merged[condition["type"]] = {**condition, "lastTransitionTime": since}
    return list(merged.values())


def merged_parents(before: t.Sequence[Object], wanted: t.Sequence[Object], now: datetime.datetime) -> list[Object]:
    """``wanted`` with times. What other controllers wrote is lost, as with the real one."""
    merged = []
    for parent in wanted:
        same = [
            old
            for old in before
            if (old["parentRef"], old["controllerName"]) == (parent["parentRef"], parent["controllerName"])
        ]
        merged.append(
            {
                **parent,
                "conditions": merged_conditions(
                    same[0].get("conditions", ()) if same else (), parent["conditions"], now
                ),
            }
        )
    return merged
