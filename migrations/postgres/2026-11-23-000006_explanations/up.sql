-- Why charges of a wrong class are as they are. A withdrawn one stays, and counts no more.
CREATE TABLE svc_changeover_explanations (
    id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    change_name  TEXT    NOT NULL,
    version      BIGINT NOT NULL,
    data         TEXT    NOT NULL,
    created_at   BIGINT NOT NULL,
    created_by   TEXT    NOT NULL,
    updated_at   BIGINT NOT NULL,
    updated_by   TEXT    NOT NULL,
    withdrawn_at BIGINT
);
CREATE INDEX svc_changeover_explanations_of_change ON svc_changeover_explanations (change_name, id);

-- Every version that an explanation had; the last row of a withdrawn one has no data.
CREATE TABLE svc_changeover_explanation_versions (
    id      TEXT COLLATE "C" NOT NULL REFERENCES svc_changeover_explanations (id) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    data    TEXT,
    at      BIGINT NOT NULL,
    actor   TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    PRIMARY KEY (id, version)
);

-- All exceptions of a report, by the charge's id. They are written while it runs: those whose report never came are pruned.
CREATE TABLE svc_changeover_report_exceptions (
    report    TEXT COLLATE "C" NOT NULL,
    charge_id TEXT COLLATE "C" NOT NULL,
    class     TEXT NOT NULL,
    data      TEXT NOT NULL,
    PRIMARY KEY (report, charge_id)
);
CREATE INDEX svc_changeover_report_exceptions_of_class ON svc_changeover_report_exceptions (report, class, charge_id);

-- What each chunk of a comparison found: a run that was interrupted goes on after them, and a later report can use them again.
CREATE TABLE svc_changeover_report_parts (
    report TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    data   TEXT NOT NULL,
    PRIMARY KEY (report, number)
);

-- What a list of reports tells without reading their data.
ALTER TABLE svc_changeover_reports ADD COLUMN unexplained BIGINT NOT NULL DEFAULT 0;
ALTER TABLE svc_changeover_reports ADD COLUMN file_sha256 TEXT NOT NULL DEFAULT '';
UPDATE svc_changeover_reports SET unexplained = exceptions;

-- A sign-off says yes or no, and may say why.
ALTER TABLE svc_changeover_report_signatures ADD COLUMN approves BOOLEAN NOT NULL DEFAULT true;
ALTER TABLE svc_changeover_report_signatures ADD COLUMN comment TEXT NOT NULL DEFAULT '';
ALTER TABLE svc_changeover_report_signatures ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';
UPDATE svc_changeover_report_signatures SET sha256 =
    coalesce((SELECT r.sha256 FROM svc_changeover_reports r WHERE r.id = svc_changeover_report_signatures.report), '');
