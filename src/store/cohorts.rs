//! Cohorts: name, generation, number of ids. The ids themselves are in `cohort_leaves`. The generation is the
//! configuration's version that the last write to the cohort made, so no generation is ever used twice.

use diesel::prelude::*;
use serde_json::json;

use super::audit::{self, AuditEntry};
use super::cohort_leaves;
use super::schema::cohorts;
use super::upload::{self, Receipt, Upload};
use super::{Origin, Page, PageRequest, StoreError, flags, now, state};
use crate::database::DatabaseConnection;
use crate::flags::Flag;
use crate::primitives::{CohortName, Instant};

/// A cohort as it is now, without its ids.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = cohorts)]
pub struct StoredCohort {
    pub name: String,
    pub description: String,
    pub generation: i64,
    pub id_count: i64,
    /// Microseconds since 1970.
    pub created_at: i64,
    pub updated_at: i64,
    pub updated_by: String,
}

impl StoredCohort {
    #[must_use]
    pub fn updated_at(&self) -> Instant {
        Instant::from_micros(self.updated_at)
    }
}

/// What is to happen to a cohort's ids; the ids are sorted by their bytes and distinct, as `upload::read` returns them.
#[derive(Debug, Clone, Copy)]
pub enum Edit<'a> {
    Replace(&'a [String]),
    Add(&'a [String]),
    Remove(&'a [String]),
}

/// What an [`Edit`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    pub cohort: StoredCohort,
    pub added: u64,
    pub removed: u64,
}

impl Edited {
    /// The receipt for the upload that the edit's ids came from.
    #[must_use]
    pub fn receipt(&self, upload: &Upload) -> Receipt {
        Receipt {
            cohort: self.cohort.name.clone(),
            generation: self.cohort.generation,
            ids: u64::try_from(self.cohort.id_count).unwrap_or(0),
            read: upload.read,
            added: self.added,
            removed: self.removed,
            duplicates: upload.duplicates,
            rejected: upload.rejected,
            rejections: upload.rejections.clone(),
            sha256: upload::checksum(&upload.ids),
        }
    }
}

/// The cohort with this name.
pub fn find(connection: &mut DatabaseConnection, name: &CohortName) -> Result<Option<StoredCohort>, StoreError> {
    Ok(cohorts::table.find(name.as_str()).select(StoredCohort::as_select()).first(connection).optional()?)
}

/// The cohort with this name, or an error that says there is none.
pub fn get(connection: &mut DatabaseConnection, name: &CohortName) -> Result<StoredCohort, StoreError> {
    find(connection, name)?.ok_or_else(|| StoreError::not_found("cohort", name.as_str()))
}

/// A page of cohorts in the order of their names.
pub fn list(connection: &mut DatabaseConnection, request: &PageRequest) -> Result<Page<StoredCohort>, StoreError> {
    let rows = cohorts::table
        .filter(cohorts::name.gt(request.after.as_deref().unwrap_or_default()))
        .order(cohorts::name.asc())
        .limit(request.rows())
        .select(StoredCohort::as_select())
        .load(connection)?;
    Ok(Page::cut(rows, request, |cohort: &StoredCohort| cohort.name.clone()))
}

/// All cohorts, for a snapshot.
pub fn all(connection: &mut DatabaseConnection) -> Result<Vec<StoredCohort>, StoreError> {
    Ok(cohorts::table.order(cohorts::name.asc()).select(StoredCohort::as_select()).load(connection)?)
}

/// Creates a cohort without ids; one with the same name is an error.
pub fn create(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    description: &str,
    origin: Origin<'_>,
) -> Result<StoredCohort, StoreError> {
    let generation = state::next_config_version(connection)?;
    if find(connection, name)?.is_some() {
        return Err(StoreError::Exists { what: "cohort", name: name.to_string() });
    }
    let at = now().as_micros();
    let cohort = StoredCohort {
        name: name.to_string(),
        description: description.to_owned(),
        generation,
        id_count: 0,
        created_at: at,
        updated_at: at,
        updated_by: origin.actor.to_owned(),
    };
    diesel::insert_into(cohorts::table).values(&cohort).execute(connection)?;
    let detail = json!({ "generation": generation });
    record(connection, name, "cohort.create", detail, origin)?;
    Ok(cohort)
}

/// Changes a cohort's description. With `seen`, only if that is still its generation.
pub fn describe(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    description: &str,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<StoredCohort, StoreError> {
    let cohort = advance(connection, name, seen, origin)?;
    diesel::update(cohorts::table.find(name.as_str())).set(cohorts::description.eq(description)).execute(connection)?;
    record(connection, name, "cohort.describe", json!({ "generation": cohort.generation }), origin)?;
    Ok(StoredCohort { description: description.to_owned(), ..cohort })
}

/// Replaces, adds or removes ids: all of it, or nothing. With `seen`, only if that is still the cohort's generation.
pub fn edit(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    edit: Edit<'_>,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<Edited, StoreError> {
    let cohort = advance(connection, name, seen, origin)?;
    let before = u64::try_from(cohort.id_count).unwrap_or(0);
    let (action, count, added, removed) = match edit {
        Edit::Replace(ids) => {
            let kept = cohort_leaves::replace(connection, name, ids)?;
            let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
            ("cohort.replace", count, count - kept.min(count), before - kept.min(before))
        }
        Edit::Add(ids) => {
            let added = cohort_leaves::add(connection, name, ids)?.added;
            ("cohort.add", before + added, added, 0)
        }
        Edit::Remove(ids) => {
            let removed = cohort_leaves::remove(connection, name, ids)?.removed;
            ("cohort.remove", before - removed.min(before), 0, removed)
        }
    };
    let id_count = i64::try_from(count).unwrap_or(i64::MAX);
    diesel::update(cohorts::table.find(name.as_str())).set(cohorts::id_count.eq(id_count)).execute(connection)?;
    let detail = json!({ "generation": cohort.generation, "ids": count, "added": added, "removed": removed });
    record(connection, name, action, detail, origin)?;
    Ok(Edited { cohort: StoredCohort { id_count, ..cohort }, added, removed })
}

/// Removes a cohort with its ids. One that a flag's rule names is not removed: the rule would match nobody from then on.
/// With `seen`, only if that is still its generation.
pub fn remove(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let cohort = advance(connection, name, seen, origin)?;
    if let Some(flag) = flag_that_uses(connection, name)? {
        return Err(StoreError::InUse { name: name.to_string(), flag });
    }
    diesel::delete(cohorts::table.find(name.as_str())).execute(connection)?;
    let detail = json!({ "generation": cohort.generation, "ids": cohort.id_count });
    record(connection, name, "cohort.delete", detail, origin)
}

fn flag_that_uses(connection: &mut DatabaseConnection, name: &CohortName) -> Result<Option<String>, StoreError> {
    let uses = |stored: &flags::StoredFlag| {
        Flag::parse(&stored.data).is_ok_and(|flag| flag.cohorts().any(|cohort| cohort == name))
    };
    Ok(flags::all(connection)?.into_iter().find(uses).map(|stored| stored.key))
}

/// Gives the cohort its next generation, if it is at the one that was seen.
fn advance(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<StoredCohort, StoreError> {
    let generation = state::next_config_version(connection)?;
    let target = cohorts::table.filter(cohorts::name.eq(name.as_str()));
    let values = (
        cohorts::generation.eq(generation),
        cohorts::updated_at.eq(now().as_micros()),
        cohorts::updated_by.eq(origin.actor),
    );
    let written = match seen {
        Some(seen) => diesel::update(target.filter(cohorts::generation.eq(seen))).set(values).execute(connection)?,
        None => diesel::update(target).set(values).execute(connection)?,
    };
    let found = get(connection, name)?;
    match seen {
        Some(seen) if written == 0 => {
            Err(StoreError::Stale { what: "cohort", name: name.to_string(), seen, current: found.generation })
        }
        _ => Ok(found),
    }
}

fn record(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    action: &str,
    detail: serde_json::Value,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let subject = format!("cohort/{name}");
    audit::append(
        connection,
        &AuditEntry { actor: origin.actor, action, subject: &subject, reason: origin.reason, detail },
    )
}
