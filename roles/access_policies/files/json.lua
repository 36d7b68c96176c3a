-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- A strict reader of JSON (RFC 8259): UTF-8 alone, no key twice in an object in any spelling, nothing after the value.
-- json.read(body) returns the value, and the position of each value of the outermost object by its key: {first byte,
-- last byte}. For anything else it returns nil and the fault. Objects and arrays are tables, null is json.null. Escapes
-- are not replaced in strings inside arrays or more than two objects, as no caller needs these.
local json = {null = {}}
do
  local byte, find, sub, char, concat = string.byte, string.find, string.sub, string.char, table.concat
  -- No request of either API nests as deeply or has as many values; one that does is an attack. Names of the outermost
  -- object, whose positions are kept, and names with escapes are expensive, and no request has many different ones.
  local DEPTH, VALUES, OUTERMOST, ESCAPED_NAMES = 64, 500000, 1000, 1000
  -- The number of objects and arrays, and the bytes that allow one more: in ordinary requests they are not empty.
  local TABLES, BYTES = 2000, 8
  local ESCAPED = {
    [34] = '"', [92] = "\\", [47] = "/", [98] = "\b", [102] = "\f", [110] = "\n", [114] = "\r", [116] = "\t"}
  local LITERALS = {[116] = {"true", true}, [102] = {"false", false}, [110] = {"null", json.null}}

  -- The string to read, and the next backslash and control character at or after a position: each is searched once.
  local text, backslash, control, values, tables, depth, spans
  -- Names with escapes, from their spelling to their value.
  local names, named
  local allowed, deep

  local function fail(problem, at)
    error({problem = problem .. " at byte " .. at}, 0)
  end

  local function next_backslash(at)
    if backslash < at then backslash = find(text, "\\", at, true) or math.huge end
    return backslash
  end

  local function next_control(at)
    if control < at then
      -- Byte by byte, as LuaJIT compiles this loop, and not a pattern.
      local size = #text
      while at <= size and byte(text, at) > 31 do at = at + 1 end
      control = at <= size and at or math.huge
    end
    return control
  end

  local function after_space(at)
    local code = byte(text, at)
    if code and code > 32 then return at, code end
    local _, stop = find(text, "^[ \t\r\n]*", at)
    return stop + 1, byte(text, stop + 1)
  end

  local function utf8(code)
    if code < 128 then return char(code) end
    if code < 2048 then return char(192 + math.floor(code / 64), 128 + code % 64) end
    if code < 65536 then
      return char(224 + math.floor(code / 4096), 128 + math.floor(code / 64) % 64, 128 + code % 64)
    end
    return char(
      240 + math.floor(code / 262144), 128 + math.floor(code / 4096) % 64, 128 + math.floor(code / 64) % 64,
      128 + code % 64)
  end

  -- The number of the four hexadecimal digits from there on.
  local function unit(at)
    local number = 0
    for place = at, at + 3 do
      local code = byte(text, place) or 0
      local digit = code >= 48 and code <= 57 and code - 48 or code >= 97 and code <= 102 and code - 87
        or code >= 65 and code <= 70 and code - 55
      if not digit then fail("an escape is not four hexadecimal digits", at) end
      number = number * 16 + digit
    end
    return number
  end

  -- The value of the escape at that backslash, and the position after it.
  local function read_escape(at)
    local code = byte(text, at + 1)
    if code ~= 117 then return ESCAPED[code] or fail("an escape is none of JSON's", at), at + 2 end
    local first = unit(at + 2)
    if first < 55296 or first > 57343 then return first, at + 6 end
    local second = first <= 56319 and byte(text, at + 6) == 92 and byte(text, at + 7) == 117 and unit(at + 8) or 0
    if second < 56320 or second > 57343 then fail("an escape is half of a character", at) end
    return 65536 + (first - 55296) * 1024 + second - 56320, at + 12
  end

  -- Reads from the byte after the opening quote; returns the string and the position after the closing quote. Escapes
  -- are always checked, and replaced if wanted is true.
  local function read_string(at, wanted)
    local first = at
    local stop = find(text, '"', at, true) or fail("a string has no end", at)
    local parts, count, done = nil, 0, nil
    while next_backslash(at) < stop do
      if wanted then
        parts = parts or {}
        parts[count + 1] = sub(text, at, backslash - 1)
        local stands
        stands, at = read_escape(backslash)
        count = count + 2
        parts[count] = type(stands) == "number" and utf8(stands) or stands
        if count >= 8192 then
          done = done or {}
          done[#done + 1] = concat(parts, "", 1, count)
          count = 0
        end
      else
        local _
        _, at = read_escape(backslash)
      end
      if at > stop then stop = find(text, '"', at, true) or fail("a string has no end", at) end
    end
    if next_control(first) < stop then fail("a string has a control character", control) end
    if not parts then return sub(text, first, stop - 1), stop + 1 end
    parts[count + 1] = sub(text, at, stop - 1)
    local last = concat(parts, "", 1, count + 1)
    return done and concat(done) .. last or last, stop + 1
  end

  local function after_digits(at)
    local code = byte(text, at)
    if not code or code < 48 or code > 57 then fail("a number is none of JSON's", at) end
    repeat
      at = at + 1
      code = byte(text, at)
    until not code or code < 48 or code > 57
    return at, code
  end

  -- Whether a number begins with that byte.
  local function is_number(code)
    return code == 45 or code ~= nil and code >= 48 and code <= 57
  end

  local function read_number(first)
    local at = byte(text, first) == 45 and first + 1 or first
    local zero = byte(text, at) == 48
    local stop, code = after_digits(at)
    if zero and stop > at + 1 then fail("a number is none of JSON's", first) end
    if code == 46 then stop, code = after_digits(stop + 1) end
    local digits = 0
    if code == 69 or code == 101 then
      local sign = byte(text, stop + 1)
      local exponent = (sign == 43 or sign == 45) and stop + 2 or stop + 1
      stop = after_digits(exponent)
      digits = stop - exponent
    end
    -- LuaJIT needs up to a tenth of a millisecond for a large exponent or hundreds of digits. No caller needs such a
    -- number; it becomes one that is not whole.
    if digits > 1 or stop - first > 40 then return 0.5, stop end
    return tonumber(sub(text, first, stop - 1)), stop
  end

  -- The value of the name with escapes that begins at that quote.
  local function name_of(written, opening)
    local name = names[written]
    if not name then
      named = named + 1
      if named > ESCAPED_NAMES then fail("there are too many names with escapes", opening) end
      -- It is read again.
      backslash = opening
      name = read_string(opening + 1, true)
      names[written] = name
    end
    return name
  end

  -- Numbers that follow each other in an array, in a loop of their own, which LuaJIT compiles whatever other arrays
  -- contain. Returns the number of items, and the position and the byte after the last.
  local function read_numbers(array, count, at)
    while true do
      values = values + 1
      if values > allowed then fail("there are too many values", at) end
      count = count + 1
      local code
      array[count], at = read_number(at)
      at, code = after_space(at)
      if code ~= 44 then return count, at, code end
      local first = byte(text, at + 1) == 32 and at + 2 or at + 1
      if not is_number(byte(text, first)) then return count, at, code end
      at = first
    end
  end

  local read_value

  local function read_object(at)
    local object, place, count = {}, depth == 1 and spans, 0
    local code
    at, code = after_space(at)
    if code == 125 then return object, at + 1 end
    while true do
      if code ~= 34 then fail("a key is missing", at) end
      local key, opening, escape = nil, at, next_backslash(at)
      key, at = read_string(opening + 1, false)
      if escape < at then key = name_of(key, opening) end
      if object[key] ~= nil then fail("a key stands twice in one object", at) end
      at, code = after_space(at)
      if code ~= 58 then fail("a colon is missing", at) end
      local first = after_space(at + 1)
      object[key], at = read_value(first, depth <= 2)
      if place then
        count = count + 1
        if count > OUTERMOST then fail("the outermost object has too many names", opening) end
        place[key] = {first, at - 1}
      end
      at, code = after_space(at)
      if code == 125 then return object, at + 1 end
      if code ~= 44 then fail("a comma is missing", at) end
      at, code = after_space(at + 1)
    end
  end

  local function read_array(at)
    local code
    at, code = after_space(at)
    -- The item at 0 distinguishes it from an object.
    if code == 93 then return {[0] = true}, at + 1 end
    -- With space for the first item: where there are many arrays, most have one.
    local array, count = {[0] = true, true}, 0
    while true do
      if is_number(code) then
        count, at, code = read_numbers(array, count, at)
      else
        count = count + 1
        array[count], at = read_value(at, false)
        at, code = after_space(at)
      end
      if code == 93 then return array, at + 1 end
      if code ~= 44 then fail("a comma is missing", at) end
      at, code = after_space(at + 1)
    end
  end

  -- The caller decides whether the escapes of a string are replaced.
  function read_value(at, wanted)
    values = values + 1
    if values > allowed then fail("there are too many values", at) end
    local code = byte(text, at)
    if code == 34 then return read_string(at + 1, wanted) end
    if code == 123 or code == 91 then
      tables = tables - 1
      if tables < 0 then fail("there are too many objects and arrays for its size", at) end
      depth = depth + 1
      if depth > deep then fail("it is nested too deeply", at) end
      local value
      if code == 123 then value, at = read_object(at + 1) else value, at = read_array(at + 1) end
      depth = depth - 1
      return value, at
    end
    local literal = LITERALS[code]
    if literal then
      local stop = at + #literal[1] - 1
      if sub(text, at, stop) ~= literal[1] then fail("a word is none of JSON's", at) end
      return literal[2], stop + 1
    end
    return read_number(at)
  end

  -- The position of the first byte that is not UTF-8, or nil.
  function json.not_utf8(bytes)
    local at, size = 1, #bytes
    while at <= size do
      local first = byte(bytes, at)
      if first < 128 then
        at = at + 1
      else
        local second, third, fourth = byte(bytes, at + 1, at + 3)
        second, third, fourth = second or 0, third or 0, fourth or 0
        local follows = second >= 128 and second <= 191
        if first >= 194 and first <= 223 and follows then
          at = at + 2
        elseif first >= 224 and first <= 239 and follows and third >= 128 and third <= 191
          and (first ~= 224 or second >= 160) and (first ~= 237 or second <= 159) then
          at = at + 3
        elseif first >= 240 and first <= 244 and follows and third >= 128 and third <= 191
          and fourth >= 128 and fourth <= 191
          and (first ~= 240 or second >= 144) and (first ~= 244 or second <= 143) then
          at = at + 4
        else
          return at
        end
      end
    end
    return nil
  end

  local function read_all()
    local at = after_space(1)
    local value
    value, at = read_value(at, true)
    at = after_space(at)
    if at <= #text then fail("something follows the value", at) end
    return value
  end

  -- For a response, most and deepest limit the number of its values and their nesting.
  function json.read(given, most, deepest)
    local wrong = json.not_utf8(given)
    if wrong then return nil, "it is not UTF-8 at byte " .. wrong end
    text, backslash, control, values, tables, depth, spans = given, 0, 0, 0, TABLES + #given / BYTES, 0, {}
    names, named, allowed, deep = {}, 0, most or VALUES, deepest or DEPTH
    local found, value = pcall(read_all)
    local places = spans
    text, spans, names = nil, nil, nil
    if not found then return nil, type(value) == "table" and value.problem or "it cannot be read" end
    return value, places
  end

  function json.is_array(value)
    return type(value) == "table" and value[0] == true
  end

  function json.is_object(value)
    return type(value) == "table" and value ~= json.null and value[0] == nil
  end

  local QUOTED = {['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t"}

  -- A string as JSON; bytes that are not UTF-8 become the replacement character.
  function json.quoted(words)
    local wrong = json.not_utf8(words)
    if wrong then
      local parts = {}
      while wrong do
        parts[#parts + 1] = sub(words, 1, wrong - 1)
        words = sub(words, wrong + 1)
        wrong = json.not_utf8(words)
        if #parts > 4000 then words, wrong = "", nil end
      end
      parts[#parts + 1] = words
      words = concat(parts, "\239\191\189")
    end
    return '"' .. words:gsub('[%z\1-\31"\\\127]', function(character)
      return QUOTED[character] or string.format("\\u%04x", byte(character))
    end) .. '"'
  end
end
