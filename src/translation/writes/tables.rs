//! The tables of a change that may be written, and what their columns hold, as the catalogue says.

use crate::change::{ChangeFile, Direction};
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Row, Value};
use crate::primitives::{ChangeName, Instant};
use crate::sql::catalogue::Table;
use crate::sql::model::{BlockModel, ChangeModel};

use super::kind::Kind;
use crate::sql::names::own;
use crate::translation::catalogue::read_catalogue;
use crate::translation::own::are_tables_there;
use crate::translation::resolve::resolve;
use crate::translation::{InstalledChange, TranslationError};

/// Which model a table belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Old,
    New,
}

/// A column of a writable table.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    /// As people know it: `numeric(38,11)`.
    pub shown_type: String,
    /// What a text parameter is cast to; without length or scale, since a cast to those cuts and rounds in silence. Empty on SQLite.
    pub cast: String,
    pub kind: Kind,
    pub not_null: bool,
    pub has_default: bool,
    pub generated: bool,
}

/// A table that operations may name.
#[derive(Debug, Clone)]
pub struct WritableTable {
    pub table: Table,
    pub columns: Vec<Column>,
    pub side: Side,
    /// A trigger of the application's runs before an insert, and may fill what the caller leaves out.
    pub fills_rows: bool,
}

/// A change with everything that a write needs to know of it. Reading it costs some thirty queries, so a server keeps it.
#[derive(Debug, Clone)]
pub struct WriteModel {
    pub name: ChangeName,
    pub model: ChangeModel,
    pub tables: Vec<WritableTable>,
}

impl WriteModel {
    /// Reads the tables that the change's blocks are driven by, follow or write.
    pub fn read(connection: &mut DatabaseConnection, change: &InstalledChange) -> Result<Self, TranslationError> {
        let model = resolve(connection, &change.file)?;
        let catalogue = read_catalogue(connection, &change.file)?;
        let mut tables: Vec<WritableTable> = Vec::new();
        for written in names(&change.file) {
            let Some(table) = catalogue.find(&written) else { continue };
            if !table.is_ordinary || tables.iter().any(|known| known.table.sql_name() == table.sql_name()) {
                continue;
            }
            let columns = columns(connection, table)?;
            let is_new = model.blocks.iter().any(|block| match block.id.direction {
                Direction::Forward => block.target.sql == table.sql_name(),
                Direction::Backward => block.driving.table.sql == table.sql_name(),
            });
            let side = if is_new { Side::New } else { Side::Old };
            let fills_rows = fills_rows(connection, table)?;
            tables.push(WritableTable { table: table.clone(), columns, side, fills_rows });
        }
        Ok(Self { name: change.name.clone(), model, tables })
    }

    /// The table that a caller calls `name`: `videos`, or `billing.videos` where the bare name is not enough.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(usize, &WritableTable)> {
        let qualified = |table: &Table| table.schema.as_ref().map(|schema| format!("{schema}.{}", table.name));
        let shown = self.tables.iter().position(|known| known.table.shown() == name);
        let index = shown.or_else(|| {
            let mut bare = self.tables.iter().enumerate().filter(|(_, known)| {
                known.table.name == name || qualified(&known.table).is_some_and(|qualified| qualified == name)
            });
            let (index, _) = bare.next()?;
            bare.next().is_none().then_some(index)
        })?;
        Some((index, self.tables.get(index)?))
    }

    /// The writable table with this quoted name.
    #[must_use]
    pub fn of(&self, sql_name: &str) -> Option<&WritableTable> {
        self.tables.iter().find(|known| known.table.sql_name() == sql_name)
    }

    /// Blocks with their place in the model.
    pub fn blocks(&self) -> impl Iterator<Item = (usize, &BlockModel)> {
        self.model.blocks.iter().enumerate()
    }
}

/// When a change was installed; `None` if it is not.
pub fn installed_at(connection: &mut DatabaseConnection, name: &ChangeName) -> Result<Option<Instant>, DatabaseError> {
    if !are_tables_there(connection)? {
        return Ok(None);
    }
    let sql = format!("SELECT installed_at FROM {} WHERE name = $1", own(connection.dialect(), "change"));
    let row = connection.find_row(&sql, &[name.as_str().into()])?;
    row.map(|row| Ok(Instant::from_micros(row.integer("installed_at")?))).transpose()
}

