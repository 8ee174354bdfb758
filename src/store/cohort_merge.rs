//! Puts ids into a cohort's leaves, or takes them out. Leaves whose ids stay the same are left alone, so a generation costs what
//! differs from the one before; both sides are read in order, a leaf and a piece at a time, whatever their size.
//!
//! Writers hold the lock of `state` while they are here, so a leaf that was read is still the same when it is replaced.

use std::cmp::Ordering;

use serde::Serialize;
use utoipa::ToSchema;

use super::StoreError;
use super::cohort_leaves::{self, NewLeaf, Place};
use super::sorted_ids::{Feed, line_at};
use crate::database::DatabaseConnection;
use crate::primitives::CohortName;

/// Ids in a leaf that is newly cut, the most that one may grow to, and how few are joined with the next one.
const LEAF_IDS: usize = 2_048;
const LEAF_IDS_MAX: usize = 2 * LEAF_IDS;
const LEAF_IDS_MIN: usize = LEAF_IDS / 8;

/// What is to happen to a cohort's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Replace,
    Add,
    Remove,
}

/// How many ids are listed of those that come, and of those that go.
const SAMPLES_MAX: usize = 100;

/// Who comes and who goes: all counted, the first of them listed in the order of their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Comparison {
    pub added: u64,
    pub removed: u64,
    pub come: Vec<String>,
    pub go: Vec<String>,
}

impl Comparison {
    fn note(&mut self, fate: Fate, id: &str) {
        let (count, sample) = match fate {
            Fate::Comes => (&mut self.added, &mut self.come),
            Fate::Goes => (&mut self.removed, &mut self.go),
            Fate::Stays | Fate::Absent => return,
        };
        *count += 1;
        if sample.len() < SAMPLES_MAX {
            sample.push(id.to_owned());
        }
    }
}

/// What becomes of one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Comes,
    Goes,
    /// It is not there and does not come.
    Absent,
}

impl Action {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Replace, Self::Add, Self::Remove].into_iter().find(|action| action.as_str() == text)
    }

    /// What becomes of an id that stands only here, only in the upload, or in both (`order` of the one here to the upload's).
    pub(super) fn fate(self, order: Ordering) -> Fate {
        match (order, self) {
            (Ordering::Less, Self::Replace) | (Ordering::Equal, Self::Remove) => Fate::Goes,
            (Ordering::Less, Self::Add | Self::Remove) | (Ordering::Equal, Self::Replace | Self::Add) => Fate::Stays,
            (Ordering::Greater, Self::Replace | Self::Add) => Fate::Comes,
            (Ordering::Greater, Self::Remove) => Fate::Absent,
        }
    }
}

/// Makes `generation` of a cohort out of the current one.
pub(super) fn apply(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    generation: i64,
    action: Action,
    feed: &mut Feed<'_>,
) -> Result<Comparison, StoreError> {
    merge(connection, Merge::new(cohort, Some(generation), action), feed)
}

/// What that would do. Writes nothing.
pub(super) fn preview(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    action: Action,
    feed: &mut Feed<'_>,
) -> Result<Comparison, StoreError> {
    merge(connection, Merge::new(cohort, None, action), feed)
}

/// Who is in `new` and not in `old`, and the other way round.
pub(super) fn compare(
    connection: &mut DatabaseConnection,
    old: &mut Feed<'_>,
    new: &mut Feed<'_>,
) -> Result<Comparison, StoreError> {
    let mut comparison = Comparison::default();
    loop {
        let here = old.peek(connection)?;
        let there = new.peek(connection)?;
        let order = match (here, there) {
            (None, None) => return Ok(comparison),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(here), Some(there)) => here.cmp(there),
        };
        let id = here.filter(|_| order.is_le()).or(there).unwrap_or_default();
        comparison.note(Action::Replace.fate(order), id);
        if order.is_le() {
            old.advance();
        }
        if order.is_ge() {
            new.advance();
        }
    }
}

fn merge(
    connection: &mut DatabaseConnection,
    mut merge: Merge<'_>,
    feed: &mut Feed<'_>,
) -> Result<Comparison, StoreError> {
    let places = cohort_leaves::places(connection, merge.cohort)?;
    let mut at = 0;
    loop {
        if merge.action != Action::Replace && merge.count == 0 {
            let Some(next) = feed.peek(connection)? else { break };
            at = at.max(places.partition_point(|place| place.first_id.as_str() <= next).saturating_sub(1));
        }
        let until = places.get(at + 1).map(|place| place.first_id.as_str());
        merge.leaf(connection, places.get(at), until, feed)?;
        at += 1;
        if at >= places.len() {
            break;
        }
    }
    merge.flush(connection)?;
    Ok(merge.comparison)
}

