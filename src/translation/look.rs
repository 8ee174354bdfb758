//! One look at a range of keys: the next bound, a comparison in one statement and so on one snapshot, and a second look at what it
//! finds, under the driving rows' locks. What differs can be refreshed in the same go. Verify, repair and the sentinel are looks at
//! different ranges.

use crate::database::{DatabaseConnection, DatabaseError, Dialect};
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::verify::{
    KeyRange, count_keys, delete_keyless, differing_keys, differing_rows, keyless_rows, keys_of_both, range_end,
    target_end,
};

use super::health::Drift;
use super::repair::{in_direction, refresh_keys};
use super::verify::{DriftClass, DriftRow, image, lock_driving};

/// Keys looked at again, and refreshed, in one transaction: it holds their locks for some ten milliseconds.
const CONFIRM_KEYS: usize = 200;

/// Target rows in a range, for each driving key that it may have.
const ROWS_PER_KEY: usize = 4;

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What differed, confirmed.
    pub drift: Drift,
    /// Of it, what no refresh has put right.
    pub left: Drift,
    /// Rows that a refresh has put right.
    pub repaired: i64,
    /// Some of the rows, as they were before a repair.
    pub samples: Vec<DriftRow>,
    /// All keys concerned.
    pub keys_differing: Vec<String>,
}

impl Found {
    fn count(&mut self, class: DriftClass, repaired: bool) {
        self.drift.add(class);
        if repaired {
            self.repaired += 1;
        } else {
            self.left.add(class);
        }
    }
}

/// How to look.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub block: &'a BlockModel,
    pub samples_max: usize,
    /// Refresh what differs.
    pub repair: Option<&'a ChangeModel>,
}

