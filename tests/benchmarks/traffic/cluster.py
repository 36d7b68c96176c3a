# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway of the embedded cluster as a subject, by variants of its settings and of its callers' credentials."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import tempfile
import typing as t

import scale
import scale_catalogue
import scale_cluster
from apply import KUBECONFIG, KUBECTL
from scale_runs import playbook

from traffic import processes, subjects

#: The embedded cluster's node: its address, on which the upstream listens in the node's own network, as pods reach no
#: other place outside of theirs; and the file of the id of a process in it.
NODE = "10.245.0.2"
NODE_PROCESS = pathlib.Path("/run/egress-ai-gateway/node.pid")

#: Containers whose processes answer requests; the last of a pair is their name on the page.
CONTAINERS = {
    "envoy": "envoy",
    "ai-gateway-extproc": "ext_proc",
    "authorino": "authorino",
    "envoy-ratelimit": "ratelimit",
    "redis": "redis",
}
SETTINGS = (
    "ai_gateway_namespace",
    "ai_gateway_name",
    "ai_gateway_providers",
    "ai_gateway_tiers",
    "ai_gateway_allowed_endpoints",
)
#: The tier of the benchmark's caller, whose limit nobody reaches, and the caller's name.
TIER = CALLER = "bench"


def service_account_token(namespace: str, instance: str) -> str:
    """Return a token of a ServiceAccount of the benchmark's tier, for an hour."""
    where = f"--namespace={instance}-tier-{TIER}"
    if not scale_cluster.kubectl("get", "serviceaccount", CALLER, where, "--ignore-not-found", "--output=name"):
        scale_cluster.kubectl("create", "serviceaccount", CALLER, where)
    return scale_cluster.kubectl("create", "token", CALLER, where, f"--audience={instance}-sa", "--duration=1h").strip()


def api_key(namespace: str, instance: str) -> str:
    """Issue an API key of the benchmark's tier, for an hour, in the place of the one before."""
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [
                {
                    "egress.ai_gateway.gateway_api_key": {
                        "kubeconfig": str(KUBECONFIG),
                        "gateway": instance,
                        "name": CALLER,
                        "owner": CALLER,
                        "tier": TIER,
                        "expires": "1h",
                        "rotate": True,
                    },
                    "register": "issued",
                    "no_log": True,
                },
                {"ansible.builtin.copy": {"content": "{{ issued.key }}", "dest": "{{ key_file }}", "mode": "0600"}},
            ],
        }
    ]
    with tempfile.TemporaryDirectory() as directory:
        path, key = pathlib.Path(directory, "issue.yml"), pathlib.Path(directory, "key")
        path.write_text(json.dumps(play), encoding="utf-8")
        playbook(str(path), [], f"--extra-vars=key_file={key}", limit=120)
        return key.read_text(encoding="ascii")


#: What the proxies check themselves, and API keys beside it.
IN_PROXY = {"ai_gateway_callers": [{"kind": "service_account", "check": "signature"}, {"kind": "api_key"}]}
ROLES = "gateway,simulators,access_policies,providers"


@dataclasses.dataclass(frozen=True)
class Variant:
    name: str
    #: What is on, for the page.
    note: str
    #: Variables of the inventory beside those of the benchmark's catalogue. A variant that has the same as the one
    #: before needs no run of site.
    variables: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    #: Given the gateway's namespace and name, a new token.
    token: t.Callable[[str, str], str] = service_account_token
    #: What site is run for; another way of checking callers may need ``controllers`` or ``gateway``, too.
    tags: str = ROLES


VARIANTS = (
    Variant(
        "ours, review",
        "callers by TokenReview (Authorino, kept for a minute), keys of providers, limits by tokens, access log",
    ),
    Variant(
        "ours, signature",
        "callers by the signature of their token (in the proxy), else the same",
        IN_PROXY,
    ),
    Variant(
        "ours, API key",
        "callers by API key (its hash, by Authorino), else the same",
        IN_PROXY,
        api_key,
    ),
)


