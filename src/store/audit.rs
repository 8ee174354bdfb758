//! The audit log: one row for each write, in the write's own transaction, never changed. Each row carries the hash of the
//! row before it, so a row that is altered or taken out later shows.

use diesel::prelude::*;
use serde_json::json;

use super::schema::audit;
use super::{Page, PageRequest, StoreError, now, sha256, state};
use crate::database::DatabaseConnection;
use crate::primitives::Instant;

diesel::define_sql_function!(fn lower(text: diesel::sql_types::Text) -> diesel::sql_types::Text);

/// What is to be recorded: `actor` did `action` (`flag.create`) to `subject` (`flag/new-player`).
#[derive(Debug, Clone)]
pub struct AuditEntry<'a> {
    pub actor: &'a str,
    pub action: &'a str,
    pub subject: &'a str,
    pub reason: &'a str,
    pub detail: serde_json::Value,
}

/// A recorded row.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = audit)]
pub struct AuditRow {
    /// From 1, without gaps.
    pub id: i64,
    /// Microseconds since 1970.
    pub at: i64,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub reason: String,
    /// JSON.
    pub detail: String,
    pub previous_hash: String,
    pub hash: String,
}

impl AuditRow {
    #[must_use]
    pub fn at(&self) -> Instant {
        Instant::from_micros(self.at)
    }

    /// sha-256 over everything else in the row, as a JSON array: no two rows can be written so that their texts run together.
    fn expected_hash(&self) -> String {
        let content = json!([
            self.previous_hash,
            self.id,
            self.at,
            self.actor,
            self.action,
            self.subject,
            self.reason,
            self.detail
        ]);
        sha256(&content.to_string())
    }
}

/// Appends a row. Call it in the transaction of the write that it records.
pub fn append(connection: &mut DatabaseConnection, entry: &AuditEntry<'_>) -> Result<(), StoreError> {
    let (id, previous_hash) = state::next_audit_row(connection)?;
    let mut row = AuditRow {
        id,
        at: now().as_micros(),
        actor: entry.actor.to_owned(),
        action: entry.action.to_owned(),
        subject: entry.subject.to_owned(),
        reason: entry.reason.to_owned(),
        detail: entry.detail.to_string(),
        previous_hash,
        hash: String::new(),
    };
    row.hash = row.expected_hash();
    diesel::insert_into(audit::table).values(&row).execute(connection)?;
    state::set_audit_hash(connection, &row.hash)
}

/// Which rows are wanted: those that meet everything that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// About this (`flag/new-player`), or, with a slash at its end, about all of a kind (`flag/`).
    pub subject: Option<String>,
    pub actor: Option<String>,
    /// Such as `flag.rollout`, or, with a dot at its end, all of a kind (`flag.`).
    pub action: Option<String>,
    /// At or after this.
    pub since: Option<Instant>,
    /// Before this.
    pub until: Option<Instant>,
    /// Somewhere in who, what, to what, why or the detail, in large or small letters.
    pub text: Option<String>,
}

/// A page of the rows that are wanted, the newest first.
pub fn list(
    connection: &mut DatabaseConnection,
    filter: &Filter,
    request: &PageRequest,
) -> Result<Page<AuditRow>, StoreError> {
    let before = request.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(i64::MAX);
    let mut query = audit::table.filter(audit::id.lt(before)).into_boxed();
    match &filter.subject {
        Some(kind) if kind.ends_with('/') => query = query.filter(audit::subject.like(beginning(kind)).escape('!')),
        Some(subject) => query = query.filter(audit::subject.eq(subject)),
        None => {}
    }
    match &filter.action {
        Some(kind) if kind.ends_with('.') => query = query.filter(audit::action.like(beginning(kind)).escape('!')),
        Some(action) => query = query.filter(audit::action.eq(action)),
        None => {}
    }
    if let Some(actor) = &filter.actor {
        query = query.filter(audit::actor.eq(actor));
    }
    if let Some(since) = filter.since {
        query = query.filter(audit::at.ge(since.as_micros()));
    }
    if let Some(until) = filter.until {
        query = query.filter(audit::at.lt(until.as_micros()));
    }
    if let Some(text) = &filter.text {
        // In one text, so that the pattern is bound once; the line ends keep a find from reaching over two columns.
        let all = audit::actor
            .concat("\n")
            .concat(audit::action)
            .concat("\n")
            .concat(audit::subject)
            .concat("\n")
            .concat(audit::reason)
            .concat("\n")
            .concat(audit::detail);
        query = query.filter(lower(all).like(lower(format!("%{}", beginning(text)))).escape('!'));
    }
    let rows = query.order(audit::id.desc()).limit(request.rows()).select(AuditRow::as_select()).load(connection)?;
    Ok(Page::cut(rows, request, |row: &AuditRow| row.id.to_string()))
}

/// A pattern of LIKE for texts that begin so.
fn beginning(text: &str) -> String {
    format!("{}%", text.replace('!', "!!").replace('%', "!%").replace('_', "!_"))
}

/// Whether the log is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Whole {
        rows: i64,
    },
    /// The first row that is missing or does not match its hash.
    Broken {
        id: i64,
    },
}

/// Reads the log from its beginning and recomputes every hash.
pub fn verify(connection: &mut DatabaseConnection) -> Result<Verdict, StoreError> {
    let (count, head) = state::audit_head(connection)?;
    let (mut id, mut hash) = (0i64, String::new());
    loop {
        let rows: Vec<AuditRow> = audit::table
            .filter(audit::id.gt(id))
            .order(audit::id.asc())
            .limit(1_000)
            .select(AuditRow::as_select())
            .load(connection)?;
        if rows.is_empty() {
            let whole = id == count && hash == head;
            return Ok(if whole { Verdict::Whole { rows: count } } else { Verdict::Broken { id: id + 1 } });
        }
        for row in rows {
            if row.id != id + 1 || row.previous_hash != hash || row.hash != row.expected_hash() {
                return Ok(Verdict::Broken { id: id + 1 });
            }
            id = row.id;
            hash = row.hash;
        }
    }
}
