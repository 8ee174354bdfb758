//! `changeover change pause`, `resume` and `pending`.

use std::fmt::Write as _;

use serde_json::json;

use super::change::{Audited, NameArguments};
use super::{Output, Settings, installed, table};
use crate::database::DatabaseConnection;
use crate::primitives::ChangeName;
use crate::translation::pause::{Authority, Resumed, get_running, pause, resume};
use crate::translation::{Due, pending, resolve, retry_pending};

const ERROR_CHARACTERS_MAX: usize = 500;

#[derive(Debug, clap::Args)]
pub struct PauseArguments {
    /// The change; may be left out if only one is installed
    name: Option<ChangeName>,
    /// Why
    #[arg(long)]
    reason: String,
    /// Note the keys of what is written meanwhile, so that the resume looks only at those; always so where both directions are on
    #[arg(long)]
    record_keys: bool,
}

#[derive(Debug, clap::Args)]
pub struct ResumeArguments {
    #[command(flatten)]
    change: NameArguments,
    /// Whose rows stand where both models were written during the pause [default: old, and new from `rampdown` on]
    #[arg(long, value_enum)]
    authority: Option<Side>,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Side {
    Old,
    New,
}

#[derive(Debug, clap::Args)]
pub struct PendingArguments {
    #[command(flatten)]
    change: NameArguments,
    /// Refresh them now, whatever their pause
    #[arg(long)]
    retry: bool,
    /// Keys shown
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
}

pub fn run_pause(
    settings: &Settings,
    output: &Output,
    connection: &mut DatabaseConnection,
    arguments: &PauseArguments,
) -> anyhow::Result<u8> {
    let change = installed(connection, arguments.name.as_ref())?;
    let deed = settings.deed(&arguments.reason);
    // The switch comes first: it must work while the service's database is away, too.
    let gap = pause(connection, &change, arguments.record_keys, deed)?;
    let audited = Audited { store: &settings.open_store()?, actor: &settings.actor };
    audited.append(&change, "change.pause", &arguments.reason, &json!({ "records_keys": gap.records_keys }))?;
    let text = format!(
        "{} is paused: nothing is translated.\nWhat is written meanwhile: {}.\nNext: changeover change resume {}",
        change.name,
        if gap.records_keys { "its keys are recorded" } else { "only which tables are written is noted" },
        change.name
    );
    output.result(&json!({ "change": change.name, "gap": gap }), &text);
    Ok(0)
}

pub fn run_resume(
    settings: &Settings,
    output: &Output,
    connection: &mut DatabaseConnection,
    arguments: &ResumeArguments,
) -> anyhow::Result<u8> {
    let change = installed(connection, arguments.change.name.as_ref())?;
    let store = settings.open_store()?;
    let model = resolve(connection, &change.file)?;
    let authority = arguments.authority.map(|side| match side {
        Side::Old => Authority::Old,
        Side::New => Authority::New,
    });
    let resumed = resume(connection, &model, authority, settings.deed(&arguments.reason))?;
    let audited = Audited { store: &store, actor: &settings.actor };
    audited.append(&change, "change.resume", &arguments.reason, &json!(resumed))?;
    output.result(&json!({ "change": change.name, "resumed": resumed }), &resumed_text(&change.name, &resumed));
    Ok(u8::from(resumed.pending > 0 || !resumed.conflicts.is_empty()))
}

fn resumed_text(name: &ChangeName, resumed: &Resumed) -> String {
    let mut text = format!("{name} translates again. The pause since {} is closed.\n", resumed.gap.paused_at);
    let _ = match (resumed.gap.records_keys, resumed.verified.as_slice()) {
        (true, _) => write!(text, "The recorded keys were refreshed: {}.", resumed.repaired),
        (false, []) => write!(text, "No source table was written meanwhile."),
        (false, blocks) => write!(text, "Compared: {}. Keys refreshed: {}.", blocks.join(", "), resumed.repaired),
    };
    for conflict in &resumed.conflicts {
        let _ = write!(
            text,
            "\nBoth models were written: {} key {} and {} key {}; the {} model's rows stand.",
            conflict.forward_block,
            conflict.forward_key,
            conflict.backward_block,
            conflict.backward_key,
            match conflict.won {
                Authority::Old => "old",
                Authority::New => "new",
            }
        );
    }
    if resumed.pending > 0 {
        let _ = write!(
            text,
            "\n{} keys could not be refreshed and wait: changeover change pending {name}",
            resumed.pending
        );
    }
    text
}

pub fn run_pending(
    settings: &Settings,
    output: &Output,
    connection: &mut DatabaseConnection,
    arguments: &PendingArguments,
) -> anyhow::Result<u8> {
    let change = installed(connection, arguments.change.name.as_ref())?;
    let mut retried = None;
    if arguments.retry {
        get_running(connection, &change.name)?;
        let model = resolve(connection, &change.file)?;
        let outcome = retry_pending(connection, &model, Due::All)?;
        let store = settings.open_store()?;
        let audited = Audited { store: &store, actor: &settings.actor };
        audited.append(&change, "change.retry", "", &json!(outcome))?;
        retried = Some(outcome);
    }
    let keys = pending::list(connection, &change.name, i64::from(arguments.limit))?;
    let count = pending::count(connection, &change.name)?;
    let mut text = String::new();
    if let Some(outcome) = &retried {
        let _ = writeln!(text, "{} keys healed, {} failed again.", outcome.healed, outcome.failed);
    }
    text.push_str(&pending_text(&keys, count));
    let document = json!({ "change": change.name, "count": count, "by_block": by_block(connection, &change.name)?, "keys": keys, "retried": retried });
    output.result(&document, &text);
    Ok(u8::from(count > 0))
}

fn by_block(connection: &mut DatabaseConnection, name: &ChangeName) -> anyhow::Result<serde_json::Value> {
    let counts = pending::count_by_block(connection, name)?;
    Ok(counts.into_iter().map(|(block, keys)| (block, json!(keys))).collect::<serde_json::Map<_, _>>().into())
}

/// An error as a table shows it: whole, unless it is longer than any of ours.
fn shown(error: &str) -> String {
    match error.char_indices().nth(ERROR_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}… (--json shows all of it)", error.get(..end).unwrap_or_default()),
        None => error.to_owned(),
    }
}

/// How many keys wait, and those that have waited longest.
pub fn pending_text(keys: &[pending::PendingKey], count: i64) -> String {
    if count == 0 {
        return String::from("Nothing is pending.");
    }
    let rows = keys.iter().map(|key| {
        vec![
            key.block.clone(),
            key.key.clone(),
            key.attempts.to_string(),
            key.first_at.to_string(),
            key.next_at.to_string(),
            shown(&key.error),
        ]
    });
    format!(
        "{count} keys are pending.\n{}",
        table(&["block", "key", "attempts", "since", "next attempt", "error"], rows)
    )
}
