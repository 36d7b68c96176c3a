# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that a Gateway's proxies run so that its limits can count:

which model a request is for, and how many tokens its answer used.
"""

from __future__ import annotations

#: The request header that holds the model of the request's body.
MODEL_HEADER = "x-kuadrant-model"
#: The request header that holds the path as the client sent it: when an answer's tokens are counted, the route has
#: rewritten the path itself.
PATH_HEADER = "x-kuadrant-path"
#: Where the proxies find the tokens of an answer.
METADATA_NAMESPACE = "kuadrant"
METADATA_KEY = "total_tokens"

_HEAD = """\
local MODEL_HEADER, PATH_HEADER, METADATA, TOTAL = "%(model)s", "%(path)s", "%(namespace)s", "%(key)s"
local READ_MODEL, COUNT_TOKENS = %(read_model)s, %(count_tokens)s
"""

_BODY = r"""
-- As much of an answer as the end of a count may be cut off from its name by the border of two chunks.
local TAIL = 64
local ESCAPED = {b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"}

local function encoded(digits)
  local code = tonumber(digits, 16)
  if code < 0x80 then return string.char(code) end
  if code < 0x800 then return string.char(0xC0 + math.floor(code / 0x40), 0x80 + code % 0x40) end
  return string.char(0xE0 + math.floor(code / 0x1000), 0x80 + math.floor(code / 0x40) % 0x40, 0x80 + code % 0x40)
end

-- What a string of JSON says.
local function unescaped(text)
  text = text:gsub("\\\\", "\\u005c"):gsub("\\u(%x%x%x%x)", function(digits) return "\0" .. digits end)
  text = text:gsub("\\(.)", function(character) return ESCAPED[character] or character end)
  return (text:gsub("%z(%x%x%x%x)", encoded))
end

-- The position after the string of JSON whose text begins at `from`.
local function after_string(text, from)
  while true do
    local at = text:find('["\\]', from)
    if not at then return nil end
    if text:byte(at) == 34 then return at + 1 end
    from = at + 2
  end
end

-- The string that the outermost object of a JSON text has under a name. As with other readers, the last of several counts.
local function string_of(text, name)
  local depth, from, found = 0, 1, nil
  while true do
    local at = text:find('["{}%[%]]', from)
    if not at then return found end
    local character = text:sub(at, at)
    from = at + 1
    if character == '"' then
      from = after_string(text, at + 1)
      if not from then return found end
      if depth == 1 and unescaped(text:sub(at + 1, from - 2)) == name then
        local value = text:match('^%s*:%s*()', from)
        if value then
          found = nil
          local ended = text:sub(value, value) == '"' and after_string(text, value + 1)
          if ended then
            found = unescaped(text:sub(value + 1, ended - 2))
            from = ended
          end
        end
      end
    elseif character == "{" or character == "[" then
      depth = depth + 1
    else
      depth = depth - 1
    end
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  -- What a client says of these does not count.
  headers:remove(MODEL_HEADER)
  headers:replace(PATH_HEADER, headers:get(":path"))
  -- In a compressed answer no tokens can be found.
  if COUNT_TOKENS then headers:remove("accept-encoding") end
  if not READ_MODEL or headers:get(":method") ~= "POST" then return end
  local buffer = handle:body(true)
  local length = buffer:length()
  local model = length > 0 and string_of(buffer:getBytes(0, length), "model")
  -- The wait for the body ended the life of the headers that were got before.
  if model then handle:headers():replace(MODEL_HEADER, (model:gsub("%c", ""))) end
end

function envoy_on_response(handle)
  if not COUNT_TOKENS then return end
  local tail, total = "", 0
  handle:streamInfo():dynamicMetadata():set(METADATA, TOTAL, total)
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    if length > 0 then
      tail = tail .. chunk:getBytes(0, length)
      -- In a text that a model wrote the quotes are escaped, so this is the answer's own count; of a stream's several the last is all of them.
      for count in tail:gmatch('"total_tokens"%s*:%s*(%d+)') do total = tonumber(count) end
      handle:streamInfo():dynamicMetadata():set(METADATA, TOTAL, total)
      tail = tail:sub(-TAIL)
    end
  end
end
"""


def program(*, read_model: bool, count_tokens: bool) -> str:
    """The Lua text; the model is only read, which holds up each request's body, where a limit asks for it."""
    flags = {"read_model": str(read_model).lower(), "count_tokens": str(count_tokens).lower()}
    return (
        _HEAD
        % {"model": MODEL_HEADER, "path": PATH_HEADER, "namespace": METADATA_NAMESPACE, "key": METADATA_KEY, **flags}
        + _BODY
    )
