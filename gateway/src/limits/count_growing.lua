-- Counts a request in a window that is the longer the more quotas were used up before it.
-- KEYS: the counter, a hash. ARGV: quota, first window, longest window, memory (milliseconds).
-- Returns the requests in this window with this one, the milliseconds that it still lasts, its length, and its end.
local quota, first, longest, memory = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stored = redis.call('HMGET', KEYS[1], 'ends', 'length', 'used', 'used_up')
local ends, length = tonumber(stored[1]) or 0, tonumber(stored[2]) or first
local used, used_up = tonumber(stored[3]) or 0, tonumber(stored[4]) or 0
if ends <= now then
    if used >= quota then used_up = math.min(used_up + 1, 20) end
    used, length = 0, math.min(first * 2 ^ used_up, longest)
    ends = now + length
end
-- What is refused is not counted: it holds no unit, and makes nothing longer.
if used >= quota then return {used + 1, ends - now, length, ends} end
used = used + 1
redis.call('HSET', KEYS[1], 'ends', string.format('%d', ends), 'length', string.format('%d', length), 'used', used, 'used_up', used_up)
if used >= quota or used_up > 0 then
    redis.call('PEXPIRE', KEYS[1], string.format('%d', math.max(memory, ends - now)))
else
    redis.call('PEXPIREAT', KEYS[1], string.format('%d', ends))
end
return {used, ends - now, length, ends}
