//! Running a report on an installed change, storing it, finding it again and signing it; and the report on a change that is not
//! installed. The command line and the API both come through here.

use serde_json::json;

use super::document::{Basis, Beside, DeclaredLoss, Report, ReportError, SignOff, Subject, TrendPoint};
use super::keeping::{Keeper, Telling, exceptions_sha256};
use super::observed::Observed;
use crate::change::{Block, ChangeFile, Loss};
use crate::database::{DatabaseConnection, DatabaseError, DatabaseUrl};
use crate::primitives::{ChangeName, Instant, NoPeriod, Period};
use crate::store::audit::{self, AuditEntry};
use crate::store::explanations::{self, StoredExplanation};
use crate::store::observations;
use crate::store::report_standing::{self, Now};
use crate::store::reports::{self, NewReport, Word};
use crate::store::{self, PageRequest, Store, StoreError, report_exceptions};
use crate::translation::compare::{CompareError, CompareRequest, Compared, Unwatched, compare};
use crate::translation::own::get_change;
use crate::translation::{InstalledChange, TranslationError};

/// Earlier reports that a report shows.
const TREND_MAX: i64 = 30;

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
    /// An earlier report's id: what is unchanged since is taken over, and the report says what differs.
    pub since: Option<&'a str>,
    /// True: keep checksums, so that a later report since this one reads only what has changed.
    pub checksums: bool,
    /// Where the comparison may open a second connection to the database that it reads, to be faster (PostgreSQL only).
    pub beside: Option<&'a DatabaseUrl>,
    /// The id that the report will have: a run that died with it is gone on with. Nothing: a new one.
    pub id: Option<&'a str>,
}

impl<'a> RunOptions<'a> {
    /// A report on all periods, as of an instant.
    #[must_use]
    pub fn of(as_of: Instant, actor: &'a str) -> Self {
        Self {
            periods: &[],
            as_of,
            actor,
            exceptions_max: Self::EXCEPTIONS_MAX,
            movers_max: Self::MOVERS_MAX,
            since: None,
            checksums: false,
            beside: None,
            id: None,
        }
    }

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
    #[error(
        "report `{id}` has differences that nobody explains ({unexplained} charges): explain them and run it again, or reject it"
    )]
    NotClean { id: String, unexplained: u64 },
    #[error("change `{change}`: {source}")]
    Period {
        change: ChangeName,
        #[source]
        source: NoPeriod,
    },
    #[error("there is no report `{0}`: `changeover report list CHANGE` lists them")]
    NotFound(String),
    #[error(
        "change `{change}` has no charge `{charge_id}`: no query of [allocation] returns it, and no closed period has recorded it"
    )]
    NoSuchCharge { change: ChangeName, charge_id: String },
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

/// Compares an installed change's allocations as they are now, and stores the report with its audit row. `tell` is told how far it is, in
/// charges, and stops it by false; then nothing of it stays, but to a run with the same id.
///
/// # Errors
/// A change that is not installed or has no allocation, a period without charges, what [`compare`] refuses, and [`RunError::Stopped`].
pub fn run(
    application: &mut DatabaseConnection,
    service: &Store,
    name: &ChangeName,
    options: &RunOptions<'_>,
    tell: Telling<'_>,
) -> Result<Report, RunError> {
    let change = get_change(application, name)?;
    let allocation = change.file.allocation.as_ref().ok_or_else(|| RunError::NoAllocation(name.clone()))?;
    check_periods(&change.file, options)?;
    let mut beside = beside(service, name, options)?;
    let asked: Vec<String> = beside.explanations.iter().flat_map(|one| one.wording.charges.iter().cloned()).collect();
    let periods = texts(options.periods);
    let id = match options.id {
        Some(id) => id.to_owned(),
        None => report_exceptions::new_report_id()?,
    };
    let request = CompareRequest {
        periods: &periods,
        closed_before: closed_before(&change),
        closed_of: Some(name),
        exceptions_max: options.exceptions_max,
        movers_max: options.movers_max,
        asked_charges: &asked,
        checksums: options.checksums || options.since.is_some(),
        beside: options.beside,
        ..CompareRequest::of(allocation)
    };
    let compared =
        compare(application, &request, &mut Keeper { store: service, id: &id, earlier: options.since, tell });
    let comparison = match compared.map(Compared::finished) {
        Ok(Some(comparison)) => comparison,
        ended => {
            if options.id.is_none() {
                service.write(|connection| report_exceptions::forget(connection, &id))?;
            }
            ended?;
            return Err(RunError::Stopped);
        }
    };
    refuse_no_charges(&periods, comparison.charges())?;
    beside.exceptions_sha256 = Some(exceptions_sha256(service, &id)?);
    let versions = service.read(store::state::versions)?;
    let subject = Subject {
        configuration_version: Some(versions.config),
        basis: Basis::Installed { stage: change.stage.to_string() },
        ..subject(&change.file, options, periods)
    };
    let report = Report::new(subject, comparison, beside)?;
    insert(service, &id, &report, options)?;
    Ok(report.with_id(&id))
}

