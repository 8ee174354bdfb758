//! The rows that a block says its target should have, as a SELECT: the query, restricted to some keys, with amounts divided.
//!
//! The restriction stands directly around the query, beneath every window function of ours: there both databases push it
//! down to the driving table, so that the query costs what its keys cost.

use crate::primitives::Dialect;

use super::keys::{Keys, columns};
use super::model::BlockModel;
use super::names::{literal, quoted};

/// The rows that the query yields for some keys, with the identity's columns among them. Cheaper than [`expected`], because which
/// rows there are does not depend on how an amount is divided.
#[must_use]
pub fn expected_identity(block: &BlockModel, keys: Keys<'_>) -> String {
    format!("SELECT * FROM {}", restricted(block, &block.query(), keys))
}

/// The expected rows of some keys, with the mapped columns by name.
#[must_use]
pub fn expected(block: &BlockModel, dialect: Dialect, keys: Keys<'_>) -> String {
    expected_from(block, dialect, &block.query(), keys)
}

fn restricted(block: &BlockModel, query: &str, keys: Keys<'_>) -> String {
    keys.restricted(&block.driving.key, &block.key, query)
}

/// [`expected`] over another text of the query, for the short form over a transition table.
#[must_use]
pub fn expected_from(block: &BlockModel, dialect: Dialect, query: &str, keys: Keys<'_>) -> String {
    let source = restricted(block, query, keys);
    let Some(split) = &block.split else {
        return format!("SELECT {} FROM {source}", columns("q", &block.mapped).join(", "));
    };
    let division = Division { block, dialect, amount: quoted(&split.amount), weight: quoted(&split.by) };
    division.select(&source, split.first.as_deref())
}

/// Largest remainder over a key's rows. In four steps, each a derived table: `q` the rows; `w` with checked weights, their
/// total and the amount's magnitude; `d` with quotient and remainder; `r` with the rank of each remainder and the units that
/// are left over. The same rule as `allocation::split`.
struct Division<'a> {
    block: &'a BlockModel,
    dialect: Dialect,
    amount: String,
    weight: String,
}

