-- The new model, beside the tables that `pgbench -i` makes. Without foreign keys, as pgbench's own tables are.
CREATE TABLE account_branches (
    account_id integer NOT NULL,
    branch_id  integer NOT NULL,
    role       text NOT NULL DEFAULT 'further' CHECK (role IN ('home', 'further')),
    PRIMARY KEY (account_id, branch_id, role)
);
-- One home for each account: the old model has no room for two.
CREATE UNIQUE INDEX account_branches_home ON account_branches (account_id) WHERE role = 'home';

CREATE TABLE balances (
    id     integer NOT NULL,
    kind   text NOT NULL CHECK (kind IN ('branch', 'teller', 'account')),
    amount integer,
    PRIMARY KEY (id, kind)
);
