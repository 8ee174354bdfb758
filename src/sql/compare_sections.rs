//! What a comparison answers: one section for each table of a report, all in one union of text columns.

use super::compare::CompareQuery;
use super::compare_input::{collation, faults};
use super::names::literal;

/// How many text columns (`t1`, `t2`, …) follow the column `section`.
pub const SECTION_TEXTS: usize = 4;
/// How many numbers (`n1`, `n2`, …), written as text, follow the texts.
pub const SECTION_NUMBERS: usize = 14;

/// How many rows that cannot be compared are named; their number is told in full.
const FAULTS_MAX: usize = 5;
/// How many payers of one exception are listed.
const PARTS_MAX: usize = 20;

/// All sections. Rows carry their place within the section, because a union has no order.
pub(super) fn sections(query: &CompareQuery<'_>) -> String {
    let movers_max = query.movers_max;
    let bytewise = collation(query.dialect);
    [
        section(
            "fault",
            &["query", "what", "charge_id", "shown"],
            &["times"],
            &format!("(SELECT f.*, count(*) OVER () AS times FROM (\n    {}) f ORDER BY f.query, f.charge_id LIMIT {FAULTS_MAX}) listed", faults(query)),
        ),
        section("total", &["period", "currency"], &TOTALS, "judged WHERE class <> 'orphan' GROUP BY period, currency"),
        section(
            "class",
            &["class", "period", "currency"],
            &["count(*)", "sum(amount)"],
            "judged GROUP BY class, period, currency",
        ),
        section("asked", &["charge_id", "class", "period", "currency"], &[], &asked(query.asked_charges)),
        section(
            "payers",
            &["currency"],
            &[
                "count(*)",
                "count(CASE WHEN charges > 0 THEN 1 END)",
                "sum(old_amount)",
                "sum(moved_out)",
                "sum(moved_in)",
                "sum(new_amount)",
            ],
            "payer_total GROUP BY currency",
        ),
        section(
            "mover",
            &["currency", "payer"],
            &["place", "old_amount", "moved_out", "moved_in", "new_amount", "charges"],
            &format!(
                "(SELECT t.*, row_number() OVER (PARTITION BY currency ORDER BY abs(difference) DESC, length(payer), payer{bytewise})
     AS place FROM payer_total t WHERE difference <> 0) ranked WHERE place <= {movers_max}"
            ),
        ),
        // The number of digits tells the power of ten: exact, and the same in every currency.
        section(
            "histogram",
            &["currency"],
            &["direction", "digits", "count(*)", "sum(difference)"],
            "(SELECT currency, difference, CASE WHEN difference < 0 THEN -1 WHEN difference > 0 THEN 1 ELSE 0 END AS direction,
     CASE WHEN difference = 0 THEN 0 ELSE length(CAST(abs(difference) AS text)) END AS digits FROM payer_total) sized
   GROUP BY currency, direction, digits",
        ),
        section(
            "exception",
            &["charge_id", "class", "period", "currency"],
            &["place", "amount", "old_amount", "new_amount", "effective_amount"],
            "exception",
        ),
        section(
            "part",
            &["charge_id", "payer"],
            &["place", "old_rows", "old_amount", "new_rows", "new_amount", "expected", "parts"],
            &format!(
                "(SELECT p.*, row_number() OVER (PARTITION BY p.charge_id ORDER BY length(p.payer), p.payer{bytewise}) AS place,
     count(*) OVER (PARTITION BY p.charge_id) AS parts
   FROM pair p JOIN exception e ON e.charge_id = p.charge_id) listed WHERE place <= {PARTS_MAX}"
            ),
        ),
    ]
    .join("\nUNION ALL\n")
}

/// The columns of the section `total`.
const TOTALS: [&str; 14] = [
    "count(*)",
    "sum(amount)",
    "count(CASE WHEN old_rows > 0 THEN 1 END)",
    "sum(old_rows)",
    "sum(old_amount)",
    "count(CASE WHEN new_rows > 0 THEN 1 END)",
    "sum(new_rows)",
    "sum(new_amount)",
    "count(CASE WHEN effective_rows > 0 THEN 1 END)",
    "sum(effective_rows)",
    "sum(effective_amount)",
    "sum(on_new)",
    "coalesce(sum(CASE WHEN on_new = 1 THEN amount END), 0)",
    "sum(ungrouped)",
];

/// The exceptions that are told line by line: of each class the first ones in turn, so that a flood of one class does not hide
/// the others.
pub(super) fn exceptions(query: &CompareQuery<'_>) -> String {
    let bytewise = collation(query.dialect);
    format!(
        "exception AS MATERIALIZED (
  SELECT * FROM (
    SELECT taken.*, row_number() OVER (ORDER BY turn, class{bytewise}) AS place FROM (
      SELECT j.*, row_number() OVER (PARTITION BY class ORDER BY length(charge_id), charge_id{bytewise}) AS turn
      FROM judged j WHERE class NOT IN ('same_payer', 'split_expected', 'moved_expected')) taken) numbered
  WHERE place <= {})",
        query.exceptions_max
    )
}

/// The charges that are asked for one by one.
fn asked(charges: &[String]) -> String {
    if charges.is_empty() {
        return String::from("judged WHERE 1 = 0");
    }
    let ids: Vec<String> = charges.iter().map(|id| literal(id)).collect();
    format!("judged WHERE charge_id IN ({})", ids.join(", "))
}

fn section(name: &str, texts: &[&str], numbers: &[&str], from: &str) -> String {
    let nothing = "CAST(NULL AS text)";
    let mut columns = vec![format!("'{name}' AS section")];
    for place in 0..SECTION_TEXTS {
        columns.push(format!("{} AS t{}", texts.get(place).unwrap_or(&nothing), place + 1));
    }
    for place in 0..SECTION_NUMBERS {
        let number = numbers.get(place).map_or_else(|| nothing.to_owned(), |number| format!("CAST({number} AS text)"));
        columns.push(format!("{number} AS n{}", place + 1));
    }
    format!("SELECT {} FROM {from}", columns.join(", "))
}
