-- Makes somebody the owner of a name if nobody is, or who is replaced. Gives the owner. KEYS[1]: the owner.
local owner, ttl, replacing = ARGV[1], ARGV[2], ARGV[3]
local current = redis.call('GET', KEYS[1])
if current and current ~= owner and current ~= replacing then
  return current
end
redis.call('SET', KEYS[1], owner, 'PX', ttl)
return owner
