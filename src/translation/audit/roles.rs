//! Rights and settings on PostgreSQL: whether the functions' owner may do what they do, and who is set to fire no triggers.

use std::collections::BTreeSet;

use crate::change::Direction;
use crate::database::{DatabaseConnection, DatabaseError, Value};
use crate::sql::model::{BlockModel, ChangeModel};
use crate::translation::objects::tables_of;

use super::Code;
use super::found::{Found, shown};

pub(super) fn audit(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    found: &mut Found,
) -> Result<(), DatabaseError> {
    for owner in owners(connection, model)? {
        for need in needs(model) {
            audit_right(connection, &owner, &need, found)?;
        }
        for table in tables_of(model) {
            audit_sight(connection, &owner, &table.sql, found)?;
        }
    }
    audit_replication_role(connection, found)?;
    audit_subscriptions(connection, model, found)
}

/// Whose functions they are: trigger functions run as their owner.
fn owners(connection: &mut DatabaseConnection, model: &ChangeModel) -> Result<BTreeSet<String>, DatabaseError> {
    let sql = "SELECT DISTINCT pg_get_userbyid(proowner)::text AS owner FROM pg_proc
               WHERE pronamespace = to_regnamespace('changeover') AND prosecdef AND prorettype = 'trigger'::regtype
                 AND starts_with(proname::text, $1)";
    let prefix = format!("changeover_{}_", model.stem());
    connection.query(sql, &[Value::from(prefix)])?.iter().map(|row| row.text("owner")).collect()
}

/// A right on a table, for some columns where it may be given for columns.
struct Need {
    table: String,
    right: &'static str,
    columns: Vec<String>,
}

fn needs(model: &ChangeModel) -> Vec<Need> {
    let mut needs = Vec::new();
    for block in &model.blocks {
        let mut need = |table: &str, right: &'static str, columns: Vec<String>| {
            needs.push(Need { table: table.to_owned(), right, columns });
        };
        let BlockModel { target, mapped, .. } = block;
        need(&target.sql, "SELECT", mapped.clone());
        need(&target.sql, "UPDATE", block.payload().into_iter().cloned().collect());
        if block.insert {
            need(&target.sql, "INSERT", mapped.clone());
            need(&target.sql, "DELETE", Vec::new());
        }
        let key: Vec<String> = block.driving.key.iter().map(|column| column.name.clone()).collect();
        need(&block.driving.table.sql, "SELECT", key.clone());
        for follow in &block.follows {
            need(&follow.table.sql, "SELECT", vec![follow.by.clone()]);
        }
    }
    needs
}

fn audit_right(
    connection: &mut DatabaseConnection,
    owner: &str,
    need: &Need,
    found: &mut Found,
) -> Result<(), DatabaseError> {
    let (table, right) = (need.table.as_str(), need.right);
    let has_usage =
        "SELECT has_schema_privilege($1, c.relnamespace, 'USAGE') AS may, c.relnamespace::regnamespace::text AS schema
                     FROM pg_class c WHERE c.oid = to_regclass($2)";
    let Some(row) = connection.find_row(has_usage, &[owner.into(), table.into()])? else { return Ok(()) };
    if !row.boolean("may")? {
        let schema = row.text("schema")?;
        let what = format!("{owner}, who owns the functions, may not use schema {schema}");
        found.add(Code::RightMissing, &shown(table), &what, &format!("GRANT USAGE ON SCHEMA {schema} TO \"{owner}\""));
        return Ok(());
    }
    let whole = "SELECT has_table_privilege($1, to_regclass($2), $3) AS may";
    if connection.get_row(whole, &[owner.into(), table.into(), right.into()])?.boolean("may")? {
        return Ok(());
    }
    let mut may_all = !need.columns.is_empty();
    for column in &need.columns {
        let sql = "SELECT has_column_privilege($1, to_regclass($2), $3, $4) AS may";
        let values = [owner.into(), table.into(), column.as_str().into(), right.into()];
        may_all = may_all && connection.get_row(sql, &values)?.boolean("may")?;
    }
    if !may_all {
        let what = format!("{owner}, who owns the functions, lacks {right}: writes that need it fail");
        found.add(Code::RightMissing, &shown(table), &what, &format!("GRANT {right} ON {table} TO \"{owner}\""));
    }
    Ok(())
}

