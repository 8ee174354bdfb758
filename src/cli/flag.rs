//! `changeover flag`

use std::io::Read;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Output, Settings, Why, table};
use crate::flags::{Context, Evaluation, Flag, SnapshotFlag, TARGETING_KEY};
use crate::http::api::List;
use crate::http::api::flags::FlagAnswer;
use crate::http::api::history::read_page;
use crate::primitives::FlagKey;
use crate::store::flags::{self, StoredFlag};
use crate::store::{Memory, PageRequest, Store};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List all flags
    List,
    /// Print one flag
    Get { key: FlagKey },
    /// Create a flag from its JSON
    Create {
        /// A file, or - for stdin
        file: String,
        #[command(flatten)]
        why: Why,
    },
    /// Replace a flag by its JSON
    Set {
        /// A file, or - for stdin
        file: String,
        /// Only if the flag is still at this version
        #[arg(long, value_name = "NUMBER")]
        if_version: Option<i64>,
        #[command(flatten)]
        why: Why,
    },
    /// Remove a flag; its history stays
    Delete {
        key: FlagKey,
        #[command(flatten)]
        why: Why,
    },
    /// Throw the kill switch: everybody gets the off variant
    Kill {
        key: FlagKey,
        #[command(flatten)]
        why: Why,
    },
    /// Release the kill switch
    Revive {
        key: FlagKey,
        #[command(flatten)]
        why: Why,
    },
    /// Print every version that a flag has had
    History { key: FlagKey },
    /// Evaluate a flag and explain the outcome
    Evaluate {
        key: FlagKey,
        /// The subject's id
        #[arg(long, value_name = "ID")]
        targeting_key: Option<String>,
        /// Attributes as a JSON object
        #[arg(long, value_name = "JSON", default_value = "{}")]
        context: String,
    },
}

pub fn run(settings: &Settings, output: &Output, command: Command) -> anyhow::Result<u8> {
    let store = settings.open_store()?;
    match command {
        Command::List => list(&store, output)?,
        Command::Get { key } => print(output, store.read(|conn| flags::get(conn, &key))?),
        Command::Create { file, why } => {
            let flag = read_flag(&file)?;
            let data = serde_json::to_string(&flag)?;
            print(output, store.write(|conn| flags::create(conn, flag.key(), &data, settings.origin(&why)))?);
        }
        Command::Set { file, if_version, why } => {
            let flag = read_flag(&file)?;
            let data = serde_json::to_string(&flag)?;
            let origin = settings.origin(&why);
            print(output, store.write(|conn| flags::replace(conn, flag.key(), &data, if_version, origin))?);
        }
        Command::Delete { key, why } => {
            store.write(|conn| flags::remove(conn, &key, None, settings.origin(&why)))?;
            output.result(&json!({ "removed": key }), &format!("{key} is removed; its history stays"));
        }
        Command::Kill { key, why } => {
            print(output, store.write(|conn| flags::set_enabled(conn, &key, false, settings.origin(&why)))?);
        }
        Command::Revive { key, why } => {
            print(output, store.write(|conn| flags::set_enabled(conn, &key, true, settings.origin(&why)))?);
        }
        Command::History { key } => history(&store, output, &key)?,
        Command::Evaluate { key, targeting_key, context } => {
            let context = context_of(targeting_key, &context)?;
            evaluate(&Memory::load(store)?, output, &key, &context)?;
        }
    }
    Ok(0)
}

fn list(store: &Store, output: &Output) -> anyhow::Result<()> {
    let found = store.read(flags::all)?;
    let rows = found.iter().map(|stored| {
        let flag = Flag::parse(&stored.data).ok();
        let text = |read: fn(&Flag) -> String| flag.as_ref().map_or_else(|| String::from("(unreadable)"), read);
        vec![
            stored.key.clone(),
            text(|flag| flag.kind().as_str().to_owned()),
            text(|flag| String::from(if flag.is_enabled() { "on" } else { "killed" })),
            text(|flag| flag.rules().len().to_string()),
            stored.version.to_string(),
            stored.updated_at().to_string(),
            stored.updated_by.clone(),
        ]
    });
    let text = table(&["flag", "type", "state", "rules", "version", "updated", "by"], rows);
    let items: Vec<FlagAnswer> = found.into_iter().map(FlagAnswer::from).collect();
    output.result(&List { items, next: None }, &text);
    Ok(())
}

