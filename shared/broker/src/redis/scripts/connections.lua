-- What the scripts of a user's connections share. KEYS[1]: client by the time at which it is forgotten, in milliseconds of
-- this server.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function forget_expired(now)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
end

local function hold(client, now, ttl)
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ttl)), client)
  if redis.call('PTTL', KEYS[1]) < tonumber(ttl) then
    redis.call('PEXPIRE', KEYS[1], ttl)
  end
end
