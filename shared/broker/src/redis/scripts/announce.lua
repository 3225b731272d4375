-- Begins or renews a lease. Gives whether it was running, and all whose lease is.
local node, description, lease = ARGV[1], ARGV[2], ARGV[3]
local now = now_ms()
forget_expired(now)
local renewed = redis.call('ZSCORE', KEYS[2], node) and 1 or 0
redis.call('HSET', KEYS[1], node, description)
redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(lease)), node)
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < tonumber(lease) then
    redis.call('PEXPIRE', key, lease)
  end
end
return {renewed, members()}
