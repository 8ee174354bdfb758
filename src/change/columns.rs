//! `key` and `columns` of a block: names of columns, and pairs of a target column and what it holds.

use super::document::{Document, Section};
use super::file::{Columns, Key, Located};
use super::mistake::shown;

/// `key`: one column, several columns, or pairs of a target column and the driving column whose value it holds.
pub(super) fn key(document: &mut Document<'_>, section: &Section<'_>) -> Option<Located<Key>> {
    const EXAMPLE: &str = "\"the column of `into` that holds the key of `from`\"";
    let Some(value) = document.find(section, "key") else {
        document.text(section, "key", EXAMPLE);
        return None;
    };
    let line = document.line_of(value);
    if value.get_ref().as_array().is_some() {
        let columns = document.texts(section, "key", "\"a column\", \"another\"")?;
        return Some(Located { value: Key::Own(plain(Some(columns), line).value), line });
    }
    if value.get_ref().as_table().is_none() {
        let column = document.find_text(section, "key", EXAMPLE)?;
        return Some(Located { value: Key::Own(vec![column.value]), line: column.line });
    }
    let pairs = pairs(document, section, "key", "key = { target_column = \"driving column\" }")?;
    Some(Located { value: Key::By(pairs.pairs), line: pairs.line })
}

pub(super) fn columns(document: &mut Document<'_>, section: &Section<'_>) -> Option<Columns> {
    pairs(document, section, "columns", "columns = { column = \"expression over the driving table\" }")
}

/// A table of texts by target column, in the order of the file.
fn pairs(document: &mut Document<'_>, section: &Section<'_>, key: &str, example: &str) -> Option<Columns> {
    let (table, line) = document.table(section, key, &format!("write {example}"))?;
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    if entries.is_empty() {
        document.mistake(section, line, &format!("`{key}` is empty"), &format!("write {example}"));
    }
    let mut columns = Columns { line, pairs: Vec::new(), lines: Vec::new() };
    for (name, value) in entries {
        let name_line = document.line_at(name.span().start);
        let name: &str = name.get_ref();
        if name.trim().is_empty() || name.contains('\0') {
            let what = format!("a column in `{key}` has no name");
            document.mistake(section, name_line, &what, &format!("write {example}"));
        }
        if columns.pairs.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            document.mistake(section, name_line, &format!("`{key}` fills {} twice", shown(name)), "remove one");
        }
        if let Some(expression) = document.text_of(section, name, value, "\"…\"") {
            columns.pairs.push((name.to_owned(), expression.value));
            columns.lines.push(expression.line);
        }
    }
    Some(columns)
}

pub(super) fn plain(list: Option<Located<Vec<Located<String>>>>, line: usize) -> Located<Vec<String>> {
    match list {
        Some(list) => Located { value: list.value.into_iter().map(|text| text.value).collect(), line: list.line },
        None => Located { value: Vec::new(), line },
    }
}
