//! `changeover change check`: everything that is wrong with a change file, each with its place and its remedy.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::{Output, Settings};
use crate::change::{ChangeFile, Mistake};
use crate::database::{DatabaseConnection, DatabaseUrl};
use crate::translation::{self, TranslationError};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The change file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Document<'d> {
    file: String,
    change: Option<String>,
    clean: bool,
    mistakes: &'d [Mistake],
    warnings: &'d [Mistake],
}

/// 0 if the file may be installed, 1 if it has mistakes.
pub fn run(settings: &Settings, output: &Output, arguments: Arguments) -> anyhow::Result<u8> {
    let path = &arguments.file;
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = match text_of(bytes).and_then(|text| ChangeFile::parse(&text)) {
        Ok(file) => file,
        Err(mistakes) => {
            show(output, path, None, &mistakes, &[]);
            return Ok(1);
        }
    };
    let database = settings.open_app_database().context("the application's database cannot be opened")?;
    let mut connection = database.connection()?;
    let checked = translation::check(&mut connection, database.url(), &file)
        .with_context(|| format!("{} cannot be checked against {}", path.display(), database.url()))?;
    show(output, path, Some(&file), &checked.mistakes, &checked.warnings);
    Ok(u8::from(!checked.is_clean()))
}

/// An error if the file has mistakes: nothing is installed from such a file. Statements that get slower as tables grow are told.
pub fn refuse_mistakes(
    output: &Output,
    connection: &mut DatabaseConnection,
    url: &DatabaseUrl,
    file: &ChangeFile,
) -> anyhow::Result<()> {
    let checked = translation::check(connection, url, file)?;
    for slow in &checked.slow {
        output.note(&format!("warning: {slow}"));
    }
    if checked.is_clean() { Ok(()) } else { Err(TranslationError::Mistakes(checked.mistakes).into()) }
}

fn text_of(bytes: Vec<u8>) -> Result<String, Vec<Mistake>> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        vec![Mistake::new(None, line, "the file is not UTF-8 text", "save it as UTF-8")]
    })
}

fn show(output: &Output, path: &Path, file: Option<&ChangeFile>, mistakes: &[Mistake], warnings: &[Mistake]) {
    let place = path.display();
    let name = file.map(|file| file.name.to_string());
    let mut lines: Vec<String> = Vec::new();
    for (kind, list) in [("mistake", mistakes), ("warning", warnings)] {
        for mistake in list {
            let block = mistake.block.as_ref().map(|block| format!("{block}: ")).unwrap_or_default();
            lines.push(format!("{place}:{}: {kind}: {block}{}", mistake.line, mistake.what));
            lines.push(format!("    {}", mistake.remedy));
        }
    }
    let (what, warned) = (counted(mistakes.len(), "mistake"), counted(warnings.len(), "warning"));
    lines.push(match mistakes {
        [] => format!("{place}: no mistakes, {warned}"),
        _ => format!("{place}: {what}, {warned}"),
    });
    let document = Document { file: place.to_string(), change: name, clean: mistakes.is_empty(), mistakes, warnings };
    output.result(&document, &lines.join("\n"));
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
