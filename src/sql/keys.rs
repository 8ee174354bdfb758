//! Keys: the unit in which rows are refreshed. What a driving table's key consists of, its one form as text, and the conditions by
//! which statements are restricted to some keys.
//!
//! **As text** a key of one column is its value as the database prints it; a key of several columns is a JSON array of such texts,
//! without blanks: `["7","ä"]`. Progress, samples, ranges and everything shown use this one form.

use crate::primitives::Dialect;

use super::names::{literal, quoted};

/// A column of a driving table's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// Unquoted.
    pub name: String,
    /// Usable in a cast and as an array's element.
    pub sql_type: String,
    /// True if its values stand unquoted in SQLite texts.
    pub is_integer: bool,
    /// True if a driving row may have NULL there. Such a row has no key, and nothing is computed for it.
    pub nullable: bool,
}

/// Which keys a range holds. Values are keys as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRange {
    /// after < key ≤ until; an absent bound is open.
    Between { after: Option<String>, until: Option<String> },
    /// Just these.
    Among(Vec<String>),
}

/// Which keys a generated statement is about.
#[derive(Debug, Clone, Copy)]
pub enum Keys<'a> {
    /// All.
    All,
    /// PostgreSQL: array variables of equal length, one for each key column, named by [`variables`] of this stem.
    Arrays(&'a str),
    /// SQLite: the columns of a row, named by [`variables`] of `key`: what SQLite pushes into a query.
    Row(&'a str),
    Range(&'a KeyRange),
}

/// Names for the parts of a key: `keys` for a key of one column, otherwise `keys_1`, `keys_2`, …
#[must_use]
pub fn variables(stem: &str, key: &[KeyColumn]) -> Vec<String> {
    match key {
        [_] => vec![stem.to_owned()],
        _ => (1..=key.len()).map(|number| format!("{stem}_{number}")).collect(),
    }
}

/// The key columns of `relation`: `d."id"`.
#[must_use]
pub fn columns<'a>(relation: &str, names: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    names.into_iter().map(|name| format!("{relation}.{}", quoted(name))).collect()
}

/// The parts of a key as columns of a relation of ours: `k.key`, or `k.key_1`, `k.key_2`.
#[must_use]
pub fn parts_of(relation: &str, key: &[KeyColumn]) -> Vec<String> {
    variables("key", key).iter().map(|name| format!("{relation}.{name}")).collect()
}

/// A key as text, from the texts of its columns.
#[must_use]
pub fn text(parts: &[String]) -> String {
    match parts {
        [only] => only.clone(),
        several => serde_json::Value::from(several).to_string(),
    }
}

/// The texts of a key's columns; `None` if `text` is no key of that many columns.
#[must_use]
pub fn parts(key: &[KeyColumn], text: &str) -> Option<Vec<String>> {
    if key.len() == 1 {
        return Some(vec![text.to_owned()]);
    }
    let parts: Vec<String> = serde_json::from_str(text).ok()?;
    (parts.len() == key.len()).then_some(parts)
}

/// An SQL expression for a key as text. Both databases escape as `serde_json` does, so that equal keys are equal texts.
#[must_use]
pub fn text_sql(dialect: Dialect, expressions: &[String]) -> String {
    let texts: Vec<String> = expressions.iter().map(|expression| format!("CAST({expression} AS text)")).collect();
    match (texts.as_slice(), dialect) {
        ([only], _) => only.clone(),
        (several, Dialect::Postgres) => {
            let parts: Vec<String> = several.iter().map(|part| format!("CAST(to_json({part}) AS text)")).collect();
            format!("'[' || {} || ']'", parts.join(" || ',' || "))
        }
        (several, Dialect::Sqlite) => format!("json_array({})", several.join(", ")),
    }
}

/// A key's values as SQL literals, one for each column. What is no key of that many columns becomes NULLs, which no row equals.
///
/// Integers stand bare, since SQLite compares an integer expression with a text by type, not by value; a key that is no integer
/// although its column says so (SQLite allows that) stands as text.
#[must_use]
pub fn literals(key: &[KeyColumn], text: &str) -> Vec<String> {
    let Some(parts) = parts(key, text) else { return vec![String::from("NULL"); key.len()] };
    let values = key.iter().zip(parts);
    values
        .map(|(column, part)| if column.is_integer && part.parse::<i64>().is_ok() { part } else { literal(&part) })
        .collect()
}

/// PostgreSQL: some keys as array literals, one for each column.
#[must_use]
pub fn arrays(key: &[KeyColumn], keys: &[String]) -> Vec<String> {
    let rows: Vec<Vec<String>> = keys.iter().filter_map(|text| parts(key, text)).collect();
    let of_column = |(index, column): (usize, &KeyColumn)| {
        let values: Vec<String> = rows.iter().filter_map(|row| row.get(index)).map(|value| literal(value)).collect();
        format!("ARRAY[{}]::{}[]", values.join(", "), column.sql_type)
    };
    key.iter().enumerate().map(of_column).collect()
}

/// `a = x AND b = y`
#[must_use]
pub fn equal(left: &[String], right: &[String]) -> String {
    let pairs: Vec<String> = left.iter().zip(right).map(|(left, right)| format!("{left} = {right}")).collect();
    pairs.join(" AND ")
}

/// `a IS NOT NULL AND b IS NOT NULL`
#[must_use]
pub fn is_there(columns: &[String]) -> String {
    let parts: Vec<String> = columns.iter().map(|column| format!("{column} IS NOT NULL")).collect();
    parts.join(" AND ")
}

impl Keys<'_> {
    /// A condition that restricts a table whose columns `columns` hold the key.
    #[must_use]
    pub fn condition(self, key: &[KeyColumn], columns: &[String]) -> String {
        match (self, columns) {
            (Self::Arrays(stem), [only]) => format!("{only} = ANY ({})", variables(stem, key).join("")),
            (Self::Arrays(stem), several) => {
                format!("({}) IN (SELECT * FROM unnest({}))", several.join(", "), variables(stem, key).join(", "))
            }
            (Self::Row(row), _) => {
                let values: Vec<String> = variables("key", key).iter().map(|name| format!("{row}.{name}")).collect();
                equal(columns, &values)
            }
            (Self::Range(range), _) => in_range(key, columns, range),
            (Self::All, _) => no_null(key, columns).unwrap_or_else(|| String::from("1 = 1")),
        }
    }

    /// What follows `FROM`: a query as the relation `q`, restricted to the keys that its columns `names` hold.
    ///
    /// The condition stands directly around the query, where both databases push it down. PostgreSQL pushes `= ANY (array)` beneath
    /// grouping and windows, but neither a join nor `(a, b) IN (…)`, and two arrays would be probed in every combination; so a key of
    /// several columns is looked up one at a time, its values being constants to the query (`OFFSET 0` keeps it so).
    #[must_use]
    pub fn restricted(self, key: &[KeyColumn], names: &[String], query: &str) -> String {
        let columns = columns("q", names);
        match self {
            Self::Arrays(stem) if key.len() > 1 => {
                let arrays = variables(stem, key);
                let parts = variables("part", key);
                let values: Vec<String> = parts.iter().map(|part| format!("k.{part}")).collect();
                format!(
                    "(SELECT q.* FROM unnest({}) AS k({}) CROSS JOIN LATERAL (SELECT * FROM (\n{query}\n) q WHERE {} OFFSET 0) q) q",
                    arrays.join(", "),
                    parts.join(", "),
                    equal(&columns, &values),
                )
            }
            _ => format!("(\n{query}\n) q WHERE {}", self.condition(key, &columns)),
        }
    }
}

