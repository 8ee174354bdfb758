//! Running a report on an installed change, storing it, finding it again and signing it; and the report on a change that is not
//! installed. The command line and the API both come through here.

use serde_json::json;

use super::document::{Basis, Beside, DeclaredLoss, Report, ReportError, SignOff, Subject};
use crate::change::{Block, ChangeFile, Loss};
use crate::database::{DatabaseConnection, DatabaseError};
use crate::primitives::{ChangeName, Instant, Period};
use crate::store::audit::{self, AuditEntry};
use crate::store::reports::{self, NewReport};
use crate::store::{self, Store, StoreError};
use crate::translation::compare::{CompareError, CompareRequest, Unwatched, compare};
use crate::translation::own::get_change;
use crate::translation::{InstalledChange, TranslationError};

/// How to run a report.
#[derive(Debug, Clone)]
pub struct RunOptions<'a> {
    /// Empty: all.
    pub periods: &'a [Period],
    pub as_of: Instant,
    pub actor: &'a str,
    /// How many exceptions to tell line by line.
    pub exceptions_max: usize,
    /// How many payers to tell for each currency.
    pub movers_max: usize,
}

impl RunOptions<'_> {
    pub const EXCEPTIONS_MAX: usize = 500;
    pub const MOVERS_MAX: usize = 15;
}

