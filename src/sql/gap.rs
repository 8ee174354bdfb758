//! What is noted while translation is paused: which source tables were written, so that a resume looks only at what depends on them.
//!
//! On PostgreSQL a sequence for each table: advancing one waits for nobody, fails for nobody and survives nothing that matters. A write
//! that is rolled back counts too, which costs a look at rows that agree. On SQLite, with its one writer, a row.

use crate::change::Direction;
use crate::primitives::{ChangeName, Dialect};

use super::keys::text_sql;
use super::model::{BlockModel, ChangeModel, TableModel};
use super::names::{letter, literal, own, quoted};

/// Every source table of both directions, and the name of its mark.
fn marks(change: &ChangeModel) -> Vec<(TableModel, String)> {
    [Direction::Forward, Direction::Backward]
        .into_iter()
        .flat_map(|direction| {
            let tables = change.sources_of(direction).into_iter();
            tables.map(move |table| (table.clone(), mark(change, direction, &table)))
        })
        .collect()
}

/// The name of a source table's mark: `billing_allocation_gap_ft1`.
#[must_use]
pub fn mark(change: &ChangeModel, direction: Direction, table: &TableModel) -> String {
    let position = change.sources_of(direction).iter().position(|source| source == table).map_or(0, |at| at + 1);
    format!("{}_gap_{}t{position}", change.stem(), letter(direction))
}

/// Statements that make every mark say: not written yet.
#[must_use]
pub fn create(change: &ChangeModel) -> Vec<String> {
    let mut statements = drop(change);
    if change.dialect == Dialect::Postgres {
        statements
            .extend(marks(change).into_iter().map(|(_, mark)| format!("CREATE SEQUENCE changeover.{}", quoted(&mark))));
    }
    statements
}

/// Statements that remove the marks.
#[must_use]
pub fn drop(change: &ChangeModel) -> Vec<String> {
    let marks = marks(change).into_iter().map(|(_, mark)| mark);
    match change.dialect {
        Dialect::Postgres => {
            marks.map(|mark| format!("DROP SEQUENCE IF EXISTS changeover.{}", quoted(&mark))).collect()
        }
        Dialect::Sqlite => marks
            .map(|mark| format!("DELETE FROM {} WHERE mark = {}", own(Dialect::Sqlite, "gap_mark"), literal(&mark)))
            .collect(),
    }
}

/// A query for statements (column `silence`) that silence every trigger of a change of which nothing but the name is known.
#[must_use]
pub fn triggers_by_name(dialect: Dialect, change: &ChangeName) -> String {
    let stem = change.identifier();
    match dialect {
        Dialect::Postgres => format!(
            "SELECT format('CREATE OR REPLACE FUNCTION changeover.%I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
             AS $co$BEGIN RETURN NULL; END$co$', proname) AS silence FROM pg_proc \
             WHERE pronamespace = 'changeover'::regnamespace AND proname ~ '^changeover_{stem}_[12]_[fb]t[0-9]+_(insert|update|delete|truncate)$'"
        ),
        Dialect::Sqlite => format!(
            "SELECT 'DROP TRIGGER \"' || name || '\"' AS silence FROM sqlite_master \
             WHERE type = 'trigger' AND name GLOB 'changeover_{stem}_[fb]t[0-9]*_*' \
             AND name NOT GLOB 'changeover_{stem}_[fb]t[0-9]*_*_*'"
        ),
    }
}

/// PostgreSQL: what a paused function does. It must never fail, and what it cannot note counts as written.
#[must_use]
pub fn touch_postgres(mark: &str) -> String {
    format!(
        "  BEGIN PERFORM nextval('changeover.{}'); EXCEPTION WHEN OTHERS THEN NULL; END;\n",
        quoted(mark).replace('\'', "''")
    )
}

/// SQLite: what a paused trigger does, once.
#[must_use]
pub fn touch_sqlite(mark: &str) -> String {
    let table = own(Dialect::Sqlite, "gap_mark");
    format!("INSERT INTO {table} (mark) VALUES ({}) ON CONFLICT DO NOTHING;\n", literal(mark))
}

/// For each source table, a query that returns a row if it was written while its mark was there, and fails if the mark is gone.
#[must_use]
pub fn touched(change: &ChangeModel) -> Vec<(TableModel, String)> {
    let question = |mark: &str| match change.dialect {
        Dialect::Postgres => format!("SELECT 1 AS touched FROM changeover.{} WHERE is_called", quoted(mark)),
        Dialect::Sqlite => {
            format!("SELECT 1 AS touched FROM {} WHERE mark = {}", own(Dialect::Sqlite, "gap_mark"), literal(mark))
        }
    };
    marks(change).into_iter().map(|(table, mark)| (table, question(&mark))).collect()
}

/// Pairs of pending keys of a forward and a backward block that decide the same row of the new model: `forward_key`, `backward_key`.
#[must_use]
pub fn conflicts(change: &ChangeModel, forward: &BlockModel, backward: &BlockModel) -> String {
    let dialect = change.dialect;
    let pending = own(dialect, "pending");
    let of = |block: &BlockModel| {
        format!(
            "(SELECT DISTINCT key FROM {pending} WHERE change = {} AND block = '{}')",
            literal(change.name.as_str()),
            block.id
        )
    };
    format!(
        "SELECT DISTINCT f.key AS forward_key, b.key AS backward_key FROM {target} t \
         JOIN {} f ON f.key = {} JOIN {} b ON b.key = {} ORDER BY 1, 2",
        of(forward),
        text_sql(dialect, &forward.key_of("t")),
        of(backward),
        text_sql(dialect, &backward.driving.key_of("t")),
        target = forward.target.sql,
    )
}
