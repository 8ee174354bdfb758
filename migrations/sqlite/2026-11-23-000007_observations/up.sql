-- How many observations of an operation came to what, by minute and later by hour; latencies are counts in buckets.
CREATE TABLE svc_changeover_observation_counts (
    subject   TEXT    NOT NULL,
    operation TEXT    NOT NULL,
    step      INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    measure   INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    PRIMARY KEY (subject, step, at, operation, measure)
) STRICT;

-- The ids of observations that were counted, for as long as they may come again.
CREATE TABLE svc_changeover_observation_ids (
    subject TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (subject, id)
) STRICT;
CREATE INDEX svc_changeover_observation_ids_at ON svc_changeover_observation_ids (at);

-- Mismatches that are kept one by one: the newest of every place.
CREATE TABLE svc_changeover_observation_samples (
    id        TEXT    NOT NULL PRIMARY KEY,
    subject   TEXT    NOT NULL,
    operation TEXT    NOT NULL,
    path      TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    data      TEXT    NOT NULL
) STRICT;
CREATE INDEX svc_changeover_observation_samples_of ON svc_changeover_observation_samples (subject, operation, path, id);

-- What comparisons tolerate, ignore and hide.
CREATE TABLE svc_changeover_observation_rules (
    id         TEXT    NOT NULL PRIMARY KEY,
    subject    TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    data       TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT    NOT NULL
) STRICT;
CREATE INDEX svc_changeover_observation_rules_of ON svc_changeover_observation_rules (subject, id);
