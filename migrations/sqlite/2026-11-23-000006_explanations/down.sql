ALTER TABLE svc_changeover_report_signatures DROP COLUMN sha256;
ALTER TABLE svc_changeover_report_signatures DROP COLUMN comment;
ALTER TABLE svc_changeover_report_signatures DROP COLUMN approves;
ALTER TABLE svc_changeover_reports DROP COLUMN file_sha256;
ALTER TABLE svc_changeover_reports DROP COLUMN unexplained;
DROP TABLE svc_changeover_report_parts;
DROP TABLE svc_changeover_report_exceptions;
DROP TABLE svc_changeover_explanation_versions;
DROP TABLE svc_changeover_explanations;
