-- Where each session was opened from, for the user to recognise it. Redis says which sessions are valid; a row here
-- says nothing about that, and goes when its session can no longer be.
CREATE TABLE session_clients (
    session_id bytea       PRIMARY KEY,
    user_id    uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    address    text        NOT NULL,
    user_agent text        NOT NULL,
    opened_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX session_clients_user_id ON session_clients (user_id);
CREATE INDEX session_clients_opened_at ON session_clients (opened_at);

-- Sessions that have to end because of something that is already committed here. A row is written with its cause and deleted once
-- Redis has ended them; if that fails at first it is done again until it succeeds.
CREATE TABLE session_revocations (
    user_id         uuid    PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    generation      integer NOT NULL,
    kept_session_id bytea,
    requested_at    timestamptz NOT NULL DEFAULT now()
);
