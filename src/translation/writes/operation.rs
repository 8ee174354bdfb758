//! One operation of a request: which table, which rows, and each column's value held against its type.

use serde_json::value::RawValue;

use super::fault::Fault;
use super::json::{self, Json, Object, step};
use super::kind::{Kind, parameter};
use super::request::{Action, Cell, Given, Operation, Reading, RowWrite};
use super::tables::{Column, WritableTable};

/// Where a row stands.
struct Place<'a> {
    operation: usize,
    row: usize,
    pointer: String,
    table: &'a WritableTable,
}

/// Reads one operation; `None` if it has faults, which are kept in `reading`.
pub(super) fn read_operation(reading: &mut Reading<'_>, number: usize, raw: &RawValue) -> Option<Operation> {
    let before = reading.fault_count();
    let pointer = format!("/operations/{number}");
    let wrong =
        |detail: String| Fault { operation: Some(number), pointer: pointer.clone(), detail, ..Fault::default() };
    let object = match json::read(raw) {
        Ok(Json::Object(object)) => object,
        Ok(other) => {
            reading.fault(wrong(format!("an operation is an object, not {}", other.noun())));
            return None;
        }
        Err(error) => {
            reading.fault(wrong(error.to_string()));
            return None;
        }
    };
    let (action, table) = match subject(reading, &object) {
        Ok(found) => found,
        Err(detail) => {
            reading.fault(wrong(detail));
            return None;
        }
    };
    let model = reading.model;
    let written = model.tables.get(table)?;
    let mut rows = Vec::new();
    for (row, (pointer, object)) in row_objects(reading, number, action, object)?.into_iter().enumerate() {
        let place = Place { operation: number, row, pointer, table: written };
        rows.extend(read_row(reading, &place, action, &object));
    }
    (reading.fault_count() == before).then_some(Operation { action, table, rows })
}

/// What is done, and to which table.
fn subject(reading: &Reading<'_>, object: &Object<'_>) -> Result<(Action, usize), String> {
    let named: Vec<(Action, &RawValue)> =
        Action::ALL.into_iter().filter_map(|action| Some((action, object.find(action.as_str())?))).collect();
    let [(action, raw)] = named.as_slice() else {
        return Err(String::from(
            "an operation has exactly one of `insert`, `update`, `upsert`, `delete`, with a table's name",
        ));
    };
    let name = match json::read(raw) {
        Ok(Json::Text(name)) => name,
        _ => return Err(format!("`{}` takes the name of a table", action.as_str())),
    };
    let known = || reading.model.tables.iter().map(|table| table.table.shown()).collect::<Vec<_>>().join(", ");
    match reading.model.find(&name) {
        Some((index, _)) => Ok((*action, index)),
        None => {
            let shown: String = name.chars().take(60).collect();
            Err(format!("`{shown}` is not a table of this change: those are {}", known()))
        }
    }
}

/// The rows of an operation as objects with their pointers: `row` or `rows`; for updates and deletes `where`, `set` and `if` in the
/// operation itself, or in each of `rows`.
fn row_objects<'a>(
    reading: &mut Reading<'_>,
    number: usize,
    action: Action,
    object: Object<'a>,
) -> Option<Vec<(String, Object<'a>)>> {
    let pointer = format!("/operations/{number}");
    let single: &[&str] = match action {
        Action::Insert => &["row"],
        Action::Upsert => &["row", "by"],
        Action::Update => &["where", "set", "if"],
        Action::Delete => &["where", "if"],
    };
    let mut known = vec![action.as_str(), "rows"];
    known.extend(single);
    refuse_unknown(reading, number, &pointer, &object, &known);
    let Some(raw) = object.find("rows") else {
        if !reading.count_rows(1) {
            return None;
        }
        let members = object.0.into_iter().filter(|(key, _)| single.contains(&key.as_str())).collect();
        return Some(vec![(pointer, Object(members))]);
    };
    let by = object.find("by");
    if let Some(both) = single.iter().find(|key| **key != "by" && object.find(key).is_some()) {
        let detail = format!("write `rows` or `{both}`, not both");
        reading.fault(Fault { operation: Some(number), pointer: pointer.clone(), detail, ..Fault::default() });
        return None;
    }
    let items = match json::read(raw) {
        Ok(Json::Array(items)) if !items.is_empty() => items,
        _ => {
            let detail = String::from("`rows` is an array with at least one row");
            reading.fault(Fault {
                operation: Some(number),
                pointer: format!("{pointer}/rows"),
                detail,
                ..Fault::default()
            });
            return None;
        }
    };
    if !reading.count_rows(items.len()) {
        return None;
    }
    let mut rows = Vec::with_capacity(items.len());
    for (row, item) in items.into_iter().enumerate() {
        let pointer = format!("{pointer}/rows/{row}");
        let members = match (action, json::read(item)) {
            (Action::Insert | Action::Upsert, Ok(_)) => Object(
                [("row", Some(item)), ("by", by)]
                    .into_iter()
                    .filter_map(|(key, raw)| Some((key.to_owned(), raw?)))
                    .collect(),
            ),
            (_, Ok(Json::Object(members))) => {
                refuse_unknown(reading, number, &pointer, &members, single);
                members
            }
            (_, Ok(other)) => {
                let detail = format!("a row is an object, not {}", other.noun());
                reading.fault(Fault { operation: Some(number), row: Some(row), pointer, detail, ..Fault::default() });
                continue;
            }
            (_, Err(error)) => {
                let detail = error.to_string();
                reading.fault(Fault { operation: Some(number), row: Some(row), pointer, detail, ..Fault::default() });
                continue;
            }
        };
        rows.push((pointer, members));
    }
    Some(rows)
}

