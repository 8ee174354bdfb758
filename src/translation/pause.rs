//! The kill switch: a pause makes every trigger function return at once, records the gap that this leaves, and a resume closes it again.
//!
//! A resume switches translation on *first*, so that nothing new is missed; then waits for the transactions that wrote while it was off;
//! then compares and refreshes what was written in the gap; and only then is the gap closed. If it dies in the middle, the gap is still
//! open, and the next resume does it all again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::change::{Direction, Stage};
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Row, Value};
use crate::primitives::{ChangeName, Instant};
use crate::sql::model::{BlockModel, ChangeModel, TableModel};
use crate::sql::names::own;
use crate::sql::pending::Work;
use crate::sql::{gap as gap_sql, postgres, sqlite};

use super::error::TranslationError;
use super::install::with_lock_timeout;
use super::objects;
use super::own::{Deed, InstalledChange, create_missing_tables, get_change, is_table_there, lock_change, record};
use super::repair::refresh_keys;
use super::resolve::resolve;
use super::retry::{Due, retry_pending};
use super::verify::{VerifyOptions, verify_block};
use super::writers::wait_for_writers;

/// A time in which nothing was translated.
#[derive(Debug, Clone, Serialize)]
pub struct Gap {
    pub id: i64,
    pub stage: String,
    pub paused_at: Instant,
    pub paused_by: String,
    pub reason: String,
    /// True if the keys of what was written meanwhile are recorded.
    pub records_keys: bool,
    /// True if the source tables that were written meanwhile are noted.
    pub notes_tables: bool,
    /// Set once translation is on again and only the re-verification is left.
    pub resumed_at: Option<Instant>,
    pub resumed_by: Option<String>,
}

/// Whose rows stand where both models were written during a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authority {
    Old,
    New,
}

impl Authority {
    /// Until everybody is on the new side, the old model stands.
    #[must_use]
    pub fn by_default(stage: Stage) -> Self {
        match stage {
            Stage::Off | Stage::DualWrite | Stage::Shadow | Stage::Live => Self::Old,
            Stage::RampDown | Stage::Complete => Self::New,
        }
    }

    /// The direction that goes first, and wins.
    fn directions(self) -> [Direction; 2] {
        match self {
            Self::Old => [Direction::Forward, Direction::Backward],
            Self::New => [Direction::Backward, Direction::Forward],
        }
    }
}

/// A key of each model that was written during the gap, both deciding the same rows.
#[derive(Debug, Clone, Serialize)]
pub struct Conflict {
    pub forward_block: String,
    pub forward_key: String,
    pub backward_block: String,
    pub backward_key: String,
    pub won: Authority,
}

/// What a resume did.
#[derive(Debug, Clone, Serialize)]
pub struct Resumed {
    pub gap: Gap,
    /// Blocks that were compared key by key, because something they depend on was written in the gap.
    pub verified: Vec<String>,
    /// Keys refreshed.
    pub repaired: u64,
    /// Keys of both models, one of which had to yield.
    pub conflicts: Vec<Conflict>,
    /// Keys that could not be refreshed and wait in the queue.
    pub pending: i64,
}

