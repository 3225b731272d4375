-- Goes the way of a publication: writes, then publishes the serial number and the server's time. KEYS[1]: what is written, and the
-- pub/sub channel. ARGV: serial number, milliseconds the key is kept, PUBLISH or SPUBLISH.
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local time = redis.call('TIME')
return redis.call(ARGV[3], KEYS[1], ARGV[1] .. ' ' .. time[1] .. ' ' .. time[2])
