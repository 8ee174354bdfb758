//! `changeover flag export` and `changeover flag import`.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use super::{Output, Settings, Word, proposal, table};
use crate::flags::import::{Checked, Note};
use crate::http::api::imports::{ImportAnswer, ImportSource, read};
use crate::primitives::{CohortName, FlagKey};
use crate::store::imports::{self, Incoming, Plan};
use crate::store::sorted_ids::SortedIds;
use crate::store::{Store, cohort_leaves};

#[derive(Debug, Args)]
pub struct ExportArguments {
    /// Only these flags, with the cohorts that they name [default: everything]
    keys: Vec<FlagKey>,
    /// Write each cohort's ids to NAME.txt in this directory, one a line
    #[arg(long, value_name = "DIRECTORY")]
    with_cohorts: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ImportArguments {
    /// A file, or - for stdin
    file: String,
    /// The system that the document comes from
    #[arg(long, value_enum, default_value = "changeover", value_name = "SYSTEM")]
    from: ImportSource,
    /// Which of Unleash's environments, if the document has several
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Only print what would be done
    #[arg(long)]
    dry_run: bool,
    /// Overwrite flags and cohorts that are there and differ
    #[arg(long)]
    replace: bool,
    /// Write nothing if a flag cannot be expressed
    #[arg(long)]
    strict: bool,
    /// Read each cohort's ids from NAME.txt in this directory, if there is such a file
    #[arg(long, value_name = "DIRECTORY")]
    with_cohorts: Option<PathBuf>,
    #[command(flatten)]
    word: Word,
}

pub fn export(store: &Store, output: &Output, arguments: &ExportArguments) -> anyhow::Result<()> {
    let document = store.read(|conn| imports::export(conn, &arguments.keys))?;
    if let Some(directory) = &arguments.with_cohorts {
        std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
        for cohort in &document.cohorts {
            export_ids(store, &CohortName::new(&cohort.name)?, directory)?;
        }
    }
    output.document(&serde_json::to_string_pretty(&document)?);
    Ok(())
}

fn export_ids(store: &Store, name: &CohortName, directory: &Path) -> anyhow::Result<()> {
    let ids = store.read(|conn| cohort_leaves::load(conn, name))?;
    let path = ids_file(directory, name);
    let mut text = ids.join("\n");
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
}

fn ids_file(directory: &Path, name: &CohortName) -> PathBuf {
    directory.join(format!("{name}.txt"))
}

pub fn import(settings: &Settings, output: &Output, store: &Store, arguments: &ImportArguments) -> anyhow::Result<u8> {
    let value: Value = serde_json::from_str(&text_of(&arguments.file)?).context("the document is not JSON")?;
    let (document, notes) = read(arguments.from, value, arguments.environment.as_deref())?;
    let left_out = notes.iter().filter(|note| note.is_left_out()).count();
    if arguments.strict && left_out > 0 {
        tell(output, &notes);
        bail!("{left_out} could not be expressed, and --strict was given: nothing was written");
    }
    if arguments.dry_run {
        let plan = store.read(|conn| imports::plan(conn, &document))?;
        print(output, plan, notes, false);
        return Ok(0);
    }
    let ids = ids_of(&document, arguments.with_cohorts.as_deref())?;
    let written = proposal::write(settings, output, store, &arguments.word, |conn, authority, origin| {
        imports::import(
            conn,
            Incoming { document: &document, ids: &ids, replace: arguments.replace },
            authority,
            origin,
        )
    })?;
    if let Some(plan) = written {
        print(output, plan, notes, true);
    }
    Ok(0)
}

fn text_of(file: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    if file == "-" {
        std::io::stdin().read_to_string(&mut text).context("stdin cannot be read")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
    }
    Ok(text)
}

/// The ids of those cohorts of the document that have a file of them.
fn ids_of(document: &Checked, directory: Option<&Path>) -> anyhow::Result<Vec<(CohortName, SortedIds)>> {
    let Some(directory) = directory else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for cohort in &document.cohorts {
        let path = ids_file(directory, &cohort.name);
        if path.exists() {
            let text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            found.push((cohort.name.clone(), SortedIds::of(text.lines().map(str::trim))));
        }
    }
    Ok(found)
}

fn print(output: &Output, plan: Plan, notes: Vec<Note>, written: bool) {
    tell(output, &notes);
    let rows = plan.items().map(|item| {
        let changes: Vec<&str> = item.changes.iter().map(|change| change.at.as_str()).collect();
        vec![item.subject.clone(), item.step.as_str().to_owned(), changes.join(" ")]
    });
    let mut text = table(&["subject", "what", "differs at"], rows);
    if !written {
        text.push_str("\nnothing was written: this was a dry run");
    }
    output.result(&ImportAnswer::new(plan, notes, written), &text);
}

fn tell(output: &Output, notes: &[Note]) {
    notes.iter().for_each(|note| output.note(&note.to_string()));
}
