# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.litellm import (
    LiteLlmError,
    Translation,
    translate,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.yaml_input import read_yaml

#: What must be in no result and no message.
CANARY = "sk-canary-0d1f"
ENVIRONMENT = {"BASE": "https://eu.example.com/v1", "ORG": "org-1", "NOT_A_URL": CANARY, "VERSION": "2024-10-21"}


def translated(config: str | dict[str, t.Any]) -> Translation:
    """The translation of a file; no key of it is in what comes of it."""
    content = config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False)
    found = translate(read_yaml(content.encode()), ENVIRONMENT.get)
    assert CANARY not in json.dumps(found.variables) + repr(found.notes)
    return found


def deployed(*params: dict[str, t.Any], name: str = "m", **more: t.Any) -> Translation:
    """The translation of deployments of one public name."""
    return translated({"model_list": [{"model_name": name, "litellm_params": one} for one in params], **more})


def notes(found: Translation) -> dict[str, str]:
    return {note.path: note.reason for note in found.notes}


def env(name: str) -> dict[str, str]:
    return {"value": "{{ lookup('ansible.builtin.env', '" + name + "') }}"}


def host(hostname: str, **more: t.Any) -> dict[str, t.Any]:
    return {"hostname": hostname, **more}


BEDROCK = {"aws_region_name": "eu-central-1"}
VERTEX = {"vertex_project": "team-search", "vertex_location": "europe-west4"}
AZURE = {"api_base": "https://team.openai.azure.com/", "api_version": "2024-10-21"}
#: Parameters of a deployment, and the provider that they come to, without its name and models.
PROVIDERS: list[tuple[dict[str, t.Any], str, dict[str, t.Any]]] = [
    (
        {"model": "openai/gpt-4", "api_key": "os.environ/KEY"},
        "gpt-4",
        {"schema": "openai", "endpoint": host("api.openai.com"), "credential": env("KEY")},
    ),
    ({"model": "gpt-4o-mini"}, "gpt-4o-mini", {"schema": "openai", "credential": env("OPENAI_API_KEY")}),
    (
        {"model": "openai/x", "api_base": "https://llm.example.com:8443/api/v1/", "api_key": "os.environ/K"},
        "x",
        {"endpoint": host("llm.example.com", port=8443, prefix="/api/v1"), "credential": env("K")},
    ),
    (
        {"model": "openai/x", "api_base": "https://llm.example.com", "api_key": "os.environ/K"},
        "x",
        {"endpoint": host("llm.example.com", prefix="/")},
    ),
    (
        {"model": "openai/x", "api_base": "os.environ/BASE", "organization": "os.environ/ORG"},
        "x",
        {"endpoint": host("eu.example.com"), "headers": {"openai-organization": env("ORG")["value"]}},
    ),
    (
        {"model": "x", "custom_llm_provider": "openai", "extra_headers": {"X-Team": "search"}},
        "x",
        {"schema": "openai", "headers": {"x-team": "search"}},
    ),
    (
        {"model": "anthropic/claude-sonnet-4"},
        "claude-sonnet-4",
        {"schema": "anthropic", "endpoint": host("api.anthropic.com"), "credential": env("ANTHROPIC_API_KEY")},
    ),
    (
        {"model": "anthropic/c", "api_base": "https://proxy.example.com/anthropic/v1/messages"},
        "c",
        {"schema": "anthropic", "endpoint": host("proxy.example.com", prefix="/anthropic/v1")},
    ),
    (
        {"model": "azure/eu", "api_key": "os.environ/K", **AZURE},
        "eu",
        {
            "schema": "azure_openai",
            "api_version": "2024-10-21",
            "endpoint": host("team.openai.azure.com"),
            "credential": env("K"),
        },
    ),
    (
        {
            "model": "azure/eu",
            **AZURE,
            "api_version": "os.environ/VERSION",
            "client_id": "a",
            "tenant_id": "os.environ/T",
            "client_secret": "os.environ/S",
        },
        "eu",
        {"credential": {"form": "client_secret", "client_id": "a", "tenant_id": env("T")["value"], **env("S")}},
    ),
    (
        {"model": "bedrock/eu.amazon.nova-lite-v1:0", **BEDROCK},
        "eu.amazon.nova-lite-v1:0",
        {
            "schema": "aws_bedrock",
            "region": "eu-central-1",
            "endpoint": host("bedrock-runtime.eu-central-1.amazonaws.com"),
            "credential": {"form": "workload_identity"},
        },
    ),
    ({"model": "bedrock/converse/us-east-1/nova"}, "nova", {"region": "us-east-1"}),
    (
        {"model": "vertex_ai/gemini-2.5-flash", **VERTEX},
        "gemini-2.5-flash",
        {
            "schema": "gcp_vertex_ai",
            "project": "team-search",
            "region": "europe-west4",
            "endpoint": host("europe-west4-aiplatform.googleapis.com"),
            "credential": {"form": "workload_identity"},
        },
    ),
    (
        {"model": "vertex_ai/claude-sonnet-4@20250514", **VERTEX, "vertex_credentials": "os.environ/FILE"},
        "claude-sonnet-4@20250514",
        {"schema": "gcp_anthropic", "credential": {"form": "service_account_key", **env("FILE")}},
    ),
    (
        {"model": "gemini/gemini-2.5-flash"},
        "gemini-2.5-flash",
        {
            "schema": "openai",
            "endpoint": host("generativelanguage.googleapis.com", prefix="/v1beta/openai"),
            "credential": env("GEMINI_API_KEY"),
        },
    ),
    (
        {"model": "groq/llama-3.3-70b"},
        "llama-3.3-70b",
        {"endpoint": host("api.groq.com", prefix="/openai/v1"), "credential": env("GROQ_API_KEY")},
    ),
    ({"model": "perplexity/sonar"}, "sonar", {"endpoint": host("api.perplexity.ai", prefix="/")}),
    ({"model": "fireworks_ai/llama"}, "accounts/fireworks/models/llama", {"credential": env("FIREWORKS_API_KEY")}),
    ({"model": "cohere/rerank-v3.5"}, "rerank-v3.5", {"schema": "cohere", "endpoint": host("api.cohere.com")}),
    (
        {"model": "hosted_vllm/facebook/opt", "api_base": "http://vllm.example.com:8000/v1"},
        "facebook/opt",
        {
            "endpoint": host("vllm.example.com", port=8000, tls={"mode": "none"}),
            "credential": env("HOSTED_VLLM_API_KEY"),
        },
    ),
    (
        {"model": "ollama/llama3", "api_base": "http://ollama.example.com:11434"},
        "llama3",
        {"endpoint": host("ollama.example.com", port=11434, tls={"mode": "none"}), "credential": env("OLLAMA_API_KEY")},
    ),
]


