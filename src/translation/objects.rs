//! What Changeover has made in the application's database, as it was when it was made: functions, triggers, views, and how the
//! application's tables were then. The audit holds what is there against it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::change::Direction;
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::primitives::ChangeName;
use crate::sql::catalogue::Table;
use crate::sql::model::{ChangeModel, TableModel};
use crate::sql::names::own;
use crate::sql::objects::{ObjectKind, act_of};

use super::catalogue::find_table;
use super::own::is_table_there;

/// The table that holds it; may be run again.
#[must_use]
pub fn create_table(dialect: Dialect) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (change TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, on_table TEXT NOT NULL, \
         definition TEXT NOT NULL, PRIMARY KEY (change, kind, name, on_table))",
        own(dialect, "object")
    )
}

/// One object as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub name: String,
    /// A trigger's table; empty for anything else.
    pub on_table: String,
    /// PostgreSQL: JSON of [`Function`] or a trigger's statement. SQLite: the statement that created it.
    pub definition: String,
}

/// What a function of PostgreSQL is, apart from its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    pub source: String,
    pub settings: String,
    pub definer: bool,
    pub owner: String,
    pub arguments: String,
}

/// How a table of the application was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableShape {
    /// Name, type, NOT NULL.
    pub columns: Vec<(String, String, bool)>,
    pub primary_key: Vec<String>,
    pub unique: Vec<Vec<String>>,
    pub indexes: Vec<Vec<String>>,
}

impl From<&Table> for TableShape {
    fn from(table: &Table) -> Self {
        let column =
            |column: &crate::sql::catalogue::Column| (column.name.clone(), column.data_type.clone(), column.not_null);
        Self {
            columns: table.columns.iter().map(column).collect(),
            primary_key: table.primary_key.clone(),
            unique: table.unique_indexes.clone(),
            indexes: table.indexes.clone(),
        }
    }
}

/// Runs statements, and notes what they have created and dropped.
pub fn make(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    statements: &[String],
) -> Result<(), DatabaseError> {
    for statement in statements {
        connection.batch(statement)?;
    }
    note(connection, change, statements)
}

/// Notes what `statements`, which have just been run, have created and dropped.
fn note(connection: &mut DatabaseConnection, change: &ChangeName, statements: &[String]) -> Result<(), DatabaseError> {
    connection.batch(&create_table(connection.dialect()))?;
    for kind in ObjectKind::ALL {
        let acts = statements.iter().filter_map(|statement| act_of(statement)).filter(|act| act.kind == kind);
        let names: BTreeSet<String> = acts.map(|act| act.name).collect();
        if names.is_empty() {
            continue;
        }
        let forget = format!(
            "DELETE FROM {} WHERE change = $1 AND kind = $2 AND name = $3",
            own(connection.dialect(), "object")
        );
        for name in &names {
            connection.execute(&forget, &[change.as_str().into(), kind.as_str().into(), name.as_str().into()])?;
        }
        for object in read(connection, kind)?.into_iter().filter(|object| names.contains(&object.name)) {
            insert(connection, change, kind.as_str(), &object)?;
        }
    }
    Ok(())
}

