-- Deletes the queues of endpoints (ARGV from 2 on) that no plan has had for ARGV[1]. Gives their names.
local now, gone = now_ms(), {}
for index = 2, #ARGV do
  local last = redis.call('HGET', seen, ARGV[index])
  if last and tonumber(last) <= now - tonumber(ARGV[1]) then
    local keys = queue(index - 1)
    redis.call('HDEL', seen, ARGV[index])
    redis.call('UNLINK', keys.events, keys.state, keys.replayed, keys.dead, keys.letters)
    gone[#gone + 1] = ARGV[index]
  end
end
return gone
