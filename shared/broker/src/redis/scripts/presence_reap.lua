-- Takes the clients of one node out, a number of them at most, and gives their entries.
local node, limit = ARGV[1], tonumber(ARGV[2])
forget_expired(now_ms())
local entries = {}
for _, client in ipairs(redis.call('HKEYS', KEYS[1])) do
  if #entries >= limit then
    break
  end
  if string.sub(client, 1, #node) == node then
    entries[#entries + 1] = redis.call('HGET', KEYS[1], client)
    leave(client)
  end
end
return entries
