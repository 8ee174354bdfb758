//! Filling the targets from the source model: every key of every forward block, in short transactions, by one or several workers. What is
//! done is stored in the transaction that did it, so a killed backfill goes on where it was. Never writes a source table.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant as Clock};

use serde::{Deserialize, Serialize};

use super::backfill_batch::Batches;
use super::backfill_pace::RateLimit;
use super::backfill_ranges::{Ranges, forget};
use super::backfill_telling::{BackfillStep, OnStep, Telling};
use super::backfill_throttle::{Limits, Throttle};
use super::backfill_worker::{Told, Worker};
use super::error::TranslationError;
use super::own::get_change;
use super::progress::{BackfillProgress, backfill_progress};
use crate::change::{Direction, Stage};
use crate::database::{Database, DatabaseConnection, DatabaseError, Dialect};
use crate::sql::model::{BlockModel, ChangeModel};

/// How a backfill runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackfillOptions {
    /// Keys in a batch; `None` adapts it so that a batch takes about 100 ms.
    pub batch_rows: Option<usize>,
    /// Connections that fill at once, on PostgreSQL; SQLite has one writer.
    pub workers: usize,
    /// Keys in a second, of all workers together; `None`: as fast as they go.
    pub rows_per_second: Option<u64>,
    /// Wait while a standby is further behind than this; `None`: never.
    pub lag_seconds_max: Option<u64>,
    /// Wait while a replication slot keeps that much more WAL than at the beginning; `None`: never.
    pub slot_megabytes_max: Option<u64>,
    /// Wait while more backends of others than this run a statement; `None`: never.
    pub active_backends_max: Option<u64>,
    /// Only this block, such as `f2`; the ones before it must have been filled.
    pub block: Option<String>,
    /// Start from the first key, even if an earlier backfill was not finished.
    pub restart: bool,
    /// If everything is filled already leave it so, instead of filling again from the first key.
    pub only_rest: bool,
}

impl Default for BackfillOptions {
    fn default() -> Self {
        Self {
            batch_rows: None,
            workers: 1,
            rows_per_second: None,
            lag_seconds_max: Some(10),
            slot_megabytes_max: Some(1_024),
            active_backends_max: None,
            block: None,
            restart: false,
            only_rest: false,
        }
    }
}

impl BackfillOptions {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            lag_seconds_max: self.lag_seconds_max,
            slot_megabytes_max: self.slot_megabytes_max,
            active_backends_max: self.active_backends_max,
        }
    }
}

/// What a backfill has done.
#[derive(Debug, Clone, Serialize)]
pub struct Filled {
    /// Each block's state: one that is not `finished` was stopped.
    pub blocks: Vec<BackfillProgress>,
    /// True if every block that was asked for is filled.
    pub finished: bool,
    /// Keys refreshed by this run.
    pub keys: u64,
    pub seconds: f64,
    /// WAL that the PostgreSQL server wrote meanwhile, whoever caused it.
    pub wal_bytes: Option<i64>,
}

/// How often a backfill looks whether another process has filled the parts that it holds.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Fills every forward block on one connection. `on_batch` is told the block, its keys done and in all, and returns false to stop. Returns
/// the state of each block; one that is not `finished` was stopped.
pub fn backfill(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    options: BackfillOptions,
    on_batch: &mut dyn FnMut(&BlockModel, u64, u64) -> bool,
) -> Result<Vec<BackfillProgress>, TranslationError> {
    let mut on_step = |step: &BackfillStep<'_>| on_batch(step.block, step.keys_done, step.keys_total);
    Ok(fill(&mut [connection], model, &options, &mut on_step)?.blocks)
}

/// Fills with as many connections as the options say workers.
pub fn backfill_with(
    database: &Database,
    model: &ChangeModel,
    options: &BackfillOptions,
    on_step: OnStep<'_>,
) -> Result<Filled, TranslationError> {
    let workers = match database.dialect() {
        Dialect::Postgres => options.workers.max(1),
        Dialect::Sqlite => 1,
    };
    let mut open = (0..workers).map(|_| DatabaseConnection::open(database.url())).collect::<Result<Vec<_>, _>>()?;
    let mut connections: Vec<&mut DatabaseConnection> = open.iter_mut().collect();
    fill(&mut connections, model, options, on_step)
}

