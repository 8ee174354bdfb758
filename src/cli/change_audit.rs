//! `changeover change audit`: what silences or breaks the triggers of an installed change.

use serde_json::json;

use super::{Output, Settings, installed};
use crate::database::DatabaseConnection;
use crate::primitives::ChangeName;
use crate::translation::audit::{Coverage, Finding, audit_change, keep};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The change; may be left out if only one is installed
    name: Option<ChangeName>,
}

/// 0 if every write is translated as far as can be seen, 1 if something is found.
pub fn run(
    settings: &Settings,
    output: &Output,
    connection: &mut DatabaseConnection,
    arguments: &Arguments,
) -> anyhow::Result<u8> {
    let change = installed(connection, arguments.name.as_ref())?;
    let findings = audit_change(connection, &change)?;
    let coverage = Coverage { at: settings.deed("").at, findings };
    keep(connection, &change.name, &coverage)?;
    let document = json!({ "change": change.name, "at": coverage.at, "findings": coverage.findings });
    output.result(&document, &text(&change.name, &coverage.findings));
    Ok(u8::from(!coverage.findings.is_empty()))
}

fn text(name: &ChangeName, findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        lines.push(format!("{} ({}): {}", finding.object, finding.code.as_str(), finding.what));
        lines.push(format!("    {}", finding.remedy));
    }
    lines.push(match findings.len() {
        0 => format!("{name}: nothing silences or breaks its triggers"),
        1 => format!("{name}: 1 finding"),
        count => format!("{name}: {count} findings"),
    });
    lines.join("\n")
}
