-- Events of other services that were carried out here: a row commits with the effect, so that what comes twice is done once.
CREATE TABLE inbox (
    event_id   uuid        PRIMARY KEY,
    handled_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX inbox_handled_at ON inbox (handled_at);

-- Users who are gone, by the SHA-256 of their id: nobody makes their profile again, however late the request comes.
CREATE TABLE tombstones (
    user_hash bytea       PRIMARY KEY,
    set_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tombstones_set_at ON tombstones (set_at);
