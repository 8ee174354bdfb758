//! The comparison of old and new allocation of a chunk of charges, as SELECTs for either dialect.
//!
//! One statement puts a chunk's charges into classes and adds up what each payer pays. It writes nothing, so it runs on a read replica and
//! inside any transaction, and what does not fit into the database's memory the database spills to disk. The answer is a union of
//! *sections*, told apart by the first column; [`SECTION_TEXTS`] and [`SECTION_NUMBERS`] say how wide it is. All values leave as text:
//! sums on PostgreSQL are `numeric` and may exceed 64 bits; on SQLite `sum()` fails on overflow rather than round.
//!
//! The rows of both sides and of the expected payers are put next to each other once, by charge and payer (*pairs*). All that is said of a
//! charge (*detail*) and all that is said of a payer are sums over pairs.

use super::closed;
use super::compare_input;
use super::compare_settled;
use super::names::literal;
use crate::primitives::Dialect;

pub use super::compare_query::{ColumnKinds, CompareQuery, IdKind, Scope};
pub use compare_input::{id_collation, id_types, probe, queries, types};
pub use compare_settled::ORPHANS_NAMED;

/// How many text columns follow the column `section`.
pub const SECTION_TEXTS: usize = 4;
/// How many numbers, written as text, follow the texts.
pub const SECTION_NUMBERS: usize = 15;

/// Classes, payers and checks of the charges in scope.
///
/// Sections: `class` (class, period, currency, and the charge's id where it is told by itself), `check`, `orphan` (an allocation without a
/// charge), `payer` (currency, payer). A class or a payer may come more than once.
#[must_use]
pub fn compare(query: &CompareQuery<'_>) -> String {
    let mut parts = if query.settles {
        let mut parts = compare_input::rows(query);
        parts.extend(grouped(query));
        parts.extend(compare_settled::settled(query));
        parts
    } else {
        let mut parts = compare_input::inputs(query);
        parts.extend(grouped(query));
        parts
    };
    parts.push(pairs(query));
    parts.push(detail(query));
    parts.push(facts(query));
    if query.allocation.reverses.is_some() {
        parts.push(drift(query));
    }
    parts.extend(query.closed.map(|closed| closed::frozen(query, closed)));
    parts.push(judged(query));
    parts.push(payer_totals(query));
    format!("WITH {}\n{}", parts.join(",\n"), sections(query))
}

/// One row for each charge and payer, the sides next to each other.
fn pairs(query: &CompareQuery<'_>) -> String {
    let (nothing, unsound) = (no_amount(query), "CASE WHEN i.amount IS NULL THEN 1 ELSE 0 END");
    let has_currency = query.columns.new_has_currency;
    let (no_currency, currency, currencies) = if has_currency {
        (", CAST(NULL AS text)", ", i.currency", ", min(currency) AS currency_min, max(currency) AS currency_max")
    } else {
        ("", "", "")
    };
    let rest = if query.settles { " JOIN charge c ON c.charge_id = i.charge_id" } else { "" };
    let mut sides = vec![
        format!(
            "SELECT i.charge_id, i.payer, 1 AS old_row, i.amount AS old_part, 0 AS new_row, {nothing} AS new_part, 0 AS expected,
      {unsound} AS unsound{} FROM old_input i{rest}",
            if has_currency { ", CAST(NULL AS text) AS currency" } else { "" }
        ),
        format!("SELECT i.charge_id, i.payer, 0, {nothing}, 1, i.amount, 0, {unsound}{currency} FROM new_input i{rest}"),
    ];
    if query.allocation.expected_payers.is_some() {
        sides.push(format!(
            "SELECT i.charge_id, i.payer, 0, {nothing}, 0, {nothing}, 1, 0{no_currency} FROM expected_input i{rest}"
        ));
    }
    // PostgreSQL adds small integers up faster than large ones, whose sum is a numeric.
    format!(
        "pair AS MATERIALIZED (
  SELECT charge_id, payer, CAST(sum(old_row) AS integer) AS old_rows, coalesce({old}, 0) AS old_amount,
    CAST(sum(new_row) AS integer) AS new_rows, coalesce({new}, 0) AS new_amount, max(expected) AS expected, max(unsound) AS unsound{currencies}
  FROM (\n    {sides}\n  ) part
  GROUP BY charge_id, payer)",
        old = query.sum("old_part"),
        new = query.sum("new_part"),
        sides = sides.join("\n    UNION ALL ")
    )
}

