//! Comparing the old and the new allocation of the same charges on the application's database. Reads only, so it runs inside any
//! transaction: on what is installed, on a replica, or on what a rolled-back transaction would make.

use super::compare_rows;
use super::error::TranslationError;
use crate::allocation::{ComparePart, Comparison, ExceptionLine};
use crate::change::Allocation;
use crate::database::{DatabaseConnection, DatabaseError, Value};
use crate::primitives::{Dialect, exponent_of};
use crate::sql::compare::{self as compare_sql, CompareQuery};
use crate::sql::names::own;

/// What to compare.
#[derive(Debug, Clone)]
pub struct CompareRequest<'a> {
    pub allocation: &'a Allocation,
    /// Periods as the charges query prints them; empty: all.
    pub periods: &'a [String],
    /// Periods before this one are closed: their charges keep the payers that they had. `None` or empty: none is.
    pub closed_before: Option<&'a str>,
    /// False leaves the view of effective allocation aside even if there is one: it is another change's, or not yet this one's.
    pub use_effective_view: bool,
    /// How many exceptions to tell line by line; all are counted.
    pub exceptions_max: usize,
    /// How many payers to tell for each currency.
    pub movers_max: usize,
    /// Ids of charges to tell one by one, whatever their class.
    pub asked_charges: &'a [String],
    /// How many charges to look at in one statement; the answer is the same whatever it is.
    pub chunk_charges: u64,
}

impl<'a> CompareRequest<'a> {
    pub const CHUNK_CHARGES: u64 = 500_000;

    /// A comparison of all charges that tells a moderate number of exceptions and payers.
    #[must_use]
    pub fn of(allocation: &'a Allocation) -> Self {
        Self {
            allocation,
            periods: &[],
            closed_before: None,
            use_effective_view: true,
            exceptions_max: 500,
            movers_max: 15,
            asked_charges: &[],
            chunk_charges: Self::CHUNK_CHARGES,
        }
    }
}

/// Whoever waits for a comparison. Every method has a default that goes on and keeps nothing.
pub trait CompareWatcher {
    /// `done` of `total` charges have been compared. False stops the comparison before its next chunk.
    fn progress(&mut self, _done: u64, _total: u64) -> bool {
        true
    }

    /// Exceptions as they are found, all of them, a chunk after the other; of each chunk first the first of each class, then the
    /// second of each class, and so on.
    fn exceptions(&mut self, _lines: Vec<ExceptionLine>) -> Result<(), CompareError> {
        Ok(())
    }

    /// A chunk is done. A run that is given its parts again goes on after them.
    fn checkpoint(&mut self, _part: &ComparePart) -> Result<(), CompareError> {
        Ok(())
    }

    /// The part of this place that an interrupted run of the same comparison left: it is taken as it is.
    fn interrupted(&mut self, _number: u64) -> Result<Option<ComparePart>, CompareError> {
        Ok(None)
    }

    /// The part of this place of an earlier comparison: it is taken if nothing that it was made of has changed since.
    fn earlier(&mut self, _number: u64) -> Result<Option<ComparePart>, CompareError> {
        Ok(None)
    }
}

/// Nobody waits: all of it runs, and only the answer counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl CompareWatcher for Unwatched {}

/// How a comparison ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    Finished(Box<Comparison>),
    /// The watcher stopped it.
    Stopped,
}

impl Compared {
    /// The comparison, unless it was stopped.
    #[must_use]
    pub fn finished(self) -> Option<Comparison> {
        match self {
            Self::Finished(comparison) => Some(*comparison),
            Self::Stopped => None,
        }
    }
}

