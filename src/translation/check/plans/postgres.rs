//! PostgreSQL's plans: a prepared statement's generic plan, as the functions have it, as JSON.

use serde_json::Value as Json;

use super::{PARAMETER, Plan, Question, Scan, with_parameters};
use crate::database::{DatabaseConnection, DatabaseError, Value};
use crate::sql::model::ChangeModel;
use crate::sql::names::{literal, quoted};

/// What one changed row is called here.
const CHANGED: &str = "co_changed";

/// A plan's text cannot be cast in a query, but in a function. Sorting, hashing and merging are what reads a whole table for one row.
const FUNCTION: &str = "
CREATE OR REPLACE FUNCTION pg_temp.co_explain(statement text) RETURNS text LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $co$
DECLARE plan json;
BEGIN EXECUTE 'EXPLAIN (VERBOSE, FORMAT JSON) ' || statement INTO plan; RETURN plan::text; END $co$";

/// In a transaction that will be rolled back. A statement that cannot be explained here has no plan: what is wrong with it is told by others.
pub fn explain(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    question: &Question<'_>,
) -> Result<Plan, DatabaseError> {
    let outcome = connection.in_rolled_back_transaction(|connection| {
        connection.batch(FUNCTION)?;
        connection.batch(&format!("SET LOCAL search_path = {}, pg_temp", model.search_path))?;
        let mut text = with_parameters(question, PARAMETER, &|number| format!("(ARRAY[${number}])"));
        if let Some(table) = question.changed {
            // A function, since a table would be scanned, which is just what is made dear here.
            connection.batch(&format!(
                "CREATE FUNCTION pg_temp.{CHANGED}() RETURNS SETOF {} LANGUAGE plpgsql ROWS 1 AS 'BEGIN END'",
                table.sql
            ))?;
            text = format!("WITH changed AS (SELECT * FROM pg_temp.{CHANGED}()) SELECT * FROM (\n{text}\n) co_asked");
        }
        let types: Vec<&str> = question.block.driving.key.iter().map(|column| column.sql_type.as_str()).collect();
        let (declared, given) = match question.changed {
            Some(_) => (String::new(), String::new()),
            None => (format!(" ({})", types.join(", ")), format!("({})", vec!["NULL"; types.len()].join(", "))),
        };
        connection.batch(&format!("PREPARE co_plan{declared} AS {text}"))?;
        let explained = connection
            .get_row("SELECT pg_temp.co_explain($1) AS plan", &[Value::from(format!("EXECUTE co_plan{given}"))])
            .and_then(|row| row.text("plan"));
        if explained.is_ok() {
            connection.batch("DEALLOCATE co_plan")?;
        }
        explained
    });
    match outcome {
        Ok(text) => without_small(connection, read(&text)),
        Err(error) if error.is_disconnected() || error.is_retryable() => Err(error),
        Err(error) => {
            tracing::debug!(%error, part = question.part, "a statement could not be explained");
            // A statement outlives the transaction that prepared it.
            connection.in_rolled_back_transaction(|connection| connection.batch("DEALLOCATE co_plan")).ok();
            Ok(Plan::default())
        }
    }
}

/// The same of a statement without parameters.
pub fn explain_text(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    text: &str,
) -> Result<Plan, DatabaseError> {
    let outcome = connection.in_rolled_back_transaction(|connection| {
        connection.batch(FUNCTION)?;
        connection.batch(&format!("SET LOCAL search_path = {}, pg_temp", model.search_path))?;
        connection.get_row("SELECT pg_temp.co_explain($1) AS plan", &[Value::from(text)])?.text("plan")
    });
    match outcome {
        Ok(text) => without_small(connection, read(&text)),
        Err(error) if error.is_disconnected() || error.is_retryable() => Err(error),
        Err(error) => {
            tracing::debug!(%error, text, "a statement could not be explained");
            Ok(Plan::default())
        }
    }
}

/// A table of so many bytes at most is read by any index at the same cost.
const SMALL_BYTES: i64 = 16 * 8192;

/// The plan without scans of small tables that an index leads into: of a table that is still empty the planner may take any other index,
/// and read that as a whole.
fn without_small(connection: &mut DatabaseConnection, plan: Plan) -> Result<Plan, DatabaseError> {
    let mut scans = Vec::new();
    for scan in plan.scans {
        if !(scan.is_by_index && has_index(connection, &scan)?) {
            scans.push(scan);
        }
    }
    Ok(Plan { scans, ..plan })
}

fn has_index(connection: &mut DatabaseConnection, scan: &Scan) -> Result<bool, DatabaseError> {
    let columns: Vec<String> = scan.columns.iter().map(|column| literal(column)).collect();
    if columns.is_empty() {
        return Ok(false);
    }
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
           WHERE i.indrelid = to_regclass({table}) AND i.indisvalid AND i.indpred IS NULL
             AND quote_ident(a.attname) IN ({columns}) AND pg_relation_size(i.indrelid) <= {SMALL_BYTES}) AS is_there",
        table = literal(&scan.table),
        columns = columns.join(", "),
    );
    connection.get_row(&sql, &[])?.boolean("is_there")
}

fn read(text: &str) -> Plan {
    let Ok(document) = serde_json::from_str::<Json>(text) else { return Plan::default() };
    let Some(root) = document.get(0).and_then(|first| first.get("Plan")) else { return Plan::default() };
    let mut conditions = Vec::new();
    collect_conditions(root, &mut conditions);
    let mut scans = Vec::new();
    collect_scans(root, &conditions, &mut scans);
    scans.sort();
    scans.dedup();
    Plan { scans, rows: Some(rows_read(root, 1.0)) }
}

