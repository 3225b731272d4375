-- A page of those present: where the next one begins, and the entries. Nil while there are more to be forgotten first. The
-- hash is read in small steps, so that the page ends soon after the bytes that it may have.
local cursor, limit, max_bytes = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local STEP = 32
if not forget_expired(now_ms()) then
  return false
end
local entries, looked_at, bytes = {}, 0, 0
repeat
  local step = math.min(STEP, limit - looked_at)
  local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', step)
  cursor = page[1]
  for index = 2, #page[2], 2 do
    entries[#entries + 1] = page[2][index]
    bytes = bytes + #page[2][index]
  end
  looked_at = looked_at + math.max(step, #page[2] / 2)
until cursor == '0' or looked_at >= limit or bytes >= max_bytes
return {cursor, entries}
