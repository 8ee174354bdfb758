//! The stored basis of a division: the rows that a key's amount was divided over when the key froze, and from then on.
//!
//! A block that divides and freezes has one table of them, with the query's result columns. A key that has rows there is divided over
//! them, whatever the query would yield today; its amount, and whatever else comes from the driving row alone, is what the row says now.
//! A row that reverses another is divided over the rows of the first of its chain: stored if there are any, else today's.

use crate::change::Direction;
use crate::primitives::{ChangeName, Dialect};

use super::keys::{Keys, columns, equal};
use super::model::{BlockModel, ChangeModel, DrivingModel, TableModel, trimmed};
use super::names::{own, quoted};
use super::own_columns::OwnColumns;
use super::postgres::block_function;
use super::postgres_block::{assign, declarations};
use super::postgres_locks::hashed;

/// Reversals of reversals that are followed; a circle of them ends here.
const CHAIN_MAX: u32 = 64;

/// A block's stored basis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasisModel {
    /// Unquoted, without schema or prefix.
    pub name: String,
    /// The query's result columns, unquoted.
    pub columns: Vec<String>,
    pub own: OwnColumns,
    /// The driving table's column that holds the key of the row which this one reverses, unquoted.
    pub reverses: Option<String>,
    /// False: an earlier version installed the change, and its file has not been brought up to date since. Nothing is kept until then.
    pub is_there: bool,
}

/// What a block's table of bases is called. Not by the block's number, which moves when a block is added to the file.
#[must_use]
pub fn table_name(change: &ChangeName, direction: Direction, target: &TableModel, driving: &TableModel) -> String {
    let text = format!("{}/{}/{}", direction.word(), target.sql, driving.sql);
    format!("{}_basis_{:08x}", change.identifier(), hashed(&text))
}

/// A pattern (POSIX, and GLOB) of the names of a change's tables of bases.
#[must_use]
pub fn name_pattern(dialect: Dialect, change: &ChangeName) -> String {
    match dialect {
        Dialect::Postgres => format!("^{}_basis_[0-9a-f]{{8}}$", change.identifier()),
        Dialect::Sqlite => format!("changeover_{}_basis_{}", change.identifier(), "[0-9a-f]".repeat(8)),
    }
}

/// The table as SQL.
#[must_use]
pub fn table(dialect: Dialect, basis: &BasisModel) -> String {
    own(dialect, &basis.name)
}

/// The basis that the block keeps, if it does.
#[must_use]
pub fn kept(block: &BlockModel) -> Option<&BasisModel> {
    block.basis.as_ref().filter(|basis| basis.is_there)
}

/// Creates the table and its indexes.
#[must_use]
pub fn create(dialect: Dialect, block: &BlockModel) -> Vec<String> {
    let Some(basis) = &block.basis else { return Vec::new() };
    let table = table(dialect, basis);
    let index = |suffix: &str| match dialect {
        Dialect::Postgres => quoted(&format!("{}_{suffix}", basis.name)),
        Dialect::Sqlite => quoted(&format!("changeover_{}_{suffix}", basis.name)),
    };
    let list = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let (empty, query) = (
        match dialect {
            Dialect::Postgres => "WITH NO DATA",
            Dialect::Sqlite => "WHERE 0",
        },
        block.query(),
    );
    vec![
        format!("CREATE TABLE IF NOT EXISTS {table} AS SELECT q.* FROM (\n{query}\n) q {empty}"),
        format!("CREATE INDEX IF NOT EXISTS {} ON {table} ({})", index("key"), list(&block.key)),
        format!("CREATE UNIQUE INDEX IF NOT EXISTS {} ON {table} ({})", index("row"), list(&block.identity)),
    ]
}

