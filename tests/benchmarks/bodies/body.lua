-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- What stands after json.lua: judges the body of a request.
function envoy_on_request(handle)
  local buffer = handle:body(true)
  local value = json.read(buffer:getBytes(0, buffer:length()))
  if not json.is_object(value) or type(value.model) ~= "string" then
    handle:respond({[":status"] = "400", ["content-type"] = "application/json"}, '{"error":{"message":"refused"}}')
  end
end
