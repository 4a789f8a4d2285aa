-- Opens a session, unless the user's generation has moved on. Ends the oldest sessions beyond the limit, and drops what has
-- expired or belongs to an older generation. Answers the time in milliseconds since 1970, or 0 when the generation is
-- too old, and the ids of the sessions beyond the limit.
-- KEYS[1] the user's hash; ARGV: session id, proof, generation, idle ms, absolute ms, limit
local EPOCH = 1577836800000
local generation, idle, absolute, limit = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local current = tonumber(redis.call('HGET', KEYS[1], 'g') or '0')
if current > generation then
  return { 0, {} }
end

local alive = {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local name, value = fields[i], fields[i + 1]
  if name ~= 'g' then
    local created, seen, its_generation = struct.unpack('>I5I5I4', value, 17)
    local ends = EPOCH + math.min(seen + idle, created + absolute)
    if ends <= now or its_generation < generation then
      redis.call('HDEL', KEYS[1], name)
    else
      alive[#alive + 1] = { name = name, created = created }
    end
  end
end
table.sort(alive, function(a, b) return a.created < b.created end)
local displaced = {}
for i = 1, #alive - limit + 1 do
  redis.call('HDEL', KEYS[1], alive[i].name)
  displaced[i] = alive[i].name
end

local stamp = now - EPOCH
redis.call('HSET', KEYS[1], 'g', ARGV[3], ARGV[1], ARGV[2] .. struct.pack('>I5I5I4', stamp, stamp, generation))
local left = math.min(idle, absolute)
if redis.call('PTTL', KEYS[1]) < left then
  redis.call('PEXPIRE', KEYS[1], left)
end
return { now, displaced }
