# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the clients of OpenAI's and Anthropic's API do with a gateway, as clients.py runs them.

Standard input has {"openai_url", "anthropic_url", "token", "models": {"openai", "anthropic"}, "refusals"}: the URLs are
those of the SDKs, and each refusal has the status that it is about, and the token, models and headers to meet it with.
Standard output gets a list of {"name", "version", "did"}: for each thing that a client did, {"said"}, or {"error",
"status", "message"} with the name of the client's own class of errors.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import typing as t

Given = dict[str, t.Any]
Actions = dict[str, t.Callable[[], t.Any]]

PROMPT = "Say hello."
#: In the form of OpenAI's chats.
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {}},
    },
}
ANTHROPIC_TOOL = {"name": "weather", "description": "The weather.", "input_schema": {"type": "object"}}
MESSAGES: list[t.Any] = [{"role": "user", "content": PROMPT}]


def weather() -> str:
    """The weather."""
    return "sunny"


def attempts(name: str, actions: Actions) -> dict[str, t.Any]:
    did = {}
    for what, action in actions.items():
        try:
            did[what] = {"said": action()}
        except Exception as error:
            status = next(
                (value for field in ("status_code", "status") if isinstance(value := getattr(error, field, None), int)),
                None,
            )
            did[what] = {"error": type(error).__name__, "status": status, "message": str(error)[:300]}
    return {"name": name, "version": importlib.metadata.version(name), "did": did}


def refusals(given: Given, ask: t.Callable[[Given], t.Any]) -> Actions:
    return {f"refused {refusal['status']}": lambda refusal=refusal: ask(refusal) for refusal in given["refusals"]}


