-- Gives a unit back if the window in which it was counted is still that one.
-- KEYS: the counter, a hash. ARGV: the window's end, quota.
local stored = redis.call('HMGET', KEYS[1], 'ends', 'used', 'used_up')
if stored[1] ~= ARGV[1] or tonumber(stored[2]) < 1 then return 0 end
local used = redis.call('HINCRBY', KEYS[1], 'used', -1)
-- A quota that is not used up is not remembered beyond its window.
if used < tonumber(ARGV[2]) and (tonumber(stored[3]) or 0) == 0 then redis.call('PEXPIREAT', KEYS[1], ARGV[1]) end
return 1