/// Why a report could not be run, found or signed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(
        "change `{0}` has no [allocation]: say in the change file which queries return charges and who pays them, then install it again"
    )]
    NoAllocation(ChangeName),
    #[error("there is no charge in {}: is the period right?", periods.join(", "))]
    NoCharges { periods: Vec<String> },
    #[error("there is no report `{0}`: `changeover report list CHANGE` lists them")]
    NotFound(String),
    #[error("the report was stopped before it was done: nothing is stored")]
    Stopped,
    #[error(transparent)]
    Translation(#[from] TranslationError),
    #[error(transparent)]
    Compare(#[from] CompareError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Compares an installed change's allocations as they are now, and stores the report with its audit row.
///
/// # Errors
/// A change that is not installed or has no allocation, a period without charges, and what [`compare`] refuses.
pub fn run(
    application: &mut DatabaseConnection,
    service: &Store,
    name: &ChangeName,
    options: &RunOptions<'_>,
) -> Result<Report, RunError> {
    let change = get_change(application, name)?;
    let allocation = change.file.allocation.as_ref().ok_or_else(|| RunError::NoAllocation(name.clone()))?;
    let periods = texts(options.periods);
    let comparison = compare(
        application,
        &CompareRequest {
            periods: &periods,
            closed_before: closed_before(&change),
            exceptions_max: options.exceptions_max,
            movers_max: options.movers_max,
            ..CompareRequest::of(allocation)
        },
        &mut Unwatched,
    )?
    .finished()
    .ok_or(RunError::Stopped)?;
    refuse_no_charges(&periods, comparison.charges())?;
    let versions = service.read(store::state::versions)?;
    let subject = Subject {
        configuration_version: Some(versions.config),
        basis: Basis::Installed { stage: change.stage.to_string() },
        ..subject(&change.file, options, periods)
    };
    let report = Report::new(subject, comparison, Beside::default())?;
    let id = insert(service, &report, options)?;
    Ok(report.with_id(&id))
}

/// Closed periods matter only to a change that leaves them alone.
fn closed_before(change: &InstalledChange) -> Option<&str> {
    let is_frozen = change.file.blocks.iter().any(|block| block.frozen.is_some());
    is_frozen.then_some(change.open_period.as_str())
}

/// Compares with what the change file's blocks would make of today's rows. Nothing is installed, and the report is not stored: it
/// proves nothing about the tables that a stage would stand on.
///
/// # Errors
/// As [`run`].
pub fn what_if(
    application: &mut DatabaseConnection,
    file: &ChangeFile,
    options: &RunOptions<'_>,
) -> Result<Report, RunError> {
    let allocation = file.allocation.as_ref().ok_or_else(|| RunError::NoAllocation(file.name.clone()))?;
    let periods = texts(options.periods);
    let request = CompareRequest {
        periods: &periods,
        use_effective_view: false,
        exceptions_max: options.exceptions_max,
        movers_max: options.movers_max,
        ..CompareRequest::of(allocation)
    };
    let comparison = crate::translation::what_if(application, file, &request, &mut Unwatched)?;
    let comparison = comparison.finished().ok_or(RunError::Stopped)?;
    refuse_no_charges(&periods, comparison.charges())?;
    Ok(Report::new(subject(file, options, periods), comparison, Beside::default())?)
}

fn texts(periods: &[Period]) -> Vec<String> {
    periods.iter().map(ToString::to_string).collect()
}

/// A period without any charge is a slip of the pen, and a report on it would be clean.
fn refuse_no_charges(periods: &[String], charges: u64) -> Result<(), RunError> {
    if charges == 0 && !periods.is_empty() {
        return Err(RunError::NoCharges { periods: periods.to_vec() });
    }
    Ok(())
}

fn subject(file: &ChangeFile, options: &RunOptions<'_>, periods: Vec<String>) -> Subject {
    Subject {
        change: file.name.clone(),
        title: file.title.clone(),
        file_sha256: store::sha256(&file.text),
        basis: Basis::WhatIf,
        configuration_version: None,
        as_of: options.as_of,
        periods,
        declared_losses: file.blocks.iter().flat_map(declared_losses).collect(),
    }
}

fn declared_losses(block: &Block) -> Vec<DeclaredLoss> {
    let loss = |loss: &Loss| DeclaredLoss {
        column: format!("{}.{}", block.into.value, loss.column),
        instead: loss.reason.clone(),
    };
    block.loss.iter().map(loss).collect()
}

fn insert(service: &Store, report: &Report, options: &RunOptions<'_>) -> Result<String, RunError> {
    let exceptions = report.data.comparison.exceptions_total;
    let new = NewReport {
        change: report.data.subject.change.clone(),
        periods: options.periods.to_vec(),
        as_of: options.as_of,
        clean: report.data.clean,
        exceptions: i64::try_from(exceptions).unwrap_or(i64::MAX),
        data: report.data_text()?,
        sha256: report.sha256.clone(),
    };
    let detail =
        json!({ "periods": options.periods, "clean": new.clean, "exceptions": exceptions, "sha256": new.sha256 });
    Ok(service.write(|connection| {
        let id = reports::insert(connection, &new)?;
        let entry = AuditEntry {
            actor: options.actor,
            action: "report.run",
            subject: &format!("report/{id}"),
            reason: "",
            detail: detail.clone(),
        };
        audit::append(connection, &entry)?;
        Ok(id)
    })?)
}

/// A stored report, held against its checksum.
///
/// # Errors
/// A report that was altered since it was stored, or has another format.
pub fn find(service: &Store, id: &str) -> Result<Option<Report>, RunError> {
    let Some(stored) = service.read(|connection| reports::find(connection, id))? else { return Ok(None) };
    let signatures = stored
        .signatures
        .iter()
        .map(|signature| SignOff {
            name: signature.name.clone(),
            role: signature.role.clone(),
            at: Instant::from_micros(signature.at),
        })
        .collect();
    Ok(Some(Report::from_stored(&stored.data, &stored.sha256, signatures)?.with_id(&stored.id)))
}

/// Records who vouches for a stored report, and returns it with all sign-offs. A report that does not match its checksum cannot be
/// signed.
///
/// # Errors
/// No such report, an altered one, and the same name and role twice.
pub fn sign(service: &Store, id: &str, name: &str, role: &str, at: Instant) -> Result<Report, RunError> {
    find(service, id)?.ok_or_else(|| RunError::NotFound(id.to_owned()))?;
    service.write(|connection| reports::sign(connection, id, name, role, at))?;
    find(service, id)?.ok_or_else(|| RunError::NotFound(id.to_owned()))
}