/// What the store knows beside the comparison: explanations, the report to compare with, earlier reports.
fn beside(service: &Store, name: &ChangeName, options: &RunOptions<'_>) -> Result<Beside, RunError> {
    let earlier = match options.since {
        None => None,
        Some(id) => {
            let found = find(service, id)?.filter(|report| report.data.subject.change == *name);
            Some(found.ok_or_else(|| RunError::NotFound(id.to_owned()))?)
        }
    };
    let (explanations, before, observed) = service.read(|connection| {
        let explanations = explanations::in_force(connection, name)?;
        let before = reports::before(connection, name, options.as_of, TREND_MAX)?;
        Ok((explanations, before, observations::summaries(connection, name, options.as_of)?))
    })?;
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let point = |report: reports::Report| TrendPoint {
        as_of: report.as_of,
        sha256: report.sha256,
        clean: report.clean,
        exceptions: count(report.exceptions),
        unexplained: count(report.unexplained),
    };
    Ok(Beside {
        explanations: explanations.iter().map(StoredExplanation::explanation).collect(),
        earlier,
        trend: before.into_iter().map(point).collect(),
        observations: observed.into_iter().map(Observed::from).collect(),
        exceptions_sha256: None,
    })
}

/// Closed periods matter only to a change that leaves them alone.
pub(super) fn closed_before(change: &InstalledChange) -> Option<&str> {
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
    check_periods(file, options)?;
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

/// A change that only moves rows has no periods of its own.
fn check_periods(file: &ChangeFile, options: &RunOptions<'_>) -> Result<(), RunError> {
    if !file.is_routed() {
        return Ok(());
    }
    let refused = |source| RunError::Period { change: file.name.clone(), source };
    options.periods.iter().try_for_each(|period| file.routing.period.check(*period).map_err(refused))
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

fn insert(service: &Store, id: &str, report: &Report, options: &RunOptions<'_>) -> Result<(), RunError> {
    let exceptions = report.data.comparison.exceptions_total;
    let new = NewReport {
        id: id.to_owned(),
        change: report.data.subject.change.clone(),
        periods: options.periods.to_vec(),
        as_of: options.as_of,
        clean: report.data.clean,
        exceptions: i64::try_from(exceptions).unwrap_or(i64::MAX),
        unexplained: i64::try_from(report.data.unexplained_total).unwrap_or(i64::MAX),
        file_sha256: report.data.subject.file_sha256.clone(),
        data: report.data_text()?,
        sha256: report.sha256.clone(),
    };
    let detail =
        json!({ "periods": options.periods, "clean": new.clean, "exceptions": exceptions, "sha256": new.sha256 });
    Ok(service.write(|connection| {
        reports::insert(connection, &new)?;
        report_exceptions::prune(connection)?;
        let entry = AuditEntry {
            actor: options.actor,
            action: "report.run",
            subject: &format!("report/{id}"),
            reason: "",
            detail: detail.clone(),
        };
        audit::append(connection, &entry)
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
            approves: signature.approves,
            comment: signature.comment.clone(),
        })
        .collect();
    Ok(Some(Report::from_stored(&stored.data, &stored.sha256, signatures)?.with_id(&stored.id)))
}

/// Records what somebody says of a stored report, and returns it with all sign-offs. A report that does not match its checksum cannot be
/// signed, and one with differences that nobody explains only be rejected.
///
/// # Errors
/// No such report, an altered one, one that is not clean, and the same name and role twice.
pub fn sign(service: &Store, id: &str, word: Word<'_>) -> Result<Report, RunError> {
    let report = find(service, id)?.ok_or_else(|| RunError::NotFound(id.to_owned()))?;
    if word.approves && !report.data.clean {
        return Err(RunError::NotClean { id: id.to_owned(), unexplained: report.data.unexplained_total });
    }
    service.write(|connection| reports::sign(connection, id, word))?;
    find(service, id)?.ok_or_else(|| RunError::NotFound(id.to_owned()))
}

/// The id of the report that `text` names: an id, or `last`.
///
/// # Errors
/// There is no such report on this change.
pub fn earlier(service: &Store, change: &ChangeName, text: &str) -> Result<String, RunError> {
    let missing = || RunError::NotFound(text.to_owned());
    if text == "last" {
        let request = PageRequest { after: None, limit: Some(1) };
        let page = service.read(|connection| reports::list(connection, change, &request))?;
        return page.items.into_iter().next().map(|report| report.id).ok_or_else(missing);
    }
    let found = service.read(|connection| reports::find(connection, text))?;
    found.filter(|report| report.change == change.as_str()).map(|report| report.id).ok_or_else(missing)
}

/// A stored report, and why its sign-offs count no more.
///
/// # Errors
/// There is no such report on this change.
pub fn standing(
    service: &Store,
    change: &InstalledChange,
    id: &str,
) -> Result<(reports::Report, Vec<String>), RunError> {
    let file_sha256 = store::sha256(&change.file.text);
    let now = Now { change: &change.name, file_sha256: &file_sha256, flag: &change.file.routing.flag };
    let found = service.read(|connection| {
        let Some(report) = reports::find(connection, id)? else { return Ok(None) };
        let faults = report_standing::faults(connection, &report, now)?;
        Ok(Some((report, faults)))
    })?;
    found.filter(|(report, _)| report.change == change.name.as_str()).ok_or_else(|| RunError::NotFound(id.to_owned()))
}