/// The first connection also does what is done once.
fn fill(
    connections: &mut [&mut DatabaseConnection],
    model: &ChangeModel,
    options: &BackfillOptions,
    on_step: OnStep<'_>,
) -> Result<Filled, TranslationError> {
    let began = Clock::now();
    let first = first(connections)?;
    let blocks = blocks_to_fill(first, model, options)?;
    let wal = wal_position(first)?;
    let (mut finished, mut keys) = (true, 0u64);
    for block in blocks {
        let filling = Filling::new(model, block, options);
        finished = filling.run(connections, on_step)?;
        keys = keys.saturating_add(filling.keys.load(Ordering::Relaxed));
        if !finished {
            break;
        }
    }
    let first = self::first(connections)?;
    let wal_bytes = match (wal, wal_position(first)?) {
        (Some(from), Some(to)) => Some(to.saturating_sub(from)),
        _ => None,
    };
    let blocks = backfill_progress(first, &model.name)?;
    Ok(Filled { blocks, finished, keys, seconds: began.elapsed().as_secs_f64(), wal_bytes })
}

fn first<'a>(connections: &'a mut [&mut DatabaseConnection]) -> Result<&'a mut DatabaseConnection, TranslationError> {
    match connections.first_mut() {
        Some(connection) => Ok(connection),
        None => Err(TranslationError::Unsupported(String::from("a backfill needs a worker"))),
    }
}

/// The blocks that have to be filled, in order; what the options say is forgotten has been.
fn blocks_to_fill<'a>(
    connection: &mut DatabaseConnection,
    model: &'a ChangeModel,
    options: &BackfillOptions,
) -> Result<Vec<&'a BlockModel>, TranslationError> {
    refuse_stage(connection, model)?;
    let all: Vec<&BlockModel> = model.blocks_of(Direction::Forward).collect();
    let states = backfill_progress(connection, &model.name)?;
    let is_finished =
        |block: &BlockModel| states.iter().any(|state| state.block == block.id.to_string() && state.finished);
    let (wanted, later) = match &options.block {
        None => (all.clone(), Vec::new()),
        Some(id) => {
            let at = position(model, &all, id)?;
            let (before, rest) = all.split_at(at);
            if let Some(unfilled) = before.iter().find(|block| !is_finished(block)) {
                return Err(TranslationError::Unsupported(format!(
                    "block {id} may read what {} writes, which is not filled yet: fill that first",
                    unfilled.label()
                )));
            }
            let (wanted, later) = rest.split_at(rest.len().min(1));
            (wanted.to_vec(), later.to_vec())
        }
    };
    let again = wanted.iter().all(|block| is_finished(block)) && !options.only_rest;
    if options.restart || again {
        // Later blocks may read what this one writes, and a backfill's writes do not cascade.
        let forgotten: Vec<&BlockModel> = wanted.iter().chain(&later).copied().collect();
        forget(connection, &model.name, &forgotten)?;
        return Ok(wanted);
    }
    Ok(wanted.into_iter().filter(|block| !is_finished(block)).collect())
}

fn refuse_stage(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<(), TranslationError> {
    let change = get_change(connection, &model.name)?;
    if change.stage.translates_forward() {
        return Ok(());
    }
    Err(TranslationError::WrongStage {
        name: change.name,
        stage: change.stage,
        what: "a backfill",
        remedy: if change.stage == Stage::Off {
            "move it to `dualwrite` first, so that writes made meanwhile are translated too"
        } else {
            "its translation has ended"
        },
    })
}

fn position(model: &ChangeModel, forward: &[&BlockModel], id: &str) -> Result<usize, TranslationError> {
    if let Some(at) = forward.iter().position(|block| block.id.to_string() == id) {
        return Ok(at);
    }
    if model.blocks_of(Direction::Backward).any(|block| block.id.to_string() == id) {
        return Err(TranslationError::Unsupported(format!(
            "block {id} goes backward, and the old model is complete already: only forward blocks are filled. `changeover repair` refreshes \
             what differs of backward blocks"
        )));
    }
    Err(TranslationError::NoBlock(id.to_owned()))
}

/// Where PostgreSQL's WAL is, in bytes from its beginning.
fn wal_position(connection: &mut DatabaseConnection) -> Result<Option<i64>, DatabaseError> {
    match connection.dialect() {
        Dialect::Postgres => {
            let sql =
                "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS bytes WHERE NOT pg_is_in_recovery()";
            connection.find_row(sql, &[])?.map(|row| row.integer("bytes")).transpose()
        }
        Dialect::Sqlite => Ok(None),
    }
}

/// How many keys a block has, roughly and at once.
pub(super) fn estimated_keys(connection: &mut DatabaseConnection, block: &BlockModel) -> Result<u64, DatabaseError> {
    let table = &block.driving.table.sql;
    let sql = match connection.dialect() {
        // A partitioned table's own count is of all of its partitions, where it has been analysed.
        Dialect::Postgres => format!(
            "SELECT CASE WHEN reltuples > 0 THEN reltuples::bigint ELSE (SELECT count(*) FROM {table}) END AS keys \
             FROM pg_class WHERE oid = '{}'::regclass",
            table.replace('\'', "''")
        ),
        Dialect::Sqlite => format!("SELECT count(*) AS keys FROM {table}"),
    };
    Ok(u64::try_from(connection.get_row(&sql, &[])?.integer("keys")?).unwrap_or(0))
}

/// One block being filled: what its workers share.
pub(super) struct Filling<'a> {
    pub ranges: Ranges<'a>,
    pub batches: Batches<'a>,
    pub options: &'a BackfillOptions,
    pub throttle: Throttle,
    pub rate: RateLimit,
    pub stop: AtomicBool,
    /// Keys refreshed by this run.
    pub keys: std::sync::atomic::AtomicU64,
    /// The number of keys at which the target is analysed next.
    pub analyze_at: std::sync::atomic::AtomicU64,
}

