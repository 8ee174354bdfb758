-- Writes that wait for a second person: docs/protected-flags.md. `data` is what is written on approval, as JSON, with the version that
-- each part of it was made for. `token` is empty for a proposal made on the command line.
CREATE TABLE svc_changeover_proposals (
    id             TEXT NOT NULL PRIMARY KEY,
    subject        TEXT   NOT NULL,
    kind           TEXT   NOT NULL,
    data           TEXT   NOT NULL,
    overriding     INTEGER NOT NULL,
    actor          TEXT   NOT NULL,
    token          TEXT   NOT NULL,
    reason         TEXT   NOT NULL,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    state          TEXT   NOT NULL,
    decided_by     TEXT,
    decided_at     INTEGER,
    decided_reason TEXT
) STRICT;
CREATE INDEX svc_changeover_proposals_of_state ON svc_changeover_proposals (state, id);

-- How many millionths of a protected flag's subjects a write may have moved to another variant, at most: what the sliding hour adds up.
CREATE TABLE svc_changeover_flag_exposures (
    flag       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    millionths INTEGER NOT NULL,
    actor      TEXT   NOT NULL,
    PRIMARY KEY (flag, version)
) STRICT;
CREATE INDEX svc_changeover_flag_exposures_at ON svc_changeover_flag_exposures (flag, at);
