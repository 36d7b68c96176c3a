-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- SHA-256. Envoy has no such function for Lua, and loads no library.
local hashes = {}
do
  -- It exists only in Envoy. Envoy Gateway, which tries the program first, does not have it.
  local bits = bit

  local ROUNDS, START = {}, {}
  do
    -- The first 32 bits of the fractions of the cube and square roots of the first primes, by Newton's method on
    -- integers of at most 53 bits, which Lua's numbers hold exactly.
    local function fraction(prime, root)
      local value = prime ^ (1 / root)
      return math.floor((value - math.floor(value)) * 4294967296)
    end
    local count, candidate = 0, 2
    while count < 64 do
      local prime = true
      for divisor = 2, math.floor(math.sqrt(candidate)) do
        if candidate % divisor == 0 then prime = false break end
      end
      if prime then
        count = count + 1
        ROUNDS[count] = fraction(candidate, 3)
        if count <= 8 then START[count] = fraction(candidate, 2) end
      end
      candidate = candidate + 1
    end
  end

  function hashes.sha256(message)
    local band, bnot, bxor, ror, shift, whole = bits.band, bits.bnot, bits.bxor, bits.ror, bits.rshift, bits.tobit
    local length = #message
    message = message .. "\128" .. string.rep("\0", (55 - length) % 64) .. "\0\0\0\0"
      .. string.char(
        band(shift(length * 8, 24), 255), band(shift(length * 8, 16), 255), band(shift(length * 8, 8), 255),
        band(length * 8, 255))
    local state, words = {}, {}
    for index = 1, 8 do state[index] = whole(START[index]) end
    for block = 1, #message, 64 do
      for index = 1, 16 do
        local first, second, third, fourth = message:byte(block + index * 4 - 4, block + index * 4 - 1)
        words[index] = whole(first * 16777216 + second * 65536 + third * 256 + fourth)
      end
      for index = 17, 64 do
        local early, late = words[index - 15], words[index - 2]
        local small = bxor(ror(early, 7), ror(early, 18), shift(early, 3))
        local large = bxor(ror(late, 17), ror(late, 19), shift(late, 10))
        words[index] = whole(words[index - 16] + small + words[index - 7] + large)
      end
      local a, b, c, d, e, f, g, h = state[1], state[2], state[3], state[4], state[5], state[6], state[7], state[8]
      for index = 1, 64 do
        local first = whole(
          h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(band(e, f), band(bnot(e), g)) + whole(ROUNDS[index])
          + words[index])
        local second = whole(bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c)))
        h, g, f, e, d, c, b, a = g, f, e, whole(d + first), c, b, a, whole(first + second)
      end
      for index, value in ipairs({a, b, c, d, e, f, g, h}) do state[index] = whole(state[index] + value) end
    end
    local bytes = {}
    for index, value in ipairs(state) do
      bytes[index] = string.char(
        band(shift(value, 24), 255), band(shift(value, 16), 255), band(shift(value, 8), 255), band(value, 255))
    end
    return table.concat(bytes)
  end

  function hashes.hexadecimal(bytes)
    return (bytes:gsub(".", function(character) return string.format("%02x", character:byte()) end))
  end
end
