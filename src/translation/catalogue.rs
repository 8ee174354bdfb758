//! Reads what the application's database says of the tables that a change file names.

use crate::change::ChangeFile;
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Row, Value};
use crate::sql::catalogue::{Catalogue, Column, KeyKind, Table, TableName};
use crate::sql::names::quoted;

/// The tables that the change file names: targets, driving, follow and constant tables. A table that the database does not
/// have is left out; [`super::check`] says so.
pub fn read_catalogue(connection: &mut DatabaseConnection, file: &ChangeFile) -> Result<Catalogue, DatabaseError> {
    let mut catalogue = Catalogue::default();
    for block in &file.blocks {
        let others = block.follows.iter().map(|follow| &follow.table).chain(&block.constant);
        for name in [&block.into, &block.from].into_iter().chain(others) {
            if !catalogue.tables.contains_key(&name.value)
                && let Some(table) = find_table(connection, &name.value)?
            {
                catalogue.tables.insert(name.value.clone(), table);
            }
        }
    }
    Ok(catalogue)
}

/// The table that `written` means in this database: `accounts`, `billing.accounts`, `"Accounts"`.
pub fn find_table(connection: &mut DatabaseConnection, written: &str) -> Result<Option<Table>, DatabaseError> {
    let Some(name) = TableName::parse(written) else { return Ok(None) };
    match connection.dialect() {
        Dialect::Postgres => find_in_postgres(connection, &name),
        Dialect::Sqlite => find_in_sqlite(connection, &name),
    }
}

/// The names of all of the application's tables, for suggestions.
pub fn list_table_names(connection: &mut DatabaseConnection) -> Result<Vec<String>, DatabaseError> {
    let sql = match connection.dialect() {
        Dialect::Postgres => {
            "SELECT CASE WHEN n.nspname = ANY (current_schemas(false)) THEN c.relname::text
                         ELSE n.nspname::text || '.' || c.relname::text END AS name
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_'
               AND n.nspname NOT IN ('information_schema', 'changeover')
             ORDER BY 1"
        }
        Dialect::Sqlite => {
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
             AND name NOT LIKE 'changeover\\_%' ESCAPE '\\' ORDER BY name"
        }
    };
    connection.query(sql, &[])?.iter().map(|row| row.text("name")).collect()
}

const POSTGRES_TABLE: &str = "
SELECT c.oid::int8 AS id, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
       CASE WHEN c.relispartition THEN (SELECT 'it is a partition of ' || pg_partition_root(c.oid)::text || ', so name that')
            WHEN EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = c.oid) THEN 'it inherits from another table, whose statements write it unseen'
            WHEN c.relkind <> 'p' AND EXISTS (SELECT 1 FROM pg_inherits WHERE inhparent = c.oid)
                THEN 'other tables inherit from it, and it shows their rows without seeing their writes'
            WHEN EXISTS (SELECT 1 FROM pg_partition_tree(c.oid) p JOIN pg_class f ON f.oid = p.relid WHERE c.relkind = 'p' AND f.relkind = 'f')
                THEN 'a partition of it is a foreign table, whose writes cannot be seen' END AS obstacle
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')";

const POSTGRES_COLUMNS: &str = "
SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS data_type,
       a.attnotnull OR (t.typtype = 'd' AND t.typnotnull) AS not_null,
       a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL AS has_default,
       a.attgenerated <> '' AS is_generated, a.attidentity = 'a' AS is_minted,
       b.typname::text AS base_name,
       format_type(b.oid, CASE WHEN t.typtype = 'd' THEN -1 ELSE a.atttypmod END) AS base_type,
       b.typcategory <> 'A' AND (b.typtype IN ('e', 'r') OR EXISTS (
            SELECT 1 FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod
            WHERE m.amname = 'btree' AND o.opcdefault AND (o.opcintype = b.oid OR EXISTS (
                SELECT 1 FROM pg_cast c WHERE c.castsource = b.oid AND c.casttarget = o.opcintype AND c.castmethod = 'b'
                  AND c.castcontext = 'i')))) AS is_ordered,
       coalesce((SELECT l.collisdeterministic FROM pg_collation l WHERE l.oid = a.attcollation), true) AND (b.typtype = 'e'
           OR b.typname = 'numeric' AND a.atttypmod <> -1
           OR b.typname IN ('bool', 'int2', 'int4', 'int8', 'oid', 'text', 'varchar', 'bpchar', 'name', 'uuid', 'bytea', 'date', 'time',
                            'timetz', 'timestamp', 'timestamptz', 'float4', 'float8', 'money', 'inet', 'cidr', 'macaddr', 'bit', 'varbit')
       ) AS is_exact,
       (SELECT format('%I.%I', n.nspname, l.collname) FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace
        WHERE l.oid = a.attcollation AND l.collname <> 'default') AS collation
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
CROSS JOIN LATERAL (
    WITH RECURSIVE base (oid) AS (
        SELECT a.atttypid UNION SELECT d.typbasetype FROM pg_type d JOIN base ON d.oid = base.oid WHERE d.typbasetype <> 0)
    SELECT d.oid, d.typname, d.typtype, d.typcategory FROM pg_type d JOIN base ON d.oid = base.oid WHERE d.typtype <> 'd') b
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum";

