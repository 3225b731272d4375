-- A node does not handle these messages. Gives {id, attempt, body} of those that are dead letters now.
local node, most = ARGV[1], tonumber(ARGV[2])
local dead = {}
for index = 6, #ARGV do
  local buried = give_back(ARGV[index], node, node, most)
  if buried then
    dead[#dead + 1] = buried
  end
end
redis.call(ARGV[3], ARGV[4], ARGV[5])
return dead
