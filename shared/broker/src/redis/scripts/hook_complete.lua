-- Notes what came of a delivery. ARGV: dead letters at most, bytes of them at most, dropped events told, tries, next time, suspect,
-- number of events taken, their ids, and of each dead letter id, padded id, reason and attempts.
local most, most_bytes, taken = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[7])
local keys = queue(1)
local freed, died, dropped = 0, 0, 0
local has_replayed = redis.call('EXISTS', keys.replayed) == 1

-- Takes an event out of the queue.
local function take(id)
  local at = has_replayed and redis.call('HGET', keys.replayed, id) or id
  local found = redis.call('XRANGE', keys.events, at, at)[1]
  if not found then
    return nil
  end
  redis.call('XDEL', keys.events, at)
  local fields = fields_of(found)
  freed = freed + #fields.d
  if fields.i then
    redis.call('HDEL', keys.replayed, id)
  end
  return fields
end

for index = 8, 7 + taken do
  take(ARGV[index])
end
for index = 8 + taken, #ARGV, 4 do
  local fields = take(ARGV[index])
  if fields then
    local reason = ARGV[index + 2]
    local head = {fields.s, fields.u, ARGV[index + 3], whole(now_ms()), fields.i and '1' or '0', #reason, reason .. fields.d}
    redis.call('HSET', keys.letters, ARGV[index + 1], table.concat(head, ' '))
    redis.call('ZADD', keys.dead, 0, ARGV[index + 1])
    died = died + #fields.d
  end
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
redis.call('HSET', keys.state, 't', whole(mark), 'a', ARGV[4], 'w', ARGV[5], 'p', ARGV[6])
-- Not without a reason: a negative zero is no number for Redis.
if freed > 0 then
  redis.call('HINCRBY', keys.state, 'b', -freed)
end
redis.call('HINCRBY', keys.state, 'z', dropped)
return 1
