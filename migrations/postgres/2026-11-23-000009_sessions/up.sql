-- Who is signed in to the console. The secret is in a cookie only; here is its hash.
CREATE TABLE svc_changeover_sessions (
    secret_hash TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    token       TEXT COLLATE "C" NOT NULL REFERENCES svc_changeover_tokens (id),
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
