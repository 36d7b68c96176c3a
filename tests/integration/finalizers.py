# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete objects whose controllers keep finalizers and forget some: none of the removals may hang.

The embedded cluster must have a site. The objects are in a separate namespace and attached to no Gateway, so that they
affect no requests.

Usage: python tests/integration/finalizers.py [--removals 100] [--longest 40]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import statistics
import subprocess
import sys
import threading
import time
import typing as t

from apply_sets import KUBECONFIG, Body, namespaces
from objects import KUBECTL, kubectl
from runs import ROOT

sys.path.insert(0, str(ROOT / ".collections"))

PLACE = "finalizers"
AI, ENVOY = "aigateway.envoyproxy.io", "gateway.envoyproxy.io"
#: The kinds that Envoy AI Gateway keeps by its finalizer.
KINDS = ("aigatewayroutes", "aiservicebackends", "backendsecuritypolicies", "mcproutes", "quotapolicies")
FINALIZER = "aigateway.envoyproxy.io/finalizer"
#: The policy denies updates to the controllers alone, and only of objects that are being deleted.
POLICY = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": PLACE},
    "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [{"apiGroups": [AI], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["*"]}]
        },
        "validations": [
            {
                "expression": "!(request.userInfo.username.startsWith('system:serviceaccount:envoy-ai-gateway')"
                " && has(oldObject.metadata.deletionTimestamp))"
            }
        ],
    },
}
BINDING = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": PLACE},
    "spec": {
        "policyName": PLACE,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": PLACE}}},
    },
}


def provider(name: str) -> list[Body]:
    """The objects of a provider as role providers creates them, but attached to no Gateway."""

    def body(group: str, version: str, kind: str, **content: t.Any) -> Body:
        return {
            "apiVersion": f"{group}/{version}" if group else version,
            "kind": kind,
            "metadata": {"name": name},
            **content,
        }

    target = {"group": AI, "kind": "AIServiceBackend", "name": name}
    return [
        body("", "v1", "Secret", stringData={"apiKey": "none"}),
        body(
            ENVOY, "v1alpha1", "Backend",
            spec={"endpoints": [{"fqdn": {"hostname": f"{name}.example.com", "port": 443}}]},
        ),
        body(
            AI, "v1beta1", "AIServiceBackend",
            spec={"schema": {"name": "OpenAI"}, "backendRef": {"group": ENVOY, "kind": "Backend", "name": name}},
        ),
        body(
            AI, "v1beta1", "BackendSecurityPolicy",
            spec={"targetRefs": [target], "type": "APIKey", "apiKey": {"secretRef": {"name": name}}},
        ),
        body(
            AI, "v1beta1", "AIGatewayRoute",
            spec={
                "rules": [
                    {
                        "matches": [{"headers": [{"name": "x-ai-eg-model", "value": name}]}],
                        "backendRefs": [{"name": name}],
                    }
                ]
            },
        ),
    ]  # fmt: skip


def others(name: str) -> list[Body]:
    """The other kinds with the same finalizer, of which no role makes any."""
    gateway = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "nowhere"}
    quota = {
        "apiVersion": f"{AI}/v1alpha1",
        "kind": "QuotaPolicy",
        "metadata": {"name": name},
        "spec": {"serviceQuota": {"quota": {"limit": 1, "duration": "1m"}}},
    }
    backend = {"group": ENVOY, "kind": "Backend", "name": name}
    route = {
        "apiVersion": f"{AI}/v1beta1",
        "kind": "MCPRoute",
        "metadata": {"name": name},
        "spec": {"parentRefs": [gateway], "backendRefs": [backend]},
    }
    return [quota, route]


@dataclasses.dataclass(frozen=True)
class Removal:
    """One run that took something away: how long it took, and what it warned of."""

    what: str
    seconds: float
    warnings: list[str]


def apply(manifests: list[Body], what: str, longest: float, wait: bool = True) -> Removal:
    """Make the set `manifests`, or remove it where there are none, in this process, as the action plugin does."""
    from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.task import argument_spec, perform

    params = {name: option.get("default") for name, option in argument_spec().items()}
    params |= {
        "name": PLACE,
        "namespace": PLACE,
        "kubeconfig": KUBECONFIG,
        "manifests": manifests,
        "state": "present" if manifests else "absent",
    }
    params |= {"wait": wait, "wait_timeout": int(longest)}
    started = time.monotonic()
    result = perform(
        params, False, False, lambda line: print(f"    {line}", flush=True) if "finalizer" in line else None
    )
    assert not result.get("failed"), f"{what}: {result['msg']}"
    return Removal(what, time.monotonic() - started, result["warnings"])


