//! A comparison of old and new allocation as a document: terminal text, JSON, CSV and one self-contained HTML page.

mod charge;
mod chart;
mod check;
mod csv;
mod csv_files;
mod csv_set;
mod document;
mod html;
mod keeping;
mod observed;
mod run;
mod schema;
mod since;
mod stored;
mod text;
pub(crate) mod words;
mod zip;

pub use charge::{ChargeStory, Covering, LastReport, explain_charge};
pub use check::{CheckedDocument, check_document};
pub use csv_files::{CheckedSet, CsvFilesError, check_csv_directory, write_csv_directory};
pub use csv_set::{
    CSV_FORMAT, CsvEntry, CsvError, CsvManifest, CsvTable, ExceptionPages, Listed, MANIFEST, write_table,
};
pub use document::{Basis, Beside, FORMAT, Report, ReportData, ReportError, SignOff, Subject, TrendPoint};
pub use html::render as to_html;
pub use keeping::Telling;
pub use observed::Observed;
pub use run::{RunError, RunOptions, earlier, find, run, sign, standing, what_if};
pub use schema::SCHEMA;
pub use since::{ClassChange, ExceptionMark, Since, TotalChange, since_to_text};
pub use stored::{Stored, has_all_exceptions};
pub use text::{render as to_text, render_at as to_text_at};
pub use zip::csv_archive;
