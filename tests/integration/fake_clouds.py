# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Providers of clouds at a fake end: what arrives there of a request, and what the caller gets.

The fake is that of tests/fakes. Azure's own token endpoint and the identity of pods cannot be had, so that providers
with client secrets, federation and workload identity are rendered and not asked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import sys
import typing as t

PROGRAM = pathlib.Path(__file__).resolve().parents[1] / "fakes/cloud_provider/cloud_provider.py"
sys.path.append(str(PROGRAM.parent))

from cloud_provider import INPUT, OUTPUT, TOKEN, WORDS  # noqa: E402

NAMESPACE = "outside-clouds"
NAME = "cloud-provider"
#: Has to be in ai_gateway_allowed_endpoints, as it leads into the cluster.
HOSTNAME = f"{NAME}.{NAMESPACE}.svc.cluster.local"
PORT = 8000
REGION, PROJECT = "europe-west4", "team-search"
KEYS = {"azure": "azure-key-of-outside", "cohere": "cohere-key-of-outside"}
ACCESS_KEY = "AKIAOUTSIDE"
CREDENTIALS_FILE = f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = secret-of-outside\n"
PROMPT = "Say hello."
CHAT: dict[str, t.Any] = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 64}
CHATS, MESSAGES = "/v1/chat/completions", "/v1/messages"
GOOGLE = f"/v1/projects/{PROJECT}/locations/{REGION}/publishers"


def service_account(private_key: str, token_url: str) -> str:
    """The key file of a service account whose token comes from the fake.

    :param private_key: a key of RSA in PEM.
    """
    return json.dumps(
        {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "1",
            "private_key": private_key,
            "client_email": f"gateway@{PROJECT}.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": token_url,
        }
    )


def providers(private_key: str) -> list[dict[str, t.Any]]:
    """The providers as an inventory has them; each has a model of its name and one that it refuses."""
    endpoint = {"hostname": HOSTNAME, "port": PORT, "tls": {"mode": "none"}}
    google = {"region": REGION, "project": PROJECT}
    account = {"value": service_account(private_key, f"http://{HOSTNAME}:{PORT}/token")}
    credentials: tuple[tuple[str, str, dict[str, t.Any], dict[str, t.Any]], ...] = (
        ("azure", "azure_openai", {"value": KEYS["azure"]}, {"api_version": "2024-10-21"}),
        ("bedrock", "aws_bedrock", {"value": CREDENTIALS_FILE}, {"region": REGION}),
        ("bedrock-claude", "aws_anthropic", {"value": CREDENTIALS_FILE}, {"region": REGION}),
        ("gemini", "gcp_vertex_ai", account, google),
        ("vertex-claude", "gcp_anthropic", account, google),
        ("cohere", "cohere", {"value": KEYS["cohere"]}, {}),
    )
    return [
        {
            "name": name,
            "schema": schema,
            "endpoint": endpoint,
            "credential": credential,
            "models": [
                {"name": f"{name}-model"},
                {"name": f"{name}-refused", "provider_model": "refused"},
            ],
            **fields,
        }
        for name, schema, credential, fields in credentials
    ]


@dataclasses.dataclass(frozen=True)
class Case:
    """A request to a provider, and what arrives of it."""

    provider: str
    #: The path of the client.
    path: str
    body: t.Mapping[str, t.Any]
    #: The path at the provider.
    arrives_at: str
    #: Fields of the body there; one that is None is missing.
    fields: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)

    @property
    def model(self) -> str:
        return f"{self.provider}-model"

    @property
    def streams(self) -> bool:
        return self.body.get("stream") is True


def _cases() -> t.Iterator[Case]:
    deployment = "/openai/deployments/azure-model"
    version = "?api-version=2024-10-21"
    stream = {**CHAT, "stream": True}
    text = [{"role": "user", "content": [{"text": PROMPT}]}]
    yield Case("azure", CHATS, CHAT, f"{deployment}/chat/completions{version}", CHAT)
    yield Case("azure", "/v1/embeddings", {"input": PROMPT}, f"{deployment}/embeddings{version}", {"input": PROMPT})
    yield Case("azure", "/v1/responses", {"input": PROMPT}, f"/openai/responses{version}", {"model": "azure-model"})
    for path in (CHATS, MESSAGES):
        converse = {"messages": text, "inferenceConfig": {"maxTokens": 64}, "model": None}
        yield Case("bedrock", path, CHAT, "/model/bedrock-model/converse", converse)
        yield Case("bedrock", path, stream, "/model/bedrock-model/converse-stream", converse)
        aws = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "model": None}
        yield Case("bedrock-claude", path, CHAT, "/model/bedrock-claude-model/invoke", aws)
        yield Case("bedrock-claude", path, stream, "/model/bedrock-claude-model/invoke-with-response-stream", aws)
        google = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 64, "model": None}
        place = f"{GOOGLE}/anthropic/models/vertex-claude-model"
        yield Case("vertex-claude", path, CHAT, f"{place}:rawPredict", google)
        yield Case("vertex-claude", path, stream, f"{place}:streamRawPredict", {**google, "stream": True})
    place = f"{GOOGLE}/google/models/gemini-model"
    contents = {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]}
    yield Case("gemini", CHATS, CHAT, f"{place}:generateContent", contents)
    yield Case("gemini", CHATS, stream, f"{place}:streamGenerateContent?alt=sse", contents)
    documents = {"query": PROMPT, "documents": ["a", "b"]}
    yield Case("cohere", "/cohere/v2/rerank", documents, "/v2/rerank", {**documents, "model": "cohere-model"})


