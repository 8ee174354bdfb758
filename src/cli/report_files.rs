//! `changeover report`: what concerns reports as files. Terminal text in the terminal's width, the JSON Schema, and holding files against
//! their checksums.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;

use super::Output;
use crate::report::{self, Report};

#[derive(Debug, clap::Args)]
pub struct VerifyArguments {
    /// The directory of a CSV set, or a report as JSON
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

/// The report as text: in the terminal's width, if it goes to one.
pub fn text(to_stdout: bool, report: &Report) -> String {
    let is_terminal = to_stdout && std::io::stdout().is_terminal();
    match terminal_size::terminal_size().filter(|_| is_terminal) {
        Some((width, _)) => report::to_text_at(report, width.0),
        None => report::to_text(report),
    }
}

pub fn schema(output: &Output) -> anyhow::Result<u8> {
    output.document(report::SCHEMA.trim_end());
    Ok(0)
}

pub fn verify(output: &Output, arguments: &VerifyArguments) -> anyhow::Result<u8> {
    let path = &arguments.path;
    let (sha256, faults) = if path.is_dir() { check_set(path)? } else { check_document(path)? };
    let text = if faults.is_empty() {
        format!("{} is as it was written. It belongs to the report with the sha-256 {sha256}.", path.display())
    } else {
        let faults: Vec<String> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        format!("{} was altered; do not rely on it:{}", path.display(), faults.concat())
    };
    output.result(&json!({ "intact": faults.is_empty(), "report_sha256": sha256, "faults": faults }), &text);
    Ok(if faults.is_empty() { 0 } else { 1 })
}

fn check_set(directory: &Path) -> anyhow::Result<(String, Vec<String>)> {
    let checked = report::check_csv_directory(directory)?;
    Ok((checked.manifest.report_sha256, checked.faults))
}

fn check_document(path: &Path) -> anyhow::Result<(String, Vec<String>)> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let checked = report::check_document(&text).with_context(|| format!("cannot check {}", path.display()))?;
    let fault = (checked.found != checked.said)
        .then(|| format!("its data has the sha-256 {}, but it says {}", checked.found, checked.said));
    Ok((checked.said, fault.into_iter().collect()))
}
