-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- The first filter of the Envoy that calls the models which the semantic router chooses. It reads bodies once and
-- strictly, as a gateway in front of it need not have done.

local PATH = "/v1/chat/completions"

-- The body and its bytes. A larger one than is judged stays unread, but over HTTP/2: clients such as curl 7 do not read
-- an answer while they send.
local function body_of(handle)
  local length = tonumber(handle:headers():get("content-length") or "") or 0
  if length > settings.body_limit and handle:streamInfo():protocol() ~= "HTTP/2" then return nil, length end
  local buffer = handle:body(true)
  return buffer, buffer:length()
end

-- The status, message, code and field of a refusal; or nil.
local function problem_of(headers, buffer, length)
  local name = (headers:get(":path") or ""):match("^[^?]*")
  if name ~= PATH then
    return 404, "A model is chosen for " .. PATH .. " alone, and not for " .. name .. ".", "unknown_url"
  end
  if headers:get(":method") ~= "POST" then return 405, "Use POST for " .. name .. ".", "method_not_allowed" end
  local problem = bodies.form_problem(headers)
  if problem then return 415, problem, "unsupported_media_type" end
  if length > settings.body_limit then
    return 413, bodies.too_large(length, settings.body_limit, settings.model), "body_too_large"
  end
  local text = length > 0 and buffer:getBytes(0, length) or ""
  local request, status, message, code = bodies.judged(text, name)
  if not request then return status, message, code end
  if request.model ~= settings.model then
    return 404, "A model is chosen here for requests whose model is " .. settings.model .. ", and this one names "
      .. "another. Send it to the path of that model.", "model_not_found"
  end
  local field
  status, message, code, field = bodies.unchoosable(request, settings.body_limit, settings.model)
  if status then return status, message, code, field end
  if request.text ~= text then buffer:setBytes(request.text) end
end

local function judge(handle)
  local buffer, length = body_of(handle)
  local headers = handle:headers()
  local status, message, code, field = problem_of(headers, buffer, length)
  if status then return errors.refuse(handle, status, message, false, code, field) end
  -- Nothing counts the tokens of a compressed answer, and without the header any encoding would be allowed.
  headers:replace("accept-encoding", "identity")
end

function envoy_on_request(handle)
  errors.judge(handle, judge)
end
