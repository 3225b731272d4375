-- These messages were handled.
for _, id in ipairs(ARGV) do
  local found = entry(id)
  if found and redis.call('XACK', stream, 'g', id) == 1 then
    redis.call('XDEL', stream, id)
    redis.call('DECRBY', held, #found[2][2])
    redis.call('HDEL', tries, id)
    -- Its node was believed dead, and it waits for another one.
    redis.call('LREM', back, 1, id)
  end
end
return 1
