-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Judges the model that the semantic router chose. A request that names its model does not come by the router, and this
-- program leaves it alone.

-- What the router sets for other gateways, and what it was asked by. No provider receives any of it.
local function hide_router(headers)
  local found = {}
  for name in pairs(headers) do
    if name:find("^x%-vsr%-") then found[#found + 1] = name end
  end
  for _, names in ipairs({settings.router.headers, found}) do
    for _, name in ipairs(names) do headers:remove(name) end
  end
end

local function judge(handle)
  local kept = handle:streamInfo():dynamicMetadata():get(METADATA)
  if type(kept) ~= "table" or kept.deciding ~= true then return end
  local headers = handle:headers()
  local name = (headers:get(":path") or ""):match("^[^?]*")
  hide_router(headers)
  local buffer = handle:body(true)
  local text = buffer:length() > 0 and buffer:getBytes(0, buffer:length()) or ""
  local request, _, message = bodies.judged(text, name)
  if not request or request.streams ~= kept.streams then
    handle:logErr("the semantic router made another request: " .. (message or "a stream, or none"))
    return errors.refuse(handle, 503, "The semantic router made a request that cannot be passed on.", false,
      "router_fault")
  end
  local model, allowed = request.model, settings.tiers[kept.tier]
  if not settings.router.models[model] then
    handle:logErr("the semantic router chose " .. model .. ", which is none of its models")
    return errors.refuse(handle, 503, "The semantic router chose no model of this gateway. Name one.", false,
      "router_fault")
  end
  if allowed ~= true and not (type(allowed) == "table" and allowed[model]) then
    return errors.refuse(handle, 403, errors.not_for(kept.tier), false, "model_not_allowed")
  end
  if request.text ~= text then buffer:setBytes(request.text) end
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(METADATA, "deciding", false)
  metadata:set(METADATA, "model", model)
  if settings.metered then metadata:set(METADATA, "provider", settings.only_providers[model] or "") end
  metadata:set(METADATA, "asked", #request.text)
  counting.reckon(handle, #request.text, 0)
  if settings.pooled[model] then pools.prepare(handle, model, kept.tier) end
end

function envoy_on_request(handle)
  errors.judge(handle, judge)
end