impl Division<'_> {
    fn select(&self, source: &str, first: Option<&str>) -> String {
        let key = self.block.key_of("d").join(", ");
        let list: Vec<String> = self.block.mapped.iter().map(|column| self.result(column)).collect();
        let first = first.map_or_else(|| String::from("0"), |first| truth(&format!("w.{}", quoted(first))));
        let ties: Vec<String> = self.ties();
        format!(
            "SELECT {list} FROM (\
             \nSELECT d.*, row_number() OVER (PARTITION BY {key} ORDER BY d.co_remainder DESC, d.co_first DESC{ties}) AS co_rank,\
             \n  d.co_magnitude - sum(d.co_quotient) OVER (PARTITION BY {key}) AS co_left\
             \nFROM (SELECT w.*, {quotient} AS co_quotient, {remainder} AS co_remainder, {first} AS co_first\
             \nFROM (SELECT q.*, {magnitude} AS co_magnitude, {weight} AS co_weight, {total} AS co_total\
             \nFROM {source}) w) d) r",
            list = list.join(", "),
            ties = ties.iter().map(|tie| format!(", {tie}")).collect::<String>(),
            quotient = self.quotient(),
            remainder = self.remainder(),
            magnitude = self.magnitude(),
            weight = self.checked_weight(),
            total = self.total(),
        )
    }

    /// A mapped column of the result: the amount with its part, every other as it is.
    fn result(&self, column: &str) -> String {
        let name = quoted(column);
        if name != self.amount {
            return format!("r.{name}");
        }
        let part = "(r.co_quotient + CASE WHEN r.co_rank <= r.co_left THEN 1 ELSE 0 END)";
        let signed = format!("CASE WHEN r.{name} < 0 THEN -{part} ELSE {part} END");
        match self.dialect {
            Dialect::Postgres => format!("CAST({signed} AS bigint) AS {name}"),
            Dialect::Sqlite => format!("{signed} AS {name}"),
        }
    }

    fn ties(&self) -> Vec<String> {
        let others = self.block.identity.iter().filter(|column| !self.block.key.contains(column));
        others
            .map(|column| match (self.block.text_identity.contains(column), self.dialect) {
                (true, Dialect::Postgres) => format!("d.{} COLLATE \"C\"", quoted(column)),
                (true, Dialect::Sqlite) => format!("d.{} COLLATE BINARY", quoted(column)),
                (false, _) => format!("d.{}", quoted(column)),
            })
            .collect()
    }

    fn over(&self) -> String {
        format!("OVER (PARTITION BY {})", self.block.key_of("q").join(", "))
    }

    /// The weight, or an error for one that cannot divide an amount.
    fn checked_weight(&self) -> String {
        let weight = format!("q.{}", self.weight);
        let message = format!(
            "block {}: an amount cannot be divided: a weight is negative, fractional or NULL, or the amount is fractional \
             or differs between the rows of one key",
            self.block.label()
        );
        let all_zero = format!("sum({weight}) {} = 0", self.over());
        match self.dialect {
            Dialect::Postgres => format!(
                "CASE WHEN {weight} IS NULL OR {weight} < 0 OR {weight} <> trunc({weight}::numeric) \
                 OR q.{amount} <> trunc(q.{amount}::numeric) OR min(q.{amount}) {over} <> max(q.{amount}) {over} \
                 THEN changeover.refuse({message}) WHEN {all_zero} THEN 1 ELSE {weight} END::numeric",
                amount = self.amount,
                over = self.over(),
                message = literal(&message),
            ),
            // A trigger's RAISE cannot stand inside an expression's branch everywhere; the guard is a statement of its own.
            Dialect::Sqlite => format!("CASE WHEN {all_zero} THEN 1 ELSE {weight} END"),
        }
    }

    fn total(&self) -> String {
        let sum = format!("sum(q.{}) {}", self.weight, self.over());
        let all = format!("CASE WHEN {sum} = 0 THEN count(*) {} ELSE {sum} END", self.over());
        match self.dialect {
            Dialect::Postgres => format!("({all})::numeric"),
            Dialect::Sqlite => all,
        }
    }

    fn magnitude(&self) -> String {
        match self.dialect {
            Dialect::Postgres => format!("abs(q.{}::numeric)", self.amount),
            Dialect::Sqlite => format!("abs(q.{})", self.amount),
        }
    }

    /// ⌊magnitude × weight ÷ total⌋. On SQLite in two steps of 31 bits, because an integer that overflows would become a
    /// float: magnitude = high × 2³¹ + low; high × weight = a × total + b; (b × 2³¹ + low × weight) ÷ total. With
    /// magnitude < 2⁶² and total < 2³¹ no step exceeds 2⁶³.
    fn quotient(&self) -> String {
        match self.dialect {
            Dialect::Postgres => String::from("div(w.co_magnitude * w.co_weight, w.co_total)"),
            Dialect::Sqlite => format!("(({}) / w.co_total * 2147483648 + ({}) / w.co_total)", HIGH, self.low()),
        }
    }

    fn remainder(&self) -> String {
        match self.dialect {
            Dialect::Postgres => String::from("mod(w.co_magnitude * w.co_weight, w.co_total)"),
            Dialect::Sqlite => format!("(({}) % w.co_total)", self.low()),
        }
    }

    fn low(&self) -> String {
        format!("({HIGH}) % w.co_total * 2147483648 + (w.co_magnitude & 2147483647) * w.co_weight")
    }
}

fn truth(column: &str) -> String {
    format!("CASE WHEN {column} THEN 1 ELSE 0 END")
}

/// The high part of magnitude × weight.
const HIGH: &str = "(w.co_magnitude >> 31) * w.co_weight";

/// SQLite: a condition that is true if some row of the keys cannot be divided exactly: a weight that is negative,
/// NULL or no integer, a total of 2³¹ or more, an amount that is no integer or 2⁶² or more, or the same identity twice.
#[must_use]
pub fn cannot_divide_sqlite(block: &BlockModel, keys: Keys<'_>) -> Option<String> {
    let split = block.split.as_ref()?;
    let (amount, weight) = (quoted(&split.amount), quoted(&split.by));
    let identity = columns("q", &block.identity);
    Some(format!(
        "EXISTS (SELECT 1 FROM {source} GROUP BY {key} HAVING \
         sum(typeof(q.{weight}) <> 'integer' OR q.{weight} < 0) > 0 OR sum(q.{weight}) >= 2147483648 \
         OR sum(typeof(q.{amount}) NOT IN ('integer', 'null')) > 0 \
         OR max(q.{amount}) >= 4611686018427387904 OR min(q.{amount}) <= -4611686018427387904 \
         OR min(q.{amount}) <> max(q.{amount}) OR count(*) > count(DISTINCT {identity}))",
        source = restricted(block, &block.query(), keys),
        key = block.key_of("q").join(", "),
        identity = identity.iter().map(|column| format!("quote({column})")).collect::<Vec<_>>().join(" || ',' || "),
    ))
}