impl Look<'_> {
    /// Where a look of `range_keys` keys into `range` ends, and the number of driving keys up to there. `None`: it is all of the range.
    pub fn next_bound(
        self,
        connection: &mut DatabaseConnection,
        range: &KeyRange,
        range_keys: usize,
    ) -> Result<(Option<String>, u64), DatabaseError> {
        let KeyRange::Between { after, until } = range else { return Ok((None, self.count(connection, range)?)) };
        let dialect = connection.dialect();
        let found = connection.find_row(&range_end(self.block, dialect, range, range_keys), &[])?;
        let driving = found.map(|row| row.text("key")).transpose()?;
        let cut = KeyRange::Between { after: after.clone(), until: driving.clone().or_else(|| until.clone()) };
        let rows = range_keys.saturating_mul(ROWS_PER_KEY);
        let found = connection.find_row(&target_end(self.block, dialect, &cut, rows), &[])?;
        let target = found.map(|row| row.text("key")).transpose()?;
        if target.is_none() && driving.is_some() && self.block.driving.key_is_unique {
            return Ok((driving.filter(|key| Some(key) != until.as_ref()), u64::try_from(range_keys).unwrap_or(0)));
        }
        let bound = target.or(driving).filter(|key| Some(key) != until.as_ref());
        let cut = KeyRange::Between { after: after.clone(), until: bound.clone().or_else(|| until.clone()) };
        Ok((bound, self.count(connection, &cut)?))
    }

    pub fn count(self, connection: &mut DatabaseConnection, range: &KeyRange) -> Result<u64, DatabaseError> {
        let keys = connection.get_row(&count_keys(self.block, range), &[])?.integer("keys")?;
        Ok(u64::try_from(keys).unwrap_or(0))
    }

    /// Compares a range that [`Look::next_bound`] has cut. The first range of all has the rows without a key as well.
    pub fn at(self, connection: &mut DatabaseConnection, range: &KeyRange) -> Result<Found, DatabaseError> {
        let mut found = Found::default();
        if let KeyRange::Between { after: None, .. } = range {
            self.keyless(connection, &mut found)?;
        }
        for keys in self.suspects(connection, range)?.chunks(CONFIRM_KEYS) {
            self.confirm(connection, keys, &mut found)?;
        }
        Ok(found)
    }

    /// Keys that may have drifted. Where the comparison itself fails, because the block's query cannot be computed for some key, that is
    /// every key of the range: each is then looked at on its own.
    fn suspects(self, connection: &mut DatabaseConnection, range: &KeyRange) -> Result<Vec<String>, DatabaseError> {
        let dialect = connection.dialect();
        let rows = match connection.query(&differing_keys(self.block, dialect, range), &[]) {
            Err(error) if is_of_the_data(&error) => {
                tracing::debug!(block = %self.block.id, %error, "a range cannot be compared as a whole");
                connection.query(&keys_of_both(self.block, dialect, range), &[])?
            }
            rows => rows?,
        };
        let mut keys: Vec<String> = rows.iter().map(|row| row.text("key")).collect::<Result<_, _>>()?;
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    fn confirm(
        self,
        connection: &mut DatabaseConnection,
        keys: &[String],
        found: &mut Found,
    ) -> Result<(), DatabaseError> {
        let rows = match self.rows(connection, keys) {
            Err(error) if is_of_the_data(&error) => return self.confirm_each(connection, keys, found, &error),
            rows => rows?,
        };
        let differing = keys_of(&rows);
        let left = match self.repair {
            Some(model) if !differing.is_empty() => self.refresh(connection, model, &differing)?,
            _ => differing.clone(),
        };
        found.keys_differing.extend(differing);
        for mut row in rows {
            row.repaired = !left.contains(&row.key);
            found.count(row.class, row.repaired);
            if found.samples.len() < self.samples_max {
                found.samples.push(row);
            }
        }
        Ok(())
    }

    /// Halves the keys until those that fail stand alone.
    fn confirm_each(
        self,
        connection: &mut DatabaseConnection,
        keys: &[String],
        found: &mut Found,
        error: &DatabaseError,
    ) -> Result<(), DatabaseError> {
        if let [key] = keys {
            found.count(DriftClass::Different, false);
            found.keys_differing.push(key.clone());
            if found.samples.len() < self.samples_max {
                found.samples.push(DriftRow::failing(key, error));
            }
            return Ok(());
        }
        let (first, second) = keys.split_at(keys.len() / 2);
        self.confirm(connection, first, found)?;
        self.confirm(connection, second, found)
    }

    /// Refreshes keys, one by one if they cannot be together. Returns those that still differ, or cannot be computed.
    fn refresh(
        self,
        connection: &mut DatabaseConnection,
        model: &ChangeModel,
        keys: &[String],
    ) -> Result<Vec<String>, DatabaseError> {
        let mut left = Vec::new();
        let tried = match refresh_keys(connection, model, self.block, keys) {
            Err(error) if is_of_the_data(&error) && keys.len() > 1 => {
                for key in keys {
                    left.extend(self.refresh(connection, model, std::slice::from_ref(key))?);
                }
                return Ok(left);
            }
            Err(error) if is_of_the_data(&error) => {
                tracing::warn!(block = %self.block.id, ?keys, %error, "a key could not be repaired");
                Ok(())
            }
            tried => tried,
        };
        tried?;
        Ok(keys_of(&self.rows(connection, keys)?))
    }

    /// The differing rows of some keys, while nobody can change their driving rows: a row that was being written is no drift.
    fn rows(self, connection: &mut DatabaseConnection, keys: &[String]) -> Result<Vec<DriftRow>, DatabaseError> {
        let among = KeyRange::Among(keys.to_vec());
        // Writers lock rows in any order, so under load many locks at once meet a deadlock again and again. A single one cannot.
        let attempts = if keys.len() > 1 { 2 } else { 20 };
        let looked = connection.in_transaction_with_retry(attempts, DatabaseError::is_retryable, |connection| {
            if connection.dialect() == Dialect::Postgres {
                lock_driving(connection, self.block, &among)?;
            }
            let rows = connection.query(&differing_rows(self.block, connection.dialect(), &among), &[])?;
            rows.iter().map(DriftRow::read).collect()
        });
        match looked {
            Err(error) if error.is_retryable() && keys.len() > 1 => {
                let (first, second) = keys.split_at(keys.len() / 2);
                let mut found = self.rows(connection, first)?;
                found.extend(self.rows(connection, second)?);
                Ok(found)
            }
            looked => looked,
        }
    }

    fn keyless(self, connection: &mut DatabaseConnection, found: &mut Found) -> Result<(), DatabaseError> {
        let dialect = connection.dialect();
        let Some([count, samples]) = keyless_rows(self.block, dialect, self.samples_max) else { return Ok(()) };
        let rows = connection.get_row(&count, &[])?.integer("count")?;
        if rows == 0 {
            return Ok(());
        }
        found.drift.extra += rows;
        for row in connection.query(&samples, &[])? {
            found.samples.push(DriftRow {
                class: DriftClass::Extra,
                key: String::from("NULL"),
                expected: None,
                actual: image(row.find_text("actual")?),
                error: None,
                repaired: self.repair.is_some(),
            });
        }
        if let (Some(model), Some(delete)) = (self.repair, delete_keyless(self.block)) {
            let deleted = connection.in_transaction_with_retry(10, DatabaseError::is_retryable, |connection| {
                in_direction(connection, model, self.block, |connection| connection.execute(&delete, &[]))
            })?;
            found.repaired += i64::try_from(deleted).unwrap_or(0);
        } else {
            found.left.extra += rows;
        }
        Ok(())
    }
}

/// True for what a row's values cause, and no second try or other connection mends.
fn is_of_the_data(error: &DatabaseError) -> bool {
    matches!(error, DatabaseError::Query(_)) && !error.is_retryable() && !error.is_disconnected()
}

fn keys_of(rows: &[DriftRow]) -> Vec<String> {
    let mut keys: Vec<String> = rows.iter().map(|row| row.key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
