-- What the scripts of a channel's presence share. KEYS[1]: client to entry, a hash; an entry is the length of the user id
-- in bytes, a colon, the user id, and the client's info. KEYS[2]: client by the time at which it is forgotten. KEYS[3]:
-- user to number of clients. Times are milliseconds of this server. ARGV[1]: the pub/sub channel of the channel's events. ARGV[2]:
-- the command that publishes on it.
local EVENTS, PUBLISH = ARGV[1], ARGV[2]

-- Ends the entry of a client of whose join and leave others are told (wire.rs).
local ANNOUNCED = '\5\0\0\0\0'

-- Clients that one call forgets: of 100,000 whose node died, all at once would stop the server for half a second.
local FORGOTTEN_AT_ONCE = 256

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function user_of(entry)
  local colon = string.find(entry, ':', 1, true)
  return string.sub(entry, colon + 1, colon + tonumber(string.sub(entry, 1, colon - 1)))
end

local function forget_user_of(entry)
  local user = user_of(entry)
  if redis.call('HINCRBY', KEYS[3], user, -1) <= 0 then
    redis.call('HDEL', KEYS[3], user)
  end
end

-- Tells of a join ('J') or a leave ('L'): the head of a message without position, then the client's info (wire.rs).
local function tell(kind, entry)
  if string.sub(entry, -#ANNOUNCED) == ANNOUNCED then
    local colon = string.find(entry, ':', 1, true)
    local info = string.sub(entry, colon + 1 + tonumber(string.sub(entry, 1, colon - 1)))
    redis.call(PUBLISH, EVENTS, '\1' .. kind .. '0  ' .. info)
  end
end

local function leave(client)
  local entry = redis.call('HGET', KEYS[1], client)
  if entry then
    tell('L', entry)
    forget_user_of(entry)
    redis.call('HDEL', KEYS[1], client)
  end
  redis.call('ZREM', KEYS[2], client)
end

-- Forgets those whose time is over, a number of them at most. True if none is left.
local function forget_expired(now)
  local until_now = string.format('%.0f', now)
  local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', until_now, 'LIMIT', 0, FORGOTTEN_AT_ONCE)
  for _, client in ipairs(expired) do
    leave(client)
  end
  return #expired < FORGOTTEN_AT_ONCE
end
