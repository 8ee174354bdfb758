//! SQLite: writing expected rows without failing for what the target refuses.
//!
//! A trigger cannot catch an error. So what would be refused is left out: NULLs, unique keys and missing parents by conditions, CHECK
//! constraints by OR IGNORE; afterwards the target is compared with what was expected, and a key whose rows are not there is queued.
//! OR IGNORE alone would not do: the conflict clause of the application's own statement overrides it, and INSERT OR REPLACE would then
//! delete other keys' rows. What cannot be kept from the writer is listed in `docs/when-translation-fails.md`.

use crate::primitives::Dialect;

use super::expected::expected_from;
use super::keys::Keys;
use super::model::{BlockModel, ChangeModel};
use super::names::{literal, own, quoted};
use super::pending::clock;
use super::statements::{differs, owned_row};

const DIALECT: Dialect = Dialect::Sqlite;

/// The message of a key whose rows the target did not take. Which constraint it was, the worker finds out.
const REFUSED: &str = "the target refuses a row: a NOT NULL, UNIQUE, CHECK or foreign key constraint";

/// What is written, and for which key.
#[derive(Debug, Clone, Copy)]
pub struct Lenient<'a> {
    pub change: &'a ChangeModel,
    pub block: &'a BlockModel,
    /// The block's query, or its short form over the written row.
    pub query: &'a str,
    pub keys: Keys<'a>,
    /// A condition without which nothing is written.
    pub gate: &'a str,
    /// The key as text, as SQL.
    pub key: &'a str,
}

impl Lenient<'_> {
    /// The statements that write the expected rows, and queue the key if the target does not hold them afterwards.
    #[must_use]
    pub fn statements(&self) -> Vec<String> {
        let expected = expected_from(self.block, DIALECT, self.query, self.keys);
        let mut statements = match (self.block.insert, self.block.refusals.checks) {
            (true, false) => vec![self.upsert(&expected)],
            (true, true) => vec![self.update(&expected), self.insert(&expected)],
            (false, _) => vec![self.update(&expected)],
        };
        statements.push(queue(
            self.change,
            self.block,
            self.key,
            REFUSED,
            &format!("{} AND {}", self.gate, self.blocked(&expected)),
        ));
        statements.retain(|statement| !statement.is_empty());
        statements
    }

    fn upsert(&self, expected: &str) -> String {
        let payload = self.block.payload();
        let identity: Vec<String> = self.block.identity.iter().map(|column| quoted(column)).collect();
        let action = if payload.is_empty() {
            String::from("DO NOTHING")
        } else {
            let set: Vec<String> =
                payload.iter().map(|column| format!("{c} = excluded.{c}", c = quoted(column))).collect();
            let differs = differs(self.block, DIALECT, &self.block.target.sql, "excluded");
            format!("DO UPDATE SET {} WHERE ({differs}){}", set.join(", "), owned_row(self.block))
        };
        format!("{} ON CONFLICT ({}) {action}", self.insert_select(expected), identity.join(", "))
    }

    fn insert(&self, expected: &str) -> String {
        format!(
            "{} AND NOT EXISTS (SELECT 1 FROM {} t WHERE {})\nON CONFLICT DO NOTHING",
            self.insert_select(expected),
            self.block.target.sql,
            self.same("t"),
        )
    }

    fn insert_select(&self, expected: &str) -> String {
        let columns: Vec<String> = self.block.mapped.iter().map(|column| quoted(column)).collect();
        format!(
            "INSERT OR IGNORE INTO {} ({columns})\nSELECT {columns} FROM (\n{expected}\n) e WHERE {}{}",
            self.block.target.sql,
            self.gate,
            self.accepted(),
            columns = columns.join(", "),
        )
    }

    fn update(&self, expected: &str) -> String {
        let payload = self.block.payload();
        if payload.is_empty() {
            return String::new();
        }
        let target = &self.block.target.sql;
        let set: Vec<String> = payload.iter().map(|column| format!("{c} = e.{c}", c = quoted(column))).collect();
        format!(
            "UPDATE OR IGNORE {target} SET {} FROM (\n{expected}\n) e WHERE {} AND {} AND ({}){}{}",
            set.join(", "),
            self.gate,
            self.same(target),
            differs(self.block, DIALECT, target, "e"),
            owned_row(self.block),
            self.accepted(),
        )
    }

    /// True if some expected row is not what the target holds.
    fn blocked(&self, expected: &str) -> String {
        let target = &self.block.target.sql;
        let mut wrong: Vec<String> = Vec::new();
        if self.block.insert {
            wrong.push(format!("NOT EXISTS (SELECT 1 FROM {target} WHERE {})", self.same(target)));
        }
        let payload = self.block.payload();
        if !payload.is_empty() {
            wrong.push(format!(
                "EXISTS (SELECT 1 FROM {target} WHERE {} AND ({}){})",
                self.same(target),
                differs(self.block, DIALECT, target, "e"),
                owned_row(self.block),
            ));
        }
        if wrong.is_empty() {
            return String::from("0");
        }
        format!("EXISTS (SELECT 1 FROM (\n{expected}\n) e WHERE {})", wrong.join(" OR "))
    }

    /// `relation`'s row has the identity of the expected row `e`.
    fn same(&self, relation: &str) -> String {
        let pairs: Vec<String> =
            self.block.identity.iter().map(|column| format!("{relation}.{c} = e.{c}", c = quoted(column))).collect();
        pairs.join(" AND ")
    }

    /// ` AND …`: conditions that the expected row `e` must meet to be taken.
    fn accepted(&self) -> String {
        let refusals = &self.block.refusals;
        let not_null = refusals.not_null.iter().map(|column| format!("e.{} IS NOT NULL", quoted(column)));
        let unique = refusals.unique.iter().map(|columns| {
            let equal: Vec<String> =
                columns.iter().map(|column| format!("u.{c} = e.{c}", c = quoted(column))).collect();
            format!(
                "NOT EXISTS (SELECT 1 FROM {} u WHERE {} AND NOT ({}))",
                self.block.target.sql,
                equal.join(" AND "),
                self.same("u")
            )
        });
        let parents = refusals.parents.iter().map(|parent| {
            let nulls: Vec<String> =
                parent.columns.iter().map(|(here, _)| format!("e.{} IS NULL", quoted(here))).collect();
            let equal: Vec<String> = parent
                .columns
                .iter()
                .map(|(here, there)| format!("p.{} = e.{}", quoted(there), quoted(here)))
                .collect();
            format!(
                "({} OR EXISTS (SELECT 1 FROM {} p WHERE {}))",
                nulls.join(" OR "),
                parent.table,
                equal.join(" AND ")
            )
        });
        not_null.chain(unique).chain(parents).map(|condition| format!("\n  AND {condition}")).collect()
    }
}

/// Appends a key to the queue if `condition` holds.
#[must_use]
pub fn queue(change: &ChangeModel, block: &BlockModel, key: &str, error: &str, condition: &str) -> String {
    format!(
        "INSERT INTO {} (change, block, key, error, sqlstate, attempts, first_at, last_at, next_at)\n\
         SELECT {}, '{}', {key}, {}, '', 0, {now}, {now}, {now} WHERE {condition}",
        own(DIALECT, "pending"),
        literal(change.name.as_str()),
        block.id,
        literal(error),
        now = clock(DIALECT),
    )
}
