//! What is set for each change's edge, and whether its visitors are kept out for maintenance. Every write counts the configuration's
//! version up, so that all servers hear of it at once.

use serde::Serialize;
use serde_json::json;

use super::audit::{self, AuditEntry};
use super::{Origin, StoreError, cohorts, flags, now, state};
use crate::database::{DatabaseConnection, Row, Value};
use crate::edge::{InvalidSettings, Maintenance, Settings};
use crate::flags::Flag;
use crate::primitives::{ChangeName, FlagKey, Instant};

/// Changes that may have settings.
const EDGES_MAX: usize = 500;

/// The edge of a change as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredEdge {
    pub change: ChangeName,
    pub version: i64,
    pub settings: Settings,
    /// Set while visitors are kept out.
    pub maintenance: Option<Maintenance>,
    pub updated_at: Instant,
    pub updated_by: String,
}

/// All edges, by change.
pub fn list(connection: &mut DatabaseConnection) -> Result<Vec<StoredEdge>, StoreError> {
    let rows = connection.query("SELECT * FROM svc_changeover_edges ORDER BY change_name", &[])?;
    rows.iter().map(stored).collect()
}

/// All edges by the name of their change, each for itself: one that cannot be read keeps nobody from the others.
#[expect(clippy::type_complexity, reason = "a name and what came of it")]
pub(super) fn each(
    connection: &mut DatabaseConnection,
) -> Result<Vec<(String, Result<StoredEdge, StoreError>)>, StoreError> {
    let rows = connection.query("SELECT * FROM svc_changeover_edges", &[])?;
    rows.iter().map(|row| Ok((row.text("change_name")?, stored(row)))).collect()
}

