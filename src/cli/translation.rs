//! `changeover verify` and `repair`

use std::collections::HashMap;
use std::fmt::Write as _;

use indicatif::ProgressBar;
use serde_json::json;

use super::{Output, Settings, installed, table};
use crate::primitives::ChangeName;
use crate::translation::{BlockDrift, VerifyOptions, resolve};

#[derive(Debug, clap::Args)]
pub struct VerifyArguments {
    /// The change; may be left out if only one is installed
    name: Option<ChangeName>,
    /// Differing rows shown for each block
    #[arg(long, value_name = "N", default_value_t = 5)]
    samples: usize,
    /// Keys compared by one statement
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = range_keys)]
    range_keys: usize,
}

#[derive(Debug, clap::Args)]
pub struct RepairArguments {
    /// The change; may be left out if only one is installed
    name: Option<ChangeName>,
}

fn range_keys(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=10_000_000) => Ok(number),
        _ => Err(String::from("a number from 1 to 10000000")),
    }
}

pub fn verify(settings: &Settings, output: &Output, arguments: VerifyArguments) -> anyhow::Result<u8> {
    let database = settings.open_app_database()?;
    let mut connection = database.connection()?;
    let change = installed(&mut connection, arguments.name.as_ref())?;
    let model = resolve(&mut connection, &change.file)?;
    let options = VerifyOptions { range_keys: arguments.range_keys, samples_max: arguments.samples };
    let mut bars = Bars::new(output);
    let found = crate::translation::verify(&mut connection, &model, options, &mut |block, keys| {
        bars.show(&format!("{} {}", block.id, block.target.name), keys, keys);
    })?;
    bars.finish();
    let drift: u64 = found.iter().map(BlockDrift::drift).sum();
    output.result(&json!({ "change": change.name, "drift": drift, "blocks": found }), &drift_text(&found, drift));
    Ok(u8::from(drift > 0))
}

pub fn repair(settings: &Settings, output: &Output, arguments: RepairArguments) -> anyhow::Result<u8> {
    let database = settings.open_app_database()?;
    let mut connection = database.connection()?;
    let change = installed(&mut connection, arguments.name.as_ref())?;
    let model = resolve(&mut connection, &change.file)?;
    let mut bars = Bars::new(output);
    let found = crate::translation::repair(&mut connection, &model, VerifyOptions::default(), &mut |block, keys| {
        bars.show(&format!("{} {}", block.id, block.target.name), keys, keys);
    })?;
    bars.finish();
    let left = crate::translation::verify(&mut connection, &model, VerifyOptions::default(), &mut |_, _| {})?;
    let repaired: u64 = found.iter().map(BlockDrift::drift).sum();
    let drift: u64 = left.iter().map(BlockDrift::drift).sum();
    let text = format!("{repaired} rows differed and were refreshed.\n{}", drift_text(&left, drift));
    output.result(&json!({ "change": change.name, "repaired": found, "drift": drift, "blocks": left }), &text);
    Ok(u8::from(drift > 0))
}

fn drift_text(found: &[BlockDrift], drift: u64) -> String {
    let rows = found.iter().map(|block| {
        let counts = [block.keys, block.missing, block.extra, block.different].map(|count| count.to_string());
        let mut cells = vec![block.block.clone(), block.target.clone()];
        cells.extend(counts);
        cells
    });
    let mut text = table(&["block", "into", "keys", "missing", "extra", "different"], rows);
    for block in found {
        for row in &block.samples {
            let image = |image: &Option<serde_json::Value>| {
                image.as_ref().map_or_else(|| String::from("–"), ToString::to_string)
            };
            let _ = write!(
                text,
                "\n{} {} key {}: expected {}, found {}",
                block.block,
                row.class.as_str(),
                row.key,
                image(&row.expected),
                image(&row.actual)
            );
        }
    }
    let _ = match drift {
        0 => write!(text, "\nNo drift."),
        _ => write!(text, "\n{drift} rows differ. `changeover repair` refreshes them."),
    };
    text
}

/// One progress bar for each block, shown when it begins.
struct Bars<'a> {
    output: &'a Output,
    bars: HashMap<String, ProgressBar>,
}

impl<'a> Bars<'a> {
    fn new(output: &'a Output) -> Self {
        Self { output, bars: HashMap::new() }
    }

    fn show(&mut self, label: &str, done: u64, total: u64) {
        if !self.bars.contains_key(label) {
            self.finish();
        }
        let bar = self.bars.entry(label.to_owned()).or_insert_with(|| self.output.progress(label, total));
        bar.set_length(total);
        bar.set_position(done);
    }

    fn finish(&mut self) {
        for bar in self.bars.values().filter(|bar| !bar.is_finished()) {
            bar.finish();
        }
    }
}
