-- Enters or refreshes a client. What is added comes first: a key that became empty would be gone, and could not be written
-- again while its slot goes to another server.
local client, entry, ttl = ARGV[1], ARGV[2], ARGV[3]
local now = now_ms()
local before = redis.call('HGET', KEYS[1], client)
redis.call('HSET', KEYS[1], client, entry)
redis.call('HINCRBY', KEYS[3], user_of(entry), 1)
redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ttl)), client)
if before then
  forget_user_of(before)
end
forget_expired(now)
-- All three live as long as the client that is forgotten last.
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < tonumber(ttl) then
    redis.call('PEXPIRE', key, ttl)
  end
end
return 0
