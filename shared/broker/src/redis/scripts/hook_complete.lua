-- Notes what came of a delivery. ARGV: dead letters at most, bytes of them at most, dropped events told, tries, next time, suspect,
-- 1 if the endpoint is paused, number of events taken, their ids, and of each dead letter id, padded id, reason and attempts.
local FIRST = 9
local most, most_bytes, taken = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[8])
local keys = queue(1)
local freed, died, dropped = 0, 0, 0

local ids = {}
for index = FIRST, FIRST - 1 + taken do
  ids[#ids + 1] = ARGV[index]
end
for index = FIRST + taken, #ARGV, 4 do
  ids[#ids + 1] = ARGV[index]
end
-- Where events stand that came again: all others stand at their id.
local replayed = {}
if #ids > 0 and redis.call('EXISTS', keys.replayed) == 1 then
  for index, at in ipairs(redis.call('HMGET', keys.replayed, unpack(ids))) do
    replayed[ids[index]] = at or nil
  end
end
-- They are the head of the queue, mostly: one call reads all of them.
local head, is_all = {}, true
if #ids > 0 then
  local oldest = redis.call('XRANGE', keys.events, '-', '+', 'COUNT', #ids)
  for _, entry in ipairs(oldest) do
    head[entry[1]] = entry
  end
  is_all = #oldest < #ids
end
local gone, was_replayed, is_gone = {}, {}, {}

-- The fields of an event that goes out of the queue; nothing where it is not there.
local function take(id)
  local at = replayed[id] or id
  local entry = head[at]
  if not entry and not is_all then
    entry = redis.call('XRANGE', keys.events, at, at)[1]
  end
  if not entry or is_gone[at] then
    return nil
  end
  is_gone[at] = true
  gone[#gone + 1] = at
  local fields = fields_of(entry)
  freed = freed + #fields.d
  if fields.i then
    was_replayed[#was_replayed + 1] = id
  end
  return fields
end

for index = FIRST, FIRST - 1 + taken do
  take(ARGV[index])
end
local letters, dead, now = {}, {}, now_ms()
for index = FIRST + taken, #ARGV, 4 do
  local fields = take(ARGV[index])
  if fields then
    local padded, reason = ARGV[index + 1], ARGV[index + 2]
    local start = {fields.s, fields.u, ARGV[index + 3], whole(now), fields.i and '1' or '0', #reason, reason .. fields.d}
    letters[#letters + 1] = padded
    letters[#letters + 1] = table.concat(start, ' ')
    dead[#dead + 1] = '0'
    dead[#dead + 1] = padded
    died = died + #fields.d
  end
end
-- The first write: what frees memory is allowed where memory is out, and so is all after it.
if #gone > 0 then
  redis.call('XDEL', keys.events, unpack(gone))
end
if #was_replayed > 0 then
  redis.call('HDEL', keys.replayed, unpack(was_replayed))
end
if #dead > 0 then
  redis.call('HSET', keys.letters, unpack(letters))
  redis.call('ZADD', keys.dead, unpack(dead))
end
if died > 0 then
  local bytes = redis.call('HINCRBY', keys.state, 'y', died)
  local length = redis.call('ZCARD', keys.dead)
  while length > most or bytes > most_bytes do
    local oldest = redis.call('ZRANGE', keys.dead, 0, 0)[1]
    if not oldest then
      break
    end
    local size = letter_bytes(redis.call('HGET', keys.letters, oldest))
    redis.call('ZREM', keys.dead, oldest)
    redis.call('HDEL', keys.letters, oldest)
    bytes = redis.call('HINCRBY', keys.state, 'y', -size)
    length, dropped = length - 1, dropped + 1
  end
end
local known = redis.call('HMGET', keys.state, 'x', 't')
local all, before = tonumber(known[1] or '0'), tonumber(known[2] or '0')
local mark = math.max(before, math.min(tonumber(ARGV[3]), all))
if mark == all then
  redis.call('HDEL', keys.state, 'g')
end
redis.call('HSET', keys.state, 't', whole(mark), 'a', ARGV[4], 'w', ARGV[5], 'p', ARGV[6], 'h', ARGV[7])
-- Not without a reason: a negative zero is no number for Redis.
if freed > 0 then
  redis.call('HINCRBY', keys.state, 'b', -freed)
end
if dropped > 0 then
  redis.call('HINCRBY', keys.state, 'z', dropped)
end
return 1
