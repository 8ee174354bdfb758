//! Runs the command line.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    ExitCode::from(changeover::cli::run(changeover::cli::Cli::parse()))
}
