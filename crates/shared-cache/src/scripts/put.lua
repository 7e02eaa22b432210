-- Writes a value if the one in its place is still the one that was read, else gives what is there.
-- KEYS: the value. ARGV: what was read ('' if nothing), the new value, its life in milliseconds.
local held = redis.pcall('GET', KEYS[1])
-- Another type of value is nobody's of ours.
if type(held) ~= 'table' and (held or '') ~= ARGV[1] then
    return held or ''
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return false
