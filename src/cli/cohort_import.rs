//! `changeover cohort import`

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::cohort::{comparison_text, print, receipt_text};
use super::{Output, Settings, Why};
use crate::http::api::cohort_staged::StagedAnswer;
use crate::primitives::CohortName;
use crate::store::cohort_merge::Action;
use crate::store::cohorts::{self, Edit};
use crate::store::upload::{Upload, UploadFormat, UploadReader};
use crate::store::{Store, cohort_staging};

/// How much of a file is read between two movements of the progress bar.
const READ_BYTES: usize = 1 << 20;

#[derive(Debug, Args)]
pub struct Arguments {
    name: CohortName,
    /// The file, or - for stdin
    file: String,
    /// Let the cohort have exactly these ids afterwards
    #[arg(long, conflicts_with = "remove")]
    replace: bool,
    /// Take these ids out of the cohort
    #[arg(long)]
    remove: bool,
    /// Create the cohort if there is none
    #[arg(long, conflicts_with_all = ["dry_run", "stage"])]
    create: bool,
    /// How the file is written [default: by its ending, otherwise lines]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Keep the ids aside, to be looked at and activated or dropped
    #[arg(long, conflicts_with = "dry_run")]
    stage: bool,
    /// Only say who would come and who would go
    #[arg(long)]
    dry_run: bool,
    /// Refuse it all if more lines than this are not ids
    #[arg(long, value_name = "LINES")]
    max_rejected: Option<u64>,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One id a line
    Lines,
    /// The first column; a heading `id` is passed over
    Csv,
    /// A text, a number or an object with `id` a line
    Ndjson,
}

pub(super) fn run(settings: &Settings, store: &Store, output: &Output, arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { name, file, why, .. } = arguments;
    if !arguments.create {
        store.read(|conn| cohorts::get(conn, name))?;
    }
    let upload = read(output, arguments)
        .and_then(|upload| Ok(upload.with_at_most_rejected(arguments.max_rejected)?))
        .with_context(|| format!("{file}: nothing was changed"))?;
    let action = match (arguments.replace, arguments.remove) {
        (true, _) => Action::Replace,
        (_, true) => Action::Remove,
        _ => Action::Add,
    };
    let origin = settings.origin(why);
    if arguments.dry_run {
        let (receipt, comparison) = store.read(|conn| cohort_staging::preview_upload(conn, name, action, &upload))?;
        let text = receipt_text(&receipt) + "\n" + &comparison_text(&comparison, ["would come", "would go"]);
        output
            .result(&json!({ "receipt": receipt, "comparison": comparison }), &format!("{text}\nnothing was changed"));
        return Ok(());
    }
    if arguments.stage {
        let staged = store.write(|conn| cohort_staging::stage(conn, name, action, &upload, origin))?;
        let next = format!("\nkept aside: changeover cohort staged show {name} {}", staged.id);
        let text = receipt_text(&staged.receipt) + &next;
        output.result(&StagedAnswer::from(staged), &text);
        return Ok(());
    }
    let spinner = output.progress(&format!("storing {name}"), 1);
    let edited = store.write(|conn| {
        if arguments.create && cohorts::find(conn, name)?.is_none() {
            cohorts::create(conn, name, "", origin)?;
        }
        let edit = match action {
            Action::Replace => Edit::Replace(&upload.ids),
            Action::Add => Edit::Add(&upload.ids),
            Action::Remove => Edit::Remove(&upload.ids),
        };
        cohorts::edit(conn, name, edit, None, origin)
    })?;
    spinner.finish_and_clear();
    print(output, &edited.receipt(&upload));
    Ok(())
}

fn read(output: &Output, arguments: &Arguments) -> anyhow::Result<Upload> {
    let file = &arguments.file;
    let context = || format!("{file} cannot be read");
    let plain = file.strip_suffix(".gz").unwrap_or(file);
    let format = match arguments.format {
        Some(Format::Lines) => UploadFormat::Lines,
        Some(Format::Csv) => UploadFormat::Csv,
        Some(Format::Ndjson) => UploadFormat::Ndjson,
        None => UploadFormat::of_file(plain),
    };
    let (source, size): (Box<dyn Read>, u64) = if file == "-" {
        (Box::new(std::io::stdin().lock()), 0)
    } else {
        let source = File::open(file).with_context(context)?;
        let size = source.metadata().with_context(context)?.len();
        (Box::new(source), size)
    };
    let bar = output.bytes(&format!("reading {file}"), size);
    let source = bar.wrap_read(source);
    let mut reader = UploadReader::new(format);
    let outcome = if plain.len() < file.len() {
        feed(&mut reader, BufReader::with_capacity(READ_BYTES, flate2::read::MultiGzDecoder::new(source)), context)
    } else {
        feed(&mut reader, BufReader::with_capacity(READ_BYTES, source), context)
    };
    bar.finish_and_clear();
    outcome?;
    Ok(reader.finish()?)
}

fn feed(reader: &mut UploadReader, mut source: impl BufRead, context: impl Fn() -> String) -> anyhow::Result<()> {
    loop {
        let bytes = source.fill_buf().with_context(&context)?;
        let read = bytes.len();
        if read == 0 {
            return Ok(());
        }
        reader.feed(bytes)?;
        source.consume(read);
    }
}
