-- Devices that have signed in as a user before: a login from one is let in where the guesses of strangers are refused. A
-- token opens nothing by itself, and only its SHA-256 is here.
CREATE TABLE known_devices (
    token_hash bytea       PRIMARY KEY,
    user_id    uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When it was last shown at a login; null while it never was.
    seen_at    timestamptz,
    expires_at timestamptz NOT NULL
);
CREATE INDEX known_devices_user_id ON known_devices (user_id);
CREATE INDEX known_devices_expires_at ON known_devices (expires_at);