CASES = tuple(_cases())


def arrived_wrongly(case: Case, seen: t.Mapping[str, t.Any]) -> list[str]:
    """What is wrong with the request that the fake received."""
    lines = []
    if seen["path"] != case.arrives_at:
        lines.append(f"it arrived at {seen['path']}, not {case.arrives_at}")
    for field, value in case.fields.items():
        if seen["body"].get(field) != value:
            lines.append(f"its field {field} is {seen['body'].get(field)!r}, not {value!r}")
    header, start = credential_of(case.provider)
    if not seen["headers"].get(header, "").startswith(start):
        lines.append(f"its header {header} is {seen['headers'].get(header)!r}, not {start}...")
    return lines


def credential_of(provider: str) -> tuple[str, str]:
    """The header in which a provider gets its credential, and how the fake shows that."""

    def digest(key: str) -> str:
        return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"

    if provider == "azure":
        return "api-key", digest(KEYS["azure"])
    if provider == "cohere":
        return "authorization", f"Bearer {digest(KEYS['cohere'])}"
    if provider.startswith("bedrock"):
        return "authorization", f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/"
    return "authorization", f"Bearer {digest(TOKEN)}"


def answered_wrongly(case: Case, status: int, body: bytes) -> list[str]:
    """What is wrong with the caller's answer."""
    if status != 200:
        return [f"status {status}: {body[:300]!r}"]
    if case.path == "/v1/embeddings":
        return [] if b"embedding" in body else ["no vector"]
    if case.provider == "cohere":
        return [] if b"relevance_score" in body else ["no ranks"]
    lines = [] if WORDS.encode() in body else ["not the words of the provider"]
    if not case.streams:
        usage = json.loads(body).get("usage") or {}
        told = (
            usage.get("prompt_tokens", usage.get("input_tokens")),
            usage.get("completion_tokens", usage.get("output_tokens")),
        )
        if told != (INPUT, OUTPUT):
            lines.append(f"the usage is {usage}")
    return lines


def manifests() -> list[dict[str, t.Any]]:
    """The objects of the fake."""
    import external_provider

    metadata = {"name": NAME, "namespace": NAMESPACE}
    labels = {"app.kubernetes.io/name": NAME}
    container = {
        "name": "provider",
        "image": external_provider.IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-u", "-B", f"/opt/cloud/{PROGRAM.name}", str(PORT)],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "program", "mountPath": "/opt/cloud", "readOnly": True}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "runAsGroup": 65534},
        "containers": [container],
        "volumes": [{"name": "program", "configMap": {"name": NAME}}],
    }
    deployment = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {PROGRAM.name: PROGRAM.read_text(encoding="utf-8")},
        },
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": PORT}]},
        },
    ]


def deploy() -> None:
    """Deploy the fake and wait until it answers."""
    from objects import kubectl

    listed = {"apiVersion": "v1", "kind": "List", "items": manifests()}
    kubectl("apply", "--server-side", "--filename=-", document=json.dumps(listed))
    kubectl("rollout", "status", "--namespace", NAMESPACE, f"deployment/{NAME}", "--timeout=100s")


def seen(model: str) -> list[dict[str, t.Any]]:
    """What the fake received for a model by its name there, oldest first."""
    from objects import kubectl

    program = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{PORT}/seen/{model}').read().decode())"
    found: list[dict[str, t.Any]] = json.loads(
        kubectl("exec", "--namespace", NAMESPACE, f"deployment/{NAME}", "--", "python3", "-c", program)
    )
    return found


def problems(url: str, token: str) -> list[str]:
    """What went wrong with each case at a gateway whose catalogue has the providers.

    :param token: of a tier that may use all models and limits requests.
    """
    from gateway_requests import Ask, send

    lines = []
    for case in CASES:
        body = {"model": case.model, **case.body}
        headers = {"anthropic-version": "2023-06-01"} if case.path == MESSAGES else {}
        reply = send(url, token, Ask(case.path, body, headers))
        wrong = answered_wrongly(case, reply.status, reply.body)
        arrived = seen(case.model)
        wrong += arrived_wrongly(case, arrived[-1]) if arrived else ["nothing arrived"]
        lines += [f"{case.provider} {case.path}: {line}" for line in wrong]
    for name in sorted({case.provider for case in CASES}):
        case = next(case for case in CASES if case.provider == name)
        reply = send(url, token, Ask(case.path, {"model": f"{name}-refused", **case.body}))
        if (
            reply.status != 403
            or not reply.message.startswith("The provider refused with status 403: ")
            or reply.problems
        ):
            lines.append(f"{name}: a refusal became {reply}")
    return lines
