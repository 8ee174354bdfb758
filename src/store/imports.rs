//! All flags and cohorts as one document, and a document written over what is there: all of it, or nothing.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::cohorts::{self, Changes, Edit, StoredCohort};
use super::flags::{self, Deed, FlagWrite, StoredFlag};
use super::proposals::{Ask, ProposedWrite};
use super::protection::Authority;
use super::sorted_ids::SortedIds;
use super::{Origin, StoreError, cohort_generations, cohort_leaves, state};
use crate::database::DatabaseConnection;
use crate::flags::import::{Checked, CheckedCohort, Document, ImportedCohort};
use crate::flags::{CohortConditions, Difference, Flag, FlagDraft, differences};
use crate::primitives::{CohortName, FlagKey};

/// What an import does to one flag or cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportStep {
    Create,
    Replace,
    Unchanged,
}

impl ImportStep {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Unchanged => "unchanged",
        }
    }
}

/// One line of an import's plan.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PlanItem {
    /// `flag/new-player` or `cohort/beta`.
    pub subject: String,
    pub step: ImportStep,
    /// What differs from what is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Difference>,
    #[serde(skip)]
    base: Option<i64>,
}

/// What an import would do, cohorts before flags, each in the order in which it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub cohorts: Vec<PlanItem>,
    pub flags: Vec<PlanItem>,
}

impl Plan {
    /// Everything, cohorts first.
    pub fn items(&self) -> impl Iterator<Item = &PlanItem> {
        self.cohorts.iter().chain(&self.flags)
    }

    /// What it would overwrite.
    #[must_use]
    pub fn replaced(&self) -> Vec<String> {
        let replaced = self.items().filter(|item| item.step == ImportStep::Replace);
        replaced.map(|item| item.subject.clone()).collect()
    }
}

/// The flags with these keys (all, if none is named) and the cohorts that they name (all, if no key is named).
pub fn export(connection: &mut DatabaseConnection, keys: &[FlagKey]) -> Result<Document, StoreError> {
    let stored = match keys {
        [] => flags::all(connection)?,
        keys => keys.iter().map(|key| flags::get(connection, key)).collect::<Result<_, _>>()?,
    };
    let read: Vec<Flag> = stored.iter().map(StoredFlag::parse).collect::<Result<_, _>>()?;
    let named: BTreeSet<&str> = read.iter().flat_map(Flag::cohorts).map(|name| name.as_str()).collect();
    let mut cohorts = cohorts::all(connection)?;
    cohorts.retain(|cohort| keys.is_empty() || named.contains(cohort.name.as_str()));
    let cohorts = cohorts.iter().map(exported).collect::<Result<_, _>>()?;
    Ok(Document::of(read.iter().map(Flag::to_draft).collect::<Vec<FlagDraft>>(), cohorts))
}

fn exported(stored: &StoredCohort) -> Result<ImportedCohort, StoreError> {
    Ok(ImportedCohort {
        name: stored.name.clone(),
        description: stored.description.clone(),
        conditions: conditions(stored)?.into(),
    })
}

fn conditions(stored: &StoredCohort) -> Result<CohortConditions, StoreError> {
    CohortConditions::parse(&stored.conditions).map_err(|error| StoreError::Corrupt {
        what: "cohort",
        name: stored.name.clone(),
        reason: error.to_string(),
    })
}

/// What an import would do.
pub fn plan(connection: &mut DatabaseConnection, document: &Checked) -> Result<Plan, StoreError> {
    let cohorts = document.cohorts.iter().map(|cohort| plan_cohort(connection, cohort)).collect::<Result<_, _>>()?;
    let flags = document.flags.iter().map(|flag| plan_flag(connection, flag)).collect::<Result<_, _>>()?;
    Ok(Plan { cohorts, flags })
}

fn plan_flag(connection: &mut DatabaseConnection, flag: &Flag) -> Result<PlanItem, StoreError> {
    let stored = flags::find(connection, flag.key())?;
    let base = stored.as_ref().map(|stored| stored.version);
    // One that can't be read is one that differs.
    let same = stored.as_ref().is_some_and(|stored| stored.parse().is_ok_and(|stored| stored == *flag));
    let before = stored.as_ref().and_then(|stored| serde_json::from_str::<Value>(&stored.data).ok());
    let after = serde_json::to_value(flag).ok();
    let subject = format!("flag/{}", flag.key());
    Ok(item(subject, base, same, differences(before.as_ref(), after.as_ref())))
}

fn plan_cohort(connection: &mut DatabaseConnection, cohort: &CheckedCohort) -> Result<PlanItem, StoreError> {
    let stored = cohorts::find(connection, &cohort.name)?;
    let before = stored.as_ref().map(exported).transpose()?;
    let after = ImportedCohort {
        name: cohort.name.to_string(),
        description: cohort.description.clone(),
        conditions: cohort.conditions.clone().into(),
    };
    let same = before.as_ref() == Some(&after);
    let json = |cohort: &ImportedCohort| serde_json::to_value(cohort).ok();
    let changes = differences(before.as_ref().and_then(json).as_ref(), json(&after).as_ref());
    Ok(item(format!("cohort/{}", cohort.name), stored.map(|stored| stored.generation), same, changes))
}

