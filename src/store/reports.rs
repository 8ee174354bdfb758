//! Stored comparison reports and their sign-offs. A report is never changed; its caller appends the audit row
//! (`report.run`, with who ran it), a sign-off appends its own.

use diesel::prelude::*;
use serde_json::json;

use super::audit::{self, AuditEntry};
use super::schema::{report_signatures, reports};
use super::{Page, PageRequest, StoreError, new_id, now};
use crate::database::DatabaseConnection;
use crate::primitives::{ChangeName, Instant, Period};

/// A report that is to be stored.
#[derive(Debug, Clone)]
pub struct NewReport {
    pub change: ChangeName,
    pub periods: Vec<Period>,
    pub as_of: Instant,
    pub clean: bool,
    pub exceptions: i64,
    /// The whole report, as JSON text.
    pub data: String,
    /// The sha-256 of `data`, in hexadecimal.
    pub sha256: String,
}

/// A stored report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub id: String,
    pub change: String,
    /// Such as `["2026-11"]`.
    pub periods: Vec<String>,
    pub as_of: Instant,
    pub clean: bool,
    pub exceptions: i64,
    pub data: String,
    pub sha256: String,
    pub created_at: Instant,
    pub signatures: Vec<Signature>,
}

/// Who vouches for a report.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = report_signatures)]
pub struct Signature {
    pub report: String,
    pub name: String,
    /// Such as `finance` or `engineering`.
    pub role: String,
    /// Microseconds since 1970.
    pub at: i64,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = reports)]
struct ReportRow {
    id: String,
    change_name: String,
    periods: String,
    as_of: i64,
    clean: bool,
    exceptions: i64,
    data: String,
    sha256: String,
    created_at: i64,
}

/// Stores a report and returns its id.
pub fn insert(connection: &mut DatabaseConnection, report: &NewReport) -> Result<String, StoreError> {
    let row = ReportRow {
        id: new_id()?,
        change_name: report.change.to_string(),
        periods: json!(report.periods).to_string(),
        as_of: report.as_of.as_micros(),
        clean: report.clean,
        exceptions: report.exceptions,
        data: report.data.clone(),
        sha256: report.sha256.clone(),
        created_at: now().as_micros(),
    };
    diesel::insert_into(reports::table).values(&row).execute(connection)?;
    Ok(row.id)
}

/// The report with this id.
pub fn find(connection: &mut DatabaseConnection, id: &str) -> Result<Option<Report>, StoreError> {
    let row: Option<ReportRow> = reports::table.find(id).select(ReportRow::as_select()).first(connection).optional()?;
    row.map(|row| with_signatures(connection, row)).transpose()
}

/// A page of a change's reports, the newest first. `data` is left out: it is empty.
pub fn list(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    request: &PageRequest,
) -> Result<Page<Report>, StoreError> {
    // `~` sorts after every hexadecimal digit.
    let before = request.after.as_deref().unwrap_or("~");
    let rows: Vec<ReportRow> = reports::table
        .filter(reports::change_name.eq(change.as_str()))
        .filter(reports::id.lt(before))
        .order(reports::id.desc())
        .limit(request.rows())
        .select((
            reports::id,
            reports::change_name,
            reports::periods,
            reports::as_of,
            reports::clean,
            reports::exceptions,
            diesel::dsl::sql::<diesel::sql_types::Text>("''"),
            reports::sha256,
            reports::created_at,
        ))
        .load(connection)?;
    let found = rows.into_iter().map(|row| with_signatures(connection, row)).collect::<Result<_, _>>()?;
    Ok(Page::cut(found, request, |report| report.id.clone()))
}

/// Records that `name`, as `role`, vouches for the report, with its audit row. Signing twice is an error, and changes nothing.
pub fn sign(
    connection: &mut DatabaseConnection,
    id: &str,
    name: &str,
    role: &str,
    at: Instant,
) -> Result<(), StoreError> {
    let report = find(connection, id)?.ok_or_else(|| StoreError::not_found("report", id))?;
    let signed = StoreError::Exists { what: "sign-off", name: format!("{name} ({role})") };
    if report.signatures.iter().any(|signature| signature.name == name && signature.role == role) {
        return Err(signed);
    }
    let row = Signature { report: id.to_owned(), name: name.to_owned(), role: role.to_owned(), at: at.as_micros() };
    diesel::insert_into(report_signatures::table).values(&row).execute(connection).map_err(|error| {
        let error = StoreError::from(error);
        // Somebody signed the same way since we looked.
        if error.is_unique_violation() { signed } else { error }
    })?;
    audit::append(
        connection,
        &AuditEntry {
            actor: name,
            action: "report.sign",
            subject: &format!("report/{id}"),
            reason: "",
            detail: json!({ "role": role, "sha256": report.sha256 }),
        },
    )
}

fn with_signatures(connection: &mut DatabaseConnection, row: ReportRow) -> Result<Report, StoreError> {
    let signatures = report_signatures::table
        .filter(report_signatures::report.eq(&row.id))
        .order((report_signatures::at.asc(), report_signatures::name.asc()))
        .select(Signature::as_select())
        .load(connection)?;
    let periods = serde_json::from_str(&row.periods).map_err(|error| StoreError::Corrupt {
        what: "report",
        name: row.id.clone(),
        reason: error.to_string(),
    })?;
    Ok(Report {
        id: row.id,
        change: row.change_name,
        periods,
        as_of: Instant::from_micros(row.as_of),
        clean: row.clean,
        exceptions: row.exceptions,
        data: row.data,
        sha256: row.sha256,
        created_at: Instant::from_micros(row.created_at),
        signatures,
    })
}
