//! The story itself, step by step, by the same functions that the commands call: from a change file and an old application
//! that never stops writing, to groups billed by the new model and a report that proves it.

use std::time::{Duration, Instant as Clock};

use anyhow::bail;

use super::example::Example;
use super::narration::{Backfill, Drift, Narrator, Shown, counted};
use super::writer::Writer;
use super::{DataArguments, described, load_example, video_hosting};
use crate::allocation::Comparison;
use crate::change::{ChangeFile, Stage};
use crate::cli::Output;
use crate::database::{Database, DatabaseConnection, DatabaseError, DatabaseUrl};
use crate::primitives::{Instant, Period, PeriodScheme};
use crate::routing::{Wish, change_stage};
use crate::sql::model::ChangeModel;
use crate::store::Store;
use crate::translation::{self, BackfillOptions, Deed, LawOptions, TranslationError, VerifyOptions, own};

/// How the demo signs in the histories.
pub(super) const ACTOR: &str = "demo";
/// How long the old application is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The stage on which all of it happens.
pub struct Story<'a> {
    pub(super) narrator: Narrator<'a>,
    pub(super) url: &'a DatabaseUrl,
    pub(super) data: &'a DataArguments,
    pub(super) database: Database,
    pub(super) store: Store,
    pub(super) file: ChangeFile,
    pub(super) period: Period,
    pub(super) writer: Writer,
    pub(super) loaded: serde_json::Value,
    pub(super) drift: Drift,
}

/// Tells the whole story in the database and returns what it has shown, with the comparison that its totals come from.
pub fn tell(url: &DatabaseUrl, data: &DataArguments, output: &Output) -> anyhow::Result<(Shown, Comparison)> {
    let mut story = Story::begin(url, data, output)?;
    let change = story.install()?;
    let backfill = story.backfill(&change)?;
    story.enter_shadow(&change)?;
    story.decide_who()?;
    story.go_live()?;
    let live_from = story.writer.written();
    story.assign()?;
    let moved_back = story.move_back()?;
    story.end(&change, backfill, moved_back, live_from)
}

impl<'a> Story<'a> {
    /// Loads the example and starts the old application.
    fn begin(url: &'a DatabaseUrl, data: &'a DataArguments, output: &'a Output) -> anyhow::Result<Self> {
        let mut narrator = Narrator::new(output);
        output.note(&format!("The demo runs in {url}\n"));
        let file = ChangeFile::parse(data.example.change_file()).map_err(TranslationError::Mistakes)?;
        let database = Database::open(url.clone())?;
        let loaded = load_example(&mut *database.connection()?, data)?;
        narrator.step("load", &format!("{}: {}", data.example.name(), described(&loaded)));
        let period = match data.example {
            Example::VideoHosting => PeriodScheme::default().containing(now())?,
            // Nearly all of the sample's charges are of this month.
            Example::CloudCosts => "2024-09".parse()?,
        };
        let writer = Writer::start(url, data.example, period)?;
        writer.wait_for(1, PATIENCE)?;
        narrator.step("old code", "starts writing, as a process of its own that knows only the old tables");
        let store = Store::open(database.clone())?;
        let drift = Drift { rows: 0, verifies: 0, keys: 0 };
        Ok(Self { narrator, url, data, database, store, file, period, writer, loaded, drift })
    }

    /// Checks the change file against the live database and installs it; from here on every write is translated.
    fn install(&mut self) -> anyhow::Result<ChangeModel> {
        let connection = &mut *self.database.connection()?;
        let checked = translation::check(connection, self.url, &self.file)?;
        if !checked.is_clean() {
            return Err(TranslationError::Mistakes(checked.mistakes).into());
        }
        let model = translation::resolve(connection, &self.file)?;
        self.narrator.step("check", &format!("the change file's {} blocks fit this database", model.blocks.len()));
        let steps = translation::plan(connection, &model, &self.file)?.len();
        translation::install(connection, &model, &self.file, deed(""))?;
        self.narrator.step("install", &format!("{steps} statements, and old code went on writing"));
        self.move_to(Stage::DualWrite)?;
        self.narrator.step("dualwrite", "each write of old code now writes the new model too, in its own transaction");
        Ok(model)
    }

    fn backfill(&mut self, model: &ChangeModel) -> anyhow::Result<Backfill> {
        let began = Clock::now();
        let before = self.writer.written();
        let connection = &mut *self.database.connection()?;
        let output = self.narrator.output();
        let mut bar = None;
        let states =
            translation::backfill(connection, model, BackfillOptions::default(), &mut |block, done, total| {
                let (shown, bar) = bar.get_or_insert_with(|| (block.id, output.progress(&block.target.name, total)));
                if *shown != block.id {
                    bar.finish_and_clear();
                    (*shown, *bar) = (block.id, output.progress(&block.target.name, total));
                }
                bar.set_position(done);
                true
            })?;
        if let Some((_, bar)) = bar {
            bar.finish_and_clear();
        }
        let keys = states.iter().map(|state| state.keys_done.unsigned_abs()).sum();
        let old_code_rows = self.writer.written().rows - before.rows;
        self.narrator.step(
            "backfill",
            &format!("{} keys; old code wrote {} rows meanwhile", counted(keys), counted(old_code_rows)),
        );
        Ok(Backfill { keys, seconds: began.elapsed().as_secs_f64(), old_code_rows })
    }

