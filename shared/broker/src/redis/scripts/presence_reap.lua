-- Takes the clients of one node out of a slice of the presence, a number of them at most. Gives where the next slice begins,
-- and their entries; where the number is reached it is the same slice again.
local node, limit, cursor, count = ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
forget_expired(now_ms())
-- The ids alone are looked through: infos of the living, which may be large, are not read.
local page = redis.call('ZSCAN', KEYS[2], cursor, 'COUNT', count)
local entries = {}
for index = 1, #page[2], 2 do
  local client = page[2][index]
  if string.sub(client, 1, #node) == node then
    if #entries >= limit then
      return {cursor, entries}
    end
    local entry = redis.call('HGET', KEYS[1], client)
    if entry then
      entries[#entries + 1] = entry
    end
    leave(client)
  end
end
return {page[1], entries}
