//! `changeover change history`: the files that a change has had.

use anyhow::{Context as _, bail};
use serde_json::json;

use super::{Output, installed, table};
use crate::database::DatabaseConnection;
use crate::primitives::ChangeName;
use crate::translation::list_files;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The change; may be left out if only one is installed
    name: Option<ChangeName>,
    /// Print the file with this number as it was, to compare it or to `change update` with it
    #[arg(long, value_name = "NUMBER")]
    file: Option<i64>,
}

pub fn run(output: &Output, connection: &mut DatabaseConnection, arguments: &Arguments) -> anyhow::Result<u8> {
    let change = installed(connection, arguments.name.as_ref())?;
    let files = list_files(connection, &change.name)?;
    if let Some(number) = arguments.file {
        let Some(found) = files.iter().find(|file| file.number == number) else {
            bail!("{} has had no file with the number {number}: `changeover change history` lists them", change.name);
        };
        let text = found.file.as_ref().context("an earlier version of Changeover did not keep this file")?;
        if output.is_json() {
            output.result(found, "");
        } else {
            output.document(text.trim_end());
        }
        return Ok(0);
    }
    let rows = files.iter().map(|file| {
        let changed =
            if file.action == "install" { String::from("(installed)") } else { file.changed_blocks.join(", ") };
        let kept = if file.file.is_some() { "" } else { "not kept" };
        let (at, actor, reason) = (file.at.to_string(), file.actor.clone(), file.reason.clone());
        vec![file.number.to_string(), at, actor, reason, changed, kept.to_owned()]
    });
    let text = table(&["number", "at", "by", "reason", "blocks that changed", ""], rows);
    output.result(&json!({ "change": change.name, "items": files }), &text);
    Ok(0)
}
