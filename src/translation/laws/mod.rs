//! Round-trip laws: random rows are written to as code of either side would write, in transactions that are always rolled back, and
//! what both models can hold must come back as it was. What cannot is a loss; a change file declares each of its losses, with a reason.

mod findings;
mod journal;
mod sample;
mod stored;
mod trial;
mod watch;

use std::time::{Duration, Instant as Clock};

use serde::{Deserialize, Serialize};

use crate::change::{ChangeFile, Direction, OnError, Stage};
use crate::database::{DatabaseConnection, DatabaseError, Dialect};
use crate::primitives::{ChangeName, Instant};
use crate::sql::catalogue::Table;
use crate::sql::model::ChangeModel;
use crate::sql::pending::Work;
use crate::sql::{journal as journal_sql, postgres, sqlite};

use super::backfill_batch::fill_in_transaction;
use super::basis;
use super::error::TranslationError;
use super::own::{InstalledChange, are_tables_there, create_tables, find_change};
use super::progress::backfill_progress;
use findings::Findings;
pub use findings::{DeclaredLoss, Law, LossFound, TableTrials};
use sample::{Random, sampled_keys, trials_of};
pub use stored::{create as create_laws_table, last_laws, store_laws};
use trial::{Bench, Trial};
use watch::{Watch, watches};

/// How long writers of the change's tables wait for one of our transactions; then they get as long a turn.
const TURN: Duration = Duration::from_millis(200);
/// Attempts at a transaction that cannot have its locks in time.
const ATTEMPTS: u32 = 20;

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct LawOptions {
    /// Rows of each source table.
    pub sample: usize,
    /// The same seed tries the same on the same rows.
    pub seed: u64,
}

/// What a run found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Laws {
    pub change: ChangeName,
    pub at: Instant,
    pub sample: usize,
    pub seed: u64,
    /// True if every loss is declared and nothing else was wrong.
    pub held: bool,
    pub tables: Vec<TableTrials>,
    /// What was lost, declared or not.
    pub losses: Vec<LossFound>,
    /// What the change file declares.
    pub declared: Vec<DeclaredLoss>,
    /// What no declaration can excuse: what, how often, the first one.
    pub faults: Vec<(String, u64, String)>,
    /// Tables of the new model from which nothing leads back: what new code writes there, the old model never learns.
    pub one_way: Vec<String>,
}

impl Laws {
    /// Losses that no block declares.
    pub fn undeclared(&self) -> impl Iterator<Item = &LossFound> {
        self.losses.iter().filter(|loss| loss.block.is_none())
    }
}

/// Tries the laws of a change. Nothing stays behind. `on_trial` is told how many of how many trials are done.
///
/// Of an installed and filled change it runs in short transactions; other writers of its tables wait for one at a time. Before that
/// the whole new model is filled in one transaction, as [`what_if`](super::what_if) does: on a large database run it on a copy.
///
/// # Errors
/// A change that is complete: nothing is translated any more.
pub fn laws(
    connection: &mut DatabaseConnection,
    file: &ChangeFile,
    options: LawOptions,
    on_trial: &mut dyn FnMut(usize, usize),
) -> Result<Laws, TranslationError> {
    let installed = find_change(connection, &file.name)?;
    if let Some(change) = installed.as_ref().filter(|change| change.stage == Stage::Complete) {
        return Err(TranslationError::WrongStage {
            name: change.name.clone(),
            stage: change.stage,
            what: "trying laws",
            remedy: "nothing is translated any more",
        });
    }
    let mut model = super::resolve(connection, file)?;
    for block in &mut model.blocks {
        // A failure must be seen, not queued.
        block.on_error = Some(OnError::Fail);
    }
    let watches = watches(connection, file, &model)?;
    let mut findings = Findings::new(&watches);
    let ground = Ground {
        is_filled: is_filled(connection, &model, installed.as_ref())?,
        installed,
        watches: &watches,
        model: &model,
    };
    ground.run(connection, options, &mut findings, on_trial)?;
    Ok(conclude(file, options, &watches, findings))
}

