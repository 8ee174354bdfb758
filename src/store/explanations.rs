//! Explanations of differences: who says that charges of a wrong class are as they should be. Every version is kept; one that is
//! withdrawn stays and counts no more.

use diesel::prelude::*;
use jiff::civil::Date;
use serde_json::json;

use super::audit::{self, AuditEntry};
use super::schema::{explanation_versions as versions, explanations as table};
use super::{Origin, Page, PageRequest, StoreError, new_id, now};
use crate::allocation::{ChargeClass, Explanation, Wording};
use crate::database::DatabaseConnection;
use crate::primitives::{ChangeName, Instant};

/// Charges that one explanation may name.
pub const CHARGES_MAX: usize = 1_000;
/// Explanations of a change that may be in force at once.
pub const IN_FORCE_MAX: usize = 500;
const TEXT_MAX: usize = 2_000;
const NAME_MAX: usize = 200;

/// An explanation as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredExplanation {
    pub id: String,
    pub change: String,
    pub version: i64,
    pub wording: Wording,
    pub created_at: Instant,
    pub created_by: String,
    pub updated_at: Instant,
    pub updated_by: String,
    pub withdrawn_at: Option<Instant>,
}

/// One version of an explanation; without a wording it was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplanationVersion {
    pub version: i64,
    pub wording: Option<Wording>,
    pub at: Instant,
    pub actor: String,
    pub reason: String,
}

/// Why a wording cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWording {
    #[error("`{0}` is fine as it is: only a wrong class takes an explanation")]
    FineClass(ChargeClass),
    #[error(
        "`reason_code` is 1 to 64 small letters, digits, `-`, `_` or `.`, such as legacy-import; it is `{}`",
        .0.chars().take(80).collect::<String>()
    )]
    ReasonCode(String),
    #[error("`{0}` is empty: say {1}")]
    Empty(&'static str, &'static str),
    #[error("`{0}` is longer than {1} characters")]
    Long(&'static str, usize),
    #[error("`max_count` is 0: say how many charges it may cover at most")]
    NoCount,
    #[error("`charges` names more than {CHARGES_MAX} charges: explain them by class and period instead")]
    ManyCharges,
    #[error("the explanation has expired on {0} already")]
    Expired(Date),
}

/// The wording with surrounding blanks taken off, if it may be stored.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn checked(mut wording: Wording, today: Date) -> Result<Wording, InvalidWording> {
    if !wording.class.is_wrong() {
        return Err(InvalidWording::FineClass(wording.class));
    }
    let is_code = |code: &str| {
        let is_sign = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        !code.is_empty() && code.len() <= 64 && code.chars().all(is_sign)
    };
    if !is_code(&wording.reason_code) {
        return Err(InvalidWording::ReasonCode(wording.reason_code));
    }
    for (name, text, max, wanted) in [
        ("text", &mut wording.text, TEXT_MAX, "why the charges are as they should be"),
        ("owner", &mut wording.owner, NAME_MAX, "who answers for it"),
    ] {
        *text = text.trim().to_owned();
        if text.is_empty() {
            return Err(InvalidWording::Empty(name, wanted));
        }
        if text.chars().count() > max {
            return Err(InvalidWording::Long(name, max));
        }
    }
    if wording.max_count == 0 {
        return Err(InvalidWording::NoCount);
    }
    wording.charges.sort();
    wording.charges.dedup();
    if wording.charges.len() > CHARGES_MAX {
        return Err(InvalidWording::ManyCharges);
    }
    if wording.expires < today {
        return Err(InvalidWording::Expired(wording.expires));
    }
    Ok(wording)
}

impl StoredExplanation {
    /// As comparisons apply it.
    #[must_use]
    pub fn explanation(&self) -> Explanation {
        Explanation { id: self.id.clone(), wording: self.wording.clone() }
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = table)]
struct Row {
    id: String,
    change_name: String,
    version: i64,
    data: String,
    created_at: i64,
    created_by: String,
    updated_at: i64,
    updated_by: String,
    withdrawn_at: Option<i64>,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = versions)]
struct VersionRow {
    id: String,
    version: i64,
    data: Option<String>,
    at: i64,
    actor: String,
    reason: String,
}

/// The explanation with this id, of this change.
pub fn get(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    id: &str,
) -> Result<StoredExplanation, StoreError> {
    let row: Option<Row> = table::table
        .filter(table::id.eq(id))
        .filter(table::change_name.eq(change.as_str()))
        .select(Row::as_select())
        .first(connection)
        .optional()?;
    row.map(stored).transpose()?.ok_or_else(|| StoreError::not_found("explanation", id))
}

/// A page of a change's explanations, the newest first, withdrawn ones among them.
pub fn list(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    request: &PageRequest,
) -> Result<Page<StoredExplanation>, StoreError> {
    // `~` sorts after every hexadecimal digit.
    let before = request.after.as_deref().unwrap_or("~");
    let rows: Vec<Row> = table::table
        .filter(table::change_name.eq(change.as_str()))
        .filter(table::id.lt(before))
        .order(table::id.desc())
        .limit(request.rows())
        .select(Row::as_select())
        .load(connection)?;
    let found = rows.into_iter().map(stored).collect::<Result<_, _>>()?;
    Ok(Page::cut(found, request, |one: &StoredExplanation| one.id.clone()))
}

/// Those of a change that have not been withdrawn, by id: expired ones too, so that a report can say so.
pub fn in_force(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
) -> Result<Vec<StoredExplanation>, StoreError> {
    let rows: Vec<Row> = table::table
        .filter(table::change_name.eq(change.as_str()))
        .filter(table::withdrawn_at.is_null())
        .order(table::id.asc())
        .select(Row::as_select())
        .load(connection)?;
    rows.into_iter().map(stored).collect()
}

