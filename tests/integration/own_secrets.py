# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A provider outside whose key is in a Secret that somebody else makes: refused without it, served with it, and a new
key is taken up without a run.

The provider is the simulator of another one, called by its name inside the cluster, so that it can tell which key it
got.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
import time
import typing as t

import openai
import yaml
from catalogs import NAMESPACE
from objects import KUBECTL, kubectl, listing
from runs import INVENTORY, follow, playbook, recaps, start
from simulators import admin

SECRET = "outside-key"
#: The simulator takes both from the beginning, so that no request is refused meanwhile.
KEYS = ("sk-first-key-of-the-secret", "sk-second-key-of-the-secret")
MODEL = "model-of-outside"
#: Seconds within which the proxies must use the key of a Secret that has changed: Envoy AI Gateway hands it to them in
#: a Secret of its own, whose files a kubelet renews once in a minute at the latest.
BOUND = 120
#: So many requests in a row must meet the new key, as each may meet another proxy.
IN_A_ROW = 5


def variables(path: pathlib.Path) -> pathlib.Path:
    """Write the extra variables: a simulated provider, and one outside whose endpoint is that one's simulator."""
    hostname = f"twin-simulator.{NAMESPACE}.svc.cluster.local"
    twin = {
        "name": "twin",
        "schema": "openai",
        "simulated": True,
        "credential": {"value": KEYS[0]},
        "models": [{"name": "model-of-twin"}],
    }
    endpoint = {"hostname": hostname, "port": 8000, "tls": {"mode": "none"}}
    model = {"name": MODEL, "provider_model": "model-of-twin"}
    outside = {
        "name": "outside",
        "schema": "openai",
        "endpoint": endpoint,
        "credential": {"secret": SECRET},
        "models": [model],
    }
    written = {
        "ai_gateway_providers": [twin, outside],
        "ai_gateway_allowed_endpoints": [hostname],
        "simulators_additional_keys": {"twin": [KEYS[1]]},
        # The end of a limit is looked at elsewhere.
        "validation_recovery": False,
    }
    path.write_text(yaml.safe_dump(written), encoding="utf-8")
    path.chmod(0o600)
    return path


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
    """What site says without the Secret; it must have changed nothing of the cluster."""
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
    """As the simulator tells a key."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def take_up(client: t.Callable[[], openai.OpenAI], directory: pathlib.Path) -> float:
    """The whole of it; return after how many seconds a changed Secret was in use.

    :param client: gives the SDK for the gateway, with a token of a tier that may use all models, once the gateway is
        there.
    :param directory: an empty one, for the extra variables.
    """
    extra = variables(directory / "own_secrets.yml")
    kubectl("delete", "secret", SECRET, "--namespace=ai-gateway", "--ignore-not-found")
    said = refused(extra)
    assert (
        f"provider outside: Secret ai-gateway/{SECRET} is missing: kubectl create secret generic {SECRET} --namespace ai-gateway"
        in said
    )
    try:
        put("")
        assert f"provider outside: Secret ai-gateway/{SECRET} has no apiKey, or an empty one" in refused(extra)
        put(KEYS[0])
        assert playbook("egress.ai_gateway.site", "--extra-vars", f"@{extra}") > 0
        asks = client()
        assert used(asks) == fingerprint(KEYS[0])
        put(KEYS[1])
        changed = time.monotonic()
        while [used(asks) for _number in range(IN_A_ROW)] != [fingerprint(KEYS[1])] * IN_A_ROW:
            assert time.monotonic() - changed < BOUND, f"the provider still gets the old key after {BOUND} s"
            time.sleep(1)
        return time.monotonic() - changed
    finally:
        # The next site takes the provider out, and the Secret is not site's.
        kubectl("delete", "secret", SECRET, "--namespace=ai-gateway", "--ignore-not-found")
