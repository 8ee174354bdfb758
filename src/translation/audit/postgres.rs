//! Triggers, functions and partitions on PostgreSQL.

use std::collections::BTreeMap;

use crate::change::Direction;
use crate::database::{DatabaseConnection, DatabaseError, Value};
use crate::primitives::ChangeName;
use crate::sql::model::ChangeModel;
use crate::sql::objects::ObjectKind;
use crate::sql::postgres;
use crate::translation::objects::{Function, Object, noted, read};

use super::Code;
use super::found::{Found, shown};

/// One of our triggers, as it is now.
struct Live {
    name: String,
    on_table: String,
    /// `O`, `D`, `R` or `A`.
    enabled: String,
    definition: String,
}

const TRIGGERS: &str = "
SELECT t.tgname::text AS name, t.tgenabled::text AS enabled, pg_get_triggerdef(t.oid) AS definition,
       '\"' || replace(n.nspname, '\"', '\"\"') || '\".\"' || replace(c.relname, '\"', '\"\"') || '\"' AS on_table
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal ORDER BY 1, 4";

pub(super) fn audit(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    model: Option<&ChangeModel>,
    found: &mut Found,
) -> Result<(), DatabaseError> {
    let mut wanted = noted(connection, change, ObjectKind::Trigger.as_str())?;
    if let (true, Some(model)) = (wanted.is_empty(), model) {
        wanted = by_model(connection, change, model)?;
    }
    let live = live_triggers(connection)?;
    for trigger in &wanted {
        audit_trigger(connection, trigger, &live, found)?;
    }
    audit_partitions(connection, &wanted, &live, found)?;
    audit_functions(connection, change, found)?;
    let there = read(connection, ObjectKind::View)?;
    for view in noted(connection, change, ObjectKind::View.as_str())? {
        if !there.iter().any(|other| other.name == view.name) {
            let what = "the view is gone";
            found.add(
                Code::ViewMissing,
                &view.name,
                what,
                "uninstall the change and install it again, or create the view by hand",
            );
        }
    }
    Ok(())
}

/// What an earlier version, which noted nothing, has installed.
fn by_model(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    model: &ChangeModel,
) -> Result<Vec<Object>, DatabaseError> {
    let removed = "SELECT count(*) AS n FROM changeover.change WHERE name = $1 AND stage = 'complete'";
    if connection.get_row(removed, &[change.as_str().into()])?.integer("n")? > 0 {
        return Ok(Vec::new());
    }
    let triggers = [Direction::Forward, Direction::Backward].map(|direction| postgres::triggers(model, direction));
    let object =
        |trigger: postgres::Trigger| Object { name: trigger.name, on_table: trigger.table, definition: String::new() };
    Ok(triggers.into_iter().flatten().map(object).collect())
}

fn live_triggers(connection: &mut DatabaseConnection) -> Result<Vec<Live>, DatabaseError> {
    let rows = connection.query(TRIGGERS, &[])?;
    rows.iter()
        .map(|row| {
            Ok(Live {
                name: row.text("name")?,
                on_table: row.text("on_table")?,
                enabled: row.text("enabled")?,
                definition: row.text("definition")?,
            })
        })
        .collect()
}

fn audit_trigger(
    connection: &mut DatabaseConnection,
    trigger: &Object,
    live: &[Live],
    found: &mut Found,
) -> Result<(), DatabaseError> {
    let object = format!("{} on {}", trigger.name, shown(&trigger.on_table));
    let Some(there) = live.iter().find(|live| live.name == trigger.name && live.on_table == trigger.on_table) else {
        let exists = "SELECT to_regclass($1) IS NOT NULL AS there";
        let is_table_there = connection.get_row(exists, &[Value::from(trigger.on_table.as_str())])?.boolean("there")?;
        let elsewhere = live.iter().find(|live| live.name == trigger.name);
        let what = match elsewhere {
            _ if !is_table_there => String::from("the table is gone, and its trigger with it"),
            Some(other) => format!("the trigger is not on this table: it is on {}", shown(&other.on_table)),
            None => String::from("the trigger is gone: writes to the table are not translated"),
        };
        found.add(
            Code::TriggerMissing,
            &object,
            &what,
            "`changeover change cover` puts it back; then verify and repair",
        );
        return Ok(());
    };
    let table = &trigger.on_table;
    let enable = format!("ALTER TABLE {table} ENABLE TRIGGER \"{}\"; then verify and repair", trigger.name);
    match there.enabled.as_str() {
        "D" => found.add(Code::TriggerDisabled, &object, "the trigger is disabled", &enable),
        "R" => {
            let what = "the trigger fires only where session_replication_role is replica";
            found.add(Code::TriggerDisabled, &object, what, &enable);
        }
        _ => {}
    }
    if !trigger.definition.is_empty() && there.definition != trigger.definition {
        let what = format!("the trigger is not the one that was installed: it is now {}", there.definition);
        let remedy =
            format!("drop it, and let `changeover change cover` create it again; it was {}", trigger.definition);
        found.add(Code::TriggerChanged, &object, &what, &remedy);
    }
    Ok(())
}

