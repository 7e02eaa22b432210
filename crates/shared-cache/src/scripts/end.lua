-- Lets requests that have ended count for one window more.
-- KEYS: the places. ARGV: the window and how long ago they ended, in microseconds; the ids.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local left = tonumber(ARGV[1]) - tonumber(ARGV[2])
for index = 3, #ARGV do
    if left > 0 then
        redis.call('ZADD', KEYS[1], string.format('%.0f', now + left), ARGV[index])
    else
        redis.call('ZREM', KEYS[1], ARGV[index])
    end
end
-- The set outlives its last place.
local life = math.ceil(left / 1000) + 1000
if left > 0 and redis.call('PTTL', KEYS[1]) < life then
    redis.call('PEXPIRE', KEYS[1], life)
end
return 0
