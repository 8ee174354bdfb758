-- The service's own tables. Instants are microseconds since 1970, JSON is text; STRICT keeps both what they say they are.

-- One row: what every write counts up. Its lock is what puts writers one behind the other.
CREATE TABLE svc_changeover_state (
    id                INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    config_version    INTEGER NOT NULL,
    config_changed_at INTEGER NOT NULL,
    token_version     INTEGER NOT NULL,
    audit_count       INTEGER NOT NULL,
    audit_hash        TEXT   NOT NULL
) STRICT;
INSERT INTO svc_changeover_state (id, config_version, config_changed_at, token_version, audit_count, audit_hash) VALUES (1, 0, 0, 0, 0, '');

CREATE TABLE svc_changeover_flags (
    key        TEXT NOT NULL PRIMARY KEY,
    version    INTEGER NOT NULL,
    data       TEXT   NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT   NOT NULL
) STRICT;

-- Every version of every flag; `data` is NULL where the flag was removed.
CREATE TABLE svc_changeover_flag_versions (
    key     TEXT NOT NULL,
    version INTEGER NOT NULL,
    data    TEXT,
    at      INTEGER NOT NULL,
    actor   TEXT   NOT NULL,
    reason  TEXT   NOT NULL,
    PRIMARY KEY (key, version)
) STRICT;

CREATE TABLE svc_changeover_cohorts (
    name        TEXT NOT NULL PRIMARY KEY,
    description TEXT   NOT NULL,
    generation  INTEGER NOT NULL,
    id_count    INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    updated_by  TEXT   NOT NULL
) STRICT;

-- A cohort's ids, sorted and cut into leaves of some thousand lines each: docs/decisions/0002-cohort-leaves.md.
CREATE TABLE svc_changeover_cohort_leaves (
    cohort   TEXT NOT NULL REFERENCES svc_changeover_cohorts (name) ON DELETE CASCADE,
    first_id TEXT NOT NULL,
    id_count INTEGER NOT NULL,
    ids      TEXT   NOT NULL,
    PRIMARY KEY (cohort, first_id)
) STRICT;

CREATE TABLE svc_changeover_tokens (
    id          TEXT NOT NULL PRIMARY KEY,
    name        TEXT   NOT NULL,
    role        TEXT   NOT NULL,
    secret_hash TEXT   NOT NULL,
    created_at  INTEGER NOT NULL,
    created_by  TEXT   NOT NULL,
    expires_at  INTEGER,
    revoked_at  INTEGER
) STRICT;

CREATE TABLE svc_changeover_audit (
    id            INTEGER NOT NULL PRIMARY KEY,
    at            INTEGER NOT NULL,
    actor         TEXT   NOT NULL,
    action        TEXT   NOT NULL,
    subject       TEXT   NOT NULL,
    reason        TEXT   NOT NULL,
    detail        TEXT   NOT NULL,
    previous_hash TEXT   NOT NULL,
    hash          TEXT   NOT NULL
) STRICT;

CREATE TABLE svc_changeover_reports (
    id          TEXT NOT NULL PRIMARY KEY,
    change_name TEXT   NOT NULL,
    periods     TEXT   NOT NULL,
    as_of       INTEGER NOT NULL,
    clean       INTEGER NOT NULL,
    exceptions  INTEGER NOT NULL,
    data        TEXT   NOT NULL,
    sha256      TEXT   NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX svc_changeover_reports_of_change ON svc_changeover_reports (change_name, id);

CREATE TABLE svc_changeover_report_signatures (
    report TEXT NOT NULL REFERENCES svc_changeover_reports (id) ON DELETE CASCADE,
    name   TEXT   NOT NULL,
    role   TEXT   NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (report, name, role)
) STRICT;
