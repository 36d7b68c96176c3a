-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Messages to MCP servers: what of the protocol the gateway serves, and that a session stays with its caller. What a
-- tier may call is for the rules of the MCPRoute, which see the message that is sent on.
local mcp = {}
do
  -- Tools alone: what a tier may see of prompts and resources no rule says.
  local METHODS = {
    initialize = true, ping = true, ["tools/list"] = true, ["tools/call"] = true, ["logging/setLevel"] = true,
    ["notifications/initialized"] = true, ["notifications/cancelled"] = true, ["notifications/progress"] = true,
    ["notifications/roots/list_changed"] = true,
  }
  -- Keys that another parser might accept in upper and lower case, by their spelling in lower case.
  local KEYS = {
    jsonrpc = "jsonrpc", id = "id", method = "method", params = "params", result = "result", error = "error"}
  local NAMES = {
    name = "name", arguments = "arguments", cursor = "cursor", _meta = "_meta", progresstoken = "progressToken"}
  -- How the processor's MCP proxy begins the identifiers of what it asks itself.
  local OWN = "aigw-server-to-client-"

  -- The mark of a session: nobody but its caller has it, and only the gateway can make it.
  local function mark(tier, user, session)
    return identity.mark("/mcp-session:" .. tier .. ":" .. user .. ":" .. session)
  end

  local function misspelt(object, known)
    for key in pairs(object) do
      local plain = type(key) == "string" and known[key:lower()]
      if plain and plain ~= key then return key, plain end
    end
  end

  -- Whether an identifier is one that a server of the tier gave, as the MCP proxy wrote it: the server's own, of a
  -- string, a whole number or another one, and the server's name.
  local function is_of_server(text, tier)
    if type(text) ~= "string" then return false end
    local own, kind, server = text:match("^([^_]*)__([sif])__([%l%d-]+)$")
    if not own or not settings.mcp_tiers[tier][server] then return false end
    if kind == "i" then return own:find("^%-?%d+$") ~= nil end
    if kind == "f" then return #own == 16 and own:find("^%x+$") ~= nil end
    return #own % 4 == 0 and own:find("^[%w+/]*=?=?$") ~= nil
  end

  -- The message; or nil, its fault with status and code, and the message as far as it was read.
  local function read(text, tier)
    local message, spans = json.read(text)
    if json.is_array(message) then
      return nil, 400, "Send one message at a time, not several in an array.", "invalid_request"
    end
    if not json.is_object(message) then
      return nil, 400, "The body must be a JSON object" .. (message == nil and ": " .. spans or "") .. ".",
        "invalid_json"
    end
    local key, plain = misspelt(message, KEYS)
    if key then return nil, 400, "The key " .. key .. " must be spelled " .. plain .. ".", "invalid_json" end
    local id = message.id
    if id ~= nil and type(id) ~= "string" and type(id) ~= "number" then
      return nil, 400, "The field id must be a string or a number.", "invalid_request"
    end
    -- As it was sent: a number keeps its form.
    local shown = id ~= nil and text:sub(spans.id[1], spans.id[2]) or nil
    if shown and #shown > 1024 then return nil, 400, "The field id is too long.", "invalid_request" end
    if message.jsonrpc ~= "2.0" then
      return nil, 400, 'The field jsonrpc must be "2.0".', "invalid_request", shown
    end
    local method = message.method
    if method == nil then
      -- The answer of a client to a question of a server.
      if id == nil or message.result == nil and message.error == nil then
        return nil, 400, "The message must name its method.", "invalid_request", shown
      end
      if not is_of_server(id, tier) and tostring(id):sub(1, #OWN) ~= OWN then
        return nil, 400, "The id of this answer is none that a server asked with.", "invalid_params", shown
      end
      return {id = shown}
    end
    if type(method) ~= "string" then
      return nil, 400, "The field method must be a string.", "invalid_request", shown
    end
    if not METHODS[method] then
      return nil, 404, "This gateway does not serve the method " .. method:sub(1, 100) .. ": it serves tools.",
        "method_not_found", shown
    end
    local params = message.params
    if params ~= nil and not json.is_object(params) then
      return nil, 400, "The field params must be an object.", "invalid_params", shown
    end
    key, plain = misspelt(params or {}, NAMES)
    if key then return nil, 400, "The key params." .. key .. " must be spelled " .. plain .. ".", "invalid_json", shown end
    if method == "notifications/progress" and not is_of_server((params or {}).progressToken, tier) then
      return nil, 400, "The progressToken is none of a server.", "invalid_params", shown
    end
    local tool = nil
    if method == "tools/call" then
      tool = params and params.name
      if type(tool) ~= "string" or tool == "" or #tool > 256 then
        return nil, 400, "The message must name its tool as params.name, a string.", "invalid_params", shown
      end
    end
    return {id = shown, method = method, tool = tool}
  end

  -- Judges a request to the path of MCP servers, of a caller who is known.
  function mcp.judge(handle, headers, tier, user)
    local metadata = handle:streamInfo():dynamicMetadata()
    local function refuse(status, message, code)
      errors.refuse(handle, status, message, false, code)
    end
    metadata:set(METADATA, "mcp", true)
    if not settings.mcp_tiers[tier] then
      return refuse(403, "Tier " .. tier .. " may call no tool of an MCP server.", "tool_not_allowed")
    end
    headers:replace("x-ai-gateway-api", "mcp")
    headers:replace("x-ai-gateway-mcp-tier", tier)
    -- The proxy reports the path to every server.
    headers:replace(":path", settings.mcp_path)
    -- The proxy checks neither whose events these are nor, with its default seed, who made the identifier.
    headers:remove("last-event-id")
    local session = headers:get("mcp-session-id")
    if session then
      local marked, rest = nil, nil
      if headers:getNumValues("mcp-session-id") == 1 and #session <= settings.mcp_session then
        marked, rest = session:match("^(%x+)%.([%w+/]+=*)$")
      end
      if not rest or marked ~= mark(tier, user, rest) then
        return refuse(404, "This session has ended, or is not the caller's. Initialize a new one.", "unknown_session")
      end
      headers:replace("mcp-session-id", rest)
    end
    local method = headers:get(":method")
    if method == "GET" or method == "DELETE" then
      if not session then return refuse(400, "The header mcp-session-id is missing.", "missing_session") end
      return
    end
    if method ~= "POST" then
      return refuse(405, "Use POST, GET or DELETE for " .. settings.mcp_path .. ".", "method_not_allowed")
    end
    local form = (headers:get("content-type") or ""):lower()
    if form:match("^[^;%s]*") ~= "application/json" then
      return refuse(415, "Send the body as application/json.", "unsupported_media_type")
    end
    local encoding = headers:get("content-encoding")
    if encoding and encoding:lower() ~= "identity" then
      return refuse(415, "Send the body without a content-encoding.", "unsupported_media_type")
    end
    local buffer = handle:body(true)
    if buffer:length() > settings.body_limit then
      return refuse(413, "The body is larger than this gateway takes.", "body_too_large")
    end
    local text = buffer:length() > 0 and buffer:getBytes(0, buffer:length()) or ""
    local message, status, problem, code, id = read(text, tier)
    metadata = handle:streamInfo():dynamicMetadata()
    id = message and message.id or id
    if id then metadata:set(METADATA, "rpc_id", id) end
    if not message then return refuse(status, problem, code) end
    if message.tool then metadata:set(METADATA, "tool", message.tool) end
    if not session and message.method ~= "initialize" then
      return refuse(400, "The header mcp-session-id is missing: the first message of a session is initialize.",
        "missing_session")
    end
  end

  -- Marks the session that a response names as its caller's.
  function mcp.answer(handle, kept)
    local headers = handle:headers()
    local session = headers:get("mcp-session-id")
    if not session then return end
    headers:replace("mcp-session-id", mark(kept.tier, kept.user, session) .. "." .. session)
  end
end
