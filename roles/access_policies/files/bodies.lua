-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Reads the body of a request once and strictly.
local bodies = {}
do
  -- The paths whose streams report their tokens only on request.
  local ASKED = {["/v1/chat/completions"] = true, ["/v1/completions"] = true}
  -- The API has fewer options of streams.
  local OPTIONS = 32
  -- Keys that Go's parser accepts in upper and lower case. One parser would read another spelling and the other would
  -- not.
  local KEYS = {
    model = true, stream = true, stream_options = true, include_usage = true, messages = true, prompt = true,
    input = true, max_tokens = true, n = true, previous_response_id = true, conversation = true, background = true,
    store = true, stream_format = true}

  -- What needs a response that its provider has stored, and what to do about it.
  local STORED = {
    previous_response_id = "Send the whole conversation as input.",
    conversation = "Send the whole conversation as input.",
    background = "Leave it out, and wait for the answer or stream it.",
    store = "Leave it out, or write false.",
  }

  -- The fault of a request that needs a stored response. All callers share the provider's account, so that one could
  -- read what another one has stored.
  local function of_store(body)
    for field, remedy in pairs(STORED) do
      local value = body[field]
      if value ~= nil and value ~= json.null and value ~= false then
        return "The field " .. field .. " needs a stored response, and this gateway gives none back. " .. remedy
      end
    end
    for _, item in ipairs(json.is_array(body.input) and body.input or {}) do
      if json.is_object(item) and item.type == "item_reference" then
        return "An item_reference needs a stored response, and this gateway gives none back. Send the item itself."
      end
    end
  end

  -- A key that another parser might read as one that matters.
  local function other_spelling(object)
    for key in pairs(object) do
      if type(key) == "string" and not KEYS[key] then
        local plain = key:gsub("\197\191", "s"):gsub("\226\132\170", "k"):lower()
        if KEYS[plain] then return key, plain end
      end
    end
  end

  -- What is wrong with the form that the headers say the body has, in which it could be read as another; or nil.
  function bodies.form_problem(headers)
    for _, name in ipairs({"content-type", "content-encoding"}) do
      if headers:getNumValues(name) > 1 then return "Send one header " .. name .. ", or none." end
    end
    local form = (headers:get("content-type") or ""):lower()
    if form:find("multipart/", 1, true) or form:find("application/grpc", 1, true) then
      return "Send the body as application/json."
    end
    local encoding = headers:get("content-encoding")
    if encoding and encoding:lower() ~= "identity" then return "Send the body without a content-encoding." end
  end

  -- The message about a body for which the semantic router chooses no model.
  function bodies.too_large(size, limit, model)
    return "A model is chosen for bodies of up to " .. limit .. " bytes, and this one has " .. size
      .. ". Name a model in place of " .. model .. ", or send less."
  end

  -- Why the semantic router is not asked about a judged request: status, message, code, and field; or nil.
  function bodies.unchoosable(request, limit, model)
    if #request.text > limit then
      return 413, bodies.too_large(#request.text, limit, model), "body_too_large"
    end
    if not request.has_messages then
      return 400, "The field messages must be a list of one message or more, by which a model is chosen.",
        "invalid_messages", "messages"
    end
  end

  -- The judged request of a body, or its fault: status, message, code.
  function bodies.judged(text, name)
    local body, spans = json.read(text)
    if not json.is_object(body) then
      return nil, 400, "The body must be a JSON object" .. (body == nil and ": " .. spans or "") .. ".", "invalid_json"
    end
    local names = 0
    for _ in pairs(json.is_object(body.stream_options) and body.stream_options or {}) do
      names = names + 1
      if names > OPTIONS then return nil, 400, "The field stream_options has too many names.", "invalid_json" end
    end
    local key, plain = other_spelling(body)
    if not key and json.is_object(body.stream_options) then key, plain = other_spelling(body.stream_options) end
    if key then return nil, 400, "The key " .. key .. " must be spelled " .. plain .. ".", "invalid_json" end
    local model = body.model
    if type(model) ~= "string" or model == "" then
      return nil, 400, "The body must name its model, as a string.", "missing_model"
    end
    if #model > 256 or model:find("[%z\1-\31\127]") then
      return nil, 404, "There is no model of this name.", "model_not_found"
    end
    local function given(value)
      if value ~= json.null then return value end
    end
    local options = given(body.stream_options)
    if options ~= nil and not json.is_object(options) then
      return nil, 400, "The field stream_options must be an object.", "invalid_type"
    end
    options = options or {}
    local asks = given(options.include_usage)
    for field, value in pairs({stream = given(body.stream), ["stream_options.include_usage"] = asks}) do
      if type(value) ~= "boolean" then
        return nil, 400, "The field " .. field .. " must be true or false.", "invalid_type"
      end
    end
    local problem = name == "/v1/responses" and of_store(body)
    if problem then return nil, 400, problem, "unsupported_request" end
    local result = {
      model = model, text = text, streams = body.stream == true or body.stream_format == "sse",
      has_messages = json.is_array(body.messages) and #body.messages > 0,
    }
    if body.stream == true and asks ~= true and ASKED[name] then
      -- The provider always receives this option. The client does not receive what it did not ask for.
      result.hides_usage = true
      local others = {}
      for option, value in pairs(options) do
        if option ~= "include_usage" and type(value) == "boolean" then
          others[#others + 1] = "," .. json.quoted(option) .. ":" .. tostring(value)
        end
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
end
