//! What one statement of a comparison is about: which queries, which charges, and of what types ids, payers and amounts are.

use std::collections::BTreeSet;

use super::closed::Closed;
use super::names::literal;
use crate::change::Allocation;
use crate::primitives::Dialect;

/// What to compare in one statement, and what the database said of it.
#[derive(Debug, Clone, Copy)]
pub struct CompareQuery<'a> {
    pub dialect: Dialect,
    pub allocation: &'a Allocation,
    /// Periods as the charges query prints them; empty: all.
    pub periods: &'a [String],
    /// The view of effective allocation, qualified and quoted; `None`: nobody is routed yet, so effective is old.
    pub effective: Option<&'a str>,
    /// Periods before this one are closed and keep the payers that they had: today's expected payers say nothing about them.
    pub closed_before: Option<&'a str>,
    /// What charges of closed periods were allocated to when their period closed; `None`: nothing was recorded.
    pub closed: Option<&'a Closed>,
    /// Ids of charges to return one by one, whatever their class.
    pub asked_charges: &'a [String],
    /// True if charges of which nothing is left to be said are told first, and only the others are looked at in detail; on PostgreSQL.
    pub settles: bool,
    pub columns: &'a ColumnKinds,
    pub scope: &'a Scope,
}

/// The types of what the queries return. Ids that all queries have in the same type are compared in it, so that an index on them can
/// be used; all others are compared as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnKinds {
    pub charge_id: IdKind,
    /// True if payers are integers in every query, and are compared as such.
    pub integer_payers: bool,
    /// The queries whose amounts are of an integer type: nothing but NULL is wrong with them.
    pub integer_amounts: BTreeSet<&'static str>,
    /// True if the `new` query returns a column `currency` of its own.
    pub new_has_currency: bool,
}

/// How charge ids are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdKind {
    Integer,
    /// PostgreSQL's `uuid`.
    Uuid,
    /// Text of one and the same collation everywhere.
    Text,
    /// Anything else, or not the same everywhere: cast to text.
    #[default]
    Mixed,
}

/// Which charges a statement looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// From the first id on, up to and without the second; `None` is no bound.
    Between(Option<String>, Option<String>),
    These(Vec<String>),
    /// Rows without an id, which nothing can be said of.
    Nameless,
}

impl CompareQuery<'_> {
    /// A charge's id of a query's row, as it is compared.
    pub(super) fn id(&self, column: &str) -> String {
        match (self.dialect, self.columns.charge_id) {
            (_, IdKind::Integer) | (Dialect::Postgres, IdKind::Uuid | IdKind::Text) => column.to_owned(),
            (Dialect::Postgres, IdKind::Mixed) => format!("(CAST({column} AS text) COLLATE \"C\")"),
            (Dialect::Sqlite, _) => format!("(CAST({column} AS text) COLLATE BINARY)"),
        }
    }

    /// A payer of a query's row, as it is compared.
    pub(super) fn payer(&self, column: &str) -> String {
        match self.dialect {
            Dialect::Postgres if self.columns.integer_payers => format!("CAST({column} AS bigint)"),
            Dialect::Postgres => format!("(CAST({column} AS text) COLLATE \"C\")"),
            Dialect::Sqlite => format!("(CAST({column} AS text) COLLATE BINARY)"),
        }
    }

    /// The condition that a query's row belongs to the scope, on the bare column wherever an index on it can help.
    pub(super) fn in_scope(&self, column: &str) -> String {
        let compared = match (self.dialect, self.columns.charge_id) {
            (Dialect::Sqlite, IdKind::Text) => format!("{column} COLLATE BINARY"),
            _ => self.id(column),
        };
        match self.scope {
            Scope::Nameless => format!("{column} IS NULL"),
            Scope::These(ids) => self.is_among(&compared, ids),
            Scope::Between(from, to) => {
                let bounds: Vec<String> = [(from, ">="), (to, "<")]
                    .into_iter()
                    .filter_map(|(bound, sign)| {
                        bound.as_ref().map(|bound| format!("{compared} {sign} {}", self.id_literal(bound)))
                    })
                    .collect();
                if bounds.is_empty() { format!("{column} IS NOT NULL") } else { bounds.join(" AND ") }
            }
        }
    }

    /// The condition that an id, as it is compared, is one of these. A text that cannot be an id is none of them.
    pub(super) fn is_among(&self, compared: &str, ids: &[String]) -> String {
        let listed: Vec<String> = match self.columns.charge_id {
            IdKind::Integer => {
                ids.iter().filter_map(|id| id.parse::<i64>().ok()).map(|id| self.id_literal(&id.to_string())).collect()
            }
            IdKind::Uuid => ids.iter().filter(|id| is_uuid(id)).map(|id| self.id_literal(id)).collect(),
            _ => ids.iter().map(|id| literal(id)).collect(),
        };
        if listed.is_empty() { String::from("1 = 0") } else { format!("{compared} IN ({})", listed.join(", ")) }
    }

    fn id_literal(&self, id: &str) -> String {
        match self.columns.charge_id {
            // Anything but an integer cannot have come from such a column; quoted, it is refused and does no harm.
            IdKind::Integer if id.parse::<i64>().is_ok() => format!("({id})"),
            IdKind::Uuid => format!("CAST({} AS uuid)", literal(id)),
            _ => literal(id),
        }
    }

    /// The sum of one charge's amounts: 64 bits wherever amounts are integers, because a refusal beyond is right there and
    /// `numeric` costs far more.
    pub(super) fn sum(&self, amount: &str) -> String {
        match (self.dialect, self.allocation.scale) {
            (Dialect::Postgres, None) => format!("CAST(sum({amount}) AS bigint)"),
            _ => format!("sum({amount})"),
        }
    }

    /// Bytewise order and equality, so that a report depends neither on a database's locale nor on a column that ignores case.
    pub(super) fn bytewise(&self) -> &'static str {
        match self.dialect {
            Dialect::Postgres => " COLLATE \"C\"",
            Dialect::Sqlite => " COLLATE BINARY",
        }
    }
}

/// True for a UUID as PostgreSQL prints it: 8-4-4-4-12 small hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f' | '-'))
}
