//! What a comparison asks besides its chunks: where chunks begin, what stands behind an exception, allocations without a charge, rows that
//! cannot be compared, and a checksum of what was read.

use super::compare::section;
use super::compare_input::{inlined, inputs};
use super::compare_query::{CompareQuery, Scope};
use crate::primitives::Dialect;

/// How many rows that cannot be compared are named; their number is told in full.
const FAULTS_MAX: usize = 5;
/// How many payers of one exception are listed.
const PARTS_MAX: usize = 20;

/// How many charges are in scope: one column `charges`.
#[must_use]
pub fn count(query: &CompareQuery<'_>) -> String {
    format!(
        "SELECT count(*) AS charges FROM {} q WHERE {}",
        inlined(&query.allocation.charges.value),
        query.in_scope("q.charge_id")
    )
}

/// Where chunks of `chunk_charges` within the scope begin, as text, in order, without the first one's beginning.
#[must_use]
pub fn bounds(query: &CompareQuery<'_>, chunk_charges: u64) -> String {
    format!(
        "SELECT place, CAST(charge_id AS text) AS bound FROM (
  SELECT {id} AS charge_id, row_number() OVER (ORDER BY {id}) - 1 AS place FROM {charges} q WHERE {scope}) numbered
WHERE place > 0 AND place % {chunk_charges} = 0 ORDER BY place",
        id = query.id("q.charge_id"),
        charges = inlined(&query.allocation.charges.value),
        scope = query.in_scope("q.charge_id")
    )
}

/// Reads what a chunk would read of each query, to be planned and not to be run.
#[must_use]
pub fn reads(query: &CompareQuery<'_>) -> Vec<String> {
    let read = |text: &str| format!("SELECT count(*) FROM {} q WHERE {}", inlined(text), query.in_scope("q.charge_id"));
    let mut reads: Vec<String> =
        super::compare_input::queries(query.allocation).into_iter().map(|(_, text, _)| read(&text.value)).collect();
    reads.extend(query.effective.map(|view| read(&format!("SELECT * FROM {view}"))));
    reads
}

/// The payers of the charges in scope on both sides: charge, payer, place, old rows and amount, new rows and amount, expected, and how
/// many payers the charge has.
#[must_use]
pub fn payers_of(query: &CompareQuery<'_>) -> String {
    let mut sides = vec![
        String::from(
            "SELECT charge_id, payer, 1 AS old_row, amount AS old_part, 0 AS new_row, 0 AS new_part, 0 AS expected FROM old_input",
        ),
        String::from("SELECT charge_id, payer, 0, 0, 1, amount, 0 FROM new_input"),
    ];
    if query.allocation.expected_payers.is_some() {
        sides.push(String::from("SELECT charge_id, payer, 0, 0, 0, 0, 1 FROM expected_input"));
    }
    let (paid, bytewise) = ("CAST(payer AS text)", query.bytewise());
    let from = format!(
        "(SELECT p.*, row_number() OVER (PARTITION BY charge_id ORDER BY length({paid}), {paid}{bytewise}) AS place,
     count(*) OVER (PARTITION BY charge_id) AS parts
   FROM (SELECT charge_id, payer, sum(old_row) AS old_rows, coalesce(sum(old_part), 0) AS old_amount, sum(new_row) AS new_rows,
     coalesce(sum(new_part), 0) AS new_amount, max(expected) AS expected
     FROM (\n    {}\n  ) side GROUP BY charge_id, payer) p) listed WHERE place <= {PARTS_MAX}",
        sides.join("\n    UNION ALL ")
    );
    let numbers = ["place", "old_rows", "old_amount", "new_rows", "new_amount", "expected", "parts"];
    format!("WITH {}\n{}", inputs(query).join(",\n"), section("part", &["charge_id", "payer"], &numbers, &from))
}

/// The first allocations without a charge by their ids, one row for each id, in the shape of the section `class`.
#[must_use]
pub fn orphans(query: &CompareQuery<'_>, limit: usize) -> String {
    // Where ids are text, SQLite would read all charges for each allocation; a set it reads once. PostgreSQL joins.
    let without_charge = match query.dialect {
        Dialect::Postgres => "NOT EXISTS (SELECT 1 FROM charge_input c WHERE c.charge_id = p.charge_id)",
        Dialect::Sqlite => "p.charge_id NOT IN (SELECT charge_id FROM charge_input)",
    };
    let from = format!(
        "(SELECT charge_id, sum(old_row) AS old_rows, sum(old_part) AS old_amount, sum(new_row) AS new_rows, sum(new_part) AS new_amount,
     count(CASE WHEN unsound THEN 1 END) AS unsound
   FROM (SELECT p.charge_id, 1 AS old_row, p.amount AS old_part, 0 AS new_row, 0 AS new_part, p.amount IS NULL AS unsound
       FROM old_input p WHERE {without_charge}
     UNION ALL SELECT p.charge_id, 0, 0, 1, p.amount, p.amount IS NULL FROM new_input p WHERE {without_charge}) part GROUP BY charge_id) p
   ORDER BY p.charge_id LIMIT {limit}"
    );
    let old = if query.effective.is_none() { ("old_rows", "coalesce(old_amount, 0)") } else { ("0", "0") };
    let numbers = [
        "1",
        "NULL",
        "CASE WHEN old_rows > 0 THEN 1 ELSE 0 END",
        "old_rows",
        "coalesce(old_amount, 0)",
        "CASE WHEN new_rows > 0 THEN 1 ELSE 0 END",
        "new_rows",
        "coalesce(new_amount, 0)",
        "0",
        old.0,
        old.1,
        "0",
        "NULL",
        "0",
        "unsound",
    ];
    format!(
        "WITH {}\n{}",
        inputs(query).join(",\n"),
        section("class", &["'orphan'", "NULL", "NULL", "charge_id"], &numbers, &from)
    )
}