impl WritableTable {
    #[must_use]
    pub fn find_column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Keys that name one row: the primary key and every unique index.
    #[must_use]
    pub fn keys(&self) -> Vec<Vec<String>> {
        let mut keys: Vec<Vec<String>> = Vec::new();
        for key in std::iter::once(&self.table.primary_key).chain(&self.table.unique_indexes) {
            if !key.is_empty() && !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        keys
    }
}

/// Driving tables, follow tables and targets, in the order of the file.
fn names(file: &ChangeFile) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for block in &file.blocks {
        let follows = block.follows.iter().map(|follow| &follow.table);
        for name in [&block.from, &block.into].into_iter().chain(follows) {
            if !names.contains(&name.value) {
                names.push(name.value.clone());
            }
        }
    }
    names
}

/// On SQLite a trigger cannot change the row that is being inserted.
fn fills_rows(connection: &mut DatabaseConnection, table: &Table) -> Result<bool, DatabaseError> {
    if table.dialect == Dialect::Sqlite {
        return Ok(false);
    }
    // tgtype: 1 for each row, 2 before, 4 insert
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass($1)::oid AND NOT tgisinternal AND tgtype & 7 = 7) AS fills";
    connection.get_row(sql, &[table.sql_name().into()])?.boolean("fills")
}

const POSTGRES_COLUMNS: &str = "
WITH RECURSIVE base (attnum, oid, modifier) AS (
    SELECT attnum, atttypid, atttypmod FROM pg_attribute WHERE attrelid = to_regclass($1)::oid AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT b.attnum, t.typbasetype, t.typtypmod FROM base b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd')
SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS shown_type, format_type(t.oid, -1) AS cast_type,
       t.typname::text AS base, t.typtype::text AS type_kind, b.modifier::int8 AS modifier, e.typname::text AS element, e.typtype::text AS element_kind,
       (SELECT json_agg(l.enumlabel ORDER BY l.enumsortorder)::text FROM pg_enum l WHERE l.enumtypid IN (t.oid, e.oid)) AS labels
FROM base b JOIN pg_type t ON t.oid = b.oid AND t.typtype <> 'd'
JOIN pg_attribute a ON a.attrelid = to_regclass($2)::oid AND a.attnum = b.attnum
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
ORDER BY a.attnum";

fn columns(connection: &mut DatabaseConnection, table: &Table) -> Result<Vec<Column>, DatabaseError> {
    let mut columns: Vec<Column> = table
        .columns
        .iter()
        .map(|column| Column {
            name: column.name.clone(),
            shown_type: column.data_type.clone(),
            cast: String::new(),
            kind: sqlite_kind(&column.data_type),
            not_null: column.not_null,
            has_default: column.has_default,
            generated: column.generated,
        })
        .collect();
    if table.dialect == Dialect::Postgres {
        let name = Value::from(table.sql_name());
        for row in connection.query(POSTGRES_COLUMNS, &[name.clone(), name])? {
            let name = row.text("name")?;
            let Some(column) = columns.iter_mut().find(|column| column.name == name) else { continue };
            column.shown_type = row.text("shown_type")?;
            column.cast = row.text("cast_type")?;
            column.kind = postgres_kind(&row)?;
        }
    }
    Ok(columns)
}

fn postgres_kind(row: &Row) -> Result<Kind, DatabaseError> {
    let modifier = row.integer("modifier")?;
    let labels = || -> Result<Vec<String>, DatabaseError> {
        let text = row.find_text("labels")?.unwrap_or_default();
        Ok(serde_json::from_str(&text).unwrap_or_default())
    };
    let kind_of = |name: &str, is_enum: bool, modifier: i64| -> Result<Kind, DatabaseError> {
        Ok(if is_enum { Kind::Enum(labels()?) } else { postgres_base(name, modifier) })
    };
    match row.find_text("element")? {
        Some(element) => {
            let is_enum = row.find_text("element_kind")?.as_deref() == Some("e");
            // An element that is a domain is left to the database.
            let is_domain = row.find_text("element_kind")?.as_deref() == Some("d");
            let inner = if is_domain { Kind::Other } else { kind_of(&element, is_enum, modifier)? };
            Ok(Kind::Array(Box::new(inner)))
        }
        None => kind_of(&row.text("base")?, row.text("type_kind")? == "e", modifier),
    }
}

/// `modifier` is PostgreSQL's atttypmod: length + 4, or precision and scale, or digits of a second; -1 if there is none.
fn postgres_base(name: &str, modifier: i64) -> Kind {
    let length_max = usize::try_from(modifier - 4).ok();
    let digits = usize::try_from(modifier).unwrap_or(6);
    match name {
        "int2" => Kind::Integer { bits: 16 },
        "int4" => Kind::Integer { bits: 32 },
        "int8" => Kind::Integer { bits: 64 },
        "numeric" => {
            let packed = u32::try_from(modifier - 4).ok();
            // A scale below zero (PostgreSQL 15) rounds to tens: the database says so itself.
            let scale = packed.map_or(0, |packed| packed & 0x7ff);
            Kind::Numeric { precision: packed.map(|packed| packed >> 16 & 0xffff).filter(|_| scale < 1024), scale }
        }
        "float4" | "float8" => Kind::Float,
        "bool" => Kind::Boolean,
        "varchar" | "bpchar" => Kind::Text { length_max },
        "text" | "citext" | "name" => Kind::Text { length_max: None },
        "bytea" => Kind::Bytes,
        "uuid" => Kind::Uuid,
        "date" => Kind::Date,
        "time" => Kind::Time { digits },
        "timestamp" => Kind::Timestamp { zoned: false, digits },
        "timestamptz" => Kind::Timestamp { zoned: true, digits },
        "json" | "jsonb" => Kind::Json,
        _ => Kind::Other,
    }
}

/// By the declared type, as SQLite's own affinity rules do; where a declaration means nothing to SQLite, by what people mean by it.
fn sqlite_kind(declared: &str) -> Kind {
    let upper = declared.to_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| upper.contains(word));
    if has(&["BOOL"]) {
        Kind::Boolean
    } else if has(&["INT"]) {
        Kind::Integer { bits: 64 }
    } else if has(&["JSON"]) {
        Kind::Json
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Kind::Text { length_max: None }
    } else if has(&["BLOB"]) {
        Kind::Bytes
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Kind::Float
    } else if has(&["NUMERIC", "DECIMAL"]) {
        sqlite_numeric(&upper)
    } else if upper == "UUID" {
        Kind::Uuid
    } else if upper == "DATE" {
        Kind::Date
    } else {
        Kind::Other
    }
}

