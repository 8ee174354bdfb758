//! What reaches stdout (data), stderr (everything else) and progress bars.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Prints results as text or as one JSON document.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The command's result: `document` as JSON on stdout, or `text` (which ends without a newline).
    pub fn result(&self, document: &impl Serialize, text: &str) {
        let rendered = if self.json {
            serde_json::to_string_pretty(document).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
        } else {
            text.to_owned()
        };
        write_line(&mut std::io::stdout().lock(), &rendered);
    }

    /// A document in a form of its own, such as a page: on stdout as it is.
    pub fn document(&self, text: &str) {
        write_line(&mut std::io::stdout().lock(), text);
    }

    /// How far long work is, as one line of JSON on stderr; stdout stays one document.
    pub fn line(&self, document: &impl Serialize) {
        if let (true, Ok(text)) = (self.json, serde_json::to_string(document)) {
            write_line(&mut std::io::stderr().lock(), &text);
        }
    }

    /// A remark for a person, on stderr; nothing with `--json`.
    pub fn note(&self, text: &str) {
        if !self.json {
            write_line(&mut std::io::stderr().lock(), text);
        }
    }

    /// An error with its causes, on stderr.
    pub fn error(&self, error: &anyhow::Error) {
        let mut text = format!("error: {error}");
        let mut said = error.to_string();
        for cause in error.chain().skip(1) {
            let cause = cause.to_string();
            if !said.contains(&cause) {
                text.push_str(&format!("\n  because: {cause}"));
                said = cause;
            }
        }
        write_line(&mut std::io::stderr().lock(), &text);
    }

    /// A progress bar over the bytes of a file, with rate and estimate; without an end if their number is not known (0).
    #[must_use]
    pub fn bytes(&self, label: &str, total: u64) -> ProgressBar {
        let template = if total == 0 {
            "{msg:28} {spinner} {bytes:>11} {bytes_per_sec:>14}"
        } else {
            "{msg:28} {bar:30} {bytes:>11}/{total_bytes} {bytes_per_sec:>14} {eta:>5} left"
        };
        match ProgressStyle::with_template(template) {
            Ok(style) => self.progress(label, total).with_style(style),
            Err(_) => self.progress(label, total),
        }
    }

    /// A progress bar on stderr with an estimate; hidden with `--json` or where stderr is no terminal.
    #[must_use]
    pub fn progress(&self, label: &str, total: u64) -> ProgressBar {
        if self.json || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{msg:28} {bar:30} {pos:>9}/{len} {per_sec:>12} {eta:>5} left");
        let bar = ProgressBar::new(total).with_message(label.to_owned());
        match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }
}

/// A table that fits the terminal, or 100 columns where there is none.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY).set_header(header.iter().copied());
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(100);
    }
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}

/// A closed pipe (`| head`) is no error of ours.
fn write_line(to: &mut impl Write, text: &str) {
    drop(writeln!(to, "{text}"));
}
