//! Putting a corrected change file in the place of the installed one, at the stage where the change is. What the new file asks for is held
//! against what is there by name, so that this also works where the old file does not fit the database any more.
//!
//! Functions are replaced, which waits for nobody; only a source table that is new, or is one no longer, has its lock taken. Blocks whose
//! text has changed are compared as a whole afterwards: a pending entry asks the worker for it.

use serde_json::json;

use crate::change::{ChangeFile, Direction, Stage};
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::primitives::ChangeName;
use crate::sql::model::{BlockModel, ChangeModel};
use crate::sql::names::own;
use crate::sql::pending::{WHOLE_BLOCK, Work};
use crate::sql::{effective, gap as gap_sql, postgres, sqlite};

use super::basis;
use super::cover::missing_on_postgres;
use super::error::TranslationError;
use super::file_history::FILE;
use super::install::{Step, refuse_second_allocation, with_lock_timeout};
use super::objects;
use super::overlap::refuse_overlaps;
use super::own::{
    BY_BLOCK, Deed, InstalledChange, create_missing_tables, get_change, is_table_there, lock_change, record,
};
use super::pause::{open_gap, switch, work};
use super::pending::enqueue;
use super::resolve::resolve;

/// Everything that `update` will run on the application's triggers and functions, in order.
pub fn update_plan(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    file: &ChangeFile,
) -> Result<Vec<Step>, TranslationError> {
    let change = get_change(connection, &model.name)?;
    let model = &basis::prepared(model);
    let mut steps = Vec::new();
    let mut add = |what: &str, statements: Vec<String>| {
        steps.extend(statements.into_iter().map(|sql| Step { what: what.to_owned(), sql }));
    };
    let gap = open_gap(connection, &model.name)?;
    match model.dialect {
        Dialect::Postgres => {
            let missing: Vec<String> =
                missing_on_postgres(connection, model)?.into_iter().map(|step| step.sql).collect();
            let (triggers, functions) = surplus_on_postgres(connection, model)?;
            add("triggers that the new file does not need", triggers);
            add("functions that the new file does not need, or needs with other parameters", functions);
            add("functions that refresh the rows of a block", postgres::block_functions(model));
            add("trigger functions", switch(model, change.stage, gap.as_ref())?);
            add("triggers", missing);
        }
        Dialect::Sqlite => {
            add("triggers and views of the file before", surplus_on_sqlite(connection, &model.name)?);
            add("views that refresh the rows of a block", sqlite::block_objects(model));
            add("triggers", switch(model, change.stage, gap.as_ref())?);
        }
    }
    if gap.is_some() {
        add("marks of what is written while paused", gap_sql::create(model));
    }
    let view = |file: &ChangeFile| {
        file.allocation.as_ref().map(|allocation| effective::create(model.dialect, &model.name, allocation))
    };
    if let Some(allocation) = file.allocation.as_ref().filter(|_| view(&change.file) == view(file)) {
        add("view of the effective allocation", effective::renew(model.dialect, &model.name, allocation));
    } else {
        add("view of the effective allocation", effective::drop(model.dialect));
        if let Some(allocation) = &file.allocation {
            add("view of the effective allocation", effective::create(model.dialect, &model.name, allocation));
        }
    }
    Ok(steps)
}

/// Puts `file` in the place of the installed file of the same name, all or nothing. The stage stays.
pub fn update(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    file: &ChangeFile,
    deed: Deed<'_>,
) -> Result<InstalledChange, TranslationError> {
    let before = get_change(connection, &model.name)?;
    let old = resolve(connection, &before.file).ok();
    let model = &basis::prepared(model);
    with_lock_timeout(connection, |connection| {
        let change = lock_change(connection, &model.name)?;
        if change.stage == Stage::Complete {
            return Err(TranslationError::WrongStage {
                name: change.name,
                stage: change.stage,
                what: "an update",
                remedy: "its translation has ended; install the file under another name",
            });
        }
        refuse_second_allocation(connection, model, file)?;
        refuse_overlaps(connection, model)?;
        create_missing_tables(connection)?;
        basis::prepare(connection, (old.as_ref(), model))?;
        let statements: Vec<String> = update_plan(connection, model, file)?.into_iter().map(|step| step.sql).collect();
        objects::make(connection, &model.name, &statements)?;
        objects::note_tables(connection, model)?;
        let sql = format!("UPDATE {} SET title = $1, file = $2 WHERE name = $3", own(model.dialect, "change"));
        let values = [file.title.as_str().into(), file.text.as_str().into(), model.name.as_str().into()];
        connection.execute(&sql, &values)?;
        let changed = note_changed_blocks(connection, (old.as_ref(), model), &change)?;
        let detail = json!({ "title": file.title, "changed_blocks": changed, FILE: file.text });
        record(connection, &model.name, deed, "update", &detail)?;
        get_change(connection, &model.name)
    })
}

