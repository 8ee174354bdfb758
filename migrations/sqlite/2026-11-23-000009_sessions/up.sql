-- Who is signed in to the console. The secret is in a cookie only; here is its hash.
CREATE TABLE svc_changeover_sessions (
    secret_hash TEXT    NOT NULL PRIMARY KEY,
    token       TEXT    NOT NULL REFERENCES svc_changeover_tokens (id),
    created_at  INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT;
