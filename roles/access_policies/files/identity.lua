-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- The value that represents a user from here on: HMAC-SHA256 with the key of this installation. A provider that sees it
-- learns no name and cannot guess names. identity.of(tier, user) returns 32 hexadecimal digits, or nil without a key.
local identity = {}
do
  -- These exist only in Envoy. Envoy Gateway, which tries the program first, has neither.
  local bits, file = bit, io.open(settings.identity_key_file, "rb")
  local key = file and file:read("*a") or ""
  if file then file:close() end

  local function hmac(message)
    local block = #key > 64 and hashes.sha256(key) or key
    block = block .. string.rep("\0", 64 - #block)
    local function padded(byte)
      return block:gsub(".", function(character) return string.char(bits.bxor(character:byte(), byte)) end)
    end
    return hashes.sha256(padded(92) .. hashes.sha256(padded(54) .. message))
  end

  -- The value of any string that nobody else can make; it is not kept.
  function identity.mark(text)
    if #key < 32 or not bits then return nil end
    return hashes.hexadecimal(hmac(text):sub(1, 16))
  end

  -- The values of a worker's latest callers.
  local KEPT = 10000
  local known, count = {}, 0

  function identity.of(tier, user)
    local name = tier .. ":" .. user
    local value = known[name]
    if not value then
      value = identity.mark(name)
      if not value then return nil end
      if count >= KEPT then known, count = {}, 0 end
      known[name], count = value, count + 1
    end
    return value
  end
end
