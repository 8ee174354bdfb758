-- The old model: what the application has had all along. A user is in one account or in none.
CREATE TABLE accounts (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL
);

CREATE TABLE users (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL,
    account_id   INTEGER REFERENCES accounts (id) ON DELETE SET NULL ON UPDATE CASCADE,
    account_role TEXT NOT NULL DEFAULT 'member'
);
CREATE INDEX users_account_id ON users (account_id);

-- The new model: a user may be a member of several accounts, with a role in each. One of them is their home.
-- Whatever follows from a row of the old model goes with it, in a delete and in a change of its key: a constraint between the
-- new table and the old ones must never refuse what old code does.
CREATE TABLE memberships (
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE ON UPDATE CASCADE,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE ON UPDATE CASCADE,
    role       TEXT NOT NULL DEFAULT 'member',
    home       BOOLEAN NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, account_id)
);
CREATE INDEX memberships_account_id ON memberships (account_id);
