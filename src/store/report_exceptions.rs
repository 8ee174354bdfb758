//! All exceptions of a report, and what each chunk of its comparison found. Both are written while the report runs, under the id that it will
//! have; what a run leaves that never ends is pruned.

use diesel::prelude::*;
use serde_json::{Value, json};

use super::schema::{report_exceptions as table, report_parts as parts, reports};
use super::{Page, PageRequest, StoreError, new_id, now};
use crate::allocation::{ChargeClass, ComparePart, ExceptionLine};
use crate::database::DatabaseConnection;
use crate::primitives::Dialect;

/// Rows of one statement.
const BATCH: usize = 2_000;
/// After this, a run without a report is one that died.
const KEPT_MICROS: i64 = 7 * 24 * 60 * 60 * 1_000_000;

/// Which exceptions.
#[derive(Debug, Clone, Default)]
pub struct ExceptionFilter {
    pub class: Option<ChargeClass>,
    /// Ids that begin so.
    pub charge: Option<String>,
}

/// The id of a report that is about to run.
pub fn new_report_id() -> Result<String, StoreError> {
    new_id()
}

/// Keeps exceptions of a report that runs; one that is kept already is replaced.
pub fn keep(connection: &mut DatabaseConnection, report: &str, lines: &[ExceptionLine]) -> Result<(), StoreError> {
    let source = match connection.dialect() {
        Dialect::Postgres => "json_array_elements(CAST($2 AS json)) AS g(value)",
        Dialect::Sqlite => "json_each($2) AS g",
    };
    let sql = format!(
        "INSERT INTO svc_changeover_report_exceptions (report, charge_id, class, data)
         SELECT $1, g.value ->> 0, g.value ->> 1, g.value ->> 2 FROM {source} WHERE true
         ON CONFLICT (report, charge_id) DO UPDATE SET class = excluded.class, data = excluded.data"
    );
    for batch in lines.chunks(BATCH) {
        let rows: Result<Vec<Value>, StoreError> = batch
            .iter()
            .map(|line| {
                let data = serde_json::to_string(line).map_err(|error| corrupt(report, &error))?;
                Ok(json!([line.charge_id, line.class, data]))
            })
            .collect();
        connection.execute(&sql, &[report.into(), Value::Array(rows?).to_string().into()])?;
    }
    Ok(())
}

fn number_of(part: u64) -> i64 {
    i64::try_from(part).unwrap_or(i64::MAX)
}

/// Keeps what a chunk found.
pub fn keep_part(connection: &mut DatabaseConnection, report: &str, part: &ComparePart) -> Result<(), StoreError> {
    let number = number_of(part.number);
    let data = serde_json::to_string(part).map_err(|error| corrupt(report, &error))?;
    diesel::delete(parts::table.find((report, number))).execute(connection)?;
    diesel::insert_into(parts::table)
        .values((parts::report.eq(report), parts::number.eq(number), parts::data.eq(data)))
        .execute(connection)?;
    Ok(())
}

/// What a chunk of a report found, if it is kept.
pub fn find_part(
    connection: &mut DatabaseConnection,
    report: &str,
    number: u64,
) -> Result<Option<ComparePart>, StoreError> {
    let number = number_of(number);
    let data: Option<String> = parts::table.find((report, number)).select(parts::data).first(connection).optional()?;
    data.map(|data| serde_json::from_str(&data).map_err(|error| corrupt(report, &error))).transpose()
}

/// A page of a report's exceptions in the bytewise order of their charges' ids.
pub fn list(
    connection: &mut DatabaseConnection,
    report: &str,
    filter: &ExceptionFilter,
    request: &PageRequest,
) -> Result<Page<ExceptionLine>, StoreError> {
    let mut query = table::table
        .filter(table::report.eq(report))
        .filter(table::charge_id.gt(request.after.as_deref().unwrap_or_default()))
        .order(table::charge_id.asc())
        .limit(request.rows())
        .select(table::data)
        .into_boxed();
    if let Some(class) = filter.class {
        query = query.filter(table::class.eq(class.as_str()));
    }
    if let Some(prefix) = &filter.charge {
        // The greatest character sorts after everything that an id goes on with.
        query = query.filter(table::charge_id.ge(prefix)).filter(table::charge_id.lt(format!("{prefix}\u{10ffff}")));
    }
    let found: Vec<String> = query.load(connection)?;
    let lines: Result<Vec<ExceptionLine>, StoreError> =
        found.iter().map(|data| serde_json::from_str(data).map_err(|error| corrupt(report, &error))).collect();
    Ok(Page::cut(lines?, request, |line| line.charge_id.clone()))
}

/// The stored lines of a report as they stand, for a checksum over all of them.
pub fn texts_after(
    connection: &mut DatabaseConnection,
    report: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<(String, String)>, StoreError> {
    Ok(table::table
        .filter(table::report.eq(report))
        .filter(table::charge_id.gt(after))
        .order(table::charge_id.asc())
        .limit(limit)
        .select((table::charge_id, table::data))
        .load(connection)?)
}

/// Forgets what a run left that ended without a report.
pub fn forget(connection: &mut DatabaseConnection, report: &str) -> Result<(), StoreError> {
    diesel::delete(table::table.filter(table::report.eq(report))).execute(connection)?;
    diesel::delete(parts::table.filter(parts::report.eq(report))).execute(connection)?;
    Ok(())
}

/// Forgets what runs left that died long ago. An id begins with the time at which it was made.
pub fn prune(connection: &mut DatabaseConnection) -> Result<(), StoreError> {
    let before = format!("{:016x}", now().as_micros().saturating_sub(KEPT_MICROS));
    let mut last = String::new();
    // From one report's rows to the next one's by the index: there are many rows and few reports.
    loop {
        let kept: Option<String> = table::table
            .filter(table::report.gt(&last))
            .filter(table::report.lt(&before))
            .order(table::report.asc())
            .select(table::report)
            .first(connection)
            .optional()?;
        let part: Option<String> = parts::table
            .filter(parts::report.gt(&last))
            .filter(parts::report.lt(&before))
            .order(parts::report.asc())
            .select(parts::report)
            .first(connection)
            .optional()?;
        let Some(next) = kept.into_iter().chain(part).min() else { return Ok(()) };
        let is_there: i64 = reports::table.filter(reports::id.eq(&next)).count().get_result(connection)?;
        if is_there == 0 {
            forget(connection, &next)?;
        }
        last = next;
    }
}

fn corrupt(report: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt { what: "report", name: report.to_owned(), reason: error.to_string() }
}
