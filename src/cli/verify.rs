//! `changeover verify` and `repair`

use std::collections::HashMap;
use std::fmt::Write as _;

use anyhow::bail;
use indicatif::ProgressBar;
use serde_json::json;

use super::{Output, Settings, installed, table};
use crate::database::DatabaseConnection;
use crate::primitives::ChangeName;
use crate::sql::model::ChangeModel;
use crate::translation::{
    BlockDrift, InstalledChange, Pass, PassOutcome, TranslationError, VerifyOptions, resolve, verify_keys,
};

#[derive(Debug, clap::Args)]
pub struct VerifyArguments {
    #[command(flatten)]
    which: Which,
    /// Just these keys of one block, as they are shown; nothing is stored
    #[arg(long, value_name = "KEY", num_args = 1.., requires = "block", conflicts_with_all = ["sample", "restart", "rate"])]
    keys: Vec<String>,
    /// Only this part of the keys, in percent, in ranges chosen at random; nothing is stored
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    sample: Option<f64>,
}

#[derive(Debug, clap::Args)]
pub struct RepairArguments {
    #[command(flatten)]
    which: Which,
    /// Only look, and show what would be refreshed
    #[arg(long)]
    dry_run: bool,
    /// Look only where the last verify or the sentinel found drift
    #[arg(long)]
    found: bool,
}

/// Which keys, and how fast.
#[derive(Debug, clap::Args)]
struct Which {
    /// The change; may be left out if only one is installed
    name: Option<ChangeName>,
    /// Only this block: f1, b2, …; may be given several times
    #[arg(long, value_name = "BLOCK")]
    block: Vec<String>,
    /// Begin with the first key although an earlier run was not finished
    #[arg(long)]
    restart: bool,
    /// At most this many keys a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Differing rows shown for each block
    #[arg(long, value_name = "N", default_value_t = 5)]
    samples: usize,
    /// Keys compared by one statement
    #[arg(long, value_name = "N", default_value_t = VerifyOptions::default().range_keys, value_parser = range_keys)]
    range_keys: usize,
}

fn range_keys(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=10_000_000) => Ok(number),
        _ => Err(String::from("a number from 1 to 10000000")),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 100.0 => Ok(number),
        _ => Err(String::from("a number above 0, at most 100")),
    }
}

impl Which {
    fn pass<'m>(&self, model: &'m ChangeModel) -> anyhow::Result<Pass<'m>> {
        Ok(Pass {
            model,
            options: VerifyOptions { range_keys: self.range_keys, samples_max: self.samples },
            restart: self.restart,
            blocks: model.blocks_named(&self.block).map_err(TranslationError::NoBlock)?,
            rate: self.rate,
            sample_percent: None,
        })
    }
}

pub fn verify(settings: &Settings, output: &Output, arguments: VerifyArguments) -> anyhow::Result<u8> {
    let database = settings.open_app_database()?;
    let mut connection = database.connection()?;
    let change = installed(&mut connection, arguments.which.name.as_ref())?;
    let model = resolve(&mut connection, &change.file)?;
    let pass = Pass { sample_percent: arguments.sample, ..arguments.which.pass(&model)? };
    if !arguments.keys.is_empty() {
        return verify_some(output, &mut connection, &pass, &change, &arguments.keys);
    }
    let mut bars = Bars::new(output);
    let outcome = pass.verify(&mut connection, &mut |block, done, total| {
        bars.show(&format!("{} {}", block.id, block.target.name), done, total);
        true
    })?;
    bars.finish();
    let drift = outcome.drift();
    let document = json!({
        "change": change.name, "drift": drift, "resumed": outcome.resumed, "blocks": outcome.blocks,
    });
    output.result(&document, &format!("{}{}", resumed_text(&outcome), drift_text(&outcome.blocks, drift)));
    Ok(u8::from(drift > 0))
}

fn verify_some(
    output: &Output,
    connection: &mut DatabaseConnection,
    pass: &Pass<'_>,
    change: &InstalledChange,
    keys: &[String],
) -> anyhow::Result<u8> {
    let [id] = pass.blocks.as_slice() else { bail!("--keys are those of one block: pass --block once") };
    let Some(block) = pass.model.blocks.iter().find(|block| block.id == *id) else {
        bail!(TranslationError::NoBlock(id.to_string()))
    };
    let found = vec![verify_keys(connection, block, keys, pass.options.samples_max)?];
    let drift = found.iter().map(BlockDrift::drift).sum();
    output.result(&json!({ "change": change.name, "drift": drift, "blocks": found }), &drift_text(&found, drift));
    Ok(u8::from(drift > 0))
}

pub fn repair(settings: &Settings, output: &Output, arguments: RepairArguments) -> anyhow::Result<u8> {
    let database = settings.open_app_database()?;
    let mut connection = database.connection()?;
    let change = installed(&mut connection, arguments.which.name.as_ref())?;
    let model = resolve(&mut connection, &change.file)?;
    let pass = arguments.which.pass(&model)?;
    let mut bars = Bars::new(output);
    let mut show = |block: &crate::sql::model::BlockModel, done, total| {
        bars.show(&format!("{} {}", block.id, block.target.name), done, total);
        true
    };
    if arguments.dry_run {
        let found = match arguments.found {
            true => pass.look_at_found(&mut connection, &mut show)?,
            false => pass.verify(&mut connection, &mut show)?.blocks,
        };
        bars.finish();
        let drift: u64 = found.iter().map(BlockDrift::drift).sum();
        let text = format!("{}\nNothing was written.", drift_text(&found, drift));
        output.result(&json!({ "change": change.name, "dry_run": true, "drift": drift, "blocks": found }), &text);
        return Ok(u8::from(drift > 0));
    }
    let done = pass.repair(&mut connection, arguments.found, settings.deed(""), &mut show)?;
    bars.finish();
    let drift: u64 = done.left.iter().map(BlockDrift::drift).sum();
    let document = json!({
        "change": change.name, "repaired": done.found.blocks, "repaired_rows": done.found.repaired,
        "resumed": done.found.resumed, "drift": drift, "blocks": done.left,
    });
    let text = format!(
        "{}{} rows differed; {} of them are as their block says now.\n{}",
        resumed_text(&done.found),
        done.found.drift(),
        done.found.repaired,
        drift_text(&done.left, drift)
    );
    output.result(&document, &text);
    Ok(u8::from(drift > 0))
}

fn resumed_text(outcome: &PassOutcome) -> String {
    let resumed = outcome.resumed.map(|began| {
        format!("Went on where a run begun at {began} was, with what it had found; --restart begins anew.\n")
    });
    resumed.unwrap_or_default()
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
            let what = match &row.error {
                Some(error) => format!("cannot be computed: {error}"),
                None => format!("expected {}, found {}", image(&row.expected), image(&row.actual)),
            };
            let _ = write!(text, "\n{} {} key {}: {what}", block.block, row.class.as_str(), row.key);
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
