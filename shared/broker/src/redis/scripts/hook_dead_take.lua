-- Takes dead letters out. ARGV: 1 if they go to the end of the queue, name, events and bytes at most, then of each id and padded id.
local replay, name, most, most_bytes = ARGV[1] == '1', ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local keys = queue(1)
local id = replay and new_ids(now_ms(), (#ARGV - 4) / 2)
local taken, freed, added = 0, 0, 0
for index = 5, #ARGV, 2 do
  local text = redis.call('HGET', keys.letters, ARGV[index + 1])
  if text then
    local number, of_user, event = letter(text)
    redis.call('ZREM', keys.dead, ARGV[index + 1])
    redis.call('HDEL', keys.letters, ARGV[index + 1])
    taken, freed = taken + 1, freed + #event
    if replay then
      local at = id()
      redis.call('XADD', keys.events, at, 'd', event, 's', number, 'u', of_user, 'i', ARGV[index])
      redis.call('HSET', keys.replayed, ARGV[index], at)
      added = added + #event
    end
  end
end
if taken > 0 then
  redis.call('HINCRBY', keys.state, 'y', -freed)
end
if added > 0 then
  redis.call('HSET', seen, name, whole(now_ms()))
  redis.call('HINCRBY', keys.state, 'b', added)
  bound(keys, most, most_bytes)
end
return taken
