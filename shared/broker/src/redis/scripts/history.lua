-- Reads a page. Gives the newest offset, the epoch, the entries, 1 if max_bytes (0: no bound) ended it before the limit, and
-- where earlier epochs ended.
local FIRST_SLICE, LARGEST_SLICE = 2, 128
local candidate, position_ttl, ttl = ARGV[1], ARGV[2], ARGV[3]
local command, from, to, limit = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local life = ARGV[9]

local epoch = live(candidate, life)
redis.call('PEXPIRE', KEYS[1], position_ttl)
local stands = redis.call('HMGET', KEYS[1], 's', 'f')
local offset, forks = stands[1] or '0', stands[2] or ''
if limit == '0' then
  return {offset, epoch, {}, 0, forks}
end
forget_expired(now_ms(), tonumber(ttl))

-- Read in slices, so that no more than about max_bytes and one slice are held here at a time.
local max_bytes, left = tonumber(ARGV[8]), tonumber(limit)
local entries, bytes, largest, count = {}, 0, 1, FIRST_SLICE
while left > 0 do
  local asked = math.min(count, left)
  local slice = redis.call(command, KEYS[2], from, to, 'COUNT', asked)
  for _, entry in ipairs(slice) do
    local size = #entry[2][2]
    if max_bytes > 0 and #entries > 0 and bytes + size > max_bytes then
      return {offset, epoch, entries, 1, forks}
    end
    entries[#entries + 1] = entry
    bytes = bytes + size
    largest = math.max(largest, size)
  end
  if #slice < asked then
    break
  end
  left = left - asked
  from = '(' .. slice[#slice][1]
  count = math.min(count * 4, LARGEST_SLICE)
  if max_bytes > 0 then
    count = math.max(1, math.min(count, math.floor((max_bytes - bytes) / largest)))
  end
end
return {offset, epoch, entries, 0, forks}