// A deferrable unique constraint cannot arbitrate ON CONFLICT (indimmediate).
const POSTGRES_INDEXES: &str = "
SELECT i.indexrelid::int8 AS index_id, i.indisprimary AS is_primary,
       i.indisunique AND i.indexprs IS NULL AND i.indimmediate AS is_unique, a.attname::text AS column_name
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k (attnum, position)
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
WHERE i.indrelid = $1::oid AND i.indpred IS NULL AND i.indisvalid AND k.position <= i.indnkeyatts
ORDER BY i.indisprimary DESC, i.indexrelid, k.position";

fn find_in_postgres(connection: &mut DatabaseConnection, name: &TableName) -> Result<Option<Table>, DatabaseError> {
    let parts = name.schema.iter().chain([&name.table]);
    let written: Vec<String> = parts.map(|part| quoted(&part.folded(Dialect::Postgres))).collect();
    let Some(found) = connection.find_row(POSTGRES_TABLE, &[written.join(".").into()])? else { return Ok(None) };
    let id = [Value::Integer(found.integer("id")?)];
    let mut columns = Vec::new();
    for row in connection.query(POSTGRES_COLUMNS, &id)? {
        let is_generated = row.boolean("is_generated")?;
        columns.push(Column {
            name: row.text("name")?,
            data_type: row.text("data_type")?,
            base_type: row.text("base_type")?,
            not_null: row.boolean("not_null")?,
            has_default: row.boolean("has_default")? || is_generated,
            generated: is_generated,
            is_minted: row.boolean("is_minted")?,
            is_exact: row.boolean("is_exact")?,
            collation: row.find_text("collation")?,
            is_ordered: row.boolean("is_ordered")?,
            kind: match row.find_text("base_name")?.as_deref() {
                Some("int2" | "int4" | "int8") => KeyKind::Integer,
                Some("text" | "varchar" | "bpchar" | "citext" | "name") => KeyKind::Text,
                Some("uuid") => KeyKind::Uuid,
                _ => KeyKind::Other,
            },
        });
    }
    let indexes = grouped(&connection.query(POSTGRES_INDEXES, &id)?)?;
    let kind = found.text("kind")?;
    Ok(Some(Table {
        dialect: Dialect::Postgres,
        schema: Some(found.text("schema")?),
        name: found.text("name")?,
        columns,
        primary_key: indexes.iter().find(|index| index.is_primary).map(Index::plain).unwrap_or_default(),
        unique_indexes: indexes.iter().filter(|index| index.is_unique).map(Index::plain).collect(),
        indexes: indexes.iter().map(Index::plain).filter(|columns| !columns.is_empty()).collect(),
        is_ordinary: kind == "r" || kind == "p",
        references: postgres_references(connection, &id)?,
        partitions: partitions(connection, &id, &kind)?,
        obstacle: found.find_text("obstacle")?,
        is_without_rowid: false,
    }))
}

const POSTGRES_PARTITIONS: &str = "
SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_partition_tree($1::oid) p JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.relid <> $1::oid ORDER BY p.level, 1";

/// Every table below a partitioned one.
fn partitions(connection: &mut DatabaseConnection, id: &[Value], kind: &str) -> Result<Vec<String>, DatabaseError> {
    if kind != "p" {
        return Ok(Vec::new());
    }
    connection.query(POSTGRES_PARTITIONS, id)?.iter().map(|row| row.text("name")).collect()
}

const POSTGRES_REFERENCES: &str = "
SELECT DISTINCT n.nspname::text AS schema, c.relname::text AS name
FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conrelid = $1::oid AND k.confrelid <> k.conrelid ORDER BY 1, 2";

/// The tables that foreign keys refer to, as SQL.
fn postgres_references(connection: &mut DatabaseConnection, id: &[Value]) -> Result<Vec<String>, DatabaseError> {
    let rows = connection.query(POSTGRES_REFERENCES, id)?;
    rows.iter().map(|row| Ok(format!("{}.{}", quoted(&row.text("schema")?), quoted(&row.text("name")?)))).collect()
}

const SQLITE_TABLE: &str =
    "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' AND lower(name) = lower($1)";

// hidden: 1 a virtual table's own, 2 and 3 generated.
const SQLITE_COLUMNS: &str = "
SELECT name, type AS data_type, \"notnull\" AS not_null, dflt_value IS NOT NULL AS has_default, pk, hidden,
       NOT EXISTS (SELECT 1 FROM pragma_index_list($1) l, pragma_index_xinfo(l.name) x
                   WHERE x.name = t.name AND x.coll COLLATE NOCASE <> 'BINARY') AS is_exact
FROM pragma_table_xinfo($1) t WHERE hidden <> 1 ORDER BY cid";

const SQLITE_INDEXES: &str = "
SELECT l.name AS index_id, l.origin = 'pk' AS is_primary, l.\"unique\" = 1 AND NOT EXISTS (
           SELECT 1 FROM pragma_index_xinfo(l.name) e WHERE e.key = 1 AND e.cid < 0) AS is_unique,
       x.name AS column_name
