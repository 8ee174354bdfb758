//! `changeover cohort`

use anyhow::Context;
use serde_json::json;

use super::{
    Output, Settings, Why, cohort_history as history, cohort_import as import, cohort_staged as staged, table,
};
use crate::flags::CohortConditions;
use crate::http::api::List;
use crate::http::api::cohorts::CohortAnswer;
use crate::primitives::CohortName;
use crate::store::cohort_merge::Comparison;
use crate::store::cohorts::{self, Changes, Edit, StoredCohort};
use crate::store::sorted_ids::SortedIds;
use crate::store::upload::{self, Receipt, UploadFormat};
use crate::store::{Origin, Store, cohort_leaves};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List all cohorts
    List,
    /// Create a cohort without ids
    Create {
        name: CohortName,
        #[arg(long, default_value = "", value_name = "TEXT")]
        description: String,
        #[command(flatten)]
        why: Why,
    },
    /// Show a cohort: ids, conditions, generation, checksum, uploads that wait
    Show { name: CohortName },
    /// Change a cohort's description or its conditions
    Describe {
        name: CohortName,
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// Groups of clauses as JSON, or @FILE: who meets all clauses of any group belongs to the cohort as well
        #[arg(long, value_name = "JSON")]
        conditions: Option<String>,
        #[command(flatten)]
        why: Why,
    },
    /// Add the ids of a file: one a line, CSV (.csv, first column) or NDJSON (.ndjson, .jsonl), also with gzip (.gz)
    Import(import::Arguments),
    /// Write all ids into a file or to stdout
    Export(history::ExportArguments),
    /// Add ids
    Add {
        name: CohortName,
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        why: Why,
    },
    /// Remove ids
    Remove {
        name: CohortName,
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        why: Why,
    },
    /// Remove a cohort with its ids
    Delete {
        name: CohortName,
        #[command(flatten)]
        why: Why,
    },
    /// List a cohort's generations: who made them, when, why, and who came and went
    History {
        name: CohortName,
        /// At most so many, the latest first
        #[arg(long, default_value_t = 20, value_name = "NUMBER")]
        limit: u32,
    },
    /// Show who came and who went from one generation to another
    Diff {
        name: CohortName,
        from: i64,
        /// [default: the latest]
        to: Option<i64>,
    },
    /// Give a cohort the ids of an earlier generation
    Restore {
        name: CohortName,
        generation: i64,
        #[command(flatten)]
        why: Why,
    },
    /// Look at uploads that wait, activate or drop them
    #[command(subcommand)]
    Staged(staged::Command),
    /// Say whether an id is in a cohort: exit code 0 if it is, 1 if not
    Has {
        name: CohortName,
        #[arg(value_name = "ID")]
        id: String,
    },
}

pub fn run(settings: &Settings, output: &Output, command: Command) -> anyhow::Result<u8> {
    let store = settings.open_store()?;
    match command {
        Command::List => list(&store, output)?,
        Command::Create { name, description, why } => {
            let cohort = store.write(|conn| cohorts::create(conn, &name, &description, settings.origin(&why)))?;
            let text = format!("{name} is created, without ids so far");
            output.result(&CohortAnswer::from(cohort), &text);
        }
        Command::Show { name } => history::show(&store, output, &name)?,
        Command::Describe { name, description, conditions, why } => {
            let conditions = conditions.as_deref().map(conditions_of).transpose()?;
            let changes = Changes { description: description.as_deref(), conditions: conditions.as_deref() };
            let origin = settings.origin(&why);
            let cohort = store.write(|conn| cohorts::describe(conn, &name, changes, None, origin))?;
            let text = format!("{name} is described anew (generation {})", cohort.generation);
            output.result(&CohortAnswer::from(cohort), &text);
        }
        Command::Import(arguments) => import::run(settings, &store, output, &arguments)?,
        Command::Export(arguments) => history::export(&store, output, &arguments)?,
        Command::History { name, limit } => history::list(&store, output, &name, limit)?,
        Command::Diff { name, from, to } => history::diff(&store, output, &name, (from, to))?,
        Command::Restore { name, generation, why } => {
            let origin = settings.origin(&why);
            let edited = store.write(|conn| cohorts::edit(conn, &name, Edit::Restore(generation), None, origin))?;
            let text = format!(
                "{name} has the {} ids of generation {generation} again (generation {}): {} came, {} went",
                edited.cohort.id_count, edited.cohort.generation, edited.added, edited.removed
            );
            output.result(&CohortAnswer::from(edited.cohort), &text);
        }
        Command::Staged(command) => staged::run(settings, &store, output, command)?,
        Command::Add { name, ids, why } => {
            edit(&store, output, &name, &ids, |ids| Edit::Add(ids), settings.origin(&why))?
        }
        Command::Remove { name, ids, why } => {
            edit(&store, output, &name, &ids, |ids| Edit::Remove(ids), settings.origin(&why))?;
        }
        Command::Delete { name, why } => {
            store.write(|conn| cohorts::remove(conn, &name, None, settings.origin(&why)))?;
            output.result(&json!({ "removed": name }), &format!("{name} is removed"));
        }
        Command::Has { name, id } => return has(&store, output, &name, &id),
    }
    Ok(0)
}

