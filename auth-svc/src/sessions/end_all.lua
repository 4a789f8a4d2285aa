-- Ends all sessions of a user but one, and moves the user's generation on when a later one is given. Answers how many of them were
-- valid until now.
-- KEYS[1] the user's hash; ARGV: session id to keep or '', generation or 0, idle ms, absolute ms
local EPOCH = 1577836800000
local kept, generation, idle, absolute = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local current = tonumber(redis.call('HGET', KEYS[1], 'g') or '0')

-- An order that comes late ends what was there when it was given; a session of its own or a later generation came after it.
local late = generation > 0 and current >= generation
local ended, left = 0, 0
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local name, value = fields[i], fields[i + 1]
  if name ~= 'g' then
    local created, seen, its_generation = struct.unpack('>I5I5I4', value, 17)
    local valid = its_generation == current and EPOCH + math.min(seen + idle, created + absolute) > now
    if valid and late then
      left = left + 1
    elseif valid and name == kept and (generation == 0 or its_generation == generation - 1) then
      -- What an order between that one and this one ends, which is still on its way, this one does not keep.
      left = left + 1
      if generation > 0 then
        redis.call('HSET', KEYS[1], name, string.sub(value, 1, 26) .. struct.pack('>I4', generation))
      end
    else
      redis.call('HDEL', KEYS[1], name)
      if valid then
        ended = ended + 1
      end
    end
  end
end
if left == 0 then
  redis.call('DEL', KEYS[1])
elseif generation > current then
  redis.call('HSET', KEYS[1], 'g', generation)
end
return ended
