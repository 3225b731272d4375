-- A page of what a node has, from an entry on: the entries, the user of each session, and where the next page begins.
local node, from, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local prefix = node .. '\0'
local found = redis.call('ZRANGEBYLEX', entries, '[' .. prefix .. from, '(' .. node .. '\1', 'LIMIT', 0, limit + 1)
local texts, owners, cursor = {}, {}, ''
for index, each in ipairs(found) do
  local text = string.sub(each, #prefix + 1)
  if index > limit then
    cursor = text
  else
    texts[index] = text
    local known = string.sub(text, 1, 1) == 's' and redis.call('HGET', sessions, string.sub(text, 2))
    owners[index] = known and string.match(known, '^[^%z]*%z(.*)$') or ''
  end
end
return {texts, owners, cursor}
