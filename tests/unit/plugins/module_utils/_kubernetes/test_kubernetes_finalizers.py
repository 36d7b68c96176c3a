# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import SetIdentity
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.run import Options, Outcome, Run
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.finalizers import (
    Reminders,
    change_of,
    held_kind,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.wait import WaitError
from cluster import RESOURCES, Answer, Body, Cluster, Key

AI, ENVOY = "aigateway.envoyproxy.io/finalizer", "gateway-exists-finalizer.gateway.networking.k8s.io"
#: Of each kind: its version, plural, finalizer, a spec, and what a reminder makes of the field that it changes.
KINDS: dict[str, tuple[str, str, str, Body, t.Callable[[str], Body]]] = {
    "AIServiceBackend": (
        "aigateway.envoyproxy.io/v1beta1",
        "aiservicebackends",
        AI,
        {"schema": {"name": "OpenAI"}, "headerMutation": {"remove": ["a"], "set": [{"name": "b"}]}},
        lambda name: {"headerMutation": {"remove": ["a", name]}},
    ),
    "BackendSecurityPolicy": (
        "aigateway.envoyproxy.io/v1beta1",
        "backendsecuritypolicies",
        AI,
        {"type": "APIKey"},
        lambda name: {"targetRefs": [{"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": name}]},
    ),
    "QuotaPolicy": (
        "aigateway.envoyproxy.io/v1alpha1",
        "quotapolicies",
        AI,
        {},
        lambda name: {"targetRefs": [{"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": name}]},
    ),
    "AIGatewayRoute": (
        "aigateway.envoyproxy.io/v1beta1",
        "aigatewayroutes",
        AI,
        {"llmRequestCosts": [{"metadataKey": "k", "type": "CEL"}]},
        lambda name: {
            "llmRequestCosts": [{"metadataKey": "k", "type": "CEL"}, {"metadataKey": name, "type": "InputToken"}]
        },
    ),
    "MCPRoute": (
        "aigateway.envoyproxy.io/v1beta1",
        "mcproutes",
        AI,
        {},
        lambda name: {"headers": [{"name": name, "value": name}]},
    ),
    "GatewayClass": (
        "gateway.networking.k8s.io/v1",
        "gatewayclasses",
        ENVOY,
        {"description": "old"},
        lambda name: {"description": name},
    ),
}
IDENTITY = SetIdentity("shop", "home")
FOREIGN = "example.com/keeps-it"


def resources() -> t.Any:
    found = copy.deepcopy(RESOURCES)
    for kind, (version, plural, *_others) in KINDS.items():
        found.setdefault(version, {})[plural] = (kind, kind != "GatewayClass")
    return found


def manifest(kind: str, name: str = "a") -> Body:
    return {"apiVersion": KINDS[kind][0], "kind": kind, "metadata": {"name": name}, "spec": KINDS[kind][3]}


class Forgetful(Cluster):
    """Objects with finalizers stay when they are deleted, until a change of their ``spec`` has woken their controller
    ``sleeps`` times.
    """

    def __init__(self, sleeps: int = 1) -> None:
        super().__init__(resources())
        self.put("namespaces", "", "home")
        self.sleeps = sleeps
        self.refuses = False
        self.reminders: list[Body] = []
        #: Looks at an object do not take it away.
        self.looks_left = 10**6

    def hold(self, *finalizers: str) -> None:
        """Every object but ConfigMaps and Namespaces gets its controller's finalizer, and ``finalizers``."""
        for (plural, _namespace, _name), body in self.objects.items():
            if plural not in ("configmaps", "namespaces"):
                body["metadata"]["finalizers"] = [*(finalizers or [KINDS[body["kind"]][2]])]

    def leave(self, key: Key) -> None:
        self.objects[key]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    def _remove(self, key: Key) -> None:
        if self.objects[key]["metadata"].get("finalizers"):
            self.leave(key)
        else:
            super()._remove(key)

    def request(self, method: str, url: str, body: bytes | None, **options: t.Any) -> Answer:
        if options.get("headers", {}).get("Content-Type") != "application/merge-patch+json":
            return super().request(method, url, body, **options)
        if self.refuses:
            return Answer(403, {"kind": "Status", "reason": "Forbidden", "message": "you may not"})
        patch = json.loads(body or b"")
        (key,) = [
            key
            for key, found in self.objects.items()
            if found["metadata"]["uid"] == patch["metadata"]["uid"] and f"/{key[2]}?" in url
        ]
        assert "fieldValidation=Strict" in url
        live = self.objects[key]
        assert live["metadata"]["deletionTimestamp"]
        self._version += 1
        after = {
            **live,
            "spec": {**live["spec"], **patch["spec"]},
            "metadata": {**live["metadata"], "resourceVersion": str(self._version)},
        }
        assert after["spec"] != live["spec"], "no new generation"
        self.objects[key] = after
        self.reminders.append(patch)
        if len(self.reminders) >= self.sleeps and KINDS[live["kind"]][2] in live["metadata"]["finalizers"]:
            del self.objects[key]
        return Answer(200, after)


class Clock:
    """Time goes by where somebody sleeps, and nowhere else: how fast the machine is decides nothing."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("time.monotonic", made.monotonic)
    monkeypatch.setattr("time.sleep", made.sleep)
    return made


def run(
    cluster: Cluster, manifests: t.Sequence[Body] | None, said: list[str] | None = None, **options: t.Any
) -> Outcome:
    """Apply manifests, or remove the set where they are None."""
    found = Run(
        cluster.api(), IDENTITY, Options(**{"wait_timeout": 60, **options}), (said if said is not None else []).append
    )
    if manifests is None:
        found.absent()
    else:
        found.present(manifests)
    return found.outcome


CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["prune", "absent", "again"])
def test_whoever_forgot_a_finalizer_is_reminded(kind: str, way: str) -> None:
    cluster = Forgetful()
    said: list[str] = []
    run(cluster, [manifest(kind), CONFIG], wait=False)
    cluster.hold()
    if way == "again":
        for key in list(cluster.objects):
            if key[0] == KINDS[kind][1]:
                cluster.leave(key)
    outcome = run(
        cluster,
        {"prune": [CONFIG], "absent": None, "again": [manifest(kind), CONFIG]}[way],
        said,
        **({"wait": False} if way == "again" else {}),
    )
    assert [reference.kind for reference in (outcome.created if way == "again" else outcome.deleted)][:1] == [kind]
    (patch,) = cluster.reminders
    assert set(patch) == {"metadata", "spec"}
    (warning,) = outcome.warnings
    assert f"{kind} " in warning
    assert f"finalizer {KINDS[kind][2]} has not moved for 5 s; spec." in warning
    assert any("is changed to have its controller look again" in line for line in said)


def test_the_change_matters_to_nobody_and_is_another_each_time() -> None:
    for kind, (_version, _plural, finalizer, spec, expected) in KINDS.items():
        metadata = {
            "name": "a",
            "uid": "u",
            "resourceVersion": "7",
            "deletionTimestamp": "now",
            "finalizers": [FOREIGN, finalizer],
        }
        body = {**manifest(kind), "metadata": metadata}
        assert str(held_kind(body)).startswith(kind)
        assert change_of(body) == {"metadata": {"uid": "u"}, "spec": expected("egress-ai-gateway-removal-7")}
        after = {**body, "spec": {**spec, **change_of(body)["spec"]}, "metadata": {**metadata, "resourceVersion": "8"}}
        assert change_of(after)["spec"] == expected("egress-ai-gateway-removal-8"), "in place of the first"


@pytest.mark.parametrize("change", [{"deletionTimestamp": None}, {"finalizers": [FOREIGN]}, {"finalizers": None}])
def test_who_does_not_keep_an_object_is_not_reminded(change: Body) -> None:
    body = manifest("AIServiceBackend")
    body["metadata"] = {"name": "a", "uid": "u", "deletionTimestamp": "now", "finalizers": [AI], **change}
    assert held_kind(body) is None
    assert (
        held_kind(
            {
                **body,
                "kind": "Backend",
                "metadata": {**body["metadata"], "finalizers": [AI], "deletionTimestamp": "now"},
            }
        )
        is None
    )


def test_a_finalizer_of_somebody_else_is_waited_for_and_named() -> None:
    cluster = Forgetful()
    run(cluster, [manifest("AIServiceBackend")], wait=False)
    cluster.hold(FOREIGN)
    with pytest.raises(
        WaitError, match=rf"AIServiceBackend home/a still exists after 30 s \(held by finalizer {FOREIGN}\)$"
    ):
        run(cluster, None, wait_timeout=30)
    assert cluster.reminders == []


def test_a_controller_that_does_not_answer_is_reminded_less_and_less_and_reported() -> None:
    cluster = Forgetful(sleeps=10**6)
    run(cluster, [manifest("AIServiceBackend")], wait=False)
    cluster.hold()
    with pytest.raises(
        WaitError,
        match=r"held by finalizer aigateway.envoyproxy.io/finalizer\); its controller was reminded 3 times, does "
        r"it run\?",
    ):
        run(cluster, None, wait_timeout=40)
    assert len({json.dumps(patch) for patch in cluster.reminders}) == len(cluster.reminders)


def test_a_refused_change_is_reported_and_the_wait_goes_on() -> None:
    cluster = Forgetful()
    cluster.refuses = True
    run(cluster, [manifest("AIServiceBackend")], wait=False)
    cluster.hold()
    found = Run(cluster.api(), IDENTITY, Options(wait_timeout=12), lambda line: None)
    with pytest.raises(WaitError, match="still exists after 12 s"):
        found.absent()
    (warning,) = found.outcome.warnings
    assert warning.endswith("That was refused: AIServiceBackend home/a: you may not")


def test_what_is_held_in_a_namespace_that_goes_is_reminded_of() -> None:
    cluster = Forgetful()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "home"}}
    run(cluster, [namespace, manifest("AIServiceBackend"), manifest("BackendSecurityPolicy")], adopt=True, wait=False)
    cluster.hold()
    for key in list(cluster.objects):
        cluster.leave(key)
    request = cluster.request

    def emptied(method: str, url: str, body: bytes | None, **options: t.Any) -> Answer:
        """The namespace goes when nothing is held in it."""
        home = cluster.objects.get(("namespaces", "", "home"))
        if (
            home
            and "deletionTimestamp" in home["metadata"]
            and not any(found["metadata"].get("finalizers") for found in cluster.objects.values())
        ):
            Cluster._remove(cluster, ("namespaces", "", "home"))
        return request(method, url, body, **options)

    cluster.request = emptied  # type: ignore[method-assign]
    outcome = run(cluster, [namespace, CONFIG], adopt=True)
    assert [reference.name for reference in outcome.created] == ["home", "other"]
    assert len(cluster.reminders) == 2
    assert len(outcome.warnings) == 2


def test_nobody_is_reminded_while_others_of_the_kind_go(clock: Clock) -> None:
    cluster = Forgetful()
    said: list[str] = []
    run(cluster, [manifest("AIServiceBackend", f"a-{number}") for number in range(4)], wait=False)
    cluster.hold()
    bodies = [body for key, body in cluster.objects.items() if key[0] == "aiservicebackends"]
    for body in bodies:
        body["metadata"]["deletionTimestamp"] = "now"
    reminders = Reminders(cluster.api(), said.append, said.append)
    for number in range(4):
        reminders.look(bodies[number:])
        clock.sleep(4.9)
    reminders.look(bodies[3:])
    assert cluster.reminders == []
    clock.sleep(0.2)
    reminders.look(bodies[3:])
    assert len(cluster.reminders) == 1
    assert reminders.times(bodies[3]) == 1
