# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts faults into a site one at a time, and asks the diagnosis before, during and after each.

A fault is put in with kubectl, as its author would make it, and in the name of the collection where another name would
be a finding of its own. What was changed is put back from a copy that was made before.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import json
import subprocess
import time
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.findings import Finding
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from diagnoses import findings, shown
from gateway_requests import Ask, body_of, send
from objects import kubectl

GATEWAY, NAMESPACE = "ai-gateway", "ai-gateway"
ENVOY, AI, AUTHORINO, SIMULATORS = (
    "ai-gateway-envoy-gateway",
    "ai-gateway-envoy-ai-gateway",
    "ai-gateway-authorino",
    "external-models",
)
#: The name of all that is made here.
NAME = "diagnosis-fault"
#: Which manager of fields is no finding.
MANAGER = "--field-manager=egress.ai_gateway"
#: Seconds within which a fault is found, and within which nothing is found any more.
PATIENCE = 180

Body = dict[str, t.Any]


def read(kind: str, namespace: str, name: str) -> Body:
    """An object, by the beginning of its name."""
    scope = [f"--namespace={namespace}"] if namespace else []
    items = json.loads(kubectl("get", kind, *scope, "--output=json"))["items"]
    found = [item for item in items if item["metadata"]["name"].startswith(name)]
    assert found, f"no {kind} {namespace}/{name}"
    return t.cast(Body, found[0])


def without_status(body: Body) -> Body:
    """An object as it may be created or put back."""
    volatile = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "ownerReferences")
    metadata = {name: value for name, value in body["metadata"].items() if name not in volatile}
    return {name: value for name, value in {**body, "metadata": metadata}.items() if name != "status"}


def apply(*bodies: Body) -> None:
    """Create objects."""
    for body in bodies:
        kubectl("create", MANAGER, "--filename=-", document=json.dumps(body))


def patch(kind: str, namespace: str, name: str, changes: Body | list[Body]) -> None:
    """Change an object: a list of JSON patches, or fields to merge."""
    scope = [f"--namespace={namespace}"] if namespace else []
    form = "json" if isinstance(changes, list) else "merge"
    kubectl("patch", kind, name, *scope, MANAGER, f"--type={form}", f"--patch={json.dumps(changes)}")


@contextlib.contextmanager
def changed(kind: str, namespace: str, beginning: str, changes: Body | list[Body]) -> t.Iterator[Body]:
    """For a block, an object that is changed."""
    before = read(kind, namespace, beginning)
    name = before["metadata"]["name"]
    patch(kind, namespace, name, changes)
    try:
        yield before
    finally:
        fields = [field for field in ("spec", "data", "webhooks") if field in before]
        patch(
            kind, namespace, name, [{"op": "replace", "path": f"/{field}", "value": before[field]} for field in fields]
        )


@contextlib.contextmanager
def removed(kind: str, namespace: str, beginning: str) -> t.Iterator[None]:
    """For a block, an object that is not there."""
    before = read(kind, namespace, beginning)
    kubectl("delete", kind, before["metadata"]["name"], f"--namespace={namespace}")
    try:
        yield
    finally:
        apply(without_status(before))


@contextlib.contextmanager
def made(*bodies: Body) -> t.Iterator[None]:
    """For a block, objects that a site does not have."""
    try:
        apply(*bodies)
        yield
    finally:
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(reversed(bodies))})
        kubectl("delete", "--ignore-not-found", "--filename=-", document=document)


def rolled_out(namespace: str, name: str) -> None:
    kubectl("rollout", "status", f"deployment/{name}", f"--namespace={namespace}", "--timeout=110s")


@contextlib.contextmanager
def scaled_down(namespace: str, name: str) -> t.Iterator[None]:
    """For a block, a Deployment without pods."""
    before = read("deployments", namespace, name)["spec"].get("replicas", 1)
    kubectl("scale", f"deployment/{name}", f"--namespace={namespace}", "--replicas=0")
    try:
        yield
    finally:
        kubectl("scale", f"deployment/{name}", f"--namespace={namespace}", f"--replicas={before}")
        rolled_out(namespace, name)


@contextlib.contextmanager
def authorino_arguments(change: t.Callable[[list[str]], list[str]], wait: bool) -> t.Iterator[None]:
    """For a block, Authorino with other arguments."""
    arguments = read("deployments", AUTHORINO, "authorino")["spec"]["template"]["spec"]["containers"][0]["args"]
    path = "/spec/template/spec/containers/0/args"
    try:
        patch("deployments", AUTHORINO, "authorino", [{"op": "replace", "path": path, "value": change(arguments)}])
        if wait:
            rolled_out(AUTHORINO, "authorino")
        yield
    finally:
        patch("deployments", AUTHORINO, "authorino", [{"op": "replace", "path": path, "value": arguments}])
        rolled_out(AUTHORINO, "authorino")


