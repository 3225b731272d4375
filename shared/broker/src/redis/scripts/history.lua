-- Reads a page. Gives the newest offset, the epoch, and the entries.
local candidate, position_ttl, ttl = ARGV[1], ARGV[2], ARGV[3]
local command, from, to, limit = ARGV[4], ARGV[5], ARGV[6], ARGV[7]

local epoch = live(candidate)
redis.call('PEXPIRE', KEYS[1], position_ttl)
local offset = redis.call('HGET', KEYS[1], 's') or '0'
if limit == '0' then
  return {offset, epoch, {}}
end
forget_expired(now_ms(), tonumber(ttl))
return {offset, epoch, redis.call(command, KEYS[2], from, to, 'COUNT', limit)}
