-- The entries of those present.
forget_expired(now_ms())
return redis.call('HVALS', KEYS[1])
