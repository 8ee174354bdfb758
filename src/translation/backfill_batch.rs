//! One batch of a backfill on either database: the next keys of a part, locked against updates and deletes, refreshed.

use crate::change::Direction;
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::sql::keys::{KeyRange, columns, parts, text_sql};
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::postgres_batch::{batch_function, batch_signature};
use crate::sql::verify::keys_in_order;
use crate::sql::{postgres, sqlite};

use super::objects;

/// How long a batch waits for a row that an application's transaction holds. It holds locks itself, which others may wait for, so it
/// gives up soon, lets them pass and tries again.
const LOCK_TIMEOUT: &str = "500ms";

/// Refreshes keys of one block.
#[derive(Clone, Copy)]
pub struct Batches<'a> {
    pub model: &'a ChangeModel,
    pub block: &'a BlockModel,
}

/// What a batch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// `None` if no key was left.
    pub last_key: Option<String>,
    pub keys: usize,
}

impl Batches<'_> {
    /// PostgreSQL: makes the batch function, where an installation made by an earlier version has another. Not while batches run.
    pub fn create_function(self, connection: &mut DatabaseConnection) -> Result<(), DatabaseError> {
        if connection.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        let signature = batch_signature(self.model, self.block);
        let sql = "SELECT to_regprocedure($1) IS NOT NULL AS there";
        if connection.get_row(sql, &[Value::from(signature)])?.boolean("there")? {
            return Ok(());
        }
        objects::make(connection, &self.model.name, &[batch_function(self.model, self.block)])
    }

    /// Refreshes the first `batch_rows` keys of a range, inside the caller's transaction.
    pub fn run(
        self,
        connection: &mut DatabaseConnection,
        range: &KeyRange,
        batch_rows: usize,
    ) -> Result<Batch, DatabaseError> {
        let KeyRange::Between { after, until } = range else { return Ok(Batch { last_key: None, keys: 0 }) };
        match connection.dialect() {
            Dialect::Postgres => self.on_postgres(connection, after.as_deref(), until.as_deref(), batch_rows),
            Dialect::Sqlite => self.on_sqlite(connection, after, until, batch_rows),
        }
    }

    fn on_postgres(
        self,
        connection: &mut DatabaseConnection,
        after: Option<&str>,
        until: Option<&str>,
        batch_rows: usize,
    ) -> Result<Batch, DatabaseError> {
        let setting = postgres::direction_setting(self.model);
        connection.batch(&format!(
            "SELECT set_config('{setting}', 'backfill', true), set_config('lock_timeout', '{LOCK_TIMEOUT}', true)"
        ))?;
        let key = &self.block.driving.key;
        let bound = |bound: Option<&str>| match bound.and_then(|bound| parts(key, bound)) {
            Some(parts) => parts.into_iter().map(Value::from).collect(),
            None => vec![Value::Null; key.len()],
        };
        let casts = key.iter().chain(key).enumerate();
        let casts: Vec<String> =
            casts.map(|(index, column)| format!("${}::text::{}", index + 2, column.sql_type)).collect();
        let sql = format!(
            "SELECT last_key, key_count FROM {}({}, $1::integer)",
            postgres::block_function(self.model, self.block, "batch"),
            casts.join(", "),
        );
        let rows = Value::from(i64::try_from(batch_rows).unwrap_or(i64::MAX));
        let values: Vec<Value> = std::iter::once(rows).chain(bound(after)).chain(bound(until)).collect();
        let row = connection.get_row(&sql, &values)?;
        let keys = usize::try_from(row.integer("key_count")?).unwrap_or(0);
        Ok(Batch { last_key: row.find_text("last_key")?, keys })
    }

    fn on_sqlite(
        self,
        connection: &mut DatabaseConnection,
        after: &Option<String>,
        until: &Option<String>,
        batch_rows: usize,
    ) -> Result<Batch, DatabaseError> {
        let block = self.block;
        let rest = KeyRange::Between { after: after.clone(), until: until.clone() };
        let Some((last_key, keys)) = self.end_of_batch(connection, &rest, batch_rows)? else {
            return Ok(Batch { last_key: None, keys: 0 });
        };
        let key = columns("k", block.driving.key.iter().map(|column| &column.name));
        let range = KeyRange::Between { after: after.clone(), until: Some(last_key.clone()) };
        let control = sqlite::control_table(self.model);
        connection.batch(&format!("UPDATE {control} SET mode = {}", sqlite::BACKFILL))?;
        connection.batch(&format!(
            "INSERT INTO {} SELECT {}, 0 FROM ({}) k WHERE 1 = 1{}",
            sqlite::refresh_view(self.model, block),
            key.join(", "),
            keys_in_order(block, &range),
            sqlite::and_thawed(block, &key),
        ))?;
        connection.batch(&format!("UPDATE {control} SET mode = 0"))?;
        Ok(Batch { last_key: Some(last_key), keys })
    }

    /// The last of the first `batch_rows` keys of a range, and how many they are; `None` if the range has no key.
    pub fn end_of_batch(
        self,
        connection: &mut DatabaseConnection,
        range: &KeyRange,
        batch_rows: usize,
    ) -> Result<Option<(String, usize)>, DatabaseError> {
        let key = columns("k", self.block.driving.key.iter().map(|column| &column.name));
        let last_first: Vec<String> = key.iter().map(|column| format!("{column} DESC")).collect();
        let next = format!("({} LIMIT {batch_rows})", keys_in_order(self.block, range));
        let sql = format!(
            "SELECT {} AS last_key, (SELECT count(*) FROM {next} n) AS keys FROM {next} k ORDER BY {} LIMIT 1",
            text_sql(connection.dialect(), &key),
            last_first.join(", "),
        );
        let Some(row) = connection.find_row(&sql, &[])? else { return Ok(None) };
        let keys = usize::try_from(row.integer("keys")?).unwrap_or(0);
        Ok(row.find_text("last_key")?.map(|last_key| (last_key, keys)))
    }
}

/// Fills every forward block's target in the current transaction, which the caller will roll back: for comparisons before
/// anything is installed.
pub fn fill_in_transaction(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<(), DatabaseError> {
    for block in model.blocks_of(Direction::Forward) {
        let key = columns("k", block.driving.key.iter().map(|column| &column.name));
        let all = keys_in_order(block, &KeyRange::Between { after: None, until: None });
        let sql = match connection.dialect() {
            Dialect::Postgres => {
                let arrays: Vec<String> = key.iter().map(|column| format!("array_agg({column})")).collect();
                let apply = postgres::block_function(model, block, "apply");
                format!("SELECT {apply}({}) FROM ({all}) k HAVING count(*) > 0", arrays.join(", "))
            }
            Dialect::Sqlite => format!(
                "INSERT INTO {} SELECT {}, 0 FROM ({all}) k WHERE 1 = 1{}",
                sqlite::refresh_view(model, block),
                key.join(", "),
                sqlite::and_thawed(block, &key),
            ),
        };
        connection.batch(&sql)?;
    }
    Ok(())
}
