//! What closing a period keeps, and what has become of it since, as SQL text: the allocations of each charge of a closed period, as
//! they were when it closed.

use super::compare::section;
use super::compare_input::{inlined, inputs};
use super::compare_query::CompareQuery;
use super::names::{literal, own};
use crate::change::Allocation;
use crate::primitives::{ChangeName, Dialect};

/// The closed periods of a change of which something was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Closed {
    /// The table, restricted to the change, in parentheses.
    pub table: String,
    pub periods: Vec<String>,
    /// Those of them whose new allocation was recorded as well.
    pub periods_with_new: Vec<String>,
}

impl Closed {
    #[must_use]
    pub fn new(dialect: Dialect, change: &ChangeName, periods: Vec<(String, bool)>) -> Self {
        let with_new = periods.iter().filter(|(_, has_new)| *has_new).map(|(period, _)| period.clone()).collect();
        Self {
            table: format!(
                "(SELECT charge_id, model, payer, amount FROM {} WHERE change = {})",
                own(dialect, "closed_allocation"),
                literal(change.as_str())
            ),
            periods: periods.into_iter().map(|(period, _)| period).collect(),
            periods_with_new: with_new,
        }
    }
}

/// Columns of the table `closed_allocation`: one row for each charge, model and payer as the models' queries returned them, and one for each
/// row of the effective allocation, as model `effective` with the side in the payer's place.
#[must_use]
pub fn allocation_columns(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => {
            "change TEXT NOT NULL, charge_id TEXT COLLATE \"C\" NOT NULL, model TEXT NOT NULL, payer TEXT COLLATE \"C\", amount NUMERIC"
        }
        Dialect::Sqlite => "change TEXT NOT NULL, charge_id TEXT NOT NULL, model TEXT NOT NULL, payer TEXT, amount",
    }
}

/// Columns of the table `closed_period`.
pub const PERIOD_COLUMNS: &str = "change TEXT NOT NULL, period TEXT NOT NULL, has_new BIGINT NOT NULL, charges BIGINT NOT NULL, \
     at BIGINT NOT NULL, actor TEXT NOT NULL, PRIMARY KEY (change, period)";

/// The index by which a charge's recorded allocation is found.
#[must_use]
pub fn index(dialect: Dialect) -> String {
    let name = match dialect {
        Dialect::Postgres => "closed_allocation_by_charge",
        Dialect::Sqlite => "changeover_closed_allocation_by_charge",
    };
    format!("CREATE INDEX IF NOT EXISTS {name} ON {} (change, charge_id)", own(dialect, "closed_allocation"))
}

/// Which periods close: those from the first on, up to and without the second, as the charges query prints them.
#[derive(Debug, Clone, Copy)]
pub struct Closing<'a> {
    pub dialect: Dialect,
    pub change: &'a ChangeName,
    pub allocation: &'a Allocation,
    pub from: &'a str,
    pub to: &'a str,
    /// True if the new model is filled, so that its allocation is recorded too.
    pub has_new: bool,
}

impl Closing<'_> {
    fn is_closing(&self) -> String {
        let period = match self.dialect {
            Dialect::Postgres => "(CAST(c.period AS text) COLLATE \"C\")",
            Dialect::Sqlite => "CAST(c.period AS text)",
        };
        format!("{period} >= {} AND {period} < {}", literal(self.from), literal(self.to))
    }

    /// What will close: one row for each period and currency, with `charges` and `amount` as text.
    #[must_use]
    pub fn preview(&self) -> String {
        format!(
            "SELECT CAST(c.period AS text) AS period, CAST(c.currency AS text) AS currency, count(*) AS charges, \
             CAST(sum(c.amount) AS text) AS amount FROM {} c WHERE {} GROUP BY 1, 2 ORDER BY 1, 2",
            inlined(&self.allocation.charges.value),
            self.is_closing()
        )
    }

    /// Statements that record the closing periods and what their charges are allocated to.
    #[must_use]
    pub fn record(&self, at: i64, actor: &str) -> Vec<String> {
        let charges = inlined(&self.allocation.charges.value);
        let change = literal(self.change.as_str());
        let closing = self.is_closing();
        let mut statements = vec![format!(
            "INSERT INTO {} (change, period, has_new, charges, at, actor)
SELECT {change}, CAST(c.period AS text), {}, count(*), {at}, {} FROM {charges} c WHERE {closing} GROUP BY CAST(c.period AS text)",
            own(self.dialect, "closed_period"),
            i32::from(self.has_new),
            literal(actor),
        )];
        let models = [("old", &self.allocation.old), ("new", &self.allocation.new)];
        for (model, query) in models.into_iter().filter(|(model, _)| *model == "old" || self.has_new) {
            statements.push(format!(
                "INSERT INTO {} (change, charge_id, model, payer, amount)
SELECT {change}, CAST(c.charge_id AS text), '{model}', CAST(a.payer AS text), a.amount
FROM {charges} c JOIN {} a ON a.charge_id = c.charge_id WHERE {closing}",
                own(self.dialect, "closed_allocation"),
                inlined(&query.value),
            ));
        }
        // Which side it was billed by stands in the payer's place: who paid follows from the other rows.
        statements.push(format!(
            "INSERT INTO {} (change, charge_id, model, payer, amount)
SELECT {change}, CAST(c.charge_id AS text), 'effective', c.side, c.amount FROM {} c WHERE {closing}",
            own(self.dialect, "closed_allocation"),
            own(self.dialect, "effective_allocation"),
        ));
        statements
    }
}