/// The edge of a change, if something is set for it.
pub fn find(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<Option<StoredEdge>, StoreError> {
    let sql = "SELECT * FROM svc_changeover_edges WHERE change_name = $1";
    connection.find_row(sql, &[Value::from(change.as_str())])?.as_ref().map(stored).transpose()
}

/// The edge of a change, or an error that says there is none.
pub fn get(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<StoredEdge, StoreError> {
    find(connection, change)?.ok_or_else(|| StoreError::not_found("edge", change.as_str()))
}

/// Sets the edge of a change. Maintenance stays as it is. True if it is new.
pub fn set(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    settings: Settings,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<(StoredEdge, bool), StoreError> {
    let settings = settings.checked()?;
    let version = state::next_config_version(connection)?;
    let before = find(connection, change)?;
    check_seen(change, before.as_ref(), seen)?;
    check_names(connection, &settings)?;
    let is_new = before.is_none();
    let maintenance = before.as_ref().and_then(|before| before.maintenance.clone());
    write(connection, (change, version), (&settings, maintenance.as_ref()), (is_new, origin.actor))?;
    let detail = json!({ "before": before.map(|before| before.settings), "after": settings });
    record(connection, change, ("edge.set", detail), origin)?;
    Ok((get(connection, change)?, is_new))
}

/// Forgets what is set for a change, and ends its maintenance.
pub fn remove(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    seen: Option<i64>,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    state::next_config_version(connection)?;
    let before = get(connection, change)?;
    check_seen(change, Some(&before), seen)?;
    let sql = "DELETE FROM svc_changeover_edges WHERE change_name = $1";
    connection.execute(sql, &[Value::from(change.as_str())])?;
    record(connection, change, ("edge.remove", json!({ "before": before })), origin)
}

/// Keeps visitors of a change out for so long, or lets them in again (`None`). It takes a reason.
pub fn set_maintenance(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    wanted: Option<(u32, &str)>,
    origin: Origin<'_>,
) -> Result<StoredEdge, StoreError> {
    let reason = origin.reason.trim();
    if reason.is_empty() {
        return Err(StoreError::NoReason("maintenance"));
    }
    let version = state::next_config_version(connection)?;
    let before = find(connection, change)?;
    let under_way = before.as_ref().and_then(|before| before.maintenance.as_ref());
    let since = under_way.map_or_else(now, |maintenance| maintenance.since);
    let begin = |(retry_after_s, message): (u32, &str)| {
        let (by, reason, message) = (origin.actor.to_owned(), reason.to_owned(), message.to_owned());
        Maintenance { since, by, reason, retry_after_s, message }.checked()
    };
    let maintenance = wanted.map(begin).transpose()?;
    let settings = before.as_ref().map(|before| before.settings.clone()).unwrap_or_default();
    write(connection, (change, version), (&settings, maintenance.as_ref()), (before.is_none(), origin.actor))?;
    let action = if maintenance.is_some() { "edge.maintenance.begin" } else { "edge.maintenance.end" };
    record(connection, change, (action, json!({ "maintenance": maintenance })), origin)?;
    get(connection, change)
}

fn write(
    connection: &mut DatabaseConnection,
    (change, version): (&ChangeName, i64),
    (settings, maintenance): (&Settings, Option<&Maintenance>),
    (is_new, actor): (bool, &str),
) -> Result<(), StoreError> {
    let sql = if is_new {
        if list(connection)?.len() >= EDGES_MAX {
            let remedy = "remove those of changes that are over";
            return Err(StoreError::TooMany { what: "edges", max: EDGES_MAX, remedy });
        }
        "INSERT INTO svc_changeover_edges (version, data, maintenance, updated_at, updated_by, change_name)
         VALUES ($1, $2, $3, $4, $5, $6)"
    } else {
        "UPDATE svc_changeover_edges SET version = $1, data = $2, maintenance = $3, updated_at = $4, updated_by = $5
         WHERE change_name = $6"
    };
    let maintenance = maintenance.map(|maintenance| json!(maintenance).to_string());
    let values = [
        Value::from(version),
        Value::from(json!(settings).to_string()),
        maintenance.map_or(Value::Null, Value::from),
        Value::from(now().as_micros()),
        Value::from(actor),
        Value::from(change.as_str()),
    ];
    connection.execute(sql, &values)?;
    Ok(())
}

/// The cohorts that are named exist, and the flag, if one is named, gives sides by itself.
fn check_names(connection: &mut DatabaseConnection, settings: &Settings) -> Result<(), StoreError> {
    for cohort in settings.cohorts() {
        if cohorts::find(connection, cohort)?.is_none() {
            return Err(InvalidSettings::NoCohort(cohort.clone()).into());
        }
    }
    let Some(key) = &settings.flag else { return Ok(()) };
    match what_is_wrong(connection, key)? {
        Some(what) => Err(InvalidSettings::Flag { flag: key.clone(), what }.into()),
        None => Ok(()),
    }
}

fn what_is_wrong(connection: &mut DatabaseConnection, key: &FlagKey) -> Result<Option<&'static str>, StoreError> {
    let stored = flags::find(connection, key)?;
    let Some(stored) = stored else { return Ok(Some("does not exist")) };
    let Ok(flag) = Flag::parse(&stored.data) else { return Ok(Some("cannot be read")) };
    Ok(if flag.change().is_some() {
        Some("is the flag of a change")
    } else if flag.find_variant("old").is_none() || flag.find_variant("new").is_none() {
        Some("has not got these variants")
    } else {
        None
    })
}

fn check_seen(change: &ChangeName, before: Option<&StoredEdge>, seen: Option<i64>) -> Result<(), StoreError> {
    let current = before.map_or(0, |before| before.version);
    match seen.filter(|seen| *seen != current) {
        Some(seen) => Err(StoreError::Stale { what: "edge", name: change.to_string(), seen, current }),
        None => Ok(()),
    }
}

fn stored(row: &Row) -> Result<StoredEdge, StoreError> {
    let name = row.text("change_name")?;
    let corrupt = |reason: String| StoreError::Corrupt { what: "edge", name: name.clone(), reason };
    let settings = serde_json::from_str(&row.text("data")?).map_err(|error| corrupt(error.to_string()))?;
    let maintenance = row.find_text("maintenance")?.map(|text| serde_json::from_str(&text));
    Ok(StoredEdge {
        change: ChangeName::new(&name).map_err(|error| corrupt(error.to_string()))?,
        version: row.integer("version")?,
        settings,
        maintenance: maintenance.transpose().map_err(|error| corrupt(error.to_string()))?,
        updated_at: Instant::from_micros(row.integer("updated_at")?),
        updated_by: row.text("updated_by")?,
    })
}

fn record(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    (action, detail): (&str, serde_json::Value),
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let subject = format!("edge/{change}");
    let Origin { actor, reason } = origin;
    audit::append(connection, &AuditEntry { actor, action, subject: &subject, reason, detail })
}
