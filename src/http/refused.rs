//! What the layers below refuse, as problems.

use super::problem::{Code, Problem};
use crate::report::RunError;
use crate::routing::{RoutingError, StageError};
use crate::store::protection::Protected;
use crate::translation::TranslationError;
use crate::translation::compare::CompareError;
use crate::translation::writes::{Refusal, WriteError};

impl From<Protected> for Problem {
    fn from(error: Protected) -> Self {
        let code = match error {
            Protected::ReasonRequired { .. } => Code::ReasonRequired,
            Protected::SecondPerson { .. } => Code::SecondPersonNeeded,
            Protected::OwnProposal { .. } => Code::OwnProposal,
            Protected::Closed { .. } => Code::ProposalClosed,
            Protected::Override { .. } => Code::OverrideNeeded,
            Protected::Exposure { .. } => Code::ExposureLimit,
        };
        told(code, &error).with_retry_after(error.retry_after_s())
    }
}

impl From<TranslationError> for Problem {
    fn from(error: TranslationError) -> Self {
        use TranslationError as E;
        let code = match &error {
            E::NotInstalled { .. } => Code::ChangeNotFound,
            E::NoBlock(_) => Code::InvalidValue,
            E::AlreadyInstalled(_)
            | E::SecondAllocation { .. }
            | E::Overlap { .. }
            | E::NoStep { .. }
            | E::WrongStage { .. }
            | E::PeriodsStayClosed { .. }
            | E::AssignmentsRecorded { .. }
            | E::Locked { .. }
            | E::Paused { .. }
            | E::KeysPending { .. }
            | E::NotPaused(_)
            | E::WritersOpen { .. }
            | E::PassOvertaken { .. }
            | E::Unsupported(_) => Code::Refused,
            E::Mistakes(_) | E::StoredFile { .. } | E::StoredStage { .. } | E::Rewrite(_) | E::Beside(_) => {
                Code::Internal
            }
            E::Database(_) => return database(error),
        };
        told(code, &error)
    }
}

fn database(error: TranslationError) -> Problem {
    match error {
        TranslationError::Database(error) => error.into(),
        other => Problem::internal(&other),
    }
}

impl From<RoutingError> for Problem {
    fn from(error: RoutingError) -> Self {
        use RoutingError as E;
        let code = match error {
            E::Database(error) => return error.into(),
            E::Translation(error) => return error.into(),
            E::NotInstalled(_) | E::NoneInstalled | E::SeveralInstalled { .. } => Code::ChangeNotFound,
            E::UnknownSide(_)
            | E::InvalidGroup
            | E::NoReason
            | E::Period { .. }
            | E::TooManyGroups { .. }
            | E::UnknownUser { .. } => Code::InvalidValue,
            E::NoAllocation(_)
            | E::NoGroupOfUser(_)
            | E::NoUserParameter(_)
            | E::UserType { .. }
            | E::StageBeforeLive { .. }
            | E::PeriodClosed { .. }
            | E::FlagMissing { .. }
            | E::FlagVariants { .. }
            | E::Evaluation { .. }
            | E::NothingToInherit { .. }
            | E::ChargeInTwoGroups { .. } => Code::Refused,
            E::GroupOfUser { .. } | E::Corrupt { .. } | E::Shared(_) => Code::Internal,
        };
        told(code, &error)
    }
}

impl From<StageError> for Problem {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Translation(error) => error.into(),
            StageError::Store(error) => error.into(),
            StageError::ForceWithoutReason => {
                Self::new(Code::InvalidValue, "`force` needs a `reason`: say why the gates may be passed.")
            }
        }
    }
}

impl From<RunError> for Problem {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Translation(error) | RunError::Compare(CompareError::Translation(error)) => error.into(),
            RunError::Store(error) => error.into(),
            RunError::Database(error) | RunError::Compare(CompareError::Database(error)) => error.into(),
            RunError::Period { .. } => told(Code::InvalidValue, &error),
            RunError::NotFound(_) => told(Code::ReportNotFound, &error),
            RunError::NoSuchCharge { .. } => told(Code::ChargeNotFound, &error),
            RunError::NoAllocation(_) | RunError::NoCharges { .. } | RunError::NotClean { .. } | RunError::Stopped => {
                told(Code::Refused, &error)
            }
            RunError::Compare(
                CompareError::Faults { .. } | CompareError::MissingColumn { .. } | CompareError::ScaleOnSqlite,
            ) => told(Code::Refused, &error),
            RunError::Compare(
                CompareError::Query { .. } | CompareError::Unreadable { .. } | CompareError::NotKept(_),
            )
            | RunError::Compare(CompareError::Spill(_))
            | RunError::Report(_) => Self::internal(&error),
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Translation(error) => error.into(),
            WriteError::Database(error) => error.into(),
            WriteError::Json(error) => Self::new(Code::InvalidJson, format!("{error}.")),
            WriteError::Busy { .. } => {
                tracing::warn!(%error, "a write was given up");
                told(Code::Busy, &error)
            }
            WriteError::Refused { refusal, ref faults } => {
                let faults = faults.clone();
                told(code_of(refusal), &error).with_faults(faults)
            }
        }
    }
}

fn code_of(refusal: Refusal) -> Code {
    match refusal {
        Refusal::Invalid => Code::InvalidWrite,
        Refusal::TooLarge => Code::TooLarge,
        Refusal::Stage => Code::Refused,
        Refusal::RowNotFound => Code::RowNotFound,
        Refusal::RowDiffers => Code::RowDiffers,
        Refusal::Unique => Code::UniqueViolation,
        Refusal::ForeignKey => Code::ForeignKeyViolation,
        Refusal::Constraint => Code::ConstraintViolation,
        Refusal::Database => Code::RefusedByDatabase,
        Refusal::Translation => Code::TranslationFailed,
        Refusal::Untranslated => Code::Untranslated,
        Refusal::KeyReused => Code::IdempotencyKeyReused,
        Refusal::KeyInFlight => Code::IdempotencyKeyInFlight,
    }
}

fn told(code: Code, error: &dyn std::fmt::Display) -> Problem {
    if code == Code::Internal { Problem::internal(error) } else { Problem::new(code, format!("{error}.")) }
}
