//! Uploads that are kept aside: looked at first, then activated or dropped, perhaps by somebody else. They go by themselves after a week.

use diesel::prelude::*;
use serde_json::json;

use super::audit::{self, AuditEntry};
use super::cohort_merge::{self, Action, Comparison};
use super::schema::{cohort_upload_leaves as leaves, cohort_uploads as table};
use super::sorted_ids::{Feed, Pieces};
use super::upload::{Receipt, Upload};
use super::{Origin, StoreError, cohorts, new_id, now};
use crate::database::DatabaseConnection;
use crate::primitives::{CohortName, Instant};

/// Ids in a row.
const LEAF_IDS: usize = 4_096;
/// How long an upload waits.
const WAITS_MICROS: i64 = 7 * 86_400_000_000;

/// An upload that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    pub id: String,
    pub cohort: CohortName,
    /// The cohort's generation when it came.
    pub base_generation: i64,
    pub action: Action,
    pub id_count: i64,
    pub sha256: String,
    /// What was read; `added` and `removed` as they would have been when it came.
    pub receipt: Receipt,
    pub created_at: Instant,
    /// Who sent it.
    pub actor: String,
    pub reason: String,
    pub expires_at: Instant,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = table)]
struct Row {
    id: String,
    cohort: String,
    base_generation: i64,
    action: String,
    id_count: i64,
    sha256: String,
    receipt: String,
    created_at: i64,
    actor: String,
    reason: String,
    expires_at: i64,
}

/// Keeps an upload aside and says what it would do now. The cohort does not change.
pub fn stage(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    action: Action,
    upload: &Upload,
    origin: Origin<'_>,
) -> Result<Staged, StoreError> {
    let (receipt, _) = preview_upload(connection, name, action, upload)?;
    let at = now().as_micros();
    let row = Row {
        id: new_id()?,
        cohort: name.to_string(),
        base_generation: receipt.generation,
        action: action.as_str().to_owned(),
        id_count: i64::try_from(upload.ids.len()).unwrap_or(i64::MAX),
        sha256: upload.ids.sha256().to_owned(),
        receipt: serde_json::to_string(&receipt).unwrap_or_default(),
        created_at: at,
        actor: origin.actor.to_owned(),
        reason: origin.reason.to_owned(),
        expires_at: at.saturating_add(WAITS_MICROS),
    };
    diesel::insert_into(table::table).values(&row).execute(connection)?;
    write_leaves(connection, &row.id, Feed::new(upload.ids.pieces()?))?;
    let staged = Staged::of(row)?;
    record(connection, &staged, "cohort.stage", origin)?;
    Ok(staged)
}

/// The uploads that wait for a cohort, in the order in which they came.
pub fn list(connection: &mut DatabaseConnection, cohort: &CohortName) -> Result<Vec<Staged>, StoreError> {
    let rows: Vec<Row> = table::table
        .filter(table::cohort.eq(cohort.as_str()))
        .filter(table::expires_at.gt(now().as_micros()))
        .order(table::id.asc())
        .select(Row::as_select())
        .load(connection)?;
    rows.into_iter().map(Staged::of).collect()
}

/// One that waits, or an error that says there is none.
pub fn get(connection: &mut DatabaseConnection, cohort: &CohortName, id: &str) -> Result<Staged, StoreError> {
    let row: Option<Row> = table::table
        .find(id)
        .filter(table::cohort.eq(cohort.as_str()))
        .filter(table::expires_at.gt(now().as_micros()))
        .select(Row::as_select())
        .first(connection)
        .optional()?;
    row.map_or_else(|| Err(StoreError::not_found("staged upload", id)), Staged::of)
}

/// Who would come and who would go if it were activated now.
pub fn preview(connection: &mut DatabaseConnection, staged: &Staged) -> Result<Comparison, StoreError> {
    cohort_merge::preview(connection, &staged.cohort, staged.action, &mut feed(&staged.id))
}

