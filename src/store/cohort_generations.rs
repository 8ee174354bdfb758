//! Every generation of every cohort: who made it, when, why and what it changed. Its ids can be read back while they are kept; the
//! counts stay for good.

use diesel::prelude::*;

use super::cohort_leaves::{self, AsOf, LeafReader};
use super::cohort_merge::{self, Comparison};
use super::schema::{cohort_generations as table, cohort_uploads};
use super::{Page, PageRequest, StoreError, hexadecimal, now};
use crate::database::DatabaseConnection;
use crate::primitives::{CohortName, Instant};

/// One generation of a cohort.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = table)]
pub struct Generation {
    pub cohort: String,
    pub generation: i64,
    /// What made it, as in the audit log: `cohort.create`, `cohort.replace`, …
    pub action: String,
    pub description: String,
    /// `flags::CohortConditions` as JSON.
    pub conditions: String,
    pub id_count: i64,
    pub added: i64,
    pub removed: i64,
    /// Of all its ids, where a single upload brought them; see `sorted_ids::SortedIds::sha256`.
    pub sha256: Option<String>,
    /// Microseconds since 1970.
    pub at: i64,
    pub actor: String,
    pub reason: String,
    /// Whether its ids can still be read back.
    pub readable: bool,
}

impl Generation {
    /// The action of a removal of the cohort itself.
    pub const DELETE: &'static str = "cohort.delete";

    #[must_use]
    pub fn at(&self) -> Instant {
        Instant::from_micros(self.at)
    }
}

/// Which generations keep their ids: the latest ones, and all that are young enough, but no more than `count_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    pub count_min: i64,
    pub days: i64,
    pub count_max: i64,
}

impl Default for Keep {
    fn default() -> Self {
        Self { count_min: 30, days: 90, count_max: 1_000 }
    }
}

const MICROS_A_DAY: i64 = 86_400_000_000;

pub(super) fn record(connection: &mut DatabaseConnection, generation: &Generation) -> Result<(), StoreError> {
    diesel::insert_into(table::table).values(generation).execute(connection)?;
    Ok(())
}

/// A cohort's generations, the latest first; `after` is a generation. A cohort that was removed still has them.
pub fn list(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    request: &PageRequest,
) -> Result<Page<Generation>, StoreError> {
    let before = request.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(i64::MAX);
    let rows = table::table
        .filter(table::cohort.eq(cohort.as_str()))
        .filter(table::generation.lt(before))
        .order(table::generation.desc())
        .limit(request.rows())
        .select(Generation::as_select())
        .load(connection)?;
    Ok(Page::cut(rows, request, |row: &Generation| row.generation.to_string()))
}

/// One generation, or an error that says there is none.
pub fn get(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    generation: i64,
) -> Result<Generation, StoreError> {
    let found = table::table.find((cohort.as_str(), generation)).select(Generation::as_select());
    let found = found.first(connection).optional()?;
    found.ok_or_else(|| StoreError::not_found("generation", &format!("{cohort} {generation}")))
}

/// The generation that a cohort had at a version of the configuration; none if there was no such cohort then.
pub fn as_of(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    version: i64,
) -> Result<Option<Generation>, StoreError> {
    let found: Option<Generation> = table::table
        .filter(table::cohort.eq(cohort.as_str()))
        .filter(table::generation.le(version))
        .order(table::generation.desc())
        .select(Generation::as_select())
        .first(connection)
        .optional()?;
    Ok(found.filter(|found| found.action != Generation::DELETE))
}

/// The names of all cohorts that there ever were, for a snapshot as of an earlier version.
pub fn names(connection: &mut DatabaseConnection) -> Result<Vec<CohortName>, StoreError> {
    let names: Vec<String> =
        table::table.select(table::cohort).distinct().order(table::cohort.asc()).load(connection)?;
    Ok(names.iter().filter_map(|name| CohortName::new(name).ok()).collect())
}

/// The generation, if its ids can be read back; otherwise an error.
pub fn get_readable(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    generation: i64,
) -> Result<Generation, StoreError> {
    let found = get(connection, cohort, generation)?;
    if found.readable && found.action != Generation::DELETE {
        return Ok(found);
    }
    Err(StoreError::NotKept { name: cohort.to_string(), generation })
}

/// Who came and who went from one generation to another; the first may be the later one.
pub fn compare(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    (from, to): (i64, i64),
) -> Result<Comparison, StoreError> {
    get_readable(connection, cohort, from)?;
    get_readable(connection, cohort, to)?;
    let (earlier, later) = (from.min(to), from.max(to));
    let went = AsOf::Went { from: earlier, to: later };
    let came = AsOf::Came { from: earlier, to: later };
    let (old, new) = if from <= to { (went, came) } else { (came, went) };
    cohort_merge::compare(connection, &mut cohort_leaves::feed(cohort, old), &mut cohort_leaves::feed(cohort, new))
}

/// The sha-256 of a generation's ids, as in `sorted_ids`: the stored one, or computed from its leaves.
pub fn checksum(connection: &mut DatabaseConnection, generation: &Generation) -> Result<String, StoreError> {
    use sha2::Digest;
    if let Some(sha256) = &generation.sha256 {
        return Ok(sha256.clone());
    }
    let Ok(cohort) = CohortName::new(&generation.cohort) else { return Ok(String::new()) };
    let mut leaves = LeafReader::new(&cohort, AsOf::Version(generation.generation), None);
    let mut hash = sha2::Sha256::new();
    while let Some(text) = leaves.next(connection)? {
        hash.update(text.as_bytes());
        hash.update(b"\n");
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// Forgets the ids of generations that need not be kept, and staged uploads whose time is up. Part of every write to a cohort.
pub fn prune(connection: &mut DatabaseConnection, cohort: &CohortName, keep: Keep) -> Result<u64, StoreError> {
    let at = now().as_micros();
    diesel::delete(cohort_uploads::table.filter(cohort_uploads::expires_at.le(at))).execute(connection)?;
    let young = at - keep.days * MICROS_A_DAY;
    let generations: Vec<(i64, i64)> = table::table
        .filter(table::cohort.eq(cohort.as_str()))
        .filter(table::readable.eq(true))
        .order(table::generation.desc())
        .select((table::generation, table::at))
        .load(connection)?;
    let kept = (0..)
        .zip(&generations)
        .take_while(|(number, (_, at))| *number < keep.count_min.max(1) || (*at >= young && *number < keep.count_max));
    let Some(oldest) = kept.map(|(_, (generation, _))| *generation).last() else { return Ok(0) };
    let before = table::table.filter(table::cohort.eq(cohort.as_str())).filter(table::generation.lt(oldest));
    let forgotten =
        diesel::update(before.filter(table::readable.eq(true))).set(table::readable.eq(false)).execute(connection)?;
    if forgotten > 0 {
        cohort_leaves::delete_before(connection, cohort, oldest)?;
    }
    Ok(u64::try_from(forgotten).unwrap_or(u64::MAX))
}

/// When a generation with this number was made, whichever cohort it is of; in microseconds since 1970.
pub(super) fn made_at(connection: &mut DatabaseConnection, generation: i64) -> Result<Option<i64>, StoreError> {
    let found = table::table.filter(table::generation.eq(generation)).select(table::at);
    Ok(found.first(connection).optional()?)
}
