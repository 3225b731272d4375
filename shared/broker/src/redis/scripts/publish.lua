-- Accepts one publication: answer given before, epoch and offset, append, distribution. KEYS[3]: the remembered answer.
-- Gives offset, epoch, and 1 if an earlier publication with the same key answered.
local events, command, head, body = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local candidate, size, ttl = ARGV[5], ARGV[6], ARGV[7]
local position_ttl, answer_ttl, life = ARGV[8], ARGV[9], ARGV[10]

if answer_ttl ~= '0' then
  local first = redis.call('GET', KEYS[3])
  if first then
    local offset, epoch = string.match(first, '^(%d+) (.*)$')
    return {offset, epoch, 1}
  end
end

local offset, epoch = '0', ''
if size ~= '0' then
  local now = now_ms()
  epoch = live(candidate, life)
  -- First of the writes, as in `live`.
  offset = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 's', 1))
  redis.call('PEXPIRE', KEYS[1], position_ttl)
  forget_expired(now, tonumber(ttl))
  local accepted = string.format('%.0f', now)
  redis.call('XADD', KEYS[2], 'MAXLEN', '=', size, offset .. '-' .. accepted, 'b', body)
  redis.call('HSETNX', KEYS[1], 'o', accepted)
  redis.call('PEXPIRE', KEYS[2], ttl)
end
if answer_ttl ~= '0' then
  redis.call('SET', KEYS[3], offset .. ' ' .. epoch, 'PX', answer_ttl)
end
redis.call(command, events, head .. offset .. ' ' .. epoch .. ' ' .. body)
return {offset, epoch, 0}