fn item(subject: String, base: Option<i64>, same: bool, changes: Vec<Difference>) -> PlanItem {
    let step = match base {
        _ if same => ImportStep::Unchanged,
        Some(_) => ImportStep::Replace,
        None => ImportStep::Create,
    };
    let changes = if step == ImportStep::Replace { changes } else { Vec::new() };
    PlanItem { subject, step, changes, base }
}

/// A document that is to be written.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    pub document: &'a Checked,
    /// The ids of some of its cohorts.
    pub ids: &'a [(CohortName, SortedIds)],
    /// What is there and differs is overwritten.
    pub replace: bool,
}

/// Writes what the plan says. What would be overwritten is refused, unless `replace` allows it; what is the same is not written at all.
pub fn import(
    connection: &mut DatabaseConnection,
    incoming: Incoming<'_>,
    authority: Authority,
    origin: Origin<'_>,
) -> Result<Plan, StoreError> {
    state::lock(connection)?;
    let Incoming { document, ids, replace } = incoming;
    let plan = plan(connection, document)?;
    let replaced = plan.replaced();
    if !replace && !replaced.is_empty() {
        return Err(StoreError::WouldReplace(replaced.join("`, `")));
    }
    for (cohort, item) in document.cohorts.iter().zip(&plan.cohorts) {
        write_cohort(connection, cohort, item, origin)?;
    }
    // Before the flags: a flag that is new moves nobody, an id that comes into a cohort of one does.
    let mut alters_cohorts = plan.cohorts.iter().any(|item| item.step != ImportStep::Unchanged);
    for (name, ids) in ids {
        alters_cohorts |= write_ids(connection, (name, ids), replace, origin)?;
    }
    for (flag, item) in document.flags.iter().zip(&plan.flags) {
        let data = flags::json_of(flag)?;
        let write = match (item.step, item.base) {
            (ImportStep::Unchanged, _) => continue,
            (ImportStep::Create, _) => FlagWrite::Create(&data),
            (ImportStep::Replace, seen) => FlagWrite::Replace { data: &data, seen },
        };
        let deed = Deed { action: "flag.import", detail: Map::new(), authority };
        flags::write_as(connection, flag.key(), write, deed, origin).map_err(|error| {
            if alters_cohorts { error.without_ask() } else { error.with_ask(|| ask(document, &plan)) }
        })?;
    }
    Ok(plan)
}

/// The import as a proposal: all of its flags, if one of them takes two persons. A proposal holds flags only: who also brings cohorts is told
/// to bring them first.
fn ask(document: &Checked, plan: &Plan) -> Ask {
    let changed = document.flags.iter().zip(&plan.flags).filter(|(_, item)| item.step != ImportStep::Unchanged);
    let write = |(flag, item): (&Flag, &PlanItem)| ProposedWrite {
        key: flag.key().clone(),
        base: item.base,
        flag: Some(flag.clone()),
        action: String::from("flag.import"),
    };
    Ask { subject: String::from("import"), kind: String::from("flag.import"), writes: changed.map(write).collect() }
}

fn write_cohort(
    connection: &mut DatabaseConnection,
    cohort: &CheckedCohort,
    item: &PlanItem,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    if item.step == ImportStep::Unchanged {
        return Ok(());
    }
    if item.step == ImportStep::Create {
        cohorts::create(connection, &cohort.name, &cohort.description, origin)?;
        if cohort.conditions.is_empty() {
            return Ok(());
        }
    }
    let conditions = serde_json::to_string(&cohort.conditions).map_err(|error| StoreError::Corrupt {
        what: "cohort",
        name: cohort.name.to_string(),
        reason: error.to_string(),
    })?;
    let changes = Changes { description: Some(&cohort.description), conditions: Some(&conditions) };
    cohorts::describe(connection, &cohort.name, changes, None, origin).map(drop)
}

/// True if the ids were written: a cohort that has them already is left at its generation, and one that has others is overwritten only
/// if that is allowed.
fn write_ids(
    connection: &mut DatabaseConnection,
    (name, ids): (&CohortName, &SortedIds),
    replace: bool,
    origin: Origin<'_>,
) -> Result<bool, StoreError> {
    let current = cohorts::get(connection, name)?;
    let known = cohort_generations::as_of(connection, name, current.generation)?.and_then(|made| made.sha256);
    let known = match known {
        Some(sha256) => sha256,
        None => {
            let leaves = cohort_leaves::load(connection, name)?;
            SortedIds::of(leaves.iter().flat_map(|leaf| leaf.lines())).sha256().to_owned()
        }
    };
    if known == ids.sha256() {
        return Ok(false);
    }
    if current.id_count > 0 && !replace {
        return Err(StoreError::WouldReplace(format!("cohort/{name}")));
    }
    cohorts::edit(connection, name, Edit::Replace(ids), None, origin)?;
    Ok(true)
}
