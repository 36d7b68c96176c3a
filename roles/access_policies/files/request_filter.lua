-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- The first filter of a request and the last of its response: refuses malformed requests before other filters read
-- them, converts the token to one form, and converts every error to the client's API, with the true source of the
-- refusal.

-- Envoy accepts 100 headers and 60 KiB of them, and later filters add some.
local HEADERS, HEADER_BYTES = 80, 49152

-- The gateway's messages in place of the proxy's own, by the beginning of the response code details.
local REASONS = {
  {"request_payload_too_large", 413, "The body is larger than this gateway takes.", "body_too_large"},
  {"response_payload_too_large", 502, "The provider's answer is larger than this gateway takes.", "answer_too_large"},
  {"request_rate_limited"},
  {"local_rate_limited", 429, "This gateway takes no more requests at the moment. Try again in some seconds.",
    "rate_limit_exceeded"},
  {"rate_limiter_error", 503, "This gateway cannot check the limits at the moment. Try again in some seconds.",
    "limits_unavailable"},
  {"rbac_access_denied", 403, nil, "model_not_allowed"},
  {"jwt_authn_access_denied{Jwks_remote_fetch_is_failed", 503,
    "This gateway cannot fetch the keys of the token's issuer at the moment. Try again in some seconds.",
    "authorization_unavailable"},
  {"jwt_authn_access_denied{Jwt_is_expired", 401, "The token has expired. Send a new one.", "invalid_api_key"},
  {"jwt_authn_access_denied{Jwt_not_yet_valid", 401, "The token is not valid yet. Compare the issuer's clock with the "
    .. "gateway's.", "invalid_api_key"},
  {"jwt_authn_access_denied{Audiences_in_Jwt", 401, "The token is for another audience than this gateway.",
    "invalid_api_key"},
  {"jwt_authn_access_denied", 401, "The signature of the token could not be verified with the keys of its issuer.",
    "invalid_api_key"},
  {"ext_authz_error", 503, "This gateway cannot check tokens at the moment. Try again in some seconds.",
    "authorization_unavailable"},
  {"route_not_found", 404, nil, "model_not_found"},
  {"no_healthy_upstream", 503, "The provider of this model has no address that answers.", "provider_unavailable"},
  {"no_cluster", 503, "The provider of this model is not configured yet. Try again in some seconds.",
    "provider_unavailable"},
  {"cluster_not_found", 503, "The provider of this model is not configured yet. Try again in some seconds.",
    "provider_unavailable"},
  {"upstream_reset_before_response_started{overflow", 503,
    "This gateway has as many requests at that provider as it may. Try again in some seconds.", "gateway_busy"},
  {"upstream_reset_before_response_started", 503,
    "The provider of this model could not be reached, or hung up before it answered.", "provider_unavailable"},
  {"upstream_reset_after_response_started", 502, "The provider of this model hung up in the middle of its answer.",
    "provider_unavailable"},
  {"upstream_response_timeout", 504, "The provider of this model did not answer in time.", "provider_timeout"},
  {"response_timeout", 504, "The provider of this model did not answer in time.", "provider_timeout"},
  {"upstream_per_try_timeout", 504, "The provider of this model did not answer in time.", "provider_timeout"},
  {"request_overall_timeout", 408, "The request did not arrive in time.", "request_timeout"},
  {"stream_idle_timeout", 408, "Nothing more arrived of the request in time.", "request_timeout"},
  {"upstream", 502, "The provider of this model did not answer in HTTP that can be read.", "provider_unavailable"},
  {"http1", 400, "The request is no HTTP/1.1 that can be read.", "malformed_request"},
  {"http2", 400, "The request is no HTTP/2 that can be read.", "malformed_request"},
}

-- The same for an endpoint picker's, by its own name for what is wrong. Envoy has no details of these.
local PICKER = {
  InferencePoolResourceExhausted = {429, "All pods that serve this model are full. Try again in some seconds.",
    "pods_full"},
  ServiceUnavailable = {503, "The provider of this model has no address that answers.", "provider_unavailable"},
  BadRequest = {400, "The endpoint picker of this model cannot read the request: ", "unsupported_request"},
}

local function refused(handle, status, message, code)
  return errors.refuse(
    handle, status, message, handle:streamInfo():dynamicMetadata():get(METADATA).anthropic == true, code)
end

