-- Whether the address is known to be the user's own: what was sent there came back.
ALTER TABLE users ADD COLUMN email_verified boolean NOT NULL DEFAULT false;
CREATE INDEX users_email ON users (lower(email)) WHERE email IS NOT NULL;

-- What strangers ask for, as they put it: one row a request, whether or not there is such a user. A replica looks behind the
-- answer, and the row is gone.
CREATE TABLE mail_requests (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username_key text,
    email        text,
    address      text        NOT NULL,
    user_agent   text        NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT mail_requests_account CHECK (num_nonnulls(username_key, email) = 1)
);

-- Mails that are to be sent: who gets one, and what for. The address is read, and the token made, when it is sent.
CREATE TABLE mails (
    user_id      uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose      text        NOT NULL CONSTRAINT mails_purpose CHECK (purpose IN ('PASSWORD_RESET', 'EMAIL_VERIFICATION')),
    requested_at timestamptz NOT NULL DEFAULT now(),
    due_at       timestamptz NOT NULL DEFAULT now(),
    attempts     integer     NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, purpose)
);
CREATE INDEX mails_due_at ON mails (due_at);

-- Tokens that were sent and not yet used: the SHA-256 of each, the address that it went to, and the user's session generation
-- then. A user has one of a purpose, the newest.
CREATE TABLE mail_tokens (
    digest             bytea       PRIMARY KEY,
    user_id            uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose            text        NOT NULL CONSTRAINT mail_tokens_purpose CHECK (purpose IN ('PASSWORD_RESET', 'EMAIL_VERIFICATION')),
    email              text        NOT NULL,
    session_generation integer     NOT NULL,
    issued_at          timestamptz NOT NULL DEFAULT now(),
    expires_at         timestamptz NOT NULL,
    CONSTRAINT mail_tokens_newest UNIQUE (user_id, purpose)
);
CREATE INDEX mail_tokens_email ON mail_tokens (lower(email));