/// `NUMERIC(12, 2)`: SQLite does not hold a column to it, but who wrote it meant it.
fn sqlite_numeric(upper: &str) -> Kind {
    let inside = upper.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(inside, _)| inside);
    let mut numbers = inside.unwrap_or_default().split(',').map(|number| number.trim().parse::<u32>().ok());
    let (precision, scale) = (numbers.next().flatten(), numbers.next().flatten());
    Kind::Numeric { precision, scale: scale.unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_mean_what_the_databases_say() {
        assert_eq!(postgres_base("numeric", (38 << 16 | 11) + 4), Kind::Numeric { precision: Some(38), scale: 11 });
        assert_eq!(postgres_base("numeric", -1), Kind::Numeric { precision: None, scale: 0 });
        assert_eq!(postgres_base("varchar", 14), Kind::Text { length_max: Some(10) });
        assert_eq!(postgres_base("varchar", -1), Kind::Text { length_max: None });
        assert_eq!(postgres_base("timestamptz", 3), Kind::Timestamp { zoned: true, digits: 3 });
        assert_eq!(sqlite_kind("BIGINT"), Kind::Integer { bits: 64 });
        assert_eq!(sqlite_kind("DECIMAL(12, 2)"), Kind::Numeric { precision: Some(12), scale: 2 });
        assert_eq!(sqlite_kind("VARCHAR(3)"), Kind::Text { length_max: None });
        assert_eq!(sqlite_kind(""), Kind::Other);
    }
}
