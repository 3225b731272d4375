-- Begins the partition anew unless it has another run than ARGV[1]. The queues stay, and each gets the event. Gives the run.
local previous, run, base, partitions, event = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local life = ARGV[#ARGV]
local current = current_run(life)
if current and current ~= previous then
  return current
end
local now = now_ms()
-- One millisecond on: the numbers of this run may be lower than those of the last one.
local last = tonumber(redis.call('HGET', meta, 'm') or '0')
for index = 6, #ARGV - 1, 3 do
  -- Where the server lost the newest number and not the queue.
  local known = redis.pcall('XINFO', 'STREAM', queue((index - 3) / 3).events)
  for each = 1, #known, 2 do
    if known[each] == 'last-generated-id' then
      last = math.max(last, tonumber(string.match(known[each + 1], '^%d+')))
    end
  end
end
local first = whole(math.max(now, last + 1))
if life ~= '' then
  life = life_now()
end
redis.call('HSET', meta, 'r', run, 'l', life, 'b', base, 'm', first, 'o', base)
redis.call('HSETNX', meta, 'n', partitions)
redis.call('UNLINK', sessions, ended, users, entries, occupied, due)
-- ARGV from 6 on: name, events at most, bytes at most of each queue.
for index = 6, #ARGV - 1, 3 do
  local keys = queue((index - 3) / 3)
  redis.call('HSET', seen, ARGV[index], whole(now))
  redis.call('XADD', keys.events, first .. '-' .. base, 'd', event, 's', '0', 'u', '0')
  redis.call('HINCRBY', keys.state, 'b', #event)
  bound(keys, tonumber(ARGV[index + 1]), tonumber(ARGV[index + 2]))
end
return run
