//! The ranges that the newest looks were at: the sentinel picks the oldest, stores what it found, splits ranges that have grown and
//! gives away those that are almost empty.

use crate::database::{DatabaseConnection, DatabaseError, Row, Value};
use crate::primitives::ChangeName;
use crate::sql::names::{literal, own};

use super::look::Found;
use super::ranges::add_samples;

/// A current range of a block: a row of the table.
#[derive(Debug, Clone)]
pub(super) struct CurrentRange {
    pub block: String,
    pub number: i64,
    pub after: Option<String>,
    pub until: Option<String>,
}

/// The current ranges of a block in which drift was found.
pub(super) fn drifting(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    block: &str,
) -> Result<Vec<CurrentRange>, DatabaseError> {
    let sql = format!(
        "SELECT block, number, after_key, until_key FROM {} WHERE change = $1 AND run = 'current' AND block = $2
           AND missing + extra + differing > 0 ORDER BY number",
        own(connection.dialect(), "range")
    );
    connection.query(&sql, &[Value::from(change.as_str()), Value::from(block)])?.iter().map(current_range).collect()
}

/// The current range, among those of some blocks, that has been waiting longest.
pub(super) fn oldest(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    blocks: &[String],
) -> Result<Option<CurrentRange>, DatabaseError> {
    let list: Vec<String> = blocks.iter().map(|block| literal(block)).collect();
    if list.is_empty() {
        return Ok(None);
    }
    let sql = format!(
        "SELECT block, number, after_key, until_key FROM {} WHERE change = $1 AND run = 'current' AND block IN ({})
         ORDER BY coalesce(verified_at, since), block, number LIMIT 1",
        own(connection.dialect(), "range"),
        list.join(", ")
    );
    connection.find_row(&sql, &[Value::from(change.as_str())])?.as_ref().map(current_range).transpose()
}

/// Gives a block that has no range yet one of all keys, waiting from now on.
pub(super) fn ensure_ranges(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    block: &str,
) -> Result<(), DatabaseError> {
    let sql = format!(
        "INSERT INTO {table} (change, run, block, number, after_key, until_key, keys, missing, extra, differing, repaired, since, verified_at)
         SELECT $1, 'current', $2, 0, NULL, NULL, 0, 0, 0, 0, 0, $3, NULL
         WHERE NOT EXISTS (SELECT 1 FROM {table} o WHERE o.change = $1 AND o.run = 'current' AND o.block = $2)
         ON CONFLICT (change, run, block, number) DO NOTHING",
        table = own(connection.dialect(), "range")
    );
    let now = jiff::Timestamp::now().as_microsecond();
    connection.execute(&sql, &[Value::from(change.as_str()), Value::from(block), Value::from(now)])?;
    Ok(())
}

/// What a look at a current range found.
pub(super) struct Looked<'a> {
    pub range: &'a CurrentRange,
    /// Where the look ended, if that was before the range's end: the rest becomes a range of its own, as old as the whole was.
    pub bound: Option<&'a str>,
    pub keys: u64,
    pub found: &'a Found,
}

/// Stores it, unless the range is not there any more as it was: then whoever changed it has looked.
pub(super) fn store_look(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    looked: &Looked<'_>,
) -> Result<(), DatabaseError> {
    let (range, found) = (looked.range, looked.found);
    let now = jiff::Timestamp::now().as_microsecond();
    connection.in_transaction_with_retry(10, DatabaseError::is_retryable, |connection| {
        let table = own(connection.dialect(), "range");
        if let Some(bound) = looked.bound {
            split(connection, change, range, bound)?;
        }
        let sql = format!(
            "UPDATE {table} SET until_key = $1, keys = $2, missing = $3, extra = $4, differing = $5, repaired = repaired + $6, verified_at = $7
             WHERE change = $8 AND run = 'current' AND block = $9 AND number = $10 AND coalesce(after_key, '') = $11
               AND coalesce(until_key, '') = $12"
        );
        let values = [
            Value::from(looked.bound.map(str::to_owned).or_else(|| range.until.clone())),
            Value::from(i64::try_from(looked.keys).unwrap_or(i64::MAX)),
            Value::from(found.left.missing),
            Value::from(found.left.extra),
            Value::from(found.left.different),
            Value::from(found.repaired),
            Value::from(now),
            Value::from(change.as_str()),
            Value::from(range.block.as_str()),
            Value::from(range.number),
            Value::from(range.after.clone().unwrap_or_default()),
            Value::from(range.until.clone().unwrap_or_default()),
        ];
        if connection.execute(&sql, &values)? == 1 && !found.samples.is_empty() {
            add_samples(connection, change, "current", &range.block, &found.samples)?;
        }
        Ok(())
    })
}

