//! Comparing the old and the new allocation of the same charges on the application's database, a chunk of charges at a time. Reads only,
//! so it runs inside any transaction: on what is installed, on a replica, or on what a rolled-back transaction would make.

use std::collections::VecDeque;

use super::closing::find_closed;
use super::compare_beside;
use super::compare_chunk::{Answer, Chunk, Kept};
use super::compare_chunks::{self, Range, Wish};
use super::compare_columns::{find_effective_view, look};
use super::compare_rows::{Line, refuse_faults};
use super::compare_sum::{Sums, id_order};
use super::payer_totals::PayerTotals;
use crate::allocation::{ComparePart, Comparison, EffectiveSource, ExceptionLine};
use crate::change::Allocation;
use crate::database::{DatabaseConnection, DatabaseUrl};
use crate::primitives::{ChangeName, Dialect, exponent_of};
use crate::sql::closed::Closed;
use crate::sql::compare::{ColumnKinds, CompareQuery, Scope};
use crate::sql::compare_parts;
use crate::store;

pub use super::compare_error::{CompareError, Fault};

/// What to compare.
#[derive(Debug, Clone)]
pub struct CompareRequest<'a> {
    pub allocation: &'a Allocation,
    /// Periods as the charges query prints them; empty: all.
    pub periods: &'a [String],
    /// Periods before this one are closed: their charges keep the payers that they had. `None` or empty: none is.
    pub closed_before: Option<&'a str>,
    /// The change whose closed periods are held against what was recorded when they closed; `None`: they are not.
    pub closed_of: Option<&'a ChangeName>,
    /// False leaves the view of effective allocation aside even if there is one: it is another change's, or not yet this one's.
    pub use_effective_view: bool,
    /// How many exceptions to tell line by line; all are counted.
    pub exceptions_max: usize,
    /// How many payers to tell for each currency.
    pub movers_max: usize,
    /// Ids of charges to tell one by one, whatever their class.
    pub asked_charges: &'a [String],
    /// How many charges to look at in one statement; 0: whatever pays. The answer is the same whatever it is.
    pub chunk_charges: u64,
    /// Where a second connection to the same database is opened, so that two chunks are compared at once (PostgreSQL only).
    pub beside: Option<&'a DatabaseUrl>,
    /// True if parts get a checksum of what they were made of, so that a later comparison can tell which chunks have changed.
    pub checksums: bool,
}

impl<'a> CompareRequest<'a> {
    /// A comparison of all charges that tells a moderate number of exceptions and payers.
    #[must_use]
    pub fn of(allocation: &'a Allocation) -> Self {
        Self {
            allocation,
            periods: &[],
            closed_before: None,
            closed_of: None,
            use_effective_view: true,
            exceptions_max: 500,
            movers_max: 15,
            asked_charges: &[],
            chunk_charges: 0,
            beside: None,
            checksums: false,
        }
    }
}

/// Whoever waits for a comparison. Every method has a default that goes on and keeps nothing.
pub trait CompareWatcher {
    /// `done` of `total` charges have been compared. False stops the comparison before its next chunk, or before its answer.
    fn progress(&mut self, _done: u64, _total: u64) -> bool {
        true
    }

    /// False spares the database the payers of exceptions that the comparison itself does not tell.
    fn keeps_exceptions(&self) -> bool {
        true
    }

    /// Exceptions as they are found, all of them, a chunk after the other; within a chunk by their ids, allocations without a charge
    /// last.
    fn exceptions(&mut self, _lines: Vec<ExceptionLine>) -> Result<(), CompareError> {
        Ok(())
    }

    /// False spares the work of packing parts.
    fn keeps_parts(&self) -> bool {
        true
    }

    /// A chunk is done. A run that is given its parts again goes on after them.
    fn checkpoint(&mut self, _part: &ComparePart) -> Result<(), CompareError> {
        Ok(())
    }

    /// The part of this place that an interrupted run of the same comparison left: it is taken as it is, and its exceptions are not told
    /// again.
    fn interrupted(&mut self, _number: u64) -> Result<Option<ComparePart>, CompareError> {
        Ok(None)
    }

    /// The part of this place of an earlier comparison: it is taken if nothing that it was made of has changed since, and its exceptions
    /// are told as if they had been found now.
    fn earlier(&mut self, _number: u64) -> Result<Option<ComparePart>, CompareError> {
        Ok(None)
    }
}

/// Nobody waits: all of it runs, and only the answer counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl CompareWatcher for Unwatched {
    fn keeps_exceptions(&self) -> bool {
        false
    }

    fn keeps_parts(&self) -> bool {
        false
    }
}

/// How a comparison ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    Finished(Box<Comparison>),
    /// The watcher stopped it.
    Stopped,
}