-- The fault of a path, for a client; nil for a path with only characters of RFC 3986 and complete escapes.
local function path_problem(path)
  if path:sub(1, 1) ~= "/" then return "does not begin with /" end
  if path:sub(1, 2) == "//" then return "begins with two slashes" end
  local wrong = path:find("[^A-Za-z0-9%-._~!$&'()*+,;=:@/?%%]")
  if wrong then return "has a character that must be escaped, at byte " .. wrong end
  local at = path:find("%", 1, true)
  while at do
    if not path:find("^%x%x", at + 1) then
      return "has an escape that is not % and two hexadecimal digits, at byte " .. at
    end
    if path:find("^[01]%x", at + 1) or path:find("^7[fF]", at + 1) then
      return "has an escaped control character, at byte " .. at
    end
    at = path:find("%", at + 3, true)
  end
  return nil
end

-- Puts the token of the request into the one form that is checked, Authorization: Bearer <token>. Returns its fault, or nil
-- and the token, where there is one.
local function one_token(headers)
  for _, name in ipairs({"authorization", "x-api-key"}) do
    if headers:getNumValues(name) > 1 then
      return "The request has several headers " .. name .. ". Send one token, in one header."
    end
  end
  local sent, key = headers:get("authorization"), headers:get("x-api-key")
  local token = nil
  if sent then
    local scheme, rest = sent:match("^%s*(%S+)%s+(%S+)%s*$")
    if scheme and scheme:lower() == "bearer" then
      token = rest
      headers:replace("authorization", "Bearer " .. token)
    end
  end
  if not key then return nil, token end
  -- A pattern that tries each blank as the end would need seconds for 48 kB of blanks.
  headers:remove("x-api-key")
  -- An empty header counts as missing.
  if not key:find("%S") then return nil, token end
  key = key:match("^%s*(%S+)%s*$")
  if not key then return "The header x-api-key holds more than a token." end
  -- With a header of another scheme beside it, the key is used; proxies and libraries add such headers.
  if token and token ~= key then
    return "The headers authorization and x-api-key have different tokens. Send one of them."
  end
  headers:replace("authorization", "Bearer " .. key)
  return nil, key
end

-- The response headers that a page of an allowed origin may read. Envoy's own filter for this is not in every build.
local EXPOSED = "retry-after, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, x-request-id"
local ORIGINS = {}
for index, origin in ipairs(settings.origins) do
  ORIGINS[index] = origin == "*" and ""
    or "^" .. origin:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*", "[%%w%%.%%-]+") .. "$"
end

-- The allowed origin in the response to a request's origin, or nil.
local function allowed_origin(origin)
  for index, pattern in ipairs(ORIGINS) do
    if origin:find(pattern) then return settings.origins[index] == "*" and "*" or origin end
  end
end

-- A browser's preflight request, which has no token.
local function answer_preflight(handle, headers, allowed, methods)
  local wanted = (headers:get("access-control-request-headers") or ""):match("^[%w%-, ]*$") or ""
  handle:respond({
    [":status"] = "204", ["access-control-allow-origin"] = allowed, ["access-control-allow-methods"] = methods,
    ["access-control-allow-headers"] = wanted, ["access-control-max-age"] = "600", vary = "origin",
  }, "")
end

local function begin(handle)
  local headers, metadata = handle:headers(), handle:streamInfo():dynamicMetadata()
  local path = headers:get(":path") or ""
  metadata:set(METADATA, "anthropic", errors.in_anthropics_api(headers))
  local of_mcp = path:match("^[^?]*") == settings.mcp_path
  metadata:set(METADATA, "mcp", of_mcp)
  -- maas-api answers these requests itself.
  metadata:set(METADATA, "elsewhere", settings.maas_api and path:find("^/maas%-api/") ~= nil)
  -- Without it the program after authorization refuses every request.
  metadata:set(METADATA, "begun", true)
  if settings.metered then metadata:set(METADATA, "began", handle:timestamp()) end
  local allowed = allowed_origin(headers:get("origin") or "")
  if allowed then
    metadata:set(METADATA, "origin", allowed)
    if headers:get(":method") == "OPTIONS" and headers:get("access-control-request-method") then
      return answer_preflight(handle, headers, allowed, of_mcp and "GET, POST, DELETE" or "GET, POST")
    end
  end
  local problem = path_problem(path)
  if problem then return refused(handle, 400, "The path " .. problem .. ".", "malformed_path") end
  local count, size = 0, 0
  for name, value in pairs(headers) do
    if json.not_utf8(value) then
      return refused(handle, 400, "The header " .. name .. " is not UTF-8.", "malformed_header")
    end
    count, size = count + 1, size + #name + #value
  end
  if count > HEADERS or size > HEADER_BYTES then
    return refused(handle, 431,
      "The request has too many headers, or too long ones: " .. count .. " with " .. size .. " bytes.",
      "headers_too_large")
  end
  local length = tonumber(headers:get("content-length") or "")
  -- Over HTTP/2 the body is accepted until the buffer is full: clients such as curl 7 do not read a response while they
  -- send.
  if length and length > settings.body_limit and handle:streamInfo():protocol() ~= "HTTP/2" then
    return refused(handle, 413,
      "The body has " .. length .. " bytes, and this gateway takes " .. settings.body_limit .. ".", "body_too_large")
  end
  local token
  problem, token = one_token(headers)
  if problem then return refused(handle, 400, problem, "several_tokens") end
  local is_key, code = false, nil
  if settings.api_keys then
    is_key, problem, code = api_keys.prepare(headers, token)
    if problem then return refused(handle, 401, problem, code) end
  end
  if settings.callers and not is_key then credentials.assign(handle, headers, metadata, token) end
