//! `changeover report`: compare old and new allocation, and sign the result.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde_json::json;

use super::report_charge::{self, ExplainArguments};
use super::report_files::{self, VerifyArguments};
use super::{Output, Settings, table};
use crate::allocation::ChargeClass;
use crate::change::ChangeFile;
use crate::database::Database;
use crate::primitives::{ChangeName, Instant, Period};
use crate::report::{self, Report, RunOptions, Since};
use crate::store::report_exceptions::{self, ExceptionFilter};
use crate::store::reports::{self, Word};
use crate::store::{PageRequest, Store};
use crate::translation::newest_periods;
use crate::translation::own::get_change;

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
    /// Vouch for a stored report, or reject it
    Sign(SignArguments),
    /// Say whether a stored report's sign-offs count, and if not, why; exits with 1 if they do not
    Standing {
        /// The report's id
        id: String,
    },
    /// List all exceptions of a stored report, by the charge's id
    Exceptions(ExceptionArguments),
    /// Explain one charge: its rows of each query, its class and why, its group's side, what its closed period recorded, and who
    /// explains it
    ///
    /// Reads this charge only. Exits with 0 if it is in a fine class, with 1 if it is in a wrong one or cannot be compared, and with 2 if
    /// nothing knows it.
    Explain(ExplainArguments),
    /// Print what a stored report says differently from an earlier one; exits with 1 if it does
    Compare {
        /// The earlier report's id
        earlier: String,
        /// The later report's id
        later: String,
    },
    /// Hold a CSV set, or a report as JSON, against its checksums
    ///
    /// Exits with 0 if nothing was altered, with 1 if something was, and with 2 if it cannot be read.
    Verify(VerifyArguments),
    /// Print the JSON Schema of a report
    Schema,
}

