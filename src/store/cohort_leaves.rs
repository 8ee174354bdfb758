//! A cohort's ids, sorted and cut into leaves: texts of up to some thousand ids, one a line. A million ids are five hundred
//! rows, so a cohort is imported and loaded in well under a second, and one id costs the rewriting of one leaf.
//!
//! Writers hold the lock of `state` while they are here, so a leaf that was read is still the same when it is written.

use std::collections::BTreeSet;

use diesel::prelude::*;

use super::schema::cohort_leaves as table;
use super::{Page, PageRequest, StoreError};
use crate::database::DatabaseConnection;
use crate::primitives::CohortName;

/// Ids in a leaf that is newly cut, and the most that one may grow to.
const LEAF_IDS: usize = 2_048;
const LEAF_IDS_MAX: usize = 2 * LEAF_IDS;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = table)]
struct Leaf {
    cohort: String,
    first_id: String,
    id_count: i64,
    ids: String,
}

/// What adding or removing did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) added: u64,
    pub(super) removed: u64,
}

/// The texts of all leaves in order: ids one a line, sorted by their bytes.
pub fn load(connection: &mut DatabaseConnection, cohort: &CohortName) -> Result<Vec<String>, StoreError> {
    Ok(table::table
        .filter(table::cohort.eq(cohort.as_str()))
        .order(table::first_id.asc())
        .select(table::ids)
        .load(connection)?)
}

/// True if the cohort holds exactly this id.
pub fn contains(connection: &mut DatabaseConnection, cohort: &CohortName, id: &str) -> Result<bool, StoreError> {
    let ids: Option<String> = table::table
        .filter(table::cohort.eq(cohort.as_str()))
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
    request: &PageRequest,
) -> Result<Page<String>, StoreError> {
    let after = request.after.as_deref().unwrap_or_default();
    let rows = usize::try_from(request.rows()).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    let mut leaf = leaf_of(connection, cohort, after)?.or(next_leaf(connection, cohort, after)?);
    while let Some(current) = leaf {
        let wanted = rows - found.len();
        found.extend(current.ids.lines().filter(|id| *id > after).take(wanted).map(str::to_owned));
        if found.len() == rows {
            break;
        }
        leaf = next_leaf(connection, cohort, &current.first_id)?;
    }
    Ok(Page::cut(found, request, String::clone))
}

/// Puts exactly these ids, sorted and distinct, in place of what is there. Returns how many of them were there before.
pub(super) fn replace(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    ids: &[String],
) -> Result<u64, StoreError> {
    let mut kept = 0;
    let mut rest = ids;
    for leaf in load(connection, cohort)? {
        for id in leaf.lines() {
            let at = rest.partition_point(|new| new.as_str() < id);
            rest = rest.get(at..).unwrap_or_default();
            kept += u64::from(rest.first().is_some_and(|new| new == id));
        }
    }
    diesel::delete(table::table.filter(table::cohort.eq(cohort.as_str()))).execute(connection)?;
    insert(connection, cohort, ids, LEAF_IDS)?;
    Ok(kept)
}

/// Adds ids, sorted and distinct; those that are there already stay.
pub(super) fn add(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    ids: &[String],
) -> Result<Difference, StoreError> {
    edit(connection, cohort, ids, |present, id, difference| {
        difference.added += u64::from(present.insert(id.to_owned()));
    })
}

/// Removes ids, sorted and distinct; those that are not there are passed over.
pub(super) fn remove(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    ids: &[String],
) -> Result<Difference, StoreError> {
    edit(connection, cohort, ids, |present, id, difference| {
        difference.removed += u64::from(present.remove(id));
    })
}

/// Goes through `ids` leaf by leaf, so that each leaf is read and written once however many of them it takes.
fn edit(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    ids: &[String],
    apply: impl Fn(&mut BTreeSet<String>, &str, &mut Difference),
) -> Result<Difference, StoreError> {
    let mut difference = Difference::default();
    let mut rest = ids;
    while let Some(first) = rest.first() {
        let leaf = match leaf_of(connection, cohort, first)? {
            Some(leaf) => Some(leaf),
            None => next_leaf(connection, cohort, "")?,
        };
        let until = match &leaf {
            Some(leaf) => next_leaf(connection, cohort, &leaf.first_id)?.map(|next| next.first_id),
            None => None,
        };
        let length = until.map_or(rest.len(), |until| rest.partition_point(|id| *id < until));
        let (here, later) = rest.split_at(length);
        let mut present: BTreeSet<String> = leaf.iter().flat_map(|leaf| leaf.ids.lines()).map(str::to_owned).collect();
        let before = difference;
        for id in here {
            apply(&mut present, id, &mut difference);
        }
        if difference != before {
            if let Some(leaf) = leaf {
                diesel::delete(table::table.find((cohort.as_str(), leaf.first_id))).execute(connection)?;
            }
            let present: Vec<String> = present.into_iter().collect();
            let size = if present.len() > LEAF_IDS_MAX { LEAF_IDS } else { LEAF_IDS_MAX };
            insert(connection, cohort, &present, size)?;
        }
        rest = later;
    }
    Ok(difference)
}

fn insert(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    ids: &[String],
    size: usize,
) -> Result<(), StoreError> {
    for chunk in ids.chunks(size) {
        let leaf = Leaf {
            cohort: cohort.to_string(),
            first_id: chunk.first().cloned().unwrap_or_default(),
            id_count: i64::try_from(chunk.len()).unwrap_or(i64::MAX),
            ids: chunk.join("\n"),
        };
        diesel::insert_into(table::table).values(&leaf).execute(connection)?;
    }
    Ok(())
}

/// The leaf in whose range `id` lies: the last one that does not begin after it.
fn leaf_of(connection: &mut DatabaseConnection, cohort: &CohortName, id: &str) -> Result<Option<Leaf>, StoreError> {
    Ok(table::table
        .filter(table::cohort.eq(cohort.as_str()))
        .filter(table::first_id.le(id))
        .order(table::first_id.desc())
        .select(Leaf::as_select())
        .first(connection)
        .optional()?)
}

/// The first leaf that begins after `id`.
fn next_leaf(connection: &mut DatabaseConnection, cohort: &CohortName, id: &str) -> Result<Option<Leaf>, StoreError> {
    Ok(table::table
        .filter(table::cohort.eq(cohort.as_str()))
        .filter(table::first_id.gt(id))
        .order(table::first_id.asc())
        .select(Leaf::as_select())
        .first(connection)
        .optional()?)
}
