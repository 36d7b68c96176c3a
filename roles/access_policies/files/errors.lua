-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Errors in the formats of both APIs.
local errors = {}
do
  -- OpenAI's and Anthropic's names for the kinds of errors.
  local function kind(status, anthropic)
    if status == 401 then return "authentication_error" end
    if status == 403 then return "permission_error" end
    if status == 404 then return anthropic and "not_found_error" or "invalid_request_error" end
    if status == 413 then return anthropic and "request_too_large" or "invalid_request_error" end
    if status == 429 then return "rate_limit_error" end
    if status == 503 or status == 529 then return anthropic and "overloaded_error" or "server_error" end
    if status >= 500 then return anthropic and "api_error" or "server_error" end
    return "invalid_request_error"
  end

  -- The body of an error. Only OpenAI's has code, what, which is its kind where the status does not determine it, and
  -- the field of the body that is wrong.
  -- The code of the latest failure, for the metrics; Anthropic's form has no place for it.
  local latest = nil
  function errors.latest_code() return latest or "refused" end

  function errors.failure(status, message, anthropic, code, what, field)
    latest = code
    if anthropic then
      return '{"type":"error","error":{"type":' .. json.quoted(kind(status, true)) .. ',"message":'
        .. json.quoted(message) .. "}}"
    end
    return '{"error":{"message":' .. json.quoted(message) .. ',"type":' .. json.quoted(what or kind(status, false))
      .. ',"param":' .. (field and json.quoted(field) or "null")
      .. ',"code":' .. (code and json.quoted(code) or "null") .. "}}"
  end

  -- Answers in place of the backend.
  function errors.send(handle, status, body)
    -- With this header Envoy does not change the response.
    local metadata = handle:streamInfo():dynamicMetadata()
    metadata:set(METADATA, "replied", true)
    if settings.metered and status >= 400 then metadata:set(METADATA, "reason", errors.latest_code()) end
    handle:respond({[":status"] = tostring(status), ["content-type"] = "application/json"}, body)
  end

  function errors.refuse(handle, status, message, anthropic, code, field)
    errors.send(handle, status, errors.failure(status, message, anthropic, code, nil, field))
  end

  -- Calls a function that judges a request. A request that it cannot judge is refused.
  function errors.judge(handle, judge)
    local done, problem = pcall(judge, handle)
    if not done then
      handle:logErr("the request could not be judged: " .. tostring(problem))
      errors.refuse(handle, 500, "This gateway could not judge the request.", false, "gateway_fault")
    end
  end

  -- Whether a client reads Anthropic's errors, by the path without its query.
  function errors.in_anthropics_api(headers)
    local path = (headers:get(":path") or ""):match("^[^?]*")
    if path == settings.mcp_path then return false end
    if path:find("/v1/messages", 1, true) then return true end
    -- The header decides where a path belongs to both APIs or to none.
    for _, place in ipairs({"/v1/chat/", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/audio/",
        "/v1/images/", "/cohere/"}) do
      if path:find(place, 1, true) then return false end
    end
    return (headers:get("anthropic-version") or "") ~= ""
  end

  -- Whether a body is an error of that API already.
  function errors.is_one(text, anthropic)
    local value = json.read(text)
    if not json.is_object(value) or not json.is_object(value.error) then return false end
    local fault = value.error
    if type(fault.message) ~= "string" or fault.message == "" or type(fault.type) ~= "string" then return false end
    if anthropic then return value.type == "error" end
    return fault.param ~= nil and fault.code ~= nil
  end

  -- Why the proxy answered itself; nil for what a provider answered, whatever headers that has.
  function errors.refusal(headers)
    local told = headers:get(REFUSAL) or ""
    if told:sub(1, #settings.refused_by) == settings.refused_by then return told:sub(#settings.refused_by + 2) end
  end

  -- The message where the semantic router chose a model that the tier may not use, whose name the tier may not know.
  function errors.not_for(tier)
    return "Tier " .. tier .. " may not use the model that was chosen for the request."
  end

  -- How many bytes of an error without JSON its message contains, and how many are read for that.
  local WORDS, READ = 2000, 16384

  -- A string without its markup, in one pass.
  local function unmarked(text)
    local last = 0
    for stop in text:gmatch("</[sS][tT][yY][lL][eE]>()") do last = stop end
    local styled = text:sub(1, math.max(0, last - 1)):gsub("<[sS][tT][yY][lL][eE].-</[sS][tT][yY][lL][eE]>", " ")
    return ((styled .. text:sub(math.max(1, last))):gsub("<[^<>]*>", " "))
  end

  -- The message in a body of any shape, or the body itself. Markup is removed.
  function errors.words(text, content_type)
    local value = json.read(text)
    if json.is_object(value) then
      local fault = json.is_object(value.error) and value.error or value
      for _, name in ipairs({"message", "Message", "detail", "error", "title"}) do
        if type(fault[name]) == "string" and fault[name] ~= "" then text = fault[name] break end
      end
    elseif content_type:find("html", 1, true) then
      text = unmarked(text:sub(1, READ))
    end
    text = text:sub(1, READ):gsub("%s+", " "):match("^ ?(.-) ?$")
    if #text <= WORDS then return text end
    -- The cut is not in the middle of a character.
    local stop = WORDS
    while stop > 0 and (text:byte(stop + 1) or 0) >= 128 and (text:byte(stop + 1) or 0) < 192 do stop = stop - 1 end
    return text:sub(1, stop) .. " …"
  end

  -- The client's message about a provider's error, from the provider's message.
  function errors.of_provider(status, words)
    return "The provider refused with status " .. status .. (words ~= "" and ": " .. words or " and said nothing.")
  end
end
