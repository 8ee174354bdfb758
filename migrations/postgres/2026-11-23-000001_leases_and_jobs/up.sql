-- Background work is done by one server at a time: whoever holds the lease. `fencing` grows with every new holder and never goes back,
-- so rows stay when a lease is released. Instants are the database's own clock, which all servers share.
CREATE TABLE svc_changeover_leases (
    name       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    holder     TEXT   NOT NULL,
    fencing    BIGINT NOT NULL,
    claimed_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Long work, such as a backfill that was started over HTTP. A running job is held by a lease named job/ID; what its server writes
-- here names the lease's fencing number, so that a server that lost the job writes nothing any more.
CREATE TABLE svc_changeover_jobs (
    id               TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    kind             TEXT   NOT NULL,
    change_name      TEXT   NOT NULL,
    state            TEXT   NOT NULL,
    arguments        TEXT   NOT NULL,
    progress         TEXT   NOT NULL,
    result           TEXT,
    error            TEXT,
    actor            TEXT   NOT NULL,
    fencing          BIGINT NOT NULL,
    attempts         BIGINT NOT NULL,
    run_after        BIGINT NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    created_at       BIGINT NOT NULL,
    started_at       BIGINT,
    updated_at       BIGINT NOT NULL
);

-- One job of a kind at a time for each change.
CREATE UNIQUE INDEX svc_changeover_jobs_one_of_a_kind ON svc_changeover_jobs (kind, change_name)
    WHERE state IN ('queued', 'running') AND change_name <> '';
CREATE INDEX svc_changeover_jobs_of_state ON svc_changeover_jobs (state, id);