/// What follows `FROM`: the rows of some keys before they are divided, as the relation `q`.
#[must_use]
pub fn source(block: &BlockModel, basis: &BasisModel, dialect: Dialect, keys: Keys<'_>) -> String {
    let driving = &block.driving;
    let table = table(dialect, basis);
    let query = block.query();
    let no_basis =
        |key: &[String]| format!("NOT EXISTS (SELECT 1 FROM {table} co_z WHERE {})", equal(&block.key_of("co_z"), key));
    let own_key = block.key_of("q");
    let is_first = match (&basis.reverses, own_key.as_slice()) {
        (Some(reverses), [key]) => format!("\n  AND {}", is_first(driving, reverses, key)),
        _ => String::new(),
    };
    let today = format!(
        "SELECT {} FROM (SELECT q.* FROM {}) q WHERE {}{is_first}",
        columns("q", &basis.columns).join(", "),
        keys.restricted(&driving.key, &block.key, &query),
        no_basis(&own_key),
    );
    let rows = rows(block, basis, keys);
    let (key, first) = (numbered("co_r", "key", driving), numbered("co_r", "first", driving));
    let list = list(block, basis);
    let stored =
        format!("SELECT {list} FROM {rows} co_r JOIN {table} co_b ON {}", equal(&block.key_of("co_b"), &first));
    let mut parts = vec![today, stored];
    if basis.reverses.is_some() {
        let reversing = format!(
            "(SELECT * FROM {rows} co_r WHERE NOT ({}) AND {}{})",
            equal(&key, &first),
            no_basis(&first),
            if dialect == Dialect::Postgres { " OFFSET 0" } else { "" },
        );
        let on = equal(&block.key_of("q"), &first);
        parts.push(match dialect {
            Dialect::Postgres => format!(
                "SELECT {list} FROM {reversing} co_r CROSS JOIN LATERAL (SELECT * FROM (\n{query}\n) q WHERE {on} OFFSET 0) co_b"
            ),
            // CROSS: the reversals first, then what they reverse, each by its key.
            Dialect::Sqlite => {
                format!("SELECT {list} FROM {reversing} co_r CROSS JOIN (\n{query}\n) co_b WHERE {}", on.replace("q.", "co_b."))
            }
        });
    }
    format!("(\n{}\n) q", parts.join("\nUNION ALL\n"))
}

/// The driving rows of some keys: their key, the key whose rows they are divided over, and their own columns.
fn rows(block: &BlockModel, basis: &BasisModel, keys: Keys<'_>) -> String {
    let (driving, alias) = (&block.driving, &basis.own.alias);
    let key = driving.key_of(alias);
    let name = |stem: &str, at: usize| format!("co_{stem}_{}", at + 1);
    let mut list: Vec<String> =
        key.iter().enumerate().map(|(at, column)| format!("{column} AS {}", name("key", at))).collect();
    list.extend(key.iter().enumerate().map(|(at, column)| {
        let first =
            basis.reverses.as_ref().map_or_else(|| column.clone(), |reverses| first_of(driving, reverses, alias));
        format!("{first} AS {}", name("first", at))
    }));
    list.extend(
        basis
            .own
            .columns
            .iter()
            .enumerate()
            .map(|(at, (_, expression))| format!("({expression}) AS {}", name("own", at))),
    );
    format!(
        "(SELECT {} FROM {} AS {alias} WHERE {})",
        list.join(", "),
        driving.table.sql,
        keys.condition(&driving.key, &key)
    )
}

/// `co_r.co_key_1, …`
fn numbered(relation: &str, stem: &str, driving: &DrivingModel) -> Vec<String> {
    (1..=driving.key.len()).map(|number| format!("{relation}.co_{stem}_{number}")).collect()
}

/// The result columns: the key and what else is the row's own from the driving row, the others from the basis.
fn list(block: &BlockModel, basis: &BasisModel) -> String {
    let column = |name: &String| {
        let key = block.key.iter().position(|key| key.eq_ignore_ascii_case(name));
        let own = basis.own.columns.iter().position(|(own, _)| own.eq_ignore_ascii_case(name));
        match (key, own) {
            (Some(at), _) => format!("co_r.co_key_{}", at + 1),
            (None, Some(at)) => format!("co_r.co_own_{}", at + 1),
            (None, None) => format!("co_b.{}", quoted(name)),
        }
    };
    let named = basis.columns.iter().map(|name| format!("{} AS {}", column(name), quoted(name)));
    named.collect::<Vec<_>>().join(", ")
}

/// The key of the first row of the chain of reversals that the row `relation` ends: its own if it reverses nothing that is there.
fn first_of(driving: &DrivingModel, reverses: &str, relation: &str) -> String {
    let key = driving.key_of(relation).join("");
    let column = quoted(reverses);
    format!("CASE WHEN {relation}.{column} IS NULL THEN {key} ELSE {} END", up(driving, reverses, &key))
}

/// True for a key whose row reverses nothing that is there.
fn is_first(driving: &DrivingModel, reverses: &str, key: &str) -> String {
    format!(
        "(NOT EXISTS (SELECT 1 FROM {} co_d WHERE {} = {key} AND co_d.{} IS NOT NULL) OR {} = {key})",
        driving.table.sql,
        driving.key_of("co_d").join(""),
        quoted(reverses),
        up(driving, reverses, key),
    )
}