fn history(store: &Store, output: &Output, key: &FlagKey) -> anyhow::Result<()> {
    let page = store.read(|conn| read_page(conn, key, &PageRequest::first()))?;
    let rows = page.items.iter().map(|version| {
        vec![
            version.version.to_string(),
            version.at.to_string(),
            version.actor.clone(),
            version.reason.clone(),
            version.flag.as_ref().map_or_else(|| String::from("(removed)"), Value::to_string),
        ]
    });
    let text = table(&["version", "at", "by", "reason", "flag"], rows);
    output.result(&page, &text);
    Ok(())
}

fn evaluate(memory: &Memory, output: &Output, key: &FlagKey, context: &Context) -> anyhow::Result<()> {
    let snapshot = memory.snapshot();
    let flag = snapshot.find_flag(key.as_str()).with_context(|| format!("there is no flag `{key}`"))?;
    if let Some(change) = flag.flag().change() {
        output.note(&format!(
            "`{key}` routes the change `{change}`: the server answers with the side that is recorded for the user's group. \
             This evaluates the rules only, and records nothing."
        ));
    }
    let explanation = flag.explain(context, |cohort, id| snapshot.is_member(cohort, id));
    let trace: Vec<Value> =
        explanation.rules.iter().map(|rule| json!({ "rule": rule.rule, "outcome": rule.sentence })).collect();
    let (outcome, mut text) = described(flag, &explanation.evaluation);
    for rule in &explanation.rules {
        text.push_str(&format!("\n  rules[{}] {}", rule.rule, rule.sentence));
    }
    let mut document = json!({ "flag": key, "flag_version": flag.version(), "config_version": snapshot.version() });
    if let Some(document) = document.as_object_mut() {
        document.extend(outcome);
        document.insert(String::from("rules"), Value::Array(trace));
    }
    output.result(&document, &text);
    Ok(())
}

fn described(flag: &SnapshotFlag, evaluation: &Evaluation<'_>) -> (serde_json::Map<String, Value>, String) {
    let (document, text) = match evaluation {
        Evaluation::Served(served) => {
            let (variant, value) = (&served.variant.name, served.variant.value.to_json());
            let reason = served.why.reason();
            let text = format!("{} → {variant} = {value} ({reason})", flag.flag().key());
            (json!({ "variant": variant.as_str(), "value": value, "reason": reason.as_str() }), text)
        }
        Evaluation::Failed(failure) => {
            let text = format!("{} → {}: {failure}", flag.flag().key(), failure.code());
            (json!({ "error_code": failure.code(), "error": failure.to_string() }), text)
        }
    };
    (document.as_object().cloned().unwrap_or_default(), text)
}

fn context_of(targeting_key: Option<String>, attributes: &str) -> anyhow::Result<Context> {
    let mut value: Value = serde_json::from_str(attributes).context("--context is not JSON")?;
    if let (Some(key), Some(object)) = (targeting_key, value.as_object_mut()) {
        object.insert(TARGETING_KEY.to_owned(), Value::String(key));
    }
    Ok(Context::from_json(value)?)
}

fn read_flag(file: &str) -> anyhow::Result<Flag> {
    let mut text = String::new();
    if file == "-" {
        std::io::stdin().read_to_string(&mut text).context("stdin cannot be read")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
    }
    let source = if file == "-" { "stdin" } else { file };
    Flag::parse(&text).with_context(|| format!("{source} is not a valid flag"))
}

fn print(output: &Output, stored: StoredFlag) {
    let answer = FlagAnswer::from(stored);
    let text = serde_json::to_string_pretty(&answer).unwrap_or_default();
    output.result(&answer, &text);
}