/// What an upload that is kept nowhere would do: its receipt if it were served now, at the generation that there is.
pub fn preview_upload(
    connection: &mut DatabaseConnection,
    name: &CohortName,
    action: Action,
    upload: &Upload,
) -> Result<(Receipt, Comparison), StoreError> {
    let cohort = cohorts::get(connection, name)?;
    let comparison = cohort_merge::preview(connection, name, action, &mut Feed::new(upload.ids.pieces()?))?;
    let ids = u64::try_from(cohort.id_count).unwrap_or(0).saturating_add(comparison.added);
    let ids = ids.saturating_sub(comparison.removed);
    let counts = Receipt { generation: cohort.generation, ids, ..upload.receipt(name.as_str()) };
    Ok((Receipt { added: comparison.added, removed: comparison.removed, ..counts }, comparison))
}

/// Drops it.
pub fn drop_one(
    connection: &mut DatabaseConnection,
    cohort: &CohortName,
    id: &str,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let staged = get(connection, cohort, id)?;
    delete(connection, id)?;
    record(connection, &staged, "cohort.drop", origin)
}

/// Its ids one after the other.
pub(super) fn feed(id: &str) -> Feed<'_> {
    let mut after = String::new();
    Feed::new(Pieces::Rows(Box::new(move |connection| {
        let next: Option<(String, String)> = leaves::table
            .filter(leaves::upload.eq(id))
            .filter(leaves::first_id.gt(&after))
            .order(leaves::first_id.asc())
            .select((leaves::first_id, leaves::ids))
            .first(connection)
            .optional()?;
        Ok(next.map(|(first, ids)| {
            after = first;
            ids
        }))
    })))
}

pub(super) fn delete(connection: &mut DatabaseConnection, id: &str) -> Result<(), StoreError> {
    diesel::delete(table::table.find(id)).execute(connection)?;
    Ok(())
}

pub(super) fn delete_of(connection: &mut DatabaseConnection, cohort: &CohortName) -> Result<(), StoreError> {
    diesel::delete(table::table.filter(table::cohort.eq(cohort.as_str()))).execute(connection)?;
    Ok(())
}

fn write_leaves(connection: &mut DatabaseConnection, id: &str, mut feed: Feed<'_>) -> Result<(), StoreError> {
    loop {
        let (mut first, mut ids, mut count) = (String::new(), String::new(), 0);
        while count < LEAF_IDS {
            let Some(next) = feed.peek(connection)? else { break };
            if count == 0 {
                next.clone_into(&mut first);
            } else {
                ids.push('\n');
            }
            ids.push_str(next);
            feed.advance();
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        let values = (
            leaves::upload.eq(id),
            leaves::first_id.eq(first),
            leaves::id_count.eq(i64::try_from(count).unwrap_or(i64::MAX)),
            leaves::ids.eq(ids),
        );
        diesel::insert_into(leaves::table).values(values).execute(connection)?;
    }
}

impl Staged {
    fn of(row: Row) -> Result<Self, StoreError> {
        let corrupt = |reason: &str| StoreError::Corrupt {
            what: "staged upload",
            name: row.id.clone(),
            reason: reason.to_owned(),
        };
        let receipt: Receipt = serde_json::from_str(&row.receipt).map_err(|error| corrupt(&error.to_string()))?;
        let cohort = CohortName::new(&row.cohort).map_err(|error| corrupt(&error.to_string()))?;
        let action =
            Action::parse(&row.action).ok_or_else(|| corrupt("it is neither to replace nor to add nor to remove"))?;
        Ok(Self {
            cohort,
            base_generation: row.base_generation,
            action,
            id_count: row.id_count,
            sha256: row.sha256,
            receipt,
            created_at: Instant::from_micros(row.created_at),
            actor: row.actor,
            reason: row.reason,
            expires_at: Instant::from_micros(row.expires_at),
            id: row.id,
        })
    }
}

fn record(
    connection: &mut DatabaseConnection,
    staged: &Staged,
    action: &str,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let subject = format!("cohort/{}", staged.cohort);
    let detail =
        json!({ "staged": staged.id, "action": staged.action, "ids": staged.id_count, "sha256": staged.sha256 });
    let entry = AuditEntry { actor: origin.actor, action, subject: &subject, reason: origin.reason, detail };
    audit::append(connection, &entry)
}
