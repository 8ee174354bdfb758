//! How far a cohort of users reaches once they are widened to the groups of a change. Nothing is written.

use super::assign::WidenedCohort;
use super::error::RoutingError;
use super::groups::{GroupLookup, Widened};
use super::payers::count_payers;
use super::routed::RoutedChange;
use crate::database::DatabaseConnection;
use crate::flags::Cohort;
use crate::primitives::ChangeName;

/// The payers of a cohort's groups are counted up to so many groups.
const COUNTED_GROUPS_MAX: usize = 10_000;

/// How far a cohort's ids reach if the change's flag names it. Its conditions reach nobody: groups have no attributes.
pub fn reach(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    cohort: &Cohort,
) -> Result<WidenedCohort, RoutingError> {
    let change = RoutedChange::get(connection, change)?;
    let widened = GroupLookup::prepare(connection, &change)?.widen(connection, cohort.ids().iter())?;
    told(connection, &change, cohort, &widened)
}

/// What is told of a cohort that has been widened.
pub(super) fn told(
    connection: &mut DatabaseConnection,
    change: &RoutedChange,
    cohort: &Cohort,
    widened: &Widened,
) -> Result<WidenedCohort, RoutingError> {
    let payers = match widened.groups.len() {
        0..=COUNTED_GROUPS_MAX => Some(count_payers(connection, change, widened.groups.iter())?),
        _ => None,
    };
    Ok(WidenedCohort::new(cohort, widened, payers))
}
