-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- The first filter of a provider's response: counts the tokens from the provider's own response, and passes on nothing
-- that would make Envoy AI Gateway's processor, which reads it next, abort the request.

-- Bytes of a stream's event around its content.
local AROUND = 200
-- Bytes of the other lines of an event that are not content of the response; a comment has no name.
local FIELDS = {event = 64, id = 64, retry = 64, [""] = 64}
-- How many bytes of a compressed error are read.
local UNPACKED = 16384
-- The limits of a response's values and of their nesting: embeddings of a batch have millions, and the input of tools
-- can be any JSON.
local VALUES, DEPTH = 5000000, 1000
-- The encodings that the processor reads.
local READ = {identity = true, gzip = true, br = true}
local NUMBERS = {"prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens"}

local function whole(value)
  if type(value) == "number" and value >= 0 and value <= counting.MOST and value == math.floor(value) then
    return value
  end
end

-- Adds the usage of either API to the previous ones: later numbers of a stream are larger or equal. An invalid number
-- makes all of them invalid.
local function learn(known, usage)
  if not json.is_object(usage) then return end
  for _, name in ipairs(NUMBERS) do
    local value = usage[name]
    if value ~= nil and value ~= json.null and not whole(value) then
      known.spoiled = true
      return
    end
  end
  local input = whole(usage.prompt_tokens)
  if not input and whole(usage.input_tokens) then
    -- Anthropic's input does not include the tokens that its cache wrote and read.
    input = whole(usage.input_tokens) + (whole(usage.cache_creation_input_tokens) or 0)
      + (whole(usage.cache_read_input_tokens) or 0)
  end
  local output, total = whole(usage.completion_tokens) or whole(usage.output_tokens), whole(usage.total_tokens)
  if not input and not output and not total then return end
  local details = json.is_object(usage.prompt_tokens_details) and usage.prompt_tokens_details
    or json.is_object(usage.input_tokens_details) and usage.input_tokens_details or {}
  known.cached = math.max(known.cached or 0, whole(details.cached_tokens) or whole(usage.cache_read_input_tokens) or 0)
  known.spoiled, known.at = false, known.reckoned
  known.input, known.output, known.total =
    math.max(known.input or 0, input or 0), math.max(known.output or 0, output or 0),
    math.max(known.total or 0, total or 0)
end

local function learn_from(known, value)
  if not json.is_object(value) then return end
  learn(known, value.usage)
  if json.is_object(value.message) then learn(known, value.message.usage) end
  -- The last event of a stream of OpenAI's responses has the whole response.
  if json.is_object(value.response) then learn(known, value.response.usage) end
  -- Cohere's.
  if json.is_object(value.meta) then learn(known, value.meta.tokens) end
end

-- Counts the known usage, or estimates it and returns the estimated total, input and output.
local function settle(handle, asked, known, reckoned)
  if not known.spoiled and known.input then
    -- A stream reports its output last, and its caller may disconnect before. Some providers report their reasoning in
    -- the total alone.
    local output = math.max(
      known.output, reckoned - (known.at or reckoned), known.input > 0 and known.total - known.input or 0)
    local total = math.min(counting.MOST, math.max(known.total, known.input + output))
    if total > 0 then
      counting.count(handle, total, known.input, output, known.cached)
      if known.cached > 0 then
        handle:streamInfo():dynamicMetadata():set(METADATA, "cached_tokens", math.min(known.cached, known.input))
      end
      return nil
    end
  end
  return counting.reckon(handle, asked, reckoned)
end

-- Whether an event may have a usage: most events of a stream have none, or null. A key with escapes is not searched:
-- such a response is estimated.
local function may_tell(text)
  local at = 1
  while true do
    local first, last = text:find('"usage"', at, true)
    if not first then return false end
    if not text:find("^%s*:%s*null", last + 1) then return true end
    at = last + 1
  end
end