@contextlib.contextmanager
def without_sidecar() -> t.Iterator[None]:
    """For a block, a proxy that was created while the webhook did not see it."""
    hook = "mutatingwebhookconfigurations", "", "envoy-ai-gateway-gateway-pod-mutator"
    selector = f"gateway.envoyproxy.io/owning-gateway-name={GATEWAY}"
    other = [{"op": "add", "path": "/webhooks/0/objectSelector", "value": {"matchLabels": {"none": "of-these"}}}]

    def replaced() -> None:
        kubectl("delete", "pods", f"--namespace={ENVOY}", f"--selector={selector}", "--wait=true")

    try:
        with changed(*hook, other):
            replaced()
            deadline = time.monotonic() + 60
            while not json.loads(
                kubectl("get", "pods", f"--namespace={ENVOY}", f"--selector={selector}", "--output=json")
            )["items"]:
                assert time.monotonic() < deadline, "no new proxy"
                time.sleep(1)
        yield
    finally:
        replaced()
        rolled_out(ENVOY, read("deployments", ENVOY, f"envoy-{NAMESPACE}-{GATEWAY}")["metadata"]["name"])


def certificate(hostname: str, days: int) -> Body:
    """A Secret with a certificate that ends so many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=400))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pair = {"tls.crt": built.public_bytes(serialization.Encoding.PEM), "tls.key": key.private_bytes(*form)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": {field: base64.b64encode(value).decode() for field, value in pair.items()},
    }


def listener(**fields: t.Any) -> list[Body]:
    """The patch of a Gateway that adds a listener."""
    added = {"name": NAME, "port": 8443, "protocol": "HTTPS", "hostname": "fault.example.com", **fields}
    if added["protocol"] == "HTTPS":
        added["tls"] = {"mode": "Terminate", "certificateRefs": [{"kind": "Secret", "name": NAME}]}
    return [
        {"op": "add", "path": "/spec/listeners/-", "value": {name: found for name, found in added.items() if found}}
    ]


@contextlib.contextmanager
def listener_with(secret: Body | None) -> t.Iterator[None]:
    """For a block, a listener with TLS, and its Secret where there is one."""
    with contextlib.ExitStack() as stack:
        if secret:
            stack.enter_context(made(secret))
        stack.enter_context(changed("gateways.gateway.networking.k8s.io", NAMESPACE, GATEWAY, listener()))
        yield


def custom(api_version: str, kind: str, namespace: str, specification: Body) -> Body:
    metadata = {"name": NAME, "namespace": namespace}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": specification}


@contextlib.contextmanager
def owned_by_another() -> t.Iterator[None]:
    """For a block, a Gateway with a field of somebody else."""
    command = ("apply", "--server-side", "--field-manager=somebody", "--filename=-")
    body = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": GATEWAY, "namespace": NAMESPACE},
    }
    kubectl(*command, document=json.dumps({**body, "spec": {"infrastructure": {"labels": {"somebody": "was-here"}}}}))
    try:
        yield
    finally:
        kubectl(*command, document=json.dumps(body))


class Client:
    """Asks the gateway."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token

    def ask(self, **headers: str) -> int:
        """The status of an answer of the first provider."""
        path = "/v1/chat/completions"
        return send(self.url, self.token, Ask(path, body_of(path, "gpt-4", max_tokens=1), headers)).status

    @contextlib.contextmanager
    def told(self, status: int) -> t.Iterator[None]:
        """For a block, a provider whose last answer had this status."""
        assert self.ask(**{"x-simulator-status": str(status)}) == status
        yield

    def recover(self, seconds: float = 150) -> None:
        """Ask until a provider answers again."""
        deadline = time.monotonic() + seconds
        while (status := self.ask()) != 200:
            assert time.monotonic() < deadline, f"the gateway answers {status}"
            time.sleep(2)


@dataclasses.dataclass(frozen=True)
class Fault:
    name: str
    #: The root cause that is to come first.
    code: str
    put: t.Callable[[Client], contextlib.AbstractContextManager[t.Any]]
    #: Whether it shows in the answers to requests alone.
    asks: bool = False


_POLICY = "gateway.envoyproxy.io/v1alpha1"
_TARGET = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": GATEWAY}
_HOOK = ("mutatingwebhookconfigurations", "", "envoy-ai-gateway-gateway-pod-mutator")


