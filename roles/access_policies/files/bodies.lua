-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- What becomes of a request that Authorino let in, and of its answer: who calls is hidden from here on, paths are taken apart, lists of models answered, bodies
-- read once and strictly, and the tokens of each answer counted.

-- What the gateway serves; anything else that Envoy AI Gateway's processor knows would count no tokens.
local SERVED = {
  ["/v1/chat/completions"] = true, ["/v1/completions"] = true, ["/v1/embeddings"] = true, ["/v1/messages"] = true,
}
-- Those whose streams tell their tokens only if they are asked to.
local ASKED = {["/v1/chat/completions"] = true, ["/v1/completions"] = true}
-- Keys that Go's parser takes in any case, so that another spelling would be read by one and not by the other.
local KEYS = {model = true, stream = true, stream_options = true, include_usage = true, messages = true, prompt = true, input = true, max_tokens = true, n = true}
-- No answer has more tokens; what says so is not believed.
local MOST = 10000000
-- Bytes of a text that make a token, and those of an event of a stream that are around its text.
local TOKEN, AROUND = 4, 200
-- An answer larger than this is reckoned from its size; only its usage is looked for.
local LARGEST = 16777216

-- Neither dialect lets a model's age be unknown; Anthropic's documentation says to give the epoch then.
local function described(model, anthropic)
  if anthropic then
    return '{"type":"model","id":' .. json.quoted(model[1]) .. ',"display_name":' .. json.quoted(model[1]) .. ',"created_at":"1970-01-01T00:00:00Z"}'
  end
  return '{"id":' .. json.quoted(model[1]) .. ',"object":"model","created":0,"owned_by":' .. json.quoted(model[2]) .. "}"
end

local function allows(tier, model)
  local allowed = settings.tiers[tier]
  return allowed == true or type(allowed) == "table" and allowed[model] == true
end

