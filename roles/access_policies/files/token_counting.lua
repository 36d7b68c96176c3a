-- Copyright: Contributors to the egress.ai_gateway project
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Writes the cost of a request where the limits and the log read it.
local counting = {}
do
  -- No response has more tokens; a larger number is ignored.
  counting.MOST = 10000000
  -- The usage of a response that costs nothing, as the first field of its object.
  counting.NONE = '"usage":{"input_tokens":0,"output_tokens":0},'
  -- Bytes of a response that are estimated as a token.
  counting.TOKEN = 4

  -- The most that one request adds to a count of the rate limit service.
  local MOST_ADDED = 1000000000

  -- cached is the part of the input that the provider had in its cache; nil for none.
  function counting.count(handle, total, input, output, cached)
    local metadata = handle:streamInfo():dynamicMetadata()
    local price = settings.prices[(metadata:get(METADATA) or {}).model]
    if price then
      -- Prices are those of a million tokens, so that the cost is in millionths. Tokens that the total alone has cost the
      -- most.
      local rest = math.max(0, total - input - output) * math.max(price[1], price[2])
      local cheaper = math.min(cached or 0, input)
      local spent = (input - cheaper) * price[1] + cheaper * price[3] + output * price[2] + rest
      metadata:set(METADATA, "cost", math.min(MOST_ADDED, math.ceil(spent)))
    end
    metadata:set(METADATA, "total_tokens", total)
    metadata:set(METADATA, "input_tokens", input)
    metadata:set(METADATA, "output_tokens", output)
    if settings.metered then
      -- The metrics have the total in two parts, whatever a provider or a fixed cost says of each.
      metadata:set(METADATA, "metered_input", math.min(input, total))
      metadata:set(METADATA, "metered_output", math.max(0, total - input))
    end
  end

  -- Remembers how long the client has waited for the first token of a stream, in milliseconds. Clocks may be set back.
  function counting.begin_answer(handle)
    if not settings.metered then return end
    local metadata = handle:streamInfo():dynamicMetadata()
    local kept = metadata:get(METADATA) or {}
    if type(kept.began) ~= "number" or kept.first_token then return end
    metadata:set(METADATA, "first_token", math.max(0, handle:timestamp() - kept.began))
  end

  -- Counts a response without a usable usage, from the bytes of the request and the tokens that are estimated from the
  -- response's bytes. Returns the total, the input and the output.
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

  -- The data of an event's line, without its end, or a line of bare JSON; nil for another line.
  function lines.data_of(line)
    local start, stop = line:match("^data: ?()") or line:match("^%s*(){"), #line
    if not start then return nil end
    while stop >= start and (line:byte(stop) == 10 or line:byte(stop) == 13) do stop = stop - 1 end
    return line:sub(start, stop)
  end

  -- Whether a line is complete without its end: the last line of a stream may have none.
  local function is_whole(line)
    local data = lines.data_of(line)
    return data ~= nil and (data == "[DONE]" or data:sub(-1) == "}" and json.read(data) ~= nil)
  end

  -- Returns a function that reads chunks and calls take for each line with its end. A complete line without its end is
  -- passed too, and its end follows as a line. The function returns the number of bytes of the incomplete line. The
  -- work is in proportion to the bytes, in any number of chunks.
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
      -- A carriage return ends a line too; one before a newline ends it together with the newline.
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
      -- An incomplete line is judged again only while all judged bytes are at most three times its size.
      if rest:find("[}%]]\r?$") and judged <= 3 * size then
        judged = judged + size
        if is_whole(whole()) then give(pieces[1]) end
      end
      return size
    end
  end
end
