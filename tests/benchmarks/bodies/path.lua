-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- A program that reads headers alone, as one before authentication does: the path and the form of the token.
local served = {
  ["/v1/chat/completions"] = true,
  ["/v1/completions"] = true,
  ["/v1/embeddings"] = true,
  ["/v1/messages"] = true,
}

function envoy_on_request(handle)
  local headers = handle:headers()
  local name = (headers:get(":path") or ""):match("^[^?]*")
  local token = (headers:get("authorization") or ""):match("^Bearer ([%w%-_]+%.[%w%-_]+%.[%w%-_]+)$")
  local status = not served[name] and "404" or headers:get(":method") ~= "POST" and "405" or not token and "401"
  if status then
    local fields = {[":status"] = status, ["content-type"] = "application/json"}
    return handle:respond(fields, '{"error":{"message":"refused"}}')
  end
  headers:replace("x-ai-gateway-api", name == "/v1/messages" and "anthropic" or "openai")
  handle:streamInfo():dynamicMetadata():set("egress.ai-gateway", "path", name)
end
