// Copyright: Contributors to the egress.ai_gateway project
// SPDX-License-Identifier: GPL-3.0-or-later

// What the Vercel AI SDK does with a gateway, as ../client_sdks.py describes it for the clients in Python.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { embed, generateText, streamText, tool } from "ai";
import { z } from "zod";

const given = JSON.parse(readFileSync(0, "utf8"));
const required = createRequire(import.meta.url);
const version = (name) => JSON.parse(readFileSync(required.resolve(name + "/package.json"), "utf8")).version;
const prompt = "Say hello.";
const tools = {
  weather: tool({ description: "The weather.", inputSchema: z.object({}), execute: async () => "sunny" }),
};

async function attempts(actions) {
  const did = {};
  for (const [name, action] of Object.entries(actions)) {
    try {
      did[name] = { said: await action() };
    } catch (error) {
      did[name] = { error: error.name, status: error.statusCode ?? error.lastError?.statusCode ?? null,
        message: String(error.message).slice(0, 300) };
    }
  }
  return did;
}

function chats(model) {
  const settings = { model, prompt, maxRetries: 0, maxOutputTokens: 64 };
  return {
    chat: async () => (await generateText(settings)).text,
    stream: async () => {
      let failed;
      const stream = streamText({ ...settings, onError: ({ error }) => { failed = error; } });
      let words = "";
      for await (const word of stream.textStream) words += word;
      if (failed) throw failed;
      return words;
    },
    tools: async () => {
      const result = await generateText({ ...settings, tools, toolChoice: "required" });
      return result.toolCalls.map((call) => call.toolName).join();
    },
  };
}

function refusals(model) {
  return Object.fromEntries(given.refusals.map((refusal) => ["refused " + refusal.status, async () => {
    const settings = { model: model(refusal), prompt, maxRetries: 0, headers: refusal.headers };
    return (await generateText(settings)).text;
  }]));
}

const openai = (token) => createOpenAI({ baseURL: given.openai_url, apiKey: token });
const anthropic = (token) => createAnthropic({ baseURL: given.anthropic_url + "/v1", apiKey: token });
const found = [
  {
    name: "@ai-sdk/openai", version: version("@ai-sdk/openai"),
    did: await attempts({
      ...chats(openai(given.token).chat(given.models.openai)),
      embeddings: async () => (await embed({
        model: openai(given.token).embedding(given.models.openai), value: prompt, maxRetries: 0,
      })).embedding.length > 0 ? "a vector" : "",
      responses: async () => (await generateText({
        model: openai(given.token).responses(given.models.openai), prompt, maxRetries: 0,
        providerOptions: { openai: { store: false } },
      })).text,
      ...refusals((refusal) => openai(refusal.token).chat(refusal.models.openai)),
    }),
  },
  {
    name: "@ai-sdk/anthropic", version: version("@ai-sdk/anthropic"),
    did: await attempts({
      ...chats(anthropic(given.token)(given.models.anthropic)),
      ...refusals((refusal) => anthropic(refusal.token)(refusal.models.anthropic)),
    }),
  },
];
console.log(JSON.stringify(found));
