-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Stands between the processor's MCP proxy and the MCP servers: lets each tier reach its own servers alone, and passes
-- on no answer that would stop the processor, which serves the models too, or send it elsewhere.

-- The bytes of an answer, or of one event of a stream: as many as the processor takes of a request. Envoy's buffer
-- filter, which stands beside this one, has the same number.
local LIMIT = 4194304
-- The bytes of an identifier of a session or an event, of the kind of an event, and of what a refusal says.
local IDENTIFIER, KIND, WORDS = 1024, 64, 2000
-- The limits of an answer's values and of their nesting: what a tool returns can be any JSON.
local VALUES, DEPTH = 500000, 1000
-- The headers of an answer that go on. The processor would follow a location, to any address that it reaches.
local KEPT = {[":status"] = true, ["content-type"] = true, ["content-length"] = true, ["mcp-session-id"] = true}
local KEYS = {jsonrpc = true, id = true, method = true, params = true, result = true, error = true}
-- The lists whose items the processor reads as objects.
local LISTS = {tools = true, content = true}
-- What a server may report at any time, and what it may ask while a tool runs or a client listens.
local TOLD = {
  ["notifications/message"] = true, ["notifications/progress"] = true, ["notifications/cancelled"] = true,
  ["notifications/tools/list_changed"] = true,
}
local ASKED = {ping = true, ["roots/list"] = true, ["sampling/createMessage"] = true, ["elicitation/create"] = true}

local function is_id(value)
  return type(value) == "string" or type(value) == "number"
end

-- Whether a message of a server is one that the processor can read.
local function is_sound(message, method)
  if not json.is_object(message) or message.jsonrpc ~= "2.0" then return false end
  -- The processor might accept keys in upper and lower case.
  for key in pairs(message) do
    if type(key) == "string" and not KEYS[key] and KEYS[key:lower()] then return false end
  end
  if message.method ~= nil then
    if message.result ~= nil or message.error ~= nil then return false end
    if message.params ~= nil and not json.is_object(message.params) then return false end
    if TOLD[message.method] then return message.id == nil end
    -- One of these in the answer of one server would end the list of the tools of all.
    return ASKED[message.method] == true and is_id(message.id) and (method == "tools/call" or method == "")
  end
  if not is_id(message.id) then return false end
  if message.error ~= nil then
    local fault = message.error
    return message.result == nil and json.is_object(fault) and type(fault.message) == "string"
      and type(fault.code) == "number" and fault.code == math.floor(fault.code) and math.abs(fault.code) < 2 ^ 53
  end
  if not json.is_object(message.result) then return false end
  for key, value in pairs(message.result) do
    if type(key) == "string" and LISTS[key:lower()] then
      if not json.is_array(value) then return false end
      for _, item in ipairs(value) do
        if not json.is_object(item) then return false end
      end
    end
  end
  return true
end

-- A message as it goes on; nil for one that does not.
local function passed(text, method)
  local message, spans = json.read(text, VALUES, DEPTH)
  if is_sound(message, method) then return text end
  if not json.is_object(message) or message.method ~= nil or not is_id(message.id) then return nil end
  local id = text:sub(spans.id[1], spans.id[2])
  if #id > IDENTIFIER then return nil end
  return '{"jsonrpc":"2.0","id":' .. id .. ',"error":{"code":-32603,"message":'
    .. '"The MCP server answered in a form that this gateway does not pass on."}}'
end

