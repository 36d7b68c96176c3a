-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Errors in the words of both APIs.
local answers = {}
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

  -- The body of an error; code and what, its kind where the status does not say it, are OpenAI's alone.
  function answers.failure(status, message, anthropic, code, what)
    if anthropic then
      return '{"type":"error","error":{"type":' .. json.quoted(kind(status, true)) .. ',"message":' .. json.quoted(message) .. "}}"
    end
    return '{"error":{"message":' .. json.quoted(message) .. ',"type":' .. json.quoted(what or kind(status, false))
      .. ',"param":null,"code":' .. (code and json.quoted(code) or "null") .. "}}"
  end

  function answers.send(handle, status, body)
    handle:respond({[":status"] = tostring(status), ["content-type"] = "application/json"}, body)
  end

  function answers.refuse(handle, status, message, anthropic, code)
    answers.send(handle, status, answers.failure(status, message, anthropic, code))
  end
end