const CHILDREN: &str = "
WITH RECURSIVE below (oid) AS (
    SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass($1)
  UNION SELECT i.inhrelid FROM pg_inherits i JOIN below b ON b.oid = i.inhparent)
SELECT '\"' || replace(n.nspname, '\"', '\"\"') || '\".\"' || replace(c.relname, '\"', '\"\"') || '\"' AS name,
       c.relispartition AS is_partition
FROM below b JOIN pg_class c ON c.oid = b.oid JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 1";

/// A statement fires only the triggers of the table that it names: every partition needs those of its root.
fn audit_partitions(
    connection: &mut DatabaseConnection,
    wanted: &[Object],
    live: &[Live],
    found: &mut Found,
) -> Result<(), DatabaseError> {
    let mut by_table: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for trigger in wanted {
        by_table.entry(&trigger.on_table).or_default().push(&trigger.name);
    }
    for (table, names) in &by_table {
        for row in connection.query(CHILDREN, &[Value::from(*table)])? {
            let child = row.text("name")?;
            // What was noted of the child itself has been looked at already.
            let is_known =
                by_table.get(child.as_str()).is_some_and(|known| names.iter().all(|name| known.contains(name)));
            let has = |name: &&&str| live.iter().any(|live| live.name == **name && live.on_table == child);
            let missing = names.iter().filter(|name| !has(name)).count();
            if is_known || missing == 0 {
                continue;
            }
            let (kind, remedy) = if row.boolean("is_partition")? {
                ("a partition of", "`changeover change cover` installs them; then verify and repair")
            } else {
                ("a child of", "write through the parent only, or turn inheritance into partitions")
            };
            let what = format!(
                "{kind} {} that lacks {missing} of its {} triggers: statements that name it are not translated",
                shown(table),
                names.len()
            );
            found.add(Code::PartitionUncovered, &shown(&child), &what, remedy);
        }
    }
    Ok(())
}

fn audit_functions(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    found: &mut Found,
) -> Result<(), DatabaseError> {
    let there = read(connection, ObjectKind::Function)?;
    for function in noted(connection, change, ObjectKind::Function.as_str())? {
        let object = format!("changeover.{}", function.name);
        let Some(live) = there.iter().find(|live| live.name == function.name) else {
            let remedy =
                "`changeover change update` with the installed file creates it again; until then pause the change";
            found.add(Code::FunctionMissing, &object, "the function is gone: writes that need it fail", remedy);
            continue;
        };
        let parsed = |object: &Object| serde_json::from_str::<Function>(&object.definition).ok();
        if let (Some(was), Some(is)) = (parsed(&function), parsed(live)) {
            compare(&object, &was, &is, found);
        }
    }
    Ok(())
}

fn compare(object: &str, was: &Function, is: &Function, found: &mut Found) {
    if was.source != is.source || was.arguments != is.arguments {
        let remedy = "`changeover change update` with the installed file writes it anew; then verify and repair";
        found.add(Code::FunctionChanged, object, "the function's body is not the one that was installed", remedy);
    }
    if was.owner != is.owner {
        let what = format!("the function belongs to {}, not to {} who installed it", is.owner, was.owner);
        let remedy = format!("ALTER FUNCTION {object} OWNER TO \"{}\"", was.owner);
        found.add(Code::FunctionOwner, object, &what, &remedy);
    }
    if was.definer != is.definer {
        let what =
            format!("the function runs as its {}", if is.definer { "owner" } else { "caller, who may lack rights" });
        let wanted = if was.definer { "DEFINER" } else { "INVOKER" };
        found.add(Code::FunctionSettings, object, &what, &format!("ALTER FUNCTION {object} SECURITY {wanted}"));
    }
    if was.settings != is.settings {
        let what = format!("the function's settings are [{}], but were [{}]", is.settings, was.settings);
        found.add(
            Code::FunctionSettings,
            object,
            &what,
            "ALTER FUNCTION … SET them as they were: plans and the loop guard depend on them",
        );
    }
}
