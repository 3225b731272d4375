-- Enters or refreshes a client. What is added comes first: a key that became empty would be gone, and could not be written
-- again while its slot goes to another server.
local client, entry, ttl = ARGV[3], ARGV[4], ARGV[5]
local now = now_ms()
local before = redis.call('HGET', KEYS[1], client)
local until_before = tonumber(redis.call('ZSCORE', KEYS[2], client) or 0)
redis.call('HSET', KEYS[1], client, entry)
redis.call('HINCRBY', KEYS[3], user_of(entry), 1)
redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ttl)), client)
if before then
  forget_user_of(before)
end
if not before then
  tell('J', entry)
elseif until_before <= now then
  -- Its time was over, and nobody had noticed.
  tell('L', before)
  tell('J', entry)
end
forget_expired(now)
-- All three live twice as long as the client that is forgotten last: whoever looks meanwhile tells that it left.
local life = 2 * tonumber(ttl)
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < life then
    redis.call('PEXPIRE', key, life)
  end
end
return 0
