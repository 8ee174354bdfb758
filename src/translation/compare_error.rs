//! Why two allocations could not be compared.

use super::error::TranslationError;
use crate::database::DatabaseError;

/// Why two allocations could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error(
        "the query `{query}` of [allocation] (line {line}) returns no column `{column}`: give a column that name with AS"
    )]
    MissingColumn { query: &'static str, line: usize, column: &'static str },
    #[error("the query `{query}` of [allocation] (line {line}) fails")]
    Query { query: &'static str, line: usize, source: DatabaseError },
    #[error("{}", faults_sentence(.faults, *.total))]
    Faults { faults: Vec<Fault>, total: u64 },
    #[error("the comparison returned `{found}` where {wanted} was due: please report this as a defect")]
    Unreadable { found: String, wanted: &'static str },
    #[error("payers beyond what memory holds could not go to a temporary file")]
    Spill(#[from] std::io::Error),
    #[error(
        "`scale` is for PostgreSQL's NUMERIC, and this is an SQLite database, which has none: keep amounts as integers in minor units"
    )]
    ScaleOnSqlite,
    #[error("what the comparison found could not be kept")]
    NotKept(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Translation(#[from] TranslationError),
    #[error("the comparison fails")]
    Database(#[from] DatabaseError),
}

/// A row that cannot be compared at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub query: String,
    pub what: String,
    pub charge_id: Option<String>,
    /// The amount as it stands there.
    pub shown: Option<String>,
}

fn faults_sentence(faults: &[Fault], total: u64) -> String {
    let lines: Vec<String> = faults
        .iter()
        .map(|fault| {
            let charge =
                fault.charge_id.as_ref().map_or(String::from("a row without charge_id"), |id| format!("charge {id}"));
            let shown = fault.shown.as_ref().map_or(String::new(), |shown| format!(" (amount {shown})"));
            format!("`{}`: {charge} {}{shown}", fault.query, fault.what)
        })
        .collect();
    format!(
        "{total} row{} of [allocation] cannot be compared: {}; amounts are integers in minor units, one row a charge in `charges`",
        if total == 1 { "" } else { "s" },
        lines.join("; ")
    )
}
