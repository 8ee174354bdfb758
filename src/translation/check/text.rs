//! One SQL text of the change file: its parameters, whether the database takes it, and where in the file it is wrong.

use super::inspect::{Described, Refusal};
use super::{CheckError, Checker, column_remedy};
use crate::change::{Located, shown};
use crate::database::Dialect;
use crate::sql::catalogue::Table;
use crate::sql::rewrite::{RewriteError, find_identifier, parameters, reads_table, replace_parameter};

/// An SQL text, what it is called, and what it may use.
pub(super) struct Text<'t> {
    pub label: &'t str,
    /// The key of the file that holds it: `query`, `keys`.
    pub key: &'t str,
    pub sql: &'t str,
    /// The line of each piece of `sql` that comes from the file, by the byte offset at which it begins there.
    pub lines: Vec<(usize, usize)>,
    /// `:user` or `:open_period`.
    pub parameter: Option<&'t str>,
    /// The table whose columns `changed` has.
    pub changed: Option<&'t Table>,
    /// Tables whose columns a mistyped one may have been meant to be.
    pub nearby: Vec<&'t Table>,
}

impl<'t> Text<'t> {
    pub(super) fn new(label: &'t str, key: &'t str, sql: &'t Located<String>) -> Self {
        let lines = vec![(0, sql.line)];
        Self { label, key, sql: &sql.value, lines, parameter: None, changed: None, nearby: Vec::new() }
    }

    /// The line of the file on which the byte at `offset` stands.
    fn line_at(&self, offset: usize) -> usize {
        let piece = self.lines.iter().rev().find(|(start, _)| *start <= offset).or(self.lines.first());
        let Some((start, line)) = piece else { return 1 };
        let before = self.sql.get(*start..offset).unwrap_or_default();
        if self.lines.len() > 1 { *line } else { line + before.matches('\n').count() }
    }

    /// The line where an identifier first stands, or where the text begins.
    pub(super) fn line_of(&self, identifier: &str) -> usize {
        self.line_at(find_identifier(self.sql, identifier).unwrap_or(0))
    }
}