    /// Verifies, and in the video-hosting example closes the past months and lets users join accounts of others.
    fn enter_shadow(&mut self, model: &ChangeModel) -> anyhow::Result<()> {
        self.verify(model, "after the backfill")?;
        if self.data.example == Example::VideoHosting {
            let connection = &mut *self.database.connection()?;
            let open = self.period.to_string();
            connection.in_transaction(|connection| {
                connection.execute("UPDATE periods SET closed = true WHERE period < $1", &[open.as_str().into()])?;
                own::close_before(connection, &model.name, &open, deed("billed"))
            })?;
            let joined = join(connection, self.data, self.period)?;
            let text = format!(
                "{joined} users join the accounts of others; months before {open} are closed and stay as billed"
            );
            self.narrator.step("join", &text);
            self.verify(model, "after the joins")?;
        }
        self.move_to(Stage::Shadow)?;
        self.narrator.step("shadow", "both models are fed and compared; nobody is billed by the new one yet");
        Ok(())
    }

    /// Moves the change one step; a gate that does not hold ends the story.
    pub(super) fn move_to(&mut self, to: Stage) -> anyhow::Result<()> {
        let connection = &mut *self.database.connection()?;
        let change = own::get_change(connection, &self.file.name)?;
        translate_what_waits(connection, &self.file)?;
        let wish = Wish { to, deed: deed("the demo's next step"), force: false, restore: None };
        let outcome = change_stage(&self.store, connection, &change, wish)?;
        let failed = outcome.gates.iter().find(|gate| !gate.holds);
        if let Some(gate) = failed {
            bail!("stage `{to}` cannot be entered: {}: {}", gate.name, gate.evidence);
        }
        Ok(())
    }

    /// Tries what both models can hold, on random rows, and keeps it as evidence.
    pub(super) fn laws(&mut self) -> anyhow::Result<()> {
        let connection = &mut *self.database.connection()?;
        let options = LawOptions { sample: 20, seed: 1 };
        let found = translation::laws(connection, &self.file, options, &mut |_, _| {})?;
        translation::store_laws(connection, &found)?;
        if let Some(lost) = found.undeclared().next() {
            bail!("{}.{} is lost and not declared: {}", lost.table, lost.column, lost.sample);
        }
        if let Some((what, _, first)) = found.faults.first() {
            bail!("{what}: {first}");
        }
        let trials: u64 = found.tables.iter().map(|table| table.trials).sum();
        let told = format!("{trials} writes there and back: nothing is lost but what the change file declares");
        self.narrator.step("laws", &told);
        Ok(())
    }

    /// Compares every target row with what its block says it should be.
    pub(super) fn verify(&mut self, model: &ChangeModel, when: &str) -> anyhow::Result<()> {
        let connection = &mut *self.database.connection()?;
        translate_what_waits(connection, &self.file)?;
        let found = translation::verify(connection, model, VerifyOptions::default(), &mut |_, _| {})?;
        let rows: u64 = found.iter().map(translation::BlockDrift::drift).sum();
        self.drift.keys = found.iter().map(|block| block.keys).sum();
        self.drift.rows += rows;
        self.drift.verifies += 1;
        let text = format!("drift {} of {} keys, {when}", counted(rows), counted(self.drift.keys));
        self.narrator.step("verify", &text);
        for sample in found.iter().flat_map(|block| &block.samples).take(5) {
            self.narrator.output().note(&format!("    {}", serde_json::to_string(sample)?));
        }
        Ok(())
    }
}

/// Refreshes what waits in the queue: a write of old code that met a deadlock left its keys there. A server's worker does it every second;
/// none runs beside the demo yet.
fn translate_what_waits(connection: &mut DatabaseConnection, file: &ChangeFile) -> anyhow::Result<()> {
    for _ in 0..10 {
        if translation::pending::count(connection, &file.name)? == 0 {
            return Ok(());
        }
        let model = translation::resolve(connection, file)?;
        translation::retry_pending(connection, &model, translation::Due::All)?;
    }
    Ok(())
}

pub(super) fn now() -> Instant {
    jiff::Timestamp::now().into()
}

pub(super) fn deed(reason: &str) -> Deed<'_> {
    Deed { actor: ACTOR, at: now(), reason }
}

/// Members who join later, through the new model: a row of `memberships` is all that new code writes.
fn join(connection: &mut DatabaseConnection, data: &DataArguments, period: Period) -> anyhow::Result<u64> {
    let plan = video_hosting::Plan { charges: data.charges, seed: data.seed, running: period };
    let mut joined: u64 = 0;
    for member in plan.joiners() {
        // Old code may have removed one of the two meanwhile.
        let sql = "INSERT INTO memberships (account_id, user_id, role, weight)
             SELECT a.id, u.id, 'member', CAST($1 AS BIGINT) FROM accounts a JOIN users u ON u.id = $2 WHERE a.owner_id = $3";
        let [user, owner] = [member.user, member.owner].map(|id| i64::try_from(id).unwrap_or(i64::MAX));
        let values = [member.weight.into(), user.into(), owner.into()];
        let inserted = connection.in_transaction_with_retry(10, DatabaseError::is_retryable, |connection| {
            connection.execute(sql, &values)
        })?;
        joined += u64::try_from(inserted).unwrap_or(0);
    }
    Ok(joined)
}
