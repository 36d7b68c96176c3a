-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- What a request costs, where the limits and the log find it.
local counting = {}
do
  -- No response has more tokens; what says so is not believed.
  counting.MOST = 10000000
  -- Bytes of a text that make a token.
  counting.TOKEN = 4

  function counting.count(handle, total, input, output)
    local metadata = handle:streamInfo():dynamicMetadata()
    metadata:set(METADATA, "total_tokens", total)
    metadata:set(METADATA, "input_tokens", input)
    metadata:set(METADATA, "output_tokens", output)
  end

  -- What a response costs of which nothing can be counted, from the bytes of the request and the tokens that its own
  -- bytes are reckoned to be: counts it, and gives the total, the input and the output.
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

  -- What the line of an event says, without its end, or a line that is JSON without being one; nil for another line.
  function lines.data_of(line)
    local start, stop = line:match("^data: ?()") or line:match("^%s*(){"), #line
    if not start then return nil end
    while stop >= start and (line:byte(stop) == 10 or line:byte(stop) == 13) do stop = stop - 1 end
    return line:sub(start, stop)
  end

  -- Whether a line is all there although its end is not: the last of a stream may have none.
  local function is_whole(line)
    local data = lines.data_of(line)
    return data ~= nil and (data == "[DONE]" or data:sub(-1) == "}" and json.read(data) ~= nil)
  end

  -- Gives a function that takes texts, and calls take for each line in them, with its end; or without it, where all of
  -- a line is there but its end, which then comes as a line. It gives the bytes of the line that has begun. The work is
  -- in proportion to the bytes, in however many texts they come.
  function lines.reader(take)
    local pieces, size, judged, ends_in_return = {}, 0, 0, false
    local function whole()
      local line = table.concat(pieces)
      pieces = {line}
      return line
    end
    local function give(line)
      pieces, size, judged, ends_in_return = {}, 0, 0, false
      take(line)
    end
    return function(text)
      local at = 1
      -- A return ends a line too, but the one before a newline does so with it.
      if ends_in_return and text ~= "" and text:byte(1) ~= 10 then give(whole()) end
      ends_in_return = ends_in_return and text == ""
      while true do
        local stop = text:find("[\r\n]", at)
        if stop and text:byte(stop) == 13 then
          if stop == #text then
            ends_in_return = true
            stop = nil
          elseif text:byte(stop + 1) == 10 then
            stop = stop + 1
          end
        end
        if not stop then break end
        pieces[#pieces + 1] = text:sub(at, stop)
        give(whole())
        at = stop + 1
      end
      if at > #text then return size end
      local rest = text:sub(at)
      pieces[#pieces + 1], size = rest, size + #rest
      if size > LONGEST then give(whole()) end
      -- Judged in vain, a line is judged again only as long as all that was judged of it is no more than three times
      -- its size.
      if rest:find("[}%]]\r?$") and judged <= 3 * size then
        judged = judged + size
        if is_whole(whole()) then give(pieces[1]) end
      end
      return size
    end
  end
end