/// What pairs say of each charge.
fn detail(query: &CompareQuery<'_>) -> String {
    let currencies = if query.columns.new_has_currency {
        ", min(currency_min) AS currency_min, max(currency_max) AS currency_max"
    } else {
        ""
    };
    format!(
        "detail AS (
  SELECT charge_id, sum(old_rows) AS old_rows, {old} AS old_amount, sum(new_rows) AS new_rows, {new} AS new_amount,
    min(new_amount) AS smallest, max(new_amount) AS largest, max(new_rows) AS new_rows_of_a_payer, max(unsound) AS unsound,
    count(CASE WHEN payer IS NULL AND old_rows + new_rows > 0 THEN 1 END) AS nobody,
    count(CASE WHEN old_rows > 0 AND new_rows = 0 THEN 1 END) AS gone,
    count(CASE WHEN (old_rows > 0 AND new_rows = 0) OR (old_rows = 0 AND new_rows > 0) OR old_amount <> new_amount
               THEN 1 END) AS different,
    count(CASE WHEN new_rows > 0 AND expected = 0 THEN 1 END) AS unexpected,
    count(CASE WHEN new_rows = 0 AND expected = 1 THEN 1 END) AS missing{currencies}
  FROM pair GROUP BY charge_id)",
        old = query.sum("old_amount"),
        new = query.sum("new_amount")
    )
}

/// One row for each charge of the queries that say nothing of payers.
fn grouped(query: &CompareQuery<'_>) -> Vec<String> {
    let mut grouped = vec![String::from(
        "group_of AS NOT MATERIALIZED (SELECT charge_id, count(*) AS times FROM group_input GROUP BY charge_id)",
    )];
    if query.effective.is_some() {
        grouped.push(format!(
            "effective_of AS NOT MATERIALIZED (
  SELECT charge_id, count(*) AS times, {amount} AS amount, max(CASE WHEN side = 'new' THEN 1 ELSE 0 END) AS on_new
  FROM effective_input GROUP BY charge_id)",
            amount = query.sum("amount")
        ));
    }
    grouped
}

/// One row for each charge, with what each query says of it.
fn facts(query: &CompareQuery<'_>) -> String {
    let currencies = if query.columns.new_has_currency { "d.currency_min, d.currency_max, " } else { "" };
    let (group_rows, mut joins) = if query.settles {
        ("c.group_rows", "")
    } else {
        ("g.times", "\n  LEFT JOIN group_of g ON g.charge_id = c.charge_id")
    };
    let effective = match (query.effective, query.settles) {
        (None, _) => {
            "coalesce(d.old_rows, 0) AS effective_rows, coalesce(d.old_amount, 0) AS effective_amount, 0 AS on_new"
        }
        (Some(_), true) => "c.effective_rows, c.effective_amount, c.on_new",
        (Some(_), false) => {
            joins = "\n  LEFT JOIN group_of g ON g.charge_id = c.charge_id\n  LEFT JOIN effective_of v ON v.charge_id = c.charge_id";
            "coalesce(v.times, 0) AS effective_rows, coalesce(v.amount, 0) AS effective_amount, coalesce(v.on_new, 0) AS on_new"
        }
    };
    // PostgreSQL keeps them by itself if they are read twice.
    let kept = match query.dialect {
        Dialect::Postgres => "",
        Dialect::Sqlite => "MATERIALIZED ",
    };
    format!(
        "facts AS {kept}(
  SELECT c.charge_id, c.period, c.currency, c.amount, c.asked, c.times,
    coalesce(d.old_rows, 0) AS old_rows, coalesce(d.old_amount, 0) AS old_amount,
    coalesce(d.new_rows, 0) AS new_rows, coalesce(d.new_amount, 0) AS new_amount, d.smallest, d.largest, {currencies}
    d.new_rows_of_a_payer, d.nobody, d.gone, d.different, d.unexpected, d.missing,
    {effective}, CASE WHEN {group_rows} IS NULL THEN 1 ELSE 0 END AS ungrouped,
    CASE WHEN c.suspect = 1 OR d.unsound > 0 OR {group_rows} > 1 THEN 1 ELSE 0 END AS suspect
  FROM charge c
  LEFT JOIN detail d ON d.charge_id = c.charge_id{joins})"
    )
}

