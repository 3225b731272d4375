-- The number of partitions of the store: the one that it was first opened with.
redis.call('HSETNX', meta, 'n', ARGV[1])
return redis.call('HGET', meta, 'n')
