-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Handles requests that Authorino has allowed: hides the caller from here on, splits paths, answers lists of models,
-- and reads bodies once and strictly. A client that did not ask for the usage of a stream does not receive it.

-- Nothing behind this filter needs the caller's credentials, or what the caller and previous proxies state about it. No
-- provider may receive them. The names come from plugins/module_utils/_catalog/request_headers.py.
local function hide_caller(headers)
  local found = {}
  for name in pairs(headers) do
    local is_of_family = settings.callers_families[name:match("^x%-(%l+)%-") or ""] and not settings.kept_headers[name]
    if is_of_family or name:sub(-#settings.key_suffix) == settings.key_suffix then found[#found + 1] = name end
  end
  for _, names in ipairs({settings.callers_headers, found}) do
    for _, name in ipairs(names) do headers:remove(name) end
  end
end
-- Both dialects need a model's age. Anthropic's documentation states the epoch for an unknown one.
local function described(model, anthropic)
  if anthropic then
    return '{"type":"model","id":' .. json.quoted(model[1]) .. ',"display_name":' .. json.quoted(model[1])
      .. ',"created_at":"1970-01-01T00:00:00Z"}'
  end
  return '{"id":' .. json.quoted(model[1]) .. ',"object":"model","created":0,"owned_by":'
    .. json.quoted(model[2]) .. "}"
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
  return "{" .. data .. ',"has_more":false,"first_id":' .. (first and json.quoted(first[1]) or "null")
    .. ',"last_id":' .. (last and json.quoted(last[1]) or "null") .. "}"
end

-- Why no model is served under a path.
local function unserved(name)
  for beginning, reason in pairs(settings.refused_paths) do
    if name:sub(1, #beginning) == beginning then return reason end
  end
end

-- Why a model is not served under a path: each provider that the request may reach must speak its API.
local function unspoken(model, only, served)
  for backend, schema in pairs(model) do
    if (not only or backend == only) and served.refused[schema] then return served.refused[schema] end
  end
end

local function missing(model, anthropic)
  return errors.failure(404, "The model " .. model .. " does not exist or you do not have access to it.", anthropic,
    "model_not_found")
end

-- What the semantic router must know of the caller; and whether the next filter asks it, or the route leads to it.
local function ask_router(handle, model, tier, hidden)
  local headers, metadata = handle:headers(), handle:streamInfo():dynamicMetadata()
  headers:replace(settings.router.user_header, hidden)
  headers:replace(settings.router.groups_header, tier)
  metadata:set(METADATA, "requested", model)
  if settings.router.asked then
    headers:replace(settings.router.asked_header, "1")
    -- Until the program behind the router has judged the choice.
    metadata:set(METADATA, "deciding", true)
  end
end

-- The users of this worker that have a label of their own in the metrics. The number of series is bounded.
local labelled, labels = {}, 0
local function label_of(user)
  if labelled[user] then return user end
  if labels >= settings.labelled_users then return "other" end
  labelled[user], labels = true, labels + 1
  return user
end

-- What requests ask for, by the names that OpenTelemetry has for it.
local OPERATIONS = {
  ["/v1/chat/completions"] = "chat", ["/v1/messages"] = "chat", ["/v1/responses"] = "chat",
  ["/v1/completions"] = "text_completion", ["/v1/embeddings"] = "embeddings",
}

-- The provider that will answer; empty where there are several, until one has.
local function only_provider(model, only)
  if only then return only end
  local name = next(model)
  return name and not next(model, name) and name or ""
end

local function judge(handle)
  local headers, metadata = handle:headers(), handle:streamInfo():dynamicMetadata()
  local path = headers:get(":path") or ""
  -- maas-api answers these requests itself.
  if settings.maas_api and path:find("^/maas%-api/") then return end
  local tier, user = headers:get("x-maas-tier") or "", headers:get("x-maas-user") or ""
  local status, message, code
  local check = settings.callers and (metadata:get(METADATA) or {}).check
  if check and check ~= "review" then
    -- Authorino was not asked, and what the headers say of the caller is nobody's.
    tier, user, message, code = verified.caller(metadata, check)
    if not tier then tier, status, user = "", user, "" end
  end
  hide_caller(headers)
  -- Whatever happened at the listener, no client asks the semantic router by a header.
  for _, header in ipairs(settings.router and settings.router.headers or {}) do headers:remove(header) end
  local name = path:match("^[^?]*")
  local anthropic = errors.in_anthropics_api(headers)
  metadata:set(METADATA, "tier", tier)
  metadata:set(METADATA, "user", user)
  -- No tokens are spent yet.
  counting.count(handle, 0, 0, 0)
  local kept = metadata:get(METADATA)
  if type(kept) ~= "table" or not kept.begun then
    handle:logErr("the program before authorization is missing: see the status of the EnvoyPatchPolicy")
    return errors.refuse(handle, 503, "This gateway is not complete at the moment.", anthropic, "gateway_fault")
  end
  if status then return errors.refuse(handle, status, message, anthropic, code) end
  local hidden, hidden_tier = identity.of(tier, user), settings.hidden_tiers[tier]
  if not hidden or not hidden_tier then
    handle:logErr("there is no key for identities in " .. settings.identity_key_file .. ", or no tier " .. tier)
    return errors.refuse(handle, 503, "This gateway cannot distinguish callers at the moment.", anthropic,
      "identity_unavailable")
  end
  headers:replace("x-ai-gateway-user", hidden)
  headers:replace("x-ai-gateway-tier", hidden_tier)
  if settings.metered and settings.labelled_users > 0 then metadata:set(METADATA, "metered_user", label_of(user)) end
  if name == settings.mcp_path then return mcp.judge(handle, headers, tier, user) end

  local only = nil
  local prefix, rest = path:match("^(/[^/?]+/[^/?]+)(/v1/.*)$")
  if not prefix then prefix, rest = path:match("^(/[^/?]+/[^/?]+)(/cohere/v2/.*)$") end
  if prefix then
    only = settings.backends[prefix]
    path = rest
    name = path:match("^[^?]*")
  end
  -- A path without a model that the tier may use does not exist for the tier.
  if prefix and (not only or #listed(tier, only) == 0) then
    return errors.refuse(handle, 404, "No provider or model answers under " .. prefix .. ".", anthropic, "unknown_url")
  end
  if prefix then
    headers:replace(":path", path)
  end
  -- The routes match the backend and the API of the path. A client cannot set these headers itself.
  headers:replace("x-ai-gateway-provider", only or "*")
  local served = settings.paths[name]
  headers:replace("x-ai-gateway-api", served and served.api or "openai")

  local listing = name == "/v1/models" or name:find("^/v1/models/") ~= nil
  if not listing and not served then
    local reason = unserved(name)
    return errors.refuse(handle, 404, "This gateway does not serve " .. name .. "." .. (reason and " " .. reason or ""),
      anthropic, reason and "unsupported_path" or "unknown_url")
  end
  if headers:get(":method") ~= (listing and "GET" or "POST") then
    return errors.refuse(handle, 405, "Use " .. (listing and "GET" or "POST") .. " for " .. name .. ".", anthropic,
      "method_not_allowed")
  end
  if name == "/v1/models" then
    return errors.send(handle, 200, list(listed(tier, only), anthropic))
  end
  if listing then
    local wanted = name:match("^/v1/models/(.*)$")
    wanted = wanted:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
    for _, model in ipairs(listed(tier, only)) do
      if model[1] == wanted then
        return errors.send(handle, 200, described(model, anthropic))
      end
    end
    return errors.send(handle, 404, missing(wanted, anthropic))
  end

  local problem = bodies.form_problem(headers)
  if problem then return errors.refuse(handle, 415, problem, anthropic, "unsupported_media_type") end
  -- A compressed response cannot be counted, and without the header any encoding would be allowed.
  headers:replace("accept-encoding", "identity")
  local buffer = handle:body(true)
  -- Envoy's own limit is soft: it passes on what it had read when it reached the limit.
  if buffer:length() > settings.body_limit then
    return errors.refuse(handle, 413, "The body is larger than this gateway takes.", anthropic, "body_too_large")
  end
  local text = buffer:length() > 0 and buffer:getBytes(0, buffer:length()) or ""
  local request, status, message, code = bodies.judged(text, name)
  if not request then return errors.refuse(handle, status, message, anthropic, code) end
  local model = settings.known[request.model]
  if not model or only and not model[only] then
    if settings.tiers[tier] ~= true then
      return errors.refuse(handle, 403, "The model does not exist, or tier " .. tier .. " may not use it.", anthropic,
        "model_not_allowed")
    end
    return errors.send(handle, 404, missing(request.model, anthropic))
  end
  -- A model that the tier may not use is refused further on, as one that does not exist.
  local reason = allows(tier, request.model) and unspoken(model, only, served)
  if reason then
    return errors.refuse(handle, 404, "The model " .. request.model .. " is not served under " .. name .. ": " .. reason
      .. ".", anthropic, "unsupported_path")
  end
  if served.limited and allows(tier, request.model) and not (settings.request_limits[tier] or {})[request.model] then
    return errors.refuse(handle, 403, "Tier " .. tier .. " has no request limit, without which " .. name
      .. " is not served: its answers need not report tokens.", anthropic, "request_limit_missing")
  end
  if allows(tier, request.model) and pools.is_unreadable(handle:headers(), request.model, name) then
    return errors.refuse(handle, 404, "The model " .. request.model .. " is not served under " .. name
      .. ". Use /v1/chat/completions, /v1/completions or /v1/messages.", anthropic, "unsupported_path")
  end
  local asks_router = settings.router and request.model == settings.router.model
  if asks_router and not allows(tier, request.model) then
    return errors.refuse(handle, 403, "The model does not exist, or tier " .. tier .. " may not use it.", anthropic,
      "model_not_allowed")
  end
  if asks_router and name ~= "/v1/chat/completions" then
    return errors.refuse(handle, 400, "A model is chosen for chats alone. Send the request to /v1/chat/completions, or "
      .. "name a model.", anthropic, "unsupported_request")
  end
  if asks_router then
    local field
    status, message, code, field = bodies.unchoosable(request, settings.router.body_limit, settings.router.model)
    if status then return errors.refuse(handle, status, message, anthropic, code, field) end
  end
  if request.text ~= text then buffer:setBytes(request.text) end
  metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(METADATA, "model", request.model)
  if settings.metered then
    metadata:set(METADATA, "provider", only_provider(model, only))
    metadata:set(METADATA, "operation", OPERATIONS[name] or name:match("[^/]*$"))
  end
  metadata:set(METADATA, "asked", #text)
  metadata:set(METADATA, "streams", request.streams)
  metadata:set(METADATA, "usage", served.usage)
  metadata:set(METADATA, "hides_usage", request.hides_usage == true)
  -- The costs for a client that disconnects before the response. The response replaces them.
  if served.usage ~= "free" then counting.reckon(handle, #text, 0) end
  if served.known_as then handle:headers():replace(":path", served.known_as) end
  if settings.pooled[request.model] then pools.prepare(handle, request.model, tier) end
  if asks_router then ask_router(handle, request.model, tier, hidden) end
end

function envoy_on_request(handle)
  errors.judge(handle, judge)
end

-- Whether a line of a stream has a usage, or null for it, that the client did not ask for.
local function is_unasked(data)
  if not data:find('"choices"%s*:%s*%[%s*%]') then return false end
  local value = json.read(data)
  return json.is_object(value) and json.is_array(value.choices) and #value.choices == 0 and value.usage ~= nil
end

local function hide_usage(handle)
  -- For a line without its end: whether it was passed on. Its end is handled in the same way.
  local passed, skips_blank, unended = {}, false, nil

  local read = lines.reader(function(line)
    local ends = line:find("\n$") ~= nil
    if unended ~= nil and line:find("^\r?\n$") then
      if unended then passed[#passed + 1] = line end
      unended = nil
      return
    end
    local data, passes = lines.data_of(line), true
    if data and is_unasked(data) then
      skips_blank, passes = true, false
    elseif skips_blank and line:find("^\r?\n$") then
      skips_blank, passes = false, false
    else
      skips_blank = skips_blank and not data
    end
    if passes then passed[#passed + 1] = line end
    unended = nil
    if not ends then unended = passes end
  end)

  for chunk in handle:bodyChunks() do
    local size = chunk:length()
    local arrived = size > 0 and chunk:getBytes(0, size) or ""
    read(arrived)
    local text = table.concat(passed)
    passed = {}
    if text ~= arrived then chunk:setBytes(text) end
  end
end

-- The tokens that Envoy AI Gateway read in a response that the program next to the provider cannot read.
local function count_read(handle)
  local told = handle:streamInfo():dynamicMetadata():get("io.envoy.ai_gateway")
  if type(told) ~= "table" then return end
  local total, input, output =
    tonumber(told.llm_total_tokens), tonumber(told.llm_input_tokens), tonumber(told.llm_output_tokens)
  if total and total > 0 and total <= counting.MOST then counting.count(handle, total, input or 0, output or 0) end
end

-- Removes the usage that only Envoy AI Gateway's processor needed.
local function without_usage(handle)
  local buffer = handle:body(true)
  local text = buffer:length() > 0 and buffer:getBytes(0, buffer:length()) or ""
  local first, last = text:find(counting.NONE, 1, true)
  if not first then return end
  handle:headers():replace("content-length", tostring(buffer:setBytes(text:sub(1, first - 1) .. text:sub(last + 1))))
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local kept = handle:streamInfo():dynamicMetadata():get(METADATA)
  if type(kept) ~= "table" then return end
  if kept.mcp then return mcp.answer(handle, kept) end
  if headers:get(":status") ~= "200" then return end
  if kept.usage == "free" then return without_usage(handle) end
  local is_stream = (headers:get("content-type") or ""):lower():find("text/event-stream", 1, true) == 1
  if kept.hides_usage and is_stream and not kept.compressed then
    -- The length is not that of the client's response.
    headers:remove("content-length")
    hide_usage(handle)
  elseif kept.compressed or kept.foreign then
    for _ in handle:bodyChunks() do end
  end
  if kept.compressed or kept.foreign then count_read(handle) end
end
