//! `changeover audit`

use super::{Output, Settings, table};
use crate::http::api::List;
use crate::http::api::audit::{AuditAnswer, AuditVerdict};
use crate::store::audit::{self, Verdict};
use crate::store::{PageRequest, Store};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List who did what, the newest first
    List {
        /// Only what was done to this, such as flag/new-player
        #[arg(long)]
        subject: Option<String>,
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
        Command::List { subject, limit } => list(&store, output, subject.as_deref(), limit),
        Command::Verify => verify(&store, output),
    }
}

fn list(store: &Store, output: &Output, subject: Option<&str>, limit: u32) -> anyhow::Result<u8> {
    let request = PageRequest { after: None, limit: Some(limit) };
    let page = store.read(|conn| audit::list(conn, subject, &request))?;
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
