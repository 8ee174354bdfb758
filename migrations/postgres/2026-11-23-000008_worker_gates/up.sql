-- Background workers: whether each runs, and how it comes back.
CREATE TABLE svc_changeover_worker_gates (
    worker          TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    version         BIGINT NOT NULL,
    description     TEXT    NOT NULL,
    resume_order    BIGINT NOT NULL,
    delay_s         BIGINT NOT NULL,
    single_instance BOOLEAN NOT NULL,
    lease_s         BIGINT NOT NULL,
    switch          TEXT    NOT NULL,
    resume_at       BIGINT,
    switched_at     BIGINT NOT NULL,
    switched_by     TEXT    NOT NULL,
    switch_reason   TEXT    NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    updated_by      TEXT    NOT NULL
);

-- The latest lease of each worker. Rows are never deleted, not even with their gate: the fencing tokens must never repeat.
CREATE TABLE svc_changeover_worker_leases (
    worker      TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    holder      TEXT    NOT NULL,
    fencing     BIGINT NOT NULL,
    acquired_at BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    stopped_at  BIGINT
);
