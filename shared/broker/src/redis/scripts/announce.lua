-- Begins or renews a lease. Gives whether it was running, the revision of the members, and all members unless the caller knows that
-- revision: in a cluster of a thousand nodes they are 150 KB, for each node in each heartbeat.
local node, description, lease, known = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = now_ms()
local gone = forget_expired(now)
local renewed = redis.call('ZSCORE', KEYS[2], node) and 1 or 0
redis.call('HSET', KEYS[1], node, description)
redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(lease)), node)
if gone > 0 or renewed == 0 or not redis.call('HGET', KEYS[1], CHANGED) then
  note_change()
end
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < tonumber(lease) then
    redis.call('PEXPIRE', key, lease)
  end
end
-- The number too: nodes of older versions come and go without a note.
local revision = redis.call('HGET', KEYS[1], CHANGED) .. ':' .. redis.call('ZCARD', KEYS[2])
if revision == known then
  return {renewed, revision}
end
return {renewed, revision, members()}
