-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- What a request costs, where the limits and the log find it.
local counting = {}
do
  -- No answer has more tokens; what says so is not believed.
  counting.MOST = 10000000
  -- Bytes of a text that make a token.
  counting.TOKEN = 4

  function counting.count(handle, total, input, output)
    local metadata = handle:streamInfo():dynamicMetadata()
    metadata:set(METADATA, "total_tokens", total)
    metadata:set(METADATA, "input_tokens", input)
    metadata:set(METADATA, "output_tokens", output)
  end

  -- What an answer costs of which nothing can be counted, from the bytes of the request and the tokens that its own bytes are reckoned to be: counts it, and gives
  -- the total, the input and the output.
  function counting.reckon(handle, asked, reckoned)
    local fixed = settings.uncounted_tokens
    if fixed > 0 then
      counting.count(handle, fixed, fixed, fixed)
      return fixed, fixed, fixed
    end
    local input = math.min(counting.MOST, math.max(1, math.ceil(asked / counting.TOKEN)))
    local output = math.min(counting.MOST, math.max(1, reckoned))
    local total = math.min(counting.MOST, input + output)
    counting.count(handle, total, input, output)
    return total, input, output
  end
end

-- The lines of a stream of events.
local lines = {}
do
  -- No event is longer.
  local LONGEST = 16777216

  -- What the line of an event says, without its end; nil for another line.
  function lines.data_of(line)
    local start, stop = line:match("^data: ?()"), #line
    if not start then return nil end
    while stop >= start and (line:byte(stop) == 10 or line:byte(stop) == 13) do stop = stop - 1 end
    return line:sub(start, stop)
  end

  -- Whether a line is all there although its end is not: the last of a stream may have none.
  local function is_whole(line)
    local data = lines.data_of(line)
    return data ~= nil and (data == "[DONE]" or data:sub(-1) == "}" and json.read(data) ~= nil)
  end

  -- Gives a function that takes texts, and calls take for each line in them, with its end; or without it, where all of a line is there but its end, which then comes
  -- as a line. The work is in proportion to the bytes, in however many texts they come.
  function lines.reader(take)
    local pieces, size, judged = {}, 0, 0
    local function whole()
      local line = table.concat(pieces)
      pieces = {line}
      return line
    end
    local function give(line)
      pieces, size, judged = {}, 0, 0
      take(line)
    end
    return function(text)
      local at = 1
      while true do
        local stop = text:find("\n", at, true)
        if not stop then break end
        pieces[#pieces + 1] = text:sub(at, stop)
        give(whole())
        at = stop + 1
      end
      if at > #text then return end
      local rest = text:sub(at)
      pieces[#pieces + 1], size = rest, size + #rest
      if size > LONGEST then return give(whole()) end
      -- Judged in vain, a line is judged again only where it is longer than all that was judged of it by a third.
      if rest:find("[}%]]\r?$") and judged <= 3 * size then
        if is_whole(whole()) then return give(pieces[1]) end
        judged = judged + size
      end
    end
  end
end
