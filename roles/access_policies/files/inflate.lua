-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Decompresses gzip (RFC 1952), zlib (RFC 1950) and bare deflate (RFC 1951), for the message of a provider's error.
-- inflate(bytes, limit) returns at most limit bytes, or nil for what it cannot read. Envoy has no such function for
-- Lua, and loads no library.
local inflate
do
  local ORDER = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

  -- The bases and extra bits of the codes of lengths and distances.
  local function ladder(count, base, plain, step)
    local found = {}
    for code = 0, count - 1 do
      local extra = code < plain and 0 or math.floor((code - plain) / step) + 1
      found[code] = {base, extra}
      base = base + 2 ^ extra
    end
    return found
  end
  local LENGTHS, DISTANCES = ladder(28, 3, 8, 4), ladder(30, 1, 4, 2)
  LENGTHS[28] = {258, 0}

  -- A canonical Huffman code from the lengths of its symbols: by length, the first code, the first place and the
  -- symbols in order.
  local function tree(lengths, count)
    local counts, places, symbols = {}, {}, {}
    for length = 0, 15 do counts[length] = 0 end
    for symbol = 0, count - 1 do counts[lengths[symbol] or 0] = counts[lengths[symbol] or 0] + 1 end
    counts[0] = 0
    places[1] = 0
    for length = 1, 14 do places[length + 1] = places[length] + counts[length] end
    for symbol = 0, count - 1 do
      local length = lengths[symbol] or 0
      if length > 0 then
        symbols[places[length]] = symbol
        places[length] = places[length] + 1
      end
    end
    return {counts = counts, symbols = symbols}
  end

  local fixed_lengths, fixed_distances = {}, {}
  for symbol = 0, 287 do fixed_lengths[symbol] = symbol < 144 and 8 or symbol < 256 and 9 or symbol < 280 and 7 or 8 end
  for symbol = 0, 29 do fixed_distances[symbol] = 5 end
  local FIXED = {tree(fixed_lengths, 288), tree(fixed_distances, 30)}

  local function start_of(bytes)
    local first, second, method, flags = bytes:byte(1, 4)
    if first == 31 and second == 139 and method == 8 then
      local at = 11
      if flags % 8 >= 4 then
        local low, high = bytes:byte(at, at + 1)
        at = at + 2 + (low or 0) + (high or 0) * 256
      end
      for _, flag in ipairs({8, 16}) do
        if flags % (2 * flag) >= flag then at = (bytes:find("%z", at) or #bytes) + 1 end
      end
      return flags % 4 >= 2 and at + 2 or at
    end
    -- Zlib's first two bytes are a multiple of 31.
    return (first or 0) % 16 == 8 and (first * 256 + (second or 0)) % 31 == 0 and 3 or 1
  end

  local function unpacked(bytes, limit)
    local at, hold, held = start_of(bytes), 0, 0
    local output, size = {}, 0

    local function take(count)
      while held < count do
        hold = hold + (bytes:byte(at) or error("it ends early", 0)) * 2 ^ held
        at, held = at + 1, held + 8
      end
      local value = hold % 2 ^ count
      hold, held = (hold - value) / 2 ^ count, held - count
      return value
    end

    local function symbol_of(code)
      local value, first, place = 0, 0, 0
      for length = 1, 15 do
        value = value + take(1)
        local count = code.counts[length]
        if value - count < first then return code.symbols[place + value - first] end
        place, first = place + count, (first + count) * 2
        value = value * 2
      end
      error("no such code", 0)
    end

    local function put(value)
      size = size + 1
      output[size] = value
    end

    local function described()
      local counts = {take(5) + 257, take(5) + 1, take(4) + 4}
      local lengths = {}
      for index = 1, counts[3] do lengths[ORDER[index]] = take(3) end
      local code, all, count = tree(lengths, 19), {}, 0
      while count < counts[1] + counts[2] do
        local symbol = symbol_of(code)
        local value, times = symbol, 1
        if symbol == 16 then value, times = all[count - 1], 3 + take(2)
        elseif symbol == 17 then value, times = 0, 3 + take(3)
        elseif symbol == 18 then value, times = 0, 11 + take(7) end
        for _ = 1, times do
          all[count] = value
          count = count + 1
        end
      end
      local distances = {}
      for index = 0, counts[2] - 1 do distances[index] = all[counts[1] + index] end
      return tree(all, counts[1]), tree(distances, counts[2])
    end

    local last
    repeat
      last = take(1) == 1
      local form = take(2)
      if form == 0 then
        hold, held = 0, 0
        local low, high = bytes:byte(at, at + 1)
        at = at + 4
        for _ = 1, (low or error("it ends early", 0)) + high * 256 do
          put(bytes:sub(at, at))
          at = at + 1
          if size >= limit then break end
        end
      elseif form == 3 then
        error("no such block", 0)
      else
        local lengths, distances = FIXED[1], FIXED[2]
        if form == 2 then lengths, distances = described() end
        while size < limit do
          local symbol = symbol_of(lengths)
          if symbol < 256 then
            put(string.char(symbol))
          elseif symbol == 256 then
            break
          else
            local step = LENGTHS[symbol - 257] or error("no such length", 0)
            local length = step[1] + take(step[2])
            step = DISTANCES[symbol_of(distances)] or error("no such distance", 0)
            local distance = step[1] + take(step[2])
            for _ = 1, length do put(output[size + 1 - distance] or error("a distance leads before the start", 0)) end
          end
        end
      end
    until last or size >= limit
    return table.concat(output, "", 1, math.min(size, limit))
  end

  function inflate(bytes, limit)
    local read, found = pcall(unpacked, bytes, limit)
    return read and found or nil
  end
end
