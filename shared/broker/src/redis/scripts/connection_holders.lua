-- Who is there.
forget_expired(now_ms())
return redis.call('ZRANGE', KEYS[1], 0, -1)
