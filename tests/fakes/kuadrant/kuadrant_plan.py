# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""From all policies of a cluster to the objects that are to be, and what each policy's status says.

Nothing here asks the cluster.
"""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from kuadrant_objects import GATEWAY_API, MADE, POLICIES, Key, Object, age, bounded, key_of
from kuadrant_translation import UnsupportedError, auth_config, authorino_backend, limit_rules, limits, security_policy

LIMIT_POLICIES = ("RateLimitPolicy", "TokenRateLimitPolicy")
#: The words by which the real operator tells what is missing; roles that look for the cure may read them.
MISSING_PROVIDER = "[Gateway API provider (istio / envoy gateway)] is not installed, please restart Kuadrant Operator pod once dependency has been installed"
Cluster = t.Mapping[str, list[Object]]


@dataclasses.dataclass(frozen=True)
class Settings:
    authorino_namespace: str = "authorino"
    authorino_service: str = "authorino"
    authorino_port: int = 50051
    #: The condition of policies that tells of a missing gateway provider: Enforced, or Accepted.
    missing_condition: str = "Enforced"

    @property
    def authorino_host(self) -> str:
        return f"{self.authorino_service}.{self.authorino_namespace}.svc.cluster.local"


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why a policy does not hold."""

    reason: str
    message: str
    condition: str = "Enforced"


@dataclasses.dataclass
class Plan:
    #: What is to be, in the order in which it is written.
    wanted: dict[Key, Object] = dataclasses.field(default_factory=dict)
    #: What stays as it is although nobody can say what it should be.
    kept: set[Key] = dataclasses.field(default_factory=set)
    refused: dict[Key, Refusal] = dataclasses.field(default_factory=dict)
    #: The objects that must be in force for a policy to be.
    needs: dict[Key, list[Key]] = dataclasses.field(default_factory=dict)

    def want(self, *items: Object) -> list[Key]:
        keys = [key_of(item) for item in items]
        self.wanted.update(zip(keys, items))
        return keys


def provider_installed(cluster: Cluster) -> bool:
    """Whether a gateway provider is there: a GatewayClass that somebody accepted."""
    return any(
        _condition(item.get("status", {}).get("conditions", []), "Accepted").get("status") == "True"
        for item in cluster.get("GatewayClass", [])
    )


def _condition(conditions: list[Object], name: str) -> Object:
    return next((condition for condition in conditions if condition.get("type") == name), {})


def _gateways_of(route: Object) -> set[tuple[str, str]]:
    """The Gateways, by namespace and name, that took the route."""
    found = set()
    for parent in route.get("status", {}).get("parents", []):
        reference = parent["parentRef"]
        is_gateway = (
            reference.get("group", GATEWAY_API) == GATEWAY_API and reference.get("kind", "Gateway") == "Gateway"
        )
        if is_gateway and _condition(parent.get("conditions", []), "Accepted").get("status") == "True":
            found.add((reference.get("namespace", route["metadata"]["namespace"]), reference["name"]))
    return found


def _named(policy: Object) -> str:
    return f"{policy['metadata']['namespace']}/{policy['metadata']['name']}"


def _no_routes(policy: Object) -> Refusal:
    return Refusal("Unknown", f"No route that a Gateway took is in the path of this {policy['kind']}.")


