# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A provider outside whose key is in a Secret of another owner: refused without it, served with it, and a new
key is taken up without a run.

The provider is the simulator of another one, called by its name inside the cluster, so that the received key can be
read there.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
import time
import typing as t

import openai
from objects import KUBECTL, kubectl, listing
from runs import INVENTORY, follow, recaps, start
from simulators import NAMESPACE, admin

SECRET = "outside-key"
HOSTNAME = f"twin-simulator.{NAMESPACE}.svc.cluster.local"
#: The simulator takes both from the beginning, so that no request is refused meanwhile.
KEYS = ("sk-first-key-of-the-secret", "sk-second-key-of-the-secret")
MODEL = "model-of-outside"
#: Seconds within which the proxies must use the key of a Secret that has changed: Envoy AI Gateway hands it to them in
#: a Secret of its own, whose files a kubelet renews once in a minute at the latest.
BOUND = 120
#: So many requests in a row must meet the new key, as each may meet another proxy.
IN_A_ROW = 5


def providers(key: str) -> list[dict[str, t.Any]]:
    """Return the entries of the inventory: a simulated provider with this key, and one outside whose endpoint is that
    one's simulator.
    """
    twin = {
        "name": "twin",
        "schema": "openai",
        "simulated": True,
        "credential": {"value": key},
        "models": [{"name": "model-of-twin"}],
    }
    outside = {
        "name": "outside",
        "schema": "openai",
        "endpoint": {"hostname": HOSTNAME, "port": 8000, "tls": {"mode": "none"}},
        "credential": {"secret": SECRET},
        "models": [{"name": MODEL, "provider_model": "model-of-twin"}],
    }
    return [twin, outside]


def put(key: str) -> None:
    """Make the Secret with this key, or give it this key, as its owner would."""
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": "ai-gateway"},
        "stringData": {"apiKey": key},
    }
    subprocess.run(
        [*KUBECTL, "apply", "--server-side", "--filename=-"], input=json.dumps(body), text=True, check=True, timeout=60
    )


def refused(extra: pathlib.Path) -> str:
    """The output of site without the Secret; it must have changed nothing of the cluster."""
    before = listing()
    with start(
        "ansible-playbook", "--inventory", INVENTORY, "--extra-vars", f"@{extra}", "egress.ai_gateway.site"
    ) as site:
        output = follow(site)
    assert site.returncode != 0
    (recap,) = recaps(output)
    assert recap["embedded"]["changed"] == 0
    # Leases and the like come and go by themselves; what the run would have made would be new.
    assert [line for line in listing() - before if "outside" in line or "twin" in line] == []
    return output


def used(client: openai.OpenAI) -> str:
    """Ask the model of the provider, which must answer; the fingerprint of the key that the provider got."""
    admin("twin", "POST", "/reset")
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
    (count,) = [count for count in admin("twin", "GET", "/counters")["counts"] if count["status"] == 200]
    return t.cast("str", count["key"])


def fingerprint(key: str) -> str:
    """Return a key in the form in which the simulator lists it."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def taken_up(client: openai.OpenAI, changed: float) -> float:
    """Wait until the second key is in use; return after how many seconds it was, or was looked at first.

    :param changed: when the Secret got it, by the monotonic clock.
    """
    while [used(client) for _number in range(IN_A_ROW)] != [fingerprint(KEYS[1])] * IN_A_ROW:
        assert time.monotonic() - changed < BOUND, f"the provider still gets the old key after {BOUND} s"
        time.sleep(1)
    return time.monotonic() - changed


def remove() -> None:
    """Remove the Secret, which is not site's."""
    kubectl("delete", "secret", SECRET, "--namespace=ai-gateway", "--ignore-not-found")
