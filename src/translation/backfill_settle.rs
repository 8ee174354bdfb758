//! The end of a block's backfill where the block's query reads its own target: what a key gets may follow from what another key has (a
//! refund is divided as the refunded charge is), and that one may have been filled later, or by another worker at the same time. So all
//! keys are compared once everything is filled, and refreshed where they differ, until nothing does.

use super::backfill::Filling;
use super::backfill_telling::Telling;
use super::backfill_worker::Told;
use super::error::TranslationError;
use super::look::Look;
use crate::database::DatabaseConnection;
use crate::sql::verify::KeyRange;

/// Keys compared in one statement.
const RANGE_KEYS: usize = 5_000;

/// How often all keys are compared. Each round carries a chain of keys one link further at least, and mostly to its end; what does not
/// come to rest is left to `verify`, which says which keys differ.
const ROUNDS_MAX: u32 = 10;

impl Filling<'_> {
    /// Does nothing for a block that does not read its own target, and while some part is not filled yet. False if it was stopped: then it
    /// begins anew, since the block is not finished before.
    pub(super) fn settle(
        &self,
        connection: &mut DatabaseConnection,
        telling: &mut Telling<'_, '_>,
    ) -> Result<bool, TranslationError> {
        if !self.block().reads_target(connection.dialect()) || self.ranges.count_open(connection)? > 0 {
            return Ok(true);
        }
        for _ in 0..ROUNDS_MAX {
            let refreshed = self.look_once(connection, telling)?;
            if self.is_stopped() {
                return Ok(false);
            }
            if refreshed == 0 {
                return Ok(true);
            }
        }
        tracing::warn!(block = %self.block().id, "keys of the block still follow from one another: verify tells which differ");
        Ok(true)
    }

    /// Compares all keys and refreshes those that differ. Returns the number of target rows that it has put right.
    fn look_once(
        &self,
        connection: &mut DatabaseConnection,
        telling: &mut Telling<'_, '_>,
    ) -> Result<i64, TranslationError> {
        let look = Look { block: self.block(), samples_max: 0, repair: Some(self.ranges.model) };
        let (mut after, mut compared, mut refreshed) = (None, 0u64, 0i64);
        while !self.is_stopped() {
            let rest = KeyRange::Between { after: after.clone(), until: None };
            let (bound, keys) = look.next_bound(connection, &rest, RANGE_KEYS)?;
            let found = look.at(connection, &KeyRange::Between { after, until: bound.clone() })?;
            compared = compared.saturating_add(keys);
            refreshed += found.repaired;
            telling.take(Told::Waits(format!(
                "at last it compares keys that may follow from one another, {compared} so far"
            )));
            if bound.is_none() {
                break;
            }
            after = bound;
        }
        Ok(refreshed)
    }
}
