-- Takes a client out.
redis.call('ZREM', KEYS[1], ARGV[1])
return 0
