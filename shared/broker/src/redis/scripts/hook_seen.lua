-- Endpoints of this plan (ARGV from 2 on) are seen now. Gives the others that no plan has had for ARGV[1].
local now = now_ms()
local current = {}
for index = 2, #ARGV do
  current[ARGV[index]] = true
  redis.call('HSET', seen, ARGV[index], whole(now))
end
local gone, known = {}, redis.call('HGETALL', seen)
for index = 1, #known, 2 do
  if not current[known[index]] and tonumber(known[index + 1]) <= now - tonumber(ARGV[1]) then
    gone[#gone + 1] = known[index]
  end
end
return gone