fn children(node: &Json) -> impl Iterator<Item = &Json> {
    node.get("Plans").and_then(Json::as_array).into_iter().flatten()
}

fn text_of<'n>(node: &'n Json, name: &str) -> &'n str {
    node.get(name).and_then(Json::as_str).unwrap_or_default()
}

/// Every condition of the plan, for finding out by which columns a scanned table is asked.
fn collect_conditions<'n>(node: &'n Json, conditions: &mut Vec<&'n str>) {
    for name in ["Filter", "Join Filter", "Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond"] {
        conditions.extend(node.get(name).and_then(Json::as_str));
    }
    children(node).for_each(|child| collect_conditions(child, conditions));
}

fn collect_scans(node: &Json, conditions: &[&str], scans: &mut Vec<Scan>) {
    let kind = text_of(node, "Node Type");
    let leads_nowhere = |node: &Json| !text_of(node, "Index Cond").contains(['=', '<', '>']);
    let is_whole = match kind {
        "Seq Scan" => true,
        "Index Scan" | "Index Only Scan" => leads_nowhere(node),
        "Bitmap Heap Scan" => {
            children(node).any(|child| text_of(child, "Node Type") == "Bitmap Index Scan" && leads_nowhere(child))
        }
        _ => false,
    };
    let name = text_of(node, "Relation Name");
    if is_whole && !name.is_empty() {
        let alias = text_of(node, "Alias");
        scans.push(Scan {
            table: format!("{}.{}", quoted(text_of(node, "Schema")), quoted(name)),
            name: name.to_owned(),
            columns: compared_columns(alias, conditions),
            is_by_index: kind != "Seq Scan",
        });
    }
    // The first rows of an index are found without reading the others.
    if kind != "Limit" {
        children(node).for_each(|child| collect_scans(child, conditions, scans));
    }
}

/// The columns of `alias` that some condition compares by equality, as SQL.
fn compared_columns(alias: &str, conditions: &[&str]) -> Vec<String> {
    let prefixes = [format!("{alias}."), format!("{}.", quoted(alias))];
    let mut columns = Vec::new();
    for condition in conditions {
        let condition = without_calls(condition);
        let words: Vec<&str> =
            condition.split([' ', '(', ')']).filter(|word| !word.is_empty() && !word.starts_with("::")).collect();
        for (place, _) in words.iter().enumerate().filter(|(_, word)| **word == "=") {
            let sides = [place.checked_sub(1).and_then(|left| words.get(left)), words.get(place + 1)];
            for side in sides.into_iter().flatten() {
                let column = prefixes.iter().find_map(|prefix| side.strip_prefix(prefix.as_str()));
                let column = column.map(|column| column.split("::").next().unwrap_or_default().to_owned());
                columns.extend(column.filter(|column| !columns.contains(column)).filter(|column| !column.is_empty()));
            }
        }
    }
    columns
}

/// The condition with `f` for each call of a function: an index on a column does not lead to what a function makes of it.
fn without_calls(condition: &str) -> String {
    let mut rest = String::new();
    let mut depth = 0_u32;
    for letter in condition.chars() {
        let is_inside = depth > 0;
        match letter {
            '(' if is_inside || rest.ends_with(|before: char| before.is_alphanumeric() || "_\"".contains(before)) => {
                depth += 1;
            }
            ')' if is_inside => {
                depth -= 1;
                if depth == 0 {
                    rest.push('f');
                }
            }
            _ if !is_inside => rest.push(letter),
            _ => {}
        }
    }
    rest
}

/// Rows that are fetched from tables, each time that a node is run.
fn rows_read(node: &Json, times: f64) -> f64 {
    let rows = |node: &Json| node.get("Plan Rows").and_then(Json::as_f64).unwrap_or(0.0);
    let own = if node.get("Relation Name").is_some() { times * rows(node) } else { 0.0 };
    let mut inner_times = times;
    let mut read = own;
    for child in children(node) {
        let is_inner = text_of(child, "Parent Relationship") == "Inner" && text_of(node, "Node Type") == "Nested Loop";
        if !is_inner {
            inner_times = times * rows(child).max(1.0);
        }
        read += rows_read(child, if is_inner { inner_times } else { times });
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_names_the_columns_by_which_the_table_is_asked() {
        let conditions = ["(v.user_id = a.owner_id)", "((\"V x\".\"Key\")::text = a.name)", "(a.x > 1)"];
        assert_eq!(compared_columns("v", &conditions), ["user_id"]);
        assert_eq!(compared_columns("a", &conditions), ["owner_id", "name"]);
        assert!(compared_columns("b", &conditions).is_empty());
        let computed =
            ["(lower((v.name)::text) = a.name)", "((v.id)::text = lower(v.code))", "(v.n = (InitPlan 1).col1)"];
        assert_eq!(compared_columns("v", &computed), ["id", "n"]);
    }

    #[test]
    fn rows_of_a_nested_loop_multiply() {
        let plan = r#"[{"Plan": {"Node Type": "Nested Loop", "Plan Rows": 500, "Plans": [
            {"Node Type": "Index Scan", "Parent Relationship": "Outer", "Relation Name": "a", "Alias": "a", "Index Cond": "(a.id = 1)", "Plan Rows": 10},
            {"Node Type": "Index Scan", "Parent Relationship": "Inner", "Relation Name": "b", "Alias": "b", "Index Cond": "(b.a = a.id)", "Plan Rows": 50}]}}]"#;
        let plan = read(plan);
        assert_eq!(plan.rows, Some(510.0));
        assert!(plan.scans.is_empty());
    }
}