fn conclude(file: &ChangeFile, options: LawOptions, watches: &[Watch], findings: Findings) -> Laws {
    let losses = findings.losses();
    let faults: Vec<_> =
        findings.faults.iter().map(|(what, (count, first))| (what.clone(), *count, first.clone())).collect();
    let one_way = watches.iter().filter(|watch| watch.is_new && !watch.leads_back).map(|watch| watch.table.shown());
    Laws {
        change: file.name.clone(),
        at: jiff::Timestamp::now().into(),
        sample: options.sample,
        seed: options.seed,
        held: faults.is_empty() && losses.iter().all(|loss| loss.block.is_some()),
        declared: findings.declared(watches),
        tables: findings.tables.into_values().collect(),
        losses,
        faults,
        one_way: one_way.collect(),
    }
}

/// True if every forward block has been filled, and is being kept.
fn is_filled(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    installed: Option<&InstalledChange>,
) -> Result<bool, DatabaseError> {
    if !installed.is_some_and(|change| change.stage.translates_forward()) {
        return Ok(false);
    }
    let progress = backfill_progress(connection, &model.name)?;
    let is_done = |id: String| progress.iter().any(|done| done.block == id && done.finished);
    Ok(model.blocks_of(Direction::Forward).all(|block| is_done(block.id.to_string())))
}

/// A source table by its number, its sampled rows, and what is done to them.
type Queued = (usize, Vec<Vec<String>>, Vec<Trial>);

/// What the trials stand on.
struct Ground<'a> {
    installed: Option<InstalledChange>,
    is_filled: bool,
    watches: &'a [Watch],
    model: &'a ChangeModel,
}

