#!lua flags=allow-oom
-- Reads all that is known of a user, with the time in milliseconds since 1970. Like validate.lua it counts as a write.
-- KEYS[1] the user's hash
local clock = redis.call('TIME')
return { redis.call('HGETALL', KEYS[1]), tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) }