#[derive(Debug, clap::Args)]
pub struct ExceptionArguments {
    /// The report's id
    id: String,
    /// Only of this class, such as duplicate
    #[arg(long, value_name = "CLASS")]
    class: Option<ChargeClass>,
    /// Only charges whose id begins so
    #[arg(long, value_name = "ID")]
    charge: Option<String>,
    /// Only those after this charge
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

#[derive(Debug, clap::Args)]
pub struct RunArguments {
    /// The installed change
    #[arg(required_unless_present = "what_if", conflicts_with = "what_if")]
    change: Option<ChangeName>,
    /// Only this period, such as 2026-11; may be given several times [default: all]
    #[arg(long = "period", value_name = "PERIOD")]
    periods: Vec<Period>,
    /// Compare with what this change file would do, before anything is installed. The application's tables are only read. The report
    /// is not stored
    #[arg(long, value_name = "FILE")]
    what_if: Option<PathBuf>,
    /// With --what-if: only the newest so many periods that have charges
    #[arg(long, value_name = "N", requires = "what_if", conflicts_with = "periods", value_parser = clap::value_parser!(u32).range(1..=1000))]
    last: Option<u32>,
    /// An earlier report's id, or `last`: what is unchanged since is taken over, and the report says what differs
    #[arg(long, value_name = "REPORT", conflicts_with = "what_if")]
    since: Option<String>,
    /// Keep checksums, so that a later report --since this one reads only what has changed; a report with --since does
    #[arg(long, conflicts_with = "what_if")]
    checksums: bool,
    /// The moment that the report names as its own, such as 2026-12-01T06:00:00Z [default: now]
    #[arg(long, value_name = "INSTANT")]
    as_of: Option<jiff::Timestamp>,
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
    /// Say no: the report was read and is not accepted
    #[arg(long, requires = "comment")]
    reject: bool,
    /// What to say with it
    #[arg(long, default_value = "", value_name = "TEXT")]
    comment: String,
    /// The checksum of what was read: a report with another one is not signed
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
}

pub fn run(settings: &Settings, output: &Output, command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Run(arguments) => run_report(settings, output, &arguments),
        Command::List(arguments) => list(settings, output, &arguments),
        Command::Show(arguments) => {
            let found = report::find(&open_store(settings)?, &arguments.id)?;
            let found = found.with_context(|| no_such_report(&arguments.id))?;
            deliver(settings, output, &arguments.target, &found)?;
            Ok(0)
        }
        Command::Sign(arguments) => sign(settings, output, &arguments),
        Command::Standing { id } => standing(settings, output, &id),
        Command::Exceptions(arguments) => exceptions(settings, output, arguments),
        Command::Explain(arguments) => report_charge::explain(settings, output, &arguments),
        Command::Compare { earlier, later } => compare(settings, output, &earlier, &later),
        Command::Verify(arguments) => report_files::verify(output, &arguments),
        Command::Schema => report_files::schema(output),
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
    let application = match settings.open_report_database()? {
        Some(replica) => replica,
        None => settings.open_app_database()?,
    };
    let as_of = arguments.as_of.map_or_else(now, Instant::from);
    if as_of > now() {
        bail!("--as-of lies in the future: a report is of a moment that was");
    }
    let options = RunOptions {
        periods: &arguments.periods,
        checksums: arguments.checksums,
        exceptions_max: arguments.exceptions_max,
        movers_max: arguments.movers_max,
        beside: Some(application.url()),
        ..RunOptions::of(as_of, &settings.actor)
    };
    let mut connection = application.connection()?;
    let report = match (&arguments.change, &arguments.what_if) {
        (_, Some(path)) => {
            let file = read_change(path)?;
            let periods = match (arguments.last, &file.allocation) {
                (Some(last), Some(allocation)) => newest_periods(&mut connection, allocation, last)?
                    .iter()
                    .map(|period| period.parse().with_context(|| format!("`{period}` is no period")))
                    .collect::<anyhow::Result<Vec<Period>>>()?,
                _ => arguments.periods.clone(),
            };
            report::what_if(&mut connection, &file, &RunOptions { periods: &periods, ..options })?
        }
        (Some(change), None) => {
            let store = open_store(settings)?;
            let since = arguments.since.as_deref().map(|since| report::earlier(&store, change, since)).transpose()?;
            let options = RunOptions { since: since.as_deref(), ..options };
            let bar = output.progress("charges", 0);
            let mut tell = |done, total| {
                bar.set_length(total);
                bar.set_position(done);
                true
            };
            let report = report::run(&mut connection, &store, change, &options, &mut tell);
            bar.finish_and_clear();
            report?
        }
        (None, None) => bail!("name the change to compare, or a change file with --what-if"),
    };
    deliver(settings, output, &arguments.target, &report)?;
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

fn deliver(settings: &Settings, output: &Output, target: &Target, report: &Report) -> anyhow::Result<()> {
    check(target)?;
    let format = target.format.unwrap_or(if output.is_json() { Format::Json } else { Format::Text });
    let text = match format {
        Format::Text => report_files::text(target.out.is_none(), report),
        Format::Json => report.to_json()?,
        Format::Html => report::to_html(report)?,
        Format::Csv => return write_csv(settings, output, target, report),
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

fn write_csv(settings: &Settings, output: &Output, target: &Target, report: &Report) -> anyhow::Result<()> {
    let Some(directory) = &target.out else { return check(target) };
    match report::has_all_exceptions(report) {
        Some(id) => {
            let store = open_store(settings)?;
            report::write_csv_directory(report, &mut report::Stored { store: &store, id }, directory)?
        }
        None => report::write_csv_directory(report, &mut report::Listed(&report.data), directory)?,
    };
    output.note(&summary(report));
    output.note(&format!("Written to {}", directory.display()));
    Ok(())
}

/// The verdict in a line, for whoever has sent the report to a file.
fn summary(report: &Report) -> String {
    let verdict = if report.data.clean { "clean" } else { "NOT clean" };
    let id = report.id.as_deref().map_or(String::new(), |id| format!(" · report {id}"));
    let comparison = &report.data.comparison;
    let unexplained = report.data.unexplained_total;
    format!("{verdict}: {} charges, {unexplained} to be explained{id}", comparison.charges())
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
                .map(|signature| json!({ "name": signature.name, "role": signature.role, "at": Instant::from_micros(signature.at), "approves": signature.approves, "comment": signature.comment }))
                .collect();
            json!({
                "id": report.id, "change": report.change, "periods": report.periods, "as_of": report.as_of, "clean": report.clean,
                "exceptions": report.exceptions, "unexplained": report.unexplained, "sha256": report.sha256, "signatures": signatures,
            })
        })
        .collect();
    let lines: Vec<String> = page
        .items
        .iter()
        .map(|report| {
            let verdict =
                if report.clean { String::from("clean") } else { format!("{} to be explained", report.unexplained) };
            let periods =
                if report.periods.is_empty() { String::from("all periods") } else { report.periods.join(", ") };
            let words: Vec<String> = report
                .signatures
                .iter()
                .map(|signature| format!("{}{}", if signature.approves { "" } else { "rejected: " }, signature.role))
                .collect();
            let signed =
                if words.is_empty() { String::from("not signed") } else { format!("signed: {}", words.join(", ")) };
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
    let word = Word {
        approves: !arguments.reject,
        comment: arguments.comment.trim(),
        sha256: arguments.sha256.as_deref(),
        ..Word::approving(arguments.name.trim(), arguments.role.trim(), now())
    };
    let signed = report::sign(&store, &arguments.id, word)?;
    let document = json!({ "id": signed.id, "sha256": signed.sha256, "clean": signed.data.clean, "signatures": signed.signatures });
    let text = format!(
        "{} ({}) {} report {}, sha-256 {}",
        arguments.name.trim(),
        arguments.role.trim(),
        if arguments.reject { "rejects" } else { "vouches for" },
        arguments.id,
        signed.sha256
    );
    output.result(&document, &text);
    Ok(0)
}

fn standing(settings: &Settings, output: &Output, id: &str) -> anyhow::Result<u8> {
    let store = open_store(settings)?;
    let found = report::find(&store, id)?.with_context(|| no_such_report(id))?;
    let application = settings.open_app_database()?;
    let change = get_change(&mut *application.connection()?, &found.data.subject.change)?;
    let (stored, faults) = report::standing(&store, &change, id)?;
    let counts = stored.clean && faults.is_empty() && !stored.signatures.is_empty();
    let text = match (counts, faults.as_slice()) {
        (true, _) => format!("report {id} is signed, and its sign-offs count"),
        (false, []) if stored.signatures.is_empty() => format!("report {id} is not signed"),
        (false, []) => format!("report {id} has differences that nobody explains"),
        (false, faults) => format!("report {id} {}", faults.join(", and ")),
    };
    let document =
        json!({ "id": id, "sha256": stored.sha256, "clean": stored.clean, "counts": counts, "faults": faults });
    output.result(&document, &text);
    Ok(if counts { 0 } else { 1 })
}

fn exceptions(settings: &Settings, output: &Output, arguments: ExceptionArguments) -> anyhow::Result<u8> {
    let store = open_store(settings)?;
    report::find(&store, &arguments.id)?.with_context(|| no_such_report(&arguments.id))?;
    let filter = ExceptionFilter { class: arguments.class, charge: arguments.charge };
    let request = PageRequest { after: arguments.after, limit: Some(arguments.limit) };
    let page = store.read(|connection| report_exceptions::list(connection, &arguments.id, &filter, &request))?;
    let rows = page.items.iter().map(|line| {
        vec![
            line.charge_id.clone(),
            line.class.to_string(),
            line.period.clone().unwrap_or_default(),
            line.currency.clone().unwrap_or_default(),
            line.amount.map(|amount| amount.to_string()).unwrap_or_default(),
            line.old_amount.to_string(),
            line.new_amount.to_string(),
            line.effective_amount.to_string(),
        ]
    });
    let header = ["charge", "class", "period", "currency", "amount", "old", "new", "effective"];
    let mut text = table(&header, rows);
    if page.items.is_empty() {
        text = String::from("There is none.");
    } else if let Some(next) = &page.next {
        text.push_str(&format!("\nThere are more: --after {next}"));
    }
    output.result(&json!({ "items": page.items, "next": page.next }), &text);
    Ok(0)
}

fn compare(settings: &Settings, output: &Output, earlier: &str, later: &str) -> anyhow::Result<u8> {
    let store = open_store(settings)?;
    let find = |id: &str| -> anyhow::Result<Report> { report::find(&store, id)?.with_context(|| no_such_report(id)) };
    let (earlier, later) = (find(earlier)?, find(later)?);
    if earlier.data.subject.change != later.data.subject.change {
        bail!("the reports are of two changes, {} and {}", earlier.data.subject.change, later.data.subject.change);
    }
    let since = Since::between(&earlier, &later.data);
    output.result(&since, &report::since_to_text(&since, &later.data));
    Ok(if since.is_nothing() { 0 } else { 1 })
}