def catalogue(found: t.Mapping[str, t.Any], port: int) -> dict[str, t.Any]:
    """Return the variables of an inventory that has the upstream beside what it has.

    :param found: the SETTINGS.
    """
    endpoint = {"hostname": NODE, "port": port, "tls": {"mode": "none"}}
    providers = [
        {
            "name": f"bench-{schema}",
            "schema": schema,
            "endpoint": endpoint,
            "credential": {"value": "sk-upstream"},
            "models": [{"name": subjects.MODELS[path]}],
        }
        for schema, path in (("openai", subjects.CHAT), ("anthropic", subjects.MESSAGES))
    ]
    tier = {
        "name": TIER,
        "level": max((tier["level"] for tier in found["ai_gateway_tiers"]), default=0) + 1,
        "groups": [TIER],
        "token_limit": {"tokens": 2**32 - 1, "window": "1m"},
        "models": ["*"],
    }
    return {
        "ai_gateway_providers": [*found["ai_gateway_providers"], *providers],
        "ai_gateway_tiers": [*found["ai_gateway_tiers"], tier],
        "ai_gateway_allowed_endpoints": [*found["ai_gateway_allowed_endpoints"], NODE],
    }


class Cluster:
    """As a context: the embedded cluster with the benchmark's catalogue. In the end the inventory's is restored."""

    def __init__(self, directory: pathlib.Path, port: int, limit: float = 1800) -> None:
        """
        :param port: where the upstream listens in the node's network.
        :param limit: seconds that one run of site may take.
        """
        if not KUBECONFIG.exists() or not KUBECTL.exists():
            raise subjects.SubjectError(
                f"there is no cluster to measure on: {KUBECONFIG} or {KUBECTL} is missing. Bring one up with "
                "`make site`, or leave out ours by --subjects"
            )
        self._directory, self._port, self._limit = directory, port, limit
        self._settings = scale.settings(directory, limit, SETTINGS)
        self._numbers = itertools.count(1)
        self._present: Variant | None = None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._present:
            print("restoring the inventory's own catalogue ...", flush=True)
            playbook(scale.SITE, [scale.INVENTORY], f"--tags={self._present.tags}", limit=self._limit)
            # Keys outlive the catalogue that takes them. Another gateway's of this name stays.
            of_gateway = f"egress.ai-gateway/api-key-of={self._settings['ai_gateway_name']}"
            ours = f"egress.ai-gateway/api-key={CALLER},{of_gateway}"
            scale_cluster.kubectl("delete", "secrets", "--all-namespaces", f"--selector={ours}")

    def upstream_command(self, program: pathlib.Path) -> list[str]:
        """The command that runs the upstream in the node's network."""
        number = NODE_PROCESS.read_text(encoding="utf-8").strip()
        return ["nsenter", f"--target={number}", "--net", str(program), "serve", f"{NODE}:{self._port}"]

    def subjects(self) -> list[subjects.Subject]:
        return [
            subjects.Subject(variant.name, variant.note, self._started(variant), checks_callers=True)
            for variant in VARIANTS
        ]

    def _started(self, variant: Variant) -> t.Callable[[], contextlib.AbstractContextManager[subjects.Target]]:
        @contextlib.contextmanager
        def started() -> t.Iterator[subjects.Target]:
            self._switch(variant)
            namespace, instance = self._settings["ai_gateway_namespace"], self._settings["ai_gateway_name"]
            url = scale_cluster.gateway_url(namespace, instance)
            authority = scale_cluster.AUTHORITY
            yield subjects.Target(
                url,
                {"authorization": f"Bearer {variant.token(namespace, instance)}"},
                authority if url.startswith("https:") and os.path.exists(authority) else "",
                gateway_processes(),
            )

        return started

    def _switch(self, variant: Variant) -> None:
        before = self._present
        if before and (before.variables, before.tags) == (variant.variables, variant.tags):
            return
        print(f"bringing the gateway to {variant.name} ...", flush=True)
        variables = {**catalogue(self._settings, self._port), **variant.variables}
        inventory = scale_catalogue.write_inventory(
            self._directory / f"inventory-{next(self._numbers)}", scale.HOST, variables
        )
        # Known before it runs, so that half a run is restored, too.
        self._present = variant
        playbook(scale.SITE, [scale.INVENTORY, inventory], f"--tags={variant.tags}", limit=self._limit)
        scale_cluster.rest(60)


def gateway_processes() -> t.Callable[[], processes.Groups]:
    """Return what finds the processes of the gateway's containers, of which the cluster is asked but once."""
    pods = json.loads(scale_cluster.kubectl("get", "pods", "--all-namespaces", "--output=json"))["items"]
    names = {
        identity: CONTAINERS[name] for identity, (name, _restarts) in scale_cluster.containers(pods, CONTAINERS).items()
    }
    return lambda: processes.of_containers(names)
