-- How many observations of an operation came to what, by minute and later by hour; latencies are counts in buckets.
CREATE TABLE svc_changeover_observation_counts (
    subject   TEXT    COLLATE "C" NOT NULL,
    operation TEXT    COLLATE "C" NOT NULL,
    step      BIGINT NOT NULL,
    at        BIGINT NOT NULL,
    measure   BIGINT NOT NULL,
    count     BIGINT NOT NULL,
    PRIMARY KEY (subject, step, at, operation, measure)
);

-- The ids of observations that were counted, for as long as they may come again.
CREATE TABLE svc_changeover_observation_ids (
    subject TEXT    COLLATE "C" NOT NULL,
    id      TEXT    COLLATE "C" NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (subject, id)
);
CREATE INDEX svc_changeover_observation_ids_at ON svc_changeover_observation_ids (at);

-- Mismatches that are kept one by one: the newest of every place.
CREATE TABLE svc_changeover_observation_samples (
    id        TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    subject   TEXT    COLLATE "C" NOT NULL,
    operation TEXT    COLLATE "C" NOT NULL,
    path      TEXT    COLLATE "C" NOT NULL,
    at        BIGINT NOT NULL,
    data      TEXT    NOT NULL
);
CREATE INDEX svc_changeover_observation_samples_of ON svc_changeover_observation_samples (subject, operation, path, id);

-- What comparisons tolerate, ignore and hide.
CREATE TABLE svc_changeover_observation_rules (
    id         TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    subject    TEXT    COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL,
    data       TEXT    NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT    NOT NULL
);
CREATE INDEX svc_changeover_observation_rules_of ON svc_changeover_observation_rules (subject, id);
