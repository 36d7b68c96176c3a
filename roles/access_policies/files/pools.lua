-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- What a request to an InferencePool needs.
local pools = {}
do
  -- When a worker of the proxy asked an endpoint picker last, and whether it answered.
  local asked_pickers = {}
  local ASK_EVERY, ASK_FOR = 1, 500
  -- What a picker says of its health: nothing yet, that it is well, or that it does not know the question. Where it
  -- cannot be reached, Envoy says 200 too, and that it is not available.
  local WELL = {[""] = true, ["0"] = true, ["12"] = true}
  local function answers(handle, picker)
    local last, now = asked_pickers[picker], os.time()
    if last and now - last.at < ASK_EVERY then return last.answered end
    -- While one request waits for the answer, the others go by the previous one. The first ones of all find a picker
    -- that answers, and fail where it does not.
    asked_pickers[picker] = {at = now, answered = not last or last.answered}
    local called, headers = pcall(handle.httpCall, handle, picker, {
      [":method"] = "POST", [":path"] = "/grpc.health.v1.Health/Check", [":authority"] = "endpoint-picker",
      ["content-type"] = "application/grpc", te = "trailers",
    }, "\0\0\0\0\0", ASK_FOR)
    local answered = called and type(headers) == "table" and headers[":status"] == "200"
      and WELL[headers["grpc-status"] or ""] == true
    asked_pickers[picker] = {at = os.time(), answered = answered}
    return answered
  end

  -- What an endpoint picker can read: it looks for a prompt or for messages.
  local READ = {["/v1/chat/completions"] = true, ["/v1/completions"] = true, ["/v1/messages"] = true}

  -- Whether the model's endpoint picker could not read the request. Its pool's own host leads past it.
  function pools.is_unreadable(headers, model, name)
    local pooled = settings.pooled[model]
    if not pooled or READ[name] then return false end
    local host = (headers:get(":authority") or ""):lower():match("^[^:]*")
    return settings.pools[pooled[1]].direct ~= host
  end

  -- What the endpoint picker of the model's pool must know, or another route where it does not answer.
  function pools.prepare(handle, model, tier)
    local backend, objective = unpack(settings.pooled[model])
    local pool = settings.pools[backend]
    if objective == "" then objective = settings.objectives[tier] end
    if objective and pool.objectives then objective = pool.objectives[objective] end
    if objective then handle:headers():replace("x-gateway-inference-objective", objective) end
    if pool.picker and not answers(handle, pool.picker) then
      handle:logWarn("the endpoint picker of " .. backend .. " does not answer: the request goes to any pod")
      handle:headers():replace("x-ai-gateway-provider", backend .. ".direct")
    end
  end
end
