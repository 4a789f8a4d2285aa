-- Who may sign in. A user's name is unique in its case-folded form; the generation counts what ends all of a user's sessions.
CREATE TABLE users (
    id                 uuid        PRIMARY KEY,
    username           text        NOT NULL,
    username_key       text        NOT NULL CONSTRAINT users_username_key UNIQUE,
    email              text,
    password_hash      text        NOT NULL,
    session_generation integer     NOT NULL DEFAULT 1,
    created_at         timestamptz NOT NULL DEFAULT now()
);
