-- Notes that a session was used, if it still exists: an update, never an insert, so that a renewal in flight cannot bring back a
-- session that has ended. Answers 1 when it was renewed.
-- KEYS[1] the user's hash; ARGV: session id, proof, idle ms, absolute ms
local EPOCH = 1577836800000
local idle, absolute = tonumber(ARGV[3]), tonumber(ARGV[4])
local held = redis.call('HMGET', KEYS[1], 'g', ARGV[1])
if not held[1] or not held[2] or string.sub(held[2], 1, 16) ~= ARGV[2] then
  return 0
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local created, seen, generation = struct.unpack('>I5I5I4', held[2], 17)
if generation ~= tonumber(held[1]) or EPOCH + math.min(seen + idle, created + absolute) <= now then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. struct.pack('>I5I5I4', created, math.max(seen, now - EPOCH), generation))
local left = math.min(idle, EPOCH + created + absolute - now)
if redis.call('PTTL', KEYS[1]) < left then
  redis.call('PEXPIRE', KEYS[1], left)
end
return 1
