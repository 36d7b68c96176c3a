-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Errors of requests to MCP servers, as JSON-RPC.
local mcp_errors = {}
do
  -- JSON-RPC's own numbers; the others are of the range that it leaves to servers.
  local CODES = {
    invalid_json = -32700, invalid_request = -32600, invalid_params = -32602, method_not_found = -32601,
    tool_not_allowed = -32602,
  }
  local OTHER = -32000
  -- What the processor's MCP proxy says itself, by the beginning of its words: status, message and code.
  local SAYINGS = {
    {"access denied", 403, nil, "tool_not_allowed"},
    {"invalid tool name", 403, nil, "tool_not_allowed"},
    {"unknown backend", 403, nil, "tool_not_allowed"},
    {"invalid session ID", 404, "This session has ended. Initialize a new one.", "unknown_session"},
    {"missing session ID", 400, "The header mcp-session-id is missing.", "missing_session"},
    {"no MCP session found for backend", 503,
      "The MCP server of this tool did not answer when the session began. Initialize a new one.", "server_unavailable"},
    {"failed to create new session: failed to create MCP session to any backend", 503,
      "No MCP server answers at the moment. Try again in some seconds.", "server_unavailable"},
    {"request body too large", 413, "The body is larger than this gateway takes.", "body_too_large"},
    {"invalid JSON-RPC message", 400, "The message is no JSON-RPC that can be read.", "invalid_request"},
    {"invalid params", 400, "The params of the message do not have the form of its method.", "invalid_params"},
    {"invalid initialize params", 400, "The params of the message do not have the form of its method.",
      "invalid_params"},
    {"invalid set logging level params", 400, "The params of the message do not have the form of its method.",
      "invalid_params"},
    {"invalid response ID", 400, "The id of this answer is none that a server asked with.", "invalid_params"},
    {"invalid progressToken", 400, "The progressToken is none of a server.", "invalid_params"},
    {"unsupported method", 404, "This gateway does not serve this method.", "method_not_found"},
    {"method not allowed", 405, "Use POST, GET or DELETE.", "method_not_allowed"},
  }

  -- Whether a body is an error of JSON-RPC already.
  local function is_one(value)
    return json.is_object(value) and value.jsonrpc == "2.0" and json.is_object(value.error)
      and type(value.error.code) == "number" and type(value.error.message) == "string"
  end

  local function failure(status, message, code, id, kind)
    return '{"jsonrpc":"2.0","id":' .. (id or "null") .. ',"error":{"code":' .. (CODES[code] or OTHER) .. ',"message":'
      .. json.quoted(message) .. ',"data":{"status":' .. status .. ',"type":' .. json.quoted(kind) .. ',"code":'
      .. (code and json.quoted(code) or "null") .. "}}}"
  end

  -- What the gateway's programs or its proxy refused, from an error of OpenAI's API.
  function mcp_errors.of_gateway(status, text, kept)
    local value = json.read(text)
    local fault = json.is_object(value) and json.is_object(value.error) and value.error or {}
    local message = type(fault.message) == "string" and fault.message or "This gateway refused the request."
    message = message:gsub("The provider of this model ", "The gateway's MCP proxy ")
    return failure(status, message, type(fault.code) == "string" and fault.code or nil, kept.rpc_id,
      type(fault.type) == "string" and fault.type or "gateway_error")
  end

  -- What the processor's MCP proxy or a server answered: the status, and the error.
  function mcp_errors.of_answer(status, text, kept)
    if is_one(json.read(text)) then return status, text end
    for _, saying in ipairs(SAYINGS) do
      if text:sub(1, #saying[1]) == saying[1] then
        local message = saying[3] or "Tier " .. (kept.tier or "") .. " may not call the tool " .. (kept.tool or "")
          .. ", or it does not exist."
        return saying[2], failure(saying[2], message, saying[4], kept.rpc_id, "gateway_error")
      end
    end
    local server, answered = text:match("^call to ([%l%d-]+) failed with status code (%d+)")
    server = server or text:match("^call to ([%l%d-]+) failed")
    if not server then
      return 502, failure(502, "An MCP server refused with status " .. status .. ".", "server_error", kept.rpc_id,
        "server_error")
    end
    if not answered then
      return 503, failure(503, "MCP server " .. server .. " could not be reached.", "server_unavailable", kept.rpc_id,
        "server_error")
    end
    if answered == "404" then
      -- The server does not know its part of the session any more.
      return 404, failure(404, "The session at MCP server " .. server .. " has ended. Initialize a new one.",
        "unknown_session", kept.rpc_id, "server_error")
    end
    if answered == "401" or answered == "407" then
      -- The client's own token is not at fault.
      return 502, failure(502, "MCP server " .. server .. " refused the key of this gateway.", "server_error",
        kept.rpc_id, "server_error")
    end
    return 502, failure(502, "MCP server " .. server .. " refused with status " .. answered .. ".", "server_error",
      kept.rpc_id, "server_error")
  end
end
