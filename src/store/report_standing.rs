//! Whether what was signed still counts: a report that was altered, that another report has overtaken, or that was made for another change
//! file or another cohort, has lost its sign-off.

use diesel::prelude::*;

use super::reports::{self, Report};
use super::schema::reports as table;
use super::{StoreError, cohorts, flags, sha256};
use crate::database::DatabaseConnection;
use crate::primitives::{ChangeName, CohortName, FlagKey, Instant};

/// What a report's sign-off is held against: the change as it is installed now.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    pub change: &'a ChangeName,
    /// Sha-256 of the installed change file, in hexadecimal.
    pub file_sha256: &'a str,
    pub flag: &'a FlagKey,
}

/// Why a report's sign-offs count no more, in words that follow the report's name; empty: they count.
pub fn faults(connection: &mut DatabaseConnection, report: &Report, now: Now<'_>) -> Result<Vec<String>, StoreError> {
    let mut faults = Vec::new();
    if !report.data.is_empty() && (sha256(&report.data) != report.sha256 || !is_told_by_its_data(report)) {
        faults.push(String::from("was altered since it was stored"));
    }
    if report.signatures.iter().any(|signature| !signature.sha256.is_empty() && signature.sha256 != report.sha256) {
        faults.push(String::from("is not what was signed"));
    }
    if let Some(rejected) = report.signatures.iter().find(|signature| !signature.approves) {
        faults.push(format!("was rejected by {} ({})", rejected.name, rejected.role));
    }
    if !report.file_sha256.is_empty() && report.file_sha256 != now.file_sha256 {
        faults.push(String::from("was made with another version of the change file"));
    }
    if let Some((cohort, at)) = cohort_changed_at(connection, now.flag)?
        && report.as_of < at
    {
        faults.push(format!("is older than the last change of the cohort `{cohort}`, {at}"));
    }
    if let Some(newer) = newer_with_differences(connection, report)? {
        faults.push(format!("was overtaken by report {newer}, which has differences that nobody explains"));
    }
    Ok(faults)
}

/// True if what is stored beside a report's data, where lists and gates read it, is what the data say.
fn is_told_by_its_data(report: &Report) -> bool {
    #[derive(serde::Deserialize)]
    struct Told {
        clean: bool,
        as_of: Instant,
        periods: Vec<String>,
        file_sha256: String,
    }
    serde_json::from_str::<Told>(&report.data).is_ok_and(|told| {
        told.clean == report.clean
            && told.as_of == report.as_of
            && told.periods == report.periods
            && (report.file_sha256.is_empty() || told.file_sha256 == report.file_sha256)
    })
}

/// The cohort of a flag's rules that was changed last, and when.
pub fn cohort_changed_at(
    connection: &mut DatabaseConnection,
    flag: &FlagKey,
) -> Result<Option<(CohortName, Instant)>, StoreError> {
    let Some(flag) = flags::find(connection, flag)? else { return Ok(None) };
    let mut last: Option<(CohortName, Instant)> = None;
    for name in cohorts_of(&flag.data) {
        let Some(cohort) = cohorts::find(connection, &name)? else { continue };
        let at = cohort.updated_at();
        if last.as_ref().is_none_or(|(_, latest)| *latest < at) {
            last = Some((name, at));
        }
    }
    Ok(last)
}

/// The cohorts that a flag's rules name.
fn cohorts_of(flag: &str) -> Vec<CohortName> {
    let Ok(flag) = serde_json::from_str::<serde_json::Value>(flag) else { return Vec::new() };
    let rules = flag.get("rules").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let named = |rule: &serde_json::Value| {
        ["cohort", "except_cohort"].map(|key| rule.get(key).and_then(serde_json::Value::as_str).map(str::to_owned))
    };
    rules.iter().flat_map(named).flatten().filter_map(|name| CohortName::new(&name).ok()).collect()
}

/// A later report of the same change, on all that this one covers, that is not clean.
fn newer_with_differences(connection: &mut DatabaseConnection, report: &Report) -> Result<Option<String>, StoreError> {
    let newer: Vec<(String, String)> = table::table
        .filter(table::change_name.eq(&report.change))
        .filter(table::as_of.gt(report.as_of.as_micros()))
        .filter(table::clean.eq(false))
        .order(table::as_of.desc())
        .limit(50)
        .select((table::id, table::periods))
        .load(connection)?;
    for (id, periods) in newer {
        let periods: Vec<String> = serde_json::from_str(&periods).unwrap_or_default();
        let overlaps = periods.is_empty()
            || report.periods.is_empty()
            || periods.iter().any(|period| report.periods.contains(period));
        // One that was made after it and is overtaken itself by a clean one says nothing any more.
        if overlaps && !is_mended(connection, report, &id)? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// True if a clean report of the same change came after the one with this id.
fn is_mended(connection: &mut DatabaseConnection, report: &Report, id: &str) -> Result<bool, StoreError> {
    let Some(unclean) = reports::find(connection, id)? else { return Ok(true) };
    let later: Vec<String> = table::table
        .filter(table::change_name.eq(&report.change))
        .filter(table::as_of.gt(unclean.as_of.as_micros()))
        .filter(table::clean.eq(true))
        .select(table::periods)
        .load(connection)?;
    Ok(later.iter().any(|periods| {
        let periods: Vec<String> = serde_json::from_str(periods).unwrap_or_default();
        periods.is_empty()
            || unclean.periods.iter().all(|period| periods.contains(period)) && !unclean.periods.is_empty()
    }))
}
