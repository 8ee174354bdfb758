//! `changeover proposal`, and how a write of a flag on the command line becomes one.

use serde::Serialize;

use super::{Output, Settings, Why, Word, table};
use crate::database::DatabaseConnection;
use crate::http::api::List;
use crate::http::api::proposals::{ProposalAnswer, ProposalDetail, read};
use crate::store::proposals::{self, Person, Proposal, Written};
use crate::store::protection::Authority;
use crate::store::{Origin, PageRequest, Store, StoreError};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List what waits for a second person
    List {
        /// What was decided or has expired as well
        #[arg(long)]
        all: bool,
    },
    /// Print what a proposal would do
    Show { id: String },
    /// Apply a proposal; --actor must be another name than that of who made it
    Approve {
        id: String,
        #[command(flatten)]
        why: Why,
    },
    /// Reject a proposal; who made it withdraws it by that
    Reject {
        id: String,
        #[command(flatten)]
        why: Why,
    },
}

pub fn run(settings: &Settings, output: &Output, command: Command) -> anyhow::Result<u8> {
    let store = settings.open_store()?;
    match command {
        Command::List { all } => list(&store, output, all)?,
        Command::Show { id } => {
            let detail = store.read(|conn| read(conn, &id))?;
            output.result(&detail, &text_of(&detail));
        }
        Command::Approve { id, why } => {
            let person = Person { name: &settings.actor, token: None };
            let (proposal, _) = store.write(|conn| proposals::approve(conn, &id, person, &why.reason))?;
            print(output, proposal, "is applied");
        }
        Command::Reject { id, why } => {
            let person = Person { name: &settings.actor, token: None };
            let proposal = store.write(|conn| proposals::reject(conn, &id, person, &why.reason))?;
            let state = proposal.state().as_str();
            print(output, proposal, &format!("is {state}"));
        }
    }
    Ok(0)
}

/// Writes; where that takes a second person, prints the proposal that waits instead, and returns nothing.
pub fn write<T>(
    settings: &Settings,
    output: &Output,
    store: &Store,
    word: &Word,
    work: impl FnMut(&mut DatabaseConnection, Authority, Origin<'_>) -> Result<T, StoreError>,
) -> anyhow::Result<Option<T>> {
    let person = Person { name: &settings.actor, token: None };
    let authority = Authority { overriding: word.overriding, ..Authority::ALONE };
    match proposals::write_or_propose(store, person, (authority, &word.why.reason), work)? {
        Written::Done(done) => Ok(Some(done)),
        Written::Proposed(proposal) => {
            let next = format!("waits for another person: changeover proposal approve {} --actor NAME", proposal.id);
            print(output, *proposal, &next);
            Ok(None)
        }
    }
}

fn list(store: &Store, output: &Output, all: bool) -> anyhow::Result<()> {
    let page = store.read(|conn| proposals::list(conn, !all, &PageRequest::first()))?;
    let rows = page.items.iter().map(|proposal| {
        vec![
            proposal.id.clone(),
            proposal.subject.clone(),
            proposal.kind.clone(),
            proposal.state().as_str().to_owned(),
            proposal.actor.clone(),
            proposal.reason.clone(),
            proposal.expires_at().to_string(),
        ]
    });
    let text = table(&["proposal", "subject", "what", "state", "by", "reason", "expires"], rows);
    output.result(&List::<ProposalAnswer>::from(page), &text);
    Ok(())
}

fn print(output: &Output, proposal: Proposal, what: &str) {
    let text = format!("the proposal {} ({} of {}) {what}", proposal.id, proposal.kind, proposal.subject);
    output.result(&ProposalAnswer::from(proposal), &text);
}

/// Each flag with what differs, and who may move.
fn text_of(detail: &ProposalDetail) -> String {
    let mut text = pretty(&detail.proposal);
    for write in &detail.writes {
        let stale = if write.stale { " (stale: the flag is at another version now)" } else { "" };
        text.push_str(&format!("\n{}{stale}", write.flag));
        for change in &write.changes {
            let side = |value: &Option<serde_json::Value>| {
                value.as_ref().map_or_else(|| String::from("nothing"), ToString::to_string)
            };
            text.push_str(&format!("\n  {}: {} → {}", change.at, side(&change.before), side(&change.after)));
        }
        for one in &write.moves {
            let left = one.left.map_or_else(String::new, |left| format!(", {left} % are left of this hour"));
            text.push_str(&format!("\n  at most {} % of the subjects of {} move{left}", one.percent, one.flag));
        }
    }
    text
}

fn pretty(document: &impl Serialize) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default()
}
