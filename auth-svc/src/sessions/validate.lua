#!lua flags=allow-oom
-- Reads the user's generation and one session, with the time in milliseconds since 1970. It writes nothing, yet may for all that
-- Redis knows: so a master that is cut off from its replicas refuses it, as it has to once another one may have taken its place.
-- KEYS[1] the user's hash; ARGV: session id
local held = redis.call('HMGET', KEYS[1], 'g', ARGV[1])
local clock = redis.call('TIME')
return { held[1], held[2], tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) }