/// The named subquery `frozen`: the ids, as text, of charges whose allocation by either model, or whose side, is not what it was when
/// their period closed. Stands on `facts` and on both sides' inputs. The cross joins hold SQLite to the order in which they are written: the other
/// way round it has no index for an id that is cast to text, and reads all facts for each recorded row.
pub(super) fn frozen(query: &CompareQuery<'_>, closed: &Closed) -> String {
    let text = id_text(query.dialect, "f.charge_id");
    let now = |model: &str, periods: &[String]| {
        format!(
            "SELECT {text}, '{model}', CAST(a.payer AS text), -a.amount, -1 FROM {model}_input a CROSS JOIN facts f
    WHERE f.charge_id = a.charge_id AND {}",
            is_in("f.period", periods)
        )
    };
    // Periods that were closed before sides were recorded have none.
    let (side_now, recorded_models) = match query.effective {
        Some(_) => (
            format!(
                "
    UNION ALL SELECT {text}, 'effective', CAST(v.side AS text), -v.amount, -1 FROM effective_input v CROSS JOIN facts f
    WHERE f.charge_id = v.charge_id AND {}
      AND EXISTS (SELECT 1 FROM {} q WHERE q.charge_id = {text} AND q.model = 'effective')",
                is_in("f.period", &closed.periods),
                closed.table
            ),
            "",
        ),
        None => (String::new(), " AND q.model <> 'effective'"),
    };
    let recorded = match (query.dialect, query.allocation.scale) {
        (Dialect::Postgres, Some(scale)) => format!("q.amount * 1{}", "0".repeat(usize::from(scale))),
        _ => String::from("q.amount"),
    };
    format!(
        "frozen AS (
  SELECT DISTINCT charge_id FROM (
    SELECT q.charge_id, q.model, q.payer, {recorded} AS amount, 1 AS times FROM facts f CROSS JOIN {} q
    WHERE q.charge_id = {text}{recorded_models}
    UNION ALL {}
    UNION ALL {}{side_now}
  ) part GROUP BY charge_id, model, payer HAVING sum(amount) <> 0 OR sum(times) <> 0)",
        closed.table,
        now("old", &closed.periods),
        now("new", &closed.periods_with_new)
    )
}

/// The condition by which `frozen` is joined to `facts f`.
pub(super) fn is_frozen(dialect: Dialect) -> String {
    format!("z.charge_id = {}", id_text(dialect, "f.charge_id"))
}

/// Charges of closed periods that are gone with all that was allocated of them, in the shape of the section `class`, those after an id if one is given.
#[must_use]
pub fn gone(query: &CompareQuery<'_>, closed: &Closed, after: Option<&str>, limit: usize) -> String {
    // Both databases read each query once: SQLite makes a set of its ids, PostgreSQL joins.
    let is_gone = |text: &str| {
        let (text, id) = (inlined(text), id_text(query.dialect, "c.charge_id"));
        match query.dialect {
            Dialect::Postgres => format!("NOT EXISTS (SELECT 1 FROM {text} c WHERE {id} = q.charge_id)"),
            Dialect::Sqlite => {
                format!("q.charge_id NOT IN (SELECT {id} FROM {text} c WHERE c.charge_id IS NOT NULL)")
            }
        }
    };
    let allocation = query.allocation;
    let from = format!(
        "(SELECT DISTINCT q.charge_id FROM {} q WHERE {} AND {} AND {} AND {} ORDER BY q.charge_id LIMIT {limit}) gone",
        closed.table,
        after.map_or_else(|| String::from("1 = 1"), |after| format!("q.charge_id > {}", literal(after))),
        is_gone(&allocation.charges.value),
        is_gone(&allocation.old.value),
        is_gone(&allocation.new.value)
    );
    let numbers = ["1", "NULL", "0", "0", "0", "0", "0", "0", "0", "0", "0"];
    let columns = ["'frozen_changed'", "NULL", "NULL", "charge_id"];
    format!("WITH {}\n{}", inputs(query).join(",\n"), section("class", &columns, &numbers, &from))
}

fn id_text(dialect: Dialect, column: &str) -> String {
    match dialect {
        Dialect::Postgres => format!("(CAST({column} AS text) COLLATE \"C\")"),
        Dialect::Sqlite => format!("CAST({column} AS text)"),
    }
}

pub(super) fn is_in(column: &str, periods: &[String]) -> String {
    if periods.is_empty() {
        return String::from("1 = 0");
    }
    format!("{column} IN ({})", periods.iter().map(|period| literal(period)).collect::<Vec<_>>().join(", "))
}