/// Triggers, then functions, that the new model does not have.
fn surplus_on_postgres(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
) -> Result<(Vec<String>, Vec<String>), DatabaseError> {
    let mut wanted: Vec<(String, i64)> = Vec::new();
    let mut texts = postgres::block_functions(model);
    for direction in [Direction::Forward, Direction::Backward] {
        for trigger in postgres::triggers(model, direction) {
            let sql = "SELECT coalesce(to_regclass($1)::oid::int8, 0) AS id";
            let id = connection.get_row(sql, &[Value::from(trigger.table)])?.integer("id")?;
            wanted.push((trigger.name, id));
        }
        texts.extend(postgres::trigger_functions(model, direction, Work::Nothing));
    }
    let stem = model.stem();
    let sql = "SELECT tgname::text AS name, tgrelid::int8 AS id, tgrelid::regclass::text AS table_name FROM pg_trigger
               WHERE tgname ~ $1 AND NOT tgisinternal ORDER BY 1, 2";
    let pattern = format!("^changeover_{stem}_[12]_[fb]t[0-9]+_(insert|update|delete|truncate)$");
    let mut triggers = Vec::new();
    for row in connection.query(sql, &[Value::from(pattern.as_str())])? {
        let found = (row.text("name")?, row.integer("id")?);
        if !wanted.contains(&found) {
            triggers.push(format!("DROP TRIGGER IF EXISTS \"{}\" ON {}", found.0, row.text("table_name")?));
        }
    }
    let sql = "SELECT format('changeover.\"%s\"(%s)', proname, pg_get_function_arguments(oid)) AS head,
                      oid::regprocedure::text AS signature
               FROM pg_proc WHERE pronamespace = 'changeover'::regnamespace AND (proname ~ $1 OR proname ~ $2) ORDER BY 1";
    let of_blocks = format!("^{stem}_[fb][0-9]+_(apply|refresh|batch|record)$");
    let mut functions = Vec::new();
    for row in connection.query(sql, &[Value::from(pattern), Value::from(of_blocks)])? {
        let head = row.text("head")?;
        if !texts.iter().any(|text| text.contains(&head)) {
            functions.push(format!("DROP FUNCTION IF EXISTS {}", row.text("signature")?));
        }
    }
    Ok((triggers, functions))
}

fn surplus_on_sqlite(connection: &mut DatabaseConnection, change: &ChangeName) -> Result<Vec<String>, DatabaseError> {
    let triggers = connection.query(&gap_sql::triggers_by_name(Dialect::Sqlite, change), &[])?;
    let mut statements: Vec<String> = triggers.iter().map(|row| row.text("silence")).collect::<Result<_, _>>()?;
    // No underscore behind the block's number: that would be a block of another change, whose name begins as this one's.
    let sql = "SELECT name FROM sqlite_master WHERE type = 'view' AND name GLOB $1 AND name NOT GLOB $2";
    let stem = change.identifier();
    let values = [format!("changeover_{stem}_[fb][0-9]*"), format!("changeover_{stem}_[fb][0-9]*_*")].map(Value::from);
    for row in connection.query(sql, &values)? {
        statements.push(format!("DROP VIEW \"{}\"", row.text("name")?));
    }
    Ok(statements)
}

/// Asks for a whole comparison of the blocks whose text has changed; what was known of a block that is another one now is forgotten.
fn note_changed_blocks(
    connection: &mut DatabaseConnection,
    (old, new): (Option<&ChangeModel>, &ChangeModel),
    change: &InstalledChange,
) -> Result<Vec<String>, TranslationError> {
    let mut changed = Vec::new();
    for block in &new.blocks {
        let before = old.and_then(|old| old.blocks.iter().find(|candidate| candidate.id == block.id));
        if before.is_some_and(|before| fingerprint(before) == fingerprint(block)) {
            continue;
        }
        changed.push(block.label());
        let is_same = change.file.blocks.iter().any(|known| {
            let now = (&block.target.name, &block.driving.table.name);
            known.id == block.id && before.is_none_or(|before| (&before.target.name, &before.driving.table.name) == now)
        });
        forget(connection, change, &block.id.to_string(), !is_same)?;
        if is_same && work(change.stage, block.id.direction, None) != Work::Nothing {
            enqueue(connection, new, block, &[String::from(WHOLE_BLOCK)], "the block's text was changed")?;
        }
    }
    for gone in change.file.blocks.iter().filter(|known| !new.blocks.iter().any(|block| block.id == known.id)) {
        forget(connection, change, &gone.id.to_string(), true)?;
    }
    Ok(changed)
}

/// What a block computes, and into what. How errors are met does not matter.
fn fingerprint(block: &BlockModel) -> String {
    format!("{:?}", BlockModel { on_error: None, refusals: Default::default(), ..block.clone() })
}

/// Forgets what verifies found of a block, and if it is another block now, everything.
fn forget(
    connection: &mut DatabaseConnection,
    change: &InstalledChange,
    block: &str,
    everything: bool,
) -> Result<(), DatabaseError> {
    for table in BY_BLOCK {
        if (everything || table == "verification") && is_table_there(connection, table)? {
            let sql = format!("DELETE FROM {} WHERE change = $1 AND block = $2", own(connection.dialect(), table));
            connection.execute(&sql, &[Value::from(change.name.as_str()), Value::from(block)])?;
        }
    }
    Ok(())
}