class _Planner:
    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self.cluster = cluster
        self.settings = settings
        self.plan = Plan()
        self.targets = {key_of(item) for kind in ("Gateway", "HTTPRoute") for item in cluster.get(kind, [])}
        self.routes = {key_of(route): _gateways_of(route) for route in cluster.get("HTTPRoute", [])}

    def effective(self, kind: str) -> dict[Key, Object]:
        """The policies of a kind by their targets; of several on one target the oldest."""
        found: dict[Key, Object] = {}
        for policy in sorted(self.cluster.get(kind, []), key=age):
            target = policy["spec"]["targetRef"]
            target_key = (target["kind"], policy["metadata"]["namespace"], target["name"])
            if target["kind"] not in ("Gateway", "HTTPRoute"):
                self._refuse(policy, "Unsupported", f"spec.targetRef.kind: {target['kind']} is not supported")
            elif target_key not in self.targets:
                self._refuse(
                    policy,
                    "TargetNotFound",
                    f"{target['kind']} {target_key[1]}/{target_key[2]} was not found",
                    "Accepted",
                )
            elif target.get("sectionName"):
                self._refuse(policy, "Unsupported", "spec.targetRef.sectionName: parts of a target are not supported")
                self._keep(policy)
            elif target_key in found:
                self._refuse(
                    policy, "Overridden", f"{kind} {_named(found[target_key])} is older and has the same target"
                )
            else:
                found[target_key] = policy
        return found

    def _refuse(self, policy: Object, reason: str, message: str, condition: str = "Enforced") -> None:
        self.plan.refused[key_of(policy)] = Refusal(reason, message, condition)

    def _keep(self, policy: Object) -> None:
        """An AuthPolicy that turned into one that is not supported goes on with what was made of it:

        better old rules than none.
        """
        if policy["kind"] != "AuthPolicy":
            return
        namespace, name = policy["metadata"]["namespace"], policy["metadata"]["name"]
        self.plan.kept |= {
            ("AuthConfig", self.settings.authorino_namespace, bounded(f"{namespace}.{name}")),
            ("SecurityPolicy", namespace, bounded(f"kuadrant-auth-{name}")),
            key_of(authorino_backend(namespace, self.settings.authorino_host, self.settings.authorino_port)),
        }

    def authorization(self) -> None:
        policies = self.effective("AuthPolicy")
        overriding = {
            (target[1], target[2]): policy
            for target, policy in policies.items()
            if target[0] == "Gateway" and policy["spec"].get("overrides")
        }
        for target, policy in list(policies.items()):
            overridden_by = [
                overriding[gateway] for gateway in sorted(self.routes.get(target, set())) if gateway in overriding
            ]
            if target[0] == "HTTPRoute" and overridden_by:
                self._refuse(
                    policy,
                    "Overridden",
                    f"AuthPolicy {_named(overridden_by[0])} of the Gateway overrides those of its routes",
                )
                del policies[target]
        for target, policy in policies.items():
            try:
                config = auth_config(policy, self.settings.authorino_namespace)
            except UnsupportedError as error:
                self._refuse(policy, "Unsupported", str(error))
                self._keep(policy)
                continue
            backend = authorino_backend(
                policy["metadata"]["namespace"], self.settings.authorino_host, self.settings.authorino_port
            )
            # Made before there is a route, so that none is ever without.
            self.plan.needs[key_of(policy)] = self.plan.want(config, backend, security_policy(policy))
            refusal = self._out_of_path(target, policy, policies)
            if refusal:
                self.plan.refused[key_of(policy)] = refusal

    def _out_of_path(self, target: Key, policy: Object, policies: dict[Key, Object]) -> Refusal | None:
        """Why a policy meets no request:

        its Gateway has no routes, or each has a policy of its own, or its route has no Gateway.
        """
        if target[0] == "HTTPRoute":
            return None if self.routes[target] else _no_routes(policy)
        routes = [route for route, gateways in self.routes.items() if target[1:] in gateways]
        if not routes:
            return _no_routes(policy)
        own = [policies[route] for route in routes if route in policies]
        if len(own) < len(routes):
            return None
        return Refusal(
            "Overridden",
            f"Every route of the Gateway has an AuthPolicy of its own: {', '.join(sorted(_named(item) for item in own))}",
        )

    def limits(self) -> None:
        rules: dict[Key, list[Object]] = {}
        holders: dict[Key, list[Object]] = {}
        for kind in LIMIT_POLICIES:
            for target, policy in self.effective(kind).items():
                if target[0] != "Gateway":
                    self._refuse(policy, "Unsupported", "spec.targetRef.kind: limits are supported for Gateways alone")
                    continue
                try:
                    rules.setdefault(target, []).extend(limit_rules(policy))
                except UnsupportedError as error:
                    self._refuse(policy, "Unsupported", str(error))
                    continue
                holders.setdefault(target, []).append(policy)
                if not any(target[1:] in gateways for gateways in self.routes.values()):
                    self.plan.refused[key_of(policy)] = _no_routes(policy)
        for target, policies in holders.items():
            keys = self.plan.want(*limits(target[1], target[2], rules[target]))
            for policy in policies:
                self.plan.needs[key_of(policy)] = keys


def plan(cluster: Cluster, settings: Settings) -> Plan:
    """What is to be for the policies of a cluster that has all that they depend on."""
    planner = _Planner(cluster, settings)
    planner.authorization()
    planner.limits()
    ordered = sorted(planner.plan.wanted.items(), key=lambda item: (MADE.index(item[0][0]), item[0]))
    planner.plan.wanted = dict(ordered)
    return planner.plan


def idle_plan(cluster: Cluster, settings: Settings, *, missing_provider: bool) -> Plan:
    """The plan without a gateway provider, or else without an object Kuadrant: all stays as it is."""
    refusal = Refusal("MissingResource", "There is no object Kuadrant: create one")
    if missing_provider:
        refusal = Refusal("MissingDependency", MISSING_PROVIDER, settings.missing_condition)
    found = Plan(kept={key_of(item) for kind in MADE for item in cluster.get(kind, [])})
    found.refused = {key_of(policy): refusal for kind in POLICIES for policy in cluster.get(kind, [])}
    return found