/// The last key on the way up from `key`.
fn up(driving: &DrivingModel, reverses: &str, key: &str) -> String {
    let (table, column) = (&driving.table.sql, quoted(reverses));
    let of = |relation: &str| driving.key_of(relation).join("");
    format!(
        "(WITH RECURSIVE co_up(id, above, step) AS (SELECT {u}, co_u.{column}, 0 FROM {table} co_u WHERE {u} = {key}\n\
         \x20 UNION ALL SELECT {p}, co_p.{column}, co_up.step + 1 FROM co_up JOIN {table} co_p ON {p} = co_up.above WHERE co_up.step < {CHAIN_MAX})\n\
         \x20 SELECT id FROM co_up ORDER BY step DESC LIMIT 1)",
        u = of("co_u"),
        p = of("co_p"),
    )
}

/// The keys that a query yields, and those of all rows that reverse them, and so on.
#[must_use]
pub fn with_reversals(driving: &DrivingModel, reverses: &str, keys: &str) -> String {
    format!(
        "WITH RECURSIVE co_down(id) AS (SELECT * FROM (\n{}\n) co_k\n  UNION SELECT {key} FROM co_down JOIN {} co_d ON co_d.{} = co_down.id)\n\
         SELECT id FROM co_down",
        trimmed(keys),
        driving.table.sql,
        quoted(reverses),
        key = driving.key_of("co_d").join(""),
    )
}

/// What the rows of `changed` reverse, directly or by way of others: keys.
#[must_use]
pub fn reversed_by_changed(driving: &DrivingModel, reverses: &str) -> String {
    let column = quoted(reverses);
    format!(
        "WITH RECURSIVE co_up(id) AS (SELECT {column} FROM changed\n  UNION SELECT co_d.{column} FROM co_up JOIN {} co_d ON {} = co_up.id)\n\
         SELECT id FROM co_up WHERE id IS NOT NULL",
        driving.table.sql,
        driving.key_of("co_d").join(""),
    )
}

/// True for a `key` (an SQL expression for each column) whose rows are divided over a stored basis; `None` for a block that keeps none.
#[must_use]
pub fn has_basis(block: &BlockModel, dialect: Dialect, key: &[String]) -> Option<String> {
    let basis = kept(block)?;
    let table = table(dialect, basis);
    let there =
        |key: &[String]| format!("EXISTS (SELECT 1 FROM {table} co_z WHERE {})", equal(&block.key_of("co_z"), key));
    let own = there(key);
    match (&basis.reverses, key) {
        (Some(reverses), [only]) => Some(format!("({own} OR {})", there(&[up(&block.driving, reverses, only)]))),
        _ => Some(own),
    }
}

/// The keys whose basis is to be recorded, as the query's key columns: those that are frozen, or the first of their chain, and have none.
fn unrecorded(block: &BlockModel, basis: &BasisModel, dialect: Dialect, condition: &str) -> Option<String> {
    let (driving, frozen) = (&block.driving, block.frozen.as_ref()?);
    let key = driving.key_of("d");
    let first = match &basis.reverses {
        Some(reverses) => vec![first_of(driving, reverses, "d")],
        None => key.clone(),
    };
    let named: Vec<String> =
        first.iter().enumerate().map(|(at, first)| format!("{first} AS co_first_{}", at + 1)).collect();
    let firsts = numbered("co_n", "first", driving);
    Some(format!(
        "SELECT DISTINCT {firsts} FROM (SELECT {named} FROM (\n{query}\n) z JOIN {driving_table} d ON {joined} WHERE {condition}) co_n \
         WHERE NOT EXISTS (SELECT 1 FROM {table} co_z WHERE {recorded})",
        firsts = firsts.join(", "),
        named = named.join(", "),
        query = trimmed(&frozen.query),
        driving_table = driving.table.sql,
        joined = equal(&columns("z", &frozen.columns), &key),
        table = table(dialect, basis),
        recorded = equal(&block.key_of("co_z"), &firsts),
    ))
}

/// Records the rows that `source` (a relation `q`) yields.
fn insert(block: &BlockModel, basis: &BasisModel, dialect: Dialect, source: &str) -> String {
    let names: Vec<String> = basis.columns.iter().map(|name| quoted(name)).collect();
    let identity: Vec<String> = block.identity.iter().map(|name| quoted(name)).collect();
    format!(
        "INSERT INTO {} ({names})\nSELECT {} FROM {source}\nON CONFLICT ({}) DO NOTHING",
        table(dialect, basis),
        columns("q", &basis.columns).join(", "),
        identity.join(", "),
        names = names.join(", "),
    )
}