fn refuse_unknown(reading: &mut Reading<'_>, number: usize, pointer: &str, object: &Object<'_>, known: &[&str]) {
    for (key, _) in object.0.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
        if Action::ALL.iter().any(|action| action.as_str() == key) {
            continue;
        }
        let shown: String = key.chars().take(60).collect();
        let detail = format!("`{shown}` is unknown here: known are {}", known.join(", "));
        reading.fault(Fault {
            operation: Some(number),
            pointer: format!("{pointer}{}", step(key)),
            detail,
            ..Fault::default()
        });
    }
}

fn read_row(reading: &mut Reading<'_>, place: &Place<'_>, action: Action, object: &Object<'_>) -> Option<RowWrite> {
    let mut row = RowWrite { pointer: place.pointer.clone(), ..RowWrite::default() };
    match action {
        Action::Insert | Action::Upsert => {
            // A row of `rows` is the object itself; a lone `row` stands one step below its operation.
            let pointer =
                if place.pointer.contains("/rows/") { place.pointer.clone() } else { format!("{}/row", place.pointer) };
            row.set = cells(reading, place, &pointer, object.find("row"), "row")?;
            refuse_missing(reading, place, &pointer, &row.set);
            row.pointer = pointer;
            if action == Action::Upsert {
                row.key = upsert_key(reading, place, &row, object.find("by"))?;
            }
        }
        Action::Update | Action::Delete => {
            let below = |name: &str| format!("{}/{name}", place.pointer);
            let key = cells(reading, place, &below("where"), object.find("where"), "where");
            if action == Action::Update {
                row.set = cells(reading, place, &below("set"), object.find("set"), "set")?;
                refuse_generated(reading, place, &below("set"), &row.set);
            }
            if let Some(raw) = object.find("if") {
                row.expected = cells(reading, place, &below("if"), Some(raw), "if")?;
                refuse_incomparable(reading, place, &row.expected);
            }
            row.key = key?;
            refuse_no_key(reading, place, &row.key);
        }
    }
    Some(row)
}

/// The columns and values of an object.
fn cells(
    reading: &mut Reading<'_>,
    place: &Place<'_>,
    pointer: &str,
    raw: Option<&RawValue>,
    name: &str,
) -> Option<Vec<Cell>> {
    let found = raw.map(json::read);
    let object = match found {
        Some(Ok(Json::Object(object))) if !object.0.is_empty() || name == "row" => object,
        Some(Ok(Json::Object(_))) => {
            reading.fault(place.fault(pointer, None, format!("`{name}` is empty")));
            return None;
        }
        Some(Ok(other)) => {
            let detail = format!("`{name}` is an object of columns and values, not {}", other.noun());
            reading.fault(place.fault(pointer, None, detail));
            return None;
        }
        Some(Err(error)) => {
            reading.fault(place.fault(pointer, None, error.to_string()));
            return None;
        }
        None => {
            reading.fault(place.fault(&place.pointer, None, format!("`{name}` is missing")));
            return None;
        }
    };
    let mut cells = Vec::with_capacity(object.0.len());
    for (key, value) in &object.0 {
        let at = format!("{pointer}{}", step(key));
        let Some(column) = place.table.find_column(key) else {
            let known: Vec<&str> = place.table.columns.iter().map(|column| column.name.as_str()).collect();
            let shown: String = key.chars().take(60).collect();
            let detail =
                format!("`{}` has no column `{shown}`: it has {}", place.table.table.shown(), known.join(", "));
            reading.fault(place.fault(&at, Some(key), detail));
            continue;
        };
        match given(reading, place, column, value) {
            Ok(value) => cells.push(Cell { column, value }),
            Err(detail) => reading.fault(place.fault(&at, Some(key), detail)),
        }
    }
    Some(cells)
}

