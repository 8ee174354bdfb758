-- Writes that wait for a second person: docs/protected-flags.md. `data` is what is written on approval, as JSON, with the version that
-- each part of it was made for. `token` is empty for a proposal made on the command line.
CREATE TABLE svc_changeover_proposals (
    id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    subject        TEXT   NOT NULL,
    kind           TEXT   NOT NULL,
    data           TEXT   NOT NULL,
    overriding     BOOLEAN NOT NULL,
    actor          TEXT   NOT NULL,
    token          TEXT   NOT NULL,
    reason         TEXT   NOT NULL,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    state          TEXT   NOT NULL,
    decided_by     TEXT,
    decided_at     BIGINT,
    decided_reason TEXT
);
CREATE INDEX svc_changeover_proposals_of_state ON svc_changeover_proposals (state, id);

-- How many millionths of a protected flag's subjects a write may have moved to another variant, at most: what the sliding hour adds up.
CREATE TABLE svc_changeover_flag_exposures (
    flag       TEXT COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    millionths BIGINT NOT NULL,
    actor      TEXT   NOT NULL,
    PRIMARY KEY (flag, version)
);
CREATE INDEX svc_changeover_flag_exposures_at ON svc_changeover_flag_exposures (flag, at);
