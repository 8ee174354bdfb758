-- The old model: what `pgbench -i` makes on PostgreSQL.
CREATE TABLE pgbench_branches (bid INTEGER PRIMARY KEY, bbalance INTEGER, filler TEXT);
CREATE TABLE pgbench_tellers (tid INTEGER PRIMARY KEY, bid INTEGER, tbalance INTEGER, filler TEXT);
CREATE TABLE pgbench_accounts (aid INTEGER PRIMARY KEY, bid INTEGER, abalance INTEGER, filler TEXT);
CREATE TABLE pgbench_history (tid INTEGER, bid INTEGER, aid INTEGER, delta INTEGER, mtime TEXT, filler TEXT);

-- The new model.
CREATE TABLE account_branches (
    account_id INTEGER NOT NULL,
    branch_id  INTEGER NOT NULL,
    role       TEXT NOT NULL DEFAULT 'further' CHECK (role IN ('home', 'further')),
    PRIMARY KEY (account_id, branch_id, role)
);
-- One home for each account: the old model has no room for two.
CREATE UNIQUE INDEX account_branches_home ON account_branches (account_id) WHERE role = 'home';

CREATE TABLE balances (
    id     INTEGER NOT NULL,
    kind   TEXT NOT NULL CHECK (kind IN ('branch', 'teller', 'account')),
    amount INTEGER,
    PRIMARY KEY (id, kind)
);