/// NULL of the type that amounts have.
pub(super) fn no_amount(query: &CompareQuery<'_>) -> &'static str {
    match (query.dialect, query.allocation.scale) {
        (Dialect::Postgres, Some(_)) => "CAST(NULL AS numeric)",
        _ => "CAST(NULL AS bigint)",
    }
}

/// Refunds that do not undo what they reverse: nothing is there to be undone, it is in another currency, or it has the same sign, so that
/// what was taken is taken again. A full refund mirrors its charge unit for unit. The parts of a partial one are in proportion: both sides
/// are rounded by less than one unit, which bounds how far the cross products may lie apart. What is reversed may be anywhere among the
/// charges, so it is looked up there and not in this chunk: once for all refunds, because SQLite has no index on an id that is cast to
/// text and would read all charges for each of them.
fn drift(query: &CompareQuery<'_>) -> String {
    let id = query.id("q.charge_id");
    format!(
        "original AS MATERIALIZED (
  SELECT {id} AS charge_id, {charge_amount} AS amount, CAST(q.currency AS text){bytewise} AS currency FROM {charges} q
  WHERE {id} IN (SELECT reverses_id FROM refund)),
original_part AS MATERIALIZED (
  SELECT {id} AS charge_id, {payer} AS payer, {new_amount} AS amount FROM {new} q WHERE {id} IN (SELECT reverses_id FROM refund)),
reversed AS MATERIALIZED (
  SELECT f.charge_id, min(c.amount) AS amount, min(c.currency) AS currency,
    count(o.charge_id) AS found, min(o.amount) AS taken_amount, min(o.currency) AS taken_currency
  FROM refund f JOIN charge c ON c.charge_id = f.charge_id LEFT JOIN original o ON o.charge_id = f.reverses_id
  GROUP BY f.charge_id),
refund_part AS (
  SELECT charge_id, payer, sum(given) AS given, sum(taken) AS taken FROM (
    SELECT n.charge_id, n.payer, n.amount AS given, 0 AS taken FROM new_input n WHERE n.charge_id IN (SELECT charge_id FROM refund)
    UNION ALL
    SELECT f.charge_id, n.payer, 0, n.amount FROM refund f JOIN original_part n ON n.charge_id = f.reverses_id) part
  GROUP BY charge_id, payer),
drift AS (
  SELECT charge_id FROM reversed
  WHERE found = 0 OR currency <> taken_currency OR (amount > 0 AND taken_amount > 0) OR (amount < 0 AND taken_amount < 0)
  UNION
  SELECT p.charge_id FROM refund_part p JOIN reversed r ON r.charge_id = p.charge_id
  WHERE CASE WHEN r.amount = -r.taken_amount THEN p.given <> -p.taken ELSE {out_of_proportion} END)",
        charge_amount = compare_input::whole(query, "charges", "q.amount"),
        bytewise = query.bytewise(),
        charges = compare_input::inlined(&query.allocation.charges.value),
        payer = query.payer("q.payer"),
        new_amount = compare_input::whole(query, "new", "q.amount"),
        new = compare_input::inlined(&query.allocation.new.value),
        out_of_proportion = out_of_proportion(query.dialect)
    )
}