@pytest.mark.parametrize(("params", "model", "wanted"), PROVIDERS, ids=[str(one[0]["model"]) for one in PROVIDERS])
def test_a_deployment_becomes_a_provider(params: dict[str, t.Any], model: str, wanted: dict[str, t.Any]) -> None:
    (provider,) = deployed(params).variables["ai_gateway_providers"]
    assert provider["models"] == [{"name": "m", "provider_model": model}]
    assert {key: provider.get(key) for key in wanted} == wanted


def test_two_access_keys_become_one_credentials_file() -> None:
    keys = {"aws_access_key_id": "os.environ/ID", "aws_secret_access_key": CANARY}
    found = deployed({"model": "bedrock/nova", **BEDROCK, **keys})
    (provider,) = found.variables["ai_gateway_providers"]
    assert provider["credential"]["form"] == "access_key"
    assert found.environment == ("ID", "BEDROCK_CREDENTIAL_2")
    assert "set BEDROCK_CREDENTIAL_2" in notes(found)["model_list[0].litellm_params.aws_secret_access_key"]


def test_a_key_in_plain_is_named_and_not_copied() -> None:
    found = deployed({"model": "openai/gpt-4", "api_key": CANARY})
    (provider,) = found.variables["ai_gateway_providers"]
    assert provider["credential"] == env("OPENAI_API_KEY")
    reason = "is a key in plain and was not copied; set OPENAI_API_KEY in the environment to it"
    assert notes(found)["model_list[0].litellm_params.api_key"] == reason


