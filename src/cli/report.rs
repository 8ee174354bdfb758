//! `changeover report`: compare old and new allocation, and sign the result.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde_json::json;

use super::{Output, Settings};
use crate::change::ChangeFile;
use crate::database::Database;
use crate::primitives::{ChangeName, Instant, Period};
use crate::report::{self, Report, RunOptions};
use crate::store::{PageRequest, Store, reports};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Compare a change's old and new allocation of the charges, and store the report
    ///
    /// Exits with 0 if nothing is unexplained, with 1 if something is, and with 2 if the comparison could not run.
    Run(RunArguments),
    /// List a change's stored reports, the newest first
    List(ListArguments),
    /// Print a stored report
    Show(ShowArguments),
    /// Vouch for a stored report
    Sign(SignArguments),
}

#[derive(Debug, clap::Args)]
pub struct RunArguments {
    /// The installed change
    #[arg(required_unless_present = "what_if", conflicts_with = "what_if")]
    change: Option<ChangeName>,
    /// Only this period, such as 2026-11; may be given several times [default: all]
    #[arg(long = "period", value_name = "PERIOD")]
    periods: Vec<Period>,
    /// Compare with what this change file would do, before anything is installed. All of it is rolled back, but other writers may
    /// have to wait meanwhile: on a busy database run it on a copy. The report is not stored
    #[arg(long, value_name = "FILE")]
    what_if: Option<PathBuf>,
    /// How many exceptions to tell line by line; all of them are counted
    #[arg(long, value_name = "N", default_value_t = RunOptions::EXCEPTIONS_MAX)]
    exceptions_max: usize,
    /// How many of the payers with the largest changes to tell for each currency
    #[arg(long, value_name = "N", default_value_t = RunOptions::MOVERS_MAX)]
    movers_max: usize,
    #[command(flatten)]
    target: Target,
}

/// In which form a report goes where.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The report's form [default: text, or json with --json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write it to this file instead of stdout; for csv, to this directory, one file a table
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables for a terminal
    Text,
    /// One document for programs
    Json,
    /// One page that needs nothing else, for finance
    Html,
    /// One file a table, for spreadsheets; needs --out
    Csv,
}

#[derive(Debug, clap::Args)]
pub struct ListArguments {
    /// The change
    change: ChangeName,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

#[derive(Debug, clap::Args)]
pub struct ShowArguments {
    /// The report's id
    id: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
pub struct SignArguments {
    /// The report's id
    id: String,
    /// Who signs
    #[arg(long)]
    name: String,
    /// As what, such as finance or engineering
    #[arg(long)]
    role: String,
}

pub fn run(settings: &Settings, output: &Output, command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Run(arguments) => run_report(settings, output, &arguments),
        Command::List(arguments) => list(settings, output, &arguments),
        Command::Show(arguments) => {
            let found = report::find(&open_store(settings)?, &arguments.id)?;
            let found = found.with_context(|| no_such_report(&arguments.id))?;
            deliver(output, &arguments.target, &found)?;
            Ok(0)
        }
        Command::Sign(arguments) => sign(settings, output, &arguments),
    }
}

fn no_such_report(id: &str) -> String {
    format!("there is no report `{id}`: `changeover report list CHANGE` lists them")
}

fn open_store(settings: &Settings) -> anyhow::Result<Store> {
    Ok(Store::open(Database::open(settings.database_url.clone())?)?)
}

fn now() -> Instant {
    jiff::Timestamp::now().into()
}

fn run_report(settings: &Settings, output: &Output, arguments: &RunArguments) -> anyhow::Result<u8> {
    check(&arguments.target)?;
    let application = settings.open_app_database()?;
    let options = RunOptions {
        periods: &arguments.periods,
        as_of: now(),
        actor: &settings.actor,
        exceptions_max: arguments.exceptions_max,
        movers_max: arguments.movers_max,
    };
    let mut connection = application.connection()?;
    let report = match (&arguments.change, &arguments.what_if) {
        (_, Some(path)) => report::what_if(&mut connection, &read_change(path)?, &options)?,
        (Some(change), None) => report::run(&mut connection, &open_store(settings)?, change, &options)?,
        (None, None) => bail!("name the change to compare, or a change file with --what-if"),
    };
    deliver(output, &arguments.target, &report)?;
    Ok(if report.data.clean { 0 } else { 1 })
}

fn read_change(path: &Path) -> anyhow::Result<ChangeFile> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    ChangeFile::parse(&text).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(|mistake| format!("\n  {mistake}")).collect();
        anyhow::anyhow!("{} has mistakes:{}", path.display(), lines.concat())
    })
}