impl Compared {
    /// The comparison, unless it was stopped.
    #[must_use]
    pub fn finished(self) -> Option<Comparison> {
        match self {
            Self::Finished(comparison) => Some(*comparison),
            Self::Stopped => None,
        }
    }
}

/// Puts every asked charge into exactly one class and adds up what each side allocates.
///
/// Everything in the answer is of one moment: outside of a transaction, it begins one that sees nothing of what others commit meanwhile.
/// Only parts that the watcher gives back are as old as they are. In the caller's transaction one statement reads all charges, unless
/// `chunk_charges` says otherwise.
///
/// # Errors
/// A query that fails or lacks a column, rows that cannot be compared (no id, an amount that is no integer, a charge listed twice or
/// in two groups), whatever the database refuses, such as a sum beyond 64 bits on SQLite, and what the watcher returns.
pub fn compare(
    connection: &mut DatabaseConnection,
    request: &CompareRequest<'_>,
    watcher: &mut dyn CompareWatcher,
) -> Result<Compared, CompareError> {
    if connection.dialect() == Dialect::Sqlite && request.allocation.scale.is_some() {
        return Err(CompareError::ScaleOnSqlite);
    }
    if connection.is_in_transaction()? {
        // Nobody else sees what the caller's transaction has written.
        let request = CompareRequest { beside: None, ..request.clone() };
        return compare_in_transaction(connection, &request, watcher, false);
    }
    let beside = request.beside.filter(|_| compare_beside::is_possible(connection));
    connection.in_snapshot(|connection| {
        if connection.dialect() == Dialect::Postgres {
            connection.query(compare_beside::SETTINGS, &[])?;
        }
        let request = CompareRequest { beside, ..request.clone() };
        compare_in_transaction(connection, &request, watcher, true)
    })
}

fn compare_in_transaction(
    connection: &mut DatabaseConnection,
    request: &CompareRequest<'_>,
    watcher: &mut dyn CompareWatcher,
    is_one_moment: bool,
) -> Result<Compared, CompareError> {
    let effective = if request.use_effective_view { find_effective_view(connection)? } else { None };
    let columns = look(connection, request.allocation, effective.as_deref(), None)?;
    let everything = Scope::Between(None, None);
    let closed = match request.closed_of {
        Some(change) => find_closed(connection, change)?.filter(|closed| touches(request.periods, closed)),
        None => None,
    };
    let query = CompareQuery {
        closed: closed.as_ref(),
        ..query(connection.dialect(), request, effective.as_deref(), &columns, &everything)
    };
    refuse_nameless(connection, &query)?;
    let total = count(connection, &query)?;
    let wish = Wish { chunk_charges: request.chunk_charges, is_one_moment };
    let run = Run { query, request, wish, total, basis: basis(&query) };
    run.compare(connection, watcher)
}

pub(super) fn query<'a>(
    dialect: Dialect,
    request: &CompareRequest<'a>,
    effective: Option<&'a str>,
    columns: &'a ColumnKinds,
    scope: &'a Scope,
) -> CompareQuery<'a> {
    CompareQuery {
        dialect,
        allocation: request.allocation,
        periods: request.periods,
        effective,
        closed_before: request.closed_before,
        closed: None,
        asked_charges: request.asked_charges,
        settles: false,
        columns,
        scope,
    }
}

/// True if one of the periods that are compared, or any if all are, is a closed one.
fn touches(periods: &[String], closed: &Closed) -> bool {
    periods.is_empty() || periods.iter().any(|period| closed.periods.contains(period))
}

fn refuse_nameless(connection: &mut DatabaseConnection, query: &CompareQuery<'_>) -> Result<(), CompareError> {
    let scope = Scope::Nameless;
    let sql = compare_parts::faults(&CompareQuery { scope: &scope, ..*query });
    let mut faults = Vec::new();
    connection.query_each(&sql, |cells| {
        faults.push(Line(cells));
        Ok::<(), CompareError>(())
    })?;
    refuse_faults(&faults)
}

fn count(connection: &mut DatabaseConnection, query: &CompareQuery<'_>) -> Result<u64, CompareError> {
    let charges = connection.get_row(&compare_parts::count(query), &[])?.integer("charges")?;
    Ok(u64::try_from(charges).unwrap_or(0))
}

/// What a part depends on besides the rows: parts of another basis are not taken.
fn basis(query: &CompareQuery<'_>) -> String {
    let CompareQuery { dialect, allocation, periods, effective, closed_before, closed, asked_charges, columns, .. } =
        query;
    let described = format!(
        "1 {dialect:?} {allocation:?} {periods:?} {effective:?} {closed_before:?} {closed:?} {asked_charges:?} {columns:?}"
    );
    store::sha256(&described)
}

