-- A page of those present: where the next one begins, and the entries. Nil while there are more to be forgotten first.
if not forget_expired(now_ms()) then
  return false
end
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local entries = {}
for index = 2, #page[2], 2 do
  entries[#entries + 1] = page[2][index]
end
return {page[1], entries}
