-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- API keys of callers. A key is <prefix>_<id><end><secret><checksum>, as in plugins/module_utils/_api_keys.py. Behind this
-- program only its SHA-256 is sent, which is all that the cluster keeps of it.
local api_keys = {}
do
  local DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
  -- The characters of the id, of the time at which the key ends, of the secret, and of the checksum.
  local ID, TIME, SECRET, CHECKSUM = 8, 6, 30, 6
  local PREFIX = settings.api_keys.prefix .. "_"
  local VALUES = {}
  for index = 1, #DIGITS do VALUES[DIGITS:byte(index)] = index - 1 end

  local CRC = {}
  for index = 0, 255 do
    local value = index
    for _ = 1, 8 do
      value = bit.bxor(bit.rshift(value, 1), bit.band(value, 1) == 1 and 0xEDB88320 or 0)
    end
    CRC[index] = value
  end

  -- CRC-32 as zlib has it, as a number from 0.
  local function checksum(text)
    local value = bit.bnot(0)
    for index = 1, #text do
      value = bit.bxor(bit.rshift(value, 8), CRC[bit.band(bit.bxor(value, text:byte(index)), 255)])
    end
    return bit.bnot(value) % 4294967296
  end

  -- The number that some digits are; nil where one is none.
  local function number(digits)
    local value = 0
    for index = 1, #digits do
      local digit = VALUES[digits:byte(index)]
      if not digit then return nil end
      value = value * 62 + digit
    end
    return value
  end

  -- Whether a token means to be an API key, by its prefix. No other kind of token begins so.
  function api_keys.is_key(token)
    return token:sub(1, #PREFIX) == PREFIX
  end

  -- The time at which a key ends, or nil and the fault of what is none.
  local function ending(key)
    local body = key:sub(#PREFIX + 1)
    if #body ~= ID + TIME + SECRET + CHECKSUM or not body:find("^%w+$") then
      return nil, "The API key is incomplete, or has more than a key. Send it as it was issued."
    end
    if number(body:sub(-CHECKSUM)) ~= checksum(body:sub(1, -CHECKSUM - 1)) then
      return nil, "The API key has a wrong character: its checksum differs. Send it as it was issued."
    end
    return number(body:sub(ID + 1, ID + TIME))
  end

  -- Puts the SHA-256 of a key in the place of the key. Whatever a client sent as one is removed, of each request. Returns
  -- whether the token is an API key and, if it is of no use, why and the code of that.
  function api_keys.prepare(headers, token)
    for _, name in ipairs(settings.api_keys.headers) do headers:remove(name) end
    if not token or not api_keys.is_key(token) then return false end
    headers:remove("authorization")
    headers:remove("x-api-key")
    local time, problem = ending(token)
    if not time then return true, problem, "invalid_api_key" end
    if time <= os.time() then
      return true, "The API key ended at " .. os.date("!%Y-%m-%dT%H:%M:%SZ", time) .. ". Ask for a new one.",
        "expired_api_key"
    end
    local digest = hashes.hexadecimal(hashes.sha256(token))
    local part = tonumber(digest:sub(1, 1), 16) % #settings.api_keys.headers
    headers:replace(settings.api_keys.headers[part + 1], digest)
    return true
  end
end