fn given(reading: &Reading<'_>, place: &Place<'_>, index: usize, raw: &RawValue) -> Result<Given, String> {
    let column = place.table.columns.get(index).ok_or("there is no such column")?;
    if column.kind != Kind::Json
        && let Ok(Json::Object(object)) = json::read(raw)
    {
        return stored(reading, place, &object);
    }
    parameter(&column.kind, raw, place.table.table.dialect)
        .map(Given::Parameter)
        .map_err(|detail| format!("{detail} (`{}` is {})", column.name, column.shown()))
}

/// `{"operation": 0, "row": 0, "column": "id"}`: what an earlier operation stores there.
fn stored(reading: &Reading<'_>, place: &Place<'_>, object: &Object<'_>) -> Result<Given, String> {
    let example = r#"an object here names a row of an earlier operation: {"operation": 0, "row": 0, "column": "id"}"#;
    if object.0.iter().any(|(key, _)| !["operation", "row", "column"].contains(&key.as_str())) {
        return Err(String::from(example));
    }
    let number = |key: &str| match object.find(key).map(json::read) {
        Some(Ok(Json::Number(text))) => text.parse::<usize>().map_err(|_| String::from(example)),
        None if key == "row" => Ok(0),
        _ => Err(String::from(example)),
    };
    let (operation, row) = (number("operation")?, number("row")?);
    let Some(Ok(Json::Text(name))) = object.find("column").map(json::read) else { return Err(String::from(example)) };
    if operation >= place.operation {
        return Err(format!("operation {operation} is not an earlier one"));
    }
    // An earlier operation with faults of its own is told of already.
    let Some(Some(earlier)) = reading.read.get(operation) else {
        return Err(format!("operation {operation} has faults"));
    };
    let table = reading.model.tables.get(earlier.table).ok_or(example)?;
    if row >= earlier.rows.len() {
        return Err(format!("operation {operation} has {} rows, counted from 0", earlier.rows.len()));
    }
    let column = table.find_column(&name);
    let column = column
        .ok_or_else(|| format!("operation {operation} is on `{}`, which has no such column", table.table.shown()))?;
    Ok(Given::Stored { operation, row, column })
}

/// Columns that an insert leaves out although nothing fills them.
fn refuse_missing(reading: &mut Reading<'_>, place: &Place<'_>, pointer: &str, set: &[Cell]) {
    refuse_generated(reading, place, pointer, set);
    for (index, column) in place.table.columns.iter().enumerate() {
        let is_given = set.iter().any(|cell| cell.column == index);
        if column.not_null && !column.has_default && !is_given && !place.table.fills_rows {
            // A column with a fault of its own is told of already.
            let detail = format!("column `{}` is NOT NULL and has no default: give it a value", column.name);
            reading.fault(place.fault(pointer, Some(&column.name), detail));
        }
    }
}

/// Values for columns that only the database fills, and NULL where there must be a value.
fn refuse_generated(reading: &mut Reading<'_>, place: &Place<'_>, pointer: &str, set: &[Cell]) {
    for cell in set {
        let Some(column) = place.table.columns.get(cell.column) else { continue };
        let at = format!("{pointer}{}", step(&column.name));
        let is_null =
            matches!(&cell.value, Given::Parameter(parameter) if parameter.value == crate::database::Value::Null);
        if column.generated {
            let detail = format!("column `{}` is filled by the database: leave it out", column.name);
            reading.fault(place.fault(&at, Some(&column.name), detail));
        } else if is_null && column.not_null && !place.table.fills_rows {
            let detail = format!("column `{}` is NOT NULL", column.name);
            reading.fault(place.fault(&at, Some(&column.name), detail));
        }
    }
}

