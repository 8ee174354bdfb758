//! What the database says of the queries that a comparison reads: whether they can run, which columns they return, and of what types.

use std::collections::BTreeSet;

use super::compare::CompareError;
use crate::change::Allocation;
use crate::database::{DatabaseConnection, DatabaseError, Value};
use crate::primitives::Dialect;
use crate::sql::compare::{self as compare_sql, ColumnKinds, IdKind};
use crate::sql::names::own;

/// The types of PostgreSQL that fit into 64 bits.
const INTEGERS: [&str; 3] = ["smallint", "integer", "bigint"];
/// Its types that are compared as text and by one collation.
const TEXTS: [&str; 2] = ["text", "character varying"];

/// A query by the name that messages call it by, its text, and those of its columns that matter.
struct Read<'a> {
    name: &'static str,
    text: String,
    columns: &'a [&'static str],
}

/// Tells the first query that fails or lacks a column, by name, and what types the others have. No query is run on PostgreSQL. On SQLite
/// each row has types of its own: only those of the charge with the id `of` count, if one is given.
pub(super) fn look(
    connection: &mut DatabaseConnection,
    allocation: &Allocation,
    effective: Option<&str>,
    of: Option<&str>,
) -> Result<ColumnKinds, CompareError> {
    let mut kinds = ColumnKinds::default();
    let mut reads = Vec::new();
    for (query, text, needed) in compare_sql::queries(allocation) {
        let line = text.line;
        let columns =
            columns_of(connection, &text.value).map_err(|source| CompareError::Query { query, line, source })?;
        if let Some(column) = needed.iter().find(|needed| !columns.iter().any(|column| column == *needed)) {
            return Err(CompareError::MissingColumn { query, line, column });
        }
        if query == "new" {
            kinds.new_has_currency = columns.iter().any(|column| column == "currency");
        }
        reads.push(Read { name: query, text: text.value.clone(), columns: needed });
    }
    if let Some(view) = effective {
        reads.push(Read {
            name: "effective",
            text: format!("SELECT * FROM {view}"),
            columns: &["charge_id", "payer", "amount"],
        });
    }
    match connection.dialect() {
        Dialect::Postgres => look_at_types(connection, &reads, &mut kinds)?,
        Dialect::Sqlite => kinds.charge_id = look_at_values(connection, &reads, of)?,
    }
    Ok(kinds)
}

/// The column names of a query.
pub(super) fn columns_of(connection: &mut DatabaseConnection, query: &str) -> Result<Vec<String>, DatabaseError> {
    let row = connection.get_row(&compare_sql::probe(query), &[])?;
    Ok(row.columns().iter().map(|(name, _)| name.clone()).collect())
}

fn look_at_types(
    connection: &mut DatabaseConnection,
    reads: &[Read<'_>],
    kinds: &mut ColumnKinds,
) -> Result<(), CompareError> {
    let (mut ids, mut payers, mut collations) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for read in reads {
        let row = connection.get_row(&compare_sql::types(&read.text, read.columns), &[])?;
        for column in read.columns {
            let found = row.text(column)?;
            match *column {
                "charge_id" | "reverses_id" => drop(ids.insert(found)),
                "payer" => drop(payers.insert(found)),
                "amount" if INTEGERS.contains(&found.as_str()) => drop(kinds.integer_amounts.insert(read.name)),
                _ => {}
            }
        }
    }
    let all_among =
        |found: &BTreeSet<String>, known: &[&str]| found.iter().all(|found| known.contains(&found.as_str()));
    kinds.integer_payers = all_among(&payers, &INTEGERS);
    kinds.charge_id = if all_among(&ids, &INTEGERS) {
        IdKind::Integer
    } else if all_among(&ids, &["uuid"]) {
        IdKind::Uuid
    } else if all_among(&ids, &TEXTS) {
        for read in reads {
            let row = connection.get_row(&compare_sql::id_collation(&read.text), &[])?;
            collations.insert(row.find_text("collation")?);
        }
        if collations.len() == 1 && !collations.contains(&None) { IdKind::Text } else { IdKind::Mixed }
    } else {
        IdKind::Mixed
    };
    Ok(())
}

/// On SQLite the rows must be looked at.
fn look_at_values(
    connection: &mut DatabaseConnection,
    reads: &[Read<'_>],
    of: Option<&str>,
) -> Result<IdKind, CompareError> {
    let mut found = BTreeSet::new();
    for read in reads {
        for column in read.columns.iter().filter(|column| ["charge_id", "reverses_id"].contains(*column)) {
            for row in connection.query(&compare_sql::id_types(&read.text, column, of), &[])? {
                found.insert(row.text("type")?);
            }
        }
    }
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    Ok(match found.as_slice() {
        ["integer"] => IdKind::Integer,
        ["text"] => IdKind::Text,
        // There is no such charge, and nothing to be told apart.
        [] if of.is_some() => IdKind::Text,
        _ => IdKind::Mixed,
    })
}

/// The view of effective allocation, if it is installed.
pub(super) fn find_effective_view(connection: &mut DatabaseConnection) -> Result<Option<String>, DatabaseError> {
    let view = own(connection.dialect(), "effective_allocation");
    let found = match connection.dialect() {
        Dialect::Postgres => {
            connection.get_row("SELECT to_regclass($1) IS NOT NULL AS found", &[Value::from(view.as_str())])?
        }
        Dialect::Sqlite => connection.get_row(
            "SELECT count(*) AS found FROM sqlite_master WHERE type = 'view' AND name = 'changeover_effective_allocation'",
            &[],
        )?,
    };
    Ok(found.boolean("found")?.then_some(view))
}
