//! `changeover write`: what `POST /api/v1/changes/{name}/writes` does, on the application's database itself.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::{Output, Settings, installed, table};
use crate::http::problem::Problem;
use crate::primitives::ChangeName;
use crate::translation::writes::{IdempotencyKey, Request, WriteError, WriteModel, describe, write};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The change; may be left out if only one is installed
    name: Option<ChangeName>,
    /// The operations as JSON, as the API takes them; `-` reads standard input
    #[arg(long, value_name = "FILE", required_unless_present = "describe")]
    file: Option<PathBuf>,
    /// Do everything, show what would be written on both sides, and roll back
    #[arg(long)]
    dry_run: bool,
    /// Write once, however often the command is run with this key and these operations
    #[arg(long, value_name = "KEY", value_parser = key)]
    idempotency_key: Option<String>,
    /// For how many hours the answer is kept for that key
    #[arg(long, env = "CHANGEOVER_IDEMPOTENCY_HOURS", default_value_t = 24, value_name = "HOURS",
          value_parser = clap::value_parser!(u64).range(1..=8760))]
    idempotency_hours: u64,
    /// Print the tables that may be written now, their keys and columns, and write nothing
    #[arg(long, conflicts_with_all = ["file", "dry_run", "idempotency_key"])]
    describe: bool,
}

fn key(text: &str) -> Result<String, String> {
    if IdempotencyKey::is_valid(text) {
        Ok(text.to_owned())
    } else {
        Err(String::from("1 to 255 visible ASCII characters"))
    }
}

pub fn run(settings: &Settings, output: &Output, arguments: Arguments) -> anyhow::Result<u8> {
    let database = settings.open_app_database()?;
    let mut connection = database.connection()?;
    let change = installed(&mut connection, arguments.name.as_ref())?;
    let model = WriteModel::read(&mut connection, &change)?;
    let Some(file) = &arguments.file else {
        let document = describe(&model, change.stage);
        output.result(&document, &described(&document));
        return Ok(0);
    };
    let body = body(file)?;
    let caller = format!("cli:{}", settings.actor);
    let keep = Duration::from_secs(arguments.idempotency_hours * 60 * 60);
    let key = arguments.idempotency_key.as_deref().map(|text| IdempotencyKey { caller: &caller, text, keep });
    let outcome = Request::parse(&body, &model).and_then(|mut request| {
        request.dry_run |= arguments.dry_run;
        write(&mut connection, &model, &request, key.as_ref(), jiff::Timestamp::now().into())
    });
    match outcome {
        Ok(outcome) => {
            let document: &serde_json::value::RawValue = serde_json::from_str(&outcome.answer)?;
            let mut text = told(&serde_json::from_str(&outcome.answer)?);
            if outcome.replayed {
                text.push_str("\nThis is the answer of the first write with the key; nothing was written again.");
            }
            output.result(&document, &text);
            Ok(0)
        }
        Err(error) => refused(output, error),
    }
}

fn body(file: &Path) -> anyhow::Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read the operations from standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read the operations in {}", file.display()))
}

/// The same problem as over HTTP: with `--json` on stdout, otherwise its sentences on stderr.
fn refused(output: &Output, error: WriteError) -> anyhow::Result<u8> {
    if output.is_json() {
        output.result(&Problem::from(error).document(), "");
        return Ok(2);
    }
    if let WriteError::Refused { faults, .. } = &error {
        for fault in faults.iter().skip(1) {
            output.note(&format!("{}: {}", fault.pointer, fault.detail));
        }
    }
    Err(error.into())
}

fn told(answer: &Value) -> String {
    let items = |name: &str| answer.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text_of = |item: &Value, name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let count = |item: &Value, name: &str| item.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    let own = items("operations").into_iter().map(|item| {
        vec![
            text_of(&item, "action"),
            text_of(&item, "table"),
            text_of(&item, "side"),
            count(&item, "rows").to_string(),
        ]
    });
    let derived = items("translated").into_iter().map(|item| {
        let keys = item.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
        let rows: usize = keys.iter().map(|key| count(key, "rows")).sum();
        let gone: usize = keys.iter().map(|key| count(key, "gone")).sum();
        let what = if gone > 0 { format!("{rows}, {gone} gone") } else { rows.to_string() };
        vec![format!("block {}", text_of(&item, "block")), text_of(&item, "table"), text_of(&item, "side"), what]
    });
    let mut text = table(&["by", "table", "model", "rows"], own.chain(derived));
    for key in items("pending") {
        let (block, of, error) = (text_of(&key, "block"), text_of(&key, "key"), text_of(&key, "error"));
        let _ = write!(text, "\nNot translated yet: block {block}, key {of}: {error}");
    }
    if answer.get("dry_run").and_then(Value::as_bool) == Some(true) {
        text.push_str("\nA dry run: everything was rolled back.");
    }
    text
}

fn described(document: &Value) -> String {
    let tables = document.get("tables").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows = tables.iter().map(|item| {
        let text_of = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let columns = item.pointer("/row/properties").and_then(Value::as_object);
        let columns: Vec<&str> = columns.into_iter().flat_map(|columns| columns.keys()).map(String::as_str).collect();
        let writable = if item.get("writable").and_then(Value::as_bool) == Some(true) { "yes" } else { "not now" };
        vec![text_of("table"), text_of("side"), writable.to_owned(), columns.join(", ")]
    });
    table(&["table", "model", "writable", "columns"], rows)
}
