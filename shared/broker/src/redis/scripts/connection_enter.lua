-- Enters a client if there is room, or renews its time. Gives nothing, or who else is there.
local client, ttl, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = now_ms()
forget_expired(now)
if not redis.call('ZSCORE', KEYS[1], client) and redis.call('ZCARD', KEYS[1]) >= limit then
  return redis.call('ZRANGE', KEYS[1], 0, -1)
end
hold(client, now, ttl)
return false