@pytest.mark.parametrize("others", [False, True])
def test_no_key_is_sent_to_the_host_of_another(others: bool) -> None:
    plain = {"model": "openai/llama", "api_base": "https://vllm.example.com/v1", "api_key": "none"}
    more = [{"model": "openai/gpt-4o", "api_key": "os.environ/OPENAI_API_KEY"}] if others else []
    found = deployed(plain, *more)
    providers = found.variables["ai_gateway_providers"]
    read = {provider["endpoint"]["hostname"]: provider["credential"] for provider in providers}
    wanted = {"vllm.example.com": env("OPENAI_API_KEY_2"), "api.openai.com": env("OPENAI_API_KEY")}
    assert read == {host: credential for host, credential in wanted.items() if others or host == "vllm.example.com"}
    assert "set OPENAI_API_KEY_2 in" in notes(found)["model_list[0].litellm_params.api_key"]


def test_a_key_in_plain_gets_a_variable_that_nothing_else_reads() -> None:
    keys = {"aws_access_key_id": CANARY, "aws_secret_access_key": CANARY}
    servers = {
        name: {"url": f"https://{name}.example.com/mcp", "auth_type": "api_key", "auth_value": value}
        for name, value in (("tools", CANARY), ("other", "os.environ/TOOLS_MCP_KEY"))
    }
    found = deployed(
        {"model": "openai/a", "api_key": CANARY},
        {"model": "openai/a"},
        {"model": "openai/a", "api_key": "os.environ/OPENAI_API_API_KEY"},
        mcp_servers=servers,
        general_settings={"master_key": "os.environ/OPENAI_API_KEY_2"},
    )
    assert found.environment == (
        *("OPENAI_API_KEY_3", "OPENAI_API_KEY", "OPENAI_API_API_KEY"),
        *("TOOLS_MCP_KEY_2", "TOOLS_MCP_KEY"),
    )
    assert "set TOOLS_MCP_KEY_2 in" in notes(found)["mcp_servers.tools.auth_value"]
    bedrock = deployed(
        {"model": "bedrock/nova", **BEDROCK, **keys}, general_settings={"x": ["os.environ/BEDROCK_CREDENTIAL_2"]}
    )
    assert bedrock.environment == ("BEDROCK_CREDENTIAL_1", "BEDROCK_CREDENTIAL_2_2")


def test_each_key_has_a_provider_of_its_own() -> None:
    found = deployed(
        {"model": "openai/a", "api_key": "os.environ/ONE"},
        {"model": "openai/a", "api_key": "os.environ/TWO"},
        {"model": "openai/a", "api_key": CANARY + "1"},
        {"model": "openai/a", "api_key": CANARY + "2"},
    )
    providers = found.variables["ai_gateway_providers"]
    assert [provider["name"] for provider in providers] == ["openai", "openai-api", "openai-2", "openai-3"]
    assert found.environment == ("ONE", "TWO", "OPENAI_2_API_KEY", "OPENAI_3_API_KEY")
    assert {provider["models"][0]["weight"] for provider in providers} == {1}


