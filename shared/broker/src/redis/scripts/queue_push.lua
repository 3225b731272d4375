-- Adds a message and wakes all nodes. Gives 0 when the queue is full.
local body, most, most_bytes, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
if redis.call('XLEN', stream) >= most or tonumber(redis.call('GET', held) or '0') + #body > most_bytes then
  return 0
end
redis.call('XADD', stream, '*', 'b', body)
redis.call('INCRBY', held, #body)
touch(ttl)
redis.call(ARGV[5], ARGV[6], ARGV[7])
return 1
