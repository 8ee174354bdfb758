//! A cohort's ids, sorted and cut into leaves: texts of up to some thousand ids, one a line. A million ids are five hundred
//! rows, so a cohort is imported and loaded in well under a second, and one id costs the rewriting of one leaf. A leaf is never
//! changed: it is part of its cohort from one generation on, until another one. `cohort_merge` writes them.

use std::collections::VecDeque;

use diesel::prelude::*;

use super::schema::cohort_leaves as table;
use super::sorted_ids::{Feed, Pieces};
use super::{Page, PageRequest, StoreError};
use crate::database::DatabaseConnection;
use crate::flags::{CohortIds, CohortIdsBuilder};
use crate::primitives::CohortName;

/// Leaves that are read with one query: about a megabyte.
const LEAVES_A_READ: i64 = 16;

#[derive(Insertable)]
#[diesel(table_name = table)]
pub(super) struct NewLeaf<'a> {
    pub(super) cohort: &'a str,
    pub(super) first_id: &'a str,
    pub(super) from_generation: i64,
    pub(super) id_count: i64,
    pub(super) ids: &'a str,
}

/// Where a leaf begins, and since when it is there; the cohort and these two are its key.
#[derive(Debug, Clone, Queryable)]
pub(super) struct Place {
    pub(super) first_id: String,
    pub(super) from_generation: i64,
}

/// Which leaves of a cohort are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    Now,
    /// Those of the generation that was current at a version of the configuration.
    Version(i64),
    /// Those that the second of two versions has and the first has not: together they hold every id that came.
    Came {
        from: i64,
        to: i64,
    },
    /// Those that the first has and the second has not: together they hold every id that went.
    Went {
        from: i64,
        to: i64,
    },
}

pub(super) type Leaves<'a> = table::BoxedQuery<'a, <DatabaseConnection as diesel::Connection>::Backend>;

pub(super) fn leaves(cohort: &CohortName, as_of: AsOf) -> Leaves<'_> {
    let all = table::table.filter(table::cohort.eq(cohort.as_str())).into_boxed();
    match as_of {
        AsOf::Now => all.filter(table::until_generation.is_null()),
        AsOf::Version(version) => all
            .filter(table::from_generation.le(version))
            .filter(table::until_generation.is_null().or(table::until_generation.gt(version))),
        AsOf::Came { from, to } => leaves(cohort, AsOf::Version(to)).filter(table::from_generation.gt(from)),
        AsOf::Went { from, to } => leaves(cohort, AsOf::Version(from)).filter(table::until_generation.le(to)),
    }
}

/// The texts of all leaves in order: ids one a line, sorted by their bytes.
pub fn load(connection: &mut DatabaseConnection, cohort: &CohortName) -> Result<Vec<String>, StoreError> {
    Ok(leaves(cohort, AsOf::Now).order(table::first_id.asc()).select(table::ids).load(connection)?)
}

/// The ids that a cohort had at a version of the configuration. See `cohort_generations::as_of` for whether they are kept.
pub fn load_as_of(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    version: i64,
) -> Result<CohortIds, StoreError> {
    ids(connection, cohort, AsOf::Version(version))
}

/// All ids of a cohort, as they are held in memory.
pub fn ids(connection: &mut DatabaseConnection, cohort: &CohortName, as_of: AsOf) -> Result<CohortIds, StoreError> {
    let mut builder = CohortIdsBuilder::default();
    let mut reader = LeafReader::new(cohort, as_of, None);
    while let Some(text) = reader.next(connection)? {
        text.lines().for_each(|id| builder.push(id));
    }
    Ok(builder.finish())
}

/// True if the cohort holds exactly this id.
pub fn contains(connection: &mut DatabaseConnection, cohort: &CohortName, id: &str) -> Result<bool, StoreError> {
    let ids: Option<String> = leaves(cohort, AsOf::Now)
        .filter(table::first_id.le(id))
        .order(table::first_id.desc())
        .select(table::ids)
        .first(connection)
        .optional()?;
    Ok(ids.is_some_and(|ids| ids.lines().any(|line| line == id)))
}

/// A page of ids, in the order of their bytes.
pub fn list(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    as_of: AsOf,
    request: &PageRequest,
) -> Result<Page<String>, StoreError> {
    let after = request.after.as_deref().unwrap_or_default();
    let rows = usize::try_from(request.rows()).unwrap_or(usize::MAX);
    let mut reader = LeafReader::from(connection, cohort, as_of, after)?;
    let mut found = Vec::new();
    while let Some(text) = reader.next(connection)? {
        let wanted = rows - found.len();
        found.extend(text.lines().filter(|id| *id > after).take(wanted).map(str::to_owned));
        if found.len() == rows {
            break;
        }
    }
    Ok(Page::cut(found, request, String::clone))
}