/// A condition that `columns` hold a key of the range. The first column is compared on its own as well: an index serves that even
/// where it does not serve a comparison of rows.
#[must_use]
pub fn in_range(key: &[KeyColumn], columns: &[String], range: &KeyRange) -> String {
    match range {
        KeyRange::Between { after, until } => {
            let bounds = [(after, ">"), (until, "<=")].into_iter();
            let mut conditions: Vec<String> = bounds
                .filter_map(|(bound, operator)| Some(bounded(columns, operator, &literals(key, bound.as_ref()?))))
                .collect();
            conditions.extend(no_null(key, columns));
            if conditions.is_empty() { String::from("1 = 1") } else { conditions.join(" AND ") }
        }
        KeyRange::Among(keys) if keys.is_empty() => String::from("1 = 0"),
        KeyRange::Among(keys) => {
            let rows: Vec<Vec<String>> = keys.iter().map(|text| literals(key, text)).collect();
            let firsts: Vec<&str> = rows.iter().filter_map(|row| row.first()).map(String::as_str).collect();
            let first =
                columns.first().map(|column| format!("{column} IN ({})", firsts.join(", "))).unwrap_or_default();
            if key.len() == 1 {
                return first;
            }
            let rows: Vec<String> = rows.iter().map(|row| format!("({})", equal(columns, row))).collect();
            format!("{first} AND ({})", rows.join(" OR "))
        }
    }
}