/// Told before the comparison runs, not after.
fn check(target: &Target) -> anyhow::Result<()> {
    if target.format == Some(Format::Csv) && target.out.is_none() {
        bail!("csv is one file for each table: say with --out into which directory");
    }
    Ok(())
}

fn deliver(output: &Output, target: &Target, report: &Report) -> anyhow::Result<()> {
    check(target)?;
    let format = target.format.unwrap_or(if output.is_json() { Format::Json } else { Format::Text });
    let text = match format {
        Format::Text => report::to_text(report),
        Format::Json => report.to_json()?,
        Format::Html => report::to_html(report)?,
        Format::Csv => return write_csv(output, target, report),
    };
    match &target.out {
        None => output.document(&text),
        Some(path) => {
            fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
            output.note(&summary(report));
            output.note(&format!("Written to {}", path.display()));
        }
    }
    Ok(())
}

fn write_csv(output: &Output, target: &Target, report: &Report) -> anyhow::Result<()> {
    let Some(directory) = &target.out else { return check(target) };
    report::write_csv_directory(report, &mut report::Listed(&report.data), directory)?;
    output.note(&summary(report));
    output.note(&format!("Written to {}", directory.display()));
    Ok(())
}

/// The verdict in a line, for whoever has sent the report to a file.
fn summary(report: &Report) -> String {
    let verdict = if report.data.clean { "clean" } else { "NOT clean" };
    let id = report.id.as_deref().map_or(String::new(), |id| format!(" · report {id}"));
    let comparison = &report.data.comparison;
    format!("{verdict}: {} charges, {} to be explained{id}", comparison.charges(), comparison.exceptions_total)
}

fn list(settings: &Settings, output: &Output, arguments: &ListArguments) -> anyhow::Result<u8> {
    let store = open_store(settings)?;
    let request = PageRequest { after: None, limit: Some(arguments.limit) };
    let page = store.read(|connection| reports::list(connection, &arguments.change, &request))?;
    let documents: Vec<_> = page
        .items
        .iter()
        .map(|report| {
            let signatures: Vec<_> = report
                .signatures
                .iter()
                .map(|signature| json!({ "name": signature.name, "role": signature.role, "at": Instant::from_micros(signature.at) }))
                .collect();
            json!({
                "id": report.id, "change": report.change, "periods": report.periods, "as_of": report.as_of, "clean": report.clean,
                "exceptions": report.exceptions, "sha256": report.sha256, "signatures": signatures,
            })
        })
        .collect();
    let lines: Vec<String> = page
        .items
        .iter()
        .map(|report| {
            let verdict =
                if report.clean { String::from("clean") } else { format!("{} to be explained", report.exceptions) };
            let periods =
                if report.periods.is_empty() { String::from("all periods") } else { report.periods.join(", ") };
            let signed: Vec<&str> = report.signatures.iter().map(|signature| signature.role.as_str()).collect();
            let signed =
                if signed.is_empty() { String::from("not signed") } else { format!("signed: {}", signed.join(", ")) };
            format!("{}  {}  {verdict}  {periods}  {signed}", report.id, report.as_of)
        })
        .collect();
    let text = if lines.is_empty() {
        format!(
            "There is no report on {} yet: `changeover report run {}` makes one.",
            arguments.change, arguments.change
        )
    } else {
        lines.join("\n")
    };
    output.result(&documents, &text);
    Ok(0)
}

fn sign(settings: &Settings, output: &Output, arguments: &SignArguments) -> anyhow::Result<u8> {
    for (what, text) in [("--name", &arguments.name), ("--role", &arguments.role)] {
        if text.trim().is_empty() || text.chars().count() > 200 {
            bail!("{what} is a text of 1 to 200 characters");
        }
    }
    let store = open_store(settings)?;
    let signed = report::sign(&store, &arguments.id, arguments.name.trim(), arguments.role.trim(), now())?;
    let document = json!({ "id": signed.id, "sha256": signed.sha256, "clean": signed.data.clean, "signatures": signed.signatures });
    let text = format!(
        "{} ({}) vouches for report {}, sha-256 {}",
        arguments.name.trim(),
        arguments.role.trim(),
        arguments.id,
        signed.sha256
    );
    output.result(&document, &text);
    Ok(0)
}
