-- Takes a lease if nobody holds it, else says for how long it is held.
-- KEYS: the lease. ARGV: the owner, the length in milliseconds.
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
    return -1
end
local left = redis.call('PTTL', KEYS[1])
if left >= 0 then
    return left
end
-- Without an end it is nobody's of ours.
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return -1
