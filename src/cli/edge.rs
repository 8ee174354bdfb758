//! `changeover edge`: which copy of the application serves whom, and maintenance.

use std::io::Read;

use anyhow::Context;
use serde_json::json;

use super::{Output, Settings, Why, table};
use crate::edge::Settings as EdgeSettings;
use crate::http::api::List;
use crate::http::api::edges::EdgeAnswer;
use crate::primitives::ChangeName;
use crate::store::edges::{self, StoredEdge};
use crate::store::{Origin, Store};
use crate::translation::own::get_change;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the changes for whose edge something is set
    List,
    /// Show what is set for a change
    Show {
        /// The change
        change: ChangeName,
    },
    /// Set how visitors are known, which upstreams there are, and who may choose one or pass maintenance
    Set {
        /// The change
        change: ChangeName,
        /// A JSON file with the settings (docs/edge.md), or - for stdin
        file: String,
        #[command(flatten)]
        why: Why,
    },
    /// Forget what is set: visitors get the old upstream
    Remove {
        /// The change
        change: ChangeName,
        #[command(flatten)]
        why: Why,
    },
    /// Keep visitors out, but for those who may pass, or let them in again
    Maintenance {
        /// The change
        change: ChangeName,
        /// on or off
        switch: Switch,
        /// Why
        #[arg(long)]
        reason: String,
        /// After how many seconds visitors may try again
        #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400))]
        retry_after: u32,
        /// What visitors read [default: that we are back soon]
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        message: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

pub fn run(settings: &Settings, output: &Output, command: Command) -> anyhow::Result<u8> {
    let store = settings.open_store()?;
    match command {
        Command::List => list(&store, output)?,
        Command::Show { change } => show(output, store.read(|conn| edges::get(conn, &change))?),
        Command::Set { change, file, why } => {
            let wanted: EdgeSettings =
                serde_json::from_str(&read(&file)?).with_context(|| format!("{file} holds no settings of an edge"))?;
            if wanted.flag.is_none() {
                get_change(&mut *settings.open_app_database()?.connection()?, &change)?;
            }
            let origin = settings.origin(&why);
            let (edge, _) = store.write(|conn| edges::set(conn, &change, wanted.clone(), None, origin))?;
            show(output, edge);
        }
        Command::Remove { change, why } => {
            store.write(|conn| edges::remove(conn, &change, None, settings.origin(&why)))?;
            output.result(
                &json!({ "change": change, "removed": true }),
                &format!("nothing is set for {change} any more"),
            );
        }
        Command::Maintenance { change, switch, reason, retry_after, message } => {
            if store.read(|conn| edges::find(conn, &change))?.is_none() {
                get_change(&mut *settings.open_app_database()?.connection()?, &change)?;
            }
            let wanted = (switch == Switch::On).then_some((retry_after, message.as_str()));
            let origin = Origin { actor: &settings.actor, reason: &reason };
            show(output, store.write(|conn| edges::set_maintenance(conn, &change, wanted, origin))?);
        }
    }
    Ok(0)
}

fn read(file: &str) -> anyhow::Result<String> {
    if file != "-" {
        return std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"));
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("stdin cannot be read")?;
    Ok(text)
}

fn list(store: &Store, output: &Output) -> anyhow::Result<()> {
    let all = store.read(edges::list)?;
    let rows = all.iter().map(|edge| {
        let upstreams = &edge.settings.upstreams;
        vec![
            edge.change.to_string(),
            decided_by(edge),
            format!("{} → {}", upstreams.old, upstreams.new),
            maintenance(edge),
            edge.updated_at.to_string(),
            edge.updated_by.clone(),
        ]
    });
    let text = if all.is_empty() {
        String::from("Nothing is set for the edge of any change yet: `changeover edge set CHANGE FILE` does.")
    } else {
        table(&["change", "decided by", "upstreams", "maintenance", "set", "by"], rows)
    };
    output.result(&List { items: all.into_iter().map(EdgeAnswer::from).collect::<Vec<_>>(), next: None }, &text);
    Ok(())
}

fn show(output: &Output, edge: StoredEdge) {
    let settings = serde_json::to_string_pretty(&edge.settings).unwrap_or_default();
    let text = format!(
        "{} (version {})\ndecided by   {}\nmaintenance  {}\n{settings}",
        edge.change,
        edge.version,
        decided_by(&edge),
        maintenance(&edge)
    );
    output.result(&EdgeAnswer::from(edge), &text);
}

fn decided_by(edge: &StoredEdge) -> String {
    edge.settings.flag.as_ref().map_or_else(|| String::from("recorded sides"), |flag| format!("flag {flag}"))
}

fn maintenance(edge: &StoredEdge) -> String {
    match &edge.maintenance {
        Some(found) => format!("since {} by {}: {}", found.since, found.by, found.reason),
        None => String::from("no"),
    }
}
