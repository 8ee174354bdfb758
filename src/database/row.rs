//! A row whose columns are known only at run time.

use diesel::backend::Backend;
use diesel::deserialize::{FromSql, QueryableByName, Result as DeserializeResult};
use diesel::pg::{Pg, PgValue};
use diesel::row::{Field, NamedRow};
use diesel::sql_types::{BigInt, Bool, Double, Integer, SmallInt, Text};
use diesel::sqlite::{Sqlite, SqliteType};

use super::connection::Value;
use super::error::DatabaseError;

/// One row of a query that was written at run time: column names and their values, in the order of the query.
///
/// PostgreSQL sends binary values, so a query casts what is neither integer, boolean, float nor text to `text` itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    columns: Vec<(String, Value)>,
}

impl Row {
    /// The value of a column; a column that the query does not return is an error.
    pub fn get(&self, column: &str) -> Result<&Value, DatabaseError> {
        let found = self.columns.iter().find(|(name, _)| name == column);
        found.map(|(_, value)| value).ok_or_else(|| DatabaseError::MissingColumn(column.to_owned()))
    }

    /// The value as text; integers and booleans print as the database would. NULL is `None`.
    pub fn find_text(&self, column: &str) -> Result<Option<String>, DatabaseError> {
        Ok(self.get(column)?.to_text())
    }

    /// The value as text; NULL is an error.
    pub fn text(&self, column: &str) -> Result<String, DatabaseError> {
        self.find_text(column)?.ok_or_else(|| unexpected(column, "NULL", "text"))
    }

    /// The value as an integer; NULL is `None`, anything but an integer an error.
    pub fn find_integer(&self, column: &str) -> Result<Option<i64>, DatabaseError> {
        match self.get(column)? {
            Value::Null => Ok(None),
            Value::Integer(number) => Ok(Some(*number)),
            Value::Boolean(truth) => Ok(Some(i64::from(*truth))),
            Value::Text(text) => text.parse().map(Some).map_err(|_| unexpected(column, "text", "an integer")),
            Value::Real(_) => Err(unexpected(column, "a float", "an integer")),
        }
    }

    /// The value as an integer; NULL is an error.
    pub fn integer(&self, column: &str) -> Result<i64, DatabaseError> {
        self.find_integer(column)?.ok_or_else(|| unexpected(column, "NULL", "an integer"))
    }

    /// The value as a boolean: `true`/`false`, or 1/0 on SQLite.
    pub fn boolean(&self, column: &str) -> Result<bool, DatabaseError> {
        Ok(self.integer(column)? != 0)
    }

    /// Column names and values in the order of the query.
    #[must_use]
    pub fn columns(&self) -> &[(String, Value)] {
        &self.columns
    }
}

/// One row's values in the order of the query, without names: for answers of very many rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Cells(Vec<Value>);

impl Cells {
    /// The value at a place, from 0; NULL where the query has fewer columns.
    #[must_use]
    pub fn get(&self, place: usize) -> &Value {
        self.0.get(place).unwrap_or(&Value::Null)
    }
}

impl QueryableByName<Pg> for Cells {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> DeserializeResult<Self> {
        cells(row, postgres_value)
    }
}

impl QueryableByName<Sqlite> for Cells {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> DeserializeResult<Self> {
        cells(row, sqlite_value)
    }
}

fn cells<'a, DB: Backend, R: NamedRow<'a, DB>>(
    row: &R,
    decode: impl Fn(DB::RawValue<'_>) -> DeserializeResult<Value>,
) -> DeserializeResult<Cells> {
    let mut cells = Vec::with_capacity(row.field_count());
    for index in 0..row.field_count() {
        let Some(field) = diesel::row::Row::get(row, index) else { continue };
        cells.push(match field.value() {
            Some(raw) => decode(raw).map_err(|error| format!("column {}: {error}", index + 1))?,
            None => Value::Null,
        });
    }
    Ok(Cells(cells))
}

fn unexpected(column: &str, found: &str, wanted: &'static str) -> DatabaseError {
    DatabaseError::UnexpectedValue { column: column.to_owned(), found: found.to_owned(), wanted }
}

impl QueryableByName<Pg> for Row {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> DeserializeResult<Self> {
        build_with(row, postgres_value)
    }
}

impl QueryableByName<Sqlite> for Row {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> DeserializeResult<Self> {
        build_with(row, sqlite_value)
    }
}

fn build_with<'a, DB: Backend, R: NamedRow<'a, DB>>(
    row: &R,
    decode: impl Fn(DB::RawValue<'_>) -> DeserializeResult<Value>,
) -> DeserializeResult<Row> {
    let mut columns = Vec::with_capacity(row.field_count());
    for index in 0..row.field_count() {
        let Some(field) = diesel::row::Row::get(row, index) else { continue };
        let name = field.field_name().unwrap_or_default().to_owned();
        let value = match field.value() {
            Some(raw) => decode(raw).map_err(|error| format!("column `{name}`: {error}"))?,
            None => Value::Null,
        };
        columns.push((name, value));
    }
    Ok(Row { columns })
}

/// Object ids of PostgreSQL's built-in types (`pg_type.dat`).
mod oid {
    pub const BOOL: u32 = 16;
    pub const NAME: u32 = 19;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const OID: u32 = 26;
    pub const JSON: u32 = 114;
    pub const FLOAT8: u32 = 701;
    pub const UNKNOWN: u32 = 705;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const VOID: u32 = 2278;
}

fn postgres_value(raw: PgValue<'_>) -> DeserializeResult<Value> {
    Ok(match raw.get_oid().get() {
        oid::BOOL => Value::Boolean(<bool as FromSql<Bool, Pg>>::from_sql(raw)?),
        oid::INT8 => Value::Integer(<i64 as FromSql<BigInt, Pg>>::from_sql(raw)?),
        oid::INT4 => Value::Integer(i64::from(<i32 as FromSql<Integer, Pg>>::from_sql(raw)?)),
        oid::INT2 => Value::Integer(i64::from(<i16 as FromSql<SmallInt, Pg>>::from_sql(raw)?)),
        oid::OID => Value::Integer(i64::from(<u32 as FromSql<diesel::sql_types::Oid, Pg>>::from_sql(raw)?)),
        oid::FLOAT8 => Value::Real(<f64 as FromSql<Double, Pg>>::from_sql(raw)?),
        oid::TEXT | oid::NAME | oid::VARCHAR | oid::BPCHAR | oid::UNKNOWN | oid::JSON => {
            Value::Text(<String as FromSql<Text, Pg>>::from_sql(raw)?)
        }
        oid::VOID => Value::Null,
        other => return Err(format!("PostgreSQL type {other} must be cast to text in the query").into()),
    })
}

fn sqlite_value(raw: <Sqlite as Backend>::RawValue<'_>) -> DeserializeResult<Value> {
    Ok(match raw.value_type() {
        None => Value::Null,
        Some(SqliteType::SmallInt | SqliteType::Integer | SqliteType::Long) => {
            Value::Integer(<i64 as FromSql<BigInt, Sqlite>>::from_sql(raw)?)
        }
        Some(SqliteType::Float | SqliteType::Double) => Value::Real(<f64 as FromSql<Double, Sqlite>>::from_sql(raw)?),
        Some(_) => Value::Text(<String as FromSql<Text, Sqlite>>::from_sql(raw)?),
    })
}
