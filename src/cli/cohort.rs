//! `changeover cohort`

use std::fs::File;
use std::io::Read;

use anyhow::Context;
use serde_json::json;

use super::{Output, Settings, Why, table};
use crate::http::api::List;
use crate::http::api::cohorts::CohortAnswer;
use crate::primitives::CohortName;
use crate::store::cohorts::{self, Edit, StoredCohort};
use crate::store::sorted_ids::SortedIds;
use crate::store::upload::{self, Receipt, UploadFormat};
use crate::store::{Origin, Store, cohort_leaves};

/// How much of a file is read between two movements of the progress bar.
const READ_BYTES: usize = 1 << 20;

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
    /// Add the ids of a file: one a line, CSV (.csv, first column) or NDJSON (.ndjson, .jsonl)
    Import {
        name: CohortName,
        file: String,
        /// Let the cohort have exactly these ids afterwards
        #[arg(long)]
        replace: bool,
        /// Create the cohort if there is none
        #[arg(long)]
        create: bool,
        #[command(flatten)]
        why: Why,
    },
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
        Command::Import { name, file, replace, create, why } => {
            let bytes = read_file(output, &file)?;
            let upload = upload::read(&bytes, UploadFormat::of_file(&file))
                .with_context(|| format!("{file}: nothing was changed"))?;
            let edit = if replace { Edit::Replace(&upload.ids) } else { Edit::Add(&upload.ids) };
            let origin = settings.origin(&why);
            let edited = store.write(|conn| {
                if create && cohorts::find(conn, &name)?.is_none() {
                    cohorts::create(conn, &name, "", origin)?;
                }
                cohorts::edit(conn, &name, edit, None, origin)
            })?;
            print(output, &edited.receipt(&upload));
        }
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

fn read_file(output: &Output, file: &str) -> anyhow::Result<Vec<u8>> {
    let context = || format!("{file} cannot be read");
    let mut source = File::open(file).with_context(context)?;
    let size = source.metadata().with_context(context)?.len();
    let bar = output.progress(&format!("reading {file}"), size);
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    loop {
        let read = source.by_ref().take(READ_BYTES.try_into()?).read_to_end(&mut bytes).with_context(context)?;
        if read == 0 {
            break;
        }
        bar.inc(read.try_into()?);
    }
    bar.finish_and_clear();
    Ok(bytes)
}

fn print(output: &Output, receipt: &Receipt) {
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
    output.result(receipt, &text);
}
