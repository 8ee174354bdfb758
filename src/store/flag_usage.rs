//! When each flag was last evaluated, to the minute: what servers note of their own now and then.

use std::collections::HashMap;

use diesel::prelude::*;

use super::schema::flag_usage as table;
use super::{StoreError, now};
use crate::database::DatabaseConnection;
use crate::primitives::Instant;

/// The key of the row that says since when this is noted.
const SINCE: &str = "";

/// What is known of when flags were evaluated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    since: Option<i64>,
    evaluated: HashMap<String, i64>,
}

impl Usage {
    /// When a flag was last evaluated; if it never was, since when that is noted.
    #[must_use]
    pub fn of(&self, flag: &str) -> Option<Instant> {
        self.evaluated.get(flag).copied().or(self.since).map(Instant::from_micros)
    }
}

/// Notes that these flags have been evaluated just now.
pub fn note(connection: &mut DatabaseConnection, flags: &[String]) -> Result<(), StoreError> {
    let at = now().as_micros();
    // In one order, so that two servers never wait for each other.
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.sort_unstable();
    let noting_began = table::table.find(SINCE).select(table::evaluated_at).first::<i64>(connection).optional()?;
    if noting_began.is_none() {
        insert(connection, SINCE, at)?;
    }
    for flag in flags {
        let known = diesel::update(table::table.find(flag)).set(table::evaluated_at.eq(at)).execute(connection)?;
        if known == 0 {
            insert(connection, flag, at)?;
        }
    }
    Ok(())
}

fn insert(connection: &mut DatabaseConnection, flag: &str, at: i64) -> Result<(), StoreError> {
    diesel::insert_into(table::table).values((table::flag.eq(flag), table::evaluated_at.eq(at))).execute(connection)?;
    Ok(())
}

/// All that is known.
pub fn read(connection: &mut DatabaseConnection) -> Result<Usage, StoreError> {
    let rows: Vec<(String, i64)> = table::table.select((table::flag, table::evaluated_at)).load(connection)?;
    let mut evaluated: HashMap<String, i64> = rows.into_iter().collect();
    Ok(Usage { since: evaluated.remove(SINCE), evaluated })
}
