-- Keys whose end is due, the earliest first, and the run.
local keys = redis.call('ZRANGEBYSCORE', due, '-inf', now_ms(), 'LIMIT', 0, ARGV[1])
return {keys, current_run(ARGV[#ARGV]) or ''}
