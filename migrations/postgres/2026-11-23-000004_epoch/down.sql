ALTER TABLE svc_changeover_state DROP COLUMN epoch;