impl<'a> Filling<'a> {
    fn new(model: &'a ChangeModel, block: &'a BlockModel, options: &'a BackfillOptions) -> Self {
        Self {
            ranges: Ranges { model, block },
            batches: Batches { model, block },
            options,
            throttle: Throttle::new(options.limits()),
            rate: RateLimit::new(options.rows_per_second),
            stop: AtomicBool::new(false),
            keys: 0.into(),
            analyze_at: 1_000.into(),
        }
    }

    pub fn block(&self) -> &'a BlockModel {
        self.batches.block
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs workers until no part is left or `on_step` says stop. Returns whether the block is finished.
    fn run(&self, connections: &mut [&mut DatabaseConnection], on_step: OnStep<'_>) -> Result<bool, TranslationError> {
        let workers = connections.len();
        let connection = first(connections)?;
        let total = estimated_keys(connection, self.block())?;
        self.batches.create_function(connection)?;
        if !self.ranges.prepare(connection, workers, total)? {
            return Ok(true);
        }
        let mut telling = Telling::new(self, (self.done(connection)?, total), on_step);
        loop {
            self.work(connections, &mut telling)?;
            let connection = first(connections)?;
            if self.settle(connection, &mut telling)? && self.ranges.finish(connection)? {
                self.analyze(connection)?;
                return Ok(true);
            }
            if self.is_stopped() {
                return Ok(false);
            }
            // Another process fills the parts that are left; if it dies they are free.
            telling.take(Told::Waits(String::from("another process fills the last parts")));
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Runs each connection's worker to its end, and tells what they did: a single worker on this thread, so that what `on_step` returns
    /// counts before the next batch.
    fn work(
        &self,
        connections: &mut [&mut DatabaseConnection],
        telling: &mut Telling<'_, '_>,
    ) -> Result<(), TranslationError> {
        if let [connection] = connections {
            return Worker::new(self, 0, |told| telling.take(told)).run(connection);
        }
        std::thread::scope(|scope| {
            let (sender, told) = channel();
            let threads: Vec<_> = connections
                .iter_mut()
                .enumerate()
                .map(|(number, connection)| {
                    let sender = sender.clone();
                    let mut worker = Worker::new(self, number, move |told| drop(sender.send(told)));
                    scope.spawn(move || worker.run(connection))
                })
                .collect();
            drop(sender);
            telling.follow(&told);
            let mut outcome = Ok(());
            for thread in threads {
                let ended = thread.join().unwrap_or_else(|_| {
                    Err(TranslationError::Unsupported(String::from("a worker of the backfill panicked")))
                });
                outcome = outcome.and(ended);
            }
            outcome
        })
    }

    /// Keys that were done before this run.
    fn done(&self, connection: &mut DatabaseConnection) -> Result<u64, DatabaseError> {
        let id = self.block().id.to_string();
        let states = backfill_progress(connection, &self.ranges.model.name)?;
        let done = states.iter().find(|state| state.block == id).map_or(0, |state| state.keys_done);
        Ok(u64::try_from(done).unwrap_or(0))
    }

    /// A plan made while a target was empty would scan it as it grows.
    pub fn analyze(&self, connection: &mut DatabaseConnection) -> Result<(), DatabaseError> {
        match connection.dialect() {
            Dialect::Postgres => connection.batch(&format!("ANALYZE {}", self.block().target.sql)),
            Dialect::Sqlite => Ok(()),
        }
    }
}
