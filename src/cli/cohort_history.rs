//! `changeover cohort show`, `history`, `diff` and `export`

use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::cohort::comparison_text;
use super::{Output, table};
use crate::http::api::List;
use crate::http::api::cohort_generations::GenerationAnswer;
use crate::http::api::cohorts::CohortAnswer;
use crate::primitives::CohortName;
use crate::store::cohort_export::{self, ExportFormat};
use crate::store::cohort_leaves::{AsOf, LeafReader};
use crate::store::cohorts;
use crate::store::{PageRequest, Store, cohort_generations, cohort_staging};

#[derive(Debug, Args)]
pub struct ExportArguments {
    name: CohortName,
    /// The file, or - for stdout
    #[arg(default_value = "-")]
    file: String,
    #[arg(long, value_enum, default_value_t = Format::Lines)]
    format: Format,
    /// The ids as they were in this generation
    #[arg(long, value_name = "NUMBER")]
    generation: Option<i64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One id a line
    Lines,
    /// With the heading `id`
    Csv,
    /// An object with `id` a line
    Ndjson,
}

pub(super) fn show(store: &Store, output: &Output, name: &CohortName) -> anyhow::Result<()> {
    let (cohort, sha256, staged) = store.read(|conn| {
        let cohort = cohorts::get(conn, name)?;
        let generation = cohort_generations::get(conn, name, cohort.generation)?;
        Ok((cohort, cohort_generations::checksum(conn, &generation)?, cohort_staging::list(conn, name)?))
    })?;
    let text = format!(
        "{name}: {} ids (generation {}, {} by {})\n  {}\n  conditions: {}\n  sha-256 of the ids: {sha256}\n  uploads that wait: {}",
        cohort.id_count,
        cohort.generation,
        cohort.updated_at(),
        cohort.updated_by,
        if cohort.description.is_empty() { "no description" } else { &cohort.description },
        cohort.conditions,
        staged.len()
    );
    let document = json!({ "cohort": CohortAnswer::from(cohort), "sha256": sha256, "staged": staged.len() });
    output.result(&document, &text);
    Ok(())
}

pub(super) fn list(store: &Store, output: &Output, name: &CohortName, limit: u32) -> anyhow::Result<()> {
    let request = PageRequest { after: None, limit: Some(limit) };
    let page = store.read(|conn| cohort_generations::list(conn, name, &request))?;
    if page.items.is_empty() {
        anyhow::bail!("there is no cohort `{name}`, and there was none");
    }
    let rows = page.items.iter().map(|found| {
        vec![
            found.generation.to_string(),
            found.at().to_string(),
            found.action.trim_start_matches("cohort.").to_owned(),
            found.id_count.to_string(),
            format!("+{} -{}", found.added, found.removed),
            found.actor.clone(),
            found.reason.clone(),
            String::from(if found.readable { "yes" } else { "no" }),
        ]
    });
    let text = table(&["generation", "at", "what", "ids", "changed", "by", "reason", "kept"], rows);
    let items: Vec<GenerationAnswer> = page.items.into_iter().map(GenerationAnswer::from).collect();
    output.result(&List { items, next: page.next }, &text);
    Ok(())
}

pub(super) fn diff(
    store: &Store,
    output: &Output,
    name: &CohortName,
    (from, to): (i64, Option<i64>),
) -> anyhow::Result<()> {
    let (to, comparison) = store.read(|conn| {
        let to = match to {
            Some(to) => to,
            None => cohorts::get(conn, name)?.generation,
        };
        Ok((to, cohort_generations::compare(conn, name, (from, to))?))
    })?;
    let text = format!("{name} from generation {from} to {to}\n{}", comparison_text(&comparison, ["came", "went"]));
    output.result(&comparison, &text);
    Ok(())
}

pub(super) fn export(store: &Store, output: &Output, arguments: &ExportArguments) -> anyhow::Result<()> {
    let ExportArguments { name, file, .. } = arguments;
    let context = || format!("{file} cannot be written");
    let generation = store.read(|conn| {
        Ok(match arguments.generation {
            Some(wanted) => cohort_generations::get_readable(conn, name, wanted)?,
            None => {
                let cohort = cohorts::get(conn, name)?;
                cohort_generations::get(conn, name, cohort.generation)?
            }
        })
    })?;
    let format = match arguments.format {
        Format::Lines => ExportFormat::Lines,
        Format::Csv => ExportFormat::Csv,
        Format::Ndjson => ExportFormat::Ndjson,
    };
    let ids = u64::try_from(generation.id_count).unwrap_or(0);
    let bar = output.progress(&format!("exporting {name}"), ids);
    let sink: Box<dyn Write> = if file == "-" {
        Box::new(std::io::stdout().lock())
    } else {
        Box::new(File::create(file).with_context(context)?)
    };
    let mut sink = BufWriter::new(sink);
    let mut reader = LeafReader::new(name, AsOf::Version(generation.generation), None);
    let mut is_first = true;
    loop {
        // Leaves of a generation never change, so each read may be a transaction of its own.
        let text = store.read(|conn| reader.next_several(conn))?;
        if text.is_empty() && !is_first {
            break;
        }
        sink.write_all(cohort_export::written(format, &text, is_first).as_bytes()).with_context(context)?;
        bar.inc(u64::try_from(text.lines().count()).unwrap_or(0));
        is_first = false;
    }
    sink.flush().with_context(context)?;
    bar.finish_and_clear();
    store.read(|conn| cohort_generations::get_readable(conn, name, generation.generation))?;
    if file != "-" {
        let document = json!({ "cohort": name, "generation": generation.generation, "ids": ids, "file": file });
        output.result(&document, &format!("{ids} ids of {name} (generation {}) are in {file}", generation.generation));
    }
    Ok(())
}
