//! A comparison as a document that can be stored, signed and read again: what was compared, when, on which configuration, what came
//! out, and a checksum over all of it.

use serde::{Deserialize, Serialize};

use super::observed::Observed;
use super::since::Since;
use crate::allocation::{ChargeClass, Comparison, ControlTotal, Explained, Explanation, UnexplainedTotal, explain};
use crate::primitives::{ChangeName, Instant};
use crate::store;

/// The version of the document's shape. It changes when a reader of the old shape would read the new one wrongly.
pub const FORMAT: &str = "changeover.report/1";

/// What was compared: the part of a report that does not come out of the comparison itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub change: ChangeName,
    pub title: String,
    /// Sha-256 of the change file's text, in hexadecimal.
    pub file_sha256: String,
    pub basis: Basis,
    /// The service's configuration at that moment: which flags and cohorts it was.
    pub configuration_version: Option<i64>,
    pub as_of: Instant,
    /// The periods that were asked for; empty: all.
    pub periods: Vec<String>,
    /// What the change file says that one model cannot hold of the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declared_losses: Vec<DeclaredLoss>,
}

/// A column in which one model's knowledge is lost to the other, and what stands there instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredLoss {
    /// `videos.user_id`
    pub column: String,
    pub instead: String,
}

/// Where the new side came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Basis {
    /// From the tables of an installed change in this stage.
    Installed { stage: String },
    /// Computed from the blocks in a transaction that was rolled back: nothing is installed.
    WhatIf,
}

/// What a report's checksum covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportData {
    #[serde(flatten)]
    pub subject: Subject,
    /// Every charge in a wrong class is explained, and every control total agrees or differs by charges that are explained.
    pub clean: bool,
    /// Charges in a wrong class that nobody explains.
    #[serde(default)]
    pub unexplained_total: u64,
    /// The same by class, period and currency.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unexplained: Vec<UnexplainedTotal>,
    /// The explanations that there are, and what each covers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub explained: Vec<Explained>,
    /// What differs from an earlier report, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
    /// Earlier reports of the change, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trend: Vec<TrendPoint>,
    /// What applications observed of both sides in the last full 24 hours before `as_of`, by operation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observations: Vec<Observed>,
    /// Of all exceptions, one line of JSON each in the order of the charges' ids, also of those that are not listed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exceptions_sha256: Option<String>,
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// What an earlier report said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrendPoint {
    pub as_of: Instant,
    pub sha256: String,
    pub clean: bool,
    /// Charges in a wrong class, and how many of them nobody explained.
    pub exceptions: u64,
    pub unexplained: u64,
}

/// What a report has beside its comparison.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    pub explanations: Vec<Explanation>,
    pub earlier: Option<Report>,
    pub trend: Vec<TrendPoint>,
    pub observations: Vec<Observed>,
    pub exceptions_sha256: Option<String>,
}

/// A comparison report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub format: String,
    /// The stored report's id; none if it is not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Sha-256 of `data` as compact JSON, in hexadecimal.
    pub sha256: String,
    pub data: ReportData,
    #[serde(default)]
    pub signatures: Vec<SignOff>,
}

/// Who vouches for a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignOff {
    pub name: String,
    pub role: String,
    pub at: Instant,
    /// False: they have read the report and do not accept it.
    #[serde(default = "yes")]
    pub approves: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

fn yes() -> bool {
    true
}

/// Why a stored report cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("the report cannot be written as JSON")]
    Write(#[source] serde_json::Error),
    #[error("the stored report is not one of the format `{FORMAT}`: run the report again")]
    Read(#[source] serde_json::Error),
    #[error(
        "the stored report's data has the sha-256 {found}, but it was stored with {expected}: it has been altered; do not rely on it"
    )]
    Altered { expected: String, found: String },
    #[error("this is no report: it has no `data` with a `sha256` beside it")]
    NoReport,
    #[error("the report cannot be drawn")]
    Render(#[from] askama::Error),
}

impl Report {
    /// A report of what a comparison found.
    ///
    /// # Errors
    /// None that can be met in practice: the data always has a JSON form.
    pub fn new(subject: Subject, comparison: Comparison, beside: Beside) -> Result<Self, ReportError> {
        let today = subject.as_of.timestamp().to_zoned(jiff::tz::TimeZone::UTC).date();
        let explaining = explain(&comparison, &beside.explanations, today);
        let mut data = ReportData {
            subject,
            clean: explaining.is_clean(&comparison),
            unexplained_total: explaining.unexplained_total(),
            unexplained: explaining.unexplained,
            explained: explaining.explained,
            since: None,
            trend: beside.trend,
            observations: beside.observations,
            exceptions_sha256: beside.exceptions_sha256,
            comparison,
        };
        data.since = beside.earlier.map(|earlier| Since::between(&earlier, &data));
        let sha256 = store::sha256(&data_text(&data)?);
        Ok(Self { format: FORMAT.to_owned(), id: None, sha256, data, signatures: Vec::new() })
    }

    /// Reads what [`Report::data_text`] wrote, and holds it against its checksum.
    ///
    /// # Errors
    /// The text is no report, or not the one that was stored.
    pub fn from_stored(text: &str, sha256: &str, signatures: Vec<SignOff>) -> Result<Self, ReportError> {
        let found = store::sha256(text);
        if found != sha256 {
            return Err(ReportError::Altered { expected: sha256.to_owned(), found });
        }
        let data = serde_json::from_str(text).map_err(ReportError::Read)?;
        Ok(Self { format: FORMAT.to_owned(), id: None, sha256: found, data, signatures })
    }

    /// The same report under the id that it is stored by.
    #[must_use]
    pub fn with_id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// The exact text that the checksum covers.
    ///
    /// # Errors
    /// As [`Report::new`].
    pub fn data_text(&self) -> Result<String, ReportError> {
        data_text(&self.data)
    }

    /// The whole document as JSON for people and programs.
    ///
    /// # Errors
    /// As [`Report::new`].
    pub fn to_json(&self) -> Result<String, ReportError> {
        serde_json::to_string_pretty(self).map_err(ReportError::Write)
    }
}

fn data_text(data: &ReportData) -> Result<String, ReportError> {
    serde_json::to_string(data).map_err(ReportError::Write)
}

impl ReportData {
    /// The control totals that do not agree.
    #[must_use]
    pub fn differing_totals(&self) -> Vec<&ControlTotal> {
        self.comparison.totals.iter().filter(|total| !total.is_exact()).collect()
    }

    /// Charges in a class, whatever their currency.
    #[must_use]
    pub fn count_of(&self, class: ChargeClass) -> u64 {
        self.comparison.classes.iter().filter(|total| total.class == class).map(|total| total.charges).sum()
    }
}
