//! Rows as they are stored: read with every digit, shown as JSON, and set before a query as `changed` again.

use serde_json::value::RawValue;

use super::base64::{encode, from_hexadecimal};
use super::json::{self, Json, Object, quoted as json_string};
use super::kind::{Kind, Parameter};
use super::statement::Statement;
use super::tables::WritableTable;
use crate::database::{DatabaseError, Row, Value};
use crate::primitives::Dialect;
use crate::sql::names::quoted;

/// The row that a statement reads or writes, in every statement of ours.
pub const ROW: &str = "co_row";
/// Rows given to one query as `changed`, at most: SQLite takes 32,766 parameters.
const VALUES_MAX: usize = 30_000;

/// A row as it is stored.
#[derive(Debug, Clone)]
pub struct StoredRow {
    pub image: Image,
    /// Each column as JSON text, in the order of the table's columns.
    pub shown: Vec<String>,
}

/// A row as the database itself understands it.
#[derive(Debug, Clone)]
pub enum Image {
    /// `row_to_json` of it.
    Postgres(String),
    Sqlite(Vec<Parameter>),
}

/// What a statement returns of [`ROW`].
#[must_use]
pub fn select_list(table: &WritableTable) -> String {
    match table.table.dialect {
        Dialect::Postgres => format!("CAST(row_to_json({ROW}) AS text) AS co_row_text"),
        Dialect::Sqlite => {
            let each = table.columns.iter().enumerate().map(|(index, column)| {
                let name = quoted(&column.name);
                format!("CASE typeof({name}) WHEN 'blob' THEN hex({name}) ELSE {name} END AS co_v{index}, typeof({name}) AS co_t{index}")
            });
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// Reads what [`select_list`] returns.
pub fn read(table: &WritableTable, row: &Row) -> Result<StoredRow, DatabaseError> {
    match table.table.dialect {
        Dialect::Postgres => read_postgres(table, row.text("co_row_text")?),
        Dialect::Sqlite => read_sqlite(table, row),
    }
}

fn read_postgres(table: &WritableTable, text: String) -> Result<StoredRow, DatabaseError> {
    let unreadable = |column: &str| DatabaseError::UnexpectedValue {
        column: column.to_owned(),
        found: String::from("no JSON"),
        wanted: "a row as JSON",
    };
    let object: Object<'_> = serde_json::from_str(&text).map_err(|_| unreadable("co_row_text"))?;
    let mut shown = Vec::with_capacity(table.columns.len());
    for column in &table.columns {
        let raw = object.find(&column.name).ok_or_else(|| unreadable(&column.name))?;
        shown.push(postgres_shown(&column.kind, raw));
    }
    Ok(StoredRow { shown, image: Image::Postgres(text) })
}

/// PostgreSQL's JSON as ours: decimal numbers as strings, bytes as base64.
fn postgres_shown(kind: &Kind, raw: &RawValue) -> String {
    match (kind, json::read(raw)) {
        (Kind::Numeric { .. }, Ok(Json::Number(number))) => json_string(number),
        (Kind::Bytes, Ok(Json::Text(text))) => {
            let bytes = text.strip_prefix("\\x").and_then(from_hexadecimal);
            bytes.map_or_else(|| raw.get().to_owned(), |bytes| json_string(&encode(&bytes)))
        }
        (Kind::Array(element), Ok(Json::Array(items))) => {
            let parts: Vec<String> = items
                .into_iter()
                .map(|item| match (element.as_ref(), json::read(item)) {
                    (Kind::Json, _) | (_, Err(_)) => item.get().to_owned(),
                    (_, Ok(Json::Array(_))) => postgres_shown(kind, item),
                    (element, _) => postgres_shown(element, item),
                })
                .collect();
            format!("[{}]", parts.join(","))
        }
        _ => raw.get().to_owned(),
    }
}

fn read_sqlite(table: &WritableTable, row: &Row) -> Result<StoredRow, DatabaseError> {
    let mut image = Vec::with_capacity(table.columns.len());
    let mut shown = Vec::with_capacity(table.columns.len());
    for (index, column) in table.columns.iter().enumerate() {
        let value = row.get(&format!("co_v{index}"))?.clone();
        let is_bytes = row.text(&format!("co_t{index}"))? == "blob";
        shown.push(sqlite_shown(&column.kind, &value, is_bytes));
        image.push(Parameter { value, is_bytes });
    }
    Ok(StoredRow { image: Image::Sqlite(image), shown })
}

/// By what is stored, since a column of SQLite may hold anything.
fn sqlite_shown(kind: &Kind, value: &Value, is_bytes: bool) -> String {
    match (kind, value) {
        (_, Value::Null) => String::from("null"),
        (Kind::Boolean, Value::Integer(number @ (0 | 1))) => (*number == 1).to_string(),
        (Kind::Numeric { .. }, Value::Integer(number)) => json_string(&number.to_string()),
        (Kind::Numeric { .. }, Value::Real(number)) => json_string(&number.to_string()),
        (_, Value::Integer(number)) => number.to_string(),
        (_, Value::Boolean(truth)) => truth.to_string(),
        (_, Value::Real(number)) => serde_json::Number::from_f64(*number)
            .map_or_else(|| json_string(&number.to_string()), |number| number.to_string()),
        (_, Value::Text(text)) if is_bytes => {
            json_string(&from_hexadecimal(text).map_or_else(String::new, |bytes| encode(&bytes)))
        }
        (Kind::Json, Value::Text(text)) if serde_json::from_str::<&RawValue>(text).is_ok() => text.trim().to_owned(),
        (_, Value::Text(text)) => json_string(text),
    }
}

impl StoredRow {
    /// The row as one JSON object.
    #[must_use]
    pub fn object(&self, table: &WritableTable) -> String {
        let members = table.columns.iter().zip(&self.shown);
        let members: Vec<String> =
            members.map(|(column, shown)| format!("{}:{shown}", json_string(&column.name))).collect();
        format!("{{{}}}", members.join(","))
    }

    /// The columns that tell the row from others.
    #[must_use]
    pub fn identity(&self, table: &WritableTable, names: &[String]) -> Vec<String> {
        let columns = names.iter().filter_map(|name| table.find_column(name));
        columns.filter_map(|column| self.shown.get(column)).cloned().collect()
    }
}

/// The image that a row will have, as far as it is known before it is written: `written` over `before`, or over nothing.
#[must_use]
pub fn planned(table: &WritableTable, before: Option<&Image>, written: &[(usize, Parameter)]) -> Image {
    let given = |index: usize| written.iter().find(|(column, _)| *column == index).map(|(_, parameter)| parameter);
    if table.table.dialect == Dialect::Sqlite {
        let old = |index: usize| match before {
            Some(Image::Sqlite(values)) => values.get(index).cloned(),
            _ => None,
        };
        let values = (0..table.columns.len()).map(|index| given(index).cloned().or_else(|| old(index)));
        return Image::Sqlite(values.map(|value| value.unwrap_or_else(Parameter::null)).collect());
    }
    let document = match before {
        Some(Image::Postgres(text)) => text.as_str(),
        _ => "{}",
    };
    let old: Object<'_> = serde_json::from_str(document).unwrap_or(Object(Vec::new()));
    let members = table.columns.iter().enumerate().filter_map(|(index, column)| {
        let text = match given(index) {
            Some(Parameter { value: Value::Text(text), .. }) if column.kind == Kind::Json => text.clone(),
            Some(Parameter { value, .. }) => {
                value.to_text().map_or_else(|| String::from("null"), |text| json_string(&text))
            }
            None => old.find(&column.name)?.get().to_owned(),
        };
        Some(format!("{}:{text}", json_string(&column.name)))
    });
    Image::Postgres(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
}

/// Images in portions that one statement takes.
pub fn portions<'a>(table: &WritableTable, images: &'a [Image]) -> impl Iterator<Item = &'a [Image]> {
    images.chunks((VALUES_MAX / table.columns.len().max(1)).clamp(1, 1_000))
}

/// A statement that begins by giving some rows the name `changed`.
#[must_use]
pub fn with_changed(table: &WritableTable, images: &[Image]) -> Statement {
    let mut statement = Statement::new("WITH changed");
    match table.table.dialect {
        Dialect::Postgres => {
            let documents: Vec<&str> = images
                .iter()
                .filter_map(|image| match image {
                    Image::Postgres(text) => Some(text.as_str()),
                    Image::Sqlite(_) => None,
                })
                .collect();
            statement
                .push(&format!(" AS (SELECT * FROM json_populate_recordset(NULL::{}, CAST(", table.table.sql_name()));
            statement.bind(&Parameter { value: Value::Text(format!("[{}]", documents.join(","))), is_bytes: false });
            statement.push(" AS json))) ");
        }
        Dialect::Sqlite => {
            let names: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
            statement.push(&format!("({}) AS (VALUES ", names.join(", ")));
            for (number, image) in images.iter().enumerate() {
                let Image::Sqlite(values) = image else { continue };
                statement.push(if number == 0 { "(" } else { ", (" });
                for (index, value) in values.iter().enumerate() {
                    statement.push(if index == 0 { "" } else { ", " });
                    statement.bind(value);
                }
                statement.push(")");
            }
            statement.push(") ");
        }
    }
    statement
}
