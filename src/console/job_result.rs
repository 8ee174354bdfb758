//! What a job found, as pages tell it: single values by name, and a table for each list of things.

use serde_json::{Map, Value};

use super::words::{counted, plain};

/// What a job found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct JobResult {
    pub facts: Vec<(String, String)>,
    pub tables: Vec<JobTable>,
}

/// A list of things, a row each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct JobTable {
    pub caption: String,
    pub heads: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl JobResult {
    /// Of a result as it is stored; what is nested deeper is counted.
    #[must_use]
    pub fn of(result: &Value) -> Self {
        let mut told = Self::default();
        for (name, value) in result.as_object().into_iter().flatten() {
            let name = name.replace('_', " ");
            match value {
                Value::Null => {}
                Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_object) => {
                    told.tables.push(table(name, items.iter().filter_map(Value::as_object).collect()));
                }
                value => told.facts.push((name, cell(value))),
            }
        }
        told
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.tables.is_empty()
    }
}

fn table(caption: String, items: Vec<&Map<String, Value>>) -> JobTable {
    let mut names: Vec<&String> = Vec::new();
    for name in items.iter().flat_map(|item| item.keys()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    JobTable {
        caption,
        heads: names.iter().map(|name| name.replace('_', " ")).collect(),
        rows: items.iter().map(|item| row(item, &names)).collect(),
    }
}

fn row(item: &Map<String, Value>, names: &[&String]) -> Vec<String> {
    names.iter().map(|name| item.get(*name).map(cell).unwrap_or_default()).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Array(items) => counted(i64::try_from(items.len()).unwrap_or(i64::MAX), "row", "rows"),
        value => plain(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_of_things_is_a_table_and_what_is_nested_in_it_is_counted() {
        let told = JobResult::of(&json!({
            "change": "billing", "wal_bytes": null, "drift": 7,
            "blocks": [{ "block": "f1", "keys": 12345, "samples": [] }, { "block": "f2", "samples": [{ "key": 1 }], "last_key": null }],
        }));
        let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(told.facts.len(), 2);
        let [blocks] = &told.tables[..] else { panic!("{told:?}") };
        assert_eq!(blocks.caption, "blocks");
        assert_eq!(blocks.heads, text(&["block", "keys", "samples", "last key"]));
        assert_eq!(blocks.rows, [text(&["f1", "12,345", "0 rows", ""]), text(&["f2", "", "1 row", ""])]);
        assert!(JobResult::of(&json!(null)).is_empty());
    }
}
