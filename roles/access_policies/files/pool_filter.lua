-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Stands between the pods of an InferencePool and their endpoint picker. The picker ends, with all requests that it
-- has, at an answer whose usage it does not expect, and it logs a whole answer that is no JSON. What follows the picker
-- judges the answer for the client.

-- As in response_filter.lua.
local VALUES, DEPTH = 5000000, 1000
-- What the picker reads of a usage, without looking whether it is there.
local NUMBERS = {"prompt_tokens", "completion_tokens", "total_tokens"}

local function is_expected(usage)
  if usage == nil or usage == json.null then return true end
  if not json.is_object(usage) then return false end
  for _, name in ipairs(NUMBERS) do
    if type(usage[name]) ~= "number" then return false end
  end
  return true
end

local function replace(handle, buffer, text)
  local headers = handle:headers()
  headers:remove("content-encoding")
  headers:replace("content-type", "application/json")
  headers:replace("content-length", tostring(buffer:setBytes(text)))
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = tonumber(headers:get(":status") or "") or 0
  local content_type = headers:get("content-type") or ""
  local encoding = headers:get("content-encoding") or "identity"
  -- The picker recognizes streams by the same words, and passes them on.
  if content_type:find("text/event-stream", 1, true) then return end
  local buffer = handle:body(true)
  local size = buffer:length()
  if size == 0 then return end
  local text = buffer:getBytes(0, size)
  local value, spans = json.read(text, VALUES, DEPTH)
  if json.is_object(value) then
    if is_expected(value.usage) then return end
    handle:logWarn("a pod answered with a usage that its endpoint picker cannot read")
    local span = spans.usage
    return replace(handle, buffer, text:sub(1, span[1] - 1) .. "null" .. text:sub(span[2] + 1))
  end
  -- The picker reads null, and the filter after it refuses that as it would refuse this.
  if status >= 200 and status < 300 then return replace(handle, buffer, "null") end
  local words = encoding == "identity" and errors.words(text, content_type:lower())
    or "in words that are compressed with " .. encoding .. "."
  replace(handle, buffer, '{"message":' .. json.quoted(words) .. "}")
end
