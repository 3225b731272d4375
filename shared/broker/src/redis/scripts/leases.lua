-- What the scripts of nodes share. KEYS[1]: node to description, a hash. KEYS[2]: node by the end of its lease. Times are
-- milliseconds of this server.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function retire(node)
  redis.call('HDEL', KEYS[1], node)
  redis.call('ZREM', KEYS[2], node)
end

local function forget_expired(now)
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))) do
    retire(node)
  end
end

local function members()
  local nodes = {}
  for _, node in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    nodes[#nodes + 1] = {node, redis.call('HGET', KEYS[1], node) or ''}
  end
  return nodes
end
