//! The pending queue in the application's database: keys whose translation failed, waiting to be refreshed.
//!
//! The table is only ever appended to by writers. A unique (change, block, key) would make two writers that fail on the same key wait
//! for one another, and so could make old code wait or deadlock. Several rows of one key are one entry: the reader groups them, the
//! worker deletes exactly the rows it has read, so that a failure which is recorded meanwhile stays.

use crate::change::{BlockId, Stage};
use crate::primitives::Dialect;

use super::model::ChangeModel;
use super::names::{literal, own};

/// The key of an entry that stands for a whole block: which keys were concerned is not known.
pub const WHOLE_BLOCK: &str = "*";

/// The queue, and the gaps left by pauses. Each statement may be run again.
#[must_use]
pub fn create(dialect: Dialect) -> Vec<String> {
    let id = match dialect {
        Dialect::Postgres => "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        Dialect::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
    };
    let index = match dialect {
        Dialect::Postgres => "pending_key",
        Dialect::Sqlite => "changeover_pending_key",
    };
    let mut statements = vec![
        format!(
            "CREATE TABLE IF NOT EXISTS {} (id {id}, change TEXT NOT NULL, block TEXT NOT NULL, key TEXT NOT NULL, \
             error TEXT NOT NULL, sqlstate TEXT NOT NULL, attempts BIGINT NOT NULL DEFAULT 0, first_at BIGINT NOT NULL, \
             last_at BIGINT NOT NULL, next_at BIGINT NOT NULL)",
            own(dialect, "pending")
        ),
        format!("CREATE INDEX IF NOT EXISTS {index} ON {} (change, block, key)", own(dialect, "pending")),
        format!(
            "CREATE TABLE IF NOT EXISTS {} (id {id}, change TEXT NOT NULL, stage TEXT NOT NULL, paused_at BIGINT NOT NULL, \
             paused_by TEXT NOT NULL, reason TEXT NOT NULL, records_keys BIGINT NOT NULL, notes_tables BIGINT NOT NULL, resumed_at BIGINT, resumed_by TEXT, \
             closed_at BIGINT, detail TEXT NOT NULL DEFAULT '{{}}')",
            own(dialect, "gap")
        ),
    ];
    if dialect == Dialect::Sqlite {
        statements.push(format!("CREATE TABLE IF NOT EXISTS {} (mark TEXT PRIMARY KEY)", own(dialect, "gap_mark")));
    }
    statements
}

/// Microseconds since 1970 by the database's clock.
#[must_use]
pub fn clock(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
        // `julianday` rather than `unixepoch`: old code's SQLite may be older than ours.
        Dialect::Sqlite => "CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)",
    }
}

/// What the trigger functions of a direction do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Nothing: the stage does not translate this way.
    Nothing,
    /// Translate, as this stage does.
    Translate(Stage),
    /// Nothing but note what is written: the tables, or also the keys.
    Paused { records_keys: bool },
}

/// PostgreSQL: a block whose refresh stands in a protected part of a trigger function, and how its keys are found again.
#[derive(Debug, Clone)]
pub struct Guarded {
    pub id: BlockId,
    /// Assigns the array variables of the block's keys.
    pub collect: String,
    /// The names of those variables.
    pub variables: Vec<String>,
    /// An SQL expression for a key as text over `k`, whose columns are named in [`Self::parts`].
    pub text: String,
    pub parts: Vec<String>,
    /// True if rows of a follow table are what was written: which keys follow from them depends on what others are writing just now.
    pub feeds: bool,
}

/// Declarations of what [`protected`] uses.
pub const PROTECTED_VARIABLES: &str = "  co_error text;\n  co_sqlstate text;\n  co_again boolean := false;\n";

/// What is done in a subtransaction.
#[derive(Debug, Clone, Copy)]
pub struct Tries<'a> {
    /// Tried first: it fails with a unique violation where a target row is there already.
    pub fast: Option<&'a str>,
    /// Does the same in every case.
    pub thorough: &'a str,
}

