-- The nodes of a slice of those present: where the next slice begins, and the first bytes of the client ids, each once.
-- Nil while there are more to be forgotten first. The infos are not read.
local cursor, count, id_bytes = ARGV[3], ARGV[4], tonumber(ARGV[5])
if not forget_expired(now_ms()) then
  return false
end
local page = redis.call('ZSCAN', KEYS[2], cursor, 'COUNT', count)
local seen, nodes = {}, {}
for index = 1, #page[2], 2 do
  local node = string.sub(page[2][index], 1, id_bytes)
  if not seen[node] then
    seen[node] = true
    nodes[#nodes + 1] = node
  end
end
return {page[1], nodes}