def leftovers(cluster: Cluster, wanted: Plan) -> list[Key]:
    """What was made and is no longer wanted, in the order in which it is deleted."""
    keys = [key_of(item) for kind in reversed(MADE) for item in cluster.get(kind, [])]
    return [key for key in keys if key not in wanted.wanted and key not in wanted.kept]


def not_in_force(key: Key, item: Object | None) -> str:
    """Why an object that was made is not in force yet; empty if it is.

    The words of AuthConfigs may hold keys, so they are not repeated.
    """
    kind, namespace, name = key
    named = f"{kind} {namespace}/{name}"
    if item is None:
        return f"{named} is being made"
    status = item.get("status", {})
    if kind == "AuthConfig":
        ready = _condition(status.get("conditions", []), "Ready")
        if ready.get("status") == "True":
            return ""
        return f"{named} is not ready: {ready.get('reason') or 'Authorino has not looked at it yet'}"
    if kind == "Backend":
        return ""
    ancestors = status.get("ancestors", [])
    if not ancestors:
        return f"{named} is not accepted: Envoy Gateway has not looked at it yet"
    for ancestor in ancestors:
        accepted = _condition(ancestor.get("conditions", []), "Accepted")
        if accepted.get("observedGeneration", 0) != item["metadata"].get("generation", 0):
            return f"{named} is not accepted: Envoy Gateway has not looked at its current generation yet"
        if accepted.get("status") != "True":
            return f"{named} is not accepted: {accepted.get('reason', '')}: {accepted.get('message', '')}"
    return ""


def made_objects(cluster: Cluster) -> dict[Key, Object]:
    return {key_of(item): item for kind in MADE for item in cluster.get(kind, [])}


def conditions_of(
    policy: Object, wanted: Plan, there: t.Mapping[Key, Object], faults: t.Mapping[Key, str]
) -> list[Object]:
    """The conditions of a policy, without their times.

    :param there: the objects that were made, as they were read.
    :param faults: why some of them are not in force, beyond what they say themselves: not written, or written after
        they were read.
    """
    key = key_of(policy)
    generation = policy["metadata"].get("generation", 0)

    def condition(name: str, reason: str, message: str, *, true: bool) -> Object:
        return {
            "type": name,
            "status": "True" if true else "False",
            "reason": reason,
            "message": message,
            "observedGeneration": generation,
        }

    refusal = wanted.refused.get(key)
    if refusal and refusal.condition == "Accepted":
        return [condition("Accepted", refusal.reason, refusal.message, true=False)]
    accepted = condition("Accepted", "Accepted", f"The {policy['kind']} is accepted.", true=True)
    if refusal:
        return [accepted, condition("Enforced", refusal.reason, refusal.message, true=False)]
    waits = [faults.get(need) or not_in_force(need, there.get(need)) for need in wanted.needs[key]]
    waits = [wait for wait in waits if wait]
    if waits:
        return [accepted, condition("Enforced", "Unknown", "; ".join(waits), true=False)]
    return [accepted, condition("Enforced", "Enforced", f"The {policy['kind']} is enforced.", true=True)]


def kuadrant_conditions(kuadrant: Object, *, missing_provider: bool) -> list[Object]:
    reason, message = (
        ("MissingDependency", MISSING_PROVIDER) if missing_provider else ("Ready", "Policies are enforced.")
    )
    generation = kuadrant["metadata"].get("generation", 0)
    status = "False" if missing_provider else "True"
    return [{"type": "Ready", "status": status, "reason": reason, "message": message, "observedGeneration": generation}]


def new_status(item: Object, conditions: list[Object], now: datetime.datetime) -> Object | None:
    """The status to write, with the time of the last transition of each condition; None where it stands already."""
    before = item.get("status", {}).get("conditions", [])
    generation = item["metadata"].get("generation", 0)
    compared = [
        {name: value for name, value in condition.items() if name != "lastTransitionTime"} for condition in before
    ]
    if compared == conditions and item.get("status", {}).get("observedGeneration") == generation:
        return None
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    timed = []
    for condition in conditions:
        old = _condition(before, condition["type"])
        changed = old.get("status") != condition["status"]
        timed.append({**condition, "lastTransitionTime": stamp if changed else old["lastTransitionTime"]})
    return {"conditions": timed, "observedGeneration": generation}
