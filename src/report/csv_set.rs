//! A report as a set of CSV files with a manifest: which files there are, how many rows each has and what its checksum is. A set can be
//! written anywhere, one file at a time, in bounded memory, and checked again by whoever it was sent to.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::csv::{self, Row};
use super::document::{Report, ReportData};
use crate::allocation::ExceptionLine;
use crate::primitives::{ChangeName, Instant};
use crate::store::StoreError;

/// The version of the set's shape. It changes when a reader of the old shape would read the new one wrongly.
pub const CSV_FORMAT: &str = "changeover.report-csv/1";

/// The name of the file that names the others.
pub const MANIFEST: &str = "manifest.json";

/// A file of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CsvTable {
    ControlTotals,
    Classes,
    PayerTotals,
    Payers,
    Histogram,
    Exceptions,
    ExceptionParts,
    Explanations,
    Unexplained,
    Trend,
    Observations,
}

impl CsvTable {
    /// All files, in the manifest's order.
    pub const ALL: [Self; 11] = [
        Self::ControlTotals,
        Self::Classes,
        Self::PayerTotals,
        Self::Payers,
        Self::Histogram,
        Self::Exceptions,
        Self::ExceptionParts,
        Self::Explanations,
        Self::Unexplained,
        Self::Trend,
        Self::Observations,
    ];

    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::ControlTotals => "control_totals.csv",
            Self::Classes => "classes.csv",
            Self::PayerTotals => "payer_totals.csv",
            Self::Payers => "payers.csv",
            Self::Histogram => "histogram.csv",
            Self::Exceptions => "exceptions.csv",
            Self::ExceptionParts => "exception_parts.csv",
            Self::Explanations => "explanations.csv",
            Self::Unexplained => "unexplained.csv",
            Self::Trend => "trend.csv",
            Self::Observations => "observations.csv",
        }
    }

    #[must_use]
    pub fn of_file_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.file_name() == name)
    }

    /// The columns, in their order.
    #[must_use]
    pub fn columns(self) -> &'static str {
        match self {
            Self::ControlTotals => "period,currency,side,charges,parts,amount,difference",
            Self::Classes => "class,verdict,period,currency,charges,amount",
            Self::PayerTotals => "currency,payers,changed,old,moved_out,moved_in,new",
            Self::Payers => "currency,payer,nobody,old,moved_out,moved_in,new,change,charges",
            Self::Histogram => "currency,trend,from,to,payers,amount",
            Self::Exceptions => "charge_id,class,period,currency,amount,old_amount,new_amount,effective_amount,payers",
            Self::ExceptionParts => "charge_id,class,period,currency,payer,nobody,expected,old_rows,old,new_rows,new",
            Self::Explanations => {
                "id,class,period,currency,charges,reason_code,text,owner,expires,max_count,state,matches,covers"
            }
            Self::Unexplained => "class,period,currency,charges",
            Self::Trend => "as_of,sha256,clean,exceptions,unexplained",
            Self::Observations => {
                "operation,compared,mismatches,ignored,errors_old,errors_new,calls,\
                 old_count,old_p50_us,old_p95_us,old_p99_us,new_count,new_p50_us,new_p95_us,new_p99_us"
            }
        }
    }
}

/// Gives a report's exceptions in the order of their charges' ids: those after `charge_id`, as many as are read at once; none at the end.
pub trait ExceptionPages {
    /// # Errors
    /// They cannot be read.
    fn after(&mut self, charge_id: Option<&str>) -> Result<Vec<ExceptionLine>, StoreError>;
}

/// The exceptions that the report itself lists: all that there are if it is not stored.
#[derive(Debug)]
pub struct Listed<'a>(pub &'a ReportData);

impl ExceptionPages for Listed<'_> {
    fn after(&mut self, charge_id: Option<&str>) -> Result<Vec<ExceptionLine>, StoreError> {
        if charge_id.is_some() {
            return Ok(Vec::new());
        }
        let mut lines = self.0.comparison.exceptions.clone();
        lines.sort_by(|one, other| (&one.charge_id, one.class).cmp(&(&other.charge_id, other.class)));
        Ok(lines)
    }
}

