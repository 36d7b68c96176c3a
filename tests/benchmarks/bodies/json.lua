-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- A strict reader of JSON (RFC 8259) in what Lua 5.1, LuaJIT and gopher-lua have in common. It refuses what two readers may understand differently:
-- a name twice in an object, also where one is written with escapes, bytes that are not UTF-8, halves of surrogate pairs, and everything that is not JSON.
--
-- All of a text is judged, but only what a gateway decides by is kept, so that a text costs little more memory than itself. Kept are the members of the
-- outermost object and the members of the objects in it. Objects below these, items of arrays, and strings and numbers longer than LONGEST bytes stand as
-- `judged`. An object is a table by names; an array is a table whose only entry, at index 0, is its number of items; null is `null`.

local DEEPEST = 60 -- objects and arrays in one another
-- Values are what costs time: a text may have FEW, and one more for each so many BYTES, but never more than MOST. A name with escapes counts as ten.
local FEW, BYTES, MOST = 10000, 32, 100000
local LONGEST = 1000 -- bytes of a name, or of a string or number that is kept
local KEPT = 3 -- levels: the outermost value, its members, and theirs

local byte, char, find, floor, gsub, min, rep, sub = string.byte, string.char, string.find, math.floor, string.gsub, math.min, string.rep, string.sub

local null, judged = {}, {}

local PLAIN = "[a-~ #-[^-`%]\127!]*" -- of a string: ASCII without control characters, quotation mark and backslash
local SPACE = "^[ \n\r\t]*"
-- Eight at once where they are many, as each search has its price.
local EIGHT_ESCAPES = "^" .. rep(PLAIN .. '\\["\\/bfnrt]', 8)
local EIGHT_CODES = "^" .. rep("\\u[%da-cA-CefEF]%x%x%x", 8)
local EIGHT_CHARACTERS = "^" .. rep("[\225-\236\238\239][\128-\191][\128-\191]", 8)
local EIGHT_NUMBERS = "^" .. rep("%-?[1-9]%d*, ?", 8)
PLAIN = "^" .. PLAIN

