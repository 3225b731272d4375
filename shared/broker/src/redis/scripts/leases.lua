-- What the scripts of nodes share. KEYS[1]: node to description, a hash; under the empty name, when somebody last came or went. KEYS[2]:
-- node by the end of its lease. Times are milliseconds of this server.

local CHANGED = ''

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Somebody came or went: whoever knows the members of before must read them again.
local function note_change()
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[1], CHANGED, time[1] .. '.' .. time[2])
end

local function retire(node)
  redis.call('HDEL', KEYS[1], node)
  return redis.call('ZREM', KEYS[2], node)
end

-- Gives how many there were.
local function forget_expired(now)
  local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
  for _, node in ipairs(expired) do
    retire(node)
  end
  return #expired
end

-- By one call: with one for each node it takes half as long again.
local function members()
  local nodes = {}
  local all = redis.call('HGETALL', KEYS[1])
  for index = 1, #all, 2 do
    if all[index] ~= CHANGED then
      nodes[#nodes + 1] = {all[index], all[index + 1]}
    end
  end
  return nodes
end
