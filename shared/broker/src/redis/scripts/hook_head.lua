-- The head of a queue: {id, event, number, sessions of the user, id of one that came again} of each of its oldest events; how many
-- there are, how many dead letters, and the state.
local most, most_bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
local keys = queue(1)
local found, bytes, from = {}, 0, '-'
while #found < most do
  local oldest = redis.call('XRANGE', keys.events, from, '+', 'COUNT', math.min(SLICE, most - #found))
  for _, entry in ipairs(oldest) do
    local fields = fields_of(entry)
    bytes = bytes + #fields.d
    if #found > 0 and bytes > most_bytes then
      most = #found
      break
    end
    found[#found + 1] = {entry[1], fields.d, fields.s, fields.u, fields.i or ''}
    from = '(' .. entry[1]
  end
  if #oldest < SLICE then
    break
  end
end
local state = redis.call('HMGET', keys.state, 'b', 'x', 't', 'g', 'a', 'w', 'p', 'z', 'h')
for index = 1, 9 do
  state[index] = state[index] or ''
end
return {found, redis.call('XLEN', keys.events), redis.call('ZCARD', keys.dead), state}
