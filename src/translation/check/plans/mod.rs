//! How the database would find the rows of a single-row write: every statement that it causes is explained against the real tables,
//! and one that must read a whole table is a warning that names the index that is missing. So is what the bill run reads.
//!
//! What the planner chooses today says little: a target that is still empty is scanned gladly, and grows. So it is asked for a plan with
//! everything but index look-ups made dear; where it still scans, there is no index to be had.

mod bill;
mod postgres;
mod sqlite;

use crate::change::{Block, ChangeFile, Mistake};
use crate::database::{DatabaseConnection, DatabaseError, Dialect};
use crate::sql::expected::expected_identity;
use crate::sql::keys::{Keys, variables};
use crate::sql::model::{BlockModel, ChangeModel, TableModel, trimmed};
use crate::translation::resolve;

/// What is read for one key beyond which a refresh is slow.
const ROWS_OF_A_KEY_MAX: f64 = 10_000.0;

/// A statement that is explained.
struct Question<'a> {
    block: &'a BlockModel,
    /// What the change file calls it.
    part: String,
    /// In the change file.
    line: usize,
    /// The statement. Its parameters are those of [`parameter`].
    sql: String,
    /// The table whose rows `changed` stands for.
    changed: Option<&'a TableModel>,
}

/// What the plan of a question says.
#[derive(Debug, Default)]
struct Plan {
    scans: Vec<Scan>,
    /// Rows that are read for one key, as estimated; unknown on SQLite.
    rows: Option<f64>,
}

/// A table that is read as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Scan {
    /// As SQL, qualified where the plan says so.
    table: String,
    /// Bare.
    name: String,
    /// What the statement compares there; empty if the plan does not tell.
    columns: Vec<String>,
    /// All of an index is read, not the table itself.
    is_by_index: bool,
}

impl Scan {
    /// The statement that makes the index that is missing; `None` if the plan does not tell on which columns.
    fn create_index(&self, dialect: Dialect) -> Option<String> {
        let columns = self.columns.join(", ");
        match dialect {
            _ if columns.is_empty() => None,
            Dialect::Postgres => Some(format!("CREATE INDEX CONCURRENTLY ON {} ({columns})", self.table)),
            Dialect::Sqlite => {
                let name = format!("{}_{}", self.name, self.columns.join("_")).replace(['"', ' '], "");
                Some(format!("CREATE INDEX {name} ON {} ({columns})", self.table))
            }
        }
    }
}

/// Explains every statement of a file without mistakes; returns warnings.
pub fn check(connection: &mut DatabaseConnection, file: &ChangeFile) -> Result<Vec<Mistake>, DatabaseError> {
    let mut warnings = Vec::new();
    // What `resolve` refuses beyond mistakes is told by whoever installs.
    let Ok(model) = resolve(connection, file) else { return Ok(warnings) };
    for (block, written) in model.blocks.iter().zip(&file.blocks) {
        let mut told: Vec<Scan> = Vec::new();
        for question in questions(&model, block, written) {
            let plan = match model.dialect {
                Dialect::Postgres => postgres::explain(connection, &model, &question)?,
                Dialect::Sqlite => sqlite::explain(connection, &question)?,
            };
            for scan in plan.scans {
                if !is_constant(written, &scan) && !told.contains(&scan) {
                    warnings.push(scan_warning(model.dialect, written, &question, &scan));
                    told.push(scan);
                }
            }
            if let Some(rows) = plan.rows.filter(|rows| *rows > ROWS_OF_A_KEY_MAX) {
                let what =
                    format!("{} reads about {rows:.0} rows for one key, by the tables' statistics", question.part);
                let remedy = "each write of the key costs that much: refresh smaller groups, for instance by a key that is more \
                              specific, or keep sums in steps";
                warnings.push(Mistake::new(Some(&written.label()), question.line, &what, remedy));
            }
        }
    }
    warnings.extend(bill::check(connection, &model, file)?);
    Ok(warnings)
}

fn questions<'a>(model: &ChangeModel, block: &'a BlockModel, written: &Block) -> Vec<Question<'a>> {
    let keys = match model.dialect {
        Dialect::Postgres => Keys::Arrays(PARAMETER),
        Dialect::Sqlite => Keys::Row(PARAMETER),
    };
    let about = |part: String, line: usize, sql: String| Question { block, part, line, sql, changed: None };
    let mut questions = Vec::new();
    // A short form reads nothing but the driving rows.
    // The table of bases is not there yet, and is found by its key.
    let plain = BlockModel { basis: None, ..block.clone() };
    questions.push(about(String::from("the query"), written.line, expected_identity(&plain, model.dialect, keys)));
    let target = &block.target.sql;
    let owned = format!("SELECT 1 FROM {target} WHERE {}", keys.condition(&block.driving.key, &block.key_of(target)));
    questions.push(about(String::from("the look for a key's rows in the target"), written.into.line, owned));
    for (follow, place) in block.follows.iter().zip(&written.follows) {
        let name = &follow.table.name;
        questions.push(Question {
            changed: Some(&follow.table),
            ..about(format!("`keys` of follows `{name}`"), place.keys.line, trimmed(&follow.keys).to_owned())
        });
        if let (Some(reads), Some(place)) = (&follow.reads, &place.reads) {
            questions.push(Question {
                changed: Some(&block.driving.table),
                ..about(format!("`reads` of follows `{name}`"), place.line, trimmed(reads).to_owned())
            });
        }
    }
    questions
}

/// The stem of a key's variables in a question.
const PARAMETER: &str = "co_asked";

/// A question's text with its key's variables replaced: `parameter` is told a key column's number from 1.
fn with_parameters(question: &Question<'_>, stem: &str, parameter: &dyn Fn(usize) -> String) -> String {
    let names = variables(stem, &question.block.driving.key);
    let numbered = names.iter().enumerate().rev();
    numbered.fold(question.sql.clone(), |sql, (index, name)| sql.replace(name, &parameter(index + 1)))
}

fn is_constant(written: &Block, scan: &Scan) -> bool {
    written.constant.iter().any(|table| {
        let bare = table.value.rsplit('.').next().unwrap_or_default().trim_matches('"');
        bare.eq_ignore_ascii_case(&scan.name)
    })
}

fn scan_warning(dialect: Dialect, written: &Block, question: &Question<'_>, scan: &Scan) -> Mistake {
    let what = format!(
        "{} reads the whole of `{}` for each write, because no index leads to the rows",
        question.part, scan.name
    );
    let remedy = match scan.create_index(dialect) {
        None => format!(
            "make an index on the columns by which it finds rows of `{}`, write a derived table as a sub-select of the result, or declare the table constant if it is small and its \
             changes shall not touch existing rows",
            scan.name
        ),
        Some(create) => format!("{create}, or rewrite it so that an index can be used"),
    };
    Mistake::new(Some(&written.label()), question.line, &what, &remedy)
}
