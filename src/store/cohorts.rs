//! Cohorts: name, generation, number of ids. The ids themselves are in `cohort_leaves`. The generation is the
//! configuration's version that the last write to the cohort made, so no generation is ever used twice.

use diesel::prelude::*;
use serde_json::json;

use super::audit::{self, AuditEntry};
use super::cohort_generations::{self, Generation, Keep};
use super::cohort_leaves::AsOf;
use super::cohort_merge::{self, Action, Comparison};
use super::cohort_staging::{self, Staged};
use super::protection::{self, EditSize};
use super::schema::cohorts;
use super::sorted_ids::{Feed, SortedIds};
use super::upload::{Receipt, Upload};
use super::{Origin, Page, PageRequest, StoreError, cohort_leaves, flags, now, sha256, state};
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
    /// `flags::CohortConditions` as JSON.
    pub conditions: String,
}

impl StoredCohort {
    #[must_use]
    pub fn updated_at(&self) -> Instant {
        Instant::from_micros(self.updated_at)
    }
}

/// What is to happen to a cohort's ids.
#[derive(Debug, Clone, Copy)]
pub enum Edit<'a> {
    Replace(&'a SortedIds),
    Add(&'a SortedIds),
    Remove(&'a SortedIds),
    /// Does with a staged upload what it was sent for; the upload goes with it.
    Activate(&'a Staged),
    /// Gives it the ids of an earlier generation.
    Restore(i64),
}

impl Edit<'_> {
    /// The name of the edit in the history and in the audit log.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match self {
            Self::Replace(_) => "cohort.replace",
            Self::Add(_) => "cohort.add",
            Self::Remove(_) => "cohort.remove",
            Self::Activate(_) => "cohort.activate",
            Self::Restore(_) => "cohort.restore",
        }
    }

    /// Who uploaded the ids, if they were staged: where a flag takes two persons, another one must activate them.
    fn uploader(&self) -> Option<&str> {
        match self {
            Self::Activate(staged) => Some(&staged.actor),
            Self::Replace(_) | Self::Add(_) | Self::Remove(_) | Self::Restore(_) => None,
        }
    }
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
        let ids = u64::try_from(self.cohort.id_count).unwrap_or(0);
        let counts = Receipt { generation: self.cohort.generation, ids, ..upload.receipt(&self.cohort.name) };
        Receipt { added: self.added, removed: self.removed, ..counts }
    }

    /// The receipt for a staged upload that was activated.
    #[must_use]
    pub fn receipt_of(&self, staged: &Staged) -> Receipt {
        let ids = u64::try_from(self.cohort.id_count).unwrap_or(0);
        let counts = Receipt { generation: self.cohort.generation, ids, ..staged.receipt.clone() };
        Receipt { added: self.added, removed: self.removed, ..counts }
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

/// Creates a cohort without ids and conditions.
pub fn create(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    description: &str,
    origin: Origin<'_>,
) -> Result<StoredCohort, StoreError> {
    create_as(connection, name, Changes { description: Some(description), conditions: None }, origin)
}

/// Creates a cohort without ids; one with the same name is an error.
pub fn create_as(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    described: Changes<'_>,
    origin: Origin<'_>,
) -> Result<StoredCohort, StoreError> {
    let generation = state::next_config_version(connection)?;
    if find(connection, name)?.is_some() {
        return Err(StoreError::Exists { what: "cohort", name: name.to_string() });
    }
    let at = now().as_micros();
    let cohort = StoredCohort {
        name: name.to_string(),
        description: described.description.unwrap_or_default().to_owned(),
        generation,
        id_count: 0,
        created_at: at,
        updated_at: at,
        updated_by: origin.actor.to_owned(),
        conditions: described.conditions.unwrap_or("[]").to_owned(),
    };
    diesel::insert_into(cohorts::table).values(&cohort).execute(connection)?;
    if described.conditions.is_some() {
        protection::check_cohort_edit(connection, name, EditSize { ids: 0, conditions: true }, origin)?;
    }
    record(connection, &cohort, Made { action: "cohort.create", sha256: Some(sha256("")), ..Made::default() }, origin)?;
    Ok(cohort)
}

/// What of a cohort is to be changed besides its ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changes<'a> {
    pub description: Option<&'a str>,
    /// `flags::CohortConditions` as JSON.
    pub conditions: Option<&'a str>,
}

/// Changes a cohort's description or conditions. With `seen`, only if that is still its generation.
pub fn describe(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    changes: Changes<'_>,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<StoredCohort, StoreError> {
    let before = advance(connection, name, seen, origin)?;
    let changed = changes.conditions.is_some_and(|conditions| conditions != before.conditions);
    let cohort = StoredCohort {
        description: changes.description.map_or(before.description, str::to_owned),
        conditions: changes.conditions.map_or(before.conditions, str::to_owned),
        ..before
    };
    let size = EditSize { ids: 0, conditions: changed };
    protection::check_cohort_edit(connection, name, size, origin)?;
    write(connection, &cohort)?;
    let earlier = cohort_generations::as_of(connection, name, cohort.generation - 1)?;
    let sha256 = earlier.and_then(|earlier| earlier.sha256);
    record(connection, &cohort, Made { action: "cohort.describe", sha256, ..Made::default() }, origin)?;
    Ok(cohort)
}