/// |given × taken_amount − taken × amount| ≥ |amount| + |taken_amount|, for a part's `given` and `taken`.
fn out_of_proportion(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => {
            "abs(CAST(p.given AS numeric) * r.taken_amount - CAST(p.taken AS numeric) * r.amount)
      >= abs(CAST(r.amount AS numeric)) + abs(r.taken_amount)"
        }
        // A product beyond 64 bits would silently become a float: beyond 31 bits the products are taken apart at bit 31, both sizes
        // below 2^62 (what is larger adds up to no charge), and their difference is high × 2^62 + rest. Products of opposite signs lie
        // further apart than that in any case.
        Dialect::Sqlite => {
            "CASE WHEN max(abs(r.amount), abs(r.taken_amount), abs(p.given), abs(p.taken)) < 2147483648
        THEN abs(p.given * r.taken_amount - p.taken * r.amount) >= abs(r.amount) + abs(r.taken_amount)
      WHEN max(abs(p.given), abs(p.taken)) > 4611686018427387903 THEN 1
      ELSE (SELECT CASE WHEN sign < 0 OR high > 1 OR high < -2 THEN 1
          WHEN high = 1 THEN rest + 4611686018427387904 >= bound
          WHEN high = 0 THEN rest >= bound
          WHEN high = -1 THEN rest - 4611686018427387904 <= -bound
          ELSE rest - 4611686018427387904 - 4611686018427387904 <= -bound END
        FROM (SELECT sign, bound, high + (middle >> 31) AS high, ((middle & 2147483647) << 31) + low AS rest
        FROM (SELECT sign, bound, g1 * o1 - t1 * c1 AS high, (g0 * o0 - t0 * c0) & 2147483647 AS low,
          (g1 * o0 + g0 * o1) - (t1 * c0 + t0 * c1) + ((g0 * o0 - t0 * c0) >> 31) AS middle
        FROM (SELECT abs(r.amount) + abs(r.taken_amount) AS bound,
          ((p.given > 0) - (p.given < 0)) * ((p.taken > 0) - (p.taken < 0))
            * ((r.amount > 0) - (r.amount < 0)) * ((r.taken_amount > 0) - (r.taken_amount < 0)) AS sign,
          abs(p.given) >> 31 AS g1, abs(p.given) & 2147483647 AS g0, abs(p.taken) >> 31 AS t1, abs(p.taken) & 2147483647 AS t0,
          abs(r.amount) >> 31 AS c1, abs(r.amount) & 2147483647 AS c0,
          abs(r.taken_amount) >> 31 AS o1, abs(r.taken_amount) & 2147483647 AS o0)))) END"
        }
    }
}

/// One row for each charge, with its class. The order of the arms is that of `allocation::ChargeClass`; orphans are told by
/// [`orphans`](super::compare_parts::orphans), and charges of other periods are `elsewhere`.
fn judged(query: &CompareQuery<'_>) -> String {
    let (effective_missing, effective_differs) = if query.effective.is_some() {
        (" OR f.effective_rows = 0", " OR f.effective_amount <> f.amount")
    } else {
        ("", "")
    };
    let mut arms = vec![
        String::from("WHEN f.asked = 0 THEN 'elsewhere'"),
        format!("WHEN f.old_rows = 0 OR f.new_rows = 0 OR f.nobody > 0{effective_missing} THEN 'unallocated'"),
        String::from("WHEN f.new_rows_of_a_payer > 1 THEN 'duplicate'"),
        format!("WHEN f.old_amount <> f.amount OR f.new_amount <> f.amount{effective_differs} THEN 'not_conserved'"),
        String::from("WHEN f.smallest < 0 AND f.largest > 0 THEN 'mixed_sign'"),
    ];
    if query.columns.new_has_currency {
        arms.insert(
            2,
            String::from("WHEN f.currency_min <> f.currency OR f.currency_max <> f.currency THEN 'currency'"),
        );
    }
    if query.closed.is_some() {
        arms.push(String::from("WHEN z.charge_id IS NOT NULL THEN 'frozen_changed'"));
    }
    let refunds = query.allocation.reverses.is_some();
    if refunds {
        arms.push(String::from("WHEN r.charge_id IS NOT NULL THEN 'refund_drift'"));
    }
    arms.extend(payer_arms(query));
    let join_drift = if refunds { "\n  LEFT JOIN drift r ON r.charge_id = f.charge_id" } else { "" };
    let join_frozen = match query.closed {
        Some(_) => format!("\n  LEFT JOIN frozen z ON {}", closed::is_frozen(query.dialect)),
        None => String::new(),
    };
    format!(
        "judged AS (
  SELECT f.*,
    CASE\n      {arms}\n    END AS class
  FROM facts f{join_drift}{join_frozen})",
        arms = arms.join("\n      ")
    )
}

/// The arms that look at who pays. In an open period the payers are exactly the expected ones, so one who is missing counts as
/// well. A closed period keeps the payers that it had, so there only a payer without any claim is unexpected.
fn payer_arms(query: &CompareQuery<'_>) -> Vec<String> {
    let same = String::from("WHEN f.different = 0 THEN 'same_payer'");
    let divided = String::from("WHEN f.gone = 0 THEN 'split_expected'");
    if query.allocation.expected_payers.is_none() {
        // Nothing says who should pay: whoever takes over from the old payer is unexpected.
        return vec![same, divided, String::from("ELSE 'unexpected_payer'")];
    }
    let strange = "f.unexpected > 0";
    let strangers = format!("WHEN {strange} THEN 'unexpected_payer'");
    let otherwise = String::from("ELSE 'moved_expected'");
    let exactly = format!("{strange} OR f.missing > 0");
    match query.closed_before.filter(|period| !period.is_empty()) {
        None => vec![format!("WHEN {exactly} THEN 'unexpected_payer'"), same, divided, otherwise],
        Some(period) => {
            let open = format!(
                "WHEN f.period >= {}{} AND ({exactly}) THEN 'unexpected_payer'",
                literal(period),
                query.bytewise()
            );
            vec![open, same, divided, strangers, otherwise]
        }
    }
}

