-- Makes changes. ARGV: the run, time for which the number of a session is kept that may come back, number of endpoints, name,
-- events at most and bytes at most of each, then eight of each change: what, node, client, user, key, time, event, numbers of the queues that
-- get it. Gives 1, or 0 where nothing was told, of each change; where the run is another one, that, or nothing where there is none.
local life = ARGV[#ARGV]
local current = current_run(life)
if current ~= ARGV[1] then
  return {0, current or ''}
end
local now, keep = now_ms(), tonumber(ARGV[2])
local endpoints = tonumber(ARGV[3])
local first = 4 + 3 * endpoints
local id = new_ids(now, (#ARGV - first) / 8)
local added = {}

-- Appends an event to its queues.
local function tell(event, into, number, sessions_of_user)
  local at = id()
  for each in string.gmatch(into, '%d+') do
    local index = tonumber(each)
    redis.call('XADD', queue(index).events, at, 'd', event, 's', whole(number), 'u', whole(sessions_of_user))
    added[index] = (added[index] or 0) + #event
  end
end

-- Number, node and user of a session; nothing where it is not known.
local function session(client)
  local known = redis.call('HGET', sessions, client)
  if not known then
    return nil
  end
  local number, node, user = string.match(known, '^(%d+) ([^%z]*)%z(.*)$')
  return tonumber(number), node, user
end

local function put_session(client, number, node, user)
  redis.call('HSET', sessions, client, whole(number) .. ' ' .. node .. '\0' .. user)
end

-- Sessions of a user after this change; of an anonymous one 0.
local function count(user, change)
  if user == '' then
    return 0
  end
  local left = redis.call('HINCRBY', users, user, change)
  if left <= 0 then
    redis.call('HDEL', users, user)
  end
  return left
end

local function forget_ended()
  for _, client in ipairs(redis.call('ZRANGEBYSCORE', ended, '-inf', now, 'LIMIT', 0, 2)) do
    redis.call('ZREM', ended, client)
    redis.call('HDEL', sessions, client)
  end
end

local change = {}

function change.connect(node, client, user, _, _, event, into)
  local number, known_node = session(client)
  if number and known_node ~= '' then
    return 0
  end
  if number then
    local until_ms = redis.call('ZSCORE', ended, client)
    if not until_ms or tonumber(until_ms) <= now then
      number = 0
    end
    redis.call('ZREM', ended, client)
  end
  number = (number or 0) + 1
  put_session(client, number, node, user)
  redis.call('ZADD', entries, 0, node .. '\0s' .. client)
  tell(event, into, number, count(user, 1))
  return 1
end

-- `keep_it`: 1 if the session may come back.
function change.disconnect(node, client, _, _, keep_it, event, into)
  local number, known_node, user = session(client)
  if not number or known_node ~= node then
    return 0
  end
  number = number + 1
  if keep_it == '1' then
    put_session(client, number, '', user)
    redis.call('ZADD', ended, whole(now + keep), client)
  else
    redis.call('HDEL', sessions, client)
  end
  forget_ended()
  redis.call('ZREM', entries, node .. '\0s' .. client)
  tell(event, into, number, count(user, -1))
  return 1
end

function change.note(_, client, _, _, _, event, into)
  local number, node, user = session(client)
  if not number or node == '' then
    return 0
  end
  put_session(client, number + 1, node, user)
  local of_user = user ~= '' and redis.call('HGET', users, user) or '0'
  tell(event, into, number + 1, tonumber(of_user or '0'))
  return 1
end

function change.enter(node, _, _, key, _, event, into)
  if redis.call('ZADD', entries, 'NX', 0, node .. '\0' .. key) == 0 then
    return 0
  end
  if redis.call('HINCRBY', occupied, key, 1) > 1 or redis.call('ZREM', due, key) == 1 then
    return 0
  end
  tell(event, into, 0, 0)
  return 1
end

function change.leave(node, _, _, key, grace, event, into)
  if redis.call('ZREM', entries, node .. '\0' .. key) == 0 then
    return 0
  end
  if redis.call('HINCRBY', occupied, key, -1) > 0 then
    return 0
  end
  redis.call('HDEL', occupied, key)
  if grace ~= '0' then
    redis.call('ZADD', due, whole(now + tonumber(grace)), key)
    return 0
  end
  tell(event, into, 0, 0)
  return 1
end

function change.end_due(_, _, _, key, _, event, into)
  local at = redis.call('ZSCORE', due, key)
  if not at or tonumber(at) > now then
    return 0
  end
  redis.call('ZREM', due, key)
  tell(event, into, 0, 0)
  return 1
end

function change.append(_, _, _, _, _, event, into)
  tell(event, into, 0, 0)
  return 1
end

local answers = {1}
for index = first, #ARGV - 8, 8 do
  answers[#answers + 1] = change[ARGV[index]](unpack(ARGV, index + 1, index + 7))
end
for index, bytes in pairs(added) do
  local keys, at = queue(index), 4 + 3 * (index - 1)
  redis.call('HSET', seen, ARGV[at], whole(now))
  redis.call('HINCRBY', keys.state, 'b', bytes)
  bound(keys, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]))
end
return answers
