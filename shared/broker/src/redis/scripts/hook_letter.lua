-- Number, sessions of the user and event of a dead letter.
local function letter(text)
  local number, of_user, reason_bytes, rest = string.match(text, '^(%d+) (%d+) %d+ %d+ %d (%d+) (.*)$')
  return number, of_user, string.sub(rest, tonumber(reason_bytes) + 1)
end

-- Bytes of its event.
local function letter_bytes(text)
  local _, _, event = letter(text)
  return #event
end