/// The leaf that is being written.
struct Merge<'a> {
    cohort: &'a CohortName,
    /// None: nothing is written.
    generation: Option<i64>,
    action: Action,
    ids: String,
    count: usize,
    comparison: Comparison,
}

impl<'a> Merge<'a> {
    fn new(cohort: &'a CohortName, generation: Option<i64>, action: Action) -> Self {
        Self { cohort, generation, action, ids: String::new(), count: 0, comparison: Comparison::default() }
    }
}

impl Merge<'_> {
    /// Merges the ids before `until` with a leaf, which may be missing if the cohort has none. What is left of the leaf before it
    /// goes into the same new leaf.
    fn leaf(
        &mut self,
        connection: &mut DatabaseConnection,
        place: Option<&Place>,
        until: Option<&str>,
        feed: &mut Feed<'_>,
    ) -> Result<(), StoreError> {
        let text = place.map(|place| cohort_leaves::text_of(connection, self.cohort, place)).transpose()?;
        let text = text.map_or_else(String::new, |text| text + "\n");
        let mut rewritten = self.count > 0;
        if rewritten {
            self.end(connection, place)?;
        }
        let mut at = 0;
        loop {
            let here = (at < text.len()).then(|| line_at(&text, at));
            let there = feed.peek(connection)?.filter(|id| until.is_none_or(|until| *id < until));
            let order = match (here, there) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(here), Some(there)) => here.cmp(there),
            };
            let fate = self.action.fate(order);
            if !rewritten && matches!(fate, Fate::Comes | Fate::Goes) {
                rewritten = true;
                self.end(connection, place)?;
                self.take_over(text.get(..at).unwrap_or_default());
            }
            if rewritten {
                self.decide(fate, here.filter(|_| order.is_le()).or(there).unwrap_or_default());
            }
            if order.is_le() {
                at += here.map_or(0, str::len) + 1;
            }
            if order.is_ge() {
                feed.advance();
            }
            if self.count > LEAF_IDS_MAX {
                self.cut(connection)?;
            }
        }
        if self.count >= LEAF_IDS_MIN { self.flush(connection) } else { Ok(()) }
    }

    /// Before its ids are written anew: no two leaves of a generation begin with the same id.
    fn end(&self, connection: &mut DatabaseConnection, place: Option<&Place>) -> Result<(), StoreError> {
        match (place, self.generation) {
            (Some(place), Some(generation)) => cohort_leaves::end(connection, self.cohort, place, generation),
            _ => Ok(()),
        }
    }

    fn take_over(&mut self, lines: &str) {
        self.ids.push_str(lines);
        self.count += lines.bytes().filter(|byte| *byte == b'\n').count();
    }

    fn decide(&mut self, fate: Fate, id: &str) {
        self.comparison.note(fate, id);
        if matches!(fate, Fate::Comes | Fate::Stays) {
            self.ids.push_str(id);
            self.ids.push('\n');
            self.count += 1;
        }
    }

    /// Writes the first half of what has grown too large.
    fn cut(&mut self, connection: &mut DatabaseConnection) -> Result<(), StoreError> {
        let ends = self.ids.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let Some((end, _)) = ends.take(LEAF_IDS).last() else { return Ok(()) };
        let rest = self.ids.split_off(end + 1);
        let count = self.count - LEAF_IDS;
        self.count = LEAF_IDS;
        self.flush(connection)?;
        (self.ids, self.count) = (rest, count);
        Ok(())
    }

    fn flush(&mut self, connection: &mut DatabaseConnection) -> Result<(), StoreError> {
        if self.count == 0 {
            return Ok(());
        }
        let ids = self.ids.trim_end_matches('\n');
        if let Some(from_generation) = self.generation {
            let leaf = NewLeaf {
                cohort: self.cohort.as_str(),
                first_id: line_at(ids, 0),
                from_generation,
                id_count: i64::try_from(self.count).unwrap_or(i64::MAX),
                ids,
            };
            cohort_leaves::insert(connection, &leaf)?;
        }
        self.ids.clear();
        self.count = 0;
        Ok(())
    }
}
