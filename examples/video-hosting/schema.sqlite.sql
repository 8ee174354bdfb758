-- The old model: what the application has had all along. A video belongs to a user, and a charge is that user's.
CREATE TABLE users (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    company TEXT
);

CREATE TABLE videos (
    id      INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id),
    title   TEXT NOT NULL
);
CREATE INDEX videos_user_id ON videos (user_id);

CREATE TABLE periods (
    period TEXT PRIMARY KEY NOT NULL,
    closed INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE charges (
    id           INTEGER PRIMARY KEY,
    user_id      INTEGER NOT NULL REFERENCES users (id),
    video_id     INTEGER NOT NULL REFERENCES videos (id),
    period       TEXT NOT NULL,
    currency     TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    reverses_id  INTEGER REFERENCES charges (id)
);
CREATE INDEX charges_user_id ON charges (user_id);
CREATE INDEX charges_video_id ON charges (video_id);
CREATE INDEX charges_period ON charges (period);
CREATE INDEX charges_reverses_id ON charges (reverses_id);

-- The new model: accounts own videos, users are members of accounts, and a charge is divided over the members by weight.
-- Whatever follows from a row of the old model goes with it, in a delete and in a change of its key: a constraint between the new tables and
-- the old ones must never refuse what old code does.
CREATE TABLE accounts (
    id       INTEGER PRIMARY KEY,
    owner_id INTEGER NOT NULL UNIQUE REFERENCES users (id) ON DELETE CASCADE ON UPDATE CASCADE,
    name     TEXT
);

CREATE TABLE memberships (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE ON UPDATE CASCADE,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE ON UPDATE CASCADE,
    role       TEXT NOT NULL DEFAULT 'member' CHECK (role IN ('owner', 'member')),
    weight     INTEGER NOT NULL DEFAULT 1 CHECK (weight >= 0),
    PRIMARY KEY (account_id, user_id)
);
CREATE INDEX memberships_user_id ON memberships (user_id);

CREATE TABLE video_accounts (
    video_id   INTEGER PRIMARY KEY REFERENCES videos (id) ON DELETE CASCADE ON UPDATE CASCADE,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE INDEX video_accounts_account_id ON video_accounts (account_id);

-- Payer and account are no foreign keys: what was allocated in a closed period outlives both.
CREATE TABLE charge_allocations (
    charge_id    INTEGER NOT NULL REFERENCES charges (id) ON DELETE CASCADE ON UPDATE CASCADE,
    payer_id     INTEGER NOT NULL,
    account_id   INTEGER NOT NULL,
    weight       INTEGER NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency     TEXT NOT NULL,
    PRIMARY KEY (charge_id, payer_id)
);
