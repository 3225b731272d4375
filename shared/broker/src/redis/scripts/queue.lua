-- A work queue: a stream with one consumer group `g`, whose consumers are nodes. KEYS: the stream, the ids that came back
-- (in the group under the name `back`), how often each id was delivered, until when each node is believed alive, the bytes held.
local stream, back, tries, leases, held = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Every use prolongs the queue's life.
local function touch(ttl)
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, ttl)
  end
end

local function make_group()
  redis.pcall('XGROUP', 'CREATE', stream, 'g', '0', 'MKSTREAM')
end

-- The body of an entry `{id, {'b', body}}`.
local function entry(id)
  return redis.call('XRANGE', stream, id, id)[1]
end

-- An id of `owner` is for others, or, after its last attempt, for `heir` to bury. Gives the latter's entry.
local function give_back(id, owner, heir, most)
  local pending = redis.call('XPENDING', stream, 'g', id, id, 1)[1]
  if not pending or pending[2] ~= owner then
    return nil
  end
  local found = entry(id)
  if not found then
    redis.call('XACK', stream, 'g', id)
    redis.call('HDEL', tries, id)
    return nil
  end
  local attempts = tonumber(redis.call('HGET', tries, id) or '0')
  if most > 0 and attempts >= most then
    redis.call('XCLAIM', stream, 'g', heir, 0, id, 'JUSTID')
    return {id, attempts, found[2][2]}
  end
  redis.call('XCLAIM', stream, 'g', 'back', 0, id, 'JUSTID')
  redis.call('RPUSH', back, id)
  return nil
end
