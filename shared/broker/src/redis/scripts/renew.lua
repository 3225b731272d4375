-- Ends an epoch whose stream has gone back: a failover forgot publications that had been acknowledged, and their offsets are
-- given a second time. KEYS[1]: the position. Only the first who notices begins the new epoch. The publications stay. Nobody
-- knows how far earlier epochs are the same.
if redis.call('HGET', KEYS[1], 'e') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'e', ARGV[2])
  redis.call('HDEL', KEYS[1], 'f')
end
return 0
