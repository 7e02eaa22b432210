-- Lets requests that have ended count for one window more. KEYS: the places. ARGV: the window in microseconds, the ids.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local window = tonumber(ARGV[1])
for index = 2, #ARGV do
    redis.call('ZADD', KEYS[1], string.format('%.0f', now + window), ARGV[index])
end
-- The set outlives its last place.
local life = math.ceil(window / 1000) + 1000
if redis.call('PTTL', KEYS[1]) < life then
    redis.call('PEXPIRE', KEYS[1], life)
end
return 0
