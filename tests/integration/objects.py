# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""List every object of a cluster by name, with kubectl alone:

the collection is not trusted to report what it left.
"""

from __future__ import annotations

import os
import re
import subprocess
import time

#: Where the embedded cluster is; EMBEDDED_CLUSTER names another one than that of the default inventory.
STATE = f"/var/lib/{os.environ.get('EMBEDDED_CLUSTER', 'egress-ai-gateway')}"
KUBECTL = (f"{STATE}/bin/kubectl", "--kubeconfig", f"{STATE}/kubeconfig")
#: Of no lasting kind: events come and go, and a request for a certificate is dropped an hour after it was signed.
VOLATILE = {"events", "events.events.k8s.io", "certificatesigningrequests.certificates.k8s.io", "componentstatuses"}
ROW = "{range .items[*]}{.apiVersion} {.kind} {.metadata.namespace}/{.metadata.name}{'\\n'}{end}".replace("'", '"')


def kubectl(*arguments: str, document: str | None = None) -> str:
    """Return what kubectl prints; `document` is its standard input."""
    return subprocess.run(
        [*KUBECTL, *arguments], input=document, capture_output=True, text=True, check=True, timeout=120
    ).stdout


def listing(besides: str = "") -> set[str]:
    """Return "apiVersion kind namespace/name" of every object of every kind that can be listed, `besides` those that
    match the expression.
    """
    kinds = set(kubectl("api-resources", "--cached=false", "--verbs=list", "--output=name").split()) - VOLATILE
    found = kubectl("get", ",".join(sorted(kinds)), "--all-namespaces", f"--output=jsonpath={ROW}").splitlines()
    return {line for line in found if not (besides and re.search(besides, line))}


def settled_listing(quiet: float = 10, timeout: float = 120, besides: str = "") -> set[str]:
    """Return the listing once it has stayed the same for `quiet` seconds."""
    deadline = time.monotonic() + timeout
    before, since = listing(besides), time.monotonic()
    while time.monotonic() - since < quiet:
        assert time.monotonic() < deadline, "the cluster's objects keep changing"
        time.sleep(1)
        if (now := listing(besides)) != before:
            before, since = now, time.monotonic()
    return before


def wait_for(expected: set[str], timeout: float = 120, besides: str = "") -> set[str]:
    """Return the listing once it equals `expected`, or as it is after `timeout` seconds: collectors take their time."""
    deadline = time.monotonic() + timeout
    while (now := listing(besides)) != expected and time.monotonic() < deadline:
        time.sleep(1)
    return now
