//! An amount divided over a key's rows as SQL: largest remainder, by the same rule as `allocation::split`.

use crate::primitives::Dialect;

use super::keys::columns;
use super::model::{BlockModel, SplitModel};
use super::names::{literal, quoted};

/// The rows of `source`, a relation `q`, with the mapped columns by name and the amount divided by weight.
///
/// In four steps, each a derived table: `q` the rows; `w` with checked weights, their total and the amount's magnitude; `d` with
/// quotient and remainder; `r` with the rank of each remainder and the units that are left over.
#[must_use]
pub fn divided(block: &BlockModel, dialect: Dialect, source: &str, split: &SplitModel) -> String {
    let division = Division {
        block,
        amount: quoted(&split.amount),
        weight: quoted(&split.by),
        scale: split.scale,
        first: split.first.as_ref().map(|first| format!("CASE WHEN w.{} THEN 1 ELSE 0 END", quoted(first))),
    };
    match dialect {
        Dialect::Postgres => division.on_postgres(source),
        Dialect::Sqlite => division.on_sqlite(source),
    }
}

struct Division<'a> {
    block: &'a BlockModel,
    amount: String,
    weight: String,
    first: Option<String>,
    scale: Option<u16>,
}

impl Division<'_> {
    /// Two ways side by side: with 64-bit integers where no product can overflow, with numerics otherwise, which take several times
    /// as long. All rows of a key go the same way, and the columns of the other are NULL.
    fn on_postgres(&self, source: &str) -> String {
        let weight = format!("q.{}", self.weight);
        let amount = match self.scale {
            Some(scale) => format!("(q.{} * 1{})", self.amount, "0".repeat(usize::from(scale))),
            None => format!("q.{}", self.amount),
        };
        let over = format!("OVER (PARTITION BY {})", self.block.key_of("q").join(", "));
        let sum = format!("sum({weight}) {over}");
        // `BETWEEN` rather than abs(), which the smallest integer does not have.
        let narrow = match self.scale {
            Some(_) => String::from("false"),
            None => {
                format!("({amount} BETWEEN -2147483647 AND 2147483647 AND {sum} BETWEEN 0 AND 2147483647) IS TRUE")
            }
        };
        // NaN is greater than every number; an infinity has no part.
        let endless = match self.scale {
            Some(_) => format!("abs({amount}) > 1e120 OR "),
            None => String::new(),
        };
        let fault = format!(
            "{endless}{weight} IS NULL OR {weight} < 0 OR min({amount}) {over} <> max({amount}) {over} OR \
             CASE WHEN {narrow} THEN {weight} <> {weight}::bigint OR {amount} <> {amount}::bigint \
             ELSE {weight} <> trunc({weight}::numeric) OR {amount} <> trunc({amount}::numeric) END"
        );
        let refused = format!("changeover.refuse({})", literal(&self.cannot_divide()));
        let total = format!("CASE WHEN {sum} = 0 THEN count(*) {over} ELSE {sum} END");
        let key = self.block.key_of("d").join(", ");
        format!(
            "SELECT {list} FROM (\
             \nSELECT d.*, row_number() OVER (PARTITION BY {key} ORDER BY d.co_remainder DESC, d.co_remainder_wide DESC, \
             d.co_first DESC{ties}) AS co_rank,\
             \n  d.co_magnitude - sum(d.co_quotient) OVER (PARTITION BY {key}) AS co_left,\
             \n  d.co_magnitude_wide - sum(d.co_quotient_wide) OVER (PARTITION BY {key}) AS co_left_wide\
             \nFROM (SELECT w.*, {first} AS co_first,\
             \n  w.co_magnitude * w.co_weight / w.co_total AS co_quotient, w.co_magnitude * w.co_weight % w.co_total AS co_remainder,\
             \n  div(w.co_magnitude_wide * w.co_weight_wide, w.co_total_wide) AS co_quotient_wide,\
             \n  mod(w.co_magnitude_wide * w.co_weight_wide, w.co_total_wide) AS co_remainder_wide\
             \nFROM (SELECT q.*, CASE WHEN {fault} THEN {refused} END AS co_refused,\
             \n  CASE WHEN {narrow} THEN abs({amount}::bigint) END AS co_magnitude,\
             \n  CASE WHEN {narrow} THEN CASE WHEN {sum} = 0 THEN 1 ELSE {weight}::bigint END END AS co_weight,\
             \n  CASE WHEN {narrow} THEN ({total})::bigint END AS co_total,\
             \n  CASE WHEN NOT {narrow} THEN abs({amount}::numeric) END AS co_magnitude_wide,\
             \n  CASE WHEN NOT {narrow} THEN CASE WHEN {sum} = 0 THEN 1 ELSE {weight}::numeric END END AS co_weight_wide,\
             \n  CASE WHEN NOT {narrow} THEN ({total})::numeric END AS co_total_wide\
             \nFROM {source}) w) d) r WHERE co_refused IS NULL",
            list = self.list(&match self.scale {
                // A product is exact; a quotient of NUMERICs is rounded.
                Some(scale) => format!("({}) * {}", self.signed("_wide"), unit(scale)),
                None => format!(
                    "CASE WHEN r.co_magnitude IS NULL THEN CAST({} AS bigint) ELSE {} END",
                    self.signed("_wide"),
                    self.signed(""),
                ),
            }),
            ties = self.ties(Dialect::Postgres),
            first = self.first.as_deref().unwrap_or("0"),
        )
    }

    /// In two steps of 31 bits, because an integer that overflows would become a float: magnitude = high × 2³¹ + low;
    /// high × weight = a × total + b; (b × 2³¹ + low × weight) ÷ total. With magnitude < 2⁶² and total < 2³¹ no step exceeds 2⁶³.
    /// What lies beyond is refused by a statement before this one ([`super::expected::cannot_divide_sqlite`]).
    fn on_sqlite(&self, source: &str) -> String {
        let over = format!("OVER (PARTITION BY {})", self.block.key_of("q").join(", "));
        let weight = format!("q.{}", self.weight);
        let sum = format!("sum({weight}) {over}");
        let key = self.block.key_of("d").join(", ");
        let high = "(w.co_magnitude >> 31) * w.co_weight";
        let low = format!("({high}) % w.co_total * 2147483648 + (w.co_magnitude & 2147483647) * w.co_weight");
        format!(
            "SELECT {list} FROM (\
             \nSELECT d.*, row_number() OVER (PARTITION BY {key} ORDER BY d.co_remainder DESC, d.co_first DESC{ties}) AS co_rank,\
             \n  d.co_magnitude - sum(d.co_quotient) OVER (PARTITION BY {key}) AS co_left\
             \nFROM (SELECT w.*, (({high}) / w.co_total * 2147483648 + ({low}) / w.co_total) AS co_quotient, \
             (({low}) % w.co_total) AS co_remainder, {first} AS co_first\
             \nFROM (SELECT q.*, abs(q.{amount}) AS co_magnitude, CASE WHEN {sum} = 0 THEN 1 ELSE {weight} END AS co_weight, \
             CASE WHEN {sum} = 0 THEN count(*) {over} ELSE {sum} END AS co_total\
             \nFROM {source}) w) d) r",
            list = self.list(&self.signed("")),
            ties = self.ties(Dialect::Sqlite),
            first = self.first.as_deref().unwrap_or("0"),
            amount = self.amount,
        )
    }

    /// The mapped columns of the result: the amount with its part, every other as it is.
    fn list(&self, amount: &str) -> String {
        let column = |column: &String| match quoted(column) {
            name if name == self.amount => format!("{amount} AS {name}"),
            name => format!("r.{name}"),
        };
        self.block.mapped.iter().map(column).collect::<Vec<_>>().join(", ")
    }

    /// A row's part of the amount, with the amount's sign, from the columns that end in `way`.
    fn signed(&self, way: &str) -> String {
        let part = format!("(r.co_quotient{way} + CASE WHEN r.co_rank <= r.co_left{way} THEN 1 ELSE 0 END)");
        format!("CASE WHEN r.{} < 0 THEN -{part} ELSE {part} END", self.amount)
    }

    fn ties(&self, dialect: Dialect) -> String {
        let others: Vec<String> =
            self.block.identity.iter().filter(|column| !self.block.key.contains(column)).cloned().collect();
        let tie = |(column, sql): (&String, String)| match (self.block.text_identity.contains(column), dialect) {
            (true, Dialect::Postgres) => format!(", {sql} COLLATE \"C\""),
            (true, Dialect::Sqlite) => format!(", {sql} COLLATE BINARY"),
            (false, _) => format!(", {sql}"),
        };
        others.iter().zip(columns("d", &others)).map(tie).collect()
    }

    fn cannot_divide(&self) -> String {
        let fractional = match self.scale {
            Some(scale) => format!("has more than {scale} decimals (the block's `split.scale`)"),
            None => String::from("is fractional"),
        };
        format!(
            "block {}: an amount cannot be divided: a weight is negative, fractional or NULL, or the amount {fractional} \
             or differs between the rows of one key",
            self.block.label()
        )
    }
}

/// The smallest amount of that many decimals: `0.01`.
fn unit(scale: u16) -> String {
    match scale {
        0 => String::from("1"),
        _ => format!("0.{}1", "0".repeat(usize::from(scale) - 1)),
    }
}