/// Replaces, adds, removes or restores ids: all of it, or nothing. With `seen`, only if that is still the cohort's generation.
pub fn edit(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    edit: Edit<'_>,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<Edited, StoreError> {
    let cohort = advance(connection, name, seen, origin)?;
    let generation = cohort.generation;
    let (action, mut feed, sha256) = match edit {
        Edit::Replace(ids) => (Action::Replace, Feed::new(ids.pieces()?), Some(ids.sha256().to_owned())),
        Edit::Add(ids) => (Action::Add, Feed::new(ids.pieces()?), None),
        Edit::Remove(ids) => (Action::Remove, Feed::new(ids.pieces()?), None),
        Edit::Activate(staged) => {
            let sha256 = (staged.action == Action::Replace).then(|| staged.sha256.clone());
            (staged.action, cohort_staging::feed(&staged.id), sha256)
        }
        Edit::Restore(earlier) => {
            let earlier = cohort_generations::get_readable(connection, name, earlier)?;
            (Action::Replace, cohort_leaves::feed(name, AsOf::Version(earlier.generation)), earlier.sha256)
        }
    };
    let Comparison { added, removed, .. } = cohort_merge::apply(connection, name, generation, action, &mut feed)?;
    let difference = i64::try_from(added).unwrap_or(i64::MAX) - i64::try_from(removed).unwrap_or(i64::MAX);
    let cohort = StoredCohort { id_count: cohort.id_count + difference, ..cohort };
    let size = EditSize { ids: added.saturating_add(removed), conditions: false };
    match edit.uploader() {
        None => protection::check_cohort_edit(connection, name, size, origin)?,
        Some(uploader) => protection::check_cohort_activation(connection, name, size, uploader, origin)?,
    }
    write(connection, &cohort)?;
    record(connection, &cohort, Made { action: edit.action(), added, removed, sha256 }, origin)?;
    if let Edit::Activate(staged) = edit {
        cohort_staging::delete(connection, &staged.id)?;
    }
    cohort_generations::prune(connection, name, Keep::default())?;
    Ok(Edited { cohort, added, removed })
}

/// Removes a cohort. One that a flag's rule names is not removed: the rule would match nobody from then on.
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
    let removed = u64::try_from(cohort.id_count).unwrap_or(0);
    diesel::delete(cohorts::table.find(name.as_str())).execute(connection)?;
    cohort_leaves::end_all(connection, name, cohort.generation)?;
    cohort_staging::delete_of(connection, name)?;
    let made = Made { action: Generation::DELETE, removed, ..Made::default() };
    record(connection, &StoredCohort { id_count: 0, ..cohort }, made, origin)?;
    cohort_generations::prune(connection, name, Keep::default())?;
    Ok(())
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

fn write(connection: &mut DatabaseConnection, cohort: &StoredCohort) -> Result<(), StoreError> {
    diesel::update(cohorts::table.find(&cohort.name))
        .set((
            cohorts::description.eq(&cohort.description),
            cohorts::conditions.eq(&cohort.conditions),
            cohorts::id_count.eq(cohort.id_count),
        ))
        .execute(connection)?;
    Ok(())
}

/// What made a generation.
#[derive(Debug, Clone, Default)]
struct Made {
    action: &'static str,
    added: u64,
    removed: u64,
    sha256: Option<String>,
}

fn record(
    connection: &mut DatabaseConnection,
    cohort: &StoredCohort,
    made: Made,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let subject = format!("cohort/{}", cohort.name);
    let detail = json!({
        "generation": cohort.generation,
        "ids": cohort.id_count,
        "added": made.added,
        "removed": made.removed,
        "sha256": made.sha256,
    });
    let generation = Generation {
        cohort: cohort.name.clone(),
        generation: cohort.generation,
        action: made.action.to_owned(),
        description: cohort.description.clone(),
        conditions: cohort.conditions.clone(),
        id_count: cohort.id_count,
        added: i64::try_from(made.added).unwrap_or(i64::MAX),
        removed: i64::try_from(made.removed).unwrap_or(i64::MAX),
        sha256: made.sha256,
        at: now().as_micros(),
        actor: origin.actor.to_owned(),
        reason: origin.reason.to_owned(),
        readable: true,
    };
    cohort_generations::record(connection, &generation)?;
    let entry =
        AuditEntry { actor: origin.actor, action: made.action, subject: &subject, reason: origin.reason, detail };
    audit::append(connection, &entry)
}
