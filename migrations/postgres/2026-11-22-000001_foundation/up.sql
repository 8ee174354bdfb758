-- The service's own tables. Names that are paged over compare byte by byte (COLLATE "C"), as SQLite does and as Rust does.

-- One row: what every write counts up. Its lock is what puts writers one behind the other.
CREATE TABLE svc_changeover_state (
    id                BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    config_version    BIGINT NOT NULL,
    config_changed_at BIGINT NOT NULL,
    token_version     BIGINT NOT NULL,
    audit_count       BIGINT NOT NULL,
    audit_hash        TEXT   NOT NULL
);
INSERT INTO svc_changeover_state (id, config_version, config_changed_at, token_version, audit_count, audit_hash) VALUES (1, 0, 0, 0, 0, '');

CREATE TABLE svc_changeover_flags (
    key        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    version    BIGINT NOT NULL,
    data       TEXT   NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT   NOT NULL
);

-- Every version of every flag; `data` is NULL where the flag was removed.
CREATE TABLE svc_changeover_flag_versions (
    key     TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    data    TEXT,
    at      BIGINT NOT NULL,
    actor   TEXT   NOT NULL,
    reason  TEXT   NOT NULL,
    PRIMARY KEY (key, version)
);

CREATE TABLE svc_changeover_cohorts (
    name        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    description TEXT   NOT NULL,
    generation  BIGINT NOT NULL,
    id_count    BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    updated_by  TEXT   NOT NULL
);

-- A cohort's ids, sorted and cut into leaves of some thousand lines each: docs/decisions/0002-cohort-leaves.md.
CREATE TABLE svc_changeover_cohort_leaves (
    cohort   TEXT COLLATE "C" NOT NULL REFERENCES svc_changeover_cohorts (name) ON DELETE CASCADE,
    first_id TEXT COLLATE "C" NOT NULL,
    id_count BIGINT NOT NULL,
    ids      TEXT   NOT NULL,
    PRIMARY KEY (cohort, first_id)
);

CREATE TABLE svc_changeover_tokens (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name        TEXT   NOT NULL,
    role        TEXT   NOT NULL,
    secret_hash TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    created_by  TEXT   NOT NULL,
    expires_at  BIGINT,
    revoked_at  BIGINT
);

CREATE TABLE svc_changeover_audit (
    id            BIGINT NOT NULL PRIMARY KEY,
    at            BIGINT NOT NULL,
    actor         TEXT   NOT NULL,
    action        TEXT   NOT NULL,
    subject       TEXT   NOT NULL,
    reason        TEXT   NOT NULL,
    detail        TEXT   NOT NULL,
    previous_hash TEXT   NOT NULL,
    hash          TEXT   NOT NULL
);

CREATE TABLE svc_changeover_reports (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    change_name TEXT   NOT NULL,
    periods     TEXT   NOT NULL,
    as_of       BIGINT NOT NULL,
    clean       BOOLEAN NOT NULL,
    exceptions  BIGINT NOT NULL,
    data        TEXT   NOT NULL,
    sha256      TEXT   NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE INDEX svc_changeover_reports_of_change ON svc_changeover_reports (change_name, id);

CREATE TABLE svc_changeover_report_signatures (
    report TEXT COLLATE "C" NOT NULL REFERENCES svc_changeover_reports (id) ON DELETE CASCADE,
    name   TEXT   NOT NULL,
    role   TEXT   NOT NULL,
    at     BIGINT NOT NULL,
    PRIMARY KEY (report, name, role)
);