impl Checker<'_> {
    /// What the text returns and reads; `None` if it is wrong, which has then been said.
    pub(super) fn describe(&mut self, text: &Text<'_>) -> Result<Option<Described>, CheckError> {
        if self.refuse_parameters(text) {
            return Ok(None);
        }
        let mut sql = text.sql.to_owned();
        if let Some(parameter) = text.parameter {
            // As long as the parameter, so that places stay where they are.
            let value = if parameter == ":user" { "NULL" } else { "''" };
            sql = replace_parameter(&sql, parameter, &format!("{value:<width$}", width = parameter.len()));
        }
        match self.inspector.describe(&sql, text.changed)? {
            Err(refusal) => {
                self.refused(text, &refusal);
                Ok(None)
            }
            Ok(described) => Ok(self.reads_changed(text, &sql).then_some(described)),
        }
    }

    /// The text as a query of one column; a mistake otherwise.
    pub(super) fn describe_single(
        &mut self,
        text: &Text<'_>,
        returns: &str,
    ) -> Result<Option<crate::sql::catalogue::Column>, CheckError> {
        let columns = self.describe_columns(text, 1, returns)?;
        Ok(columns.and_then(|columns| columns.into_iter().next()))
    }

    /// The text as a query of so many columns; a mistake otherwise.
    pub(super) fn describe_columns(
        &mut self,
        text: &Text<'_>,
        count: usize,
        returns: &str,
    ) -> Result<Option<Vec<crate::sql::catalogue::Column>>, CheckError> {
        let Some(described) = self.describe(text)? else { return Ok(None) };
        let found = described.columns.len();
        if found == count {
            return Ok(Some(described.columns));
        }
        let wanted = if count == 1 { String::from("one") } else { count.to_string() };
        let what = format!("`{}` returns {found} columns instead of {wanted}", text.key);
        self.mistake(text.label, text.line_at(0), &what, &format!("select {returns} and nothing else"));
        Ok(None)
    }

    fn refuse_parameters(&mut self, text: &Text<'_>) -> bool {
        let known = text.parameter;
        let unknown: Vec<_> =
            parameters(text.sql).into_iter().filter(|found| Some(found.name.as_str()) != known).collect();
        for parameter in &unknown {
            let remedy = match known {
                Some(known) => format!("the only parameter here is `{known}`"),
                None => String::from("write the value itself: there are no parameters here"),
            };
            let what = format!("`{}` uses the parameter {}", text.key, shown(&parameter.name));
            self.mistake(text.label, text.line_at(parameter.offset), &what, &remedy);
        }
        !unknown.is_empty()
    }

    /// A text that may use `changed` must do so, in a way that it can be replaced.
    fn reads_changed(&mut self, text: &Text<'_>, sql: &str) -> bool {
        if text.changed.is_none() {
            return true;
        }
        let (what, remedy) = match reads_table(sql, "changed", self.dialect) {
            Ok(true) => return true,
            Ok(false) => (
                format!("`{}` does not read `changed`, so it cannot tell which rows a write touches", text.key),
                "select from `changed`, alone or joined to other tables",
            ),
            Err(error) => {
                let reason = match error {
                    RewriteError::Syntax(reason) => reason,
                    other => other.to_string(),
                };
                (format!("`changed` cannot be found in `{}`: {reason}", text.key), "write it in plainer SQL")
            }
        };
        self.mistake(text.label, text.line_at(0), &what, remedy);
        false
    }

    fn refused(&mut self, text: &Text<'_>, refusal: &Refusal) {
        let cause = Cause::of(&refusal.message);
        let line = match (refusal.offset, &cause) {
            (Some(offset), _) => text.line_at(offset),
            (None, Cause::Table(name) | Cause::Column(name)) => text.line_of(last_part(name)),
            (None, _) => text.line_at(place_near(&refusal.message, text.sql).unwrap_or(0)),
        };
        let (what, remedy) = match cause {
            Cause::Table(name) if last_part(&name) == "changed" => {
                (format!("`{}` reads `changed`", text.key), String::from("`changed` exists in `keys` and `reads` only"))
            }
            Cause::Table(name) => {
                (format!("`{}` reads {}, which does not exist", text.key, shown(&name)), self.table_remedy(&name))
            }
            Cause::Column(name) => {
                let remedy = column_remedy(last_part(&name), text.nearby.iter().copied());
                (format!("`{}` uses the column {}, which does not exist", text.key, shown(&name)), remedy)
            }
            Cause::NotOneSelect(why) => (
                format!("`{}` is not exactly one read-only SELECT: {why}", text.key),
                String::from("write one SELECT that only reads"),
            ),
            Cause::Other => {
                let dialect: Dialect = self.dialect;
                (format!("{dialect} refuses `{}`: {}", text.key, refusal.message), String::from("correct the SQL"))
            }
        };
        self.mistake(text.label, line, &what, &remedy);
    }
}

/// What a database's message is about.
enum Cause {
    Table(String),
    Column(String),
    NotOneSelect(String),
    Other,
}

impl Cause {
    fn of(message: &str) -> Self {
        let quoted = || message.split('"').nth(1).unwrap_or_default().to_owned();
        if message.starts_with("relation \"") || message.starts_with("schema \"") {
            return Self::Table(quoted());
        }
        if let Some(name) = message.strip_prefix("no such table: ") {
            return Self::Table(name.to_owned());
        }
        if let Some(name) = message.strip_prefix("no such column: ") {
            let name = name.split(" - ").next().unwrap_or(name);
            return Self::Column(name.trim_matches('"').to_owned());
        }
        if let Some(rest) = message.strip_prefix("column ")
            && let Some(name) = rest.strip_suffix(" does not exist")
        {
            return Self::Column(name.trim_matches('"').to_owned());
        }
        let not_a_select = [
            "multiple commands",
            "more than one statement",
            "data-modifying",
            "SELECT INTO",
            "the query ",
            "syntax error at or near \"INSERT\"",
            "syntax error at or near \"UPDATE\"",
            "syntax error at or near \"DELETE\"",
        ];
        if not_a_select.iter().any(|part| message.contains(part)) {
            return Self::NotOneSelect(message.to_owned());
        }
        Self::Other
    }
}

/// Where the token stands of which SQLite says `near "token": syntax error`.
fn place_near(message: &str, sql: &str) -> Option<usize> {
    let token = message.strip_prefix("near \"")?.split("\": ").next()?;
    sql.rfind(token)
}

/// `x` of `t.x`.
fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name).trim_matches('"')
}