fn refuse_incomparable(reading: &mut Reading<'_>, place: &Place<'_>, expected: &[Cell]) {
    for cell in expected {
        let Some(column) = place.table.columns.get(cell.column).filter(|column| column.kind == Kind::Other) else {
            continue;
        };
        if place.table.table.dialect == crate::primitives::Dialect::Postgres && !is_comparable(column) {
            let detail =
                format!("values of type {} cannot be compared: leave `{}` out of `if`", column.shown_type, column.name);
            reading.fault(place.fault(&format!("{}/if", place.pointer), Some(&column.name), detail));
        }
    }
}

/// PostgreSQL types without `=` that tables have.
fn is_comparable(column: &Column) -> bool {
    !["xml", "point", "polygon", "jsonpath", "txid_snapshot", "pg_snapshot"].contains(&column.cast.as_str())
}

fn refuse_no_key(reading: &mut Reading<'_>, place: &Place<'_>, key: &[Cell]) {
    let mut named: Vec<&str> =
        key.iter().filter_map(|cell| Some(place.table.columns.get(cell.column)?.name.as_str())).collect();
    named.sort_unstable();
    let keys = place.table.keys();
    let is_key = keys.iter().any(|columns| {
        let mut columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        columns.sort_unstable();
        columns == named
    });
    let at = format!("{}/where", place.pointer);
    if !is_key {
        let detail = format!("`where` names one row, by {}", place.table.shown_keys());
        reading.fault(place.fault(&at, None, detail));
    } else if key
        .iter()
        .any(|cell| matches!(&cell.value, Given::Parameter(found) if found.value == crate::database::Value::Null))
    {
        reading.fault(place.fault(&at, None, String::from("a key cannot be null")));
    }
}

/// The cells of an upsert that name the row: those of `by`, or of the first key that the row has whole.
fn upsert_key(
    reading: &mut Reading<'_>,
    place: &Place<'_>,
    row: &RowWrite,
    by: Option<&RawValue>,
) -> Option<Vec<Cell>> {
    let wanted: Option<Vec<String>> = match by {
        None => None,
        Some(raw) => match serde_json::from_str::<Vec<String>>(raw.get()) {
            Ok(columns) => Some(columns),
            Err(_) => {
                reading.fault(place.fault(&place.pointer, None, String::from("`by` is an array of column names")));
                return None;
            }
        },
    };
    let named = |columns: &[String]| -> Option<Vec<Cell>> {
        columns
            .iter()
            .map(|name| row.set.iter().find(|cell| place.table.find_column(name) == Some(cell.column)).cloned())
            .collect()
    };
    let is_wanted = |columns: &Vec<String>| {
        wanted
            .as_ref()
            .is_none_or(|wanted| wanted.len() == columns.len() && columns.iter().all(|column| wanted.contains(column)))
    };
    let found = place.table.keys().iter().filter(|columns| is_wanted(columns)).find_map(|columns| named(columns));
    if found.is_none() {
        let detail =
            format!("an upsert finds its row by {}: give `by` and all of its columns", place.table.shown_keys());
        reading.fault(place.fault(&row.pointer, None, detail));
    }
    found
}

impl Place<'_> {
    fn fault(&self, pointer: &str, column: Option<&str>, detail: String) -> Fault {
        Fault {
            operation: Some(self.operation),
            row: Some(self.row),
            pointer: pointer.to_owned(),
            table: Some(self.table.table.shown()),
            column: column.map(|column| column.chars().take(80).collect()),
            detail,
            ..Fault::default()
        }
    }
}

impl Column {
    /// The type for people.
    #[must_use]
    pub fn shown(&self) -> &str {
        if self.shown_type.is_empty() { "of no declared type" } else { &self.shown_type }
    }
}

impl WritableTable {
    /// The keys for people: `(id) or (owner_id)`.
    #[must_use]
    pub fn shown_keys(&self) -> String {
        let keys: Vec<String> = self.keys().iter().map(|key| format!("({})", key.join(", "))).collect();
        if keys.is_empty() { String::from("a key, of which this table has none") } else { keys.join(" or ") }
    }
}