/// The rows in scope that cannot be compared: query, what is wrong, charge, the amount as it stands there, and how many there are.
#[must_use]
pub fn faults(query: &CompareQuery<'_>) -> String {
    let rows = |name: &str, from: &str| {
        format!(
            "SELECT '{name}' AS query, fault AS what, CAST(charge_id AS text) AS charge_id, shown FROM {from} WHERE fault IS NOT NULL"
        )
    };
    let twice = |name: &str, from: &str, what: &str| {
        format!("SELECT '{name}', '{what}', CAST(charge_id AS text), CAST(NULL AS text) FROM {from}")
    };
    let mut faults = vec![rows("charges", "charge_input"), rows("old", "old_input"), rows("new", "new_input")];
    if *query.scope != Scope::Nameless {
        faults.push(twice("charges", "charge WHERE times > 1", "is returned more than once"));
        faults.push(twice(
            "group",
            "group_input GROUP BY charge_id HAVING count(DISTINCT group_id) > 1",
            "is in more than one group",
        ));
        if query.allocation.reverses.is_some() {
            faults.push(twice("reverses", "refund WHERE times > 1", "reverses more than one charge"));
        }
    }
    let from = format!(
        "(SELECT f.*, count(*) OVER () AS times FROM (\n    {}) f ORDER BY f.query, f.charge_id LIMIT {FAULTS_MAX}) listed",
        faults.join("\n    UNION ALL ")
    );
    format!(
        "WITH {}\n{}",
        inputs(query).join(",\n"),
        section("fault", &["query", "what", "charge_id", "shown"], &["times"], &from)
    )
}

/// A checksum of all rows in scope of each query, whatever their order: query, rows, and the sums of both halves of each row's hash.
/// SQLite needs the function `changeover_hash`.
#[must_use]
pub fn checksum(query: &CompareQuery<'_>) -> String {
    let read = |name: &str, from: &str, columns: &[&str], which: &str| {
        let columns: Vec<String> = columns.iter().map(|column| format!("q.{column}")).collect();
        let hash = match query.dialect {
            Dialect::Postgres => format!("hashtextextended(CAST(ROW({}) AS text), 0)", columns.join(", ")),
            Dialect::Sqlite => {
                let quoted: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
                format!("changeover_hash({})", quoted.join(" || ',' || "))
            }
        };
        let from = format!("(SELECT {hash} AS hash FROM {from} q WHERE {which}) hashed");
        section(
            "checksum",
            &[&format!("'{name}'")],
            &["count(*)", "sum(hash & 4294967295)", "sum((hash >> 32) & 4294967295)"],
            &from,
        )
    };
    let mut reads = Vec::new();
    for (name, text, columns) in super::compare_input::queries(query.allocation) {
        let mut columns = columns.to_vec();
        if name == "new" && query.columns.new_has_currency {
            columns.push("currency");
        }
        reads.push(read(name, &inlined(&text.value), &columns, &query.in_scope("q.charge_id")));
    }
    let scope = query.in_scope("q.charge_id");
    reads
        .extend(query.effective.map(|view| read("effective", view, &["charge_id", "payer", "amount", "side"], &scope)));
    if let Some(reverses) = &query.allocation.reverses {
        // What a refund reverses may be in any other chunk, and says what the refund should be.
        let reversed = format!(
            "{} IN (SELECT {} FROM {} q WHERE {scope} AND q.reverses_id IS NOT NULL)",
            query.id("q.charge_id"),
            query.id("q.reverses_id"),
            inlined(&reverses.value)
        );
        let charges = inlined(&query.allocation.charges.value);
        reads.push(read("reversed", &charges, &["charge_id", "currency", "amount"], &reversed));
        let parts = inlined(&query.allocation.new.value);
        reads.push(read("reversed_parts", &parts, &["charge_id", "payer", "amount"], &reversed));
    }
    reads.join("\nUNION ALL\n")
}