/// Notes how the tables of the change are now.
pub fn note_tables(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<(), DatabaseError> {
    connection.batch(&create_table(connection.dialect()))?;
    let forget = format!("DELETE FROM {} WHERE change = $1 AND kind = 'table'", own(connection.dialect(), "object"));
    connection.execute(&forget, &[model.name.as_str().into()])?;
    for table in tables_of(model) {
        let Some(found) = find_table(connection, &table.sql)? else { continue };
        let shape = serde_json::json!(TableShape::from(&found)).to_string();
        let object = Object { name: table.sql, on_table: String::new(), definition: shape };
        insert(connection, &model.name, "table", &object)?;
    }
    Ok(())
}

fn insert(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    kind: &str,
    object: &Object,
) -> Result<(), DatabaseError> {
    let sql = format!(
        "INSERT INTO {} (change, kind, name, on_table, definition) VALUES ($1, $2, $3, $4, $5)",
        own(connection.dialect(), "object")
    );
    let texts = [change.as_str(), kind, &object.name, &object.on_table, &object.definition];
    connection.execute(&sql, &texts.map(Value::from))?;
    Ok(())
}

/// What was noted of one kind (of [`ObjectKind`], or `table`); nothing where an earlier version installed the change.
pub fn noted(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    kind: &str,
) -> Result<Vec<Object>, DatabaseError> {
    if !is_table_there(connection, "object")? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT name, on_table, definition FROM {} WHERE change = $1 AND kind = $2 ORDER BY name, on_table",
        own(connection.dialect(), "object")
    );
    objects(connection, &sql, &[change.as_str().into(), kind.into()])
}

const POSTGRES_FUNCTIONS: &str = "
SELECT p.proname::text AS name, '' AS on_table, CAST(json_build_object('source', md5(p.prosrc),
       'settings', coalesce(array_to_string(p.proconfig, '; '), ''), 'definer', p.prosecdef,
       'owner', pg_get_userbyid(p.proowner), 'arguments', oidvectortypes(p.proargtypes)) AS text) AS definition
FROM pg_proc p WHERE p.pronamespace = to_regnamespace('changeover') ORDER BY 1";

const POSTGRES_TRIGGERS: &str = r#"
SELECT t.tgname::text AS name, pg_get_triggerdef(t.oid) AS definition,
       '"' || replace(n.nspname, '"', '""') || '"."' || replace(c.relname, '"', '""') || '"' AS on_table
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal ORDER BY 1, 3"#;

const POSTGRES_VIEWS: &str = "
SELECT c.relname::text AS name, '' AS on_table, '' AS definition
FROM pg_class c WHERE c.relnamespace = to_regnamespace('changeover') AND c.relkind = 'v' ORDER BY 1";

/// Every object of a kind that is there now; of PostgreSQL's functions and views those in Changeover's schema.
pub fn read(connection: &mut DatabaseConnection, kind: ObjectKind) -> Result<Vec<Object>, DatabaseError> {
    let sql = match (connection.dialect(), kind) {
        (Dialect::Postgres, ObjectKind::Function) => POSTGRES_FUNCTIONS,
        (Dialect::Postgres, ObjectKind::Trigger) => POSTGRES_TRIGGERS,
        (Dialect::Postgres, ObjectKind::View) => POSTGRES_VIEWS,
        (Dialect::Sqlite, ObjectKind::Function) => return Ok(Vec::new()),
        (Dialect::Sqlite, ObjectKind::Trigger) => {
            r#"SELECT name, '"' || replace(tbl_name, '"', '""') || '"' AS on_table, sql AS definition
               FROM sqlite_master WHERE type = 'trigger' ORDER BY 1"#
        }
        (Dialect::Sqlite, ObjectKind::View) => {
            "SELECT name, '' AS on_table, sql AS definition FROM sqlite_master WHERE type = 'view' ORDER BY 1"
        }
    };
    objects(connection, sql, &[])
}

fn objects(connection: &mut DatabaseConnection, sql: &str, values: &[Value]) -> Result<Vec<Object>, DatabaseError> {
    let rows = connection.query(sql, values)?;
    rows.iter()
        .map(|row| {
            Ok(Object { name: row.text("name")?, on_table: row.text("on_table")?, definition: row.text("definition")? })
        })
        .collect()
}

/// Every table that the change reads rows of or writes, each once.
#[must_use]
pub fn tables_of(model: &ChangeModel) -> Vec<TableModel> {
    let mut tables = model.sources_of(Direction::Forward);
    let others = model.sources_of(Direction::Backward).into_iter();
    for table in others.chain(model.blocks.iter().map(|block| block.target.clone())) {
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    tables
}
