//! Comparing one chunk of charges.

use std::collections::BTreeMap;

use super::compare::{CompareError, CompareWatcher};
use super::compare_chunks::Range;
use super::compare_rows::{self, Check, Line, refuse_faults};
use super::compare_sum::{ClassLine, Sums, id_order, in_turn};
use super::payer_totals::{PayerTotals, pack};
use crate::allocation::{ComparePart, ExceptionLine, Part};
use crate::database::DatabaseConnection;
use crate::sql::closed::{self as compare_closed, Closed};
use crate::sql::compare::{self as compare_sql, CompareQuery, ORPHANS_NAMED, Scope};
use crate::sql::compare_parts;
use crate::store;

/// How many exceptions of one chunk are held, without their payers: about 250 bytes each.
const EXCEPTIONS_HELD_MAX: usize = 50_000;
/// How many exceptions' payers are asked for at once.
const EXCEPTIONS_AT_ONCE: usize = 2_000;

/// What whoever watches keeps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kept {
    pub parts: bool,
    pub exceptions: bool,
}

/// A chunk to compare.
pub(super) struct Chunk<'a> {
    pub query: &'a CompareQuery<'a>,
    pub asked: &'a [String],
    pub exceptions_max: usize,
    pub range: &'a Range,
    /// True if charges of which nothing is left to be said are told first.
    pub settles: bool,
    pub kept: Kept,
}

/// What the main statement said.
#[derive(Default)]
pub(super) struct Answer {
    pub payer_totals: PayerTotals,
    sums: Sums,
    told: Vec<ExceptionLine>,
    check: Check,
    charges: u64,
    old_rows: u64,
    new_rows: u64,
    suspects: u64,
    /// Allocations without a charge, if they are told by their ids.
    orphans: Vec<String>,
    payers: String,
}

impl Answer {
    /// True if most charges had to be looked at in detail, so that settling the others first did not pay.
    pub(super) fn is_mostly_detailed(&self) -> bool {
        self.check.detailed.is_some_and(|detailed| detailed.saturating_mul(2) > self.charges)
    }
}

/// Why reading the main statement's answer ended early.
enum Ended {
    TooMany,
    Failed(CompareError),
}

