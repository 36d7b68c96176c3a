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
    return line:match("^data: ?(.-)[\r\n]*$")
  end

  -- Calls take for each line with its end; gives what follows the last.
  function lines.each(text, take)
    local at = 1
    while true do
      local stop = text:find("\n", at, true)
      if not stop then return text:sub(at) end
      take(text:sub(at, stop))
      at = stop + 1
    end
  end

  -- Whether a line is all there although its end is not: the last of a stream may have none.
  function lines.is_whole(line)
    local data = lines.data_of(line)
    return data ~= nil and (data == "[DONE]" or data:sub(-1) == "}" and json.read(data) ~= nil) or #line > LONGEST
  end
end
