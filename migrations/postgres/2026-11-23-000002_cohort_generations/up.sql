-- Conditions under which a subject belongs to a cohort without standing in its ids, as JSON.
ALTER TABLE svc_changeover_cohorts ADD COLUMN conditions TEXT NOT NULL DEFAULT '[]';

-- Leaves now say from which generation on, and until which (NULL: still), they are part of their cohort, so that every generation can
-- be read back and what did not change is stored once: docs/decisions/0011-cohort-generations.md. They outlive their cohort.
CREATE TABLE svc_changeover_cohort_leaves_before AS SELECT * FROM svc_changeover_cohort_leaves;
DROP TABLE svc_changeover_cohort_leaves;
CREATE TABLE svc_changeover_cohort_leaves (
    cohort           TEXT COLLATE "C" NOT NULL,
    first_id         TEXT COLLATE "C" NOT NULL,
    from_generation  BIGINT NOT NULL,
    until_generation BIGINT,
    id_count         BIGINT NOT NULL,
    ids              TEXT NOT NULL,
    PRIMARY KEY (cohort, first_id, from_generation)
);
CREATE UNIQUE INDEX svc_changeover_cohort_leaves_now ON svc_changeover_cohort_leaves (cohort, first_id) WHERE until_generation IS NULL;
CREATE INDEX svc_changeover_cohort_leaves_come ON svc_changeover_cohort_leaves (cohort, from_generation);
CREATE INDEX svc_changeover_cohort_leaves_gone ON svc_changeover_cohort_leaves (cohort, until_generation);
INSERT INTO svc_changeover_cohort_leaves (cohort, first_id, from_generation, until_generation, id_count, ids)
SELECT l.cohort, l.first_id, c.generation, NULL, l.id_count, l.ids
FROM svc_changeover_cohort_leaves_before l JOIN svc_changeover_cohorts c ON c.name = l.cohort;
DROP TABLE svc_changeover_cohort_leaves_before;

-- Every generation of every cohort. Its ids can be read back while `readable` is true.
CREATE TABLE svc_changeover_cohort_generations (
    cohort      TEXT COLLATE "C" NOT NULL,
    generation  BIGINT NOT NULL,
    action      TEXT NOT NULL,
    description TEXT NOT NULL,
    conditions  TEXT NOT NULL,
    id_count    BIGINT NOT NULL,
    added       BIGINT NOT NULL,
    removed     BIGINT NOT NULL,
    sha256      TEXT,
    at          BIGINT NOT NULL,
    actor       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    readable    BOOLEAN NOT NULL,
    PRIMARY KEY (cohort, generation)
);
INSERT INTO svc_changeover_cohort_generations
    (cohort, generation, action, description, conditions, id_count, added, removed, sha256, at, actor, reason, readable)
SELECT name, generation, 'cohort.replace', description, '[]', id_count, 0, 0, NULL, updated_at, updated_by, 'as it was before generations were kept', TRUE
FROM svc_changeover_cohorts;

-- Uploads that wait to be looked at and activated, or dropped.
CREATE TABLE svc_changeover_cohort_uploads (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    cohort          TEXT COLLATE "C" NOT NULL,
    base_generation BIGINT NOT NULL,
    action          TEXT NOT NULL,
    id_count        BIGINT NOT NULL,
    sha256          TEXT NOT NULL,
    receipt         TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    actor           TEXT NOT NULL,
    reason          TEXT NOT NULL,
    expires_at      BIGINT NOT NULL
);
CREATE INDEX svc_changeover_cohort_uploads_of_cohort ON svc_changeover_cohort_uploads (cohort, id);

CREATE TABLE svc_changeover_cohort_upload_leaves (
    upload   TEXT COLLATE "C" NOT NULL REFERENCES svc_changeover_cohort_uploads (id) ON DELETE CASCADE,
    first_id TEXT COLLATE "C" NOT NULL,
    id_count BIGINT NOT NULL,
    ids      TEXT NOT NULL,
    PRIMARY KEY (upload, first_id)
);
