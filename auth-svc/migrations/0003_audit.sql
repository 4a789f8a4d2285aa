-- What happened to accounts: who, what, when, from where. The rows are a chain: each one's hash covers the hash before it, so that a row
-- that was altered, removed or put in later is found. Over the personal fields the hash goes by way of a salted digest: without salt
-- and fields the row says nothing of the person, and the chain still holds.
CREATE TABLE audit_log (
    seq        bigint      PRIMARY KEY,
    at         timestamptz NOT NULL,
    event      text        NOT NULL,
    -- How many rows lost salt and fields with this entry, itself included: what was erased adds up to these, or somebody else erased.
    erased     bigint      NOT NULL,
    -- Of the fields below. Unique, so that an entry that comes twice is there once.
    digest     bytea       NOT NULL CONSTRAINT audit_log_digest UNIQUE,
    hash       bytea       NOT NULL,
    -- From here on all is null once it is erased. No foreign key: an entry stays when its user goes.
    salt       bytea,
    user_id    uuid,
    session_id bytea,
    address    text,
    user_agent text
);
CREATE INDEX audit_log_user_id ON audit_log (user_id, seq) WHERE user_id IS NOT NULL;

-- The end of the chain. Its row lock puts the entries in order, without gaps.
CREATE TABLE audit_head (
    id   boolean PRIMARY KEY DEFAULT true CHECK (id),
    seq  bigint  NOT NULL,
    hash bytea   NOT NULL
);
INSERT INTO audit_head (seq, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

-- A field with its length before it, -1 for none, so that no two rows have the same bytes.
CREATE FUNCTION audit_field(field bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT int4send(coalesce(octet_length(field), -1)) || coalesce(field, '');
$$;

-- Adds an entry for what happened `its_age` ago, and answers its number; null when it is there already. From here to the end of the transaction
-- nobody else can add one: so it comes last. An entry about a user who is gone keeps no field. Since erasing holds the same lock
-- until the user is gone, nothing of a person comes in afterwards.
CREATE FUNCTION audit_append(
    its_event text,
    its_user_id uuid,
    its_session_id bytea,
    its_address text,
    its_user_agent text,
    its_age interval DEFAULT interval '0',
    its_salt bytea DEFAULT NULL,
    its_erased bigint DEFAULT 0
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    head       audit_head;
    new_salt   bytea := coalesce(its_salt, uuid_send(gen_random_uuid()));
    new_digest bytea := sha256(
        new_salt || audit_field(uuid_send(its_user_id)) || audit_field(its_session_id)
        || audit_field(convert_to(its_address, 'UTF8')) || audit_field(convert_to(its_user_agent, 'UTF8')));
    new_seq    bigint;
    new_at     timestamptz;
    new_erased bigint := its_erased;
    new_hash   bytea;
    gone       boolean;
BEGIN
    SELECT * INTO STRICT head FROM audit_head FOR UPDATE;
    IF EXISTS (SELECT FROM audit_log WHERE digest = new_digest) THEN
        RETURN NULL;
    END IF;
    gone := its_user_id IS NOT NULL AND NOT EXISTS (SELECT FROM users WHERE id = its_user_id);
    IF gone THEN
        new_erased := new_erased + 1;
    END IF;
    new_seq := head.seq + 1;
    -- Not the time at which its turn came.
    new_at := statement_timestamp() - its_age;
    new_hash := sha256(
        head.hash || int8send(new_seq) || int8send((extract(epoch FROM new_at) * 1000000)::bigint)
        || audit_field(convert_to(its_event, 'UTF8')) || int8send(new_erased) || new_digest);
    INSERT INTO audit_log (seq, at, event, erased, digest, hash, salt, user_id, session_id, address, user_agent)
    SELECT new_seq, new_at, its_event, new_erased, new_digest, new_hash,
           CASE WHEN NOT gone THEN new_salt END, CASE WHEN NOT gone THEN its_user_id END,
           CASE WHEN NOT gone THEN its_session_id END, CASE WHEN NOT gone THEN its_address END,
           CASE WHEN NOT gone THEN its_user_agent END;
    UPDATE audit_head SET seq = new_seq, hash = new_hash;
    RETURN new_seq;
END $$;

-- Takes salt and fields from all rows of a person, and says so in an entry of its own. In the transaction that deletes the user.
CREATE FUNCTION audit_erase(its_user_id uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    taken bigint;
BEGIN
    PERFORM FROM audit_head FOR UPDATE;
    UPDATE audit_log SET salt = NULL, user_id = NULL, session_id = NULL, address = NULL, user_agent = NULL
    WHERE user_id = its_user_id;
    GET DIAGNOSTICS taken = ROW_COUNT;
    RETURN audit_append('ACCOUNT_DELETED', NULL, NULL, NULL, NULL, its_erased => taken);
END $$;
