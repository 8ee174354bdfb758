//! `changeover conformance`: asks any OFREP server whether it answers as providers need it.

use clap::ValueEnum;

use super::Output;
use crate::conformance::{self, Level, Outcome, Report, Target, Verdict, flag_set};

/// The checks are listed in docs/reference/conformance.md. Exit codes: 0 every check passed or is of what the server does not
/// offer, 1 at least one failed, 2 nothing could be checked.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The server's base URL, as a provider is given it: http://localhost:8080
    #[arg(long, value_name = "URL", required_unless_present = "print_flags")]
    url: Option<String>,

    /// What a provider sends to be let in; without it, nothing is sent
    #[arg(long, env = "CHANGEOVER_CONFORMANCE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,

    /// Print the flags that the server must have, and ask nothing
    #[arg(long, value_enum, value_name = "FORM")]
    print_flags: Option<Form>,

    /// Create the flags first; the server is a Changeover
    #[arg(long, requires = "admin_token")]
    setup: bool,

    /// Remove the flags at the end
    #[arg(long, requires = "admin_token")]
    teardown: bool,

    /// A token that may create flags
    #[arg(long, env = "CHANGEOVER_CONFORMANCE_ADMIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    admin_token: Option<String>,

    /// Send so many questions at once at the end, to meet the rate limit
    #[arg(long, default_value_t = 0, value_name = "N")]
    burst: u32,

    /// Exit with 1 only if a check of this level failed, or of one that is more binding
    #[arg(long, value_enum, default_value_t = Binding::May, value_name = "LEVEL")]
    level: Binding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A list, each as Changeover's API takes it
    Json,
    /// One file for flagd
    Flagd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Binding {
    Must,
    Should,
    May,
}

impl From<Binding> for Level {
    fn from(binding: Binding) -> Self {
        match binding {
            Binding::Must => Self::Must,
            Binding::Should => Self::Should,
            Binding::May => Self::May,
        }
    }
}

pub fn run(output: &Output, arguments: Arguments) -> anyhow::Result<u8> {
    if let Some(form) = arguments.print_flags {
        let flags = match form {
            Form::Json => flag_set::flags().into(),
            Form::Flagd => flag_set::flagd(),
        };
        output.document(&serde_json::to_string_pretty(&flags)?);
        return Ok(0);
    }
    let url = arguments.url.unwrap_or_default();
    let target = Target::new(&url, arguments.token)?.with_burst(arguments.burst);
    let admin_token = arguments.admin_token.unwrap_or_default();
    if arguments.setup {
        conformance::create_flags(&target, &admin_token)?;
    }
    let progress = output.progress("checks", u64::try_from(conformance::all().len())?);
    let report = conformance::run(target.clone(), &mut |_| progress.inc(1));
    progress.finish_and_clear();
    if arguments.teardown {
        conformance::remove_flags(&target, &admin_token)?;
    }
    let report = report?;
    output.result(&report, &text(&report));
    Ok(u8::from(report.failed(arguments.level.into()).next().is_some()))
}

/// A line for each check, then each failure in full, then the sum.
fn text(report: &Report) -> String {
    let mut lines: Vec<String> = report.checks.iter().map(line).collect();
    for outcome in report.failed(Level::May) {
        lines.extend([String::new(), failure(outcome)]);
    }
    let failed = |level| report.failed(Level::May).filter(|outcome| outcome.level == level).count();
    let (must, should, may) = (failed(Level::Must), failed(Level::Should), failed(Level::May));
    lines.push(String::new());
    lines.push(format!(
        "{}: {} passed, {} failed (must {must}, should {should}, may {may}), {} not offered",
        report.url,
        report.passed(),
        must + should + may,
        report.not_offered(),
    ));
    lines.join("\n")
}

fn line(outcome: &Outcome) -> String {
    let (word, why) = match &outcome.verdict {
        Verdict::Passed => ("passed", String::new()),
        Verdict::Failed { .. } => ("FAILED", String::new()),
        Verdict::NotOffered { why } => ("-", format!(" ({why})")),
    };
    format!("{word:<6}  {:<6}  {:<24}  {}{why}", outcome.level, outcome.id, outcome.rule)
}

fn failure(outcome: &Outcome) -> String {
    let Verdict::Failed { asked, came } = &outcome.verdict else { return String::new() };
    format!("{} ({})\n  rule:   {}\n  asked:  {asked}\n  came:   {came}", outcome.id, outcome.level, outcome.rule)
}