impl Ground<'_> {
    fn run(
        &self,
        connection: &mut DatabaseConnection,
        options: LawOptions,
        findings: &mut Findings,
        on_trial: &mut dyn FnMut(usize, usize),
    ) -> Result<(), TranslationError> {
        let mut random = Random::new(options.seed);
        if !self.is_filled {
            // Rows of the new model are there only inside of the transaction that fills it.
            return self.in_turn(connection, |connection| {
                let mut findings_here = Findings::new(self.watches);
                let queue = self.queue(connection, options, &mut Random::new(options.seed), &mut findings_here)?;
                self.work(connection, &queue, None, &mut findings_here, on_trial)?;
                *findings = findings_here;
                Ok(())
            });
        }
        let queue = self.queue(connection, options, &mut random, findings)?;
        let total: usize = queue.iter().map(|(_, _, trials)| trials.len()).sum();
        let mut done = 0;
        for (table, rows, trials) in queue {
            let mut next = 0;
            while next < trials.len() {
                let began = Clock::now();
                let left = vec![(table, rows.clone(), trials.get(next..).unwrap_or_default().to_vec())];
                next += self.in_turn(connection, |connection| {
                    self.work(connection, &left, Some(TURN), findings, &mut |count, _| {
                        on_trial(done + next + count, total)
                    })
                })?;
                std::thread::sleep(began.elapsed().min(Duration::from_secs(1)));
            }
            done += trials.len();
        }
        Ok(())
    }

    /// Each source table with its sampled rows and what is done to them.
    fn queue(
        &self,
        connection: &mut DatabaseConnection,
        options: LawOptions,
        random: &mut Random,
        findings: &mut Findings,
    ) -> Result<Vec<Queued>, DatabaseError> {
        let mut queue = Vec::new();
        for (number, watch) in self.watches.iter().enumerate() {
            if !watch.is_source || watch.key.is_empty() {
                continue;
            }
            let rows = sampled_keys(connection, watch, options.sample, random)?;
            if let Some(trials) = findings.tables.get_mut(&number) {
                trials.rows = u64::try_from(rows.len()).unwrap_or(u64::MAX);
            }
            // A small table's rows are tried again and again, each time in another way.
            let trials = rows.iter().cycle().take(if rows.is_empty() { 0 } else { options.sample.max(rows.len()) });
            let trials = trials.flat_map(|row| trials_of(number, watch, row, random)).collect();
            queue.push((number, rows, trials));
        }
        Ok(queue)
    }

    /// Runs trials until all are done or the turn is over; says how many were.
    fn work(
        &self,
        connection: &mut DatabaseConnection,
        queue: &[Queued],
        turn: Option<Duration>,
        findings: &mut Findings,
        on_trial: &mut dyn FnMut(usize, usize),
    ) -> Result<usize, TranslationError> {
        let tables: Vec<&Table> = self.watches.iter().map(|watch| &watch.table).collect();
        for statement in journal_sql::create(self.model.dialect, &tables) {
            connection.batch(&statement)?;
        }
        let total: usize = queue.iter().map(|(_, _, trials)| trials.len()).sum();
        let began = Clock::now();
        let mut done = 0;
        for (table, rows, trials) in queue {
            let Some(watch) = self.watches.get(*table) else { continue };
            for statement in journal_sql::keep(&watch.table, &watch.key, rows) {
                connection.batch(&statement)?;
            }
            for trial in trials {
                if done > 0 && turn.is_some_and(|turn| began.elapsed() > turn) {
                    return Ok(done);
                }
                trial.run(connection, &mut Bench { model: self.model, watches: self.watches, findings })?;
                done += 1;
                on_trial(done, total);
            }
        }
        Ok(done)
    }

    /// A transaction in which the change translates both ways, as at `live`; rolled back at its end, tried again while it cannot
    /// have its locks.
    fn in_turn<T>(
        &self,
        connection: &mut DatabaseConnection,
        mut work: impl FnMut(&mut DatabaseConnection) -> Result<T, TranslationError>,
    ) -> Result<T, TranslationError> {
        let mut attempt = 1;
        loop {
            let outcome = connection.in_rolled_back_transaction(|connection| {
                self.prepare(connection)?;
                work(connection)
            });
            match outcome {
                Err(TranslationError::Database(error)) if error.is_retryable() && attempt < ATTEMPTS => {
                    tracing::debug!(attempt, %error, "waiting for a turn on the application's tables");
                    std::thread::sleep(Duration::from_millis(100 + u64::from(attempt) * 37 % 400));
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn prepare(&self, connection: &mut DatabaseConnection) -> Result<(), TranslationError> {
        let model = self.model;
        if model.dialect == Dialect::Postgres {
            connection.batch("SET LOCAL lock_timeout = '500ms'")?;
        }
        if self.installed.is_none() {
            for statement in objects(connection, model)? {
                connection.batch(&statement)?;
            }
        }
        if !self.is_filled {
            fill_in_transaction(connection, model)?;
        }
        for statement in translating(model, self.installed.is_none())? {
            connection.batch(&statement)?;
        }
        Ok(())
    }
}

/// What refreshes need, but no trigger.
fn objects(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<Vec<String>, DatabaseError> {
    let mut statements = if model.dialect == Dialect::Postgres { postgres::shared_objects() } else { Vec::new() };
    if !are_tables_there(connection)? {
        statements.extend(create_tables(model.dialect));
    }
    statements.extend(basis::create(model));
    statements.extend(match model.dialect {
        Dialect::Postgres => postgres::block_functions(model),
        Dialect::Sqlite => sqlite::block_objects(model),
    });
    Ok(statements)
}

/// What makes the triggers translate both ways, as at `live`.
fn translating(model: &ChangeModel, is_new: bool) -> Result<Vec<String>, TranslationError> {
    let work = Work::Translate(Stage::Live);
    let directions = [Direction::Forward, Direction::Backward];
    match model.dialect {
        Dialect::Postgres => {
            let mut statements: Vec<String> =
                directions.iter().flat_map(|direction| postgres::trigger_functions(model, *direction, work)).collect();
            if is_new {
                let triggers = directions.iter().flat_map(|direction| postgres::triggers(model, *direction));
                statements.extend(triggers.map(|trigger| trigger.create));
            }
            Ok(statements)
        }
        Dialect::Sqlite => Ok(sqlite::switch(model, work, work)?),
    }
}
