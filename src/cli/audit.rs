//! `changeover audit`

use anyhow::Context as _;

use super::{Output, Settings, table};
use crate::http::api::List;
use crate::http::api::audit::{AuditAnswer, AuditVerdict};
use crate::primitives::Instant;
use crate::store::audit::{self, Filter, Verdict};
use crate::store::{PageRequest, Store};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List who did what, the newest first
    List {
        /// Only what was done to this, such as flag/new-player; flag/ stands for all flags
        #[arg(long)]
        subject: Option<String>,
        /// Only what this person, or the bearer of this token, did
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// Only this action, such as flag.rollout; flag. stands for all actions on flags
        #[arg(long)]
        action: Option<String>,
        /// Only since then: an instant such as 2027-01-01T00:00:00Z, or a span until now such as 7d or 12h
        #[arg(long, value_name = "WHEN", value_parser = past)]
        since: Option<Instant>,
        /// Only before then: an instant, or a span until now
        #[arg(long, value_name = "WHEN", value_parser = past)]
        until: Option<Instant>,
        /// Only rows that have this somewhere, in large or small letters
        #[arg(long)]
        text: Option<String>,
        /// Only rows before this one, for the next page
        #[arg(long, value_name = "ID")]
        before: Option<i64>,
        /// At most this many rows, 500 at most
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Recompute every hash of the log: exit code 1 if a row is missing or altered
    Verify,
}

pub fn run(settings: &Settings, output: &Output, command: Command) -> anyhow::Result<u8> {
    let store = settings.open_store()?;
    match command {
        Command::List { subject, by, action, since, until, text, before, limit } => {
            let filter = Filter { subject, actor: by, action, since, until, text };
            let request = PageRequest { after: before.map(|id| id.to_string()), limit: Some(limit) };
            list(&store, output, &filter, &request)
        }
        Command::Verify => verify(&store, output),
    }
}

/// An instant, or a span that ends now.
fn past(text: &str) -> anyhow::Result<Instant> {
    if let Ok(instant) = Instant::parse(text) {
        return Ok(instant);
    }
    let span: jiff::Span = text.parse().with_context(|| {
        format!("`{text}` is neither an instant such as 2027-01-01T00:00:00Z nor a span such as 7d or 12h")
    })?;
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    Ok(now.checked_sub(span).context("that is too long ago")?.timestamp().into())
}

fn list(store: &Store, output: &Output, filter: &Filter, request: &PageRequest) -> anyhow::Result<u8> {
    let page = store.read(|conn| audit::list(conn, filter, request))?;
    let rows = page.items.iter().map(|row| {
        vec![
            row.id.to_string(),
            row.at().to_string(),
            row.actor.clone(),
            row.action.clone(),
            row.subject.clone(),
            row.reason.clone(),
            row.detail.clone(),
        ]
    });
    if let Some(next) = &page.next {
        output.note(&format!("There are older rows: --before {next}"));
    }
    let text = table(&["id", "at", "by", "action", "subject", "reason", "detail"], rows);
    output.result(&List::<AuditAnswer>::from(page), &text);
    Ok(0)
}

fn verify(store: &Store, output: &Output) -> anyhow::Result<u8> {
    let verdict = store.read(audit::verify)?;
    let (code, text) = match &verdict {
        Verdict::Whole { rows } => (0, format!("the audit log is whole: {rows} rows")),
        Verdict::Broken { id } => (1, format!("the audit log is broken: row {id} is missing or altered")),
    };
    output.result(&AuditVerdict::from(verdict), &text);
    Ok(code)
}
