//! One trial: a write such as code of one side makes, what it leads to on both sides, and the way back. Everything in a savepoint that
//! is rolled back.

use super::findings::{Findings, Law};
use super::journal::{Effect, Entry, Image, effects, take};
use super::watch::Watch;
use crate::database::{DatabaseConnection, DatabaseError, Dialect};
use crate::sql::journal::{another_value, row_is, varied_value};
use crate::sql::model::ChangeModel;
use crate::sql::names::{literal, quoted};
use crate::sql::{postgres, sqlite};

/// Rows touched after one write: more than that would only say the same again.
const TOUCHED_MAX: usize = 40;
/// Half rounds after which everything must have come to rest.
const ROUNDS_MAX: usize = 4;

/// What a writer does to a row.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    /// Sets a column to what it is.
    Touch,
    /// Sets a column to another value, and back.
    Move { column: String, nth: u64 },
    /// Deletes the row and inserts it again.
    Replace,
    /// Inserts a copy that has another value in a column, and deletes it.
    Copy { column: String, nth: u64 },
}

impl Deed {
    fn word(&self) -> &'static str {
        match self {
            Self::Touch => "touching",
            Self::Move { .. } => "moving",
            Self::Replace => "deleting and inserting",
            Self::Copy { .. } => "copying",
        }
    }
}

/// A deed and the row that it is done to.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub table: usize,
    /// The row's key as SQL literals.
    pub row: Vec<String>,
    pub deed: Deed,
}

/// Where trials run and what they find.
pub(super) struct Bench<'a> {
    pub model: &'a ChangeModel,
    pub watches: &'a [Watch],
    pub findings: &'a mut Findings,
}

/// A statement's outcome.
enum Written {
    Entries(Vec<Entry>),
    /// The database refuses it; counted already.
    Refused,
}

impl Trial {
    /// Runs the trial and leaves nothing but findings.
    pub fn run(&self, connection: &mut DatabaseConnection, bench: &mut Bench<'_>) -> Result<(), DatabaseError> {
        let Some(watch) = bench.watches.get(self.table) else { return Ok(()) };
        connection.in_rolled_back_transaction(|connection| {
            bench.findings.count_trial(self.table);
            let mut run = Run { trial: self, watch, connection, bench, all: Vec::new() };
            match &self.deed {
                Deed::Touch => run.touch(),
                Deed::Move { column, nth } => run.go_and_come_back(column, *nth),
                Deed::Replace => run.replace(),
                Deed::Copy { column, nth } => run.copy(column, *nth),
            }
        })
    }
}

struct Run<'r, 'a> {
    trial: &'r Trial,
    watch: &'r Watch,
    connection: &'r mut DatabaseConnection,
    bench: &'r mut Bench<'a>,
    /// Every change since the trial began.
    all: Vec<Entry>,
}

impl Run<'_, '_> {
    /// A touch changes nothing on either side: what the one model holds, the other one can hold too.
    fn touch(&mut self) -> Result<(), DatabaseError> {
        let Some(column) = self.watch.touchable().map(|column| quoted(column)) else { return Ok(()) };
        let sql = format!("UPDATE {} SET {column} = {column} WHERE {}", self.table(), self.is_row());
        let Written::Entries(entries) = self.write(&sql)? else { return Ok(()) };
        self.judge_net(&effects(self.bench.watches, &entries), Law::Rest);
        Ok(())
    }

    fn go_and_come_back(&mut self, column: &str, nth: u64) -> Result<(), DatabaseError> {
        let value = self.value(column, nth);
        let name = quoted(column);
        let there = format!("UPDATE {} SET {name} = {value} WHERE {}", self.table(), self.is_row());
        let Written::Entries(entries) = self.write(&there)? else { return Ok(()) };
        self.settle(&entries, true)?;
        let before = row_is("k.", &self.watch.key, &self.trial.row);
        let back = format!(
            "UPDATE {} SET {name} = (SELECT k.{name} FROM changeover_kept k WHERE {before}) WHERE {}",
            self.table(),
            self.is_row()
        );
        let Written::Entries(entries) = self.write(&back)? else { return Ok(()) };
        self.settle(&entries, true)?;
        self.judge_net(&effects(self.bench.watches, &self.all), Law::Return);
        Ok(())
    }