/// Every version of an explanation, the oldest first.
pub fn history(connection: &mut DatabaseConnection, id: &str) -> Result<Vec<ExplanationVersion>, StoreError> {
    let rows: Vec<VersionRow> = versions::table
        .filter(versions::id.eq(id))
        .order(versions::version.asc())
        .select(VersionRow::as_select())
        .load(connection)?;
    let version = |row: VersionRow| {
        Ok(ExplanationVersion {
            version: row.version,
            wording: row.data.map(|data| read(&row.id, &data)).transpose()?,
            at: Instant::from_micros(row.at),
            actor: row.actor,
            reason: row.reason,
        })
    };
    rows.into_iter().map(version).collect()
}

/// Stores a new explanation.
pub fn create(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    wording: &Wording,
    origin: Origin<'_>,
) -> Result<StoredExplanation, StoreError> {
    if in_force(connection, change)?.len() >= IN_FORCE_MAX {
        return Err(StoreError::TooMany { what: "explanations", max: IN_FORCE_MAX, remedy: "withdraw some first" });
    }
    let at = now().as_micros();
    let row = Row {
        id: new_id()?,
        change_name: change.to_string(),
        version: 1,
        data: json!(wording).to_string(),
        created_at: at,
        created_by: origin.actor.to_owned(),
        updated_at: at,
        updated_by: origin.actor.to_owned(),
        withdrawn_at: None,
    };
    diesel::insert_into(table::table).values(&row).execute(connection)?;
    let kept = stored(row)?;
    note(connection, &kept, ("explanation.create", Some(wording)), origin)?;
    Ok(kept)
}

/// Words an explanation anew.
pub fn replace(
    connection: &mut DatabaseConnection,
    before: &StoredExplanation,
    wording: &Wording,
    origin: Origin<'_>,
) -> Result<StoredExplanation, StoreError> {
    step(connection, before, Some(wording), origin)
}

/// Takes an explanation back: it counts no more, and stays readable.
pub fn withdraw(
    connection: &mut DatabaseConnection,
    before: &StoredExplanation,
    origin: Origin<'_>,
) -> Result<StoredExplanation, StoreError> {
    step(connection, before, None, origin)
}

/// The explanation as it is now, if it may be changed by somebody who saw this version.
pub fn get_seen(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    id: &str,
    seen: Option<i64>,
) -> Result<StoredExplanation, StoreError> {
    let found = get(connection, change, id)?;
    if let Some(seen) = seen.filter(|seen| *seen != found.version) {
        return Err(StoreError::Stale { what: "explanation", name: id.to_owned(), seen, current: found.version });
    }
    if found.withdrawn_at.is_some() {
        return Err(StoreError::not_found("explanation in force", id));
    }
    Ok(found)
}

fn step(
    connection: &mut DatabaseConnection,
    before: &StoredExplanation,
    wording: Option<&Wording>,
    origin: Origin<'_>,
) -> Result<StoredExplanation, StoreError> {
    let at = now().as_micros();
    let data = json!(wording.unwrap_or(&before.wording)).to_string();
    let changed =
        diesel::update(table::table.filter(table::id.eq(&before.id)).filter(table::version.eq(before.version)))
            .set((
                table::version.eq(before.version + 1),
                table::data.eq(data),
                table::updated_at.eq(at),
                table::updated_by.eq(origin.actor),
                table::withdrawn_at.eq(wording.is_none().then_some(at)),
            ))
            .execute(connection)?;
    let row: Row = table::table.find(&before.id).select(Row::as_select()).first(connection)?;
    let after = stored(row)?;
    if changed == 0 {
        let (name, seen) = (before.id.clone(), before.version);
        return Err(StoreError::Stale { what: "explanation", name, seen, current: after.version });
    }
    let action = if wording.is_some() { "explanation.replace" } else { "explanation.withdraw" };
    note(connection, &after, (action, wording), origin)?;
    Ok(after)
}

/// The version's row and the audit row of a write.
fn note(
    connection: &mut DatabaseConnection,
    after: &StoredExplanation,
    (action, wording): (&str, Option<&Wording>),
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let row = VersionRow {
        id: after.id.clone(),
        version: after.version,
        data: wording.map(|wording| json!(wording).to_string()),
        at: after.updated_at.as_micros(),
        actor: origin.actor.to_owned(),
        reason: origin.reason.to_owned(),
    };
    diesel::insert_into(versions::table).values(&row).execute(connection)?;
    let subject = format!("explanation/{}", after.id);
    let detail = json!({ "change": after.change, "version": after.version, "wording": after.wording });
    audit::append(
        connection,
        &AuditEntry { actor: origin.actor, action, subject: &subject, reason: origin.reason, detail },
    )
}

fn stored(row: Row) -> Result<StoredExplanation, StoreError> {
    Ok(StoredExplanation {
        wording: read(&row.id, &row.data)?,
        id: row.id,
        change: row.change_name,
        version: row.version,
        created_at: Instant::from_micros(row.created_at),
        created_by: row.created_by,
        updated_at: Instant::from_micros(row.updated_at),
        updated_by: row.updated_by,
        withdrawn_at: row.withdrawn_at.map(Instant::from_micros),
    })
}

fn read(id: &str, data: &str) -> Result<Wording, StoreError> {
    serde_json::from_str(data).map_err(|error| StoreError::Corrupt {
        what: "explanation",
        name: id.to_owned(),
        reason: error.to_string(),
    })
}