def _other_authority() -> list[Body]:
    bundle = certificate("another-authority", 30)["data"]["tls.crt"]
    return [{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]


def _other_namespace() -> list[Body]:
    selector = {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}
    return [{"op": "replace", "path": "/webhooks/0/namespaceSelector", "value": selector}]


def _wrong_key_name() -> contextlib.AbstractContextManager[t.Any]:
    data = read("secrets", NAMESPACE, "openai-credential")["data"]
    changes = [{"op": "replace", "path": "/data", "value": {"api-key": data["apiKey"]}}]
    return changed("secrets", NAMESPACE, "openai-credential", changes)


def _hostname(hostname: str) -> contextlib.AbstractContextManager[t.Any]:
    path = "/spec/endpoints/0/fqdn/hostname"
    changes = [{"op": "replace", "path": path, "value": hostname}]
    return changed("backends.gateway.envoyproxy.io", NAMESPACE, "openai", changes)


def _tls() -> contextlib.AbstractContextManager[t.Any]:
    """The provider's simulator speaks no TLS."""
    changes = [{"op": "add", "path": "/spec/tls", "value": {"wellKnownCACertificates": "System"}}]
    return changed("backends.gateway.envoyproxy.io", NAMESPACE, "openai", changes)


def _no_backend() -> contextlib.AbstractContextManager[t.Any]:
    changes = [{"op": "replace", "path": "/spec/backendRef/name", "value": "nobody"}]
    return changed("aiservicebackends", NAMESPACE, "openai", changes)


def _costs(metadata: Body) -> contextlib.AbstractContextManager[t.Any]:
    path = "/spec/rateLimit/global/rules/0/cost/response/metadata"
    changes = [{"op": "replace", "path": path, "value": metadata}]
    return changed("backendtrafficpolicies", NAMESPACE, GATEWAY, changes)


def _no_hooks() -> contextlib.AbstractContextManager[t.Any]:
    """Envoy Gateway's configuration without its extension manager."""
    text = read("configmaps", ENVOY, "envoy-gateway-config")["data"]["envoy-gateway.yaml"]
    lines, kept, inside = text.splitlines(keepends=True), "", False
    for line in lines:
        if not line.startswith((" ", "-")):
            inside = line.startswith("extensionManager:")
        kept += "" if inside else line
    assert kept != text
    return changed("configmaps", ENVOY, "envoy-gateway-config", {"data": {"envoy-gateway.yaml": kept}})


def _auth_config() -> Body:
    hosts = read("authconfigs.authorino.kuadrant.io", AUTHORINO, GATEWAY)["spec"]["hosts"]
    return custom("authorino.kuadrant.io/v1beta3", "AuthConfig", AUTHORINO, {"hosts": hosts})


def _quota() -> Body:
    backend = read("aiservicebackends", NAMESPACE, "openai")["metadata"]["name"]
    targets = [{"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": backend}]
    quotas = [{"modelName": "gpt-4", "quota": {"defaultBucket": {"limit": 1, "duration": "1h"}}}]
    return custom(
        "aigateway.envoyproxy.io/v1alpha1", "QuotaPolicy", NAMESPACE, {"targetRefs": targets, "perModelQuotas": quotas}
    )


def _stray_route() -> Body:
    parents = [{"name": GATEWAY, "sectionName": "no-such-listener"}]
    backends = [{"name": "nobody", "port": 80}]
    return custom(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        NAMESPACE,
        {"parentRefs": parents, "rules": [{"backendRefs": backends}]},
    )


@contextlib.contextmanager
def _mcp_server(*keys: str) -> t.Iterator[None]:
    """For a block, an MCP server whose Secret has these keys; without any, there is no Secret."""
    endpoints = read("backends.gateway.envoyproxy.io", NAMESPACE, "openai")["spec"]["endpoints"]
    server = {
        "group": "gateway.envoyproxy.io",
        "kind": "Backend",
        "name": NAME,
        "securityPolicy": {"apiKey": {"secretRef": {"name": NAME}}},
    }
    route = {"parentRefs": [_TARGET], "path": "/diagnosis-fault", "backendRefs": [server]}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "stringData": dict.fromkeys(keys, "none"),
    }
    with made(
        *([secret] if keys else []),
        custom(_POLICY, "Backend", NAMESPACE, {"type": "Endpoints", "endpoints": endpoints}),
        custom("aigateway.envoyproxy.io/v1beta1", "MCPRoute", NAMESPACE, route),
    ):
        yield


