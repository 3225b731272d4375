-- Numbers of clients and of users present. Nil while there are more to be forgotten first.
if not forget_expired(now_ms()) then
  return false
end
return {redis.call('HLEN', KEYS[1]), redis.call('HLEN', KEYS[3])}