/// The oldest gap that is not closed.
pub fn open_gap(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<Option<Gap>, DatabaseError> {
    if !is_table_there(connection, "gap")? {
        return Ok(None);
    }
    let sql = format!(
        "SELECT * FROM {} WHERE change = $1 AND closed_at IS NULL ORDER BY id LIMIT 1",
        own(connection.dialect(), "gap")
    );
    connection.find_row(&sql, &[Value::from(change.as_str())])?.as_ref().map(gap).transpose()
}

fn gap(row: &Row) -> Result<Gap, DatabaseError> {
    Ok(Gap {
        id: row.integer("id")?,
        stage: row.text("stage")?,
        paused_at: Instant::from_micros(row.integer("paused_at")?),
        paused_by: row.text("paused_by")?,
        reason: row.text("reason")?,
        records_keys: row.boolean("records_keys")?,
        notes_tables: row.boolean("notes_tables")?,
        resumed_at: row.find_integer("resumed_at")?.map(Instant::from_micros),
        resumed_by: row.find_text("resumed_by")?,
    })
}

/// What the trigger functions of a direction do at `stage`, given the open gap.
#[must_use]
pub fn work(stage: Stage, direction: Direction, gap: Option<&Gap>) -> Work {
    let translates = match direction {
        Direction::Forward => stage.translates_forward(),
        Direction::Backward => stage.translates_backward(),
    };
    match gap {
        _ if !translates => Work::Nothing,
        Some(gap) if gap.resumed_at.is_none() => Work::Paused { records_keys: gap.records_keys },
        _ => Work::Translate(stage),
    }
}

/// The statements that make the triggers do what the stage and the gap say. No table is locked.
pub fn switch(model: &ChangeModel, stage: Stage, gap: Option<&Gap>) -> Result<Vec<String>, TranslationError> {
    let forward = work(stage, Direction::Forward, gap);
    let backward = work(stage, Direction::Backward, gap);
    Ok(match model.dialect {
        Dialect::Postgres => {
            let mut statements = postgres::trigger_functions(model, Direction::Forward, forward);
            statements.extend(postgres::trigger_functions(model, Direction::Backward, backward));
            statements
        }
        Dialect::Sqlite => sqlite::switch(model, forward, backward)?,
    })
}

/// Makes all functions return at once and opens a gap. With `records_keys` the keys of what is written meanwhile go to the pending
/// queue; where both directions are on they always do, since otherwise nobody could tell afterwards which model was written.
///
/// If the change cannot be resolved any more (its target was dropped or altered, which may be just why it is being paused), its functions
/// are found by their names and nothing is noted: the resume then compares everything.
pub fn pause(
    connection: &mut DatabaseConnection,
    change: &InstalledChange,
    records_keys: bool,
    deed: Deed<'_>,
) -> Result<Gap, TranslationError> {
    let model = match resolve(connection, &change.file) {
        Ok(model) => Some(model),
        Err(TranslationError::Database(error)) if error.is_disconnected() => return Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "the change does not fit the database any more; its triggers are found by name");
            None
        }
    };
    with_lock_timeout(connection, |connection| {
        let change = lock_change(connection, &change.name)?;
        if !change.stage.translates_forward() {
            return Err(TranslationError::WrongStage {
                name: change.name,
                stage: change.stage,
                what: "a pause",
                remedy: "nothing is being translated, so there is nothing to pause",
            });
        }
        create_missing_tables(connection)?;
        if let Some(gap) = open_gap(connection, &change.name)? {
            return Err(TranslationError::Paused { name: change.name, since: gap.paused_at, reason: gap.reason });
        }
        let records_keys = model.is_some() && (records_keys || change.stage.translates_backward());
        let gap = open(connection, &change, (records_keys, model.is_some()), deed)?;
        let statements = match &model {
            Some(model) => [gap_sql::create(model), switch(model, change.stage, Some(&gap))?].concat(),
            None => silence_by_name(connection, &change.name)?,
        };
        objects::make(connection, &change.name, &statements)?;
        let detail = json!({ "stage": change.stage, "records_keys": records_keys });
        record(connection, &change.name, deed, "pause", &detail)?;
        Ok(gap)
    })
}

