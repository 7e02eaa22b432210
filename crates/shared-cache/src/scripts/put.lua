-- Writes a value if the one in its place is still the one that was read, else gives what is there.
-- KEYS: the value. ARGV: what was read ('' if nothing), the new value, its life in milliseconds, the longest that is looked at.
local length = redis.pcall('STRLEN', KEYS[1])
-- Another type of value, or one that is too long, is nobody's of ours.
if type(length) == 'number' and length <= tonumber(ARGV[4]) then
    local held = redis.call('GET', KEYS[1]) or ''
    if held ~= ARGV[1] then
        return held
    end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return false