/// Why two allocations could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error(
        "the query `{query}` of [allocation] (line {line}) returns no column `{column}`: give a column that name with AS"
    )]
    MissingColumn { query: &'static str, line: usize, column: &'static str },
    #[error("the query `{query}` of [allocation] (line {line}) fails")]
    Query { query: &'static str, line: usize, source: DatabaseError },
    #[error("{}", faults_sentence(.faults, *.total))]
    Faults { faults: Vec<Fault>, total: u64 },
    #[error("the comparison returned `{found}` where {wanted} was due: please report this as a defect")]
    Unreadable { found: String, wanted: &'static str },
    #[error("what the comparison found could not be kept")]
    NotKept(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Translation(#[from] TranslationError),
    #[error("the comparison fails")]
    Database(#[from] DatabaseError),
}

/// A row that cannot be compared at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub query: String,
    pub what: String,
    pub charge_id: Option<String>,
    /// The amount as it stands there.
    pub shown: Option<String>,
}

fn faults_sentence(faults: &[Fault], total: u64) -> String {
    let lines: Vec<String> = faults
        .iter()
        .map(|fault| {
            let charge =
                fault.charge_id.as_ref().map_or(String::from("a row without charge_id"), |id| format!("charge {id}"));
            let shown = fault.shown.as_ref().map_or(String::new(), |shown| format!(" (amount {shown})"));
            format!("`{}`: {charge} {}{shown}", fault.query, fault.what)
        })
        .collect();
    format!(
        "{total} row{} of [allocation] cannot be compared: {}; amounts are integers in minor units, one row a charge in `charges`",
        if total == 1 { "" } else { "s" },
        lines.join("; ")
    )
}

/// Puts every asked charge into exactly one class and adds up what each side allocates.
///
/// One statement computes all of it, so everything in the answer is of the same moment.
///
/// # Errors
/// A query that fails or lacks a column, rows that cannot be compared (no id, an amount that is no integer, a charge listed twice or
/// in two groups), and whatever the database refuses, such as a sum beyond 64 bits on SQLite.
pub fn compare(
    connection: &mut DatabaseConnection,
    request: &CompareRequest<'_>,
    watcher: &mut dyn CompareWatcher,
) -> Result<Compared, CompareError> {
    let new_has_currency = check_columns(connection, request.allocation)?;
    let effective = if request.use_effective_view { find_effective_view(connection)? } else { None };
    let sql = compare_sql::compare(&CompareQuery {
        dialect: connection.dialect(),
        allocation: request.allocation,
        periods: request.periods,
        effective: effective.as_deref(),
        new_has_currency,
        closed_before: request.closed_before,
        closed: None,
        exceptions_max: request.exceptions_max,
        movers_max: request.movers_max,
        asked_charges: request.asked_charges,
    });
    let rows = connection.query(&sql, &[])?;
    let mut comparison = compare_rows::read(rows, effective.is_some())?;
    for total in &comparison.totals {
        if let Some(exponent) = request.allocation.exponent.or_else(|| exponent_of(&total.currency)) {
            comparison.exponents.insert(total.currency.clone(), exponent);
        }
    }
    watcher.exceptions(comparison.exceptions.clone())?;
    if !watcher.progress(comparison.charges(), comparison.charges()) {
        return Ok(Compared::Stopped);
    }
    Ok(Compared::Finished(Box::new(comparison)))
}

/// Tells the first query that fails or lacks a column, by name; returns whether `new` has a currency of its own. A query without
/// rows cannot be looked at this way, and need not be.
fn check_columns(connection: &mut DatabaseConnection, allocation: &Allocation) -> Result<bool, CompareError> {
    let mut new_has_currency = false;
    for (query, text, needed) in compare_sql::queries(allocation) {
        let line = text.line;
        let columns =
            columns_of(connection, &text.value).map_err(|source| CompareError::Query { query, line, source })?;
        let Some(columns) = columns else { continue };
        if let Some(column) = needed.iter().find(|needed| !columns.iter().any(|column| column == *needed)) {
            return Err(CompareError::MissingColumn { query, line, column });
        }
        if query == "new" {
            new_has_currency = columns.iter().any(|column| column == "currency");
        }
    }
    Ok(new_has_currency)
}

/// The column names of a query's first row.
fn columns_of(connection: &mut DatabaseConnection, query: &str) -> Result<Option<Vec<String>>, DatabaseError> {
    let dialect = connection.dialect();
    let Some(row) = connection.find_row(&compare_sql::probe(dialect, query), &[])? else { return Ok(None) };
    if dialect == Dialect::Sqlite {
        return Ok(Some(row.columns().iter().map(|(name, _)| name.clone()).collect()));
    }
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&row.text("columns")?).unwrap_or_default();
    Ok(Some(object.keys().cloned().collect()))
}

/// The view of effective allocation, if it is installed.
fn find_effective_view(connection: &mut DatabaseConnection) -> Result<Option<String>, DatabaseError> {
    let view = own(connection.dialect(), "effective_allocation");
    let found = match connection.dialect() {
        Dialect::Postgres => {
            connection.get_row("SELECT to_regclass($1) IS NOT NULL AS found", &[Value::from(view.as_str())])?
        }
        Dialect::Sqlite => connection.get_row(
            "SELECT count(*) AS found FROM sqlite_master WHERE type = 'view' AND name = 'changeover_effective_allocation'",
            &[],
        )?,
    };
    Ok(found.boolean("found")?.then_some(view))
}
