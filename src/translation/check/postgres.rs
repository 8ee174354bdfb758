//! PostgreSQL's word on a query: a temporary view in a savepoint that is rolled back, and what the view depends on.

use super::inspect::{Described, Reads, Refusal};
use crate::database::{DatabaseConnection, DatabaseError, Value};
use crate::sql::catalogue::Table;
use crate::sql::effective::subquery;
use crate::sql::names::quoted;
use crate::translation::catalogue::find_table;

const VIEW: &str = "CREATE TEMPORARY VIEW changeover_checked AS ";

/// Views below the query are followed down to tables. A column number of 0 is the table as a whole.
const READS: &str = "
WITH RECURSIVE viewed (oid, attnum) AS (
    SELECT d.refobjid, d.refobjsubid FROM pg_rewrite r
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
    WHERE r.ev_class = 'pg_temp.changeover_checked'::regclass AND d.refobjid <> r.ev_class
  UNION
    SELECT d.refobjid, d.refobjsubid FROM viewed v
    JOIN pg_class c ON c.oid = v.oid AND c.relkind = 'v'
    JOIN pg_rewrite r ON r.ev_class = v.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
    WHERE d.refobjid <> r.ev_class)
SELECT n.nspname::text AS schema, c.relname::text AS name, a.attname::text AS column_name
FROM viewed v JOIN pg_class c ON c.oid = v.oid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = v.oid AND a.attnum = v.attnum AND v.attnum > 0
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relnamespace <> pg_my_temp_schema()";

pub fn describe(
    connection: &mut DatabaseConnection,
    sql: &str,
    changed: Option<&Table>,
) -> Result<Result<Described, Refusal>, DatabaseError> {
    connection.in_rolled_back_transaction(|connection| {
        if let Some(table) = changed {
            connection.batch(&format!("CREATE TEMPORARY TABLE changed (LIKE {})", table.sql_name()))?;
        }
        // Sent as one statement, never as a batch: a second statement in the text is an error and is not run.
        if let Err(error) = connection.execute(&format!("{VIEW}{sql}"), &[]) {
            return refusal(error, sql).map(Err);
        }
        let locks = "SELECT ev_action::text LIKE '%:hasForUpdate true%' AS locks FROM pg_rewrite
                     WHERE ev_class = 'pg_temp.changeover_checked'::regclass";
        if connection.get_row(locks, &[])?.boolean("locks")? {
            return Ok(Err(Refusal::new("the query locks rows (FOR UPDATE or FOR SHARE)")));
        }
        let Some(view) = find_table(connection, "pg_temp.changeover_checked")? else {
            return Ok(Err(Refusal::new("the query returns nothing")));
        };
        let reads = reads(connection)?;
        // Generated SQL uses the query as a subquery.
        let wrapped = format!("CREATE TEMPORARY VIEW changeover_wrapped AS SELECT * FROM {} q", subquery(sql));
        if let Err(error) = connection.execute(&wrapped, &[]) {
            return refusal(error, sql).map(|refusal| Err(Refusal { offset: None, ..refusal }));
        }
        Ok(Ok(Described { columns: view.columns, reads }))
    })
}

fn reads(connection: &mut DatabaseConnection) -> Result<Reads, DatabaseError> {
    let mut reads = Reads::new();
    for row in connection.query(READS, &[])? {
        let name = format!("{}.{}", quoted(&row.text("schema")?), quoted(&row.text("name")?));
        reads.entry(name).or_default().extend(row.find_text("column_name")?);
    }
    Ok(reads)
}

/// Plans a statement that writes: PostgreSQL checks its names, types and ON CONFLICT without running it.
pub fn try_write(connection: &mut DatabaseConnection, sql: &str) -> Result<Result<(), Refusal>, DatabaseError> {
    connection.in_rolled_back_transaction(|connection| {
        let values: &[Value] = &[];
        match connection.query(&format!("EXPLAIN {sql}"), values) {
            Ok(_) => Ok(Ok(())),
            Err(error) => refusal(error, sql).map(|refusal| Err(Refusal { offset: None, ..refusal })),
        }
    })
}

/// The error as a refusal of the query, unless it is about the connection.
fn refusal(error: DatabaseError, sql: &str) -> Result<Refusal, DatabaseError> {
    let message = error.primary_message();
    if error.is_disconnected() || error.is_retryable() || message.contains("in a read-only transaction") {
        return Err(error);
    }
    let characters = error.statement_position().and_then(|position| position.checked_sub(VIEW.chars().count() + 1));
    let offset = characters.and_then(|before| sql.char_indices().map(|(offset, _)| offset).nth(before));
    Ok(Refusal { message, offset })
}
