//! `changeover change cover`: puts back triggers that a source table or a partition of it lacks.

use serde_json::json;

use super::change::{Audited, print_plan};
use super::{Output, Settings, installed};
use crate::database::DatabaseConnection;
use crate::primitives::ChangeName;
use crate::translation::{Step, cover, cover_plan, resolve};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The change; may be left out if only one is installed
    name: Option<ChangeName>,
    /// Print the SQL and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(
    settings: &Settings,
    output: &Output,
    connection: &mut DatabaseConnection,
    arguments: &Arguments,
) -> anyhow::Result<u8> {
    let change = installed(connection, arguments.name.as_ref())?;
    let model = resolve(connection, &change.file)?;
    if arguments.dry_run {
        print_plan(output, &cover_plan(connection, &model)?);
        return Ok(0);
    }
    let store = settings.open_store()?;
    let steps = cover(connection, &model, settings.deed(""))?;
    let created: Vec<&str> = steps.iter().map(|step| step.what.as_str()).collect();
    if !steps.is_empty() {
        let audited = Audited { store: &store, actor: &settings.actor };
        audited.append(&change, "change.cover", "", &json!({ "created": created }))?;
    }
    output.result(&json!({ "change": change.name, "created": created }), &text(&change.name, &steps));
    Ok(0)
}

fn text(name: &ChangeName, steps: &[Step]) -> String {
    if steps.is_empty() {
        return format!("Every table that {name} reads has its triggers.");
    }
    let mut lines: Vec<String> = steps.iter().map(|step| format!("created {}", step.what)).collect();
    lines.dedup();
    lines.push(format!("Rows that were written before are not translated by this. Next: changeover repair {name}"));
    lines.join("\n")
}