-- By the byte after the backslash.
local SIMPLE = {[34] = true, [92] = true, [47] = true, [98] = true, [102] = true, [110] = true, [114] = true, [116] = true}
local LETTERS = {b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"}

local left -- values that the text may still have

local function at(problem, position)
  return nil, problem .. " at byte " .. position
end

-- The position after a character of more than one byte, or nil.
local function after_character(text, position)
  local first, second, third, fourth = byte(text, position, position + 3)
  if first < 194 or first > 244 or not second or second < 128 or second > 191 then return nil end
  if first < 224 then return position + 2 end
  if not third or third < 128 or third > 191 then return nil end
  if first < 240 then
    if (first == 224 and second < 160) or (first == 237 and second > 159) then return nil end
    return position + 3
  end
  if not fourth or fourth < 128 or fourth > 191 or (first == 240 and second < 144) or (first == 244 and second > 143) then return nil end
  return position + 4
end

-- The position after a string whose first character is at a position, and whether it has escapes; or nil and the problem.
local function after_string(text, position)
  local escaped = false
  while true do
    local start = position
    local next = byte(text, position)
    local _, last
    if next and next < 128 and next ~= 34 and next ~= 92 then
      _, last = find(text, PLAIN, position)
      position = last + 1
      next = byte(text, position)
    end
    if next == 34 then return position + 1, escaped end
    if not next then return nil, "a string does not end" end
    if next == 92 then
      escaped = true
      next = byte(text, position + 1)
      if SIMPLE[next] then
        last = position - start < 16 and select(2, find(text, EIGHT_ESCAPES, position))
        position = last and last + 1 or position + 2
      elseif next ~= 117 then
        return at("an escape that JSON does not have", position)
      else
        _, last = find(text, EIGHT_CODES, position)
        if not last then _, last = find(text, "^[%da-cA-CefEF]%x%x%x", position + 2) end
        if not last then _, last = find(text, "^[dD][0-7]%x%x", position + 2) end
        if not last then _, last = find(text, "^[dD][89abAB]%x%x\\u[dD][c-fC-F]%x%x", position + 2) end
        if not last then return at("an escape that is no character", position) end
        position = last + 1
      end
    elseif next < 128 then
      return at("a control character in a string", position)
    else
      repeat
        last = nil
        if next > 224 then _, last = find(text, EIGHT_CHARACTERS, position) end
        local after = last and last + 1 or after_character(text, position)
        if not after then return at("bytes that are not UTF-8", position) end
        position = after
        next = byte(text, position)
      until not next or next < 128
    end
  end
end

-- The bytes of a character of a number.
local function utf8(code)
  if code < 128 then return char(code) end
  if code < 2048 then return char(192 + floor(code / 64), 128 + code % 64) end
  if code < 65536 then return char(224 + floor(code / 4096), 128 + floor(code / 64) % 64, 128 + code % 64) end
  return char(240 + floor(code / 262144), 128 + floor(code / 4096) % 64, 128 + floor(code / 64) % 64, 128 + code % 64)
end

local high -- the first half of a surrogate pair whose second half comes next

local function meaning(kind, digits)
  if kind ~= "u" then return (LETTERS[kind] or kind) .. digits end
  local code = tonumber(digits, 16)
  if code >= 55296 and code < 56320 then
    high = code
    return ""
  end
  if code >= 56320 and code < 57344 then code = 65536 + (high - 55296) * 1024 + code - 56320 end
  return utf8(code)
end

-- What a string with valid escapes means.
local function unescaped(content)
  return (gsub(content, "\\(.)(%x?%x?%x?%x?)", meaning))
end

-- The position and the byte of what follows after white space; the byte is 0 at the end.
local function after_space(text, position)
  local next = byte(text, position) or 0
  if next > 32 then return position, next end
  next = byte(text, position + 1) or 0
  if next > 32 and byte(text, position) == 32 then return position + 1, next end -- mostly it is one space
  local _, last = find(text, SPACE, position)
  return last + 1, byte(text, last + 1) or 0
end

local function after_number(text, position)
  local _, last = find(text, "^%-?[1-9]%d*", position)
  if not last then _, last = find(text, "^%-?0", position) end
  if not last then return nil end
  local next = byte(text, last + 1)
  if next == 46 then
    _, last = find(text, "^%d+", last + 2)
    if not last then return nil end
    next = byte(text, last + 1)
  end
  if next == 101 or next == 69 then
    _, last = find(text, "^[+-]?%d+", last + 2)
    if not last then return nil end
  end
  return last + 1
end

-- The position after the value that begins at a position with a byte, and what is kept of it; or nil and the problem.
local function after_value(text, position, first, depth, kept)
  left = left - 1
  if left < 0 then return nil, "too many values for its size" end
  if first == 34 then -- a string
    local after, escaped = after_string(text, position + 1)
    if not after then return nil, escaped end
    if kept == 0 or after - position > LONGEST then return after, judged end
    local content = sub(text, position + 1, after - 2)
    return after, escaped and unescaped(content) or content
  end
  if first == 123 or first == 91 then
    if depth == 0 then return nil, "more than " .. DEEPEST .. " objects and arrays in one another" end
    depth = depth - 1
  end
  if first == 123 then -- an object
    local next
    position, next = after_space(text, position + 1)
    if next == 125 then return position + 1, kept > 1 and {} or judged end
    local members = {}
    local inner = kept > 0 and kept - 1 or 0
    while true do
      if next ~= 34 then return at("no name where an object's member begins", position) end
      local after, escaped = after_string(text, position + 1)
      if not after then return nil, escaped end
      if after - position > LONGEST then return at("a name longer than " .. LONGEST .. " bytes", position) end
      local name = sub(text, position + 1, after - 2)
      if escaped then
        name = unescaped(name)
        left = left - 9
      end
      if members[name] ~= nil then return nil, "an object with " .. name .. " twice" end
      position, next = after_space(text, after)
      if next ~= 58 then return at("no colon after a name", position) end
      position, next = after_space(text, position + 1)
      local member
      position, member = after_value(text, position, next, depth, inner)
      if not position then return nil, member end
      members[name] = member
      position, next = after_space(text, position)
      if next == 125 then return position + 1, kept > 1 and members or judged end
      if next ~= 44 then return at("no comma between an object's members", position) end
      position, next = after_space(text, position + 1)
    end
  end
  if first == 91 then -- an array
    local items = 0
    local next
    position, next = after_space(text, position + 1)
    if next == 93 then return position + 1, kept > 1 and {[0] = 0} or judged end
    while true do
      local last
      if next < 58 and next > 44 then
        _, last = find(text, EIGHT_NUMBERS, position)
      end
      if last then
        left = left - 1
        if left < 0 then return nil, "too many values for its size" end
        items = items + 8
        position, next = after_space(text, last + 1)
      else
        local item
        position, item = after_value(text, position, next, depth, 0)
        if not position then return nil, item end
        items = items + 1
        position, next = after_space(text, position)
        if next == 93 then return position + 1, kept > 1 and {[0] = items} or judged end
        if next ~= 44 then return at("no comma between an array's items", position) end
        position, next = after_space(text, position + 1)
      end
    end
  end
  if first == 116 and sub(text, position, position + 3) == "true" then return position + 4, true end
  if first == 102 and sub(text, position, position + 4) == "false" then return position + 5, false end
  if first == 110 and sub(text, position, position + 3) == "null" then return position + 4, null end
  local after = after_number(text, position)
  if not after then return at("no value", position) end
  if kept == 0 or after - position > LONGEST then return after, judged end
  return after, tonumber(sub(text, position, after - 1)) or judged -- gopher-lua knows few exponents
end

-- What is kept of a text, or nil and what is wrong with the text, as words that follow upon "The body has".
local function read(text)
  left = min(FEW + #text / BYTES, MOST)
  local position, next = after_space(text, 1)
  local value
  position, value = after_value(text, position, next, DEEPEST, KEPT)
  if not position then return nil, value end
  position = after_space(text, position)
  if position <= #text then return at("more than one value", position) end
  return value
end
