# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What LiteLLM knows by itself: where providers answer, in which variable their key is, and what its settings
come to in a catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Api:
    """What the first part of a ``model`` stands for."""

    #: A key of ``SCHEMAS``.
    schema: str
    #: Where it answers by default; empty where ``api_base`` has to say it.
    base: str = ""
    #: The variable of the environment with its key; empty where LiteLLM sends no key of its own accord.
    variable: str = ""
    #: What LiteLLM puts behind ``api_base`` before the API's own paths.
    suffix: str = ""


def _openai(base: str = "", variable: str = "", suffix: str = "") -> Api:
    return Api("openai", base, variable, suffix)


#: By the first part of a ``model``. Those that are missing have no schema in a catalogue.
APIS: dict[str, Api] = {
    "openai": _openai("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "text-completion-openai": _openai("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "custom_openai": _openai(),
    "openai_like": _openai(variable="OPENAI_LIKE_API_KEY"),
    "hosted_vllm": _openai(variable="HOSTED_VLLM_API_KEY"),
    "litellm_proxy": _openai(variable="LITELLM_PROXY_API_KEY"),
    "lm_studio": _openai(variable="LM_STUDIO_API_KEY"),
    "llamafile": _openai(variable="LLAMAFILE_API_KEY"),
    # Their own API is another one; they serve OpenAI's beside it.
    "ollama": _openai("http://localhost:11434", suffix="/v1"),
    "ollama_chat": _openai("http://localhost:11434", suffix="/v1"),
    "gemini": _openai("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "cohere_chat": _openai("https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY"),
    "databricks": _openai(variable="DATABRICKS_API_KEY"),
    "groq": _openai("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": _openai("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "codestral": _openai("https://codestral.mistral.ai/v1", "CODESTRAL_API_KEY"),
    "deepseek": _openai("https://api.deepseek.com/beta", "DEEPSEEK_API_KEY"),
    "xai": _openai("https://api.x.ai/v1", "XAI_API_KEY"),
    "perplexity": _openai("https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    "together_ai": _openai("https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    "fireworks_ai": _openai("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "openrouter": _openai("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "deepinfra": _openai("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "nvidia_nim": _openai("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    "cerebras": _openai("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "sambanova": _openai("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    "meta_llama": _openai("https://api.llama.com/compat/v1", "LLAMA_API_KEY"),
    "ai21_chat": _openai("https://api.ai21.com/studio/v1", "AI21_API_KEY"),
    "volcengine": _openai("https://ark.cn-beijing.volces.com/api/v3", "VOLCENGINE_API_KEY"),
    "friendliai": _openai("https://api.friendli.ai/serverless/v1", "FRIENDLI_TOKEN"),
    "github": _openai("https://models.inference.ai.azure.com", "GITHUB_API_KEY"),
    "moonshot": _openai("https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    "dashscope": _openai("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    "anthropic": Api("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY", "/v1"),
    "azure": Api("azure_openai", variable="AZURE_API_KEY"),
    "bedrock": Api("aws_bedrock"),
    "vertex_ai": Api("gcp_vertex_ai"),
    "cohere": Api("cohere", "https://api.cohere.com", "COHERE_API_KEY"),
}

#: Beginnings of names of models that LiteLLM knows without a provider.
BARE = (
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4-", "openai"),
    ("text-embedding-3", "openai"),
    ("text-embedding-ada", "openai"),
    ("claude-", "anthropic"),
    ("gemini-", "vertex_ai"),
    ("command-", "cohere_chat"),
    ("rerank-", "cohere"),
)

#: The values of ``model_info.mode`` whose requests the gateway serves, where the provider's schema has them.
SERVED_MODES = (
    "chat",
    "completion",
    "embedding",
    "rerank",
    "responses",
    "image_generation",
    "audio_speech",
)

_NO_DEFAULTS = "requests are sent as clients write them; clients have to write it"
_NO_DEPLOYMENT_LIMIT = "the gateway limits what callers use, in ai_gateway_tiers, and not what one provider gets"
_TIMEOUT = "all providers have one timeout, providers_request_timeout"
_RETRIES = "the gateway asks another provider of the model once each, and never the only one again"
_LOGS = "the gateway has an access log and metrics of its own, and calls nobody with requests or answers"
_DATABASE = (
    "the gateway has no database: callers have tokens of tiers and API keys, see playbook egress.ai_gateway.api_keys"
)
_CACHE = "the gateway keeps no answers"
_STRATEGY = "the gateway chooses by weights and priorities; latency and load are not looked at"
_GUARDRAILS = "the gateway judges no content itself; the signals of ai_gateway_semantic_router look for some of it"
_ALERTS = "alerts are those of what scrapes the gateway's metrics"

#: Why a setting has no counterpart, by its path without numbers, or by its last name after ``*.``.
REASONS: dict[str, str] = {
    "*.temperature": _NO_DEFAULTS,
    "*.top_p": _NO_DEFAULTS,
    "*.max_tokens": _NO_DEFAULTS,
    "*.seed": _NO_DEFAULTS,
    "*.stop": _NO_DEFAULTS,
    "*.extra_body": _NO_DEFAULTS,
    "*.drop_params": "requests are sent as clients write them, and no parameter is dropped",
    "*.additional_drop_params": "requests are sent as clients write them, and no parameter is dropped",
    "*.modify_params": "requests are sent as clients write them",
    "*.max_parallel_requests": _NO_DEPLOYMENT_LIMIT,
    "*.max_budget": "write cost_limit in ai_gateway_tiers, and ai_gateway_prices",
    "*.budget_duration": "write cost_limit in ai_gateway_tiers, whose windows are 1s, 1m, 1h and 24h",
    "*.timeout": _TIMEOUT,
    "*.stream_timeout": _TIMEOUT,
    "*.request_timeout": _TIMEOUT,
    "*.max_retries": _RETRIES,
    "*.num_retries": _RETRIES,
    "*.retry_after": _RETRIES,
    "*.retry_policy": _RETRIES,
    "*.model_group_retry_policy": _RETRIES,
    "*.tags": "the gateway does not choose providers by tags; give the model another public name, and tiers its models",
    "*.enable_tag_filtering": "the gateway does not choose providers by tags",
    "*.routing_strategy": _STRATEGY,
    "*.routing_strategy_args": _STRATEGY,
    "*.allowed_fails": _RETRIES,
    "*.allowed_fails_policy": _RETRIES,
    "*.cooldown_time": _RETRIES,
    "*.disable_cooldowns": _RETRIES,
    "*.enable_pre_call_checks": "the gateway counts tokens when an answer ends, and asks no model before",
    "*.redis_host": "limits are counted in the gateway's own Redis, or that of controllers_redis",
    "*.redis_port": "limits are counted in the gateway's own Redis, or that of controllers_redis",
    "*.redis_password": "is a password and was not copied; limits are counted in the gateway's own Redis, or that of "
    "controllers_redis",
    "*.redis_url": "may hold a password and was not copied; limits are counted in the gateway's own Redis, or that of "
    "controllers_redis",
    "*.success_callback": _LOGS,
    "*.failure_callback": _LOGS,
    "*.callbacks": _LOGS,
    "*.service_callbacks": _LOGS,
    "*.langfuse_default_tags": _LOGS,
    "*.turn_off_message_logging": "the gateway logs no messages in any case",
    "*.redact_user_api_key_info": "the gateway logs no keys in any case",
    "*.set_verbose": "the gateway's logs have levels of their own",
    "*.json_logs": "the access log is JSON in any case",
    "*.cache": _CACHE,
    "*.cache_params": _CACHE,
    "*.guardrails": _GUARDRAILS,
    "*.context_window_fallbacks": "the gateway takes another provider where one does not answer, fails or has no "
    "capacity, and not by what it says of the prompt",
    "*.content_policy_fallbacks": "the gateway takes another provider where one does not answer, fails or has no "
    "capacity, and not by what it says of the prompt",
    "*.default_fallbacks": "each model names its own providers; write it into the fallbacks of the models that "
    "it is for",
    "*.master_key": "is a key of LiteLLM's administrator and was not copied; the gateway is "
    "administered by those who may change its objects",
    "*.salt_key": "is a key and was not copied",
    "*.database_url": "may hold a password and was not copied; " + _DATABASE,
    "*.store_model_in_db": "models are in the catalogue alone; those in LiteLLM's database are not in this file",
    "*.custom_auth": "callers are described in ai_gateway_callers: tokens of ServiceAccounts, OpenID Connect and "
    "API keys",
    "*.enable_jwt_auth": "write the issuer into ai_gateway_callers",
    "*.litellm_jwtauth": "write the issuer and its claims into ai_gateway_callers",
    "*.key_generation_settings": _DATABASE,
    "*.default_internal_user_params": _DATABASE,
    "*.default_team_settings": _DATABASE,
    "*.upperbound_key_generate_params": _DATABASE,
    "*.alerting": _ALERTS,
    "*.alerting_threshold": _ALERTS,
    "*.background_health_checks": "checks of the gateway are playbook egress.ai_gateway.validate",
    "*.pass_through_endpoints": "the gateway serves the paths of docs/clients.md alone",
    "*.max_request_size_mb": "write ai_gateway_request_body_limit",
    "general_settings": "LiteLLM's own server has no counterpart",
    "guardrails": _GUARDRAILS,
    "callback_settings": _LOGS,
    "environment_variables": "is for LiteLLM's own process and its values were not copied; set the variables that "
    "credentials name in the environment of ansible-playbook",
    "include": "other files are not read; translate each, or put them together first",
    "files_settings": "the gateway serves no files",
    "finetune_settings": "the gateway serves no fine-tuning",
    "vector_store_registry": "the gateway has no vector stores",
    "prompts": "the gateway keeps no prompts",
    "search_tools": "the gateway has the tools of MCP servers alone",
    "assistant_settings": "the gateway serves no assistants",
    "model_info.id": "is LiteLLM's own number of the deployment",
    "model_info.base_model": "prices are those of ai_gateway_prices, by the public name",
    "model_info.access_groups": "write the model into models of the tiers that may use it",
}
#: Names under which there are keys, whatever they are in.
SECRET_NAMES = ("key", "secret", "password", "token", "credential", "authorization", "cookie")


def reason(path: str, section: str) -> str:
    """Why a setting has no counterpart.

    :param path: names joined by dots, without numbers.
    :param section: the first name of ``path`` that has reasons of its own.
    """
    name = path.rpartition(".")[2]
    for known in (path, f"{section}.{name}", f"*.{name}"):
        if known in REASONS:
            return REASONS[known]
    if section in REASONS:
        return REASONS[section]
    if any(word in name.lower() for word in SECRET_NAMES):
        return "has no counterpart in a catalogue, and was not copied, as it may be a key"
    return "has no counterpart in a catalogue"
