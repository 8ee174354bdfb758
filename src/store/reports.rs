//! Stored comparison reports and their sign-offs. A report is never changed; its caller appends the audit row
//! (`report.run`, with who ran it), a sign-off appends its own.

use diesel::prelude::*;
use serde_json::json;

use super::audit::{self, AuditEntry};
use super::schema::{report_signatures, reports};
use super::{Page, PageRequest, StoreError, now};
use crate::database::DatabaseConnection;
use crate::primitives::{ChangeName, Instant, Period};

/// A report that is to be stored.
#[derive(Debug, Clone)]
pub struct NewReport {
    /// From `report_exceptions::new_report_id`.
    pub id: String,
    pub change: ChangeName,
    pub periods: Vec<Period>,
    pub as_of: Instant,
    pub clean: bool,
    /// Charges in a wrong class, and how many of them nobody explains.
    pub exceptions: i64,
    pub unexplained: i64,
    /// Sha-256 of the change file, in hexadecimal.
    pub file_sha256: String,
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
    pub unexplained: i64,
    /// Empty for a report of an earlier version of the program.
    pub file_sha256: String,
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
    /// False: whoever signed has read the report and does not accept it.
    pub approves: bool,
    pub comment: String,
    /// Of the data that was signed.
    pub sha256: String,
}

/// A person's word on a report.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a> {
    pub name: &'a str,
    pub role: &'a str,
    pub approves: bool,
    pub comment: &'a str,
    /// What whoever signs has read; nothing: what is stored.
    pub sha256: Option<&'a str>,
    pub at: Instant,
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
    unexplained: i64,
    file_sha256: String,
}

/// A report's columns, but its data: that may be large, and lists do not tell it.
macro_rules! without_data {
    () => {
        (
            reports::id,
            reports::change_name,
            reports::periods,
            reports::as_of,
            reports::clean,
            reports::exceptions,
            diesel::dsl::sql::<diesel::sql_types::Text>("''"),
            reports::sha256,
            reports::created_at,
            reports::unexplained,
            reports::file_sha256,
        )
    };
}

impl<'a> Word<'a> {
    /// Says yes to a report, without a comment.
    #[must_use]
    pub fn approving(name: &'a str, role: &'a str, at: Instant) -> Self {
        Self { name, role, approves: true, comment: "", sha256: None, at }
    }
}

/// Stores a report.
pub fn insert(connection: &mut DatabaseConnection, report: &NewReport) -> Result<(), StoreError> {
    let row = ReportRow {
        id: report.id.clone(),
        change_name: report.change.to_string(),
        periods: json!(report.periods).to_string(),
        as_of: report.as_of.as_micros(),
        clean: report.clean,
        exceptions: report.exceptions,
        data: report.data.clone(),
        sha256: report.sha256.clone(),
        created_at: now().as_micros(),
        unexplained: report.unexplained,
        file_sha256: report.file_sha256.clone(),
    };
    diesel::insert_into(reports::table).values(&row).execute(connection)?;
    Ok(())
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
        .select(without_data!())
        .load(connection)?;
    let found = rows.into_iter().map(|row| with_signatures(connection, row)).collect::<Result<_, _>>()?;
    Ok(Page::cut(found, request, |report| report.id.clone()))
}

/// Records what somebody says of the report, with its audit row. The same person in the same role twice is an error, and changes
/// nothing; so is a report that is not the one that was read.
pub fn sign(connection: &mut DatabaseConnection, id: &str, word: Word<'_>) -> Result<(), StoreError> {
    let report = find(connection, id)?.ok_or_else(|| StoreError::not_found("report", id))?;
    if word.sha256.is_some_and(|read| read != report.sha256) {
        return Err(StoreError::OtherReport { id: id.to_owned(), stored: report.sha256 });
    }
    let signed = StoreError::Exists { what: "sign-off", name: format!("{} ({})", word.name, word.role) };
    if report.signatures.iter().any(|signature| signature.name == word.name && signature.role == word.role) {
        return Err(signed);
    }
    let row = Signature {
        report: id.to_owned(),
        name: word.name.to_owned(),
        role: word.role.to_owned(),
        at: word.at.as_micros(),
        approves: word.approves,
        comment: word.comment.to_owned(),
        sha256: report.sha256.clone(),
    };
    diesel::insert_into(report_signatures::table).values(&row).execute(connection).map_err(|error| {
        let error = StoreError::from(error);
        // Somebody signed the same way since we looked.
        if error.is_unique_violation() { signed } else { error }
    })?;
    let action = if word.approves { "report.sign" } else { "report.reject" };
    let detail = json!({ "role": word.role, "sha256": report.sha256 });
    let subject = format!("report/{id}");
    audit::append(connection, &AuditEntry { actor: word.name, action, subject: &subject, reason: word.comment, detail })
}

/// The reports of a change as of before an instant, the oldest first; `data` is left out.
pub fn before(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    as_of: Instant,
    limit: i64,
) -> Result<Vec<Report>, StoreError> {
    let mut rows: Vec<ReportRow> = reports::table
        .filter(reports::change_name.eq(change.as_str()))
        .filter(reports::as_of.lt(as_of.as_micros()))
        .order((reports::as_of.desc(), reports::sha256.desc()))
        .limit(limit)
        .select(without_data!())
        .load(connection)?;
    rows.reverse();
    rows.into_iter().map(|row| with_signatures(connection, row)).collect()
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
        unexplained: row.unexplained,
        file_sha256: row.file_sha256,
        data: row.data,
        sha256: row.sha256,
        created_at: Instant::from_micros(row.created_at),
        signatures,
    })
}