FROM pragma_index_list($1) l, pragma_index_xinfo(l.name) x
WHERE x.key = 1 AND l.partial = 0 ORDER BY l.seq, x.seqno";

fn find_in_sqlite(connection: &mut DatabaseConnection, name: &TableName) -> Result<Option<Table>, DatabaseError> {
    if name.schema.as_ref().is_some_and(|schema| !schema.text.eq_ignore_ascii_case("main")) {
        return Ok(None);
    }
    let Some(found) = connection.find_row(SQLITE_TABLE, &[name.table.text.as_str().into()])? else { return Ok(None) };
    let own_name = [Value::Text(found.text("name")?)];
    let is_without_rowid = found.boolean("wr")?;
    let rows = connection.query(SQLITE_COLUMNS, &own_name)?;
    let indexes = grouped(&connection.query(SQLITE_INDEXES, &own_name)?)?;
    let mut key: Vec<(i64, String)> = Vec::new();
    for row in &rows {
        let position = row.integer("pk")?;
        if position > 0 {
            key.push((position, row.text("name")?));
        }
    }
    key.sort();
    let primary_key: Vec<String> = key.into_iter().map(|(_, column)| column).collect();
    // INTEGER PRIMARY KEY is the rowid itself: no index stands for it, and NULL asks for the next one.
    let is_rowid_key = primary_key.len() == 1 && !is_without_rowid && !indexes.iter().any(|index| index.is_primary);
    let columns = rows.iter().map(|row| sqlite_column(row, is_rowid_key)).collect::<Result<_, _>>()?;
    let rowid_index = is_rowid_key.then(|| primary_key.clone());
    let unique = indexes.iter().filter(|index| index.is_unique).map(Index::plain);
    let plain = indexes.iter().map(Index::plain).filter(|columns| !columns.is_empty());
    Ok(Some(Table {
        dialect: Dialect::Sqlite,
        schema: None,
        name: found.text("name")?,
        columns,
        unique_indexes: rowid_index.clone().into_iter().chain(unique).collect(),
        indexes: rowid_index.into_iter().chain(plain).collect(),
        primary_key,
        is_ordinary: found.text("type")? == "table",
        references: sqlite_references(connection, &own_name)?,
        partitions: Vec::new(),
        obstacle: None,
        is_without_rowid,
    }))
}

/// The tables that foreign keys refer to, each as its table is called.
fn sqlite_references(connection: &mut DatabaseConnection, name: &[Value]) -> Result<Vec<String>, DatabaseError> {
    let sql = "SELECT DISTINCT t.name AS name FROM pragma_foreign_key_list($1) k
               JOIN pragma_table_list t ON t.schema = 'main' AND lower(t.name) = lower(k.\"table\") WHERE lower(t.name) <> lower($1)";
    connection.query(sql, name)?.iter().map(|row| Ok(quoted(&row.text("name")?))).collect()
}

fn sqlite_column(row: &Row, table_has_rowid_key: bool) -> Result<Column, DatabaseError> {
    let data_type = row.text("data_type")?;
    let is_rowid = table_has_rowid_key && row.integer("pk")? > 0;
    let generated = row.integer("hidden")? > 1;
    let upper = data_type.to_uppercase();
    let kind = if upper.contains("INT") {
        KeyKind::Integer
    } else if ["CHAR", "CLOB", "TEXT"].iter().any(|text| upper.contains(text)) {
        KeyKind::Text
    } else if upper == "UUID" {
        KeyKind::Uuid
    } else {
        KeyKind::Other
    };
    Ok(Column {
        name: row.text("name")?,
        base_type: data_type.clone(),
        data_type,
        not_null: row.boolean("not_null")? || is_rowid,
        has_default: row.boolean("has_default")? || is_rowid || generated,
        generated,
        is_minted: false,
        is_exact: row.boolean("is_exact")?,
        collation: None,
        is_ordered: !upper.contains("BLOB"),
        kind,
    })
}

/// An index: its key columns in order, `None` for an expression.
struct Index {
    id: String,
    is_primary: bool,
    is_unique: bool,
    columns: Vec<Option<String>>,
}

impl Index {
    /// The leading columns that are plain.
    fn plain(&self) -> Vec<String> {
        self.columns.iter().map_while(Clone::clone).collect()
    }
}

/// Rows of (index, column) to indexes; the rows of an index follow one another.
fn grouped(rows: &[Row]) -> Result<Vec<Index>, DatabaseError> {
    let mut indexes: Vec<Index> = Vec::new();
    for row in rows {
        let id = row.text("index_id")?;
        let column = row.find_text("column_name")?;
        match indexes.last_mut() {
            Some(last) if last.id == id => last.columns.push(column),
            _ => indexes.push(Index {
                id,
                is_primary: row.boolean("is_primary")?,
                is_unique: row.boolean("is_unique")?,
                columns: vec![column],
            }),
        }
    }
    Ok(indexes)
}