FAULTS: tuple[Fault, ...] = (
    Fault("Envoy Gateway is away", "AIG0003", lambda _: scaled_down(ENVOY, "envoy-gateway")),
    Fault("Envoy AI Gateway is away", "AIG0003", lambda _: scaled_down(AI, "ai-gateway-controller")),
    Fault("Authorino is away", "AIG0401", lambda _: scaled_down(AUTHORINO, "authorino")),
    Fault("Redis is away", "AIG0309", lambda _: scaled_down(ENVOY, "redis")),
    Fault(
        "Authorino's cache is too small",
        "AIG0403",
        lambda _: authorino_arguments(
            lambda given: [argument for argument in given if "cache-size" not in argument], wait=True
        ),
    ),
    Fault(
        "Authorino restarts",
        "AIG0402",
        lambda _: authorino_arguments(lambda given: [*given, "--no-such-argument"], wait=False),
    ),
    Fault("the key's Secret is missing", "AIG0501", lambda _: removed("secrets", NAMESPACE, "openai-credential")),
    Fault("the key has another name", "AIG0504", lambda _: _wrong_key_name()),
    Fault("the Secret of an MCP server's key is missing", "AIG0501", lambda _: _mcp_server()),
    Fault("the key of an MCP server has another name", "AIG0504", lambda _: _mcp_server("api-key")),
    Fault("the provider answers 401", "AIG0505", lambda client: client.told(401), asks=True),
    Fault("the provider answers 429", "AIG0506", lambda client: client.told(429), asks=True),
    Fault("the provider is away", "AIG0502", lambda _: scaled_down(SIMULATORS, "openai-simulator"), asks=True),
    Fault("the provider's name is unknown", "AIG0507", lambda _: _hostname("nobody.invalid"), asks=True),
    Fault("the provider refuses TLS", "AIG0503", lambda _: _tls(), asks=True),
    Fault("a backend does not exist", "AIG0302", lambda _: _no_backend()),
    Fault("the webhook has another CA", "AIG0110", lambda _: changed(*_HOOK, _other_authority())),
    Fault("the webhook sees no proxy", "AIG0112", lambda _: changed(*_HOOK, _other_namespace())),
    Fault("a proxy has no sidecar", "AIG0106", lambda _: without_sidecar()),
    Fault("the hooks are not wired", "AIG0101", lambda _: _no_hooks()),
    Fault("a listener's Secret is missing", "AIG0211", lambda _: listener_with(None)),
    Fault("a certificate has expired", "AIG0208", lambda _: listener_with(certificate("fault.example.com", days=-1))),
    Fault("a certificate is for another name", "AIG0210", lambda _: listener_with(certificate("x.example.com", 90))),
    Fault(
        "listeners are in conflict",
        "AIG0203",
        lambda _: changed(
            # On the port of the redirect.
            "gateways.gateway.networking.k8s.io",
            NAMESPACE,
            GATEWAY,
            listener(port=80, protocol="TCP", hostname=""),
        ),
    ),
    Fault("a route is rejected", "AIG0301", lambda _: made(_stray_route())),
    Fault(
        "a policy is rejected",
        "AIG0305",
        lambda _: made(custom(_POLICY, "BackendTrafficPolicy", NAMESPACE, {"targetRefs": [_TARGET]})),
    ),
    Fault(
        "a limit counts nothing",
        "AIG0307",
        lambda _: _costs({"namespace": "io.envoy.ai_gateway", "key": "no_such_key"}),
    ),
    Fault("a quota is not applied", "AIG0312", lambda _: made(_quota())),
    Fault("an AuthConfig is not ready", "AIG0404", lambda _: made(_auth_config())),
    Fault("somebody else writes the Gateway", "AIG0007", lambda _: owned_by_another()),
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the diagnosis said of a fault, before it and after it."""

    fault: Fault
    before: str
    found: str
    first: bool
    after: str
    seconds: float

    def __str__(self) -> str:
        mark = "root cause first" if self.first else "NOT FIRST"
        return f"{self.fault.name} ({self.fault.code}): {mark}, after {self.seconds:.0f} s: {self.found}"


def until(client: Client | None, good: t.Callable[[list[Finding]], bool]) -> list[Finding]:
    """The findings, once they are as they should be or the time is over; a client asks before each diagnosis."""
    deadline = time.monotonic() + PATIENCE
    while True:
        if client:
            client.ask()
        roots = findings()
        if good(roots) or time.monotonic() > deadline:
            return roots
        time.sleep(3)


def try_each(url: str, token: str, faults: t.Sequence[Fault] = FAULTS) -> list[Outcome]:
    """Put in each fault, diagnose, and take it out."""
    client = Client(url, token)
    outcomes = []
    for fault in faults:
        client.recover()
        before = until(None, lambda roots: not roots)
        started = time.monotonic()
        try:
            with fault.put(client):
                # A status that was asked for would be hidden by the next answer.
                asking = client if fault.asks and fault.code not in ("AIG0505", "AIG0506") else None
                found = until(asking, lambda roots, code=fault.code: bool(roots) and roots[0].code == code)
                seconds = time.monotonic() - started
        except subprocess.CalledProcessError as error:
            raise AssertionError(f"{fault.name}: {error.stderr}") from error
        client.recover()
        after = until(None, lambda roots: not roots)
        outcome = Outcome(
            fault, shown(before), shown(found), bool(found) and found[0].code == fault.code, shown(after), seconds
        )
        print(outcome, flush=True)
        outcomes.append(outcome)
    return outcomes
