DROP TABLE svc_changeover_cohort_upload_leaves;
DROP TABLE svc_changeover_cohort_uploads;
DROP TABLE svc_changeover_cohort_generations;
CREATE TABLE svc_changeover_cohort_leaves_after AS SELECT * FROM svc_changeover_cohort_leaves WHERE until_generation IS NULL;
DROP TABLE svc_changeover_cohort_leaves;
CREATE TABLE svc_changeover_cohort_leaves (
    cohort   TEXT COLLATE "C" NOT NULL REFERENCES svc_changeover_cohorts (name) ON DELETE CASCADE,
    first_id TEXT COLLATE "C" NOT NULL,
    id_count BIGINT NOT NULL,
    ids      TEXT   NOT NULL,
    PRIMARY KEY (cohort, first_id)
);
INSERT INTO svc_changeover_cohort_leaves (cohort, first_id, id_count, ids)
SELECT cohort, first_id, id_count, ids FROM svc_changeover_cohort_leaves_after;
DROP TABLE svc_changeover_cohort_leaves_after;
ALTER TABLE svc_changeover_cohorts DROP COLUMN conditions;