fn bounded(columns: &[String], operator: &str, values: &[String]) -> String {
    match (columns, values) {
        ([column], [value]) => format!("{column} {operator} {value}"),
        ([first, ..], [value, ..]) => {
            let loose = operator.trim_end_matches('=');
            format!("{first} {loose}= {value} AND ({}) {operator} ({})", columns.join(", "), values.join(", "))
        }
        _ => String::from("1 = 0"),
    }
}

/// Rows without a key are nobody's.
fn no_null(key: &[KeyColumn], columns: &[String]) -> Option<String> {
    let nullable = key.iter().zip(columns).filter(|(column, _)| column.nullable);
    let columns: Vec<String> = nullable.map(|(_, column)| column.clone()).collect();
    (!columns.is_empty()).then(|| is_there(&columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, is_integer: bool) -> KeyColumn {
        let sql_type = String::from(if is_integer { "bigint" } else { "text" });
        KeyColumn { name: name.to_owned(), sql_type, is_integer, nullable: false }
    }

    fn one() -> Vec<KeyColumn> {
        vec![column("id", true)]
    }

    fn two() -> Vec<KeyColumn> {
        vec![column("a", true), column("b", false)]
    }

    #[test]
    fn a_key_reads_back_from_its_text() {
        for parts in [vec!["7", "ä"], vec!["", "\"quoted\", [and] \\ more\n"], vec!["null", "\u{1}"]] {
            let parts: Vec<String> = parts.into_iter().map(str::to_owned).collect();
            assert_eq!(super::parts(&two(), &text(&parts)), Some(parts));
        }
        assert_eq!(text(&[String::from("7"), String::from("ä")]), r#"["7","ä"]"#);
        assert_eq!(text(&[String::from("[1]")]), "[1]");
        assert_eq!(parts(&one(), "[1]"), Some(vec![String::from("[1]")]));
        for bad in ["7", "[\"7\"]", "[\"7\",\"8\",\"9\"]", "[7,8]", ""] {
            assert_eq!(parts(&two(), bad), None, "{bad}");
            assert_eq!(literals(&two(), bad), ["NULL", "NULL"]);
        }
    }

    #[test]
    fn a_range_of_several_columns_compares_rows() {
        let columns = columns("d", ["a", "b"].map(String::from).iter());
        let range = KeyRange::Between { after: Some(String::from(r#"["7","o'x"]"#)), until: None };
        assert_eq!(in_range(&two(), &columns, &range), r#"d."a" >= 7 AND (d."a", d."b") > (7, 'o''x')"#);
        let among = KeyRange::Among(vec![String::from(r#"["7","x"]"#)]);
        assert_eq!(in_range(&two(), &columns, &among), r#"d."a" IN (7) AND ((d."a" = 7 AND d."b" = 'x'))"#);
        let single = KeyRange::Between { after: Some(String::from("7")), until: Some(String::from("x")) };
        assert_eq!(in_range(&one(), &columns[..1], &single), r#"d."a" > 7 AND d."a" <= 'x'"#);
    }

    #[test]
    fn only_a_key_of_one_column_is_compared_with_an_array() {
        let names = |key: &[KeyColumn]| key.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            Keys::Arrays("keys").restricted(&one(), &names(&one()), "SELECT 1"),
            "(\nSELECT 1\n) q WHERE q.\"id\" = ANY (keys)"
        );
        let several = Keys::Arrays("keys").restricted(&two(), &names(&two()), "SELECT 1");
        assert!(several.contains("unnest(keys_1, keys_2) AS k(part_1, part_2) CROSS JOIN LATERAL"), "{several}");
        assert!(several.contains("WHERE q.\"a\" = k.part_1 AND q.\"b\" = k.part_2 OFFSET 0"), "{several}");
        let columns = super::columns("t", names(&two()).iter());
        assert_eq!(Keys::Row("NEW").condition(&two(), &columns), "t.\"a\" = NEW.key_1 AND t.\"b\" = NEW.key_2");
    }
}