fn list(store: &Store, output: &Output) -> anyhow::Result<()> {
    let found = store.read(cohorts::all)?;
    let rows = found.iter().map(|cohort: &StoredCohort| {
        vec![
            cohort.name.clone(),
            cohort.id_count.to_string(),
            cohort.generation.to_string(),
            cohort.updated_at().to_string(),
            cohort.updated_by.clone(),
            cohort.description.clone(),
        ]
    });
    let text = table(&["cohort", "ids", "generation", "updated", "by", "description"], rows);
    let items: Vec<CohortAnswer> = found.into_iter().map(CohortAnswer::from).collect();
    output.result(&List { items, next: None }, &text);
    Ok(())
}

fn has(store: &Store, output: &Output, name: &CohortName, id: &str) -> anyhow::Result<u8> {
    let id = id.trim();
    let member = store.read(|conn| {
        cohorts::get(conn, name)?;
        cohort_leaves::contains(conn, name, id)
    })?;
    let text = format!("`{id}` is {}in {name}", if member { "" } else { "not " });
    output.result(&json!({ "cohort": name, "id": id, "member": member }), &text);
    Ok(u8::from(!member))
}

fn edit(
    store: &Store,
    output: &Output,
    name: &CohortName,
    ids: &[String],
    of: for<'a> fn(&'a SortedIds) -> Edit<'a>,
    origin: Origin<'_>,
) -> anyhow::Result<()> {
    let upload = upload::read(ids.join("\n").as_bytes(), UploadFormat::Lines).context("nothing was changed")?;
    let edited = store.write(|conn| cohorts::edit(conn, name, of(&upload.ids), None, origin))?;
    print(output, &edited.receipt(&upload));
    Ok(())
}

/// Conditions as they are stored, if they are valid; `@FILE` names a file with them.
fn conditions_of(text: &str) -> anyhow::Result<String> {
    let text = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?,
        None => text.to_owned(),
    };
    let conditions = CohortConditions::parse(&text).map_err(|error| {
        let places = error.mistakes.iter().map(|mistake| format!("\n  {}: {}", mistake.at, mistake.what));
        anyhow::anyhow!("the conditions are not valid; nothing was changed{}", places.collect::<String>())
    })?;
    Ok(serde_json::to_string(&conditions)?)
}

pub(super) fn print(output: &Output, receipt: &Receipt) {
    output.result(receipt, &receipt_text(receipt));
}

pub(super) fn receipt_text(receipt: &Receipt) -> String {
    let mut text = format!(
        "{}: {} ids (generation {})\n  read {}, added {}, removed {}, duplicates {}, rejected {}\n  sha-256 of the ids read: {}",
        receipt.cohort,
        receipt.ids,
        receipt.generation,
        receipt.read,
        receipt.added,
        receipt.removed,
        receipt.duplicates,
        receipt.rejected,
        receipt.sha256
    );
    for rejection in &receipt.rejections {
        text.push_str(&format!("\n  line {} {}", rejection.line, rejection.what));
    }
    let more = receipt.rejected.saturating_sub(u64::try_from(receipt.rejections.len()).unwrap_or(u64::MAX));
    if more > 0 {
        text.push_str(&format!("\n  and {more} more lines"));
    }
    text
}

/// Who comes and who goes, as text: `verbs` are the two words for it.
pub(super) fn comparison_text(comparison: &Comparison, verbs: [&str; 2]) -> String {
    let side = |count: u64, ids: &[String], verb: &str| {
        let listed = ids.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
        let more = if count > 10 { ", …" } else { "" };
        if count == 0 { format!("0 {verb}") } else { format!("{count} {verb}: {listed}{more}") }
    };
    let [come, go] = verbs;
    let come = side(comparison.added, &comparison.come, come);
    format!("  {come}\n  {}", side(comparison.removed, &comparison.go, go))
}
