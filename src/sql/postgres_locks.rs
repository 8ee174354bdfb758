//! Advisory locks that keep two writers from missing one another, on PostgreSQL: of the values that driving rows look up in follow tables,
//! and of keys that several driving rows have. Each is a statement of a trigger's or refresh's function.

use crate::change::Direction;
use crate::primitives::Dialect;

use super::keys::{parts_of, text_sql, variables};
use super::model::{BlockModel, ChangeModel, FollowModel, TableModel, trimmed};
use super::names::quoted;

/// Stripes of an advisory lock class. A lock for each key would exhaust the lock table at some ten thousand rows in a statement.
const STRIPES: u32 = 256;

/// Exclusive locks of the values of this table that some block's driving rows look up: old and new images.
#[must_use]
pub fn exclusive_locks(change: &ChangeModel, direction: Direction, table: &TableModel, with_changed: &str) -> String {
    let mut text = String::new();
    let mut seen: Vec<i32> = Vec::new();
    let follows = change.blocks_of(direction).flat_map(|block| &block.follows).filter(|follow| follow.table == *table);
    for follow in follows {
        let class = lock_class(change, follow);
        if seen.contains(&class) {
            continue;
        }
        seen.push(class);
        let values = format!("SELECT {} FROM changed", quoted(&follow.by));
        text.push_str(&stripes("pg_advisory_xact_lock", class, &values, with_changed));
        let coarse = change
            .blocks_of(direction)
            .flat_map(|block| &block.follows)
            .any(|other| lock_class(change, other) == class && other.reads.is_none());
        if coarse {
            text.push_str(&format!("  PERFORM pg_advisory_xact_lock({class}, {STRIPES});\n"));
        }
    }
    text
}

/// Shared locks of what driving rows look up in one follow table. Each is a statement of its own, so that it sees what was
/// committed before the lock above it was held.
#[must_use]
pub fn shared_lock(change: &ChangeModel, follow: &FollowModel, with_changed: &str) -> String {
    let class = lock_class(change, follow);
    match &follow.reads {
        Some(reads) => stripes("pg_advisory_xact_lock_shared", class, trimmed(reads), with_changed),
        None => format!("  PERFORM pg_advisory_xact_lock_shared({class}, {STRIPES});\n"),
    }
}

fn stripes(function: &str, class: i32, values: &str, with_changed: &str) -> String {
    format!(
        "  PERFORM {function}({class}, s.stripe) FROM (\n\
         SELECT DISTINCT hashtext(v.value::text) & {mask} AS stripe FROM ({with_changed}SELECT * FROM (\n{values}\n) r) AS v(value)\n\
         WHERE v.value IS NOT NULL ORDER BY 1) s;\n",
        mask = STRIPES - 1,
    )
}

/// Locks of the keys themselves, where several driving rows have the same one: two writers of such rows compute the same target rows,
/// so the second waits for the first and then sees what it wrote. Where a key has one row, that row is lock enough.
#[must_use]
pub fn key_locks(change: &ChangeModel, block: &BlockModel, keys: &str, with_changed: &str) -> String {
    if block.driving.key_is_unique {
        return String::new();
    }
    let names: Vec<&str> = block.driving.key.iter().map(|column| column.name.as_str()).collect();
    let class = hashed(&format!("changeover/{}/{}/key/{}", change.name, block.driving.table.sql, names.join(",")));
    let parts = variables("key", &block.driving.key).join(", ");
    let keys = format!(
        "SELECT {} FROM (\n{keys}\n) AS k({parts})",
        text_sql(Dialect::Postgres, &parts_of("k", &block.driving.key))
    );
    stripes("pg_advisory_xact_lock", class, &keys, with_changed)
}

/// A lock class for each (change, follow table, column).
fn lock_class(change: &ChangeModel, follow: &FollowModel) -> i32 {
    hashed(&format!("changeover/{}/{}/{}", change.name, follow.table.sql, follow.by))
}

/// FNV-1a, so that a class is the same in every version and on every server.
#[must_use]
pub fn hashed(text: &str) -> i32 {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i32::from_ne_bytes(hash.to_ne_bytes())
}
