-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Who calls, by the token that a proxy has verified itself. verified.caller(metadata, check) returns the tier and the
-- user, or nil with the status, the message and the code of a refusal. No header of the client is read.
local verified = {}
do
  -- The bytes of a user's name.
  local LONGEST = 253

  -- A claim by its name or, where a token has none of that name, by the names on the way to it.
  local function claim(payload, name)
    if payload[name] ~= nil then return payload[name] end
    for part in name:gmatch("[^.]+") do
      if type(payload) ~= "table" then return nil end
      payload = payload[part]
    end
    return payload
  end

  local function of_service_account(payload)
    local namespace, user = tostring(payload.sub):match("^system:serviceaccount:([^:]+):([^:]+)$")
    local tier = namespace and settings.callers.namespaces[namespace]
    if not tier then return nil, 403, "The token belongs to no tier of this gateway.", "no_tier" end
    local issued, expires = tonumber(payload.iat), tonumber(payload.exp)
    local most = settings.callers.maximum_lifetime
    if not issued or not expires then
      return nil, 401, "The token does not say when it was issued and when it expires.", "invalid_api_key"
    end
    if expires - issued > most then
      return nil, 401, ("The token is valid for %d seconds, and this gateway accepts %d at most. Request one for a "
        .. "shorter time."):format(expires - issued, most), "token_lifetime"
    end
    return tier, user
  end

  local function of_issuer(payload, issuer)
    local user = claim(payload, issuer.user)
    if type(user) ~= "string" or user == "" or #user > LONGEST then
      return nil, 401, "The token does not name its user in the claim " .. issuer.user .. ".", "invalid_api_key"
    end
    local groups = claim(payload, issuer.groups)
    groups = type(groups) == "string" and {groups} or type(groups) == "table" and groups or {}
    local best = settings.callers.everyone
    for _, group in pairs(groups) do
      -- The names that Kubernetes gives are nobody else's to give.
      local found = type(group) == "string" and group:sub(1, 7) ~= "system:" and settings.callers.groups[group]
      if found and (not best or found[1] > best[1]) then best = found end
    end
    if not best then
      return nil, 403, "None of the token's groups, in the claim " .. issuer.groups
        .. ", belongs to a tier of this gateway.", "no_tier"
    end
    -- No ServiceAccount has a colon in its name.
    return best[2], issuer.prefix .. user
  end

  function verified.caller(metadata, check)
    local payloads = metadata:get("envoy.filters.http.jwt_authn")
    local payload = type(payloads) == "table" and payloads[check]
    if type(payload) ~= "table" then
      return nil, 503, "This gateway cannot check tokens at the moment. Try again in some seconds.",
        "authorization_unavailable"
    end
    if check == "signature" then return of_service_account(payload) end
    return of_issuer(payload, settings.callers.oidc[check])
  end
end