-- Bytes that are no words, such as sounds, cost nothing.
local function stream(handle, asked, is_of_words)
  local known, reckoned = {}, 0

  local function take(line)
    local data = lines.data_of(line)
    if not data then
      -- The other lines of an event, and lines outside of events.
      local field = line:match("^(%l*):")
      reckoned = reckoned + math.max(0, math.ceil((#line - (field and FIELDS[field] or 2)) / counting.TOKEN))
      return
    end
    if data == "" or data == "[DONE]" then return end
    counting.begin_answer(handle)
    reckoned = reckoned + math.max(1, math.ceil((#data - AROUND) / counting.TOKEN))
    known.reckoned = reckoned
    if may_tell(data) then learn_from(known, (json.read(data))) end
  end

  local read = lines.reader(take)
  for chunk in handle:bodyChunks() do
    local size = chunk:length()
    local begun = read(size > 0 and chunk:getBytes(0, size) or "")
    -- This is done for each chunk, as the caller may disconnect before the end.
    local came = reckoned + math.max(0, math.ceil((begun - AROUND) / counting.TOKEN))
    settle(handle, asked, known, is_of_words and came or 0)
  end
end

-- A compressed stream costs a token for each byte. Where Envoy AI Gateway can read it, the program behind it counts the
-- tokens found there.
local function compressed_stream(handle, asked, encoding)
  local size = 0
  if READ[encoding] then handle:streamInfo():dynamicMetadata():set(METADATA, "compressed", true) end
  for chunk in handle:bodyChunks() do
    size = size + chunk:length()
    if size > 0 then counting.begin_answer(handle) end
    counting.reckon(handle, asked, size)
  end
end

-- A stream in an API that Envoy AI Gateway reads and translates. The program behind it counts the tokens found there.
local function foreign_stream(handle, asked)
  local size = 0
  handle:streamInfo():dynamicMetadata():set(METADATA, "foreign", true)
  for chunk in handle:bodyChunks() do
    size = size + chunk:length()
    if size > 0 then counting.begin_answer(handle) end
    counting.reckon(handle, asked, math.ceil(size / counting.TOKEN))
  end
end

local function replace(handle, buffer, text)
  local headers = handle:headers()
  headers:remove("content-encoding")
  headers:replace("content-type", "application/json")
  headers:replace("content-length", tostring(buffer:setBytes(text)))
end

-- The error that Envoy AI Gateway finds the message in, whichever API it translates it from: those of clouds have it in
-- different places.
local function failure(status, message, kept)
  if not settings.clouds[kept.model] then
    return errors.failure(status, message, settings.anthropic[kept.model] == true, "provider_error")
  end
  local words = json.quoted(message)
  return '{"message":' .. words .. ',"type":"error","error":{"type":"provider_error","status":"provider_error","message":'
    .. words .. "}}"
end

local function refuse(handle, buffer, kept, status, message)
  handle:headers():replace(":status", tostring(status))
  replace(handle, buffer, failure(status, message, kept))
end

-- Adds the counted usage where the provider's is missing or invalid: Envoy AI Gateway and the client read the same
-- numbers that are counted.
local function with_usage(text, value, spans, kept, total, input, output)
  local usage = settings.anthropic[kept.model] and string.format('{"input_tokens":%d,"output_tokens":%d}', input, output)
    or kept.usage == "responses" and string.format('{"input_tokens":%d,"input_tokens_details":{"cached_tokens":0},'
      .. '"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":%d}', input, output, total)
    or string.format('{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}', input, output, total)
  local span = spans.usage
  if span then return text:sub(1, span[1] - 1) .. usage .. text:sub(span[2] + 1) end
  local opening = text:find("{", 1, true)
  return text:sub(1, opening) .. '"usage":' .. usage .. (next(value) ~= nil and "," or "") .. text:sub(opening + 1)
end

local function document(handle, kept, encoding)
  local buffer = handle:body(true)
  local size = buffer:length()
  local text = size > 0 and buffer:getBytes(0, size) or ""
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(METADATA, "answered", true)
  if not READ[encoding] then
    counting.reckon(handle, kept.asked, size)
    return refuse(handle, buffer, kept, 502,
      "The provider answered in " .. encoding .. ", which it was not asked for and which this gateway does not read.")
  end
  if encoding ~= "identity" and kept.usage == "free" then
    return refuse(handle, buffer, kept, 502, "The provider answered in " .. encoding .. ", which it was not asked for.")
  end
  if encoding ~= "identity" then
    -- Envoy AI Gateway reads it, and the program behind it counts the tokens found there.
    metadata:set(METADATA, "compressed", true)
    return counting.reckon(handle, kept.asked, size)
  end
  local value, spans = json.read(text, VALUES, DEPTH)
  if not json.is_object(value) then
    counting.reckon(handle, kept.asked, math.ceil(size / counting.TOKEN))
    return refuse(handle, buffer, kept, 502, "The provider's answer is no JSON object.")
  end
  if kept.usage == "free" then
    -- Envoy AI Gateway's processor takes it for a message, and crashes without a usage. body_filter.lua removes it again.
    counting.count(handle, 0, 0, 0)
    if value.usage == nil then replace(handle, buffer, text:gsub("{", "{" .. counting.NONE, 1)) end
    return
  end
  if settings.foreign[kept.model] then
    metadata:set(METADATA, "foreign", true)
    return counting.reckon(handle, kept.asked, math.ceil(size / counting.TOKEN))
  end
  local known = {}
  learn_from(known, value)
  local unsure = kept.usage == "unsure"
  local total, input, output = settle(handle, kept.asked, known, unsure and 0 or math.ceil(size / counting.TOKEN))
  if total and not unsure then replace(handle, buffer, with_usage(text, value, spans, kept, total, input, output)) end
end

-- The decompressed body; nil where it cannot be decompressed.
local function readable(text, encoding)
  if encoding == "identity" or text == "" or json.read(text) ~= nil then return text end
  if encoding == "gzip" or encoding == "x-gzip" or encoding == "deflate" then
    return inflate(text:sub(1, 2 * UNPACKED), UNPACKED)
  end
  return nil
end

local function refusal(handle, status, encoding, content_type, kept)
  local buffer = handle:body(true)
  local text = buffer:length() > 0 and buffer:getBytes(0, buffer:length()) or ""
  local plain = readable(text, encoding)
  -- If the provider refuses the key, a client must learn that it is the gateway's key, not its own.
  local of_key = status == 401 or status == 407
  if of_key then handle:headers():remove("www-authenticate") end
  if plain and not of_key and not settings.clouds[kept.model]
    and errors.is_one(plain, settings.anthropic[kept.model] == true) then
    return replace(handle, buffer, plain)
  end
  local message = plain and errors.of_provider(status, errors.words(plain, content_type))
    or "The provider refused with status " .. status .. ", in words that are compressed with " .. encoding .. "."
  replace(handle, buffer, failure(status, message, kept))
end

-- Which of several providers has answered, for the metrics: the route says so in a header of Envoy's own.
local function name_provider(handle, headers)
  local served = headers:get(settings.served_header)
  if not served then return end
  headers:remove(settings.served_header)
  local name = settings.served[served:match("^[^/]+/[^/]+") or ""]
  if name then handle:streamInfo():dynamicMetadata():set(METADATA, "provider", name) end
end

local function weigh(handle)
  local headers = handle:headers()
  if settings.metered then name_provider(handle, headers) end
  local kept = handle:streamInfo():dynamicMetadata():get(METADATA)
  if type(kept) ~= "table" or type(kept.asked) ~= "number" then return end
  local status = tonumber(headers:get(":status") or "") or 0
  local ours = errors.refusal(headers) ~= nil
  local encoding = (headers:get("content-encoding") or "identity"):lower()
  local content_type = (headers:get("content-type") or ""):lower()
  if status < 200 or status >= 300 then
    -- A refused request costs nothing, unless a provider has answered before.
    if not kept.answered then counting.count(handle, 0, 0, 0) end
    if status >= 300 and status < 400 and not ours then
      -- A client would follow the redirect with its token and its body.
      headers:remove("location")
      return refuse(handle, handle:body(true), kept, 502,
        "The provider answered with status " .. status .. ", which leads elsewhere.")
    end
    if status >= 400 and not ours then refusal(handle, status, encoding, content_type, kept) end
    return
  end
  if content_type:find("text/event-stream", 1, true) == 1
    or kept.streams and not content_type:find("json", 1, true) then
    handle:streamInfo():dynamicMetadata():set(METADATA, "answered", true)
    -- Envoy AI Gateway translates a stream event by event and keeps this length, which Envoy then finds wrong.
    headers:remove("content-length")
    if encoding ~= "identity" then return compressed_stream(handle, kept.asked, encoding) end
    if settings.foreign[kept.model] then return foreign_stream(handle, kept.asked) end
    return stream(handle, kept.asked, kept.usage ~= "unsure")
  end
  if kept.usage == "unsure" and not content_type:find("json", 1, true) then
    -- Sounds, in whatever encoding.
    return counting.reckon(handle, kept.asked, 0)
  end
  return document(handle, kept, encoding)
end

function envoy_on_response(handle)
  local done, problem = pcall(weigh, handle)
  -- The previous estimate remains.
  if not done then handle:logErr("the response could not be weighed: " .. tostring(problem)) end
end