end

function envoy_on_request(handle)
  errors.judge(handle, begin)
end

-- The message for an exhausted limit, and the counted unit.
local function spent(tier, headers)
  local stated = headers:get("x-ratelimit-limit") or ""
  local amount, seconds = stated:match("^(%d+), %1;w=(%d+)")
  if not amount then amount, seconds = stated:match("^(%d+),.-[ ,]%1;w=(%d+)") end
  local measures, shown = {}, amount
  for _, limit in ipairs(settings.limits[tier] or {}) do
    if tostring(limit[1]) == amount and tostring(limit[2]) == seconds then
      local measure = limit[3]
      -- A cost is counted in millionths.
      if measure == "cost" then
        shown, measure = ("%.6f"):format(limit[1] / 1000000):gsub("%.?0+$", ""), "units of cost"
      end
      measures[#measures + 1] = measure .. (limit[4] ~= "" and " of model " .. limit[4] or "")
    end
  end
  local measure = #measures > 0 and table.concat(measures, " or ") or "limit"
  local reset = headers:get("x-ratelimit-reset") or seconds
  local sentence = "The " .. (shown or "") .. " " .. measure .. " that tier " .. tier .. " allows a user in "
    .. (seconds or "?") .. " seconds are used up."
  return sentence .. " Try again in " .. (reset or "?") .. " seconds.",
    measure:find("request") and "requests" or "tokens", reset
end

-- A provider's error, which the program next to the provider has converted to the provider's API.
local function of_provider(status, text, content_type, anthropic)
  if errors.is_one(text, anthropic) then return text end
  local words = errors.words(text, content_type)
  if words:find("The provider ", 1, true) ~= 1 then words = errors.of_provider(status, words) end
  return errors.failure(status, words, anthropic, "provider_error")
end

-- The model that answered, in place of what anybody else says of it.
local EXECUTED = "x-maas-model-executed"
local function name_model(headers, kept, details)
  local told = headers:get(EXECUTED)
  headers:remove(EXECUTED)
  if not settings.router or details or not kept.model then return end
  local model = kept.model
  -- Behind the gateway, the router's own says it; it may know more models than this one.
  if model == settings.router.model then
    model = told and told ~= "none" and #told <= 253 and told:match("^%w[%w._:/@+-]*$")
  end
  if model then headers:replace(EXECUTED, model) end
end

local function of_gateway(status, text, details, headers, kept)
  -- A request that Envoy refused before this program has an error in the API of its path already.
  local anthropic, tier = kept.anthropic == true or kept.anthropic == nil and errors.is_one(text, true), kept.tier or ""
  if details == "lua_response" or details == "ext_authz_denied" then
    if errors.is_one(text, anthropic) then return status, text end
  end
  if kept.deciding == true and details:find("upstream_reset_before_response_started{overflow", 1, true) then
    headers:replace("retry-after", "1")
    return 503, errors.failure(503, "The semantic router chooses models for as many requests as it may at once. Try "
      .. "again in some seconds, or name a model.", anthropic, "router_busy")
  end
  -- Nobody chose the model of a request whose choice was not judged.
  if kept.deciding == true and (status >= 500 or details:find("^ext_proc") or details:find("^route_not_found")
    or details:find("^rbac_access_denied")) then
    return 503, errors.failure(503, "The semantic router does not answer at the moment. Name a model, or try again in "
      .. "some seconds.", anthropic, "router_unavailable")
  end
  -- With 504 Envoy reports that the request was complete.
  if status == 504 and (details:find("^stream_idle_timeout") or details:find("^request_overall_timeout")) then
    details = "response_timeout"
  end
  for _, reason in ipairs(REASONS) do
    if details:find(reason[1], 1, true) == 1 then
      local message, what = reason[3], nil
      local code = reason[4]
      if reason[1] == "request_rate_limited" then
        local reset
        message, what, reset = spent(tier, headers)
        code, status = "rate_limit_exceeded", 429
        if reset then headers:replace("retry-after", reset) end
      elseif reason[1] == "rbac_access_denied" then
        message = kept.deciding == false and errors.not_for(tier)
          or "The model does not exist, or tier " .. tier .. " may not use it."
      elseif reason[1] == "local_rate_limited" and kept.deciding == true then
        message, what = "A user may have a model chosen " .. settings.router.requests_per_second
          .. " times a second. Try again in a second, or name a model.", "requests"
        headers:replace("retry-after", "1")
      elseif reason[1] == "route_not_found" then
        message = kept.model and "The model does not exist, or is not served under this path or in this API."
          or "This gateway does not serve this path on this host."
        code = kept.model and code or "unknown_url"
      end
      status = reason[2] or status
      return status, errors.failure(status, message, anthropic, code, what)
    end
  end
  -- Envoy AI Gateway's error about a request that it cannot use. It is not JSON where it quotes the request.
  local value = json.read(text)
  local words = json.is_object(value) and json.is_object(value.error)
    and tostring(value.error.message):match("^" .. settings.unreadable:gsub("%p", "%%%0") .. " ?(.*)$") or text
  words = (words:match('"message":"(.*)"}}$') or errors.words(words, "")):match("^[^\n]*"):gsub(' "at index.*$', "")
  local name, said = words:match("^inference gateway: (%w+) %- (.*)$")
  local picker = PICKER[name or ""]
  if picker then
    return picker[1], errors.failure(
      picker[1], picker[1] == 400 and picker[2] .. said .. "." or picker[2], anthropic, picker[3])
  end
  if status >= 500 and kept.answered then
    return 502, errors.failure(502, "The provider's answer could not be read.", anthropic, "provider_error")
  end
  if status >= 500 then
    return 503, errors.failure(503, "This gateway cannot pass the request on at the moment. Try again in some seconds.",
      anthropic, "gateway_fault")
  end
  return status, errors.failure(status, words ~= "" and words or "This gateway refused the request.", anthropic, nil)
end

-- Who has refused the request and why, for the metrics; the reasons are the codes of errors.
local function explain(handle, status, details, kept)
  if not settings.metered then return end
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(METADATA, "refused_by", details and "gateway" or "provider")
  if not details then
    metadata:set(METADATA, "reason", "provider_error")
  elseif details == "ext_authz_denied" then
    metadata:set(METADATA, "reason", status == 401 and "invalid_api_key" or "no_tier")
  elseif details ~= "lua_response" or not kept.reason then
    metadata:set(METADATA, "reason", errors.latest_code())
  end
end

local function finish(handle)
  local headers = handle:headers()
  local status = tonumber(headers:get(":status") or "")
  local details = errors.refusal(headers)
  headers:remove(REFUSAL)
  local kept = handle:streamInfo():dynamicMetadata():get(METADATA)
  kept = type(kept) == "table" and kept or {}
  if kept.origin then
    headers:replace("access-control-allow-origin", kept.origin)
    headers:replace("access-control-expose-headers", kept.mcp and EXPOSED .. ", mcp-session-id" or EXPOSED)
    headers:replace("vary", "origin")
  else
    -- A provider does not decide which pages may call.
    headers:remove("access-control-allow-origin")
  end
  name_model(headers, kept, details)
  if not status or status < 400 then return end
  if kept.elsewhere and not details then return end
  local content_type = (headers:get("content-type") or ""):lower()
  local buffer = handle:body(true)
  -- The wait for the body invalidated the previous headers object.
  headers = handle:headers()
  local text = buffer:length() > 0 and buffer:getBytes(0, buffer:length()) or ""
  local changed
  if details then
    local ours
    ours, changed = of_gateway(status, text, details, headers, kept)
    explain(handle, ours, details, kept)
    if kept.mcp then changed = mcp_errors.of_gateway(ours, changed, kept) end
    if ours ~= status then headers:replace(":status", tostring(ours)) end
  elseif kept.mcp then
    explain(handle, status, details, kept)
    -- It asks for a token of the server's own.
    headers:remove("www-authenticate")
    local ours
    ours, changed = mcp_errors.of_answer(status, text, kept)
    if ours ~= status then headers:replace(":status", tostring(ours)) end
  else
    -- A request that was refused before this program has an error in the API of its path already.
    local anthropic = kept.anthropic == true or not kept.begun and errors.is_one(text, true)
    changed = of_provider(status, text, content_type, anthropic)
    explain(handle, status, details, kept)
  end
  headers:remove("content-encoding")
  headers:replace("content-type", "application/json")
  if changed ~= text then headers:replace("content-length", tostring(buffer:setBytes(changed))) end
end

function envoy_on_response(handle)
  local done, problem = pcall(finish, handle)
  if not done then handle:logErr("the error could not be reported: " .. tostring(problem)) end
end
