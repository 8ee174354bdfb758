//! Puts another source in the place of a table that a query reads. Everything else stays as it was written, byte for byte.

use std::collections::{HashMap, HashSet};
use std::ops::{ControlFlow, Range};

use sqlparser::ast::{Ident, ObjectName, Query, Statement, TableFactor, Visit, Visitor};
use sqlparser::dialect::{PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Span};

pub use super::scan::{Parameter, find_identifier, parameters, replace_parameter};
use crate::primitives::Dialect;

/// Why a query could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    #[error("the query cannot be read: {0}")]
    Syntax(String),
    #[error("{0} statements instead of one SELECT")]
    NotOneStatement(usize),
    #[error("not a SELECT")]
    NotASelect,
    #[error("the place of `{0}` in the query is not where the parser says it is")]
    Misplaced(String),
}

/// Reads one SELECT (with its CTEs, UNIONs, VALUES).
pub fn parse_select(sql: &str, dialect: Dialect) -> Result<Box<Query>, RewriteError> {
    let parsed = match dialect {
        Dialect::Postgres => Parser::parse_sql(&PostgreSqlDialect {}, sql),
        Dialect::Sqlite => Parser::parse_sql(&SQLiteDialect {}, sql),
    };
    let mut statements = parsed.map_err(|error| RewriteError::Syntax(error.to_string()))?;
    match (statements.pop(), statements.len()) {
        (Some(Statement::Query(query)), 0) => Ok(query),
        (Some(_), 0) => Err(RewriteError::NotASelect),
        (Some(_), others) => Err(RewriteError::NotOneStatement(others + 1)),
        (None, _) => Err(RewriteError::NotOneStatement(0)),
    }
}

/// Replaces every reference to the table `table` in `FROM` and `JOIN` by `(replacement)`. A reference without an alias
/// gets `AS table`. A CTE of the same name hides the table where it is visible; qualified names are other tables.
pub fn replace_table(sql: &str, table: &str, replacement: &str, dialect: Dialect) -> Result<String, RewriteError> {
    let query = parse_select(sql, dialect)?;
    let mut rewritten = sql.to_owned();
    let mut references = references(&query, table, dialect);
    references.sort_by_key(|reference| std::cmp::Reverse((reference.span.start.line, reference.span.start.column)));
    for reference in references {
        let misplaced = || RewriteError::Misplaced(table.to_owned());
        let place = bytes_of(sql, reference.span).ok_or_else(misplaced)?;
        let written = sql.get(place.clone()).ok_or_else(misplaced)?;
        if !written.trim_matches(['"', '`', '[', ']']).eq_ignore_ascii_case(table) {
            return Err(misplaced());
        }
        let alias = if reference.has_alias { String::new() } else { format!(" AS {written}") };
        rewritten.replace_range(place, &format!("({replacement}){alias}"));
    }
    Ok(rewritten)
}

/// True if the query reads the table `table` (and no CTE of that name in its place).
pub fn reads_table(sql: &str, table: &str, dialect: Dialect) -> Result<bool, RewriteError> {
    Ok(!references(&*parse_select(sql, dialect)?, table, dialect).is_empty())
}

struct Reference {
    span: Span,
    has_alias: bool,
}

fn references(query: &Query, table: &str, dialect: Dialect) -> Vec<Reference> {
    let mut finder = Finder { table, dialect, scopes: Vec::new(), of_ctes: HashMap::new(), found: Vec::new() };
    // The finder never breaks off.
    let _: ControlFlow<()> = query.visit(&mut finder);
    finder.found
}

/// Walks a query and keeps track of the CTEs that are visible.
struct Finder<'t> {
    table: &'t str,
    dialect: Dialect,
    /// Names of the CTEs visible in the queries being visited, innermost last.
    scopes: Vec<HashSet<String>>,
    /// What is visible inside a CTE's own query: those before it, and with RECURSIVE all.
    of_ctes: HashMap<*const Query, HashSet<String>>,
    found: Vec<Reference>,
}

impl Finder<'_> {
    /// The name as the database compares it.
    fn folded(&self, identifier: &Ident) -> String {
        match (self.dialect, identifier.quote_style) {
            (Dialect::Postgres, Some(_)) => identifier.value.clone(),
            _ => identifier.value.to_lowercase(),
        }
    }
}

