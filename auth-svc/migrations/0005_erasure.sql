-- The order to end a user's sessions outlives its user. It is carried out when it is due, as often as it says: that of a deletion
-- twice, the second time when no login that began before can still be under way.
ALTER TABLE session_revocations
    DROP CONSTRAINT session_revocations_user_id_fkey,
    ADD COLUMN due_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN passes smallint    NOT NULL DEFAULT 1;
CREATE INDEX session_revocations_due_at ON session_revocations (due_at);

-- What other services have to hear of. A row is written with its cause, published again and again, and deleted when it is confirmed.
CREATE TABLE outbox (
    event_id     uuid        PRIMARY KEY,
    user_id      uuid        NOT NULL,
    -- The stream entry that it was last published as.
    entry        text,
    publications integer     NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outbox_due_at ON outbox (due_at);