/// What each payer pays by the old and by the new model, in each currency, and what of it moves. SQLite takes a cross join in the order in
/// which it is written: it reads the pairs once and finds the charges by an index that it makes.
fn payer_totals(query: &CompareQuery<'_>) -> String {
    // PostgreSQL takes a condition that always holds for one that hardly ever does.
    let asked = if query.periods.is_empty() { "" } else { " AND c.asked = 1" };
    format!(
        "payer_total AS (
  SELECT c.currency, p.payer, sum(p.old_amount) AS old_amount,
    sum(CASE WHEN p.new_amount < p.old_amount THEN p.old_amount - p.new_amount END) AS moved_out,
    sum(CASE WHEN p.new_amount > p.old_amount THEN p.new_amount - p.old_amount END) AS moved_in,
    count(CASE WHEN p.new_amount <> p.old_amount THEN 1 END) AS charges
  FROM pair p CROSS JOIN charge c
  WHERE c.charge_id = p.charge_id{asked} AND p.old_rows + p.new_rows > 0
  GROUP BY c.currency, p.payer)"
    )
}

/// The columns of the section `class`.
const CLASS_NUMBERS: [&str; 15] = [
    "sum(times)",
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
    "sum(CASE WHEN on_new = 1 THEN amount END)",
    "sum(ungrouped)",
    "sum(suspect)",
];

/// All sections. Charges in a wrong class, and those that are asked for, come one by one; all others by class, period and currency.
fn sections(query: &CompareQuery<'_>) -> String {
    let asked = if query.asked_charges.is_empty() {
        String::new()
    } else {
        format!(" OR {}", query.is_among("charge_id", query.asked_charges))
    };
    let classes = format!(
        "(SELECT j.*, CASE WHEN class NOT IN ('same_payer', 'split_expected', 'moved_expected', 'elsewhere'){asked} THEN charge_id END AS told
   FROM judged j) told_by_class GROUP BY class, period, currency, told"
    );
    let refunds_twice =
        if query.allocation.reverses.is_some() { "(SELECT count(*) FROM refund WHERE times > 1)" } else { "0" };
    let mut sections = vec![section("class", &["class", "period", "currency", "told"], &CLASS_NUMBERS, &classes)];
    let mut check = vec!["(SELECT count(*) FROM old_input)", "(SELECT count(*) FROM new_input)", refunds_twice];
    if query.settles {
        // Allocations without a charge are told by their ids, so nobody counts rows.
        check = vec!["NULL", "NULL", refunds_twice, compare_settled::CHARGES_TWICE, "(SELECT count(*) FROM charge)"];
        sections.push(compare_settled::classes(query));
    }
    sections.push(section("check", &[], &check, "(SELECT 1 AS one) one"));
    if query.settles {
        sections.extend([compare_settled::orphans(), compare_settled::payers()]);
    }
    sections.push(section(
        "payer",
        &["currency", "payer"],
        &["old_amount", "moved_out", "moved_in", "charges"],
        "payer_total",
    ));
    sections.join("\nUNION ALL\n")
}

/// One section: its name, then as many texts and numbers as every section has, all of them text.
pub(super) fn section(name: &str, texts: &[&str], numbers: &[&str], from: &str) -> String {
    let nothing = "CAST(NULL AS text)";
    let mut columns = vec![format!("'{name}' AS section")];
    let text = |expression: Option<&&str>| {
        expression.map_or_else(|| nothing.to_owned(), |text| format!("CAST({text} AS text)"))
    };
    for place in 0..SECTION_TEXTS {
        columns.push(format!("{} AS t{}", text(texts.get(place)), place + 1));
    }
    for place in 0..SECTION_NUMBERS {
        columns.push(format!("{} AS n{}", text(numbers.get(place)), place + 1));
    }
    format!("SELECT {} FROM {from}", columns.join(", "))
}