def openai_sdk(given: Given) -> Actions:
    import openai

    def client(token: str, headers: t.Mapping[str, str] | None = None) -> openai.OpenAI:
        return openai.OpenAI(base_url=given["openai_url"], api_key=token, max_retries=0, default_headers=headers)

    model, api = given["models"]["openai"], client(given["token"])

    def stream() -> str:
        chunks = api.chat.completions.create(model=model, messages=MESSAGES, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    def tools() -> str:
        answer = api.chat.completions.create(
            model=model, messages=MESSAGES, tools=t.cast(t.Any, [TOOL]), tool_choice="required"
        )
        return ",".join(call.function.name for call in answer.choices[0].message.tool_calls or ())  # type: ignore[union-attr]

    def response_stream() -> str:
        events = api.responses.create(model=model, input=PROMPT, stream=True)
        return "".join(event.delta for event in events if event.type == "response.output_text.delta")

    def stored() -> t.Any:
        return api.responses.create(model=model, input=PROMPT, previous_response_id="resp_of_another")

    def refused(refusal: Given) -> t.Any:
        return client(refusal["token"], refusal["headers"]).chat.completions.create(
            model=refusal["models"]["openai"], messages=MESSAGES
        )

    return {
        "chat": lambda: api.chat.completions.create(model=model, messages=MESSAGES).choices[0].message.content,
        "stream": stream,
        "tools": tools,
        "embeddings": lambda: "a vector" if api.embeddings.create(model=model, input=PROMPT).data[0].embedding else "",
        "responses": lambda: api.responses.create(model=model, input=PROMPT).output_text,
        "responses stream": response_stream,
        "refused store": stored,
        **refusals(given, refused),
    }


def anthropic_sdk(given: Given) -> Actions:
    import anthropic

    def client(token: str, headers: t.Mapping[str, str] | None = None) -> anthropic.Anthropic:
        return anthropic.Anthropic(
            base_url=given["anthropic_url"], api_key=token, max_retries=0, default_headers=headers
        )

    model, api = given["models"]["anthropic"], client(given["token"])

    def stream() -> str:
        with api.messages.stream(model=model, max_tokens=64, messages=MESSAGES) as events:
            return "".join(events.text_stream)

    def tools() -> str:
        answer = api.messages.create(
            model=model,
            max_tokens=64,
            messages=MESSAGES,
            tools=t.cast(t.Any, [ANTHROPIC_TOOL]),
            tool_choice={"type": "any"},
        )
        return ",".join(block.name for block in answer.content if block.type == "tool_use")

    def refused(refusal: Given) -> t.Any:
        return client(refusal["token"], refusal["headers"]).messages.create(
            model=refusal["models"]["anthropic"], max_tokens=64, messages=MESSAGES
        )

    def chat() -> str:
        answer = api.messages.create(model=model, max_tokens=64, messages=MESSAGES)
        return "".join(block.text for block in answer.content if block.type == "text")

    return {
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "count_tokens": lambda: api.messages.count_tokens(model=model, messages=MESSAGES).input_tokens,
        **refusals(given, refused),
    }


def agents_sdk(given: Given) -> Actions:
    import agents
    import openai

    agents.set_tracing_disabled(True)

    def run(token: str, model: str, headers: t.Mapping[str, str] | None = None, **settings: t.Any) -> str:
        api = openai.AsyncOpenAI(base_url=given["openai_url"], api_key=token, max_retries=0, default_headers=headers)
        agent = agents.Agent(name="agent", model=agents.OpenAIResponsesModel(model, openai_client=api), **settings)
        return str(agents.Runner.run_sync(agent, PROMPT).final_output)

    def tools() -> str:
        called: list[str] = []

        def answer() -> str:
            called.append("weather")
            return weather()

        tool = agents.function_tool(answer, name_override="weather")
        run(
            given["token"],
            given["models"]["openai"],
            tools=[tool],
            model_settings=agents.ModelSettings(tool_choice="required"),
        )
        return ",".join(called)

    return {
        "responses": lambda: run(given["token"], given["models"]["openai"]),
        "tools": tools,
        **refusals(given, lambda refusal: run(refusal["token"], refusal["models"]["openai"], refusal["headers"])),
    }


def langchain_openai_sdk(given: Given) -> Actions:
    import langchain_openai

    def chat(token: str, model: str, headers: t.Mapping[str, str] | None = None) -> t.Any:
        return langchain_openai.ChatOpenAI(
            model=model,
            api_key=t.cast(t.Any, token),
            base_url=given["openai_url"],
            max_retries=0,
            default_headers=headers,
        )

    def embeddings() -> str:
        found = langchain_openai.OpenAIEmbeddings(
            model=given["models"]["openai"],
            api_key=given["token"],
            base_url=given["openai_url"],
            max_retries=0,
            check_embedding_ctx_length=False,
        )
        return "a vector" if found.embed_query(PROMPT) else ""

    api = chat(given["token"], given["models"]["openai"])
    return {
        "chat": lambda: api.invoke(PROMPT).content,
        "stream": lambda: "".join(chunk.content for chunk in api.stream(PROMPT)),
        "tools": lambda: ",".join(
            call["name"] for call in api.bind_tools([TOOL], tool_choice="required").invoke(PROMPT).tool_calls
        ),
        "embeddings": embeddings,
        **refusals(
            given,
            lambda refusal: chat(refusal["token"], refusal["models"]["openai"], refusal["headers"]).invoke(PROMPT),
        ),
    }


def langchain_anthropic_sdk(given: Given) -> Actions:
    import langchain_anthropic
    from langchain_core.messages import HumanMessage

    def chat(token: str, model: str, headers: t.Mapping[str, str] | None = None) -> t.Any:
        return langchain_anthropic.ChatAnthropic(
            model_name=model,
            api_key=t.cast(t.Any, token),
            base_url=given["anthropic_url"],
            max_retries=0,
            max_tokens_to_sample=64,
            default_headers=headers,
        )

    api = chat(given["token"], given["models"]["anthropic"])

    def stream() -> str:
        return "".join(str(chunk.text) for chunk in api.stream(PROMPT))

    return {
        "chat": lambda: str(api.invoke(PROMPT).text),
        "stream": stream,
        "tools": lambda: ",".join(
            call["name"] for call in api.bind_tools([ANTHROPIC_TOOL], tool_choice="any").invoke(PROMPT).tool_calls
        ),
        "count_tokens": lambda: api.get_num_tokens_from_messages([HumanMessage(PROMPT)]),
        **refusals(
            given,
            lambda refusal: chat(refusal["token"], refusal["models"]["anthropic"], refusal["headers"]).invoke(PROMPT),
        ),
    }


def pydantic_ai_sdk(given: Given) -> Actions:
    import pydantic_ai
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI
    from pydantic import BaseModel
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    def of_openai(kind: t.Any, token: str, model: str, headers: t.Mapping[str, str] | None = None) -> t.Any:
        api = AsyncOpenAI(base_url=given["openai_url"], api_key=token, max_retries=0, default_headers=headers)
        return kind(model, provider=OpenAIProvider(openai_client=api))

    def of_anthropic() -> t.Any:
        api = AsyncAnthropic(base_url=given["anthropic_url"], api_key=given["token"], max_retries=0)
        return AnthropicModel(given["models"]["anthropic"], provider=AnthropicProvider(anthropic_client=api))

    class Nothing(BaseModel):
        """What a tool without arguments makes."""

    def run(model: t.Any, **settings: t.Any) -> str:
        return str(pydantic_ai.Agent(model, retries=0, **settings).run_sync(PROMPT).output)

    model, token = given["models"]["openai"], given["token"]
    return {
        "chat": lambda: run(of_openai(OpenAIChatModel, token, model)),
        "responses": lambda: run(of_openai(OpenAIResponsesModel, token, model)),
        "messages": lambda: run(of_anthropic()),
        "tools": lambda: run(of_openai(OpenAIChatModel, token, model), output_type=Nothing) or "an object",
        **refusals(
            given,
            lambda refusal: run(
                of_openai(OpenAIChatModel, refusal["token"], refusal["models"]["openai"], refusal["headers"])
            ),
        ),
    }


def llm_sdk(given: Given) -> Actions:
    from llm.default_plugins.openai_models import Chat

    def ask(token: str, model: str, headers: t.Mapping[str, str] | None, stream: bool) -> str:
        chat = Chat("gateway", model_name=model, api_base=given["openai_url"], headers=headers)
        return chat.prompt(PROMPT, stream=stream, key=token).text()

    model, token = given["models"]["openai"], given["token"]
    return {
        "chat": lambda: ask(token, model, None, False),
        "stream": lambda: ask(token, model, None, True),
        **refusals(
            given, lambda refusal: ask(refusal["token"], refusal["models"]["openai"], refusal["headers"], False)
        ),
    }


def litellm_sdk(given: Given) -> Actions:
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    openai = {"model": f"openai/{given['models']['openai']}", "api_base": given["openai_url"], "num_retries": 0}
    anthropic = {"model": f"anthropic/{given['models']['anthropic']}", "api_base": given["anthropic_url"]}
    key = {"api_key": given["token"]}

    def ask(**settings: t.Any) -> t.Any:
        return litellm.completion(messages=MESSAGES, max_tokens=64, **settings)

    def stream() -> str:
        chunks = ask(**openai, **key, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    def refused(refusal: Given) -> t.Any:
        model = f"openai/{refusal['models']['openai']}"
        return ask(**{**openai, "model": model}, api_key=refusal["token"], extra_headers=refusal["headers"])

    return {
        "chat": lambda: ask(**openai, **key).choices[0].message.content,
        "stream": stream,
        "messages": lambda: ask(**anthropic, **key).choices[0].message.content,
        "tools": lambda: ",".join(
            call.function.name
            for call in ask(**openai, **key, tools=[TOOL], tool_choice="required").choices[0].message.tool_calls
        ),
        "embeddings": lambda: (
            "a vector" if litellm.embedding(input=[PROMPT], **openai, **key).data[0]["embedding"] else ""
        ),
        **refusals(given, refused),
    }


CLIENTS: dict[str, t.Callable[[Given], Actions]] = {
    "openai": openai_sdk,
    "anthropic": anthropic_sdk,
    "openai-agents": agents_sdk,
    "langchain-openai": langchain_openai_sdk,
    "langchain-anthropic": langchain_anthropic_sdk,
    "pydantic-ai-slim": pydantic_ai_sdk,
    "llm": llm_sdk,
    "litellm": litellm_sdk,
}


def main() -> None:
    given = json.load(sys.stdin)
    # Nothing is asked of the internet: prices, telemetry.
    os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
    print(json.dumps([attempts(name, client(given)) for name, client in CLIENTS.items()]))


if __name__ == "__main__":
    main()
