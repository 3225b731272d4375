-- The number of partitions of the store: the one that it was first opened with. And what the server evicts when it is out of memory,
-- if the account may know it.
redis.call('HSETNX', meta, 'n', ARGV[1])
local memory = redis.pcall('INFO', 'memory')
local policy = type(memory) == 'string' and string.match(memory, 'maxmemory_policy:(%S+)') or ''
return {redis.call('HGET', meta, 'n'), policy}
