-- Dead letters after a padded id, in order: {padded id, letter} of each.
local after, limit = ARGV[1], tonumber(ARGV[2])
local keys = queue(1)
local found = {}
for index, id in ipairs(redis.call('ZRANGEBYLEX', keys.dead, after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, limit)) do
  found[index] = {id, redis.call('HGET', keys.letters, id)}
end
return found