fn split(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    range: &CurrentRange,
    bound: &str,
) -> Result<(), DatabaseError> {
    let table = own(connection.dialect(), "range");
    let sql = format!(
        "INSERT INTO {table} (after_key, number, change, run, block, until_key, keys, missing, extra, differing, repaired, since, verified_at)
         SELECT $1, (SELECT max(n.number) + 1 FROM {table} n WHERE n.change = o.change AND n.run = o.run AND n.block = o.block),
           change, run, block, until_key, 0, 0, 0, 0, 0, since, verified_at
         FROM {table} o WHERE change = $2 AND run = 'current' AND block = $3 AND number = $4 AND coalesce(after_key, '') = $5
           AND coalesce(until_key, '') = $6"
    );
    let values = [
        Value::from(bound),
        Value::from(change.as_str()),
        Value::from(range.block.as_str()),
        Value::from(range.number),
        Value::from(range.after.clone().unwrap_or_default()),
        Value::from(range.until.clone().unwrap_or_default()),
    ];
    connection.execute(&sql, &values)?;
    Ok(())
}

/// Gives the keys of a range that has become almost empty to the range after it, so that deleted keys leave no ranges behind.
pub(super) fn merge(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    range: &CurrentRange,
) -> Result<(), DatabaseError> {
    let Some(until) = &range.until else { return Ok(()) };
    let table = own(connection.dialect(), "range");
    connection.in_transaction_with_retry(10, DatabaseError::is_retryable, |connection| {
        let sql = format!(
            "UPDATE {table} SET after_key = $1 WHERE change = $2 AND run = 'current' AND block = $3 AND after_key = $4"
        );
        let values = [
            Value::from(range.after.clone()),
            Value::from(change.as_str()),
            Value::from(range.block.as_str()),
            Value::from(until.as_str()),
        ];
        if connection.execute(&sql, &values)? == 1 {
            let sql = format!(
                "DELETE FROM {table} WHERE change = $1 AND run = 'current' AND block = $2 AND number = $3 AND until_key = $4"
            );
            let values = [values[1].clone(), values[2].clone(), Value::from(range.number), values[3].clone()];
            connection.execute(&sql, &values)?;
        }
        Ok(())
    })
}

/// Counts what the sentinel has done; the pass is over once every range has been looked at since it began.
pub(super) fn tally(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    block: &str,
    (keys, found): (u64, &Found),
) -> Result<(), DatabaseError> {
    let dialect = connection.dialect();
    let (sentinel, range) = (own(dialect, "sentinel"), own(dialect, "range"));
    let now = jiff::Timestamp::now().as_microsecond();
    let sql = format!(
        "INSERT INTO {sentinel} AS s (change, block, verified, found, repaired, pass_began_at, pass_ended_at)
         VALUES ($1, $2, $3, $4, $5, $6, NULL)
         ON CONFLICT (change, block) DO UPDATE SET verified = s.verified + excluded.verified, found = s.found + excluded.found,
           repaired = s.repaired + excluded.repaired"
    );
    let values = [
        Value::from(change.as_str()),
        Value::from(block),
        Value::from(i64::try_from(keys).unwrap_or(i64::MAX)),
        Value::from(found.drift.rows()),
        Value::from(found.repaired),
        Value::from(now),
    ];
    connection.execute(&sql, &values)?;
    let sql = format!(
        "UPDATE {sentinel} SET pass_ended_at = $1, pass_began_at = $1 WHERE change = $2 AND block = $3 AND NOT EXISTS
           (SELECT 1 FROM {range} r WHERE r.change = $2 AND r.run = 'current' AND r.block = $3
              AND coalesce(r.verified_at, 0) < pass_began_at)"
    );
    connection.execute(&sql, &[Value::from(now), Value::from(change.as_str()), Value::from(block)])?;
    Ok(())
}

fn current_range(row: &Row) -> Result<CurrentRange, DatabaseError> {
    Ok(CurrentRange {
        block: row.text("block")?,
        number: row.integer("number")?,
        after: row.find_text("after_key")?,
        until: row.find_text("until_key")?,
    })
}