    fn replace(&mut self) -> Result<(), DatabaseError> {
        let Written::Entries(entries) = self.write(&format!("DELETE FROM {} WHERE {}", self.table(), self.is_row()))?
        else {
            return Ok(());
        };
        self.settle(&entries, false)?;
        let gone = self.own_row(&entries);
        if let Some(name) = &gone
            && let Some(Effect { after: Some(after), .. }) = self.now(name)
        {
            let story = format!("a deleted row is there again: {}", shown(&after));
            self.lose_row(Law::Stay, &story);
        }
        if !self.watch.can_be_put_back() {
            return Ok(());
        }
        let columns: Vec<String> = self.watch.insertable().map(|column| quoted(column)).collect();
        let list = columns.join(", ");
        let back = format!(
            "INSERT INTO {} ({list}) SELECT {list} FROM changeover_kept k WHERE {}",
            self.table(),
            row_is("k.", &self.watch.key, &self.trial.row)
        );
        let Written::Entries(entries) = self.write(&back)? else { return Ok(()) };
        self.settle(&entries, true)
    }

    fn copy(&mut self, column: &str, nth: u64) -> Result<(), DatabaseError> {
        let minted: Vec<&String> = if self.watch.key.len() > 1 { Vec::new() } else { self.watch.key.iter().collect() };
        let columns: Vec<&String> = self.watch.insertable().filter(|name| !minted.contains(name)).collect();
        let value = |name: &String| {
            if name == column { self.value(column, nth) } else { format!("k.{}", quoted(name)) }
        };
        let insert = format!(
            "INSERT INTO {} ({}) SELECT {} FROM changeover_kept k WHERE {}",
            self.table(),
            columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "),
            columns.iter().map(|name| value(name)).collect::<Vec<_>>().join(", "),
            row_is("k.", &self.watch.key, &self.trial.row)
        );
        let Written::Entries(entries) = self.write(&insert)? else { return Ok(()) };
        self.settle(&entries, true)?;
        let inserted = self.written(&entries).and_then(|entry| entry.new.clone());
        let Some(inserted) = inserted else { return Ok(()) };
        let is_inserted = row_is("", &self.watch.key, &self.watch.key_of(&inserted));
        let Written::Entries(entries) = self.write(&format!("DELETE FROM {} WHERE {is_inserted}", self.table()))?
        else {
            return Ok(());
        };
        self.settle(&entries, false)?;
        self.judge_net(&effects(self.bench.watches, &self.all), Law::Return);
        Ok(())
    }

    /// Mostly another row's value; now and then one that no row has.
    fn value(&self, column: &str, nth: u64) -> String {
        let (key, row) = (&self.watch.key, &self.trial.row);
        let varied = if nth.is_multiple_of(4) { varied_value(&self.watch.table, column, key, row) } else { None };
        varied.unwrap_or_else(|| another_value(self.bench.model.dialect, column, key, row, nth / 4))
    }

    fn table(&self) -> String {
        self.watch.table.sql_name()
    }

    fn is_row(&self) -> String {
        row_is("", &self.watch.key, &self.trial.row)
    }

    /// Runs a write. If the database refuses it, and would not without translation, translation is in old code's way.
    fn write(&mut self, sql: &str) -> Result<Written, DatabaseError> {
        let outcome = self.connection.in_transaction::<_, DatabaseError>(|connection| connection.execute(sql, &[]));
        let error = match outcome {
            Ok(_) => {
                let entries = take(self.connection)?;
                self.all.extend(entries.iter().cloned());
                return Ok(Written::Entries(entries));
            }
            Err(error) if error.is_retryable() || error.is_disconnected() => return Err(error),
            Err(error) => error,
        };
        let silence = silence(self.bench.model);
        let alone = self.connection.in_rolled_back_transaction::<_, DatabaseError>(|connection| {
            connection.batch(&silence)?;
            connection.execute(sql, &[])
        });
        match alone {
            Ok(_) => {
                let story = format!("{} a row of {}: {error}", self.trial.deed.word(), self.watch.table.shown());
                self.bench.findings.refused_by_translation(self.trial.table, &story);
            }
            Err(_) => self.bench.findings.count_refused(self.trial.table),
        }
        Ok(Written::Refused)
    }

