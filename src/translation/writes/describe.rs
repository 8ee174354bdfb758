//! What may be written, as a document that clients can be generated from: tables, keys, and each row as a JSON Schema.

use serde_json::{Map, Value, json};

use super::kind::Kind;
use super::request::{OPERATIONS_MAX, ROWS_MAX};
use super::rules::refusal;
use super::tables::{Column, WritableTable, WriteModel};
use crate::change::Stage;

/// The writable tables of a change at its stage.
#[must_use]
pub fn describe(model: &WriteModel, stage: Stage) -> Value {
    let tables: Vec<Value> = model.tables.iter().map(|table| described(model, table, stage)).collect();
    json!({
        "change": model.name,
        "stage": stage,
        "limits": { "operations": OPERATIONS_MAX, "rows": ROWS_MAX },
        "tables": tables,
    })
}

fn described(model: &WriteModel, table: &WritableTable, stage: Stage) -> Value {
    let refused = refusal(&model.name, stage, table.side);
    let properties: Map<String, Value> =
        table.columns.iter().map(|column| (column.name.clone(), property(column))).collect();
    let is_needed = |column: &&Column| column.not_null && !column.has_default && !table.fills_rows;
    let needed: Vec<&str> = table.columns.iter().filter(is_needed).map(|column| column.name.as_str()).collect();
    let mut document = json!({
        "table": table.table.shown(),
        "side": table.side,
        "writable": refused.is_none(),
        "keys": table.keys(),
        "row": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": properties,
            "required": needed,
            "additionalProperties": false,
        },
    });
    if let (Some(object), Some(reason)) = (document.as_object_mut(), refused) {
        object.insert(String::from("reason"), reason.into());
    }
    document
}

fn property(column: &Column) -> Value {
    let mut schema = schema(&column.kind);
    if let Some(object) = schema.as_object_mut() {
        if !column.not_null
            && let Some(kind) = object.get_mut("type")
        {
            *kind = match kind.take() {
                Value::Array(mut kinds) => {
                    kinds.push(json!("null"));
                    Value::Array(kinds)
                }
                one => json!([one, "null"]),
            };
        }
        if column.generated {
            object.insert(String::from("readOnly"), json!(true));
        }
        object.insert(String::from("description"), json!(column.shown()));
    }
    schema
}

fn schema(kind: &Kind) -> Value {
    match kind {
        Kind::Integer { bits } => {
            let most = i64::MAX >> (64 - (*bits).clamp(1, 64));
            json!({ "type": ["integer", "string"], "minimum": -most - 1, "maximum": most })
        }
        Kind::Numeric { .. } => json!({ "type": ["string", "number"], "format": "decimal" }),
        Kind::Float => json!({ "type": ["number", "string"] }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Text { length_max: Some(most) } => json!({ "type": "string", "maxLength": most }),
        Kind::Text { length_max: None } => json!({ "type": "string" }),
        Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        Kind::Uuid => json!({ "type": "string", "format": "uuid" }),
        Kind::Date => json!({ "type": "string", "format": "date" }),
        Kind::Time { .. } => json!({ "type": "string", "format": "time" }),
        Kind::Timestamp { zoned: true, .. } => json!({ "type": "string", "format": "date-time" }),
        Kind::Timestamp { zoned: false, .. } => json!({ "type": "string", "format": "local-date-time" }),
        Kind::Json => json!({}),
        Kind::Enum(labels) => json!({ "type": "string", "enum": labels }),
        Kind::Array(element) => json!({ "type": "array", "items": schema(element) }),
        Kind::Other => json!({ "type": ["string", "number", "boolean"] }),
    }
}