/// Reads leaves in order, some at a time.
pub struct LeafReader<'a> {
    cohort: &'a CohortName,
    as_of: AsOf,
    read: VecDeque<String>,
    /// The first id of the last leaf that was read.
    after: Option<String>,
    done: bool,
}

impl<'a> LeafReader<'a> {
    /// Begins with the leaf after the one that begins with `after`.
    #[must_use]
    pub fn new(cohort: &'a CohortName, as_of: AsOf, after: Option<String>) -> Self {
        Self { cohort, as_of, read: VecDeque::new(), after, done: false }
    }

    /// Begins with the leaf in whose range `id` lies.
    fn from(
        connection: &mut DatabaseConnection,
        cohort: &'a CohortName,
        as_of: AsOf,
        id: &str,
    ) -> Result<Self, StoreError> {
        let found: Option<(String, String)> = leaves(cohort, as_of)
            .filter(table::first_id.le(id))
            .order(table::first_id.desc())
            .select((table::first_id, table::ids))
            .first(connection)
            .optional()?;
        let (after, read) = found.map_or((None, VecDeque::new()), |(first, ids)| (Some(first), VecDeque::from([ids])));
        Ok(Self { read, ..Self::new(cohort, as_of, after) })
    }

    /// Some leaves' ids, one a line, each with its line feed; empty at the end.
    pub fn next_several(&mut self, connection: &mut DatabaseConnection) -> Result<String, StoreError> {
        let mut text = String::new();
        while text.is_empty() || !self.read.is_empty() {
            let Some(leaf) = self.next(connection)? else { break };
            text.push_str(&leaf);
            text.push('\n');
        }
        Ok(text)
    }

    /// Where another reader goes on.
    #[must_use]
    pub fn position(&self) -> Option<String> {
        self.after.clone().filter(|_| !self.done)
    }

    /// The next leaf's text, if there is one.
    pub fn next(&mut self, connection: &mut DatabaseConnection) -> Result<Option<String>, StoreError> {
        if self.read.is_empty() && !self.done {
            let mut query = leaves(self.cohort, self.as_of);
            if let Some(after) = &self.after {
                query = query.filter(table::first_id.gt(after));
            }
            let rows: Vec<(String, String)> = query
                .order(table::first_id.asc())
                .limit(LEAVES_A_READ)
                .select((table::first_id, table::ids))
                .load(connection)?;
            self.done = i64::try_from(rows.len()).unwrap_or(i64::MAX) < LEAVES_A_READ;
            for (first, ids) in rows {
                self.after = Some(first);
                self.read.push_back(ids);
            }
        }
        Ok(self.read.pop_front())
    }
}

/// A cohort's ids one after the other.
pub(super) fn feed(cohort: &CohortName, as_of: AsOf) -> Feed<'_> {
    let mut reader = LeafReader::new(cohort, as_of, None);
    Feed::new(Pieces::Rows(Box::new(move |connection| reader.next(connection))))
}

/// Where the leaves of a cohort begin, in order.
pub(super) fn places(connection: &mut DatabaseConnection, cohort: &CohortName) -> Result<Vec<Place>, StoreError> {
    Ok(leaves(cohort, AsOf::Now)
        .order(table::first_id.asc())
        .select((table::first_id, table::from_generation))
        .load(connection)?)
}

pub(super) fn text_of(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    place: &Place,
) -> Result<String, StoreError> {
    let key = (cohort.as_str(), place.first_id.as_str(), place.from_generation);
    Ok(table::table.find(key).select(table::ids).first(connection)?)
}

pub(super) fn insert(connection: &mut DatabaseConnection, leaf: &NewLeaf<'_>) -> Result<(), StoreError> {
    diesel::insert_into(table::table).values(leaf).execute(connection)?;
    Ok(())
}

/// Ends a leaf: from this generation on it is no longer part of its cohort.
pub(super) fn end(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    place: &Place,
    generation: i64,
) -> Result<(), StoreError> {
    let key = (cohort.as_str(), place.first_id.as_str(), place.from_generation);
    diesel::update(table::table.find(key)).set(table::until_generation.eq(generation)).execute(connection)?;
    Ok(())
}

/// Ends all leaves of a cohort.
pub(super) fn end_all(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    generation: i64,
) -> Result<(), StoreError> {
    let current = table::table.filter(table::cohort.eq(cohort.as_str())).filter(table::until_generation.is_null());
    diesel::update(current).set(table::until_generation.eq(generation)).execute(connection)?;
    Ok(())
}

/// Deletes the leaves that no generation from `oldest` on has.
pub(super) fn delete_before(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    oldest: i64,
) -> Result<(), StoreError> {
    let gone = table::table.filter(table::cohort.eq(cohort.as_str())).filter(table::until_generation.le(oldest));
    diesel::delete(gone).execute(connection)?;
    Ok(())
}