    /// Lets the other side's code touch what a write has changed there, until nothing changes any more. What was written stays, and so
    /// does everything else on the writer's side.
    fn settle(&mut self, entries: &[Entry], judge_own: bool) -> Result<(), DatabaseError> {
        let side = self.watch.is_new;
        let own = self.own_row(entries);
        let mut changed = effects(self.bench.watches, entries);
        changed.retain(|effect| self.bench.watches.get(effect.table).is_some_and(|watch| watch.is_new != side));
        for round in 0..=ROUNDS_MAX {
            if changed.is_empty() && round > 0 {
                break;
            }
            if round == ROUNDS_MAX {
                let story = format!("{} a row of {}", self.trial.deed.word(), self.watch.table.shown());
                self.bench.findings.restless(self.trial.table, &story);
                break;
            }
            let mut touched = self.touch_rows(&changed)?;
            if round == 0
                && let Some(name) = &own
            {
                touched.extend(self.touch_counterparts(entries, name)?);
            }
            changed = effects(self.bench.watches, &touched);
            let others: Vec<Effect> =
                changed.iter().filter(|effect| !self.is_own(effect, own.as_ref())).cloned().collect();
            let same_side =
                |effect: &Effect| self.bench.watches.get(effect.table).is_some_and(|watch| watch.is_new == side);
            self.judge_net(&others.into_iter().filter(same_side).collect::<Vec<_>>(), Law::Stay);
        }
        if judge_own && let Some(name) = &own {
            self.judge_own(entries, name);
        }
        Ok(())
    }

    /// The written row holds what was written.
    fn judge_own(&mut self, entries: &[Entry], name: &[String]) {
        let Some(written) = self.written(entries).and_then(|entry| entry.new.clone()) else { return };
        let after = self.all.iter().rev().find_map(|entry| self.image_after(entry, name));
        match after {
            Some(Some(after)) => {
                let columns: Vec<String> = self.watch.differing(&written, &after).cloned().collect();
                for column in columns {
                    let story = self.story(&column, Some(&written), Some(&after));
                    self.bench.findings.lost(Law::Stay, (self.trial.table, self.watch), &column, story);
                }
            }
            Some(None) => self.lose_row(Law::Stay, &format!("a written row is gone: {}", shown(&written))),
            None => {}
        }
    }

    /// `Some(None)`: the entry removes the row of that name.
    fn image_after(&self, entry: &Entry, name: &[String]) -> Option<Option<Image>> {
        let is_it = |image: &Option<Image>| image.as_ref().is_some_and(|image| self.watch.name_of(image) == name);
        if entry.table != self.trial.table {
            return None;
        }
        if is_it(&entry.new) { Some(entry.new.clone()) } else { is_it(&entry.old).then_some(None) }
    }

