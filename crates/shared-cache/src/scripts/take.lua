-- Takes a place in a budget: never more than so many requests in any window, for all who use this store.
-- KEYS: the places, a sorted set of ids by the time at which each stops to count; the pause, a hash.
-- ARGV: the id ('' to look only); the budget; the window's length; the longest that a request may be on its way; the part
-- of the budget up to which places are given, or 1; how many others wait before this one.
-- Times are in microseconds by this server's clock, which fit a double. Gives: what came of it, the places that count, the
-- budget in force, and the microseconds until it is this one's turn or the pause is over.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local function exact(number) return string.format('%.0f', number) end

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', exact(now))
local used = redis.call('ZCARD', KEYS[1])
local budget, window, longest = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local share, ahead = tonumber(ARGV[5]), tonumber(ARGV[6])

-- After a pause the budget is a fraction, which grows by a tenth of the whole at the end of each whole window.
local pause = redis.call('HMGET', KEYS[2], 'until', 'fraction')
local paused_until, fraction = tonumber(pause[1] or 0), tonumber(pause[2] or 1)
local function in_force(at)
    local windows = math.max(0, math.min(10, math.floor((at - paused_until) / window)))
    return budget * math.min(1, fraction + windows / 10)
end
-- Tenths do not add up exactly.
local function places(at) return math.floor(in_force(at) + 1e-6) end
local function answer(what, wait) return {what, used, string.format('%.9f', in_force(now)), math.ceil(wait)} end

if paused_until > now then
    return answer('paused', paused_until - now)
end
local may = used < places(now) and ahead == 0
if share < 1 then
    may = may and used < math.ceil(share * in_force(now) - 1e-6)
end
if may and ARGV[1] ~= '' then
    redis.call('ZADD', KEYS[1], exact(now + longest + window), ARGV[1])
    redis.call('PEXPIRE', KEYS[1], exact(math.ceil((longest + window) / 1000) + 1000))
    used = used + 1
    return answer('taken', 0)
end

-- The turn of the one with so many ahead, if there are `limit` places: requests are taken to end at once.
local function turn_with(limit)
    local caller, later = ahead, 0
    while true do
        local release = caller + used - limit
        if release < 0 then
            return now + later
        elseif release < used then
            local score = tonumber(redis.call('ZRANGE', KEYS[1], release, release, 'WITHSCORES')[2])
            return math.min(score, now + window) + later
        end
        caller = caller - limit
        later = later + window
    end
end
-- The budget is the same until the next window at whose end it grows.
local starts = {now}
if fraction < 1 then
    for windows = 1, 10 do
        local start = paused_until + windows * window
        if start > now then starts[#starts + 1] = start end
    end
end
for index, start in ipairs(starts) do
    local limit = places(start)
    if limit > 0 then
        local turn = math.max(turn_with(limit), start)
        if not starts[index + 1] or turn < starts[index + 1] then
            return answer('full', turn - now)
        end
    end
end
return answer('full', window)
