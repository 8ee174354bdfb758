//! Rules of comparisons of observations, with their versions; every write has its audit row.

use serde::Serialize;
use serde_json::json;

use super::audit::{self, AuditEntry};
use super::observations::Subject;
use super::{Origin, StoreError, new_id, now};
use crate::database::{DatabaseConnection, Value};
use crate::observations::Rule;

/// Rules of a subject.
const RULES_MAX: usize = 200;

/// A rule as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredRule {
    pub id: String,
    pub version: i64,
    #[serde(flatten)]
    pub rule: Rule,
}

/// All rules of a subject, the oldest first.
pub fn list(connection: &mut DatabaseConnection, subject: &Subject) -> Result<Vec<StoredRule>, StoreError> {
    let sql = "SELECT id, version, data FROM svc_changeover_observation_rules WHERE subject = $1 ORDER BY id";
    let mut found = Vec::new();
    for row in connection.query(sql, &[Value::from(subject.as_str())])? {
        let (id, data) = (row.text("id")?, row.text("data")?);
        let rule = serde_json::from_str(&data).map_err(|error| StoreError::Corrupt {
            what: "observation rule",
            name: id.clone(),
            reason: error.to_string(),
        })?;
        found.push(StoredRule { version: row.integer("version")?, id, rule });
    }
    Ok(found)
}

/// Adds a rule.
pub fn create(
    connection: &mut DatabaseConnection,
    subject: &Subject,
    rule: &Rule,
    origin: Origin<'_>,
) -> Result<StoredRule, StoreError> {
    if list(connection, subject)?.len() >= RULES_MAX {
        return Err(StoreError::TooMany { what: "observation rules", max: RULES_MAX, remedy: "remove some" });
    }
    let stored = StoredRule { id: new_id()?, version: 1, rule: rule.clone() };
    let sql = "INSERT INTO svc_changeover_observation_rules (id, subject, version, data, updated_at, updated_by)
               VALUES ($1, $2, 1, $3, $4, $5)";
    let values = [
        Value::from(stored.id.as_str()),
        Value::from(subject.as_str()),
        Value::from(json!(rule).to_string()),
        Value::from(now().as_micros()),
        Value::from(origin.actor),
    ];
    connection.execute(sql, &values)?;
    note(connection, subject, ("observation_rule.create", &stored), origin)?;
    Ok(stored)
}

fn get_seen(
    connection: &mut DatabaseConnection,
    subject: &Subject,
    id: &str,
    seen: Option<i64>,
) -> Result<StoredRule, StoreError> {
    let found = list(connection, subject)?.into_iter().find(|rule| rule.id == id);
    let found = found.ok_or_else(|| StoreError::not_found("observation rule", id))?;
    match seen.filter(|seen| *seen != found.version) {
        Some(seen) => {
            Err(StoreError::Stale { what: "observation rule", name: id.to_owned(), seen, current: found.version })
        }
        None => Ok(found),
    }
}

/// Words a rule anew, if it is at the version that was seen.
pub fn replace(
    connection: &mut DatabaseConnection,
    subject: &Subject,
    (id, seen): (&str, Option<i64>),
    rule: &Rule,
    origin: Origin<'_>,
) -> Result<StoredRule, StoreError> {
    let before = get_seen(connection, subject, id, seen)?;
    let after = StoredRule { id: before.id, version: before.version + 1, rule: rule.clone() };
    let sql =
        "UPDATE svc_changeover_observation_rules SET version = version + 1, data = $1, updated_at = $2, updated_by = $3
               WHERE id = $4 AND version = $5";
    let values = [
        Value::from(json!(rule).to_string()),
        Value::from(now().as_micros()),
        Value::from(origin.actor),
        Value::from(id),
        Value::from(before.version),
    ];
    changed(connection.execute(sql, &values)?, id, before.version)?;
    note(connection, subject, ("observation_rule.replace", &after), origin)?;
    Ok(after)
}

/// Removes a rule, if it is at the version that was seen.
pub fn remove(
    connection: &mut DatabaseConnection,
    subject: &Subject,
    (id, seen): (&str, Option<i64>),
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let before = get_seen(connection, subject, id, seen)?;
    let sql = "DELETE FROM svc_changeover_observation_rules WHERE id = $1 AND version = $2";
    changed(connection.execute(sql, &[Value::from(id), Value::from(before.version)])?, id, before.version)?;
    note(connection, subject, ("observation_rule.remove", &before), origin)
}

fn changed(rows: usize, id: &str, seen: i64) -> Result<(), StoreError> {
    if rows == 0 {
        return Err(StoreError::Stale { what: "observation rule", name: id.to_owned(), seen, current: seen + 1 });
    }
    Ok(())
}

fn note(
    connection: &mut DatabaseConnection,
    subject: &Subject,
    (action, rule): (&str, &StoredRule),
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let about = format!("observation_rule/{}", rule.id);
    let detail = json!({ "of": subject.as_str(), "rule": rule });
    audit::append(
        connection,
        &AuditEntry { actor: origin.actor, action, subject: &about, reason: origin.reason, detail },
    )
}