/// One comparison.
struct Run<'a> {
    query: CompareQuery<'a>,
    request: &'a CompareRequest<'a>,
    wish: Wish,
    /// Charges, for whoever watches.
    total: u64,
    basis: String,
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    /// A second connection that sees the same, and what it found out of a later chunk.
    beside: Option<DatabaseConnection>,
    ahead: Option<(Range, Answer)>,
    /// True if most charges of an earlier chunk had to be looked at in detail: then all of the next ones are, at once.
    details_all: bool,
    sums: Sums,
    payers: PayerTotals,
    charges: u64,
    /// Parts done, and parts of an earlier comparison looked at.
    number: u64,
    earlier: u64,
}

impl Run<'_> {
    fn compare(
        &self,
        connection: &mut DatabaseConnection,
        watcher: &mut dyn CompareWatcher,
    ) -> Result<Compared, CompareError> {
        let mut found = Found::default();
        let mut from = None;
        let mut ranges: VecDeque<Range> = VecDeque::new();
        let mut beside = self.request.beside;
        loop {
            if !watcher.progress(found.charges, self.total) {
                return Ok(Compared::Stopped);
            }
            let part = if let Some(part) = self.interrupted(watcher, found.number, &from)? {
                found.payers.add_packed(&part.payers)?;
                ranges.clear();
                part
            } else {
                if ranges.is_empty() {
                    let (earlier, unchanged) = self.earlier(connection, watcher, &mut found, &from)?;
                    if let Some(part) = unchanged {
                        found.payers.add_packed(&part.payers)?;
                        let part = ComparePart { number: found.number, ..part };
                        let done = self.keep(watcher, &mut found, part)?;
                        let Some(next) = done else { break };
                        from = Some(next);
                        continue;
                    }
                    ranges = match earlier.filter(|(_, to)| to.is_some()) {
                        Some(range) => VecDeque::from([range]),
                        None => {
                            let rest = self.total.saturating_sub(found.charges);
                            compare_chunks::plan(connection, &self.query, self.wish, from.clone(), rest)?
                        }
                    };
                }
                let range = ranges.pop_front().unwrap_or((from.clone(), None));
                if let Some(url) = beside.take_if(|_| !ranges.is_empty()) {
                    found.beside = compare_beside::open(connection, url)?;
                }
                let Some(part) = self.chunk(connection, watcher, &mut found, (&range, ranges.front()))? else {
                    // Too many exceptions to hold: the same in smaller pieces gives the same answer.
                    for piece in self.pieces(connection, &range)?.into_iter().rev() {
                        ranges.push_front(piece);
                    }
                    continue;
                };
                part
            };
            let Some(next) = self.keep(watcher, &mut found, part)? else { break };
            from = Some(next);
        }
        // Who said no while the last chunk was looked at wants no answer.
        if !watcher.progress(self.total, self.total) {
            return Ok(Compared::Stopped);
        }
        Ok(Compared::Finished(Box::new(self.comparison(found)?)))
    }

    /// Adds a part, hands it over, and returns where the next one begins.
    fn keep(
        &self,
        watcher: &mut dyn CompareWatcher,
        found: &mut Found,
        part: ComparePart,
    ) -> Result<Option<String>, CompareError> {
        found.sums.add_part(&part, self.request.exceptions_max);
        found.charges += part.charges;
        found.number += 1;
        watcher.checkpoint(&part)?;
        Ok(part.to)
    }

    fn interrupted(
        &self,
        watcher: &mut dyn CompareWatcher,
        number: u64,
        from: &Option<String>,
    ) -> Result<Option<ComparePart>, CompareError> {
        let part = watcher.interrupted(number)?;
        Ok(part.filter(|part| part.from == *from && part.basis == self.basis))
    }

    /// The range of an earlier comparison's next part, and the part itself if nothing in it has changed.
    fn earlier(
        &self,
        connection: &mut DatabaseConnection,
        watcher: &mut dyn CompareWatcher,
        found: &mut Found,
        from: &Option<String>,
    ) -> Result<(Option<Range>, Option<ComparePart>), CompareError> {
        let Some(part) = watcher.earlier(found.earlier)? else { return Ok((None, None)) };
        found.earlier += 1;
        if part.from != *from || part.basis != self.basis {
            return Ok((None, None));
        }
        let range = (part.from.clone(), part.to.clone());
        let unchanged = part.checksum.is_some()
            && self.chunk_of(&range, Kept::default(), false).checksum(connection)? == part.checksum;
        if !unchanged {
            return Ok((Some(range), None));
        }
        if watcher.keeps_exceptions() {
            let wrong: u64 =
                part.classes.iter().filter(|total| total.class.is_wrong()).map(|total| total.charges).sum();
            if u64::try_from(part.exceptions.len()) != Ok(wrong) {
                // The part does not hold all of them, and whoever keeps them wants all.
                return Ok((Some(range), None));
            }
            watcher.exceptions(part.exceptions.clone())?;
        }
        Ok((Some(range), Some(part)))
    }

    fn chunk_of<'b>(&'b self, range: &'b Range, kept: Kept, settles: bool) -> Chunk<'b> {
        Chunk {
            query: &self.query,
            asked: self.request.asked_charges,
            exceptions_max: self.request.exceptions_max,
            range,
            settles,
            kept,
        }
    }

    fn chunk(
        &self,
        connection: &mut DatabaseConnection,
        watcher: &mut dyn CompareWatcher,
        found: &mut Found,
        (range, next): (&Range, Option<&Range>),
    ) -> Result<Option<ComparePart>, CompareError> {
        let kept = Kept { parts: watcher.keeps_parts(), exceptions: watcher.keeps_exceptions() };
        let settles = self.query.dialect == Dialect::Postgres && !found.details_all;
        let chunk = self.chunk_of(range, kept, settles);
        let Some(answer) = self.answer(connection, found, &chunk, next)? else { return Ok(None) };
        let part = chunk.conclude(connection, answer, watcher)?;
        // The first chunk tells the charges that are gone from closed periods, wherever they were.
        let looks_elsewhere = range.0.is_none() && self.query.closed.is_some();
        let checksum = if self.request.checksums && !looks_elsewhere { chunk.checksum(connection)? } else { None };
        Ok(Some(ComparePart { number: found.number, basis: self.basis.clone(), checksum, ..part }))
    }

    /// What the main statement says of a chunk, its payers added; the next chunk's runs meanwhile on the second connection. `None`: it has
    /// more exceptions than can be held, and nothing was added.
    fn answer(
        &self,
        connection: &mut DatabaseConnection,
        found: &mut Found,
        chunk: &Chunk<'_>,
        next: Option<&Range>,
    ) -> Result<Option<Answer>, CompareError> {
        let ahead = found.ahead.take().filter(|(range, _)| range == chunk.range).map(|(_, answer)| answer);
        let mine = match (ahead, found.beside.take(), next) {
            (Some(answer), beside, _) => {
                found.beside = beside;
                Some(answer)
            }
            (None, Some(mut beside), Some(next)) => {
                let other = self.chunk_of(next, chunk.kept, chunk.settles);
                let (mine, others) = std::thread::scope(|scope| {
                    let others = scope.spawn(|| other.answer(&mut beside));
                    (chunk.answer(connection), others.join())
                });
                // What went wrong there is told when that chunk's turn comes.
                if let Ok(Ok(answer)) = others {
                    found.ahead = answer.map(|answer| (next.clone(), answer));
                    found.beside = Some(beside);
                }
                mine?
            }
            (None, beside, _) => {
                found.beside = beside;
                chunk.answer(connection)?
            }
        };
        mine.map(|mut answer| {
            found.details_all |= answer.is_mostly_detailed();
            found.payers.merge(std::mem::take(&mut answer.payer_totals))?;
            Ok(answer)
        })
        .transpose()
    }

    fn pieces(&self, connection: &mut DatabaseConnection, range: &Range) -> Result<VecDeque<Range>, CompareError> {
        let scope = Scope::Between(range.0.clone(), range.1.clone());
        let charges = count(connection, &CompareQuery { scope: &scope, ..self.query })?;
        compare_chunks::cut(connection, &self.query, range, (charges / 8).max(1))
    }

    fn comparison(&self, found: Found) -> Result<Comparison, CompareError> {
        let Found { sums, payers, .. } = found;
        let tables = payers.tables(self.request.movers_max)?;
        let (totals, classes) = (sums.totals(), sums.classes());
        let mut asked = sums.asked;
        asked.sort_by(|a, b| id_order(&a.charge_id).cmp(&id_order(&b.charge_id)));
        let exponent = |currency: &str| {
            let Allocation { exponent, scale, .. } = self.request.allocation;
            exponent.or(*scale).or_else(|| exponent_of(currency))
        };
        Ok(Comparison {
            effective: if self.query.effective.is_some() { EffectiveSource::View } else { EffectiveSource::Old },
            exponents: totals
                .iter()
                .filter_map(|total| Some((total.currency.clone(), exponent(&total.currency)?)))
                .collect(),
            exceptions_total: classes.iter().filter(|total| total.class.is_wrong()).map(|total| total.charges).sum(),
            exceptions: sums.exceptions,
            asked,
            totals,
            classes,
            payers: tables.payers,
            movers: tables.movers,
            histogram: tables.histogram,
        })
    }
}
