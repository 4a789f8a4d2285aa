-- Registrations that came with an idempotency key. A row without a user is an attempt that runs, or has died; one with a user is what a repetition
-- is answered from. It holds hashes alone, none of them of a password.
CREATE TABLE registration_keys (
    key_hash    bytea       PRIMARY KEY,
    -- Of username and e-mail address.
    fingerprint bytea       NOT NULL,
    -- Which attempt may complete it.
    attempt     uuid        NOT NULL,
    user_id     uuid        REFERENCES users (id) ON DELETE CASCADE,
    begun_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX registration_keys_user_id ON registration_keys (user_id);
CREATE INDEX registration_keys_begun_at ON registration_keys (begun_at);
