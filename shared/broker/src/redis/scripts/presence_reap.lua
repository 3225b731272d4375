-- Takes the clients of one node out of a slice of the presence, a number of them at most. Gives where the next slice begins,
-- and their entries; where the number is reached it is the same slice again.
local node, limit, cursor, count = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
forget_expired(now_ms())
local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', count)
local entries = {}
for index = 1, #page[2], 2 do
  local client = page[2][index]
  if string.sub(client, 1, #node) == node then
    if #entries >= limit then
      return {cursor, entries}
    end
    entries[#entries + 1] = page[2][index + 1]
    leave(client)
  end
end
return {page[1], entries}
