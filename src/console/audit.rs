//! `/console/audit`: who did what to what, when and why; and whether the log is whole.

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use jiff::civil::Date;
use serde::Deserialize;

use super::page::{Frame, html};
use super::session::Member;
use super::words::{When, grouped, in_address, plain, when};
use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::problem::Problem;
use crate::primitives::Instant;
use crate::store::PageRequest;
use crate::store::audit::{self, AuditRow, Filter, Verdict};

const ROWS: u32 = 50;
const TEXT_MAX: usize = 200;

/// What is looked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Search {
    text: String,
    subject: String,
    actor: String,
    action: String,
    since: String,
    until: String,
    after: String,
}

#[derive(Template)]
#[template(path = "console/audit.html")]
struct AuditPage {
    frame: Frame,
    search: Search,
    is_filtered: bool,
    rows: Vec<Row>,
    /// The query of the next page, and of the first one.
    next: Option<String>,
    error: Option<String>,
}

struct Row {
    id: i64,
    at: When,
    actor: String,
    action: String,
    subject: String,
    /// Where the subject has a page.
    address: Option<String>,
    reason: String,
    detail: Vec<(String, String)>,
    hash: String,
}

#[derive(Template)]
#[template(path = "console/audit_verification.html")]
struct VerificationPage {
    frame: Frame,
    rows: Option<String>,
    broken_at: Option<i64>,
}

/// A page of the log.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    search: Query<Search>,
) -> Result<HttpResponse, Problem> {
    let search = search.into_inner().trimmed();
    let frame = Frame::new(&request, "Audit", &member.signed);
    let filter = match search.filter() {
        Ok(filter) => filter,
        Err(error) => {
            let (rows, next, error) = (Vec::new(), None, Some(error));
            return html(&AuditPage { frame, is_filtered: true, search, rows, next, error });
        }
    };
    let is_filtered = filter != Filter::default();
    let wanted = PageRequest { after: Some(search.after.clone()).filter(|after| !after.is_empty()), limit: Some(ROWS) };
    let read = state.blocking(move |state| Ok(state.store().read(|conn| audit::list(conn, &filter, &wanted))?));
    let page = read.await?;
    let now = state.now();
    let rows = page.items.into_iter().map(|row| shown(row, now)).collect();
    let next = page.next.map(|next| search.query(&next));
    html(&AuditPage { frame, search, is_filtered, rows, next, error: None })
}

impl Search {
    fn trimmed(mut self) -> Self {
        for text in
            [&mut self.text, &mut self.subject, &mut self.actor, &mut self.action, &mut self.since, &mut self.until]
        {
            *text = text.trim().chars().filter(|sign| !sign.is_control()).take(TEXT_MAX).collect();
        }
        self
    }

    fn filter(&self) -> Result<Filter, String> {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Ok(Filter {
            subject: text(&self.subject),
            actor: text(&self.actor),
            action: text(&self.action),
            since: moment(&self.since, 0)?,
            until: moment(&self.until, 1)?,
            text: text(&self.text),
        })
    }

    /// The same search from another row on.
    fn query(&self, after: &str) -> String {
        let fields = [
            ("text", self.text.as_str()),
            ("subject", &self.subject),
            ("actor", &self.actor),
            ("action", &self.action),
            ("since", &self.since),
            ("until", &self.until),
            ("after", after),
        ];
        let given = fields.iter().filter(|(_, value)| !value.is_empty());
        given.map(|(name, value)| format!("{name}={}", in_address(value))).collect::<Vec<_>>().join("&")
    }
}

/// The beginning of a day in UTC, some days on; or an instant.
fn moment(text: &str, days: i32) -> Result<Option<Instant>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(instant) = Instant::parse(text) {
        return Ok(Some(instant));
    }
    let day: Option<Date> = text.parse().ok();
    let day = day.and_then(|day| day.checked_add(jiff::Span::new().days(days)).ok());
    let start = day.and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC).ok());
    let refused = || format!("`{text}` is not a day: write it as 2026-11-23.");
    start.map(|start| Some(Instant::from(start.timestamp()))).ok_or_else(refused)
}

fn shown(row: AuditRow, now: Instant) -> Row {
    let detail: serde_json::Value = serde_json::from_str(&row.detail).unwrap_or_default();
    let detail = detail.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    Row {
        id: row.id,
        at: when(row.at(), now),
        address: address(&row.subject),
        detail: detail.map(|(name, value)| (name.replace('_', " "), plain(value))).collect(),
        actor: row.actor,
        action: row.action,
        subject: row.subject,
        reason: row.reason,
        hash: row.hash,
    }
}

/// The page of a subject, below the console.
fn address(subject: &str) -> Option<String> {
    let (kind, name) = subject.split_once('/')?;
    let page = match kind {
        "change" => "changes",
        "cohort" => "cohorts",
        "flag" => "flags",
        "proposal" => "proposals",
        "job" => "jobs",
        _ => return None,
    };
    Some(format!("{page}/{}", in_address(name)))
}

/// Recomputes every hash.
pub async fn verification(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
) -> Result<HttpResponse, Problem> {
    let verdict = state.blocking(|state| Ok(state.store().read(audit::verify)?)).await?;
    let (rows, broken_at) = match verdict {
        Verdict::Whole { rows } => (Some(grouped(rows)), None),
        Verdict::Broken { id } => (None, Some(id)),
    };
    html(&VerificationPage { frame: Frame::new(&request, "Is the audit log whole?", &member.signed), rows, broken_at })
}
