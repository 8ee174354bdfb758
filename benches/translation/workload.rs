//! The four inserts that are measured, as SQL in statements that both databases understand, with `:user`, `:video` and `:amount` as
//! random parameters and `:id` and `:account` as what an earlier statement returned.

/// One kind of insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// One old row becomes one new row with the same key, by a block over the driving table alone.
    Document,
    /// One old row becomes one new row.
    Video,
    /// One old row becomes two new rows, the second of which needs the first one's id.
    User,
    /// One old row is divided over the members of an account.
    Charge,
}

pub const WORKLOADS: [Workload; 4] = [Workload::Document, Workload::Video, Workload::User, Workload::Charge];

/// A statement of a transaction and the name under which later ones know the id that it returns.
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    pub sql: &'static str,
    pub returns: Option<&'static str>,
}

impl Workload {
    pub fn title(self) -> &'static str {
        match self {
            Self::Document => "document: one new row (1:1)",
            Self::Video => "video: one new row, looked up",
            Self::User => "user: two new rows",
            Self::Charge => "charge: divided over members",
        }
    }

    /// What old code does.
    pub fn old_row(self) -> &'static str {
        match self {
            Self::Document => "INSERT INTO documents (owner, title) VALUES (:user, 'A film')",
            Self::Video => "INSERT INTO videos (user_id, title) VALUES (:user, 'A film')",
            Self::User => "INSERT INTO users (name, company) VALUES ('Ada', 'Plain Pictures Ltd')",
            Self::Charge => {
                "INSERT INTO charges (user_id, video_id, period, currency, amount_minor) \
                 VALUES (:user, :video, '2026-11', 'USD', :amount)"
            }
        }
    }

    /// What careful code would do instead, in one transaction: the division is the largest-remainder one.
    pub fn by_hand(self) -> Vec<Statement> {
        let minting = |sql, returns| Statement { sql, returns: Some(returns) };
        let last = |sql| Statement { sql, returns: None };
        match self {
            Self::Document => vec![
                minting("INSERT INTO documents (owner, title) VALUES (:user, 'A film') RETURNING id", "id"),
                last("INSERT INTO papers (id, owner_id, name) VALUES (:id, :user, 'A FILM')"),
            ],
            Self::Video => vec![
                minting("INSERT INTO videos (user_id, title) VALUES (:user, 'A film') RETURNING id", "id"),
                last(
                    "INSERT INTO video_accounts (video_id, account_id) SELECT :id, id FROM accounts WHERE owner_id = :user",
                ),
            ],
            Self::User => vec![
                minting("INSERT INTO users (name, company) VALUES ('Ada', 'Plain Pictures Ltd') RETURNING id", "id"),
                minting(
                    "INSERT INTO accounts (owner_id, name) VALUES (:id, 'Plain Pictures Ltd') RETURNING id",
                    "account",
                ),
                last("INSERT INTO memberships (account_id, user_id, role, weight) VALUES (:account, :id, 'owner', 1)"),
            ],
            Self::Charge => vec![
                minting(
                    "INSERT INTO charges (user_id, video_id, period, currency, amount_minor) \
                     VALUES (:user, :video, '2026-11', 'USD', :amount) RETURNING id",
                    "id",
                ),
                last(
                    "INSERT INTO charge_allocations (charge_id, payer_id, account_id, weight, amount_minor, currency) \
                     SELECT :id, user_id, account_id, weight, \
                     whole + CASE WHEN row_number() OVER (ORDER BY rest DESC, is_first DESC, user_id) <= :amount - sum(whole) OVER () \
                     THEN 1 ELSE 0 END, 'USD' \
                     FROM (SELECT user_id, account_id, weight, is_first, :amount * weight / total AS whole, :amount * weight % total AS rest \
                     FROM (SELECT m.user_id, m.account_id, m.weight, m.user_id = :user AS is_first, \
                     CAST(sum(m.weight) OVER () AS bigint) AS total \
                     FROM video_accounts v JOIN memberships m ON m.account_id = v.account_id WHERE v.video_id = :video) AS members) AS parts",
                ),
            ],
        }
    }
}
