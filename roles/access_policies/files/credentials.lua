-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Distinguishes credentials by their form, before any check, and puts each where exactly one check reads it. Nothing here
-- decides who calls: a token that claims to be of an issuer is verified by that issuer's keys, or refused.
local credentials = {}
do
  -- The bytes of a token whose payload is read. Envoy accepts 60 KiB of headers.
  local LONGEST = 32768
  local VALUES = {}
  for index = 1, 64 do
    VALUES[("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"):byte(index)] = index - 1
  end

  local function decoded(text)
    local bytes, bits, count = {}, 0, 0
    for index = 1, #text do
      bits, count = bits * 64 + VALUES[text:byte(index)], count + 6
      if count >= 8 then
        count = count - 8
        local scale = 2 ^ count
        local byte = math.floor(bits / scale)
        bytes[#bytes + 1], bits = string.char(byte), bits - byte * scale
      end
    end
    return table.concat(bytes)
  end

  -- The issuer that a token claims to be of; nil for what is no JSON Web Token.
  local function issuer_of(token)
    if #token > LONGEST then return nil end
    local payload = token:match("^[%w_-]+%.([%w_-]+)%.[%w_-]*$")
    if not payload then return nil end
    local claims = json.read(decoded(payload))
    return json.is_object(claims) and type(claims.iss) == "string" and claims.iss or nil
  end

  -- The checks of a worker's latest tokens.
  local KEPT = 1000
  local known, count = {}, 0

  local function check_of(token)
    local check = known[token]
    if check == nil then
      check = settings.callers.issuers[issuer_of(token) or ""] or false
      if count >= KEPT then known, count = {}, 0 end
      known[token], count = check, count + 1
    end
    return check
  end

  local function refused(handle, metadata, status, message, code)
    return errors.refuse(handle, status, message, metadata:get(METADATA).anthropic == true, code)
  end

  -- Chooses the check of a request; refuses a credential that no check accepts.
  function credentials.assign(handle, headers, metadata, token)
    local kept = metadata:get(METADATA)
    headers:remove(settings.callers.header)
    metadata:set(METADATA, "check", "review")
    -- maas-api has a check of its own.
    if kept.elsewhere then return end
    local check = token and check_of(token)
    -- The filters of the proxies' own checks come with the routes. Before that, Authorino can check what it knows.
    if check and kept.checks_tokens ~= true then
      if check == "signature" then return end
      return refused(handle, metadata, 503, "This gateway cannot check tokens of this issuer yet. Try again in some "
        .. "seconds.", "authorization_unavailable")
    end
    if check then
      metadata:set(METADATA, "check", check)
      headers:replace(settings.callers.header, check .. " " .. token)
      headers:remove("authorization")
    elseif not settings.callers.review and kept.checks_tokens == true then
      return refused(handle, metadata, 401, settings.callers.accepted, "invalid_api_key")
    end
  end
end