/// What silences every trigger of a change of which nothing but the name is known.
fn silence_by_name(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<Vec<String>, DatabaseError> {
    let rows = connection.query(&gap_sql::triggers_by_name(connection.dialect(), change), &[])?;
    rows.iter().map(|row| row.text("silence")).collect()
}

fn open(
    connection: &mut DatabaseConnection,
    change: &InstalledChange,
    (records_keys, notes_tables): (bool, bool),
    deed: Deed<'_>,
) -> Result<Gap, TranslationError> {
    let sql = format!(
        "INSERT INTO {} (change, stage, paused_at, paused_by, reason, records_keys, notes_tables) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        own(connection.dialect(), "gap")
    );
    let values = [
        Value::from(change.name.as_str()),
        Value::from(change.stage.as_str()),
        Value::from(deed.at.as_micros()),
        Value::from(deed.actor),
        Value::from(deed.reason),
        Value::from(i64::from(records_keys)),
        Value::from(i64::from(notes_tables)),
    ];
    connection.execute(&sql, &values)?;
    Ok(open_gap(connection, &change.name)?.ok_or(DatabaseError::NoRow)?)
}

/// Switches translation on again, waits for the writers of the gap, and refreshes what they wrote.
pub fn resume(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    authority: Option<Authority>,
    deed: Deed<'_>,
) -> Result<Resumed, TranslationError> {
    let (change, gap) = switch_on(connection, model, deed)?;
    let sources = all_sources(model);
    if !wait_for_writers(connection, &sources)? {
        return Err(TranslationError::WritersOpen { name: change.name });
    }
    let authority = authority.unwrap_or_else(|| Authority::by_default(change.stage));
    let mut resumed = Resumed { gap, verified: Vec::new(), repaired: 0, conflicts: Vec::new(), pending: 0 };
    if resumed.gap.records_keys {
        resumed.conflicts = settle_conflicts(connection, model, authority)?;
    } else {
        verify_touched(connection, model, (change.stage, authority), &mut resumed)?;
    }
    let retried = retry_pending(connection, &directed(model, authority), Due::All)?;
    resumed.repaired += retried.healed;
    resumed.pending = retried.pending;
    close(connection, model, &resumed, deed)?;
    Ok(resumed)
}

/// The first step: translation is on from here.
fn switch_on(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    deed: Deed<'_>,
) -> Result<(InstalledChange, Gap), TranslationError> {
    with_lock_timeout(connection, |connection| {
        let change = lock_change(connection, &model.name)?;
        let Some(mut gap) = open_gap(connection, &model.name)? else {
            return Err(TranslationError::NotPaused(change.name));
        };
        gap.resumed_at = Some(deed.at);
        gap.resumed_by = Some(deed.actor.to_owned());
        objects::make(connection, &change.name, &switch(model, change.stage, Some(&gap))?)?;
        let sql = format!("UPDATE {} SET resumed_at = $1, resumed_by = $2 WHERE id = $3", own(model.dialect, "gap"));
        connection.execute(&sql, &[deed.at.as_micros().into(), deed.actor.into(), gap.id.into()])?;
        Ok((change, gap))
    })
}

fn all_sources(model: &ChangeModel) -> Vec<TableModel> {
    let mut sources = model.sources_of(Direction::Forward);
    sources.extend(model.sources_of(Direction::Backward));
    sources
}

/// The model with the winning direction's blocks first.
fn directed(model: &ChangeModel, authority: Authority) -> ChangeModel {
    let mut model = model.clone();
    let [first, _] = authority.directions();
    model.blocks.sort_by_key(|block| block.id.direction != first);
    model
}

/// Compares every block that depends on a table written in the gap, and refreshes what differs.
fn verify_touched(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    (stage, authority): (Stage, Authority),
    resumed: &mut Resumed,
) -> Result<(), TranslationError> {
    let touched = touched_blocks(connection, model, resumed.gap.notes_tables)?;
    for direction in authority.directions() {
        if work(stage, direction, None) == Work::Nothing {
            continue;
        }
        for block in model.blocks_of(direction).filter(|block| touched.contains(&block.id.to_string())) {
            resumed.repaired += verify_and_refresh(connection, model, block)?;
            resumed.verified.push(block.label());
        }
    }
    Ok(())
}

/// Blocks that a table written in the gap drives or feeds, and blocks that what those write may feed in turn.
fn touched_blocks(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    notes_tables: bool,
) -> Result<BTreeSet<String>, TranslationError> {
    let mut tables: Vec<TableModel> = Vec::new();
    for (table, question) in gap_sql::touched(model) {
        let is_touched = match connection.find_row(&question, &[]) {
            Ok(row) => row.is_some() || !notes_tables,
            // Whether it was written is not known.
            Err(error) if !error.is_disconnected() => true,
            Err(error) => return Err(error.into()),
        };
        if is_touched && !tables.contains(&table) {
            tables.push(table);
        }
    }
    let mut blocks = BTreeSet::new();
    loop {
        let reads = |block: &BlockModel| {
            tables.contains(&block.driving.table) || block.follows.iter().any(|follow| tables.contains(&follow.table))
        };
        let found: Vec<&BlockModel> =
            model.blocks.iter().filter(|block| reads(block) && !blocks.contains(&block.id.to_string())).collect();
        if found.is_empty() {
            return Ok(blocks);
        }
        for block in found {
            blocks.insert(block.id.to_string());
            if !tables.contains(&block.target) {
                tables.push(block.target.clone());
            }
        }
    }
}

fn verify_and_refresh(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    block: &BlockModel,
) -> Result<u64, TranslationError> {
    let drift = verify_block(connection, block, VerifyOptions::default(), &mut |_, _| {})?;
    for keys in drift.keys_differing.chunks(100) {
        let outcome = refresh_keys(connection, model, block, keys);
        if let Err(error) = outcome {
            if error.is_disconnected() {
                return Err(error.into());
            }
            // The worker tries them one by one.
            super::pending::enqueue(connection, model, block, keys, &error.to_string())?;
        }
    }
    Ok(u64::try_from(drift.keys_differing.len()).unwrap_or(0))
}

/// Where both models were written and both decide the same rows, the authoritative side's entry stays and the other's goes.
fn settle_conflicts(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    authority: Authority,
) -> Result<Vec<Conflict>, TranslationError> {
    let mut conflicts = Vec::new();
    for forward in model.blocks_of(Direction::Forward) {
        for backward in model.blocks_of(Direction::Backward).filter(|block| block.driving.table == forward.target) {
            let rows = connection.query(&gap_sql::conflicts(model, forward, backward), &[])?;
            for row in &rows {
                conflicts.push(Conflict {
                    forward_block: forward.id.to_string(),
                    forward_key: row.text("forward_key")?,
                    backward_block: backward.id.to_string(),
                    backward_key: row.text("backward_key")?,
                    won: authority,
                });
            }
        }
    }
    for conflict in &conflicts {
        let (block, key) = match authority {
            Authority::Old => (&conflict.backward_block, &conflict.backward_key),
            Authority::New => (&conflict.forward_block, &conflict.forward_key),
        };
        let sql = format!(
            "DELETE FROM {} WHERE change = $1 AND block = $2 AND key = $3",
            own(connection.dialect(), "pending")
        );
        let values = [model.name.as_str().into(), block.as_str().into(), key.as_str().into()];
        connection.execute(&sql, &values)?;
    }
    Ok(conflicts)
}

/// The last step, all or nothing.
fn close(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    resumed: &Resumed,
    deed: Deed<'_>,
) -> Result<(), TranslationError> {
    with_lock_timeout(connection, |connection| {
        lock_change(connection, &model.name)?;
        let detail = json!({
            "paused_at": resumed.gap.paused_at, "paused_by": resumed.gap.paused_by, "paused_because": resumed.gap.reason,
            "verified": resumed.verified, "repaired": resumed.repaired, "conflicts": resumed.conflicts,
            "pending": resumed.pending,
        });
        close_gaps(connection, model, deed.at, &detail)?;
        Ok(record(connection, &model.name, deed, "resume", &detail)?)
    })
}

/// Closes the change's gaps and removes what counted the writes. Also what a move to `off` does: nothing is translated any more.
pub fn close_gaps(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    at: Instant,
    detail: &serde_json::Value,
) -> Result<(), TranslationError> {
    let sql = format!(
        "UPDATE {} SET closed_at = $1, detail = $2 WHERE change = $3 AND closed_at IS NULL",
        own(model.dialect, "gap")
    );
    connection.execute(&sql, &[at.as_micros().into(), detail.to_string().into(), model.name.as_str().into()])?;
    for statement in gap_sql::drop(model) {
        connection.batch(&statement)?;
    }
    Ok(())
}

/// The installed change, if it is not paused.
pub fn get_running(
    connection: &mut DatabaseConnection,
    name: &ChangeName,
) -> Result<InstalledChange, TranslationError> {
    let change = get_change(connection, name)?;
    match open_gap(connection, name)? {
        Some(gap) => Err(TranslationError::Paused { name: change.name, since: gap.paused_at, reason: gap.reason }),
        None => Ok(change),
    }
}
