-- Numbers of clients and of users present.
forget_expired(now_ms())
return {redis.call('HLEN', KEYS[1]), redis.call('HLEN', KEYS[3])}