local function listed(tier, only)
  local found = {}
  for _, model in ipairs(settings.models) do
    if allows(tier, model[1]) and (not only or model[3][only]) then found[#found + 1] = model end
  end
  return found
end

local function list(found, anthropic)
  local items = {}
  for index, model in ipairs(found) do
    items[index] = described(model, anthropic)
  end
  local data = '"data":[' .. table.concat(items, ",") .. "]"
  if not anthropic then
    return '{"object":"list",' .. data .. "}"
  end
  local first, last = found[1], found[#found]
  return "{" .. data .. ',"has_more":false,"first_id":' .. (first and json.quoted(first[1]) or "null") .. ',"last_id":' .. (last and json.quoted(last[1]) or "null") .. "}"
end

local function missing(model, anthropic)
  return answers.failure(404, "The model " .. model .. " does not exist or you do not have access to it.", anthropic, "model_not_found")
end

local function count(handle, total, input, output)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(METADATA, "total_tokens", total)
  metadata:set(METADATA, "input_tokens", input)
  metadata:set(METADATA, "output_tokens", output)
end

-- What an answer costs of which nothing can be counted, from the bytes of the request and the tokens that its own bytes are reckoned to be.
local function count_unknown(handle, asked, reckoned)
  local fixed = settings.uncounted_tokens
  if fixed > 0 then return count(handle, fixed, fixed, fixed) end
  local input = math.min(MOST, math.max(1, math.ceil(asked / TOKEN)))
  local output = math.min(MOST, math.max(1, reckoned))
  count(handle, math.min(MOST, input + output), input, output)
end

-- A key that another parser might take for one that matters.
local function other_spelling(object)
  for key in pairs(object) do
    if type(key) == "string" and not KEYS[key] then
      local plain = key:gsub("\197\191", "s"):gsub("\226\132\170", "k"):lower()
      if KEYS[plain] then return key, plain end
    end
  end
end

-- The body without anything but the request that was judged, or what is wrong with it: status, message, code.
local function judged(text, name)
  local body, spans = json.read(text)
  if not json.is_object(body) then
    return nil, 400, "The body must be a JSON object" .. (body == nil and ": " .. spans or "") .. ".", "invalid_json"
  end
  local key, plain = other_spelling(body)
  if not key and json.is_object(body.stream_options) then key, plain = other_spelling(body.stream_options) end
  if key then return nil, 400, "The key " .. key .. " must be spelled " .. plain .. ".", "invalid_json" end
  local model = body.model
  if type(model) ~= "string" or model == "" then return nil, 400, "The body must name its model, as a text.", "missing_model" end
  if #model > 256 or model:find("[%z\1-\31\127]") then return nil, 404, "There is no model of this name.", "model_not_found" end
  local function given(value)
    if value ~= json.null then return value end
  end
  local options = given(body.stream_options)
  if options ~= nil and not json.is_object(options) then return nil, 400, "The field stream_options must be an object.", "invalid_type" end
  options = options or {}
  local asks = given(options.include_usage)
  for field, value in pairs({stream = given(body.stream), ["stream_options.include_usage"] = asks}) do
    if type(value) ~= "boolean" then return nil, 400, "The field " .. field .. " must be true or false.", "invalid_type" end
  end
  local result = {model = model, text = text}
  if body.stream == true and asks ~= true and ASKED[name] then
    -- The provider is asked in any case; the client does not see what it did not ask for.
    result.hides_usage = true
    local others = {}
    for option, value in pairs(options) do
      if option ~= "include_usage" and type(value) == "boolean" then others[#others + 1] = "," .. json.quoted(option) .. ":" .. tostring(value) end
    end
    local wanted = '{"include_usage":true' .. table.concat(others) .. "}"
    local span = spans.stream_options
    if span then
      result.text = text:sub(1, span[1] - 1) .. wanted .. text:sub(span[2] + 1)
    else
      local opening = text:find("{", 1, true)
      result.text = text:sub(1, opening) .. '"stream_options":' .. wanted .. "," .. text:sub(opening + 1)
    end
  end
  return result
end

local function judge(handle)
  local headers, metadata = handle:headers(), handle:streamInfo():dynamicMetadata()
  local path = headers:get(":path") or ""
  -- maas-api answers for itself.
  if settings.maas_api and path:find("^/maas%-api/") then return end
  local tier, user = headers:get("x-maas-tier") or "", headers:get("x-maas-user") or ""
  headers:remove("x-maas-tier")
  headers:remove("x-maas-user")
  local name = path:match("^[^?]*")
  local anthropic = name:find("/v1/messages", 1, true) ~= nil or (headers:get("anthropic-version") or "") ~= ""
  metadata:set(METADATA, "anthropic", anthropic)
  metadata:set(METADATA, "tier", tier)
  metadata:set(METADATA, "user", user)
  -- Nothing is spent yet.
  count(handle, 0, 0, 0)
  local hidden, hidden_tier = identity.of(tier, user), settings.hidden_tiers[tier]
  if not hidden or not hidden_tier then
    handle:logErr("there is no key for identities in " .. settings.identity_key_file .. ", or no tier " .. tier)
    return answers.refuse(handle, 503, "This gateway cannot tell callers apart at the moment.", anthropic, "identity_unavailable")
  end
  headers:replace("x-ai-gateway-user", hidden)
  headers:replace("x-ai-gateway-tier", hidden_tier)

  local only = nil
  local prefix, rest = path:match("^(/[^/?]+/[^/?]+)(/v1/.*)$")
  if prefix then
    only = settings.ends[prefix]
    path = rest
    name = path:match("^[^?]*")
  end
  -- A path of which the tier may use nothing is one that does not exist.
  if prefix and (not only or #listed(tier, only) == 0) then
    return answers.refuse(handle, 404, "No provider or model answers under " .. prefix .. ".", anthropic, "unknown_url")
  end
  if prefix then
    headers:replace(":path", path)
  end
  -- Which end the path asked for and in which API, for the routes to match; a client cannot say it otherwise.
  headers:replace("x-ai-gateway-provider", only or "*")
  headers:replace("x-ai-gateway-api", name == "/v1/messages" and "anthropic" or "openai")

  local listing = name == "/v1/models" or name:find("^/v1/models/") ~= nil
  if not listing and not SERVED[name] then
    return answers.refuse(handle, 404, "This gateway does not serve " .. name .. ".", anthropic, "unknown_url")
  end
  if headers:get(":method") ~= (listing and "GET" or "POST") then
    return answers.refuse(handle, 405, "Use " .. (listing and "GET" or "POST") .. " for " .. name .. ".", anthropic, "method_not_allowed")
  end
  if name == "/v1/models" then
    return answers.send(handle, 200, list(listed(tier, only), anthropic))
  end
  if listing then
    local wanted = name:match("^/v1/models/(.*)$")
    wanted = wanted:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
    for _, model in ipairs(listed(tier, only)) do
      if model[1] == wanted then
        return answers.send(handle, 200, described(model, anthropic))
      end
    end
    return answers.send(handle, 404, missing(wanted, anthropic))
  end

  local form = (headers:get("content-type") or ""):lower()
  if form:find("multipart/", 1, true) == 1 or form:find("application/grpc", 1, true) == 1 then
    return answers.refuse(handle, 415, "Send the body as application/json.", anthropic, "unsupported_media_type")
  end
  local encoding = headers:get("content-encoding")
  if encoding and encoding:lower() ~= "identity" then
    return answers.refuse(handle, 415, "Send the body without a content-encoding.", anthropic, "unsupported_media_type")
  end
  -- An answer that is compressed cannot be counted.
  headers:remove("accept-encoding")
  local buffer = handle:body(true)
  local text = buffer:length() > 0 and buffer:getBytes(0, buffer:length()) or ""
  local request, status, message, code = judged(text, name)
  if not request then return answers.refuse(handle, status, message, anthropic, code) end
  local model = settings.known[request.model]
  if not model or only and not model[only] then
    if settings.tiers[tier] ~= true then
      return answers.refuse(handle, 403, "The model does not exist, or tier " .. tier .. " may not use it.", anthropic, "model_not_allowed")
    end
    return answers.send(handle, 404, missing(request.model, anthropic))
  end
  if request.text ~= text then buffer:setBytes(request.text) end
  metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(METADATA, "model", request.model)
  metadata:set(METADATA, "asked", #text)
  metadata:set(METADATA, "hides_usage", request.hides_usage == true)
  -- Of one who leaves before the answer; what comes of the answer replaces it.
  count_unknown(handle, #text, 0)
end

function envoy_on_request(handle)
  local done, problem = pcall(judge, handle)
  if not done then
    handle:logErr("the request could not be judged: " .. tostring(problem))
    answers.refuse(handle, 500, "This gateway could not judge the request.", false, "gateway_fault")
  end
end

local function whole(value)
  if type(value) == "number" and value >= 0 and value <= MOST and value == math.floor(value) then return value end
end

-- What a usage of either API tells, added to what was told before: later numbers of a stream are larger or the same.
local function learn(known, usage)
  if not json.is_object(usage) then return end
  local input = whole(usage.prompt_tokens) or whole(usage.input_tokens)
  if input and usage.input_tokens == input and not usage.prompt_tokens then
    -- Anthropic's input leaves out what its cache wrote and read.
    input = input + (whole(usage.cache_creation_input_tokens) or 0) + (whole(usage.cache_read_input_tokens) or 0)
  end
  local output = whole(usage.completion_tokens) or whole(usage.output_tokens)
  local total = whole(usage.total_tokens)
  -- A number that is none spoils the usage: what it should have been is not known.
  for _, name in ipairs({"prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens"}) do
    local value = usage[name]
    if value ~= nil and value ~= json.null and not whole(value) then
      known.spoiled = true
      return
    end
  end
  if not input and not output and not total then return end
  known.spoiled = false
  known.input = math.max(known.input or 0, input or 0)
  known.output = math.max(known.output or 0, output or 0)
  known.total = math.max(known.total or 0, total or 0)
end

local function learn_from(known, text)
  local value = json.read(text)
  if not json.is_object(value) then return nil end
  learn(known, value.usage)
  if json.is_object(value.message) then learn(known, value.message.usage) end
  return value
end

local function settle(handle, asked, known, reckoned)
  if not known.spoiled and known.input then
    local total = math.min(MOST, math.max(known.total, known.input + known.output))
    if total > 0 then return count(handle, total, known.input, known.output) end
  end
  count_unknown(handle, asked, reckoned)
end

-- Whether a text may hold a usage that says something: most events of a stream have none, or null. One that is spelled with escapes is not looked for: such an answer
-- is reckoned.
local function may_tell(text)
  local at = 1
  while true do
    local first, last = text:find('"usage"', at, true)
    if not first then return false end
    if not text:find("^%s*:%s*null", last + 1) then return true end
    at = last + 1
  end
end

-- A stream's line with the usage that the client did not ask for.
local function is_unasked(value)
  return json.is_object(value) and json.is_array(value.choices) and #value.choices == 0 and json.is_object(value.usage)
end

local function stream(handle, kept)
  -- How the last line fared that was taken before its end came: nil, or whether it was passed on.
  local known, reckoned, pending, skips_blank, unended = {}, 0, "", false, nil
  local hides = kept.hides_usage == true

  -- One line, with its end; gives what the client gets of it.
  local function line_of(line)
    local data = line:match("^data: ?(.-)%s*$")
    if not data then
      if skips_blank and line:find("^\r?\n?$") then
        skips_blank = false
        return ""
      end
      return line
    end
    skips_blank = false
    if data ~= "[DONE]" and data ~= "" then
      reckoned = reckoned + math.max(1, math.ceil((#data - AROUND) / TOKEN))
      if may_tell(data) then
        local value = learn_from(known, data)
        if hides and is_unasked(value) then
          skips_blank = true
          return ""
        end
      end
    end
    return line
  end

  for chunk in handle:bodyChunks() do
    local size = chunk:length()
    local arrived = size > 0 and chunk:getBytes(0, size) or ""
    local text = pending .. arrived
    local kept_lines, at = {}, 1
    if unended ~= nil and text ~= "" and text ~= "\r" then
      local stop = text:match("^\r?\n()") or 1
      if unended then kept_lines[1] = text:sub(1, stop - 1) end
      at, unended = stop, nil
    end
    while true do
      local stop = text:find("\n", at, true)
      if not stop then break end
      kept_lines[#kept_lines + 1] = line_of(text:sub(at, stop))
      at = stop + 1
    end
    pending = text:sub(at)
    -- The last line of a stream may have no end.
    local data = pending:match("^data: ?(.*)$")
    if data and (data == "[DONE]" or data:sub(-1) == "}" and json.read(data) ~= nil) or #pending > LARGEST then
      local passed = line_of(pending)
      kept_lines[#kept_lines + 1] = passed
      pending, unended = "", passed ~= ""
    end
    if hides then
      local passed = table.concat(kept_lines)
      if passed ~= arrived then chunk:setBytes(passed) end
    end
    settle(handle, kept.asked, known, reckoned)
  end
end

local function document(handle, kept, compressed)
  local parts, size, known = {}, 0, {}
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    size = size + length
    if length > 0 and size <= LARGEST then parts[#parts + 1] = chunk:getBytes(0, length) end
    count_unknown(handle, kept.asked, compressed and size or math.ceil(size / TOKEN))
  end
  if compressed then
    -- Envoy AI Gateway reads some of what this program cannot.
    local told = handle:streamInfo():dynamicMetadata():get("io.envoy.ai_gateway")
    if type(told) == "table" then
      learn(known, {input_tokens = told.llm_input_tokens, output_tokens = told.llm_output_tokens, total_tokens = told.llm_total_tokens})
    end
  elseif size <= LARGEST then
    learn_from(known, table.concat(parts))
  end
  settle(handle, kept.asked, known, compressed and size or math.ceil(size / TOKEN))
end

local function weigh(handle)
  local headers = handle:headers()
  local kept = handle:streamInfo():dynamicMetadata():get(METADATA)
  if type(kept) ~= "table" or type(kept.asked) ~= "number" then return end
  local status = tonumber(headers:get(":status") or "")
  -- What was refused costs nothing; an answer that Envoy AI Gateway's processor could not read was one.
  if not status or status < 200 or status >= 300 then
    if not (headers:get(REFUSAL) or ""):find("envoy ext_proc", 1, true) then count(handle, 0, 0, 0) end
    return
  end
  local encoding = (headers:get("content-encoding") or "identity"):lower()
  if encoding == "identity" and (headers:get("content-type") or ""):lower():find("text/event-stream", 1, true) == 1 then
    -- Its size is not that of what the client gets.
    if kept.hides_usage then headers:remove("content-length") end
    return stream(handle, kept)
  end
  return document(handle, kept, encoding ~= "identity")
end

function envoy_on_response(handle)
  local done, problem = pcall(weigh, handle)
  -- What was reckoned before stays.
  if not done then handle:logErr("the answer could not be weighed: " .. tostring(problem)) end
end
