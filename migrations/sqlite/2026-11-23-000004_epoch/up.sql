-- Names one history of this database. It is drawn anew when servers find the database set back to an earlier state, so that they
-- follow it knowingly: docs/decisions/0012-one-truth.md.
ALTER TABLE svc_changeover_state ADD COLUMN epoch TEXT NOT NULL DEFAULT '';
UPDATE svc_changeover_state SET epoch = lower(hex(randomblob(16)));
