-- The old model: a charge belongs to a billing account. Amounts are integers of 10^-11 US dollars.
CREATE TABLE billing_accounts (
    id   TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL
);

CREATE TABLE sub_accounts (
    id   TEXT PRIMARY KEY NOT NULL,
    name TEXT
);

CREATE TABLE charges (
    id                 INTEGER PRIMARY KEY,
    billing_account_id TEXT NOT NULL REFERENCES billing_accounts (id),
    sub_account_id     TEXT REFERENCES sub_accounts (id),
    period             TEXT NOT NULL,
    currency           TEXT NOT NULL,
    amount             INTEGER NOT NULL,
    service            TEXT NOT NULL,
    tags               TEXT
);
CREATE INDEX charges_sub_account_id ON charges (sub_account_id);
CREATE INDEX charges_period ON charges (period);

-- The new model: a charge is allocated to the business unit in its tags, and one without is divided over the business
-- units of its sub-account by what is tagged there. What follows from a row of the old model goes with it.
CREATE TABLE cost_shares (
    sub_account_id TEXT NOT NULL REFERENCES sub_accounts (id) ON DELETE CASCADE ON UPDATE CASCADE,
    business_unit  TEXT NOT NULL,
    weight         INTEGER NOT NULL CHECK (weight >= 1),
    PRIMARY KEY (sub_account_id, business_unit)
);

CREATE TABLE charge_allocations (
    charge_id     INTEGER NOT NULL REFERENCES charges (id) ON DELETE CASCADE ON UPDATE CASCADE,
    business_unit TEXT NOT NULL,
    weight        INTEGER NOT NULL,
    amount        INTEGER NOT NULL,
    currency      TEXT NOT NULL,
    PRIMARY KEY (charge_id, business_unit)
);
