//! What can go wrong in the store.

use super::proposals::Ask;
use super::protection::Protected;
use crate::database::DatabaseError;
use crate::edge::{InvalidMaintenance, InvalidSettings as InvalidEdge};
use crate::flags::{InvalidFlag, ShareError};
use crate::worker_gates::InvalidSettings;

/// An error of the store. `what` is a word such as `flag`, `name` the key that the caller gave.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("there is no {what} `{name}`")]
    NotFound { what: &'static str, name: String },
    #[error("the {what} `{name}` exists already")]
    Exists { what: &'static str, name: String },
    #[error("the {what} `{name}` has changed meanwhile: you saw version {seen}, it is at version {current}")]
    Stale { what: &'static str, name: String, seen: i64, current: i64 },
    #[error("the cohort `{name}` is used by the flag `{flag}`: change that flag first")]
    InUse { name: String, flag: String },
    #[error("the flag `{name}` is a prerequisite of the flag `{flag}`: change that flag first")]
    FlagInUse { name: String, flag: String },
    #[error("{of} has no version {version}")]
    NoSuchVersion { of: String, version: i64 },
    #[error("version {version} of the flag `{flag}` is its removal: restore a version before it")]
    RemovedThen { flag: String, version: i64 },
    /// A flag that is to be written is not valid, or not any more.
    #[error(transparent)]
    InvalidFlag(#[from] InvalidFlag),
    /// A rollout cannot take the step that is asked for.
    #[error(transparent)]
    Share(#[from] ShareError),
    #[error("the stored {what} `{name}` cannot be read: {reason}")]
    Corrupt { what: &'static str, name: String, reason: String },
    #[error("migration {version} of the service's tables failed")]
    Migration {
        version: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "the service's tables are at migration {0}, which this program does not know: it is older than the database. \
         Run the newer program"
    )]
    NewerSchema(String),
    #[error(transparent)]
    Protected(#[from] Protected),
    #[error("generation {generation} of the cohort `{name}` is no longer kept: only its counts are")]
    NotKept { name: String, generation: i64 },
    #[error("a temporary file for the ids cannot be used: see that TMPDIR has room")]
    Spool(#[from] std::io::Error),
    #[error(
        "`{0}` would be overwritten: allow it (`replace` over HTTP, --replace on the command line), or take it out of the document"
    )]
    WouldReplace(String),
    #[error("report `{id}` is not the one that you read: it is stored with the sha-256 {stored}; read it again")]
    OtherReport { id: String, stored: String },
    #[error("there are {max} {what} already, the most that there may be: {remedy}")]
    TooMany { what: &'static str, max: usize, remedy: &'static str },
    #[error("{0} needs a reason: say why, it stands in the audit log")]
    NoReason(&'static str),
    #[error(transparent)]
    InvalidGate(#[from] InvalidSettings),
    #[error(transparent)]
    InvalidEdge(#[from] InvalidEdge),
    #[error(transparent)]
    InvalidMaintenance(#[from] InvalidMaintenance),
    #[error("the operating system gave no randomness")]
    NoRandomness,
}

impl From<diesel::result::Error> for StoreError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error.into())
    }
}

impl StoreError {
    /// True if the same transaction may succeed when it is run again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_retryable())
    }

    /// True if the database, or the way to it, failed; false if what is stored there is the matter.
    #[must_use]
    pub fn is_of_the_database(&self) -> bool {
        matches!(self, Self::Database(_))
    }

    /// The error with what may be proposed instead, if it is that the write takes a second person.
    pub(super) fn with_ask(self, ask: impl FnOnce() -> Ask) -> Self {
        match self {
            Self::Protected(Protected::SecondPerson { flag, instead, .. }) => {
                Self::Protected(Protected::SecondPerson { flag, instead, ask: Some(Box::new(ask())) })
            }
            other => other,
        }
    }

    /// The error without what may be proposed instead: the write is more than a proposal can hold.
    pub(super) fn without_ask(self) -> Self {
        match self {
            Self::Protected(Protected::SecondPerson { flag, .. }) => {
                let instead = "import the cohorts alone first; the flags then wait as a proposal";
                Self::Protected(Protected::SecondPerson { flag, instead, ask: None })
            }
            other => other,
        }
    }

    pub(super) fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_unique_violation())
    }

    pub fn not_found(what: &'static str, name: &str) -> Self {
        Self::NotFound { what, name: name.to_owned() }
    }
}
