-- The service wants to be left alone. Once for each pause the budget in force is halved, never below a tenth.
-- KEYS: the pause. ARGV: its length in microseconds; 1 if the replica knows of no pause before; the window's length.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local length, is_new, window = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3])
local pause = redis.call('HMGET', KEYS[1], 'until', 'fraction')
local paused_until, fraction = tonumber(pause[1] or 0), tonumber(pause[2] or 1)
-- Another replica may have told of the same pause.
if paused_until <= now then
    local windows = math.max(0, math.min(10, math.floor((now - paused_until) / window)))
    fraction = math.min(1, fraction + windows / 10)
    if is_new then
        fraction = math.max(fraction / 2, 0.1)
    end
end
paused_until = math.max(paused_until, now + length)
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', paused_until), 'fraction', string.format('%.17g', fraction))
-- Until the budget is whole again.
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((paused_until - now + 10 * window) / 1000) + 1000))
return 0