/// Why a set could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    #[error("the CSV file {file} cannot be written")]
    Write {
        file: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the report's exceptions cannot be read")]
    Exceptions(#[source] StoreError),
    #[error("the manifest cannot be written as JSON")]
    Manifest(#[source] serde_json::Error),
}

/// What the manifest says of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvEntry {
    pub name: String,
    /// Without the header.
    pub rows: u64,
    pub bytes: u64,
    pub sha256: String,
}

/// What the set is, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvManifest {
    pub format: String,
    pub change: ChangeName,
    pub as_of: Instant,
    /// Empty: all.
    pub periods: Vec<String>,
    pub clean: bool,
    /// Of the report's data: what is signed.
    pub report_sha256: String,
    /// Charges in a wrong class. `exceptions.csv` has fewer rows only if the report was not stored and lists fewer.
    pub exceptions_total: u64,
    pub files: Vec<CsvEntry>,
}

impl CsvManifest {
    #[must_use]
    pub fn new(report: &Report, files: Vec<CsvEntry>) -> Self {
        let data = &report.data;
        Self {
            format: CSV_FORMAT.to_owned(),
            change: data.subject.change.clone(),
            as_of: data.subject.as_of,
            periods: data.subject.periods.clone(),
            clean: data.clean,
            report_sha256: report.sha256.clone(),
            exceptions_total: data.comparison.exceptions_total,
            files,
        }
    }

    /// The file's text.
    ///
    /// # Errors
    /// None that can be met in practice.
    pub fn text(&self) -> Result<String, CsvError> {
        let text = serde_json::to_string_pretty(self).map_err(CsvError::Manifest)?;
        Ok(text + "\n")
    }
}

/// The rows of a table that tell of one exception.
type RowsOf<'a> = &'a dyn Fn(&ExceptionLine) -> Vec<Row>;

/// Writes one file of the set.
///
/// # Errors
/// The file cannot be written, or the exceptions cannot be read.
pub fn write_table(
    table: CsvTable,
    data: &ReportData,
    exceptions: &mut dyn ExceptionPages,
    out: &mut dyn Write,
) -> Result<CsvEntry, CsvError> {
    let file = table.file_name();
    let mut out = Counting { out, digest: Sha256::new(), bytes: 0 };
    let failed = |source| CsvError::Write { file, source };
    out.write_all(table.columns().as_bytes()).and_then(|()| out.write_all(b"\r\n")).map_err(failed)?;
    let comparison = &data.comparison;
    let rows = match table {
        CsvTable::ControlTotals => csv::control_totals(data),
        CsvTable::Classes => csv::classes(data),
        CsvTable::PayerTotals => csv::payer_totals(data),
        CsvTable::Payers => csv::payers(data),
        CsvTable::Histogram => csv::histogram(data),
        CsvTable::Explanations => csv::explanations(data),
        CsvTable::Unexplained => csv::unexplained(data),
        CsvTable::Trend => csv::trend(data),
        CsvTable::Observations => csv::observations(data),
        CsvTable::Exceptions | CsvTable::ExceptionParts => Vec::new(),
    };
    let mut count = write_rows(&mut out, &rows).map_err(failed)?;
    let of_line: Option<RowsOf<'_>> = match table {
        CsvTable::Exceptions => Some(&|line| vec![csv::exception(comparison, line)]),
        CsvTable::ExceptionParts => Some(&|line| csv::exception_parts(comparison, line)),
        _ => None,
    };
    if let Some(of_line) = of_line {
        let mut last: Option<String> = None;
        loop {
            let lines = exceptions.after(last.as_deref()).map_err(CsvError::Exceptions)?;
            let Some(end) = lines.last() else { break };
            for line in &lines {
                count += write_rows(&mut out, &of_line(line)).map_err(failed)?;
            }
            last = Some(end.charge_id.clone());
        }
    }
    out.flush().map_err(failed)?;
    Ok(out.entry(file, count))
}

fn write_rows(out: &mut dyn Write, rows: &[Row]) -> io::Result<u64> {
    for row in rows {
        csv::write_line(out, row)?;
    }
    Ok(u64::try_from(rows.len()).unwrap_or(u64::MAX))
}

/// Counts what goes through, and takes its checksum.
struct Counting<'a> {
    out: &'a mut dyn Write,
    digest: Sha256,
    bytes: u64,
}

impl Counting<'_> {
    fn entry(self, name: &str, rows: u64) -> CsvEntry {
        let sha256 = hexadecimal(&self.digest.finalize());
        CsvEntry { name: name.to_owned(), rows, bytes: self.bytes, sha256 }
    }
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        self.bytes += u64::try_from(written).unwrap_or(0);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