-- A function that takes a stream of events in pieces and returns what of it goes on. It writes each event anew: the
-- processor reads line ends in another way than it is written here.
local function events(method)
  local pieces, size, lost, after_return = {}, 0, false, false
  local data, kind, id = {}, nil, nil
  local found

  local function grow(bytes)
    size = size + bytes
    if size > LIMIT and not lost then pieces, data, lost = {}, {}, true end
  end

  local function end_event()
    local messages = {}
    for _, text in ipairs(lost and {} or data) do
      local message = passed(text, method)
      if message then messages[#messages + 1] = "data: " .. message .. "\n" end
    end
    if #messages > 0 then
      found[#found + 1] = (kind and "event: " .. kind .. "\n" or "") .. (id and "id: " .. id .. "\n" or "")
        .. table.concat(messages) .. "\n"
    end
    pieces, size, lost, data, kind, id = {}, 0, false, {}, nil, nil
  end

  local function end_line(line)
    if line == "" then return end_event() end
    if lost then return end
    local name, value = line:match("^(%l+):%s*(.-)%s*$")
    if name == "data" and value ~= "" then data[#data + 1] = value end
    if name == "event" and #value <= KIND and value:find("^[%w/_-]+$") then kind = value end
    if name == "id" and #value <= IDENTIFIER and value:find("^[\33-\126]+$") then id = value end
  end

  return function(text)
    found = {}
    local at = 1
    if after_return and text ~= "" then
      if text:byte(1) == 10 then at = 2 end
      after_return = false
    end
    while at <= #text do
      local stop = text:find("[\r\n]", at)
      local piece = text:sub(at, stop and stop - 1 or -1)
      if piece ~= "" then
        grow(#piece)
        -- Of a line that is lost, this alone is kept: that it is not empty.
        pieces[lost and 1 or #pieces + 1] = lost and "lost" or piece
      end
      if not stop then break end
      local line = table.concat(pieces)
      pieces = {}
      end_line(line)
      at = stop + 1
      if text:byte(stop) == 13 then
        if at > #text then after_return = true elseif text:byte(at) == 10 then at = at + 1 end
      end
    end
    return table.concat(found)
  end
end

-- What the processor gets in place of an answer: it takes this as a failure of that server alone.
local function refuse(handle, why)
  local buffer = handle:body(true)
  local headers = handle:headers()
  headers:replace(":status", "502")
  headers:replace("content-type", "text/plain")
  headers:remove("mcp-session-id")
  headers:replace("content-length", tostring(buffer:setBytes("The MCP server " .. why .. ".")))
end

local function check(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  local kept = metadata:get(METADATA)
  -- Before Envoy AI Gateway has moved it, this program sees the requests of clients. Where a port has several chains of
  -- filters, it is there as often.
  if type(kept) ~= "table" or not kept.server or kept.judged then return end
  metadata:set(METADATA, "judged", true)
  local headers = handle:headers()
  local status = tonumber(headers:get(":status") or "") or 0
  local form = (headers:get("content-type") or ""):lower():match("^[^;%s]*")
  local encoding = (headers:get("content-encoding") or "identity"):lower()
  local session, sessions = headers:get("mcp-session-id") or "", headers:getNumValues("mcp-session-id")
  local others = {}
  for name in pairs(headers) do
    if not KEPT[name] then others[#others + 1] = name end
  end
  for _, name in ipairs(others) do headers:remove(name) end
  if status >= 300 and status < 400 then
    return refuse(handle, "answered with status " .. status .. ", which leads elsewhere")
  end
  if encoding ~= "identity" then return refuse(handle, "answered in an encoding that it was not asked for") end
  if sessions > 1 or #session > IDENTIFIER or session:find("[^\33-\126]") then
    return refuse(handle, "names its session with more than " .. IDENTIFIER .. " visible characters")
  end
  if status == 200 and form == "text/event-stream" then
    headers:replace("content-type", form)
    headers:remove("content-length")
    local read = events(kept.method)
    for chunk in handle:bodyChunks() do
      local length = chunk:length()
      if length > 0 then chunk:setBytes(read(chunk:getBytes(0, length))) end
    end
    return
  end
  local buffer = handle:body(true)
  headers = handle:headers()
  local length = buffer:length()
  if status ~= 200 then
    -- The processor logs it.
    if length > WORDS then headers:replace("content-length", tostring(buffer:setBytes(buffer:getBytes(0, WORDS)))) end
    return
  end
  if length == 0 then return end
  if length > LIMIT then return refuse(handle, "answered with more than " .. LIMIT .. " bytes") end
  local text = buffer:getBytes(0, length)
  local message = nil
  if text:find("^%l*:") then
    -- Some servers call a stream of events JSON.
    form, message = "text/event-stream", events(kept.method)(text .. "\n\n")
  elseif form == "application/json" then
    message = passed(text, kept.method)
  end
  if not message or message == "" then
    return refuse(handle, "answered in a form that this gateway does not pass on")
  end
  headers:replace("content-type", form)
  if message ~= text then headers:replace("content-length", tostring(buffer:setBytes(message))) end
end

-- The tier is the header's, which the processor passes on from body_filter.lua; the end of a session has none, and a
-- session has no servers but those that let it begin.
local function judge(handle)
  local headers = handle:headers()
  local server = headers:get("x-ai-eg-mcp-backend")
  if not server then return end
  local metadata = handle:streamInfo():dynamicMetadata()
  local kept = metadata:get(METADATA)
  if type(kept) == "table" and kept.server then return end
  metadata:set(METADATA, "server", server)
  metadata:set(METADATA, "method", headers:get("x-ai-eg-mcp-metadata-method") or "")
  local tier = headers:get("x-ai-gateway-mcp-tier") or ""
  headers:remove("x-ai-gateway-mcp-tier")
  headers:replace("accept-encoding", "identity")
  local verb = headers:get(":method")
  if verb ~= "DELETE" and not (settings.mcp_tiers[tier] or {})[server] then
    -- The processor takes 405 as the answer of a server that has nothing to report.
    handle:respond({[":status"] = verb == "GET" and "405" or "403", ["content-type"] = "text/plain"},
      "This tier may call no tool of this MCP server.")
  end
end

function envoy_on_request(handle)
  local done, problem = pcall(judge, handle)
  if done then return end
  handle:logErr("the request to an MCP server could not be judged: " .. tostring(problem))
  handle:respond({[":status"] = "500", ["content-type"] = "text/plain"}, "The request could not be judged.")
end

function envoy_on_response(handle)
  local done, problem = pcall(check, handle)
  if done then return end
  handle:logErr("the answer of an MCP server could not be judged: " .. tostring(problem))
  -- The location is gone already.
  pcall(refuse, handle, "gave an answer that could not be judged")
end