    /// The writer's own change: the first one of its table.
    fn written<'e>(&self, entries: &'e [Entry]) -> Option<&'e Entry> {
        entries.iter().find(|entry| entry.table == self.trial.table)
    }

    /// What the written row is known by.
    fn own_row(&self, entries: &[Entry]) -> Option<Vec<String>> {
        let entry = self.written(entries)?;
        entry.new.as_ref().or(entry.old.as_ref()).map(|image| self.watch.name_of(image))
    }

    fn is_own(&self, effect: &Effect, own: Option<&Vec<String>>) -> bool {
        let image = effect.after.as_ref().or(effect.before.as_ref());
        effect.table == self.trial.table && image.map(|image| self.watch.name_of(image)).as_ref() == own
    }

    /// What has become of the row with that name since the trial began.
    fn now(&self, name: &[String]) -> Option<Effect> {
        let after = self.all.iter().rev().find_map(|entry| self.image_after(entry, name))?;
        Some(Effect { table: self.trial.table, before: None, after })
    }

    /// Sets a column of each changed row that is still there to what it is, as that side's code.
    fn touch_rows(&mut self, changed: &[Effect]) -> Result<Vec<Entry>, DatabaseError> {
        let mut entries = Vec::new();
        for effect in changed.iter().take(TOUCHED_MAX) {
            let (Some(after), Some(watch)) = (&effect.after, self.bench.watches.get(effect.table)) else { continue };
            let (true, Some(column)) = (watch.is_source, watch.touchable().map(|column| quoted(column))) else {
                continue;
            };
            let row = row_is("", &watch.key, &watch.key_of(after));
            let sql = format!("UPDATE {} SET {column} = {column} WHERE {row}", watch.table.sql_name());
            if let Written::Entries(more) = self.write(&sql)? {
                entries.extend(more);
            }
        }
        Ok(entries)
    }

    /// Touches the rows that follow from the written one on the other side: they may be as they were although it is not.
    fn touch_counterparts(&mut self, entries: &[Entry], name: &[String]) -> Result<Vec<Entry>, DatabaseError> {
        let Some(Effect { after: Some(after), .. }) = self.now(name) else { return Ok(Vec::new()) };
        let mut touched = Vec::new();
        if entries.is_empty() {
            return Ok(touched);
        }
        let table = self.table();
        let model = self.bench.model;
        for block in model.blocks.iter().filter(|block| block.driving.table.sql == table) {
            let target = self.bench.watches.iter().find(|watch| watch.table.sql_name() == block.target.sql);
            let Some(target) = target.filter(|watch| watch.is_source && watch.is_new != self.watch.is_new) else {
                continue;
            };
            let Some(column) = target.touchable().map(|column| quoted(column)) else { continue };
            let values: Vec<String> = block
                .driving
                .key
                .iter()
                .map(|part| after.get(&part.name).cloned().unwrap_or_else(|| String::from("NULL")))
                .collect();
            let row = row_is("", &block.key, &values);
            let sql = format!("UPDATE {} SET {column} = {column} WHERE {row}", block.target.sql);
            if let Written::Entries(more) = self.write(&sql)? {
                touched.extend(more);
            }
        }
        Ok(touched)
    }

    /// Every effect is a loss.
    fn judge_net(&mut self, found: &[Effect], law: Law) {
        for effect in found {
            let Some(watch) = self.bench.watches.get(effect.table) else { continue };
            let (before, after) = (effect.before.as_ref(), effect.after.as_ref());
            let columns: Vec<String> = match (before, after) {
                (Some(before), Some(after)) => watch.differing(before, after).cloned().collect(),
                _ => watch.row_column().cloned().into_iter().collect(),
            };
            for column in columns {
                let story = self.story(&column, before, after);
                self.bench.findings.lost(law, (effect.table, watch), &column, story);
            }
        }
    }

    fn lose_row(&mut self, law: Law, story: &str) {
        let Some(column) = self.watch.row_column().cloned() else { return };
        self.bench.findings.lost(law, (self.trial.table, self.watch), &column, story.to_owned());
    }

    fn story(&self, column: &str, before: Option<&Image>, after: Option<&Image>) -> String {
        let side = |image: Option<&Image>| match image {
            None => String::from("no row"),
            Some(image) if before.is_some() && after.is_some() => {
                image.get(column).cloned().unwrap_or_else(|| String::from("NULL"))
            }
            Some(image) => shown(image),
        };
        format!(
            "{} {} ({}): {} became {}",
            self.trial.deed.word(),
            self.watch.table.shown(),
            self.trial.row.join(", "),
            side(before),
            side(after)
        )
    }
}

/// What lets a write pass untranslated until the savepoint is rolled back.
fn silence(model: &ChangeModel) -> String {
    match model.dialect {
        Dialect::Postgres => {
            format!("SELECT set_config({}, 'backfill', true)", literal(&postgres::direction_setting(model)))
        }
        Dialect::Sqlite => format!("UPDATE {} SET mode = {}", sqlite::control_table(model), sqlite::BACKFILL),
    }
}

fn shown(image: &Image) -> String {
    let pairs: Vec<String> = image.iter().map(|(column, value)| format!("{column} {value}")).collect();
    let text = pairs.join(", ");
    if text.chars().count() <= 160 { text } else { format!("{}…", text.chars().take(159).collect::<String>()) }
}
