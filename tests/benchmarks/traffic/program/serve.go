// Copyright: Contributors to the egress.ai_gateway project
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// Tokens of an answer, and of the request as the answer has them.
	tokens       = 20
	promptTokens = 250
	// Between the tokens of a stream.
	pause = 10 * time.Millisecond
)

// api is what a provider answers at one path.
type api struct {
	answer []byte
	// The first events of a stream, those of each token, and the last ones.
	first, token, last []byte
}

var apis = map[string]api{
	"/v1/chat/completions": {
		answer: fmt.Appendf(nil, `{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,`+
			`"model":"bench-model","choices":[{"index":0,"message":{"role":"assistant","content":"%s"},`+
			`"finish_reason":"stop"}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`,
			words(), promptTokens, tokens, promptTokens+tokens),
		first: chunk(`[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]`, "null"),
		token: chunk(`[{"index":0,"delta":{"content":"token "},"finish_reason":null}]`, "null"),
		last: append(append(
			chunk(`[{"index":0,"delta":{},"finish_reason":"stop"}]`, "null"),
			chunk(`[]`, fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}`,
				promptTokens, tokens, promptTokens+tokens))...),
			"data: [DONE]\n\n"...),
	},
	"/v1/messages": {
		answer: fmt.Appendf(nil, `{"id":"msg_1","type":"message","role":"assistant","model":"bench-claude",`+
			`"content":[{"type":"text","text":"%s"}],"stop_reason":"end_turn","stop_sequence":null,`+
			`"usage":{"input_tokens":%d,"output_tokens":%d}}`, words(), promptTokens, tokens),
		first: append(
			event("message_start", fmt.Sprintf(`"message":{"id":"msg_1","type":"message","role":"assistant",`+
				`"model":"bench-claude","content":[],"stop_reason":null,"stop_sequence":null,`+
				`"usage":{"input_tokens":%d,"output_tokens":1}}`, promptTokens)),
			event("content_block_start", `"index":0,"content_block":{"type":"text","text":""}`)...),
		token: event("content_block_delta", `"index":0,"delta":{"type":"text_delta","text":"token "}`),
		last: append(append(
			event("content_block_stop", `"index":0`),
			event("message_delta", fmt.Sprintf(`"delta":{"stop_reason":"end_turn","stop_sequence":null},`+
				`"usage":{"output_tokens":%d}`, tokens))...),
			event("message_stop", "")...),
	},
}

func words() string {
	all := ""
	for range tokens {
		all += "token "
	}
	return all
}

func chunk(choices, usage string) []byte {
	return fmt.Appendf(nil, `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,`+
		`"model":"bench-model","choices":%s,"usage":%s}`+"\n\n", choices, usage)
}

func event(kind, fields string) []byte {
	if fields != "" {
		fields = "," + fields
	}
	return fmt.Appendf(nil, "event: %s\ndata: {\"type\":\"%s\"%s}\n\n", kind, kind, fields)
}

func (found api) stream(writer *bufio.Writer) {
	next := time.Now()
	send := func(events []byte) bool {
		_, err := writer.Write(events)
		return err == nil && writer.Flush() == nil
	}
	if !send(found.first) {
		return
	}
	for number := range tokens {
		if number > 0 {
			next = next.Add(pause)
			time.Sleep(time.Until(next))
		}
		if !send(found.token) {
			return
		}
	}
	send(found.last)
}

func handle(call *fasthttp.RequestCtx) {
	if call.IsGet() {
		return
	}
	found, known := apis[string(call.Path())]
	var asked struct {
		Stream bool `json:"stream"`
	}
	switch err := json.Unmarshal(call.PostBody(), &asked); {
	case !known:
		call.Error("no such path", fasthttp.StatusNotFound)
	case err != nil:
		call.Error(err.Error(), fasthttp.StatusBadRequest)
	case asked.Stream:
		call.SetContentType("text/event-stream")
		call.SetBodyStreamWriter(found.stream)
	default:
		call.SetContentType("application/json")
		call.SetBody(found.answer)
	}
}

func serve(address string) error {
	server := fasthttp.Server{
		Handler:            handle,
		NoDefaultDate:      true,
		MaxRequestBodySize: 64 << 20,
		// LiteLLM and others keep connections open for long.
		IdleTimeout: 10 * time.Minute,
	}
	return server.ListenAndServe(address)
}