@contextlib.contextmanager
def disturbed(seconds: float) -> t.Iterator[None]:
    """Annotate all that the controller keeps again and again for so long, so that it meets conflicts as it takes its
    finalizers off.
    """
    from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import ApiError, connect

    api = connect({"kubeconfig": KUBECONFIG}, 1)
    names = [name.partition("/") for name in held()]
    deadline = time.monotonic() + seconds

    def write(resource: str, name: str) -> None:
        plural = resource.partition(".")[0]
        # Names of resources are singular, those of paths plural.
        plural = "backendsecuritypolicies" if plural == "backendsecuritypolicy" else f"{plural}s"
        path = f"/apis/{AI}/v1beta1/namespaces/{PLACE}/{plural}/{name}"
        with contextlib.suppress(ApiError):
            while time.monotonic() < deadline:
                patch = {"metadata": {"annotations": {"disturbed": str(time.monotonic())}}}
                api.request("PATCH", path, body=patch, content_type="application/merge-patch+json", patience=0)

    writers = [threading.Thread(target=write, args=(resource, name)) for resource, _slash, name in names]
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        for writer in writers:
            writer.join()


def remove_often(count: int, longest: float) -> list[Removal]:
    """Remove providers so many times:

    all, one of several, or one that comes under another name; each as soon as it is ready, while somebody else writes.
    """
    removals = []
    for number in range(count):
        first, second, renamed = (
            [item for name in names for item in provider(f"{name}-{number}")]
            for names in (("a", "b"), ("a",), ("a", "c"))
        )
        apply(first, "two providers", longest)
        after = (first[:0], second, renamed)[number % 3]
        with disturbed(1.0 + 2 * (number % 4)):
            removals.append(apply(after, ("all", "one of two", "one renamed")[number % 3], longest))
        print(
            f"{number + 1}: {removals[-1].what} {removals[-1].seconds:.1f} s {removals[-1].warnings or ''}", flush=True
        )
    removals.append(apply([], "all", longest))
    return removals


@contextlib.contextmanager
def forgetful() -> t.Iterator[None]:
    """Have the API server refuse the controller what would end a deletion, which it tries once."""
    for body in (POLICY, BINDING):
        subprocess.run(
            [*KUBECTL, "apply", "--filename", "-"],
            input=json.dumps(body),
            text=True,
            check=True,
            capture_output=True,
            timeout=60,
        )
    # It holds a little later than it is there.
    time.sleep(5)
    try:
        yield
        time.sleep(5)
    finally:
        kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", PLACE)


def held() -> list[str]:
    """The remaining objects of the namespace, as "kind/name"."""
    return kubectl("get", ",".join(f"{kind}.{AI}" for kind in KINDS), f"--namespace={PLACE}", "--output=name").split()


def forget(longest: float) -> list[Removal]:
    """Have the controller forget its finalizer of every kind that has one; a removal, and a set that is created again,
    must get over it.
    """
    removals = []
    for again in (False, True):
        manifests = [*provider("forgotten"), *others("forgotten")]
        apply(manifests, "every kind", longest, wait=False)
        deadline = time.monotonic() + 30
        while any(
            FINALIZER not in kubectl("get", kind, f"--namespace={PLACE}", "--output=jsonpath={.metadata.finalizers}")
            for kind in held()
        ):
            assert time.monotonic() < deadline, "the controller keeps nothing by its finalizer"
            time.sleep(0.5)
        with forgetful():
            kubectl("delete", f"--namespace={PLACE}", "--wait=false", *held())
        time.sleep(5)
        left = held()
        assert left, "the controller has taken a second look by itself"
        print(f"forgotten: {', '.join(left)}", flush=True)
        removals.append(
            apply(
                manifests if again else [],
                "forgotten objects, created again" if again else "forgotten objects",
                longest,
                wait=not again,
            )
        )
        print(f"{removals[-1].what}: {removals[-1].seconds:.1f} s", *removals[-1].warnings, sep="\n  ", flush=True)
        assert removals[-1].warnings, "nothing was said of it"
        apply([], "all", longest)
        assert held() == []
    return removals


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--removals", type=int, default=100)
    parser.add_argument("--longest", type=float, default=40, help="seconds that a removal may take")
    options = parser.parse_args()
    with namespaces(PLACE):
        forget(options.longest)
        removals = remove_often(options.removals, options.longest)
    seconds = sorted(removal.seconds for removal in removals)
    reminded = sum(bool(removal.warnings) for removal in removals)
    print(
        f"{len(seconds)} removals: median {statistics.median(seconds):.1f} s, longest {seconds[-1]:.1f} s; "
        f"a controller was reminded in {reminded} of them"
    )
    assert reminded or not options.removals, "no finalizer was forgotten, so that nothing is shown"
    return 0


if __name__ == "__main__":
    sys.exit(main())
