//! SQLite's plans: EXPLAIN QUERY PLAN of the statements that its triggers run, with values in place of the row that was written.

use super::{PARAMETER, Plan, Question, Scan, with_parameters};
use crate::database::{DatabaseConnection, DatabaseError};
use crate::primitives::Dialect;
use crate::sql::names::quoted;
use crate::sql::rewrite::replace_table;

/// A statement that cannot be explained here has no plan: what is wrong with it is told by others.
pub fn explain(connection: &mut DatabaseConnection, question: &Question<'_>) -> Result<Plan, DatabaseError> {
    let row = format!("{PARAMETER}.key");
    let mut text = with_parameters(question, &row, &|_| String::from("1"));
    if let Some(table) = question.changed {
        let columns: Vec<String> = table.columns.iter().map(|column| format!("1 AS {}", quoted(column))).collect();
        let changed = format!("SELECT {}", columns.join(", "));
        match replace_table(&text, "changed", &changed, Dialect::Sqlite) {
            Ok(replaced) => text = replaced,
            Err(_) => return Ok(Plan::default()),
        }
    }
    explain_text(connection, &text)
}

/// The same of a statement without parameters.
pub fn explain_text(connection: &mut DatabaseConnection, text: &str) -> Result<Plan, DatabaseError> {
    let lines = match connection.query(&format!("EXPLAIN QUERY PLAN {text}"), &[]) {
        Ok(rows) => rows.iter().map(|row| row.text("detail")).collect::<Result<Vec<_>, _>>()?,
        Err(error) if error.is_disconnected() || error.is_retryable() => return Err(error),
        Err(error) => {
            tracing::debug!(%error, text, "a statement could not be explained");
            return Ok(Plan::default());
        }
    };
    let mut scans: Vec<Scan> = lines.iter().filter_map(|line| scan(line, &lines, text)).collect();
    scans.sort();
    scans.dedup();
    Ok(Plan { scans, rows: None })
}

fn scan(line: &str, lines: &[String], text: &str) -> Option<Scan> {
    // An index that is made for the statement alone reads the table as a whole, and says which one is missing.
    let automatic = line.strip_prefix("SEARCH ").filter(|rest| rest.contains(" USING AUTOMATIC "));
    let rest = automatic.or_else(|| line.strip_prefix("SCAN "))?;
    let alias = rest.split(' ').next().unwrap_or_default();
    let is_derived = alias.starts_with('(')
        || rest.starts_with("CONSTANT ROW")
        || lines.iter().any(|line| *line == format!("MATERIALIZE {alias}") || *line == format!("CO-ROUTINE {alias}"));
    if is_derived || alias.eq_ignore_ascii_case("changed") {
        return None;
    }
    let name = table_of(alias, text);
    let compared = automatic.and_then(|rest| rest.rsplit_once(" (")).map(|(_, columns)| columns.trim_end_matches(')'));
    let columns = compared.into_iter().flat_map(|columns| columns.split(" AND "));
    let columns = columns.filter_map(|column| column.split(['=', '<', '>']).next()).map(|column| quoted(column.trim()));
    Some(Scan { table: quoted(&name), columns: columns.collect(), name, is_by_index: false })
}

/// The table that `alias` stands for in the text: the word before it, or before its AS.
fn table_of(alias: &str, text: &str) -> String {
    let words: Vec<&str> = text.split([' ', '\n', '\t', '(', ')', ',']).filter(|word| !word.is_empty()).collect();
    let bare = |word: &str| word.rsplit('.').next().unwrap_or_default().trim_matches('"').to_owned();
    let is_keyword = |word: &str| {
        ["FROM", "JOIN", "ON", "WHERE", "AND", "OR", "SELECT"].iter().any(|keyword| keyword.eq_ignore_ascii_case(word))
    };
    for window in words.windows(3) {
        let [before, table, name] = window else { continue };
        let introduces = before.eq_ignore_ascii_case("FROM") || before.eq_ignore_ascii_case("JOIN");
        if introduces && !is_keyword(name) && bare(name).eq_ignore_ascii_case(alias) {
            return bare(table);
        }
    }
    for window in words.windows(4) {
        let [before, table, joint, name] = window else { continue };
        let introduces = before.eq_ignore_ascii_case("FROM") || before.eq_ignore_ascii_case("JOIN");
        if introduces && joint.eq_ignore_ascii_case("AS") && bare(name).eq_ignore_ascii_case(alias) {
            return bare(table);
        }
    }
    alias.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_tables_are_told_from_derived_ones() {
        let text = "SELECT v.id FROM videos v JOIN (SELECT 1 AS owner_id) a ON a.owner_id = v.user_id";
        let lines: Vec<String> = [
            "MATERIALIZE a",
            "SCAN CONSTANT ROW",
            "SCAN a",
            "SEARCH v USING AUTOMATIC COVERING INDEX (user_id=?)",
            "SCAN (subquery-2)",
            "SCAN v",
        ]
        .map(String::from)
        .to_vec();
        let scans: Vec<Scan> = lines.iter().filter_map(|line| scan(line, &lines, text)).collect();
        assert_eq!(scans.len(), 2);
        assert_eq!(
            (scans[0].name.as_str(), scans[0].columns.as_slice()),
            ("videos", &[String::from("\"user_id\"")][..])
        );
        assert_eq!(scans[1].name, "videos");
    }
}
