//! The command line: one file a command; `output` decides what reaches stdout, stderr and progress bars.

mod audit;
mod backfill;
mod backfill_estimate;
mod change;
mod change_audit;
mod change_check;
mod change_cover;
mod change_history;
mod change_laws;
mod change_pause;
mod cohort;
mod cohort_history;
mod cohort_import;
mod cohort_staged;
mod conformance;
pub mod demo;
mod edge;
mod explanation;
mod flag;
mod flag_explain;
mod flag_history;
mod flag_preview;
mod flag_show;
mod gate;
mod gate_guard;
mod gate_hold;
mod import;
mod installed;
mod job;
mod observation;
mod output;
mod proposal;
mod report;
mod report_charge;
mod report_files;
mod restore;
mod routing;
mod routing_bulk;
mod serve;
mod serve_http;
mod settings;

mod token;
mod verify;
mod write;

use clap::{Parser, Subcommand};

pub use installed::installed;
pub use output::{Output, table};
pub use settings::{Settings, Why, Word};

/// Phase in the change that "can't be phased in": feature flags, dual-write translation and comparison reports.
#[derive(Debug, Parser)]
#[command(name = "changeover", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve flags, the API and metrics over HTTP
    Serve(serve::Arguments),
    /// Run the whole story on generated data in a new database
    Demo(demo::Arguments),
    /// Create, list, change and remove flags
    #[command(subcommand)]
    Flag(flag::Command),
    /// List, show, approve and reject writes that wait for a second person
    #[command(subcommand)]
    Proposal(proposal::Command),
    /// Create, import, list and remove cohorts
    #[command(subcommand)]
    Cohort(cohort::Command),
    /// Check whether a server speaks OFREP as providers need it
    Conformance(conformance::Arguments),
    /// Check, install, stage, inspect and uninstall a change
    #[command(subcommand)]
    Change(change::Command),
    /// Fill the new model from the old one, in resumable batches
    Backfill(backfill::Arguments),
    /// Compare every target row with what its block says it should be
    Verify(verify::VerifyArguments),
    /// Refresh the rows that verify finds to differ
    Repair(verify::RepairArguments),
    /// Write rows of the application, and show what translation makes of them
    Write(write::Arguments),
    /// Fix the side of every group for a period
    Assign(routing::AssignArguments),
    /// Compare old and new allocation of the charges, and sign the result
    #[command(subcommand)]
    Report(report::Command),
    /// Say why charges of a wrong class are as they should be
    #[command(subcommand)]
    Explanation(explanation::Command),
    /// Tell what applications observed of old and new results
    #[command(subcommand)]
    Observation(observation::Command),
    /// Say which copy of the application serves whom, and keep visitors out for maintenance
    #[command(subcommand)]
    Edge(edge::Command),
    /// List, show and cancel the long work that servers do
    #[command(subcommand)]
    Job(job::Command),
    /// Pause background workers, bring them back in order, run one instance of a command
    #[command(subcommand)]
    Gate(gate::Command),
    /// Read the audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Create, list and revoke tokens
    #[command(subcommand)]
    Token(token::Command),
}

/// Runs the command and returns the process's exit code: 0 done and clean, 1 done but something differs (drift, unexplained
/// differences, a gate that does not hold), 2 could not run.
#[must_use]
pub fn run(arguments: Cli) -> u8 {
    let output = Output::new(arguments.settings.json);
    let settings = arguments.settings;
    let outcome = match arguments.command {
        Command::Serve(arguments) => serve::run(&settings, arguments),
        Command::Demo(arguments) => demo::run(&settings, &output, arguments),
        Command::Flag(command) => flag::run(&settings, &output, command),
        Command::Proposal(command) => proposal::run(&settings, &output, command),
        Command::Cohort(command) => cohort::run(&settings, &output, command),
        Command::Conformance(arguments) => conformance::run(&output, arguments),
        Command::Change(command) => change::run(&settings, &output, command),
        Command::Backfill(arguments) => backfill::run(&settings, &output, arguments),
        Command::Verify(arguments) => verify::verify(&settings, &output, arguments),
        Command::Repair(arguments) => verify::repair(&settings, &output, arguments),
        Command::Write(arguments) => write::run(&settings, &output, arguments),
        Command::Assign(arguments) => routing::assign(&settings, &output, arguments),
        Command::Report(command) => report::run(&settings, &output, command),
        Command::Explanation(command) => explanation::run(&settings, &output, command),
        Command::Observation(command) => observation::run(&settings, &output, command),
        Command::Job(command) => job::run(&settings, &output, command),
        Command::Edge(command) => edge::run(&settings, &output, command),
        Command::Gate(command) => gate::run(&settings, &output, command),
        Command::Audit(command) => audit::run(&settings, &output, command),
        Command::Token(command) => token::run(&settings, &output, command),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output.error(&error);
            2
        }
    }
}