impl Visitor for Finder<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let outer = self.of_ctes.remove(&std::ptr::from_ref(query)).or_else(|| self.scopes.last().cloned());
        let mut visible = outer.unwrap_or_default();
        if let Some(with) = &query.with {
            let names: Vec<String> = with.cte_tables.iter().map(|cte| self.folded(&cte.alias.name)).collect();
            let mut before = visible.clone();
            visible.extend(names.iter().cloned());
            // SQLite treats every WITH as recursive.
            let all_visible = with.recursive || self.dialect == Dialect::Sqlite;
            for (cte, name) in with.cte_tables.iter().zip(names) {
                let inside = if all_visible { visible.clone() } else { before.clone() };
                self.of_ctes.insert(std::ptr::from_ref(cte.query.as_ref()), inside);
                before.insert(name);
            }
        }
        self.scopes.push(visible);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name: ObjectName(parts), alias, args: None, .. } = factor
            && let [part] = parts.as_slice()
            && let Some(identifier) = part.as_ident()
            && self.folded(identifier) == self.table.to_lowercase()
            && !self.scopes.last().is_some_and(|visible| visible.contains(&self.folded(identifier)))
        {
            self.found.push(Reference { span: identifier.span, has_alias: alias.is_some() });
        }
        ControlFlow::Continue(())
    }
}

fn bytes_of(sql: &str, span: Span) -> Option<Range<usize>> {
    Some(byte_of(sql, span.start)?..byte_of(sql, span.end)?)
}

/// The byte offset of a place that counts lines and characters from 1.
fn byte_of(sql: &str, place: Location) -> Option<usize> {
    let mut line_start = 0;
    for _ in 1..place.line {
        line_start += sql.get(line_start..)?.find('\n')? + 1;
    }
    let characters_before = usize::try_from(place.column.checked_sub(1)?).ok()?;
    let line = sql.get(line_start..)?;
    let within = line.char_indices().map(|(offset, _)| offset).chain([line.len()]).nth(characters_before)?;
    Some(line_start + within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(sql: &str) -> String {
        let postgres = replace_table(sql, "changed", "SELECT 1 AS id", Dialect::Postgres).unwrap();
        assert_eq!(replace_table(sql, "changed", "SELECT 1 AS id", Dialect::Sqlite).unwrap(), postgres);
        postgres
    }

    #[test]
    fn references_are_replaced_and_the_rest_stays() {
        assert_eq!(replaced("SELECT id FROM changed"), "SELECT id FROM (SELECT 1 AS id) AS changed");
        assert_eq!(
            replaced("SELECT  m.x -- é changed\nFROM a\n  JOIN changed m ON m.id=a.id"),
            "SELECT  m.x -- é changed\nFROM a\n  JOIN (SELECT 1 AS id) m ON m.id=a.id"
        );
        assert_eq!(
            replaced("SELECT 'é', changed.id, 'changed' FROM CHANGED, changed AS c"),
            "SELECT 'é', changed.id, 'changed' FROM (SELECT 1 AS id) AS CHANGED, (SELECT 1 AS id) AS c"
        );
        assert_eq!(replaced("SELECT changed FROM other.changed"), "SELECT changed FROM other.changed");
        assert_eq!(
            replaced("SELECT 1 WHERE EXISTS (SELECT 1 FROM changed) UNION SELECT id FROM \"changed\""),
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM (SELECT 1 AS id) AS changed) UNION SELECT id FROM (SELECT 1 AS id) AS \"changed\""
        );
    }

    #[test]
    fn a_cte_hides_the_table_where_it_is_visible() {
        let sql = "WITH a AS (SELECT * FROM changed) SELECT * FROM a";
        assert_eq!(replaced(sql), "WITH a AS (SELECT * FROM (SELECT 1 AS id) AS changed) SELECT * FROM a");
        let sql = "SELECT * FROM changed, (WITH changed AS (SELECT 2) SELECT * FROM changed) x";
        assert_eq!(
            replaced(sql),
            "SELECT * FROM (SELECT 1 AS id) AS changed, (WITH changed AS (SELECT 2) SELECT * FROM changed) x"
        );
        let own = "WITH changed AS (SELECT * FROM changed) SELECT * FROM changed";
        assert_eq!(
            replace_table(own, "changed", "q", Dialect::Postgres).unwrap(),
            "WITH changed AS (SELECT * FROM (q) AS changed) SELECT * FROM changed"
        );
    }

    #[test]
    fn what_is_not_one_select_is_an_error() {
        for sql in ["", "DELETE FROM changed", "SELECT 1; SELECT 2", "SELECT FROM WHERE", "garbage €"] {
            assert!(replace_table(sql, "changed", "q", Dialect::Sqlite).is_err(), "{sql}");
        }
        assert!(reads_table("SELECT 1 FROM changed", "changed", Dialect::Sqlite).unwrap());
        assert!(!reads_table("SELECT 1 FROM other", "changed", Dialect::Sqlite).unwrap());
    }
}