/// PostgreSQL: `body` in a subtransaction of its own. If it fails, what it did is undone, the keys of its blocks are queued, and the
/// statement that fired the trigger goes on.
///
/// Not caught: a serialization failure, because the transaction must not commit what it saw, and a cancel that somebody asked for. A
/// statement timeout is: the write itself was in time. Locks that were taken inside are released with the subtransaction. For a driving
/// row that is all right, since a pending key is refreshed under all of its locks; but what follows from a row of a follow table must be
/// looked up under those locks, which are therefore taken again. After a deadlock or a timeout they are not, so that nobody is waited
/// for twice: then the whole block is queued.
#[must_use]
pub fn protected(change: &ChangeModel, locks: &str, tries: Tries<'_>, blocks: &[Guarded]) -> String {
    let queue: String = blocks.iter().map(|block| queue(change, locks, block)).collect();
    let handler = format!(
        "WHEN OTHERS OR query_canceled OR assert_failure THEN\n\
         \x20   GET STACKED DIAGNOSTICS co_error = MESSAGE_TEXT, co_sqlstate = RETURNED_SQLSTATE;\n\
         \x20   IF co_sqlstate = '40001' OR (co_sqlstate = '57014' AND co_error NOT LIKE '%statement timeout%') THEN RAISE; END IF;\n\
         {queue}  END;\n"
    );
    let thorough = format!("  BEGIN\n{}  EXCEPTION {handler}", tries.thorough);
    match tries.fast {
        None => thorough,
        Some(fast) => format!(
            "  BEGIN\n{fast}  EXCEPTION WHEN unique_violation THEN co_again := true;\n  {handler}  IF co_again THEN\n{thorough}  END IF;\n"
        ),
    }
}

fn queue(change: &ChangeModel, locks: &str, block: &Guarded) -> String {
    let reset: String = block.variables.iter().map(|variable| format!("    {variable} := NULL;\n")).collect();
    let collect = &block.collect;
    let look_up = format!(
        "    BEGIN\n{}{collect}    EXCEPTION WHEN OTHERS OR assert_failure THEN\n{reset}    END;\n",
        if block.feeds { locks } else { "" }
    );
    let look_up = match block.feeds {
        true => format!("    IF co_sqlstate NOT IN ('40P01', '55P03', '57014') THEN\n{look_up}    END IF;\n"),
        false => look_up,
    };
    let append = append_keys(change, block, "co_error", "co_sqlstate");
    format!(
        "{reset}{look_up}    BEGIN\n{append}    EXCEPTION WHEN serialization_failure THEN RAISE; WHEN OTHERS OR assert_failure THEN\n\
         \x20     RAISE WARNING 'changeover: block {} could not be translated (%), and its keys could not be queued (%): run changeover verify', co_error, SQLERRM;\n\
         \x20   END;\n",
        block.id
    )
}

/// PostgreSQL: appends the keys in a block's variables to the queue; the whole block if they are NULL.
fn append_keys(change: &ChangeModel, block: &Guarded, error: &str, sqlstate: &str) -> String {
    let first = block.variables.first().map_or("", String::as_str);
    format!(
        "    INSERT INTO changeover.pending (change, block, key, error, sqlstate, first_at, last_at, next_at)\n\
         \x20   SELECT {name}, '{id}', k.key, {error}, {sqlstate}, {now}, {now}, {now} FROM (\n\
         \x20     SELECT {text} AS key FROM unnest({arrays}) AS k({parts})\n\
         \x20     UNION ALL SELECT '{WHOLE_BLOCK}' WHERE {first} IS NULL) k;\n",
        name = literal(change.name.as_str()),
        id = block.id,
        now = clock(Dialect::Postgres),
        text = block.text,
        arrays = block.variables.join(", "),
        parts = block.parts.join(", "),
    )
}

/// PostgreSQL: what a paused function does that records keys: what a failed translation does, without having tried.
#[must_use]
pub fn record_keys(change: &ChangeModel, locks: &str, blocks: &[Guarded]) -> String {
    let queue: String = blocks.iter().map(|block| queue(change, locks, block)).collect();
    format!("  co_error := 'written while paused';\n  co_sqlstate := '';\n{queue}")
}

/// PostgreSQL: queues a whole block, whatever it was that was written.
#[must_use]
pub fn record_whole(change: &ChangeModel, block: BlockId) -> String {
    format!(
        "  INSERT INTO changeover.pending (change, block, key, error, sqlstate, first_at, last_at, next_at)\n\
         \x20 VALUES ({}, '{block}', '{WHOLE_BLOCK}', 'truncated while paused', '', {now}, {now}, {now});\n",
        literal(change.name.as_str()),
        now = clock(Dialect::Postgres),
    )
}