/// Row security applies to whoever neither owns the table nor is beyond it.
fn audit_sight(
    connection: &mut DatabaseConnection,
    owner: &str,
    table: &str,
    found: &mut Found,
) -> Result<(), DatabaseError> {
    let sql = "SELECT c.relrowsecurity AND NOT (r.rolsuper OR r.rolbypassrls)
                      AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE')) AS is_hidden
               FROM pg_class c, pg_roles r WHERE c.oid = to_regclass($1) AND r.rolname = $2";
    let row = connection.find_row(sql, &[table.into(), owner.into()])?;
    if row.map(|row| row.boolean("is_hidden")).transpose()? == Some(true) {
        let what =
            format!("row security hides rows from {owner}, who owns the functions: they would not be translated");
        found.add(Code::RowSecurity, &shown(table), &what, &format!("ALTER ROLE \"{owner}\" BYPASSRLS"));
    }
    Ok(())
}

const SILENCED: &str = "
SELECT CASE WHEN s.setrole = 0 THEN 'database ' || quote_ident(d.datname)
            WHEN s.setdatabase = 0 THEN 'role ' || quote_ident(r.rolname)
            ELSE 'role ' || quote_ident(r.rolname) || ' in database ' || quote_ident(d.datname) END AS who,
       CASE WHEN s.setrole = 0 THEN 'ALTER DATABASE ' || quote_ident(d.datname)
            WHEN s.setdatabase = 0 THEN 'ALTER ROLE ' || quote_ident(r.rolname)
            ELSE 'ALTER ROLE ' || quote_ident(r.rolname) || ' IN DATABASE ' || quote_ident(d.datname) END
       || ' RESET session_replication_role' AS remedy
FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase,
     unnest(s.setconfig) AS setting
WHERE lower(setting) = 'session_replication_role=replica' AND (s.setdatabase = 0 OR d.datname = current_database())
UNION ALL
SELECT 'function ' || p.oid::regprocedure::text, 'ALTER FUNCTION ' || p.oid::regprocedure::text || ' RESET session_replication_role'
FROM pg_proc p, unnest(p.proconfig) AS setting WHERE lower(setting) = 'session_replication_role=replica'
UNION ALL
SELECT 'the server', 'take session_replication_role out of ' || coalesce(sourcefile, 'the server''s configuration')
FROM pg_settings WHERE name = 'session_replication_role' AND reset_val = 'replica'
  AND source NOT IN ('user', 'database', 'database user', 'session', 'client')
ORDER BY 1";

/// `local` fires triggers as `origin` does; only `replica` silences them.
fn audit_replication_role(connection: &mut DatabaseConnection, found: &mut Found) -> Result<(), DatabaseError> {
    for row in connection.query(SILENCED, &[])? {
        let what = "session_replication_role is set to replica there: its writes fire no trigger";
        found.add(Code::ReplicationRole, &row.text("who")?, what, &row.text("remedy")?);
    }
    Ok(())
}

/// An apply worker fires no statement triggers, whether they are enabled ALWAYS or not.
fn audit_subscriptions(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    found: &mut Found,
) -> Result<(), DatabaseError> {
    let mut sources = model.sources_of(Direction::Forward);
    sources.extend(model.sources_of(Direction::Backward));
    for table in sources {
        let sql =
            "SELECT s.subname::text AS name FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid
                   WHERE r.srrelid = to_regclass($1) ORDER BY 1";
        for row in connection.query(sql, &[Value::from(table.sql.as_str())])? {
            let what = format!(
                "subscription {} writes the table, and its worker fires no trigger of a statement",
                row.text("name")?
            );
            let remedy = "install the change where the table is written, or take the table out of the subscription";
            found.add(Code::Subscription, &shown(&table.sql), &what, remedy);
        }
    }
    Ok(())
}
