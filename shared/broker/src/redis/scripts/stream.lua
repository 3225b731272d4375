-- What the scripts of a stream share. KEYS[1]: the position, a hash of e (epoch), s (newest offset) and o (when the oldest
-- publication was accepted, or earlier). KEYS[2]: the publications, a stream with entries of id <offset>-<accepted>, so
-- that a read by offset is a range, and the age is known without a field of its own. Times are milliseconds of this server.

local SCAN_ENTRIES = 16

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The epoch of the stream's life, which begins now if there is none. The caller prolongs the position's own life. The first
-- write of a life is HSET, which Redis refuses when it is out of memory: after any other write it refuses nothing more.
local function live(candidate)
  local epoch = redis.call('HGET', KEYS[1], 'e')
  if not epoch then
    epoch = candidate
    redis.call('HSET', KEYS[1], 'e', epoch)
    redis.call('HDEL', KEYS[1], 's', 'o')
    redis.call('DEL', KEYS[2])
  end
  return epoch
end

-- Forgets the publications that are older than ttl. Looks at the stream only when the oldest one may be.
local function forget_expired(now, ttl)
  local oldest = redis.call('HGET', KEYS[1], 'o')
  if oldest and tonumber(oldest) + ttl > now then
    return
  end
  local from = '-'
  while true do
    local entries = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', SCAN_ENTRIES)
    for _, entry in ipairs(entries) do
      local accepted = string.match(entry[1], '%-(%d+)$')
      if tonumber(accepted) + ttl > now then
        redis.call('XTRIM', KEYS[2], 'MINID', '=', entry[1])
        redis.call('HSET', KEYS[1], 'o', accepted)
        return
      end
      from = '(' .. entry[1]
    end
    if #entries < SCAN_ENTRIES then
      -- Not DEL: while its slot goes to another server, a key that is gone cannot be written again.
      redis.call('XTRIM', KEYS[2], 'MAXLEN', '=', 0)
      redis.call('HDEL', KEYS[1], 'o')
      return
    end
  end
end
