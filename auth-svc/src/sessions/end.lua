-- Ends a session. Answers 1 when it was valid until now.
-- KEYS[1] the user's hash; ARGV: session id, proof or '' when the caller need not have the token, idle ms, absolute ms
local EPOCH = 1577836800000
local idle, absolute = tonumber(ARGV[3]), tonumber(ARGV[4])
local held = redis.call('HMGET', KEYS[1], 'g', ARGV[1])
if not held[2] or (ARGV[2] ~= '' and string.sub(held[2], 1, 16) ~= ARGV[2]) then
  return 0
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local created, seen, generation = struct.unpack('>I5I5I4', held[2], 17)
redis.call('HDEL', KEYS[1], ARGV[1])
if redis.call('HLEN', KEYS[1]) == 1 then
  redis.call('DEL', KEYS[1])
end
if generation ~= tonumber(held[1] or '0') or EPOCH + math.min(seen + idle, created + absolute) <= now then
  return 0
end
return 1