/// Records every frozen key that has no basis; `None` for a block that keeps none.
#[must_use]
pub fn record_all(block: &BlockModel, dialect: Dialect) -> Option<String> {
    let basis = kept(block)?;
    let keys = unrecorded(block, basis, dialect, "1 = 1")?;
    let key = block.key_of("q");
    let left = if key.len() == 1 { key.join("") } else { format!("({})", key.join(", ")) };
    Some(insert(block, basis, dialect, &format!("(\n{}\n) q WHERE {left} IN (\n{keys}\n)", block.query())))
}

/// SQLite: records the key of the row `NEW` of a refresh, if it is frozen and has no basis.
#[must_use]
pub fn record_one_sqlite(block: &BlockModel) -> Option<Vec<String>> {
    let basis = kept(block)?;
    let driving = &block.driving;
    let condition = Keys::Row("NEW").condition(&driving.key, &driving.key_of("d"));
    let keys = unrecorded(block, basis, Dialect::Sqlite, &format!("{condition} AND NOT NEW.removing"))?;
    let query = block.query();
    let own = Keys::Row("NEW").condition(&driving.key, &block.key_of("q"));
    // Its own key first, as the constant that SQLite pushes into a query; then what it reverses.
    let firsts = equal(&numbered("n", "first", driving), &block.key_of("q"));
    let mut statements = vec![insert(
        block,
        basis,
        Dialect::Sqlite,
        &format!("(\n{query}\n) q WHERE {own} AND EXISTS (SELECT 1 FROM ({keys}) n WHERE {firsts})"),
    )];
    if basis.reverses.is_some() {
        let others = format!(
            "SELECT * FROM ({keys}) n WHERE NOT ({})",
            Keys::Row("NEW").condition(&driving.key, &numbered("n", "first", driving))
        );
        let key = block.key_of("q").join("");
        statements.push(insert(block, basis, Dialect::Sqlite, &format!("(\n{query}\n) q WHERE {key} IN ({others})")));
    }
    Some(statements)
}

/// PostgreSQL: the lock that keeps a closing and the translation of a block's rows apart: whoever translates shares it.
fn lock_class(change: &ChangeModel, basis: &BasisModel) -> i32 {
    hashed(&format!("changeover/{}/{}", change.name, basis.name))
}

/// PostgreSQL: waits until every transaction that has translated rows of the block has ended, and keeps new ones waiting.
#[must_use]
pub fn lock_postgres(change: &ChangeModel, block: &BlockModel) -> Option<String> {
    Some(format!("SELECT pg_advisory_xact_lock({}, 0)", lock_class(change, kept(block)?)))
}

/// PostgreSQL: the function that records those of some keys that are frozen and have no basis. Every refresh begins with it.
#[must_use]
pub fn record_function(change: &ChangeModel, block: &BlockModel) -> Option<String> {
    let basis = kept(block)?;
    let driving = &block.driving;
    let condition = Keys::Arrays("keys").condition(&driving.key, &driving.key_of("d"));
    let keys = unrecorded(block, basis, Dialect::Postgres, &condition)?;
    let names = super::keys::variables("keys", &driving.key);
    let parameters: Vec<String> =
        names.iter().zip(&driving.key).map(|(name, column)| format!("{name} {}[]", column.sql_type)).collect();
    let stem = "co_firsts";
    let first = super::keys::variables(stem, &driving.key).into_iter().next().unwrap_or_default();
    let source = Keys::Arrays(stem).restricted(&driving.key, &block.key, &block.query());
    Some(format!(
        "CREATE OR REPLACE FUNCTION {}({}) RETURNS void LANGUAGE plpgsql AS $co$\n#variable_conflict use_column\nDECLARE\n{}BEGIN\n\
         \x20 PERFORM pg_advisory_xact_lock_shared({}, 0);\n{}  IF cardinality({first}) = 0 THEN RETURN; END IF;\n{};\nEND $co$",
        block_function(change, block, "record"),
        parameters.join(", "),
        declarations(block, stem),
        lock_class(change, basis),
        assign(block, stem, &keys),
        insert(block, basis, Dialect::Postgres, &source),
    ))
}

/// PostgreSQL: a statement of a function that records those of the keys in `arguments`. Empty for a block that keeps no basis.
#[must_use]
pub fn record_call(change: &ChangeModel, block: &BlockModel, arguments: &str) -> String {
    match kept(block).filter(|_| block.frozen.is_some()) {
        Some(_) => format!("  PERFORM {}({arguments});\n", block_function(change, block, "record")),
        None => String::new(),
    }
}
