-- Background workers: whether each runs, and how it comes back.
CREATE TABLE svc_changeover_worker_gates (
    worker          TEXT    NOT NULL PRIMARY KEY,
    version         INTEGER NOT NULL,
    description     TEXT    NOT NULL,
    resume_order    INTEGER NOT NULL,
    delay_s         INTEGER NOT NULL,
    single_instance INTEGER NOT NULL,
    lease_s         INTEGER NOT NULL,
    switch          TEXT    NOT NULL,
    resume_at       INTEGER,
    switched_at     INTEGER NOT NULL,
    switched_by     TEXT    NOT NULL,
    switch_reason   TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    updated_by      TEXT    NOT NULL
) STRICT;

-- The latest lease of each worker. Rows are never deleted, not even with their gate: the fencing tokens must never repeat.
CREATE TABLE svc_changeover_worker_leases (
    worker      TEXT    NOT NULL PRIMARY KEY,
    holder      TEXT    NOT NULL,
    fencing     INTEGER NOT NULL,
    acquired_at INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    stopped_at  INTEGER
) STRICT;
