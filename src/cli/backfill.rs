//! `changeover backfill`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Clock};

use anyhow::Context;
use indicatif::ProgressBar;
use serde_json::json;

use super::{Output, Settings, installed, table};
use crate::primitives::ChangeName;
use crate::sql::model::ChangeModel;
use crate::translation::{BackfillOptions, BackfillStep, Filled, backfill_with, resolve};

/// How often `--json` prints a line while it runs.
const LINE_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The change; may be left out if only one is installed
    name: Option<ChangeName>,
    /// Fill this block only, such as f2; the ones before it must have been filled
    #[arg(long, value_name = "BLOCK")]
    block: Option<String>,
    /// Connections that fill at once (PostgreSQL; SQLite has one writer)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// Keys in a batch [default: adapted so that a batch takes about 100 ms]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_rows: Option<u32>,
    /// At most this many keys in a second, of all workers together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rows_per_second: Option<u64>,
    /// Wait while a standby is further behind than this; 0: never wait for standbys
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    max_lag: u64,
    /// Wait while a replication slot keeps that many megabytes of WAL more than at the beginning; 0: never wait for slots
    #[arg(long, value_name = "MEGABYTES", default_value_t = 1_024)]
    max_slot_mb: u64,
    /// Wait while more connections of others than this run a statement
    #[arg(long, value_name = "N")]
    max_active_backends: Option<u64>,
    /// Start from the first key although an earlier backfill was not finished
    #[arg(long)]
    restart: bool,
    /// Only tell how many keys there are and how long it will take: a sample is filled, timed and rolled back
    #[arg(long, conflicts_with_all = ["restart", "block"])]
    estimate: bool,
}

impl Arguments {
    fn options(&self) -> anyhow::Result<BackfillOptions> {
        let unless_zero = |limit: u64| (limit > 0).then_some(limit);
        Ok(BackfillOptions {
            batch_rows: self.batch_rows.map(usize::try_from).transpose()?,
            workers: usize::try_from(self.workers)?,
            rows_per_second: self.rows_per_second,
            lag_seconds_max: unless_zero(self.max_lag),
            slot_megabytes_max: unless_zero(self.max_slot_mb),
            active_backends_max: self.max_active_backends,
            block: self.block.clone(),
            restart: self.restart,
            only_rest: false,
        })
    }
}

pub fn run(settings: &Settings, output: &Output, arguments: Arguments) -> anyhow::Result<u8> {
    let database = settings.open_app_database()?;
    let (name, model) = {
        let mut connection = database.connection()?;
        let change = installed(&mut connection, arguments.name.as_ref())?;
        (change.name, resolve(&mut connection, &change.file)?)
    };
    if arguments.estimate {
        return super::backfill_estimate::run(output, &database, &model);
    }
    let options = arguments.options()?;
    let interrupted = interrupts()?;
    let mut shown = Shown::new(output);
    let outcome = backfill_with(&database, &model, &options, &mut |step| {
        shown.show(step);
        !interrupted.load(Ordering::Relaxed)
    });
    shown.finish();
    let filled =
        outcome.context("what has been filled stays, and the next `changeover backfill` goes on from there")?;
    tell(output, &name, &model, &filled);
    Ok(u8::from(!filled.finished))
}

/// Set by the first Ctrl-C or SIGTERM; the second one ends the program as it would without us.
fn interrupts() -> anyhow::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(String::from("signals")).spawn(move || {
        runtime.block_on(async {
            wait_for_signal().await;
            flag.store(true, Ordering::Relaxed);
            wait_for_signal().await;
            std::process::exit(130);
        });
    })?;
    Ok(interrupted)
}

async fn wait_for_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    drop(tokio::signal::ctrl_c().await);
}

fn tell(output: &Output, name: &ChangeName, model: &ChangeModel, filled: &Filled) {
    let rows = model.blocks.iter().filter_map(|block| {
        let id = block.id.to_string();
        let state = filled.blocks.iter().find(|state| state.block == id)?;
        let word = if state.finished { "filled" } else { "not finished" };
        Some(vec![id, block.target.name.clone(), state.keys_done.to_string(), word.to_owned()])
    });
    let wal = filled.wal_bytes.map_or_else(String::new, |bytes| format!(", {} of WAL written meanwhile", size(bytes)));
    let next = if filled.finished {
        format!("Next: changeover verify {name}")
    } else {
        format!("Stopped; every batch so far stays. Go on with: changeover backfill {name}")
    };
    let text = format!(
        "{}\n{} keys in {:.1} s{wal}.\n{next}",
        table(&["block", "into", "keys", "state"], rows),
        filled.keys,
        filled.seconds,
    );
    output.result(
        &json!({
            "change": name, "finished": filled.finished, "keys": filled.keys, "seconds": filled.seconds,
            "wal_bytes": filled.wal_bytes, "blocks": filled.blocks,
        }),
        &text,
    );
}

/// `12.3 MB`
pub fn size(bytes: i64) -> String {
    let mut parts = bytes.max(0);
    let mut rest = 0;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if parts < 1_024 {
            return if unit == "bytes" {
                format!("{parts} bytes")
            } else {
                format!("{parts}.{} {unit}", rest * 10 / 1_024)
            };
        }
        (parts, rest) = (parts / 1_024, parts % 1_024);
    }
    format!("{parts}.{} TB", rest * 10 / 1_024)
}

/// A progress bar for each block on a terminal; with `--json` a line on stderr every second.
struct Shown<'a> {
    output: &'a Output,
    bar: Option<(String, ProgressBar)>,
    line_at: Option<Clock>,
}

impl<'a> Shown<'a> {
    fn new(output: &'a Output) -> Self {
        Self { output, bar: None, line_at: None }
    }

    fn show(&mut self, step: &BackfillStep<'_>) {
        if self.output.is_json() {
            self.line(step);
            return;
        }
        let label = step.block.label();
        if self.bar.as_ref().is_none_or(|(shown, _)| *shown != label) {
            self.finish();
            self.bar = Some((label.clone(), self.output.progress(&label, step.keys_total)));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_length(step.keys_total);
            bar.set_position(step.keys_done);
            bar.set_message(match &step.throttled {
                Some(why) => format!("{label}, throttled: {why}"),
                None => label,
            });
        }
    }

    fn line(&mut self, step: &BackfillStep<'_>) {
        if self.line_at.is_some_and(|at| at.elapsed() < LINE_EVERY) {
            return;
        }
        self.line_at = Some(Clock::now());
        self.output.line(&json!({
            "block": step.block.id.to_string(), "into": step.block.target.name, "keys_done": step.keys_done,
            "keys_total": step.keys_total, "keys_per_second": step.keys_per_second.round(),
            "eta_seconds": step.eta.map(|eta| eta.as_secs()), "throttled": step.throttled,
        }));
    }

    fn finish(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish();
        }
    }
}
