# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""An OpenID Connect issuer in a pod outside of what the collection deploys, and callers of all kinds.

The issuer is npm's oidc-provider, whose packages are those of oidc_issuer/package-lock.json, in a cache of their own.
It runs on the Node.js of this machine, which is the node of its pod.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import pathlib
import shutil
import socket
import ssl
import subprocess
import time
import typing as t
import urllib.parse
import uuid

import catalogs
import external_provider
import gateway_tls
import provider_kinds
from cryptography.hazmat.primitives.asymmetric import rsa
from gateway_requests import Ask, Reply, body_of, send
from objects import kubectl

HERE = pathlib.Path(__file__).parent / "oidc_issuer"
LOCK = HERE / "package-lock.json"
CACHE = (
    pathlib.Path.home() / ".cache/egress-ai-gateway/oidc-issuer" / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
)
NAMESPACE, NAME, PORT = "outside-issuer", "issuer", 8443
HOSTNAME = f"{NAME}.{NAMESPACE}.svc.cluster.local"
ISSUER = f"https://{HOSTNAME}:{PORT}"
AUDIENCE = "urn:models"
#: How often the proxies of these tests fetch keys, in seconds.
REFRESH = 5
MAXIMUM = 3600
MODEL = "gpt-4"
#: The model of a provider outside: for clients, there, and the tokens of a call; and the key of the provider.
OUTSIDE, UPSTREAM, OUTSIDE_COST = "outside-model", "odd-good-45", 45
OUTSIDE_KEY = "sk-callers-key-of-outside"
#: Users of the issuer, and their groups. The tiers are those of the default inventory.
CLIENTS: dict[str, dict[str, t.Any]] = {
    "alice": {"secret": "secret-of-alice", "email": "alice@example.com", "groups": ["tier-enterprise-users"]},
    "bob": {"secret": "secret-of-bob", "email": "bob@example.com", "groups": ["others", "tier-premium-users"]},
    "eve": {"secret": "secret-of-eve", "email": "eve@example.com", "groups": ["system:masters"]},
}
Document = dict[str, t.Any]


def packages() -> pathlib.Path:
    """The packages of the issuer, installed once, with its program beside them."""
    marker = CACHE / ".complete"
    if not marker.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, CACHE / name)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", f"--prefix={CACHE}"]
        subprocess.run(command, check=True, timeout=600)
        marker.touch()
    shutil.copy(HERE / "issuer.mjs", CACHE / "issuer.mjs")
    return CACHE


def _number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


