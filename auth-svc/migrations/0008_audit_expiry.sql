-- Personal fields of the trail are not kept for ever: they go when they are old enough, as those of an erased person do. The entries stay.
ALTER TABLE audit_head ADD COLUMN expired bigint NOT NULL DEFAULT 0;

-- Goes through the next entries, `its_batch` at most, and takes salt and fields from those that are older than `its_age`; what it took is told in an entry.
-- Answers how many entries it went through: fewer than the batch when the rest is not old enough.
CREATE FUNCTION audit_expire(its_age interval, its_batch bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    gone_through bigint;
    last_old     bigint;
    taken        bigint;
BEGIN
    SELECT expired INTO STRICT gone_through FROM audit_head FOR UPDATE;
    -- In the order of the chain, up to the first that is too young.
    SELECT max(seq) INTO last_old FROM (
        SELECT seq, bool_and(at < now() - its_age) OVER (ORDER BY seq) AS old FROM (
            SELECT seq, at FROM audit_log WHERE seq > gone_through ORDER BY seq LIMIT its_batch
        ) AS following
    ) AS judged WHERE old;
    IF last_old IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE audit_log SET salt = NULL, user_id = NULL, session_id = NULL, address = NULL, user_agent = NULL
    WHERE seq > gone_through AND seq <= last_old AND num_nonnulls(user_id, session_id, address, user_agent) > 0;
    GET DIAGNOSTICS taken = ROW_COUNT;
    UPDATE audit_head SET expired = last_old;
    IF taken > 0 THEN
        PERFORM audit_append('FIELDS_EXPIRED', NULL, NULL, NULL, NULL, its_erased => taken);
    END IF;
    RETURN last_old - gone_through;
END $$;
