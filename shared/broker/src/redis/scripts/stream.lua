-- What the scripts of a stream share. KEYS[1]: the position, a hash of e (epoch), s (newest offset), o (when the oldest
-- publication was accepted, or earlier), l (the server's life in which the epoch began) and f (where earlier epochs ended). KEYS[2]: the publications, a stream with entries of id <offset>-<accepted>, so
-- that a read by offset is a range, and the age is known without a field of its own. Times are milliseconds of this server.

local SCAN_ENTRIES = 16

-- Earlier epochs that are remembered. Who comes back with an older one is told that it is another stream.
local FORKS_KEPT = 8

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The life of the server: its replication id, which is another one after each start and each promotion (life.rs).
local function life_now()
  return string.sub(string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or '', 1, 16)
end

-- The server was started or promoted since the stream was used last: publications that it had accepted may be forgotten, and
-- their offsets are given again. A new epoch begins, and it is noted how far the old one is the same.
local function fork(candidate, epoch, life)
  local forks = {}
  for before in string.gmatch(redis.call('HGET', KEYS[1], 'f') or '', '%S+ %d+') do
    forks[#forks + 1] = before
  end
  forks[#forks + 1] = epoch .. ' ' .. (redis.call('HGET', KEYS[1], 's') or '0')
  while #forks > FORKS_KEPT do
    table.remove(forks, 1)
  end
  redis.call('HSET', KEYS[1], 'e', candidate, 'l', life, 'f', table.concat(forks, ' '))
  return candidate
end

-- The epoch of the stream, which begins now if there is none. `life`: that of the server, as far as the caller knows; empty
-- if it cannot know it. The caller prolongs the position's own life. The first write of an epoch is HSET, which Redis refuses
-- when it is out of memory: after any other write it refuses nothing more.
local function live(candidate, life)
  local known = redis.call('HMGET', KEYS[1], 'e', 'l')
  local epoch = known[1]
  if not epoch then
    redis.call('HSET', KEYS[1], 'e', candidate, 'l', life)
    redis.call('HDEL', KEYS[1], 's', 'o', 'f')
    redis.call('DEL', KEYS[2])
    return candidate
  end
  if life ~= '' and known[2] ~= life then
    -- The caller may have connected before the server's id changed: the server itself knows.
    life = life_now()
    if not known[2] or known[2] == '' then
      redis.call('HSET', KEYS[1], 'l', life)
    elseif known[2] ~= life then
      return fork(candidate, epoch, life)
    end
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
