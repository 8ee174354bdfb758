//! A cohort as it is held in memory, read from the store; after a small change only what came and went is read.

use std::collections::BTreeSet;
use std::sync::Arc;

use diesel::prelude::*;

use super::cohort_leaves::{self, AsOf, Leaves, leaves};
use super::cohorts::StoredCohort;
use super::schema::cohort_leaves as table;
use super::{StoreError, cohort_generations};
use crate::database::DatabaseConnection;
use crate::flags::{Cohort, CohortConditions, CohortIds};
use crate::primitives::CohortName;

/// The cohort as it is stored; `held` is what memory has of it. One whose conditions cannot be read is left out, so that rules over it
/// match nobody, rather than being taken for one without conditions.
pub fn read(
    connection: &mut DatabaseConnection,
    stored: &StoredCohort,
    held: Option<&Arc<Cohort>>,
) -> Result<Option<Arc<Cohort>>, StoreError> {
    let Ok(name) = CohortName::new(&stored.name) else { return Ok(None) };
    let conditions = match CohortConditions::parse(&stored.conditions) {
        Ok(conditions) => conditions,
        Err(error) => {
            tracing::error!(cohort = stored.name, %error, "a cohort's stored conditions cannot be read and it is left out");
            return Ok(None);
        }
    };
    let ids = match held {
        Some(held) if held.generation() == stored.generation => return Ok(Some(Arc::clone(held))),
        Some(held) => ids_since(connection, &name, held.ids(), (held.generation(), stored.generation))?,
        None => None,
    };
    let ids = match ids {
        Some(ids) => ids,
        None => cohort_leaves::ids(connection, &name, AsOf::Now)?,
    };
    Ok(Some(Arc::new(Cohort::new(name, stored.generation, ids).with_conditions(conditions))))
}

/// The ids of a cohort that is at generation `from` in memory, read up to generation `to`: only leaves that came or went between
/// the two are read. Nothing if these are no longer kept, or if they are so many that reading all is as good.
fn ids_since(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    held: &CohortIds,
    (from, to): (i64, i64),
) -> Result<Option<CohortIds>, StoreError> {
    let texts_of = |connection: &mut DatabaseConnection, which: Leaves<'_>| -> Result<Vec<String>, StoreError> {
        Ok(which.select(table::ids).load(connection)?)
    };
    let came = || leaves(cohort, AsOf::Came { from, to });
    let went = || leaves(cohort, AsOf::Went { from, to });
    let new_ids: Vec<i64> = came().select(table::id_count).load(connection)?;
    let old_ids: Vec<i64> = went().select(table::id_count).load(connection)?;
    let touched: i64 = new_ids.iter().chain(&old_ids).sum();
    let is_kept = cohort_generations::as_of(connection, cohort, from)?
        .is_some_and(|generation| generation.readable && generation.generation == from);
    if !is_kept || touched > i64::try_from(held.len() / 4).unwrap_or(i64::MAX) {
        return Ok(None);
    }
    let (new, old) = (texts_of(connection, came())?, texts_of(connection, went())?);
    let lines =
        |texts: &[String]| texts.iter().flat_map(|text| text.lines()).map(str::to_owned).collect::<BTreeSet<_>>();
    let (new, old) = (lines(&new), lines(&old));
    let (added, removed): (Vec<&String>, Vec<&String>) =
        (new.difference(&old).collect(), old.difference(&new).collect());
    Ok(Some(held.changed(&removed, &added)))
}
