-- What users tell about themselves. A username is unique in its case-folded form; the version counts the changes, and last_seen
-- is none.
CREATE TABLE profiles (
    user_id      uuid        PRIMARY KEY,
    username     text        NOT NULL,
    username_key text        NOT NULL CONSTRAINT profiles_username_key UNIQUE,
    display_name text        NOT NULL,
    bio          text        NOT NULL DEFAULT '',
    locale       text        NOT NULL DEFAULT 'en',
    timezone     text        NOT NULL DEFAULT 'UTC',
    role         text        NOT NULL DEFAULT 'user',
    links        jsonb       NOT NULL DEFAULT '[]',
    avatar_url   text,
    last_seen    timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    version      bigint      NOT NULL DEFAULT 1
);
