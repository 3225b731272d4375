-- Gives messages to a node: first those that came back. Gives {id, attempt, body} of each.
local node, count, lease, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
make_group()
redis.call('ZADD', leases, now_ms() + lease, node)
local taken = {}
local function add(found)
  taken[#taken + 1] = {found[1], redis.call('HINCRBY', tries, found[1], 1), found[2][2]}
end
while #taken < count do
  local id = redis.call('LPOP', back)
  if not id then
    break
  end
  local found = entry(id)
  if found then
    redis.call('XCLAIM', stream, 'g', node, 0, id, 'JUSTID')
    add(found)
  end
end
if #taken < count then
  local read = redis.call('XREADGROUP', 'GROUP', 'g', node, 'COUNT', count - #taken, 'STREAMS', stream, '>')
  if read then
    for _, found in ipairs(read[1][2]) do
      add(found)
    end
  end
end
touch(ttl)
return taken