impl<E: Into<CompareError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Chunk<'_> {
    fn scope(&self) -> Scope {
        Scope::Between(self.range.0.clone(), self.range.1.clone())
    }

    /// What the main statement says. `None`: the chunk has more exceptions than can be held.
    pub(super) fn answer(&self, connection: &mut DatabaseConnection) -> Result<Option<Answer>, CompareError> {
        match self.read(connection) {
            Ok(answer) => Ok(Some(answer)),
            Err(Ended::TooMany) => Ok(None),
            Err(Ended::Failed(error)) => Err(error),
        }
    }

    /// The part of this chunk, once its exceptions are told.
    pub(super) fn conclude(
        &self,
        connection: &mut DatabaseConnection,
        mut answer: Answer,
        watcher: &mut dyn CompareWatcher,
    ) -> Result<ComparePart, CompareError> {
        let scope = self.scope();
        let query = CompareQuery { scope: &scope, ..*self.query };
        let has_orphans = !answer.orphans.is_empty()
            || answer.check.rows.is_some_and(|rows| rows != (answer.old_rows, answer.new_rows));
        if answer.suspects > 0 || answer.check.twice > 0 {
            refuse_faults(&lines(connection, &compare_parts::faults(&query))?)?;
        }
        let told = std::mem::take(&mut answer.told);
        let mut first = self.tell(connection, told, watcher)?;
        if has_orphans {
            first.extend(self.orphans(connection, &mut answer, watcher)?);
        }
        if let Some(closed) = self.query.closed.filter(|_| self.range.0.is_none()) {
            first.extend(self.gone(connection, closed, &mut answer, watcher)?);
        }
        Ok(ComparePart {
            number: 0,
            basis: String::new(),
            from: self.range.0.clone(),
            to: self.range.1.clone(),
            charges: answer.charges,
            checksum: None,
            totals: answer.sums.totals(),
            classes: answer.sums.classes(),
            payers: answer.payers,
            exceptions: in_turn(first, self.exceptions_max),
            asked: answer.sums.asked,
        })
    }

    /// Runs the main statement. Classes come before payers, so whoever ends it because of too many exceptions has read no payer.
    fn read(&self, connection: &mut DatabaseConnection) -> Result<Answer, Ended> {
        let scope = self.scope();
        let query = CompareQuery { scope: &scope, settles: self.settles, ..*self.query };
        let mut answer = Answer::default();
        let may_be_cut = self.range.0.is_none() || self.range.0 != self.range.1;
        connection.query_each(&compare_sql::compare(&query), |cells| {
            let line = Line(cells);
            match line.section() {
                "class" => self.read_class(&mut answer, &ClassLine::read(&line)?),
                "check" => answer.check = compare_rows::check(&line)?,
                "orphan" => answer.orphans.push(line.text(1)?),
                _ => {
                    let (currency, payer, sum) = compare_rows::payer(&line)?;
                    if self.kept.parts {
                        pack(&mut answer.payers, &currency, payer.as_deref(), sum).map_err(CompareError::from)?;
                    }
                    answer.payer_totals.add(&currency, payer, sum).map_err(CompareError::from)?;
                }
            }
            if may_be_cut && answer.told.len() > EXCEPTIONS_HELD_MAX { Err(Ended::TooMany) } else { Ok(()) }
        })?;
        Ok(answer)
    }

    fn read_class(&self, answer: &mut Answer, line: &ClassLine) {
        answer.charges += line.charges();
        answer.old_rows += line.old_rows;
        answer.new_rows += line.new_rows;
        answer.suspects += line.suspects;
        answer.sums.add(line);
        answer.sums.asked.extend(line.asked(self.asked));
        answer.told.extend(line.exception());
    }

    /// Allocations without a charge, in batches, because there may be any number of them. Returns the first ones.
    fn orphans(
        &self,
        connection: &mut DatabaseConnection,
        answer: &mut Answer,
        watcher: &mut dyn CompareWatcher,
    ) -> Result<Vec<ExceptionLine>, CompareError> {
        let (mut first, mut last): (Vec<ExceptionLine>, Option<String>) = (Vec::new(), None);
        loop {
            let scope = if (1..=ORPHANS_NAMED).contains(&answer.orphans.len()) {
                Scope::These(answer.orphans.clone())
            } else {
                Scope::Between(last.clone().or_else(|| self.range.0.clone()), self.range.1.clone())
            };
            let query = CompareQuery { scope: &scope, ..*self.query };
            let found = lines(connection, &compare_parts::orphans(&query, EXCEPTIONS_HELD_MAX))?;
            let is_all = found.len() < EXCEPTIONS_HELD_MAX;
            let (mut told, mut unsound) = (Vec::new(), false);
            for line in &found {
                let line = ClassLine::read(line)?;
                if line.told == last {
                    continue;
                }
                unsound |= line.suspects > 0;
                answer.sums.add(&line);
                answer.sums.asked.extend(line.asked(self.asked));
                told.extend(line.exception());
            }
            if unsound {
                refuse_faults(&lines(connection, &compare_parts::faults(&query))?)?;
            }
            let Some(end) = told.last().map(|line| line.charge_id.clone()) else { return Ok(first) };
            first.extend(self.tell(connection, told, watcher)?);
            first = in_turn(first, self.exceptions_max);
            if is_all {
                return Ok(first);
            }
            last = Some(end);
        }
    }

    /// Charges that are gone from closed periods, in batches; the first chunk tells all of them. Returns the first ones.
    fn gone(
        &self,
        connection: &mut DatabaseConnection,
        closed: &Closed,
        answer: &mut Answer,
        watcher: &mut dyn CompareWatcher,
    ) -> Result<Vec<ExceptionLine>, CompareError> {
        let (mut first, mut last): (Vec<ExceptionLine>, Option<String>) = (Vec::new(), None);
        loop {
            let sql = compare_closed::gone(self.query, closed, last.as_deref(), EXCEPTIONS_HELD_MAX);
            let mut told = Vec::new();
            for line in &lines(connection, &sql)? {
                let line = ClassLine::read(line)?;
                answer.sums.add(&line);
                answer.sums.asked.extend(line.asked(self.asked));
                told.extend(line.exception());
            }
            let Some(end) = told.last().map(|line: &ExceptionLine| line.charge_id.clone()) else { return Ok(first) };
            let is_all = told.len() < EXCEPTIONS_HELD_MAX;
            first.extend(self.tell(connection, told, watcher)?);
            first = in_turn(first, self.exceptions_max);
            if is_all {
                return Ok(first);
            }
            last = Some(end);
        }
    }

    /// Hands exceptions over with their payers, and returns the first ones.
    fn tell(
        &self,
        connection: &mut DatabaseConnection,
        told: Vec<ExceptionLine>,
        watcher: &mut dyn CompareWatcher,
    ) -> Result<Vec<ExceptionLine>, CompareError> {
        let mut first = Vec::new();
        let mut told = if self.kept.exceptions { told } else { in_turn(told, self.exceptions_max) };
        told.sort_by(|a, b| id_order(&a.charge_id).cmp(&id_order(&b.charge_id)));
        while !told.is_empty() {
            let rest = told.split_off(told.len().min(EXCEPTIONS_AT_ONCE));
            let mut batch = std::mem::replace(&mut told, rest);
            self.name_payers(connection, &mut batch)?;
            first.extend(batch.iter().cloned());
            first = in_turn(first, self.exceptions_max);
            if self.kept.exceptions {
                watcher.exceptions(batch)?;
            }
        }
        Ok(first)
    }

    fn name_payers(
        &self,
        connection: &mut DatabaseConnection,
        batch: &mut [ExceptionLine],
    ) -> Result<(), CompareError> {
        let scope = Scope::These(batch.iter().map(|line| line.charge_id.clone()).collect());
        let sql = compare_parts::payers_of(&CompareQuery { scope: &scope, ..*self.query });
        let mut parts: BTreeMap<String, (u64, Vec<(u64, Part)>)> = BTreeMap::new();
        for line in lines(connection, &sql)? {
            let (charge_id, total, place, part) = compare_rows::part(&line)?;
            let entry = parts.entry(charge_id).or_default();
            entry.0 = total;
            entry.1.push((place, part));
        }
        for line in batch {
            let (total, mut parts) = parts.remove(&line.charge_id).unwrap_or_default();
            parts.sort_by_key(|(place, _)| *place);
            line.parts_total = total;
            line.parts = parts.into_iter().map(|(_, part)| part).collect();
        }
        Ok(())
    }

    /// Of all rows that the chunk is made of, in no order.
    pub(super) fn checksum(&self, connection: &mut DatabaseConnection) -> Result<Option<String>, CompareError> {
        let scope = self.scope();
        let sql = compare_parts::checksum(&CompareQuery { scope: &scope, ..*self.query });
        let mut sums = Vec::new();
        for line in lines(connection, &sql)? {
            let numbers = [line.count(1)?, line.count(2)?, line.count(3)?];
            sums.push(format!("{} {numbers:?}", line.text(1)?));
        }
        sums.sort_unstable();
        Ok(Some(store::sha256(&sums.join("\n"))))
    }
}

/// All rows of a statement whose answer is small.
fn lines(connection: &mut DatabaseConnection, sql: &str) -> Result<Vec<Line>, CompareError> {
    let mut lines = Vec::new();
    connection.query_each(sql, |cells| {
        lines.push(Line(cells));
        Ok::<(), CompareError>(())
    })?;
    Ok(lines)
}
