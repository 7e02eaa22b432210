-- Ends a lease if it is still this owner's. KEYS: the lease. ARGV: the owner.
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0