def new_key() -> Document:
    """A private key as a JSON Web Key."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_numbers()
    numbers = {
        "n": private.public_numbers.n,
        "e": private.public_numbers.e,
        "d": private.d,
        "p": private.p,
        "q": private.q,
        "dp": private.dmp1,
        "dq": private.dmq1,
        "qi": private.iqmp,
    }
    found = {name: _number(value) for name, value in numbers.items()}
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": uuid.uuid4().hex, **found}


class Issuer:
    """The issuer; ``deploy`` starts it anew with its present ``keys``, the first of which signs, and ``offset``."""

    def __init__(self) -> None:
        authority = catalogs.Authority("Issuer")
        self.authority = authority.certificate
        self._tls = authority.issue(HOSTNAME)
        self.keys = [new_key()]
        #: Seconds that its clock is fast.
        self.offset = 0

    def deploy(self, replicas: int = 1) -> None:
        """Start it and wait until it answers, or stop it with no replica."""
        listed = {"apiVersion": "v1", "kind": "List", "items": self._manifests(replicas)}
        kubectl("apply", "--server-side", "--filename=-", document=json.dumps(listed))
        kubectl("rollout", "status", "--namespace", NAMESPACE, f"deployment/{NAME}", "--timeout=100s")

    def _manifests(self, replicas: int) -> list[Document]:
        given = {
            "issuer": ISSUER,
            "port": PORT,
            "certificate": "/run/issuer/tls.crt",
            "key": "/run/issuer/tls.key",
            "jwks": {"keys": self.keys},
            "clients": CLIENTS,
            "offset": self.offset,
        }
        files = {
            "given.json": json.dumps(given),
            "tls.crt": self._tls["certificate"],
            "tls.key": self._tls["key"],
        }
        checksum = hashlib.sha256(json.dumps(files).encode()).hexdigest()
        # The machine's own loader and libraries, as those of the image are of another distribution.
        libraries = "/host/usr/lib/x86_64-linux-gnu"
        node = [f"{libraries}/ld-linux-x86-64.so.2", "--library-path", libraries, "/host/usr/bin/node"]
        container = {
            "name": "issuer",
            "image": external_provider.IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": [*node, "/opt/issuer/issuer.mjs", "/run/issuer/given.json"],
            "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
            "volumeMounts": [
                {"name": "machine", "mountPath": "/host/usr", "readOnly": True},
                {"name": "packages", "mountPath": "/opt/issuer", "readOnly": True},
                {"name": "files", "mountPath": "/run/issuer", "readOnly": True},
            ],
        }
        pod = {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "runAsGroup": 65534, "fsGroup": 65534},
            "containers": [container],
            "volumes": [
                {"name": "machine", "hostPath": {"path": "/usr", "type": "Directory"}},
                {"name": "packages", "hostPath": {"path": str(packages()), "type": "Directory"}},
                {"name": "files", "secret": {"secretName": NAME, "defaultMode": 0o440}},
            ],
        }
        labels = {"app.kubernetes.io/name": NAME}
        metadata = {"name": NAME, "namespace": NAMESPACE}
        deployment = {
            "replicas": replicas,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": {"checksum": checksum}}, "spec": pod},
        }
        service = {"type": "NodePort", "selector": labels, "ports": [{"port": PORT}]}
        return [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": files},
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment},
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        ]

    def token(self, client: str, audience: str = AUDIENCE) -> str:
        """An access token, which the issuer gives at the port of the node."""
        port = kubectl("get", "service", NAME, "--namespace", NAMESPACE, "--output=jsonpath={.spec.ports[0].nodePort}")
        context = ssl.create_default_context(cadata=self.authority)
        connection = http.client.HTTPSConnection(HOSTNAME, PORT, timeout=10, context=context)
        plain = _connected(int(port))
        connection.sock = context.wrap_socket(plain, server_hostname=HOSTNAME)
        secret = base64.b64encode(f"{client}:{CLIENTS[client]['secret']}".encode()).decode()
        headers = {"authorization": f"Basic {secret}", "content-type": "application/x-www-form-urlencoded"}
        asked = urllib.parse.urlencode({"grant_type": "client_credentials", "resource": audience})
        connection.request("POST", "/token", asked, headers)
        answer = connection.getresponse()
        content = answer.read().decode()
        connection.close()
        assert answer.status == 200, content
        return str(json.loads(content)["access_token"])

    def variables(self) -> Document:
        """The variables of a site with these callers, ServiceAccounts that the proxies verify, and API keys; beside the
        simulators with a provider outside, which is deployed.
        """
        authority = catalogs.Authority("Outside")
        external_provider.deploy(authority.issue(external_provider.HOSTNAME))
        outside = external_provider.provider(
            OUTSIDE, key=OUTSIDE_KEY, models=[UPSTREAM], public=OUTSIDE, ca_bundle=authority.certificate, http2=True
        )
        issuer = {
            "kind": "oidc",
            "name": "company",
            "issuer": ISSUER,
            "audiences": [AUDIENCE],
            # This machine does not resolve names of the cluster.
            "jwks_uri": f"{ISSUER}/jwks",
            "ca_bundle": self.authority,
        }
        accounts = {"kind": "service_account", "check": "signature", "maximum_lifetime": MAXIMUM}
        tiers = [
            {
                "name": name,
                "level": level,
                "groups": [f"tier-{name}-users"],
                "token_limit": {"tokens": 100_000, "window": "1m"},
            }
            for level, name in enumerate(("free", "premium", "enterprise"))
        ]
        return {
            "ai_gateway_callers": [accounts, issuer, {"kind": "api_key"}],
            "ai_gateway_providers": [*provider_kinds.simulated(), outside],
            "ai_gateway_allowed_endpoints": [HOSTNAME, external_provider.HOSTNAME],
            "ai_gateway_tiers": tiers,
            "access_policies_keys_refresh_seconds": REFRESH,
        }


def _connected(port: int, patience: float = 30) -> socket.socket:
    """A connection to a port of the node, which leads to a new pod some time after that is ready."""
    started = time.monotonic()
    while True:
        try:
            return socket.create_connection((gateway_tls.NODE, port), 10)
        except ConnectionRefusedError:
            if time.monotonic() > started + patience:
                raise
            time.sleep(0.2)


def remove() -> None:
    """Remove the issuer with its namespace."""
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=100s")


def account(tier: str, seconds: int = MAXIMUM) -> tuple[str, str]:
    """Create a ServiceAccount of a tier; return its name and a token."""
    name = f"caller-{uuid.uuid4().hex[:8]}"
    where = f"--namespace={provider_kinds.INSTANCE}-tier-{tier}"
    kubectl("create", "serviceaccount", name, where)
    audience = f"--audience={provider_kinds.INSTANCE}-sa"
    return name, kubectl("create", "token", name, where, audience, f"--duration={seconds}s").strip()


def delete_account(tier: str, name: str) -> None:
    kubectl("delete", "serviceaccount", name, f"--namespace={provider_kinds.INSTANCE}-tier-{tier}")


def ask(url: str, token: str, model: str = MODEL, stream: bool = False, **headers: str) -> Reply:
    """One chat; ``_`` is ``-`` in the names of headers."""
    path = "/v1/chat/completions"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return send(url, token, Ask(path, body_of(path, model, stream=stream), named))


def wait_for_keys() -> None:
    """Wait until the proxies have fetched keys once more."""
    time.sleep(2 * REFRESH + 2)
