-- What the scripts of the store of hooks share: one partition, all keys of one hash tag. KEYS:
-- meta: a hash of r (run), l (the server's life in which the run began), n (partitions of the store), m and o (milliseconds and
--   number of the newest event) and b (the number with which each millisecond of this run begins).
-- sessions: client -> `<sequence> <node>\0<user>`; without a node the session ended and may come back.
-- ended: those, by the time at which they are forgotten.
-- users: user -> sessions.
-- entries: what each node has, `<node>\0<entry>`, all of one score, so that their order is that of the texts.
-- occupied: key -> number of nodes that have it.
-- due: keys that no node has and whose end was not told yet, by the time at which it is due.
-- seen: endpoint -> when a plan had it last.
-- From FIRST_QUEUE on, for each endpoint of the call: queue, a stream of d (the event), s (its number), u (sessions of its user)
--   and, of one that came again, i (its id); queue state, a hash of b (bytes), x (events dropped ever), t (of them told), g (since
--   when there are untold ones), a, w, p, h (tries, next time, suspect of the delivery, 1 if the endpoint is paused), y and z (bytes of dead letters, and how many were
--   dropped ever); replayed: id -> id in the stream; dead: ids of dead letters, padded, all of one score; letters: of each of them
--   `<number> <sessions> <tries> <time> <1 if replayed> <bytes of the reason> <reason><event>`.
-- Times are milliseconds of this server.
local meta, sessions, ended, users, entries = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local occupied, due, seen = KEYS[6], KEYS[7], KEYS[8]
local FIRST_QUEUE, KEYS_OF_QUEUE = 9, 5

-- Entries of a queue that are looked at together.
local SLICE = 100

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

-- The life of the server: its replication id, which is another one after each start and each promotion.
local function life_now()
  return string.sub(string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or '', 1, 16)
end

-- The run of the partition: none where its server was started or promoted since it began, for then changes may be forgotten. `life`:
-- that of the server, as far as the caller knows; empty if it cannot know it.
local function current_run(life)
  local known = redis.call('HMGET', meta, 'r', 'l')
  if not known[1] then
    return nil
  end
  if life ~= '' and known[2] ~= life and known[2] ~= '' then
    -- The caller may have connected before the server's id changed: the server itself knows.
    if life_now() ~= known[2] then
      return nil
    end
  end
  return known[1]
end

-- Gives a function that gives ids for new events, `most` of them. It is the first write of a script: HSET is refused when Redis is out
-- of memory, and after it nothing more is.
local function new_ids(now, most)
  local known = redis.call('HMGET', meta, 'm', 'o', 'b')
  local last, number = tonumber(known[1] or '0'), tonumber(known[2] or '0')
  if now > last then
    last, number = now, tonumber(known[3] or '0')
  end
  redis.call('HSET', meta, 'm', whole(last), 'o', whole(number + most))
  return function()
    number = number + 1
    return whole(last) .. '-' .. whole(number)
  end
end

-- The keys of the queue with this number, from 1.
local function queue(number)
  local first = FIRST_QUEUE + (number - 1) * KEYS_OF_QUEUE
  return {
    events = KEYS[first], state = KEYS[first + 1], replayed = KEYS[first + 2], dead = KEYS[first + 3], letters = KEYS[first + 4],
  }
end

-- The fields of an entry of a queue.
local function fields_of(entry)
  local fields = {}
  for index = 1, #entry[2], 2 do
    fields[entry[2][index]] = entry[2][index + 1]
  end
  return fields
end

-- Drops the oldest events while there are too many, or too many bytes.
local function bound(keys, most, most_bytes)
  local length = redis.call('XLEN', keys.events)
  local bytes = tonumber(redis.call('HGET', keys.state, 'b') or '0')
  if length <= most and bytes <= most_bytes then
    return
  end
  local from, dropped, freed, since = '-', 0, 0, nil
  while length - dropped > most or bytes - freed > most_bytes do
    local oldest = redis.call('XRANGE', keys.events, from, '+', 'COUNT', SLICE)
    if #oldest == 0 then
      break
    end
    for _, entry in ipairs(oldest) do
      if length - dropped <= most and bytes - freed <= most_bytes then
        break
      end
      local fields = fields_of(entry)
      since = since or string.match(entry[1], '^%d+')
      dropped, freed, from = dropped + 1, freed + #fields.d, '(' .. entry[1]
      if fields.i then
        redis.call('HDEL', keys.replayed, fields.i)
      end
    end
  end
  if dropped > 0 then
    local kept = redis.call('XRANGE', keys.events, from, '+', 'COUNT', 1)[1]
    if kept then
      redis.call('XTRIM', keys.events, 'MINID', '=', kept[1])
    else
      redis.call('XTRIM', keys.events, 'MAXLEN', '=', 0)
    end
    redis.call('HINCRBY', keys.state, 'b', -freed)
    redis.call('HINCRBY', keys.state, 'x', dropped)
    redis.call('HSETNX', keys.state, 'g', since)
  end
end
