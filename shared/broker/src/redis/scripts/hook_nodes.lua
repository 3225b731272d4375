-- Nodes that have anything: from the first entry of each to the first of the next.
local nodes, from = {}, '-'
while true do
  local found = redis.call('ZRANGEBYLEX', entries, from, '+', 'LIMIT', 0, 1)[1]
  if not found then
    return nodes
  end
  local node = string.match(found, '^[^%z]*')
  nodes[#nodes + 1] = node
  from = '[' .. node .. '\1'
end
