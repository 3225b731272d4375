-- Renews the time of clients. Gives those that are not there.
local ttl = ARGV[1]
local now = now_ms()
forget_expired(now)
local missing = {}
for index = 2, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[index]) then
    hold(ARGV[index], now, ttl)
  else
    missing[#missing + 1] = ARGV[index]
  end
end
return missing
