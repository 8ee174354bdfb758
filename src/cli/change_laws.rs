//! `changeover change laws`: tries the round-trip laws on random rows, and lists what the old model cannot hold.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use super::{Output, Settings, change_check, installed, table};
use crate::change::ChangeFile;
use crate::primitives::ChangeName;
use crate::translation::own::{find_change, get_change, record};
use crate::translation::{Deed, LawOptions, Laws, TranslationError, laws, store_laws};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The change; may be left out if only one is installed
    #[arg(conflicts_with = "file")]
    name: Option<ChangeName>,
    /// Try a change file instead; it need not be installed
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Random rows of each table
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    sample: u32,
    /// Try the same again on the same rows [default: another one each time, and shown]
    #[arg(long, value_name = "SEED")]
    seed: Option<u32>,
}

/// 0 if the laws hold, 1 if something is lost that no block declares, or worse.
pub fn run(settings: &Settings, output: &Output, arguments: &Arguments) -> anyhow::Result<u8> {
    let database = settings.open_app_database()?;
    let mut connection = database.connection()?;
    let file = match &arguments.file {
        None => installed(&mut connection, arguments.name.as_ref())?.file,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the change file {}", path.display()))?;
            let file = ChangeFile::parse(&text).map_err(TranslationError::Mistakes)?;
            change_check::refuse_mistakes(output, &mut connection, database.url(), &file)?;
            file
        }
    };
    let now = jiff::Timestamp::now();
    let seed = arguments.seed.map_or_else(|| u64::from(now.subsec_nanosecond().unsigned_abs() % 1_000_000), u64::from);
    let options = LawOptions { sample: usize::try_from(arguments.sample)?, seed };
    let bar = output.progress("trials", 0);
    let found = laws(&mut connection, &file, options, &mut |done, total| {
        bar.set_length(u64::try_from(total).unwrap_or(0));
        bar.set_position(u64::try_from(done).unwrap_or(0));
    })?;
    bar.finish();
    // What another file says is no evidence for the installed one.
    if find_change(&mut connection, &file.name)?.is_some_and(|change| change.file.text == file.text) {
        store_laws(&mut connection, &found)?;
        let change = get_change(&mut connection, &file.name)?;
        let deed = Deed { actor: &settings.actor, at: found.at, reason: "" };
        let detail = serde_json::json!({ "held": found.held, "seed": found.seed, "sample": found.sample });
        record(&mut connection, &change.name, deed, "laws", &detail)?;
    }
    output.result(&found, &text(&found));
    Ok(u8::from(!found.held))
}

fn text(found: &Laws) -> String {
    let rows = found.tables.iter().map(|tried| {
        let counts = [tried.rows, tried.trials, tried.refused].map(|count| count.to_string());
        let mut cells = vec![tried.side.clone(), tried.table.clone()];
        cells.extend(counts);
        cells
    });
    let mut text = table(&["side", "table", "rows", "trials", "refused"], rows);
    let undeclared: Vec<_> = found.undeclared().collect();
    if !undeclared.is_empty() {
        text.push_str("\n\nLost, and not declared:");
    }
    for loss in undeclared {
        let (table, column, count) = (&loss.table, &loss.column, loss.count);
        let _ = write!(text, "\n✗ {table}.{column}, {count} times: {}", loss.law.sentence());
        let _ = write!(text, "\n    {}", loss.sample);
        let _ = write!(
            text,
            "\n    If that is meant, say so in the block that fills {table}: loss = {{ {column} = \"what stands there instead\" }}"
        );
    }
    for (what, count, first) in &found.faults {
        let _ = write!(text, "\n✗ {what}, {count} times\n    {first}");
    }
    if !found.declared.is_empty() {
        let rows = found.declared.iter().map(|loss| {
            let column = format!("{}.{}", loss.table, loss.column);
            vec![loss.block.clone(), column, loss.seen.to_string(), loss.reason.clone()]
        });
        let _ = write!(text, "\n\n{}", table(&["block", "declared loss", "seen", "what stands there instead"], rows));
    }
    if !found.one_way.is_empty() {
        let tables = found.one_way.join(", ");
        let _ = write!(
            text,
            "\n\nNo backward block is driven by {tables}: what new code writes there, the old model never learns."
        );
    }
    let verdict = if found.held { "The laws hold" } else { "The laws do not hold" };
    let _ = write!(text, "\n\n{verdict} (--sample {} --seed {}).", found.sample, found.seed);
    text
}