def test_models_with_one_key_share_a_provider() -> None:
    config = {
        "model_list": [
            {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_key": "os.environ/K"}}
            for name in ("a", "b")
        ]
    }
    (provider,) = translated(config).variables["ai_gateway_providers"]
    assert provider["models"] == [{"name": "a"}, {"name": "b"}]


@pytest.mark.parametrize(
    ("measures", "weights"),
    [
        ([{"rpm": 60}, {"rpm": 600}], [60, 600]),
        ([{"weight": 0.9}, {"weight": 0.1}], [900, 100]),
        ([{"weight": 3, "rpm": 1}, {"weight": 1, "rpm": 9}], [3, 1]),
        ([{"tpm": 40_000_000}, {"tpm": 10_000_000}], [1_000_000, 250_000]),
        ([{}, {"rpm": 5}], [1, 1]),
    ],
)
def test_several_deployments_share_as_litellm_shares(measures: list[dict[str, float]], weights: list[int]) -> None:
    params = [{"model": "openai/a", "api_key": f"os.environ/K{number}", **one} for number, one in enumerate(measures)]
    providers = deployed(*params).variables["ai_gateway_providers"]
    assert [provider["models"][0]["weight"] for provider in providers] == weights
    assert all("priority" not in provider["models"][0] for provider in providers)


def test_a_deployment_without_a_share_is_named() -> None:
    found = deployed(
        {"model": "openai/a", "api_key": "os.environ/A", "weight": 1},
        {"model": "openai/a", "api_key": "os.environ/B", "weight": 0},
    )
    assert found.environment == ("A",)
    assert "its weight is 0" in notes(found)["model_list[1]"]


def test_order_and_fallbacks_become_priorities() -> None:
    entry = {"model": "openai/a", "api_key": "os.environ/A"}
    config = {
        "model_list": [
            {"model_name": "m", "litellm_params": {**entry, "order": 2}},
            {"model_name": "m", "litellm_params": {"model": "azure/a", **AZURE, "order": 1}},
            {"model_name": "spare", "litellm_params": {"model": "groq/b"}},
        ],
        "router_settings": {"fallbacks": [{"m": ["spare", "missing"]}, {"other": ["m"]}]},
    }
    found = translated(config)
    models = {provider["name"]: provider["models"] for provider in found.variables["ai_gateway_providers"]}
    assert models == {
        "azure": [{"name": "m", "provider_model": "a", "weight": 1, "priority": 0}],
        "openai": [{"name": "m", "provider_model": "a", "weight": 1, "priority": 1}],
        "groq": [
            {"name": "m", "provider_model": "b", "weight": 1, "priority": 2},
            {"name": "spare", "provider_model": "b"},
        ],
    }
    assert any('"missing" is not in model_list' in note.reason for note in found.notes)
    assert "which model_list" not in notes(found)["router_settings.fallbacks[1].other"]
    assert "for a model that model_list does not have" in notes(found)["router_settings.fallbacks[1].other"]


def test_a_fallback_to_another_model_of_the_same_provider() -> None:
    entry = {"api_key": "os.environ/A"}
    config = {
        "model_list": [
            {"model_name": name, "litellm_params": {"model": f"openai/{name}", **entry}} for name in ("big", "small")
        ],
        "litellm_settings": {"fallbacks": [{"big": ["small"]}]},
    }
    first, second = translated(config).variables["ai_gateway_providers"]
    assert [model["name"] for model in first["models"]] == ["big", "small"]
    assert second["models"] == [{"name": "big", "provider_model": "small", "weight": 1, "priority": 1}]
    assert first["credential"] == second["credential"]


def test_another_api_under_the_same_name_is_named() -> None:
    found = deployed({"model": "anthropic/c"}, {"model": "openai/c", "api_key": "os.environ/A"})
    (provider,) = found.variables["ai_gateway_providers"]
    assert provider["schema"] == "anthropic"
    assert "cannot be sent to the other" in notes(found)["model_list[1]"]


def test_a_service_of_the_cluster_becomes_a_model_on_the_premises() -> None:
    params = {"model": "hosted_vllm/facebook/opt-125m", "api_base": "http://vllm.llm.svc.cluster.local:8000/v1"}
    found = deployed(params)
    assert found.variables == {
        "ai_gateway_models": [
            {
                "name": "m",
                "provider_model": "facebook/opt-125m",
                "backend_ref": {"name": "vllm", "namespace": "llm", "port": 8000},
            }
        ]
    }
    # With a key it is a provider.
    found = deployed({**params, "api_key": "os.environ/K"})
    assert found.variables["ai_gateway_allowed_endpoints"] == ["vllm.llm.svc.cluster.local"]
    assert "is a name inside the cluster" in notes(found)["model_list[0].litellm_params.api_base"]


def test_costs_become_prices() -> None:
    cost = {"input_cost_per_token": 0.0000025, "output_cost_per_token": "1e-05"}
    config = {
        "model_list": [
            {"model_name": "m", "litellm_params": {"model": "openai/a"}, "model_info": cost},
            {"model_name": "n", "litellm_params": {"model": "openai/b", "input_cost_per_token": 0}},
        ]
    }
    found = translated(config)
    assert found.variables["ai_gateway_prices"] == {"m": {"input": 2.5, "output": 10}}
    assert "has no price of its own" in notes(found)["model_list[1]"]


def test_an_alias_is_another_public_name() -> None:
    found = deployed({"model": "openai/a"}, router_settings={"model_group_alias": {"alias": "m", "lost": "no"}})
    (provider,) = found.variables["ai_gateway_providers"]
    assert [model["name"] for model in provider["models"]] == ["m", "alias"]
    assert "router_settings.model_group_alias.lost" in notes(found)


def test_a_credential_of_the_list_is_used() -> None:
    credentials = [{"credential_name": "one", "credential_values": {"api_key": "os.environ/K", **AZURE}}]
    found = deployed({"model": "azure/a", "litellm_credential_name": "one"}, credential_list=credentials)
    (provider,) = found.variables["ai_gateway_providers"]
    assert provider["endpoint"] == host("team.openai.azure.com")
    assert provider["credential"] == env("K")


def test_mcp_servers() -> None:
    servers = {
        "deep_wiki": {"url": "https://mcp.deepwiki.com/mcp"},
        "zapier": {"url": "https://mcp.zapier.com/x/", "auth_type": "bearer_token", "auth_value": "os.environ/Z"},
        "plain": {"url": "https://mcp.example.com/mcp", "auth_type": "api_key", "auth_value": CANARY},
        "old": {"url": "https://mcp.example.com/sse", "transport": "sse"},
    }
    found = deployed({"model": "openai/a"}, mcp_servers=servers)
    assert found.variables["ai_gateway_mcp_servers"] == [
        {"name": "deep-wiki", "endpoint": host("mcp.deepwiki.com")},
        {"name": "zapier", "endpoint": host("mcp.zapier.com", path="/x"), "credential": env("Z")},
        {
            "name": "plain",
            "endpoint": host("mcp.example.com"),
            "credential": {"header": "x-api-key", **env("PLAIN_MCP_KEY")},
        },
    ]
    assert "is a key" in notes(found)["mcp_servers.plain.auth_value"]
    assert "streamable HTTP" in notes(found)["mcp_servers.old"]


#: Parameters of a deployment that cannot be served, and a part of the reason.
REFUSED: list[tuple[dict[str, t.Any], str]] = [
    ({"model": "openai/*"}, "is a pattern"),
    ({"model": "palm/x"}, 'no schema of a catalogue is the API of "palm"'),
    ({"model": "my-model"}, "does not say its provider"),
    ({"model": "hosted_vllm/x"}, "has no api_base"),
    ({"model": "ollama/x"}, "is the proxy itself"),
    ({"model": "openai/x", "api_base": "http://127.0.0.1:8000/v1"}, "loopback"),
    ({"model": "openai/x", "api_base": "http://169.254.169.254/v1"}, "metadata"),
    ({"model": "openai/x", "api_base": "https://10.1.2.3/v1"}, "no name to verify"),
    ({"model": "openai/x", "api_base": "http://vllm:8000/v1"}, "without a dot"),
    ({"model": "openai/x", "api_base": "ftp://example.com"}, "no URL that begins with"),
    ({"model": "openai/x", "api_base": f"https://user:{CANARY}@example.com/v1"}, "a user, a password"),
    ({"model": "openai/x", "api_base": f"https://example.com/v1?key={CANARY}"}, "a user, a password or a query"),
    ({"model": "openai/x", "api_base": "https://example.com/a b"}, "path that cannot be written"),
    ({"model": "openai/x", "api_base": "https://example.com:port/v1"}, "is no URL"),
    ({"model": "openai/x", "api_base": "os.environ/UNSET"}, "is not set"),
    ({"model": "openai/x", "api_base": "os.environ/NOT_A_URL"}, "no URL"),
    ({"model": "openai/x", "api_base": "https://{{ lookup('pipe', 'id') }}/v1"}, "host name"),
    ({"model": "openai/x", "api_key": "os.environ/K') }}{{ 1 + ('"}, "does not name a variable of the environment"),
    ({"model": "openai/\u202ex"}, "cannot be written"),
    ({"model": "azure/x", "api_base": "https://a.openai.azure.com"}, "no api_version"),
    ({"model": "azure/x", "api_version": "1"}, "no api_base"),
    ({"model": "azure/x", **AZURE, "api_base": "https://a.example.com/other"}, "has a path"),
    ({"model": "azure/x", **AZURE, "client_secret": CANARY}, "without client_id"),
    ({"model": "bedrock/x"}, "no aws_region_name"),
    ({"model": "bedrock/x", **BEDROCK, "aws_role_name": "r"}, "assumes a role"),
    ({"model": "bedrock/x", **BEDROCK, "aws_access_key_id": CANARY}, "and not the other"),
    ({"model": "bedrock/x", "aws_region_name": CANARY + "!"}, "is not a region"),
    ({"model": "vertex_ai/gemini-x"}, "no vertex_project"),
    ({"model": "vertex_ai/llama", **VERTEX}, "no schema of a catalogue serves"),
    ({"model": "openai/x", "litellm_credential_name": "lost"}, "which credential_list does not have"),
]


@pytest.mark.parametrize(("params", "reason"), REFUSED, ids=[reason for _params, reason in REFUSED])
def test_what_cannot_be_served_is_named_and_the_rest_is_served(params: dict[str, t.Any], reason: str) -> None:
    good = {"model_name": "good", "litellm_params": {"model": "openai/good"}}
    found = translated({"model_list": [good, {"model_name": "m", "litellm_params": params}]})
    (provider,) = found.variables["ai_gateway_providers"]
    assert provider["models"] == [{"name": "good"}]
    assert notes(found)["model_list[1]"].startswith("is not served: ")
    assert reason in notes(found)["model_list[1]"]


@pytest.mark.parametrize("name", ["*", "{{ x }}", "a\nb", " a", "ä", "x" * 300])
def test_a_public_name_that_cannot_be_written_is_named(name: str) -> None:
    entries = [{"model_name": one, "litellm_params": {"model": "openai/a"}} for one in (name, "good")]
    found = translated({"model_list": entries})
    assert [model["name"] for model in found.variables["ai_gateway_providers"][0]["models"]] == ["good"]
    assert "its model_name" in notes(found)["model_list[0]"]


@pytest.mark.parametrize("mode", ["audio_transcription", "moderation", "realtime"])
def test_a_mode_without_a_path_is_named(mode: str) -> None:
    entries = [
        {"model_name": "m", "litellm_params": {"model": "openai/a"}, "model_info": {"mode": mode}},
        {"model_name": "n", "litellm_params": {"model": "openai/a"}, "model_info": {"mode": "embedding"}},
    ]
    assert mode in notes(translated({"model_list": entries}))["model_list[0]"]


def test_no_header_has_a_key() -> None:
    headers = {
        "Helicone-Auth": f"Bearer {CANARY}",
        "X-Portkey-Auth": CANARY,
        "Auth": CANARY,
        "Authentication": CANARY,
        "X-Signature": CANARY,
        "X-Forward": f"bearer {CANARY}",
        "X-User": f"Basic {CANARY}",
        "X-Author": "me",
        "X-Tier": "Basic",
    }
    # No rule is met by its value, which is then in no message either.
    found = deployed({"model": "openai/a", "extra_headers": headers, "organization": "os.environ/NOT_A_URL"})
    (provider,) = found.variables["ai_gateway_providers"]
    organization = env("NOT_A_URL")["value"]
    assert provider["headers"] == {"x-author": "me", "x-tier": "Basic", "openai-organization": organization}
    assert found.environment == ("NOT_A_URL", "OPENAI_API_KEY")
    path = "model_list[0].litellm_params.extra_headers"
    assert notes(found) == {f"{path}.{name}": "was not copied: it carries a key" for name in list(headers)[:7]}


@pytest.mark.parametrize("name", ["organization", "client_id", "tenant_id"])
def test_an_identifier_names_a_variable_or_is_one(name: str) -> None:
    azure = {"model": "azure/x", **AZURE, "client_id": "a", "tenant_id": "b", "client_secret": "os.environ/S"}
    for value in ("os.environ/K') }}{{ 1 + ('", f"{CANARY}!"):
        good = {"model": "openai/x", "api_key": "os.environ/K"}
        found = deployed(good, {**azure, name: value})
        assert notes(found)["model_list[1]"].startswith(f"is not served: model_list[1].litellm_params.{name} ")


def test_nothing_is_dropped_unsaid() -> None:
    """Every name of a configuration is read or named."""
    config: dict[str, t.Any] = {
        "model_list": [
            {
                "model_name": "m",
                "litellm_params": {
                    "model": "openai/a",
                    "temperature": 0.1,
                    "timeout": 3,
                    "tags": ["x"],
                    "headers": {"Authorization": CANARY, "x-ok": "1"},
                    "made_up": CANARY,
                },
                "model_info": {"id": "1", "base_model": "x", "made_up": 1},
                "made_up": 1,
            }
        ],
        "litellm_settings": {
            "drop_params": True,
            "request_timeout": 30,
            "cache": True,
            "cache_params": {"password": CANARY},
            "success_callback": ["langfuse"],
            "context_window_fallbacks": [{"m": ["n"]}],
            "made_up": CANARY,
        },
        "router_settings": {"routing_strategy": "least-busy", "redis_password": CANARY, "num_retries": 2},
        "general_settings": {"master_key": CANARY, "database_url": CANARY, "alerting": ["slack"], "made_up": 1},
        "environment_variables": {"SECRET": CANARY},
        "guardrails": [{"guardrail_name": "x"}],
        "include": ["other.yaml"],
        "made_up": {"a": 1},
    }
    found = translated(config)
    assert found.variables["providers_request_timeout"] == "30s"
    assert found.variables["ai_gateway_providers"][0]["headers"] == {"x-ok": "1"}
    wanted = {
        *(f"model_list[0].litellm_params.{name}" for name in ("temperature", "timeout", "tags", "made_up")),
        "model_list[0].litellm_params.headers.Authorization",
        *(f"model_list[0].model_info.{name}" for name in ("id", "base_model", "made_up")),
        "model_list[0].made_up",
        *(f"litellm_settings.{name}" for name in config["litellm_settings"] if name != "request_timeout"),
        *(f"router_settings.{name}" for name in config["router_settings"]),
        *(f"general_settings.{name}" for name in config["general_settings"]),
        "environment_variables.SECRET",
        "guardrails",
        "include",
        "made_up",
    }
    assert set(notes(found)) == wanted
    assert all(reason.strip() for reason in notes(found).values())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "model_list: is missing or empty"),
        ({"model_list": []}, "model_list: is missing or empty"),
        ({"model_list": "x"}, "model_list: is a string; write a list"),
        ({"model_list": [1]}, "model_list[0]: is a number; write a mapping"),
        ({"model_list": [{"litellm_params": {"model": "openai/a"}}]}, "model_list[0].model_name: is missing"),
        ({"model_list": [{"model_name": 4, "litellm_params": {}}]}, "model_list[0].model_name: is a number"),
        ({"model_list": [{"model_name": "a"}]}, "model_list[0].litellm_params: is missing"),
        ({"model_list": [{"model_name": "a", "litellm_params": []}]}, "litellm_params: is a list; write a mapping"),
        (
            {"model_list": [{"model_name": "a", "litellm_params": {"model": "openai/a", "rpm": "many"}}]},
            "model_list[0].litellm_params.rpm: is a string that cannot be used",
        ),
        (
            {"model_list": [{"model_name": "a", "litellm_params": {"model": "openai/a", "api_key": [CANARY]}}]},
            "model_list[0].litellm_params.api_key: is a list; write a string",
        ),
        (
            {
                "model_list": [{"model_name": "a", "litellm_params": {"model": "openai/a"}}],
                "router_settings": CANARY,
            },
            "router_settings: is a string; write a mapping",
        ),
        ({"model_list": [{"model_name": "a", "litellm_params": {"model": "palm/a"}}]}, "no model that a catalogue"),
    ],
)
def test_what_is_no_configuration_is_an_error_with_its_path(config: dict[str, t.Any], said: str) -> None:
    with pytest.raises(LiteLlmError) as caught:
        translated(config)
    assert said in str(caught.value)
    assert CANARY not in str(caught.value)
