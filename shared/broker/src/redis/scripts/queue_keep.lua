-- A node is alive; what dead nodes hold comes back. Where ARGV[8] is 1 the node holds the ids that follow and no others: the
-- rest of what it has pending comes back as well. Gives {id, attempt, body} of those that are dead letters now.
local node, most, lease, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[6]), ARGV[7]
make_group()
local now = now_ms()
redis.call('ZADD', leases, now + lease, node)
local dead, came_back = {}, false
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
  local pending = redis.call('XPENDING', stream, 'g', '-', '+', 1000, gone)
  for _, each in ipairs(pending) do
    came_back = true
    local buried = give_back(each[1], gone, node, most)
    if buried then
      dead[#dead + 1] = buried
    end
  end
  if #pending < 1000 then
    redis.call('ZREM', leases, gone)
    redis.call('XGROUP', 'DELCONSUMER', stream, 'g', gone)
  end
end
if ARGV[8] == '1' then
  local holds = {}
  for index = 9, #ARGV do
    holds[ARGV[index]] = true
  end
  local from = '-'
  repeat
    local pending = redis.call('XPENDING', stream, 'g', from, '+', 1000, node)
    for _, each in ipairs(pending) do
      from = '(' .. each[1]
      if not holds[each[1]] then
        came_back = true
        local buried = give_back(each[1], node, node, most)
        if buried then
          dead[#dead + 1] = buried
        end
      end
    end
  until #pending < 1000
end
touch(ttl)
if came_back then
  redis.call(ARGV[3], ARGV[4], ARGV[5])
end
return dead
